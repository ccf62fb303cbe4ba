//! Lists of steps that change the host, each with its undo beside it.

use std::future::Future;
use std::pin::Pin;

use tokio_util::sync::CancellationToken;

use super::VmError;

pub(super) type StepFuture<'a> = Pin<Box<dyn Future<Output = Result<(), VmError>> + Send + 'a>>;

/// One change to the host.
pub(super) struct Step<C> {
    pub(super) name: &'static str,
    pub(super) run: for<'a> fn(&'a mut C) -> StepFuture<'a>,
    /// Puts back what `run` did. It must cope with a `run` that failed or was cut off anywhere, or that was
    /// undone before.
    pub(super) undo: for<'a> fn(&'a mut C) -> StepFuture<'a>,
}

impl<C> Clone for Step<C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Step<C> {}

/// For steps that change nothing that has to be put back.
pub(super) fn nothing_to_undo<C>(_: &mut C) -> StepFuture<'_> {
    Box::pin(std::future::ready(Ok(())))
}

/// Runs the steps in order. When one fails, or `cancel` is triggered, it and those before it are undone, last
/// one first.
///
/// # Errors
///
/// What the failing step said, or [`VmError::Cancelled`]. What goes wrong in an undo is logged and the rest
/// is undone.
pub(super) async fn run<C: Send>(
    steps: &[Step<C>],
    context: &mut C,
    cancel: &CancellationToken,
) -> Result<(), VmError> {
    for (index, step) in steps.iter().enumerate() {
        let start = std::time::Instant::now();
        let outcome = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(VmError::Cancelled),
            outcome = (step.run)(context) => outcome,
        };
        tracing::debug!(
            step = step.name,
            ok = outcome.is_ok(),
            took_ms = start.elapsed().as_millis() as u64,
            "step"
        );
        if let Err(error) = outcome {
            undo(&steps[..=index], context).await;
            return Err(error);
        }
    }
    Ok(())
}

/// Undoes the steps, last one first, and goes on past those that cannot be undone.
pub(super) async fn undo<C>(steps: &[Step<C>], context: &mut C) {
    for step in steps.iter().rev() {
        if let Err(error) = (step.undo)(context).await {
            let causes = crate::causes::chain(&error);
            tracing::error!(step = step.name, ?causes, "could not be undone");
        }
    }
}
