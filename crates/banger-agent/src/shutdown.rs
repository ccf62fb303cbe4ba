//! A clean power-off: first the commands, then whatever is PID 1.
//!
//! | PID 1 | is asked by |
//! |---|---|
//! | the agent's own | its socket |
//! | systemd | its signals |
//! | openrc-init | `openrc-shutdown` |
//! | anything else | its `poweroff` or `reboot`; without such a program, the signals of busybox's init |
//!
//! One that does not end the machine in time is not waited for: [`power::end_machine`] does it then.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use banger_guest_protocol::messages::Shutdown;

use crate::agent::Agent;
use crate::init::power::{self, Ending};
use crate::init::supervisor::Request;
use crate::{console, signals, spawn};

/// How long commands of the host's get to end; a little more than they need to be killed.
const COMMANDS_GRACE: Duration = Duration::from_millis(3500);

/// How much of the host's patience the image's init may take, in percent. Ending the guest without it takes
/// some seconds on a busy emulated machine, and is better than being killed by the host.
const INIT_SHARE_PERCENT: u64 = 60;

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The answer to the request must get out before everything ends.
const ANSWER_PAUSE: Duration = Duration::from_millis(20);

/// Processes that are named in files here stay when Debian's scripts end all others before they unmount
/// (sysvinit, openrc).
const SPARED_DIR: &str = "/run/sendsigs.omit.d";

/// How long other programs get to write their last, once busybox's init has told all to end.
const LAST_WRITES: Duration = Duration::from_millis(500);

/// Where images keep the program that asks their init for a power-off.
const SBIN_DIRS: [&str; 4] = ["/sbin", "/usr/sbin", "/bin", "/usr/bin"];

/// Shuts the guest down. The machine is gone before this returns, or something is badly wrong.
pub async fn run(agent: Arc<Agent>, wanted: Shutdown) {
    tokio::time::sleep(ANSWER_PAUSE).await;
    end_commands(&agent).await;
    let ending = if wanted.reboot { Ending::Reboot } else { Ending::PowerOff };
    // Waiting for init blocks, and the host may still ask for our health.
    let grace = Duration::from_millis(wanted.grace_ms.saturating_mul(INIT_SHARE_PERCENT) / 100);
    let done = tokio::task::spawn_blocking(move || end_init(&agent, ending, grace)).await;
    if let Err(error) = done {
        console::say(format_args!("shutdown failed: {}", console::one_line(&error)));
    }
}

async fn end_commands(agent: &Agent) {
    agent.execs().end_all();
    let end = Instant::now() + COMMANDS_GRACE;
    while agent.execs().count() > 0 && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn end_init(agent: &Agent, ending: Ending, grace: Duration) {
    let Some(init) = agent.image_init() else {
        // PID 1 is still ours. It kills this process on the way.
        if let Err(error) = agent.supervisor().ask(&Request::End(ending)) {
            console::say(format_args!("PID 1 does not shut down: {}", console::one_line(&error)));
            power::end_machine(ending);
        }
        return;
    };
    let began = Instant::now();
    // An init ends all there is, and only when all is done it may turn out that it hangs.
    let is_to_end = signals::note_termination();
    let _told = spare_the_agent();
    if is_init("systemd") {
        // systemd(1): +4 is poweroff.target, +5 is reboot.target.
        let signal = libc::SIGRTMIN() + if ending == Ending::PowerOff { 4 } else { 5 };
        // One that has only just started would never see it.
        while !init_takes(signal) && began.elapsed() < grace {
            std::thread::sleep(POLL_INTERVAL);
        }
        signals::tell_init(signal);
    } else {
        ask_other_init(ending, grace);
    }
    while began.elapsed() < grace {
        if init.is_busybox && is_to_end.load(Ordering::Relaxed) {
            std::thread::sleep(LAST_WRITES);
            // It powers off without unmounting, unless its inittab says so.
            power::make_everything_read_only();
            break;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    std::thread::sleep(grace.saturating_sub(began.elapsed()));
    console::say("the image's init did not shut down in time; doing it for it");
    power::end_machine(ending);
}

fn spare_the_agent() -> io::Result<()> {
    std::fs::create_dir_all(SPARED_DIR)?;
    std::fs::write(Path::new(SPARED_DIR).join("banger-agent"), format!("{}\n", std::process::id()))
}

fn is_init(name: &str) -> bool {
    let program = std::fs::read_link("/proc/1/exe");
    program.is_ok_and(|program| program.file_name().is_some_and(|found| found == name))
}

/// Does PID 1 handle this signal, or wait for it? (The kernel drops what PID 1 does neither of.)
fn init_takes(signal: i32) -> bool {
    // Unknown is no: it is asked again until the grace is over.
    let status = std::fs::read_to_string("/proc/1/status").unwrap_or_default();
    takes_signal(&status, signal)
}

fn takes_signal(status: &str, signal: i32) -> bool {
    let masks =
        status.lines().filter_map(|line| line.strip_prefix("SigBlk:").or(line.strip_prefix("SigCgt:")));
    let taken =
        masks.filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok()).fold(0, |all, mask| all | mask);
    (1..=64).contains(&signal) && taken >> (signal - 1) & 1 == 1
}

fn ask_other_init(ending: Ending, limit: Duration) {
    let end = Instant::now() + limit;
    let programs: &[(&str, &[&str])] = match ending {
        Ending::PowerOff if is_init("openrc-init") => &[("openrc-shutdown", &["--poweroff", "now"])],
        Ending::Reboot if is_init("openrc-init") => &[("openrc-shutdown", &["--reboot", "now"])],
        Ending::PowerOff => &[("poweroff", &[]), ("halt", &["-p"])],
        Ending::Reboot => &[("reboot", &[])],
    };
    for (name, args) in programs {
        let candidates = SBIN_DIRS.iter().map(|dir| Path::new(dir).join(name));
        for program in candidates.filter(|program| program.is_file()) {
            let left = end.saturating_duration_since(Instant::now());
            match spawn::run_quietly(&program, args, left) {
                Ok(true) => return,
                // There is no time left for another one.
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return,
                _ => {}
            }
        }
    }
    // What busybox's init understands.
    signals::tell_init(if ending == Ending::PowerOff { libc::SIGUSR2 } else { libc::SIGTERM });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocked_and_caught_signals_are_taken() {
        let status = "Name:\tsystemd\nSigBlk:\t0000002000000000\nSigIgn:\tffffffffffffffff\nSigCgt:\t0000000000000001\n";
        assert!(takes_signal(status, 38) && takes_signal(status, 1));
        assert!(!takes_signal(status, 39) && !takes_signal(status, 2));
        assert!(!takes_signal("", 38) && !takes_signal("SigBlk:\tnonsense", 38) && !takes_signal(status, 0));
    }
}
