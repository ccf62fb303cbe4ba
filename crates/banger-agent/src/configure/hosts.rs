//! The texts of `/etc/hosts`, `/etc/resolv.conf` and `authorized_keys`.

use banger_guest_protocol::messages::Network;

/// The image's hosts file, with `localhost` and this VM's name in it.
pub(super) fn merge_hosts(image: &[u8], hostname: &str) -> Vec<u8> {
    let mut merged = Vec::with_capacity(image.len() + 128);
    let (mut has_v4, mut has_v6) = (false, false);
    for line in image.split_inclusive(|byte| *byte == b'\n') {
        let text = String::from_utf8_lossy(line);
        let mut words = text.split('#').next().unwrap_or_default().split_whitespace();
        let address = words.next().unwrap_or_default();
        let names_localhost = words.any(|name| name == "localhost");
        // By Debian's custom this line is the host's own name: an earlier boot's, or the machine's that built
        // the image.
        if address == "127.0.1.1" {
            continue;
        }
        has_v4 |= address == "127.0.0.1" && names_localhost;
        has_v6 |= address == "::1" && names_localhost;
        merged.extend_from_slice(line);
        if !line.ends_with(b"\n") {
            merged.push(b'\n');
        }
    }
    if !has_v4 {
        merged.extend_from_slice(b"127.0.0.1 localhost\n");
    }
    if !has_v6 {
        merged.extend_from_slice(b"::1 localhost ip6-localhost ip6-loopback\n");
    }
    merged.extend_from_slice(format!("127.0.1.1 {hostname}\n").as_bytes());
    merged
}

/// The resolver's configuration.
pub(super) fn resolv_conf(network: &Network) -> String {
    let mut text = String::new();
    if !network.dns_search.is_empty() {
        text += &format!("search {}\n", network.dns_search.join(" "));
    }
    for server in &network.dns_servers {
        text += &format!("nameserver {server}\n");
    }
    text
}

/// `authorized_keys` with `key` in it once, and without the `former` one.
pub(super) fn replace_key(present: &[u8], former: Option<&str>, key: Option<&str>) -> Vec<u8> {
    let is =
        |line: &[u8], key: Option<&str>| key.is_some_and(|key| line.trim_ascii() == key.trim().as_bytes());
    let goes = |line: &[u8]| is(line, former) && !is(line, key);
    let lines = present.split_inclusive(|byte| *byte == b'\n');
    let mut keys = lines.filter(|line| !goes(line)).collect::<Vec<_>>().concat();
    let Some(key) = key.filter(|_| !keys.split(|byte| *byte == b'\n').any(|line| is(line, key))) else {
        return keys;
    };
    if !keys.is_empty() && !keys.ends_with(b"\n") {
        keys.push(b'\n');
    }
    keys.extend_from_slice(key.trim().as_bytes());
    keys.push(b'\n');
    keys
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_file_gets_what_it_needs() {
        let merged = merge_hosts(b"", "box");
        let text = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 box\n";
        assert_eq!(String::from_utf8(merged).unwrap(), text);
    }

    #[test]
    fn the_images_entries_stay_and_its_old_name_goes() {
        let merged = merge_hosts(b"127.0.0.1\tlocalhost\n127.0.1.1 old\n10.0.0.9 db # x", "new");
        let text = String::from_utf8(merged).unwrap();
        assert!(
            text.contains("10.0.0.9 db # x\n") && text.contains("127.0.1.1 new\n") && !text.contains("old")
        );
        assert_eq!(text.matches("127.0.0.1").count(), 1);
    }

    #[test]
    fn the_resolver_is_told_servers_and_search() {
        let network = Network {
            address: [10, 0, 2, 15].into(),
            prefix_len: 24,
            gateway: [10, 0, 2, 2].into(),
            dns_servers: vec![[10, 0, 2, 3].into()],
            dns_search: vec!["vm".into()],
        };
        assert_eq!(resolv_conf(&network), "search vm\nnameserver 10.0.2.3\n");
    }

    proptest! {
        #[test]
        fn merging_twice_changes_nothing_more(image: Vec<u8>, hostname in "[a-z]{1,10}") {
            let once = merge_hosts(&image, &hostname);
            prop_assert_eq!(merge_hosts(&once, &hostname), once);
        }

        #[test]
        fn a_key_is_added_once(present: Vec<u8>, key in "ssh-ed25519 [A-Za-z0-9]{8}") {
            let added = replace_key(&present, None, Some(&key));
            prop_assert!(added.starts_with(&present));
            prop_assert_eq!(&replace_key(&added, None, Some(&key)), &added);
            prop_assert_eq!(&replace_key(&added, Some(&key), Some(&key)), &added);
            let line = format!("{key}\n").into_bytes();
            let removed = replace_key(&added, Some(&key), None);
            prop_assert!(!removed.windows(line.len()).any(|bytes| bytes == line));
        }
    }
}
