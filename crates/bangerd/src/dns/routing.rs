//! Does the host's resolver ask the name server for `.vm`? And what makes it do so.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::zone::CHECK_NAME;

/// There while systemd-resolved runs.
const RESOLVED_SOCKET: &str = "/run/systemd/resolve/io.systemd.Resolve";

/// The configuration of it that is banger's.
const DROP_IN: &str = "/etc/systemd/resolved.conf.d/banger.conf";

/// How long what was found out is believed. People change it once.
const BELIEVED: Duration = Duration::from_secs(30);

/// How long somebody waits for it who only wants to write an address nicely.
const PATIENCE: Duration = Duration::from_millis(500);

/// Whether the host's resolver asks us, as it was lately.
#[derive(Default)]
pub struct Routing(Mutex<Option<(Instant, bool)>>);

impl Routing {
    pub async fn is_there(&self) -> bool {
        let mut known = self.0.lock().await;
        if let Some((_, routed)) = known.filter(|(since, _)| since.elapsed() < BELIEVED) {
            return routed;
        }
        let routed = is_routed(PATIENCE).await;
        *known = Some((Instant::now(), routed));
        routed
    }
}

/// Asks the host's resolver, as any program on it does, for a name that is always there.
pub async fn is_routed(limit: Duration) -> bool {
    let asked = tokio::time::timeout(limit, tokio::net::lookup_host((CHECK_NAME, 0))).await;
    // A resolver that does not answer, or has no such name, does not ask us.
    let Ok(Ok(mut addresses)) = asked else { return false };
    addresses.any(|found| found.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// Does systemd-resolved run on this host?
pub fn has_resolved() -> bool {
    Path::new(RESOLVED_SOCKET).exists()
}

/// The command that has systemd-resolved ask `address` for names in `.vm`.
pub fn route_command(address: SocketAddr) -> String {
    format!(
        "sudo sh -c 'mkdir -p /etc/systemd/resolved.conf.d && printf \"[Resolve]\\nDNS={address}\\nDomains=~vm\\n\" > {DROP_IN} && systemctl restart systemd-resolved'"
    )
}

/// The command that undoes it.
pub fn undo_command() -> String {
    format!("sudo sh -c 'rm {DROP_IN} && systemctl restart systemd-resolved'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_command_routes_and_one_undoes_it() {
        let command = route_command("127.0.0.1:42069".parse().unwrap());
        assert!(
            !command.contains('\n') && command.contains("DNS=127.0.0.1:42069\\nDomains=~vm"),
            "{command}"
        );
        assert!(undo_command().contains(DROP_IN));
    }
}
