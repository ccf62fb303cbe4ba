//! What an image's init is told, in `/run`, where nothing stays: the network is up, and the agent is not to
//! be ended.
//!
//! All of it means something to one program only, and nothing to others. It is written however the image is
//! made: which of these programs it has, and starts, is its own affair.

use std::io;
use std::path::Path;

use banger_guest_protocol::messages::Network;

use super::guest_root::GuestRoot;
use crate::system_error::{Context as _, SystemError};

/// systemd keeps what was there before it in one scope with itself.
const INIT_SCOPE_SETTINGS: &str = "/run/systemd/system/init.scope.d/50-banger.conf";

/// Sorts before what images bring: systemd-networkd takes the first file that fits an interface.
const NETWORKD_SETTINGS: &str = "/run/systemd/network/00-banger.network";

/// Sorts behind what images bring: the last word on a key counts.
const NETWORK_MANAGER_SETTINGS: &str = "/run/NetworkManager/conf.d/99-banger.conf";

/// Empty, missing or not an id at all: then systemd takes this for the first boot of a machine, and asks
/// whoever sits at the console for its language before it goes on.
const MACHINE_ID: &str = "/etc/machine-id";

/// Where systemd is, whichever way it is started.
const SYSTEMD: [&str; 2] = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"];

/// Gives a machine with systemd its id, unless it has one.
///
/// # Errors
///
/// When the file cannot be read or written.
pub(super) fn identify(root: &GuestRoot) -> Result<(), SystemError> {
    let has_systemd =
        SYSTEMD.iter().any(|path| root.open_inside(Path::new(path), rustix::fs::OFlags::PATH).is_ok());
    let path = Path::new(MACHINE_ID);
    if !has_systemd || root.read(path)?.is_some_and(|text| is_machine_id(&text)) {
        return Ok(());
    }
    let mut id = [0; 16];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty()).context("make", MACHINE_ID)?;
    root.write(path, machine_id(id).as_bytes(), rustix::fs::Mode::from_raw_mode(0o444))
}

fn machine_id(random: [u8; 16]) -> String {
    // Version 4, variant 1, as machine-id(5) has it.
    let bytes = u128::from_be_bytes(random);
    let versioned = bytes & !(0xf << 76) & !(0x3 << 62) | 4 << 76 | 2 << 62;
    format!("{versioned:032x}\n")
}

fn is_machine_id(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    text.len() == 32 && text.iter().all(u8::is_ascii_hexdigit) && text.iter().any(|digit| *digit != b'0')
}

/// Writes the settings. `network` comes with the name of its interface. Answers what could not be written.
pub(super) fn prepare(network: Option<(&str, &Network)>) -> Vec<SystemError> {
    // Else systemd ends the agent and everything that runs in the VM when one command runs out of memory: its
    // scopes end as a whole then, and the agent is in one with its commands.
    let mut settings = vec![(INIT_SCOPE_SETTINGS, "[Scope]\nOOMPolicy=continue\n".to_owned())];
    if let Some((interface, network)) = network {
        settings.push((NETWORKD_SETTINGS, networkd(interface, network)));
        settings.push((NETWORK_MANAGER_SETTINGS, network_manager(interface)));
    }
    let write = |(path, text): (&str, String)| write(Path::new(path), &text).context("write", path).err();
    settings.into_iter().filter_map(write).collect()
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
    use std::fs;

    use super::super::guest_root::in_directory;
    use super::*;

    #[test]
    fn only_a_whole_id_is_one() {
        for text in [&b""[..], b"uninitialized\n", b"0123", &[b'0'; 32], &[b'z'; 32], &[b'1'; 33]] {
            assert!(!is_machine_id(text), "{text:?}");
        }
        assert!(is_machine_id(b"0123456789abcdef0123456789abcdef\n"));
    }

    #[test]
    fn made_ids_are_ids() {
        for random in [[0; 16], [0xff; 16], *b"0123456789abcdef"] {
            let id = machine_id(random);
            assert!(is_machine_id(id.as_bytes()), "{id}");
            assert!(id.as_bytes()[12] == b'4' && b"89ab".contains(&id.as_bytes()[16]), "{id}");
        }
    }

    #[test]
    fn a_machine_with_systemd_gets_its_id_once() {
        let dir = tempfile::tempdir().unwrap();
        let root = in_directory(dir.path());
        let id = || fs::read(dir.path().join("etc/machine-id"));
        identify(&root).unwrap();
        assert!(id().is_err(), "there is no systemd");
        fs::create_dir_all(dir.path().join("usr/lib/systemd")).unwrap();
        fs::write(dir.path().join("usr/lib/systemd/systemd"), "").unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        fs::write(dir.path().join("etc/machine-id"), "uninitialized\n").unwrap();
        identify(&root).unwrap();
        let first = id().unwrap();
        assert!(is_machine_id(&first));
        identify(&root).unwrap();
        assert_eq!(id().unwrap(), first);
    }

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
