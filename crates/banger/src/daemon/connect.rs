use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use banger_api::daemon::{DaemonStatus, StopDaemon};
use banger_api::{ApiError, Build, Client, ClientError, ErrorCode};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

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

/// A client of a running daemon of our own build: starts one when nobody answers, replaces an idle one of another build.
pub(crate) async fn connect() -> Result<Client, CommandError> {
    let client = Client::new()?;
    let other_build = match status(&client).await {
        Ok(status) if status.build == Build::current() => return Ok(client),
        Ok(status) => status.build.to_string(),
        Err(ClientError::NotRunning { .. }) => {
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

/// Stops the daemon and waits until it is gone: its socket, and its process, which closes the state store last.
pub(crate) async fn stop(client: &Client, how: StopDaemon) -> Result<(), ClientError> {
    let process = client.daemon_status().await.ok().and_then(|status| process(status.pid));
    client.daemon_stop(how).await?;
    let deadline = Instant::now() + STOP_LIMIT;
    while Instant::now() < deadline {
        // Hung up on in the middle of an answer is on its way out as well.
        if let Err(ClientError::NotRunning { .. }) = client.daemon_status().await
            && process.as_ref().is_none_or(has_ended)
        {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
    let message = format!("bangerd was asked to stop {} s ago and still runs", STOP_LIMIT.as_secs());
    Err(ClientError::Api(ApiError::new(ErrorCode::Failed, message).with_hint("see why: banger daemon logs")))
}

/// The process of a daemon; none when it cannot be seen from here, as from another PID namespace.
fn process(pid: u32) -> Option<OwnedFd> {
    let named = std::fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name == b"bangerd\n");
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).filter(|_| named)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

fn has_ended(process: &OwnedFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    // What cannot be asked any more is not waited for.
    poll(&mut fds, Some(&now)).is_err() || !fds[0].revents().is_empty()
}

/// Starts the daemon and waits until it answers. Says why when it does not.
async fn start(client: &Client) -> Result<(), CommandError> {
    let mut starting = serve()?;
    let deadline = Instant::now() + START_LIMIT;
    loop {
        match client.daemon_status().await {
            Ok(status) if status.build == Build::current() => return Ok(()),
            Ok(status) => return Err(mismatched(&status.build)),
            Err(ClientError::NotRunning { .. } | ClientError::Broken(_)) => {}
            Err(error) => return Err(error.into()),
        }
        // One that found another daemon in its place leaves the field to it: two commands may start one at a time. But that
        // other one may also have been on its way out.
        let refused = i32::from(crate::error::exit_code(ErrorCode::Refused));
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
