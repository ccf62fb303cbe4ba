//! Where a lock file has packages fetched from.

use std::collections::HashSet;

use super::names::file_name;

const LOCK_FILES: &[&str] = &[
    "bun.lock",
    "cargo.lock",
    "cartfile.resolved",
    "composer.lock",
    "conda-lock.yml",
    "deno.lock",
    "flake.lock",
    "gemfile.lock",
    "gradle.lockfile",
    "npm-shrinkwrap.json",
    "package-lock.json",
    "package.resolved",
    "pdm.lock",
    "pipfile.lock",
    "pixi.lock",
    "pnpm-lock.yaml",
    "podfile.lock",
    "poetry.lock",
    "pubspec.lock",
    "uv.lock",
    "yarn.lock",
];

/// More hosts than this no lock file names.
const MAX_HOSTS: usize = 10_000;

pub(super) fn is_lock_file(folded_path: &[u8]) -> bool {
    let name = file_name(folded_path);
    LOCK_FILES.iter().any(|known| known.as_bytes() == name)
}

/// The hosts that the lines of a lock file name, before and after.
#[derive(Default)]
pub(super) struct Hosts {
    before: HashSet<Vec<u8>>,
    added: HashSet<Vec<u8>>,
}

impl Hosts {
    pub(super) fn see(&mut self, line: &[u8], is_added: bool) {
        let known = if is_added { &mut self.added } else { &mut self.before };
        for host in hosts(line) {
            if known.len() < MAX_HOSTS {
                known.insert(host.to_ascii_lowercase());
            }
        }
    }

    /// Those that came, in their order.
    pub(super) fn added(&self) -> Vec<&[u8]> {
        let mut new: Vec<&[u8]> = self.added.difference(&self.before).map(Vec::as_slice).collect();
        new.sort_unstable();
        new
    }
}

/// All hosts that a lock file names.
pub fn locked_hosts(content: &[u8]) -> HashSet<Vec<u8>> {
    content.split(|byte| *byte == b'\n').flat_map(hosts).map(<[u8]>::to_ascii_lowercase).collect()
}

/// What comes after `://` and before the next `/`, without who signs in there.
fn hosts(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let starts =
        line.windows(3).enumerate().filter(|(_, window)| *window == b"://").map(|(place, _)| place + 3);
    starts.map(|start| {
        let rest = &line[start..];
        let is_end = |byte: &u8| byte.is_ascii_whitespace() || b"/?#\"'\\),]}".contains(byte);
        let host = &rest[..rest.iter().position(is_end).unwrap_or(rest.len())];
        host.rsplit(|byte| *byte == b'@').next().unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_host_is_one_that_was_not_named() {
        let mut seen = Hosts::default();
        seen.see(b"  \"resolved\": \"https://one.example/a.tgz\",", false);
        seen.see(b"  \"resolved\": \"https://ONE.example/b.tgz\",", true);
        assert!(seen.added().is_empty());
        seen.see(b"source = \"git+ssh://git@two.example:22/x?rev=1\"", true);
        assert_eq!(seen.added(), [b"two.example:22"]);
        assert_eq!(hosts(b"a://b c://u:p@d:1/x").collect::<Vec<_>>(), [&b"b"[..], b"d:1"]);
    }
}
