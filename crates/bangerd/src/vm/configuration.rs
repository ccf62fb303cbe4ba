//! What a guest is told of itself: what it is made of, and which VM it is.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use banger_guest_protocol::flow::addresses;
use banger_guest_protocol::messages::{
    Assembly, Blob, CommandDefaults, DiskSelector, Disks, Identity, InitChoice, Network, SshHostKey,
    SshKeyKind,
};

use super::VmError;
use super::start::made;
use crate::checksum::sha256;
use crate::identity::{VmId, VmName, fill_random};
use crate::ssh::{GuestKeys, KeyPair};
use crate::store::VmRow;
use crate::store::words::{self, Init};
use crate::vmm::DiskRole;

const MACHINE_ID_LEN: usize = 32;

/// The disks as the guest can tell them apart.
pub(super) fn selectors(disks: &[(DiskRole, DiskSelector)]) -> Result<Disks, VmError> {
    let of = |role: DiskRole| {
        let found = disks.iter().find(|(of, _)| *of == role);
        found.map(|(_, selector)| selector.clone())
    };
    Ok(Disks {
        base: made(of(DiskRole::Base), "the image's disk")?,
        cow: made(of(DiskRole::Cow), "the disk of changes")?,
        work: of(DiskRole::Work),
        modules: of(DiskRole::Modules),
    })
}

/// What the guest is made of.
pub(super) fn assembly(row: &VmRow, disks: Disks, command_defaults: CommandDefaults) -> Assembly {
    Assembly {
        disks,
        files: Vec::new(),
        init: match row.spec.init {
            Init::Auto => InitChoice::Auto,
            Init::Agent => InitChoice::Agent,
        },
        command_defaults,
    }
}

/// Which VM it is, as of now.
pub(super) fn identity(row: &VmRow, keys: Option<&GuestKeys>) -> Identity {
    let mut seed = [0; 64];
    fill_random(&mut seed);
    Identity {
        hostname: row.name.to_string(),
        clock_unix_ns: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64,
        entropy_seed: Blob(seed.to_vec()),
        network: match row.spec.network {
            words::Network::User => Some(Network {
                address: addresses::GUEST,
                prefix_len: addresses::PREFIX_LEN,
                gateway: addresses::GATEWAY,
                dns_servers: vec![IpAddr::V4(addresses::GATEWAY)],
                dns_search: Vec::new(),
            }),
            words::Network::None => None,
        },
        machine_id: machine_id(&row.id),
        authorized_key: keys.map(|keys| keys.authorized.clone()),
        ssh_host_keys: keys.map(|keys| host_key(&keys.host, &row.name)).into_iter().collect(),
    }
}

fn host_key(pair: &KeyPair, name: &VmName) -> SshHostKey {
    SshHostKey {
        kind: SshKeyKind::Ed25519,
        private_key: Blob(pair.private_file(name.as_str()).into_bytes()),
        public_key: pair.public_line(name.as_str()),
    }
}

/// The same at every start, and another one for every VM, whatever its image says.
fn machine_id(id: &VmId) -> String {
    let mut digits = sha256(format!("machine-id of the VM {id}").as_bytes());
    digits.truncate(MACHINE_ID_LEN);
    // Version 4, variant 1, as machine-id(5) has it.
    digits.replace_range(12..13, "4");
    digits.replace_range(16..17, "8");
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_ids_are_a_vms_own() {
        let ids = ["0123456789ab", "0123456789ac"].map(|id| machine_id(&VmId::parse(id).unwrap()));
        assert_ne!(ids[0], ids[1]);
        assert_eq!(ids[0], machine_id(&VmId::parse("0123456789ab").unwrap()));
        for id in ids {
            assert_eq!(id.len(), MACHINE_ID_LEN);
            assert!(id.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')), "{id}");
            assert_eq!((&id[12..13], &id[16..17]), ("4", "8"));
        }
    }
}
