use std::net::SocketAddr;
use std::time::Duration;

use banger_api::doctor::Check;

use super::{ok, warn};
use crate::dns::{is_answering, routing};

const NAME: &str = "names in .vm";

/// How long the host's resolver may take: it may ask far away for what it does not know.
const RESOLVER_LIMIT: Duration = Duration::from_secs(2);

/// Do programs on this host find VMs by name? Nothing depends on it but comfort.
pub(super) async fn check(listen: Option<SocketAddr>) -> Check {
    let Some(address) = listen else { return ok(NAME, "the name server is off ([dns] listen)") };
    let (routed, answers) = tokio::join!(routing::is_routed(RESOLVER_LIMIT), is_answering(address));
    judge(address, routed, answers, routing::has_resolved())
}

fn judge(address: SocketAddr, routed: bool, answers: Option<bool>, has_resolved: bool) -> Check {
    let by_ports = "`banger vm ports` shows addresses that work without";
    match (routed, answers) {
        (true, _) => ok(NAME, "NAME.vm resolves on this host"),
        (false, Some(false)) => warn(
            NAME,
            format!("another program has {address}, so that bangerd cannot answer there"),
            Some("set `[dns] listen` in config.toml to a free port of 127.0.0.1, or to \"off\"".into()),
        ),
        (false, _) if has_resolved => warn(
            NAME,
            format!("this host's resolver does not ask bangerd ({address}); {by_ports}"),
            Some(format!("{} (undo: {})", routing::route_command(address), routing::undo_command())),
        ),
        (false, _) => {
            ok(NAME, format!("not found by this host's resolver, which is not systemd-resolved; {by_ports}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use banger_api::doctor::Verdict;

    use super::*;

    #[test]
    fn only_what_can_be_mended_is_warned_of() {
        let address = "127.0.0.1:42069".parse().unwrap();
        for (routed, answers, resolved, verdict, fix) in [
            (true, Some(true), true, Verdict::Ok, ""),
            (true, None, false, Verdict::Ok, ""),
            (false, Some(true), true, Verdict::Warn, "Domains=~vm"),
            (false, None, true, Verdict::Warn, "undo: "),
            (false, Some(false), true, Verdict::Warn, "[dns] listen"),
            (false, Some(true), false, Verdict::Ok, ""),
        ] {
            let check = judge(address, routed, answers, resolved);
            assert_eq!(check.verdict, verdict, "{check:?}");
            assert!(check.fix.unwrap_or_default().contains(fix));
        }
    }
}
