use banger_registry::{Flights, Turn};

use super::ArtifactError;
use crate::operation::Reporter;

/// Waits for the turn to get `name`, which lasts as long as the guard. Whoever had to wait looks again
/// whether it is there.
///
/// # Errors
///
/// When the waiting request is called off.
pub(crate) async fn turn(
    flights: &Flights<String>,
    name: &str,
    reporter: &Reporter,
) -> Result<Turn, ArtifactError> {
    let name = name.to_owned();
    let mut is_noticed = false;
    let waiting = flights.enter(&name, || {
        if !std::mem::replace(&mut is_noticed, true) {
            reporter.notice(format!("another request is getting {name} already; waiting for it"));
        }
    });
    tokio::select! {
        biased;
        () = reporter.cancelled().cancelled() => Err(ArtifactError::Cancelled),
        turn = waiting => Ok(turn),
    }
}
