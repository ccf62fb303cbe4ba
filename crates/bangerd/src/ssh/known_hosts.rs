//! The host keys of VMs as `known_hosts` has them: a line for each, `NAME.vm,ID.vm ssh-ed25519 KEY`. The id
//! says whose line it is, whatever the VM is called by now.

use crate::identity::{VmId, VmName};

/// Puts a VM's line in, in place of its earlier one and of any other of that name.
pub(super) fn pin(text: &[u8], id: &VmId, name: &VmName, key: &str) -> Vec<u8> {
    let line = format!("{name}.vm,{id}.vm {key}");
    let mut lines = Vec::new();
    let mut written = false;
    for present in lines_of(text) {
        let hosts = hosts(present);
        if hosts.clone().any(|host| is(host, id.as_str())) {
            if !std::mem::replace(&mut written, true) {
                lines.push(line.as_bytes());
            }
        } else if !hosts.clone().any(|host| is(host, name.as_str())) {
            lines.push(present);
        }
    }
    if !written {
        lines.push(line.as_bytes());
    }
    joined(&lines)
}

/// Takes a VM's line out.
pub(super) fn forget(text: &[u8], id: &VmId) -> Vec<u8> {
    let lines: Vec<_> =
        lines_of(text).filter(|line| !hosts(line).any(|host| is(host, id.as_str()))).collect();
    joined(&lines)
}

fn lines_of(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

fn hosts(line: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    line.split(|byte| *byte == b' ').next().unwrap_or_default().split(|byte| *byte == b',')
}

fn is(host: &[u8], label: &str) -> bool {
    host.strip_suffix(b".vm") == Some(label.as_bytes())
}

fn joined(lines: &[&[u8]]) -> Vec<u8> {
    lines.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IDS: [&str; 3] = ["0123456789ab", "0123456789ac", "0123456789ad"];

    fn pinned(text: &[u8], id: &str, name: &str, key: &str) -> Vec<u8> {
        pin(text, &VmId::parse(id).unwrap(), &VmName::parse(name).unwrap(), key)
    }

    #[test]
    fn a_renamed_vm_keeps_its_place_and_a_taken_name_has_one_owner() {
        let text = pinned(b"", IDS[0], "a", "k1");
        let text = pinned(&text, IDS[1], "b", "k2");
        let text = pinned(&text, IDS[0], "c", "k1");
        assert_eq!(text, b"c.vm,0123456789ab.vm k1\nb.vm,0123456789ac.vm k2\n");
        let text = pinned(&text, IDS[2], "b", "k3");
        assert_eq!(text, b"c.vm,0123456789ab.vm k1\nb.vm,0123456789ad.vm k3\n");
        assert_eq!(forget(&text, &VmId::parse(IDS[0]).unwrap()), b"b.vm,0123456789ad.vm k3\n");
    }

    proptest! {
        #[test]
        fn of_any_file_each_vm_has_one_line(text: Vec<u8>, steps in proptest::collection::vec((0..3_usize, 0..3_usize), 0..12)) {
            let mut text = text;
            for (id, name) in steps {
                let name = ["a", "b", "c"][name];
                text = pinned(&text, IDS[id], name, "key");
                let line = format!("{name}.vm,{}.vm key", IDS[id]);
                prop_assert_eq!(lines_of(&text).filter(|found| *found == line.as_bytes()).count(), 1);
                let mine = |line: &&[u8]| hosts(line).any(|host| is(host, IDS[id]) || is(host, name));
                prop_assert_eq!(lines_of(&text).filter(mine).count(), 1);
            }
        }
    }
}
