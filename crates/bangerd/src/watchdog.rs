//! Looks from outside whether the runtime still does anything.
//!
//! A thread of its own asks the runtime for a sign of life each second. When none comes for a while it logs
//! what was under way, which nobody inside can do any more; when none comes at all it ends the process. VMs
//! do not notice, and the next command starts a daemon that works: that is better than one that hangs for
//! good.

use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use tokio::runtime::Handle;

/// How often the runtime is asked. The limits count these, not hours: a suspended host ages nobody.
const TICK: Duration = Duration::from_secs(1);

/// After so many ticks without an answer it is logged.
const TOLD_AFTER: u32 = 5;

/// After so many the process ends. No disk, however slow, holds up all workers for so long.
const ENDED_AFTER: u32 = 60;

/// Starts the thread. `under_way` says what the daemon is doing; it must not need the runtime.
///
/// # Errors
///
/// When there is no thread to be had.
pub fn start(runtime: Handle, under_way: impl Fn() -> Vec<String> + Send + 'static) -> std::io::Result<()> {
    let watch = move || {
        loop {
            let silent = await_life(&runtime, |ticks| match ticks {
                TOLD_AFTER => tracing::error!(
                    seconds = TOLD_AFTER,
                    under_way = ?under_way(),
                    "the daemon's workers do not answer"
                ),
                ENDED_AFTER => {
                    tracing::error!(seconds = ENDED_AFTER, under_way = ?under_way(), "bangerd hangs and ends itself; VMs go on");
                    std::process::abort();
                }
                _ => {}
            });
            if silent >= TOLD_AFTER {
                tracing::warn!(seconds = silent, "the daemon's workers answer again");
            }
            std::thread::sleep(TICK);
        }
    };
    std::thread::Builder::new().name("watchdog".into()).spawn(watch).map(drop)
}

/// Waits for one sign of life, and counts the ticks until it came.
fn await_life(runtime: &Handle, mut each_tick: impl FnMut(u32)) -> u32 {
    let answer = ask(runtime);
    let mut ticks = 0;
    while let Err(RecvTimeoutError::Timeout) = answer.recv_timeout(TICK) {
        ticks += 1;
        each_tick(ticks);
    }
    ticks
}

fn ask(runtime: &Handle) -> Receiver<()> {
    let (alive, answer) = sync_channel(1);
    // One that is never run, because the daemon ends, closes the channel.
    runtime.spawn(async move { alive.try_send(()) });
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_that_hangs_is_told_from_one_that_works() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        assert_eq!(await_life(runtime.handle(), |_| panic!("it works")), 0);
        let (go, wait) = sync_channel::<()>(0);
        runtime.spawn(async move { wait.recv() });
        let mut reported = Vec::new();
        let ticks = await_life(runtime.handle(), |ticks| {
            reported.push(ticks);
            if ticks == 2 {
                go.send(()).unwrap();
            }
        });
        assert!(ticks >= 2 && reported[..2] == [1, 2], "{reported:?}");
    }
}
