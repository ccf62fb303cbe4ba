//! Stopping a VM: politely, then not.

use std::time::Duration;

use banger_api::operation::Stage;
use banger_host::process::{ProcessHandle, Signal};
use tokio_util::sync::CancellationToken;

use super::VmError;
use super::handles::{Handles, remove_file};
use super::view::RunningView;
use crate::clock::unix_ms;
use crate::network::forget_config;
use crate::operation::Reporter;
use crate::paths::VmDir;

/// A killed process that is still there after this is stuck in the kernel (a dead disk).
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// Leaves the stop that begins now to the next daemon, should this one die.
pub(super) fn note(dir: &VmDir, grace: Duration) {
    let Some(handles) = Handles::read(dir) else { return };
    let until = unix_ms().saturating_add(grace.as_millis() as u64);
    if let Err(error) = (Handles { stopping_until_unix_ms: Some(until), ..handles }).write(dir) {
        // Then a next daemon would take the VM for one that runs, and see it end.
        tracing::warn!(dir = %dir.path().display(), causes = ?crate::causes::chain(&error), "could not note that it stops");
    }
}

/// Asks the guest to shut down and kills it when it does not within `grace`, or when `cut_short`. Says
/// whether it was killed.
pub(super) async fn shut_down(
    RunningView { guest, process, pause_watch, .. }: &RunningView,
    grace: Duration,
    reporter: &Reporter,
    cut_short: &CancellationToken,
) -> Result<bool, VmError> {
    reporter.stage(Stage::Shutdown, "shutting the guest down");
    if let Some(pause) = pause_watch.pause().filter(|_| !cut_short.is_cancelled()) {
        let wait = grace.as_secs();
        reporter.notice(format!(
            "it is paused ({pause}) and cannot shut down: unless it goes on, it is killed in {wait} s, and loses what it has not written"
        ));
    }
    let polite = async {
        if let Err(error) = guest.shutdown(grace).await {
            // The guest may go down so fast that its answer is lost: then its process ends all the same.
            tracing::warn!(causes = ?crate::causes::chain(&error), "the guest could not be asked to shut down");
        }
        is_gone(process, grace).await
    };
    let gone = tokio::select! {
        biased;
        () = cut_short.cancelled() => false,
        gone = tokio::time::timeout(grace, polite) => gone.unwrap_or(false),
    };
    if !gone {
        kill_and_wait(process).await?;
    }
    Ok(!gone)
}

/// Ends a process without asking; fine when it has ended already.
pub(super) async fn kill_and_wait(process: &ProcessHandle) -> Result<(), VmError> {
    process.signal(Signal::KILL)?;
    if is_gone(process, KILL_LIMIT).await { Ok(()) } else { Err(VmError::Unkillable) }
}

/// Does the process end within `limit`?
pub(super) async fn is_gone(process: &ProcessHandle, limit: Duration) -> bool {
    tokio::time::timeout(limit, process.wait_exit()).await.is_ok()
}

/// Removes what only makes sense while a VM runs.
pub(super) fn clean_up(dir: &VmDir) -> Result<(), VmError> {
    Handles::remove(dir)?;
    forget_config(dir)?;
    Ok(VmDir::WHILE_RUNNING.iter().try_for_each(|name| remove_file(dir, name))?)
}

/// The signal of that name (`TERM`, `SIGTERM`) or number.
///
/// # Errors
///
/// When a VMM is of no use after it, or there is none.
pub fn parse_signal(name: &str) -> Result<Signal, VmError> {
    let upper = name.to_ascii_uppercase();
    Ok(match upper.strip_prefix("SIG").unwrap_or(&upper) {
        "KILL" | "9" => Signal::KILL,
        "TERM" | "15" => Signal::TERM,
        "INT" | "2" => Signal::INT,
        "QUIT" | "3" => Signal::QUIT,
        "HUP" | "1" => Signal::HUP,
        "STOP" | "19" => Signal::STOP,
        "CONT" | "18" => Signal::CONT,
        _ => return Err(VmError::UnknownSignal { name: name.into() }),
    })
}
