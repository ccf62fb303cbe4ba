//! Work on a VM that is under way: at most one piece at a time, held and polled by its actor.

use std::future::Future;
use std::pin::Pin;
use std::process::ExitStatus;

use banger_host::process::ProcessHandle;
use tokio_util::sync::CancellationToken;

use super::VmError;
use super::start::Started;
use crate::store::VmRow;

pub(super) struct ActiveJob {
    /// Cuts it short. What that means is up to the job: a start is undone, a stop kills.
    pub(super) cancel: CancellationToken,
    pub(super) future: Pin<Box<dyn Future<Output = JobEnd> + Send>>,
}

pub(super) enum JobEnd {
    Created(Result<VmRow, VmError>),
    Started(Result<Started, VmError>),
    /// True: it was killed.
    Stopped(Result<bool, VmError>),
    Deleted(Result<(), VmError>),
}

/// The end of the job; none comes where there is no job.
pub(super) async fn poll_job(job: &mut Option<ActiveJob>) -> JobEnd {
    match job {
        Some(job) => job.future.as_mut().await,
        None => std::future::pending().await,
    }
}

/// The end of a VMM; none comes where there is none.
pub(super) async fn wait_exit(process: Option<&ProcessHandle>) -> Option<ExitStatus> {
    match process {
        // A process that cannot be waited for any more is gone.
        Some(process) => process.wait_exit().await.unwrap_or_default(),
        None => std::future::pending().await,
    }
}
