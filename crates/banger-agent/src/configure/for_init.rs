//! What an image's init is told, in `/run`, where nothing stays: the network is up, and the agent is not to
//! be ended.
//!
//! All of it means something to one program only, and nothing to others. It is written however the image is
//! made: which of these programs it has, and starts, is its own affair.

use std::io;
use std::path::Path;
use std::time::Duration;

use banger_guest_protocol::messages::Network;

use crate::spawn;
use crate::system_error::{Context as _, SystemError};

/// systemd keeps what was there before it in one scope with itself.
const INIT_SCOPE_SETTINGS: &str = "/run/systemd/system/init.scope.d/50-banger.conf";

/// Sorts before what images bring: systemd-networkd takes the first file that fits an interface.
const NETWORKD_SETTINGS: &str = "/run/systemd/network/00-banger.network";

/// Sorts behind what images bring: the last word on a key counts.
const NETWORK_MANAGER_SETTINGS: &str = "/run/NetworkManager/conf.d/99-banger.conf";

/// Has systemd-networkd read its settings again.
const NETWORKCTL: &str = "/usr/bin/networkctl";

/// It asks over a bus that may hang.
const RELOAD_LIMIT: Duration = Duration::from_secs(10);

/// Is there while systemd-networkd runs.
const NETWORKD_STATE: &str = "/run/systemd/netif/state";

/// Writes the settings. `network` comes with the name of its interface. Answers what could not be written.
pub(super) fn prepare(network: Option<(&str, &Network)>) -> Vec<SystemError> {
    // Else systemd ends the agent and everything that runs in the VM when one command runs out of memory: its
    // scopes end as a whole then, and the agent is in one with its commands.
    let scope = (INIT_SCOPE_SETTINGS, "[Scope]\nOOMPolicy=continue\n".to_owned());
    write_settings(std::iter::once(scope).chain(of_network(network)))
}

/// Writes the settings of another network, or removes those there are, and has them read. Answers what could
/// not be done.
pub(super) fn replace_network(network: Option<(&str, &Network)>) -> Vec<SystemError> {
    let mut failed = match network {
        Some(_) => write_settings(of_network(network)),
        None => [NETWORKD_SETTINGS, NETWORK_MANAGER_SETTINGS].into_iter().filter_map(remove).collect(),
    };
    if Path::new(NETWORKD_STATE).exists() {
        let reloaded = spawn::run_quietly(Path::new(NETWORKCTL), &["reload"], RELOAD_LIMIT).and_then(
            |done| match done {
                true => Ok(()),
                false => Err(io::Error::other("networkctl reload failed")),
            },
        );
        failed.extend(reloaded.context("reload the settings of", "systemd-networkd").err());
    }
    failed
}

fn remove(settings: &str) -> Option<SystemError> {
    match std::fs::remove_file(settings) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Some(SystemError::new("remove", settings, error))
        }
        _ => None,
    }
}

fn of_network(network: Option<(&str, &Network)>) -> impl Iterator<Item = (&'static str, String)> {
    let settings = network.map(|(interface, network)| {
        let networkd = (NETWORKD_SETTINGS, networkd(interface, network));
        [networkd, (NETWORK_MANAGER_SETTINGS, network_manager(interface))]
    });
    settings.into_iter().flatten()
}

fn write_settings(settings: impl Iterator<Item = (&'static str, String)>) -> Vec<SystemError> {
    let write = |(path, text): (&str, String)| write(Path::new(path), &text).context("write", path).err();
    settings.filter_map(write).collect()
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
    std::fs::write(path, text)
}

/// The very settings that the interface has, so that systemd-networkd finds nothing to do and calls it
/// online.
fn networkd(interface: &str, network: &Network) -> String {
    let Network { address, prefix_len, gateway, dns_servers, dns_search } = network;
    let mut text = format!(
        "[Match]\nName={interface}\n\n[Network]\nDHCP=no\nIPv6AcceptRA=no\nKeepConfiguration=yes\n\
         Address={address}/{prefix_len}\nGateway={gateway}\n"
    );
    for server in dns_servers {
        text += &format!("DNS={server}\n");
    }
    if !dns_search.is_empty() {
        text += &format!("Domains={}\n", dns_search.join(" "));
    }
    text
}

fn network_manager(interface: &str) -> String {
    format!("[main]\ndns=none\n\n[device-banger]\nmatch-device=interface-name:{interface}\nmanaged=0\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networkd_is_told_what_is_so() {
        let network = Network {
            address: [10, 0, 2, 15].into(),
            prefix_len: 24,
            gateway: [10, 0, 2, 2].into(),
            dns_servers: vec![[10, 0, 2, 3].into()],
            dns_search: vec!["vm".into(), "lan".into()],
        };
        let text = networkd("eth0", &network);
        for line in
            ["Name=eth0", "Address=10.0.2.15/24", "Gateway=10.0.2.2", "DNS=10.0.2.3", "Domains=vm lan"]
        {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
