use tokio::sync::oneshot;

use super::CopyError;

/// Runs what blocks in a thread of its own. Unlike the runtime's, nobody waits for it when the process ends.
///
/// # Errors
///
/// When there is no thread to be had; the receiver's error means that it panicked.
pub(crate) fn in_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<oneshot::Receiver<T>, CopyError> {
    let (done, finished) = oneshot::channel();
    let thread = std::thread::Builder::new().name(name.into());
    // Nobody may be there any more to hear of it.
    thread.spawn(move || done.send(work()).map_err(drop)).map_err(CopyError::Thread)?;
    Ok(finished)
}
