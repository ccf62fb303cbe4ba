use std::time::{Duration, Instant};

use banger_api::daemon::{DaemonStatus, StopDaemon};
use banger_api::record::is_held;
use banger_api::{ApiError, Build, Client, ClientError, ErrorCode};

use super::process::Process;
use super::program::serve;
use crate::error::CommandError;
use crate::ui;

/// Generous: one that fails is noticed at once, and a busy host is no failure.
const START_LIMIT: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(10);
const DEATH_LIMIT: Duration = Duration::from_secs(2);
/// How long to leave the field to another daemon before trying again.
const TURN: Duration = Duration::from_millis(100);
const POLL: Duration = Duration::from_millis(10);

/// A client of a running daemon of our own build: starts one when nobody answers, replaces an idle one of
/// another build.
pub(crate) async fn connect() -> Result<Client, CommandError> {
    let client = Client::new()?;
    let other_build = match status(&client).await {
        Ok(status) if status.build == Build::current() => return Ok(client),
        Ok(status) => status.build.to_string(),
        Err(ClientError::NotRunning) => {
            start(&client).await?;
            return Ok(client);
        }
        // A build that describes itself in words we do not know.
        Err(ClientError::Answer { .. }) => "another build".into(),
        Err(error) => return Err(error.into()),
    };
    replace(&client, &other_build).await?;
    Ok(client)
}

/// Asks a daemon how it is. One that is just dying hangs up on us, and a moment later is gone.
async fn status(client: &Client) -> Result<DaemonStatus, ClientError> {
    let deadline = Instant::now() + DEATH_LIMIT;
    loop {
        match client.daemon_status().await {
            Err(ClientError::Broken(_)) if Instant::now() < deadline => tokio::time::sleep(POLL).await,
            other => return other,
        }
    }
}

async fn replace(client: &Client, old: &str) -> Result<(), CommandError> {
    let new = Build::current();
    match stop(client, StopDaemon { if_idle: true }).await {
        Ok(()) => {}
        Err(ClientError::Api(refusal)) if refusal.code == ErrorCode::Refused => {
            let message = format!("bangerd {old} is running and busy; this is banger {new}");
            let mut error = ApiError::new(ErrorCode::VersionMismatch, message).because(refusal.message);
            error.causes.extend(refusal.causes);
            return Err(error.with_hint("wait, or cut it off (VMs keep running): banger daemon stop").into());
        }
        Err(error) => return Err(error.into()),
    }
    start(client).await?;
    ui::note(format_args!("restarted bangerd (was {old}, now {new}); running VMs were not touched"));
    Ok(())
}

/// Stops the daemon and waits until it is gone: it holds the state directory no longer, and its process,
/// which closes the state store last, has ended.
pub(crate) async fn stop(client: &Client, how: StopDaemon) -> Result<(), ClientError> {
    let process = Process::of_daemon(client.state());
    client.daemon_stop(how).await?;
    let deadline = Instant::now() + STOP_LIMIT;
    while Instant::now() < deadline {
        if !is_held(client.state()) && process.as_ref().is_none_or(Process::has_ended) {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
    let pid = process.map(|process| format!(" (pid {})", process.pid())).unwrap_or_default();
    let message = format!("bangerd{pid} was asked to stop {} s ago and still runs", STOP_LIMIT.as_secs());
    let hint = "see why: banger daemon logs\nend it, its VMs run on: banger daemon stop --force";
    Err(ClientError::Api(ApiError::new(ErrorCode::Failed, message).with_hint(hint)))
}

/// Kills the daemon of this state directory, which does not do what it is asked. VMs run on without it.
///
/// # Errors
///
/// When its process cannot be found, or does not die.
pub(crate) async fn kill(client: &Client) -> Result<u32, CommandError> {
    let Some(process) = Process::of_daemon(client.state()) else {
        return Err(CommandError::new(ErrorCode::Failed, "the process of bangerd cannot be seen from here")
            .with_hint("look for it where it was started, in another container or as another user"));
    };
    process.kill().map_err(|error| {
        CommandError::io(format!("could not kill bangerd (pid {})", process.pid()), error)
    })?;
    let deadline = Instant::now() + STOP_LIMIT;
    while is_held(client.state()) || !process.has_ended() {
        if Instant::now() > deadline {
            let message = format!("bangerd (pid {}) was killed and does not end", process.pid());
            return Err(CommandError::new(ErrorCode::Failed, message)
                .with_hint("the host's kernel holds it, as it does when a disk does not answer: see dmesg"));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(process.pid())
}

/// Starts the daemon and waits until it answers. Says why when it does not.
async fn start(client: &Client) -> Result<(), CommandError> {
    let mut starting = serve()?;
    let deadline = Instant::now() + START_LIMIT;
    loop {
        match client.daemon_status().await {
            Ok(status) if status.build == Build::current() => return Ok(()),
            Ok(status) => return Err(mismatched(&status.build)),
            Err(ClientError::NotRunning | ClientError::Broken(_)) => {}
            Err(error) => return Err(error.into()),
        }
        // One that found another daemon in its place leaves the field to it: two commands may start one at a
        // time. But that other one may also have been on its way out.
        let refused = i32::from(ErrorCode::Refused.exit_code());
        match starting.ended() {
            Some(status) if status.code() != Some(refused) || Instant::now() > deadline => {
                return Err(starting.report(status).into());
            }
            Some(_) => {
                tokio::time::sleep(TURN).await;
                starting = serve()?;
            }
            None if Instant::now() > deadline => {
                let message =
                    format!("bangerd was started but does not answer after {} s", START_LIMIT.as_secs());
                return Err(
                    CommandError::new(ErrorCode::Failed, message).with_hint("see why: banger daemon logs")
                );
            }
            _ => tokio::time::sleep(POLL).await,
        }
    }
}

/// Restarting would only bring the same one back.
fn mismatched(started: &Build) -> CommandError {
    let message = format!("the installed bangerd is {started}, this is banger {}", Build::current());
    CommandError::new(ErrorCode::VersionMismatch, message)
        .with_hint("install banger and bangerd from one build")
}
