use banger_api::doctor::{Check, Repaired, Report, Verdict};
use banger_api::{Build, Client, ClientError};
use clap::Args;

use super::{Outcome, block_on};
use crate::{daemon, ui};

/// Exit code of a host that is not ready.
const NOT_READY: u8 = 5;

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Set a state store aside that cannot be used, and make a new one of what lies beside the disks; removes
    /// nothing
    #[arg(long)]
    repair: bool,
}

pub(crate) fn run(args: &DoctorArgs) -> Outcome {
    if args.repair {
        return repair(args.json);
    }
    let mut report: Report = daemon::ask(&["doctor", "--json"])?;
    // Only the running daemon and this program can tell whether they are of one build.
    report.checks.push(block_on(async { Ok(daemon_check().await) })?);
    if args.json {
        ui::json(&report)?
    } else {
        ui::print(render(&report))?
    }
    let failed = report.checks.iter().any(|check| check.verdict == Verdict::Fail);
    Ok(if failed { NOT_READY } else { 0 })
}

fn repair(json: bool) -> Outcome {
    let repaired: Repaired = daemon::ask(&["doctor", "--repair"])?;
    if json {
        ui::json(&repaired)?;
        return Ok(0);
    }
    match &repaired.set_aside {
        Some(path) => ui::line(format_args!("set the state store aside: {path}"))?,
        None => ui::line("the state store is fine")?,
    }
    let Repaired { vms, images, kernels, lost, .. } = &repaired;
    if !vms.is_empty() || images + kernels > 0 {
        let vms = if vms.is_empty() { "no VMs".into() } else { vms.join(", ") };
        ui::line(format_args!("known again: {vms}; {images} images, {kernels} kernels"))?;
    }
    if *lost > 0 {
        ui::line(format_args!("moved to lost+found: {lost} (banger lost-found list)"))?;
    }
    Ok(0)
}

async fn daemon_check() -> Check {
    let ours = Build::current();
    let status = match Client::new() {
        Ok(client) => client.daemon_status().await,
        Err(error) => Err(error),
    };
    let (verdict, seen, fix) = match status {
        Ok(status) if status.build == ours => (
            Verdict::Ok,
            format!("running (pid {}) at {}, same build as banger: {ours}", status.pid, status.socket),
            None,
        ),
        Ok(status) => (
            Verdict::Warn,
            format!("bangerd is {}, banger is {ours}", status.build),
            Some("banger daemon stop".into()),
        ),
        Err(ClientError::NotRunning) => {
            (Verdict::Ok, "not running; the next command that needs it starts it".into(), None)
        }
        Err(error) => {
            let error = crate::error::api_error(error);
            let seen = std::iter::once(error.message).chain(error.causes).collect::<Vec<_>>().join(": ");
            (Verdict::Fail, seen, error.hint)
        }
    };
    Check { name: "daemon".into(), verdict, seen, fix }
}

fn render(report: &Report) -> String {
    let width = report.checks.iter().map(|check| check.name.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for check in &report.checks {
        let verdict = match check.verdict {
            Verdict::Ok => ui::paint(ui::GOOD, "ok  "),
            Verdict::Warn => ui::paint(ui::WARN, "warn"),
            Verdict::Fail => ui::paint(ui::BAD, "fail"),
        };
        text.push_str(&format!("{verdict}  {:width$}  {}\n", check.name, check.seen));
        for line in check.fix.iter().flat_map(|fix| fix.lines()) {
            text.push_str(&format!("      {:width$}  fix: {line}\n", ""));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_a_line_a_check_and_a_fix_below() {
        let check = |name: &str, verdict, seen: &str, fix: Option<&str>| Check {
            name: name.into(),
            verdict,
            seen: seen.into(),
            fix: fix.map(Into::into),
        };
        let report = Report {
            checks: vec![
                check("kvm", Verdict::Warn, "/dev/kvm does not exist", None),
                check("mmdebstrap", Verdict::Fail, "not found", Some("sudo apt install mmdebstrap")),
                check("disk space", Verdict::Ok, "40 GiB free", None),
            ],
        };
        insta::assert_snapshot!(anstream::adapter::strip_str(&render(&report)).to_string(), @r"
        warn  kvm         /dev/kvm does not exist
        fail  mmdebstrap  not found
                          fix: sudo apt install mmdebstrap
        ok    disk space  40 GiB free
        ");
    }
}
