use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Threads that keep cores busy, until dropped.
pub(crate) struct BusyCores(Arc<AtomicBool>);

impl BusyCores {
    pub(crate) fn start(threads: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        for _ in 0..threads {
            let stop = stop.clone();
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        Self(stop)
    }
}

impl Drop for BusyCores {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
