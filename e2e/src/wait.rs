use std::time::{Duration, Instant};

/// What scenarios wait for takes this many times longer at most on a machine that is busy with something
/// else. Only what goes wrong waits that long.
pub(crate) const BUSY_FACTOR: u32 = 5;

/// Asks again and again until there is an answer.
///
/// # Panics
///
/// When there is none after `limit`, with room for a busy machine.
#[track_caller]
pub fn eventually<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let (start, limit) = (Instant::now(), limit * BUSY_FACTOR);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until something holds.
///
/// # Panics
///
/// When it does not after `limit`.
#[track_caller]
pub fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    eventually(what, limit, || holds().then_some(()));
}
