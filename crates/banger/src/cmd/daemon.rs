use std::io::{BufRead as _, BufReader, Read as _};
use std::time::Duration;

use banger_api::daemon::{DaemonStatus, DnsListener, StopDaemon};
use banger_api::{Client, ClientError, ErrorCode};
use clap::Subcommand;
use serde_json::Value;

use super::{Outcome, block_on};
use crate::error::CommandError;
use crate::{daemon, ui};

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum DaemonCommand {
    /// Start the daemon
    Start,
    /// Stop the daemon; VMs keep running, commands in them are cut off
    Stop {
        /// Kill it when it does not answer
        #[arg(long)]
        force: bool,
    },
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
            DaemonCommand::Stop { force } => stop(force).await,
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

async fn stop(force: bool) -> Outcome {
    let client = Client::new()?;
    let stopped = async {
        let status = match client.daemon_status().await {
            Err(error @ ClientError::Silent { .. }) => return Err(error),
            // One of another build may tell it in other words.
            status => status.ok(),
        };
        daemon::stop(&client, StopDaemon { if_idle: false }).await.map(|()| status)
    };
    match stopped.await {
        Ok(status) => {
            ui::line(format_args!("bangerd stopped{}", status.as_ref().map(cut_off).unwrap_or_default()))?
        }
        Err(ClientError::NotRunning) => ui::line("bangerd was not running")?,
        Err(_) if force => {
            let pid = daemon::kill(&client).await?;
            ui::line(format_args!("bangerd (pid {pid}) did not answer and was killed; its VMs run on"))?
        }
        Err(error) => return Err(error.into()),
    }
    Ok(0)
}

/// What a daemon that was stopped has taken with it, in words.
fn cut_off(status: &DaemonStatus) -> String {
    let sessions = match status.sessions {
        0 => None,
        1 => Some("1 command or copy".to_owned()),
        count => Some(format!("{count} commands or copies")),
    };
    let leased = (!status.leased_vms.is_empty())
        .then(|| format!("VMs that end with their command: {}", status.leased_vms.join(", ")));
    let cut: Vec<String> =
        sessions.into_iter().chain(status.operations.iter().cloned()).chain(leased).collect();
    if cut.is_empty() { String::new() } else { format!("; cut off: {}", cut.join("; ")) }
}

async fn status(json: bool) -> Outcome {
    let status = match Client::new()?.daemon_status().await {
        Err(ClientError::NotRunning) => {
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
        .with("socket", ui::clean(&status.socket))
        .with("log", ui::clean(&status.log_path))
        .with("state", ui::clean(&status.state_dir))
        .with("cache", ui::clean(&status.cache_dir))
        .with("dns", status.dns.as_ref().map_or("off".into(), dns))
        .with("vms", format_args!("{} running, {} in all", status.vms_running, status.vms_total))
        .with("sessions", status.sessions)
        .with_some("operations", operations)
        .with_some("limits", (!status.limits.is_empty()).then(|| status.limits.join(", ")))
        .with("environment", status.environment.join(" "))
}

fn dns(listener: &DnsListener) -> String {
    let address = listener.address;
    match &listener.unavailable {
        None => address.to_string(),
        Some(why) => ui::clean(&format!("warning: does not answer on {address}: {why} (set [dns] listen)")),
    }
}

async fn logs(follow: bool, json: bool) -> Outcome {
    // Read as a file: a daemon that is gone, or hung, has its reasons in it.
    let path = Client::new()?.state().join("bangerd.log");
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
    fn what_was_cut_off_is_named() {
        let idle: DaemonStatus = serde_json::from_value(serde_json::json!({
            "pid": 1, "build": { "version": "1", "commit": "c" }, "socket": "", "log_path": "", "state_dir": "",
            "cache_dir": "", "uptime_ms": 0, "vms_total": 0, "vms_running": 0, "sessions": 0, "operations": []
        }))
        .unwrap();
        assert_eq!(cut_off(&idle), "");
        let busy = DaemonStatus {
            sessions: 2,
            operations: vec!["pull of debian-trixie".into()],
            leased_vms: vec!["brave-otter".into()],
            ..idle
        };
        let said = "; cut off: 2 commands or copies; pull of debian-trixie; VMs that end with their command: brave-otter";
        assert_eq!(cut_off(&busy), said);
    }

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
