use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::ArtifactError;
use crate::operation::Reporter;

/// Lets one request at a time get a thing; the others wait, and then find it there (or try themselves).
#[derive(Clone, Default)]
pub(crate) struct Flights(Arc<Mutex<HashMap<String, Arc<AsyncMutex<()>>>>>);

impl Flights {
    /// Waits for the turn to get `name`, which lasts as long as the guard.
    ///
    /// # Errors
    ///
    /// When the waiting request is called off.
    pub(crate) async fn turn(
        &self,
        name: &str,
        reporter: &Reporter,
    ) -> Result<OwnedMutexGuard<()>, ArtifactError> {
        let lock =
            self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name.into()).or_default().clone();
        if let Ok(turn) = lock.clone().try_lock_owned() {
            return Ok(turn);
        }
        reporter.notice(format!("another request is getting {name} already; waiting for it"));
        tokio::select! {
            biased;
            () = reporter.cancelled().cancelled() => Err(ArtifactError::Cancelled),
            turn = lock.lock_owned() => Ok(turn),
        }
    }
}
