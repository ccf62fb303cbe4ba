use banger_api::daemon::DaemonStatus;

use crate::error::BenchError;
use crate::home::Home;
use crate::numbers::verdict;

const IDLE_MIB: f64 = 20.0;

/// What the daemon holds once a VM has come and gone.
pub(crate) fn measure(home: &Home) -> Result<(), BenchError> {
    home.banger(&["daemon", "stop"])?;
    home.banger(&["daemon", "start"])?;
    let fresh = rss_mib(home)?;
    home.banger(&["run", "--quiet", "--rm", "--", "true"])?;
    let after = rss_mib(home)?;
    println!("the idle daemon's memory: {fresh:.1} MiB, {after:.1} MiB after a VM has come and gone");
    println!("at most {IDLE_MIB} MiB: {}\n", verdict(after <= IDLE_MIB));
    Ok(())
}

fn rss_mib(home: &Home) -> Result<f64, BenchError> {
    let status: DaemonStatus = home.json(&["daemon", "status", "--json"])?;
    of_process(status.pid, "VmRSS:")
}

/// A figure of `/proc/PID/status`, in MiB.
pub(crate) fn of_process(pid: u32, figure: &str) -> Result<f64, BenchError> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).map_err(BenchError::file("read", &path))?;
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix(figure)?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    Ok(kib.unwrap_or_default() / 1024.0)
}
