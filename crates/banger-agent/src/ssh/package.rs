//! In which package a distribution has its SSH server, by `/etc/os-release`.

use std::fmt;

/// By `ID`, and by what is in `ID_LIKE` for those that are not here.
const PACKAGES: [(&str, &str, &str); 12] = [
    ("debian", "openssh-server", "apt-get update && apt-get install -y openssh-server"),
    ("ubuntu", "openssh-server", "apt-get update && apt-get install -y openssh-server"),
    ("fedora", "openssh-server", "dnf install -y openssh-server"),
    ("rhel", "openssh-server", "dnf install -y openssh-server"),
    ("centos", "openssh-server", "dnf install -y openssh-server"),
    ("amzn", "openssh-server", "dnf install -y openssh-server"),
    ("alpine", "openssh", "apk add openssh"),
    ("arch", "openssh", "pacman -Sy --noconfirm openssh"),
    ("suse", "openssh", "zypper --non-interactive install openssh"),
    ("opensuse", "openssh", "zypper --non-interactive install openssh"),
    ("void", "openssh", "xbps-install -Sy openssh"),
    ("gentoo", "net-misc/openssh", "emerge net-misc/openssh"),
];

/// Longer names are no names.
const NAME_MAX_LEN: usize = 80;

/// Where to get an SSH server from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Of the distribution, for people.
    system: Option<String>,
    found: Option<(&'static str, &'static str)>,
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.system, self.found) {
            (Some(system), Some((package, command))) => {
                write!(f, "{system} has it in the package {package}: {command}")
            }
            (Some(system), None) => write!(f, "{system} may have OpenSSH's server as a package"),
            (None, _) => f.write_str("there is no /etc/os-release that says which distribution it is"),
        }
    }
}

impl std::error::Error for Package {}

pub(super) fn of_this_system() -> Package {
    // Some images have neither.
    let text = ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|path| std::fs::read(path).ok());
    package(&text.unwrap_or_default())
}

/// Reads an `os-release` file.
pub fn package(os_release: &[u8]) -> Package {
    let text = String::from_utf8_lossy(os_release);
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='));
        line.map(|value| value.trim_matches(['"', '\'']).to_owned()).filter(|value| !value.is_empty())
    };
    let (id, like) = (value("ID"), value("ID_LIKE").unwrap_or_default());
    let known = |word: &str| {
        let found = PACKAGES
            .iter()
            .find(|(id, ..)| *id == word || (*id == "opensuse" && word.starts_with("opensuse-")));
        found.map(|(_, package, command)| (*package, *command))
    };
    let found = id.iter().map(String::as_str).chain(like.split_whitespace()).find_map(known);
    let system = value("PRETTY_NAME").or(value("NAME")).or(id);
    Package { system: system.map(|name| name.chars().take(NAME_MAX_LEN).collect()), found }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn distributions_are_known_by_themselves_and_by_their_parents() {
        for (text, words) in [
            (
                "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nID=debian\n",
                "Debian GNU/Linux 13 (trixie) has it in the package openssh-server: apt-get",
            ),
            (
                "ID=alpine\nID_LIKE=x\nNAME='Alpine Linux'\n",
                "Alpine Linux has it in the package openssh: apk add openssh",
            ),
            (
                "NAME=Mint\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n",
                "Mint has it in the package openssh-server: apt-get",
            ),
            (
                "ID=\"opensuse-tumbleweed\"\nID_LIKE=\"opensuse suse\"\n",
                "opensuse-tumbleweed has it in the package openssh: zypper",
            ),
            ("ID=rocky\nID_LIKE=\"rhel centos fedora\"\n", "rocky has it in the package openssh-server: dnf"),
            ("ID=own\n", "own may have OpenSSH's server as a package"),
            ("", "there is no /etc/os-release"),
        ] {
            assert!(package(text.as_bytes()).to_string().starts_with(words), "{}", package(text.as_bytes()));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_name_some_package(bytes: Vec<u8>) {
            prop_assert!(!package(&bytes).to_string().is_empty());
        }
    }
}
