use banger_api::{Client, ClientError, Event, EventStream};
use clap::Args;
use serde::de::DeserializeOwned;

use crate::error::CommandError;
use crate::session::{Caught, Signals};
use crate::ui::{Progress, Verbosity};

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ProgressArgs {
    /// Show no progress
    #[arg(long, short, conflicts_with = "verbose")]
    quiet: bool,
    /// Show what tools print, too
    #[arg(long, short)]
    verbose: bool,
}

impl ProgressArgs {
    pub(crate) fn verbosity(self) -> Verbosity {
        match self {
            Self { quiet: true, .. } => Verbosity::Quiet,
            Self { verbose: true, .. } => Verbosity::Verbose,
            _ => Verbosity::Normal,
        }
    }
}

/// How following an operation ended.
pub(crate) enum Followed<T> {
    Done(T),
    /// A signal called it off, and the daemon has undone it. The result is there when the signal came too
    /// late.
    Interrupted {
        by: Caught,
        too_late: Option<T>,
    },
}

/// Follows an operation to its end. A signal calls it off and waits until it is undone; a second one does not
/// wait.
pub(crate) async fn follow<T: DeserializeOwned>(
    client: &Client,
    stream: &mut EventStream,
    verbosity: Verbosity,
    signals: &mut Signals,
) -> Result<Followed<T>, CommandError> {
    let mut progress = Progress::new(verbosity);
    let mut operation = None;
    let mut interrupted = None;
    let result = loop {
        let event = match signals.unless_caught(stream.next()).await {
            Ok(Ok(Some(event))) => event,
            Ok(_) if interrupted.is_some() => break None,
            Ok(Ok(None)) => return Err(ClientError::Truncated { request: "an operation".into() }.into()),
            Ok(Err(error)) => return Err(error.into()),
            Err(by) => {
                let again = interrupted.replace(by).is_some();
                // Where it cannot be called off, hanging up is all that is left.
                if again || !call_off(client, operation.as_deref()).await {
                    break None;
                }
                continue;
            }
        };
        progress.show(&event);
        match event {
            Event::Accepted { operation: id } => operation = Some(id),
            Event::Succeeded { result } => break Some(result),
            Event::Failed { error } if interrupted.is_none() => return Err(error.into()),
            Event::Failed { .. } => break None,
            _ => {}
        }
    };
    drop(progress);
    let result = result.map(serde_json::from_value).transpose();
    let result =
        result.map_err(|error| CommandError::io("bangerd's result could not be understood", error))?;
    Ok(match (interrupted, result) {
        (Some(by), too_late) => Followed::Interrupted { by, too_late },
        (None, Some(done)) => Followed::Done(done),
        (None, None) => return Err(ClientError::Truncated { request: "an operation".into() }.into()),
    })
}

/// Follows an operation to its end; answers its result.
///
/// # Errors
///
/// When it fails, or a signal called it off.
pub(crate) async fn result<T: DeserializeOwned>(
    client: &Client,
    mut stream: EventStream,
    progress: ProgressArgs,
) -> Result<T, CommandError> {
    let mut signals = catch_signals()?;
    match follow(client, &mut stream, progress.verbosity(), &mut signals).await? {
        Followed::Done(result) => Ok(result),
        Followed::Interrupted { by, .. } => Err(CommandError::Quiet { exit_code: by.exit_code() }),
    }
}

async fn call_off(client: &Client, operation: Option<&str>) -> bool {
    match operation {
        Some(id) => client.operation_cancel(id).await.is_ok(),
        None => false,
    }
}

/// Takes signals over for as long as the result is held.
pub(crate) fn catch_signals() -> Result<Signals, CommandError> {
    Signals::catch().map_err(|error| CommandError::io("could not set up signal handling", error))
}
