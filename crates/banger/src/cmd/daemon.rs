use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::time::Duration;

use banger_api::daemon::{DaemonStatus, StopDaemon};
use banger_api::{Client, ClientError, ErrorCode};
use clap::Subcommand;
use serde_json::Value;

use super::{Outcome, block_on};
use crate::error::CommandError;
use crate::{daemon, ui};

#[derive(Debug, Subcommand)]
pub(crate) enum DaemonCommand {
    /// Start the daemon
    Start,
    /// Stop the daemon; VMs keep running, commands in them are cut off
    Stop,
    /// Show how the daemon is doing
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the daemon's log
    Logs {
        /// Go on with what is appended
        #[arg(long, short)]
        follow: bool,
        /// Print the log's JSON lines as they are
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(command: DaemonCommand) -> Outcome {
    block_on(async {
        match command {
            DaemonCommand::Start => start().await,
            DaemonCommand::Stop => stop().await,
            DaemonCommand::Status { json } => status(json).await,
            DaemonCommand::Logs { follow, json } => logs(follow, json).await,
        }
    })
}

async fn start() -> Outcome {
    let status = daemon::connect().await?.daemon_status().await?;
    ui::line(format_args!("bangerd {} runs (pid {})", status.build, status.pid))?;
    Ok(0)
}

async fn stop() -> Outcome {
    match daemon::stop(&Client::new()?, StopDaemon { if_idle: false }).await {
        Ok(()) => ui::line("bangerd stopped")?,
        Err(ClientError::NotRunning { .. }) => ui::line("bangerd was not running")?,
        Err(error) => return Err(error.into()),
    }
    Ok(0)
}

async fn status(json: bool) -> Outcome {
    let status = match Client::new()?.daemon_status().await {
        Err(ClientError::NotRunning { .. }) => {
            return Err(CommandError::new(ErrorCode::NotFound, "bangerd is not running")
                .with_hint("any command that needs it starts it, and so does: banger daemon start"));
        }
        other => other?,
    };
    if json {
        ui::json(&status)?
    } else {
        ui::print(fields(&status))?
    }
    Ok(0)
}

fn fields(status: &DaemonStatus) -> ui::Fields {
    let operations = match &status.operations[..] {
        [] => None,
        titles => Some(titles.join(", ")),
    };
    ui::Fields::default()
        .with("pid", status.pid)
        .with("build", &status.build)
        .with("up", ui::duration(status.uptime_ms))
        .with("socket", &status.socket)
        .with("log", &status.log_path)
        .with("state", &status.state_dir)
        .with("cache", &status.cache_dir)
        .with("vms", format_args!("{} running, {} in all", status.vms_running, status.vms_total))
        .with("sessions", status.sessions)
        .with_some("operations", operations)
}

async fn logs(follow: bool, json: bool) -> Outcome {
    let path = match Client::new()?.daemon_status().await {
        Ok(status) => status.log_path.into(),
        Err(_) => usual_log_path(),
    };
    let failed = |error| CommandError::io(format!("could not read {}", path.display()), error);
    let file = std::fs::File::open(&path).map_err(failed)?;
    let mut lines = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        lines.by_ref().take(MAX_LINE_LEN).read_until(b'\n', &mut line).map_err(failed)?;
        if line.ends_with(b"\n") || line.len() as u64 >= MAX_LINE_LEN || (!follow && !line.is_empty()) {
            let text = String::from_utf8_lossy(&line);
            if json {
                ui::print(&text)?
            } else {
                ui::line(readable(text.trim_end()))?
            }
            line.clear();
        } else if follow {
            tokio::time::sleep(Duration::from_millis(200)).await;
        } else {
            return Ok(0);
        }
    }
}

/// Longest line of the log that is shown in one piece, in bytes.
const MAX_LINE_LEN: u64 = 1024 * 1024;

/// Where the log is when no daemon is there to tell.
fn usual_log_path() -> PathBuf {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".local/state")))
        .unwrap_or_else(|| "/".into());
    state.join("banger/bangerd.log")
}

/// A log line for people: `12:34:56.789 WARN message key=value`. What is no JSON object stays as it is.
fn readable(line: &str) -> String {
    let Ok(Value::Object(mut entry)) = serde_json::from_str(line) else { return ui::clean(line) };
    let mut take =
        |key: &str| entry.remove(key).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default();
    let (time, level) = (take("timestamp"), take("level"));
    let (target, mut message) = (take("target"), take("message"));
    // tracing keeps an event's own fields apart, or not: as the daemon has set it up.
    let mut fields = entry;
    if let Some(Value::Object(inner)) = fields.remove("fields") {
        fields.extend(inner);
    }
    if let Some(Value::String(inner)) = fields.remove("message") {
        message = inner;
    }
    let style = match level.as_str() {
        "ERROR" => ui::BAD,
        "WARN" => ui::WARN,
        _ => ui::DIM,
    };
    let mut text = format!(
        "{} {} {}",
        ui::paint(ui::DIM, ui::clock(&time)),
        ui::paint(style, format_args!("{level:5}")),
        ui::clean(&message)
    );
    for (key, value) in &fields {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.push_str(&ui::paint(ui::DIM, format_args!(" {key}={}", ui::clean(&value))));
    }
    if matches!(level.as_str(), "DEBUG" | "TRACE") && !target.is_empty() {
        text.push_str(&ui::paint(ui::DIM, format_args!(" ({target})")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_read_well() {
        let shown = |line: &str| anstream::adapter::strip_str(&readable(line)).to_string();
        let line = r#"{"timestamp":"2026-11-21T01:20:43.123456Z","level":"INFO","fields":{"message":"vm started","vm":"x","took_ms":12},"target":"bangerd::vm"}"#;
        assert_eq!(shown(line), "01:20:43.123 INFO  vm started took_ms=12 vm=x");
        let flat =
            r#"{"timestamp":"2026-11-21T01:20:43Z","level":"DEBUG","message":"hi","target":"bangerd"}"#;
        assert_eq!(shown(flat), "01:20:43Z DEBUG hi (bangerd)");
        assert_eq!(shown("no json"), "no json");
    }
}
