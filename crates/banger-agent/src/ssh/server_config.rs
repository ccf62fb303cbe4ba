//! What SSH servers in the guest are told. Text only, no files.

use std::path::Path;

/// Keys only. sshd takes the first value of each, so this has to come first.
///
/// The older name of `KbdInteractiveAuthentication` is there for servers before 8.7, where it is another
/// setting.
const KEYS_ONLY: &str = "\
PasswordAuthentication no
KbdInteractiveAuthentication no
ChallengeResponseAuthentication no
PermitEmptyPasswords no
HostbasedAuthentication no
PubkeyAuthentication yes
PermitRootLogin prohibit-password
StrictModes yes
PermitUserEnvironment no
X11Forwarding no
PermitTunnel no
GatewayPorts no
";

/// For the server of one connection of the host's. Forwarding is the client's to ask for: editors need it for
/// their own servers in the guest.
const ONE_CONNECTION: &str = "\
AuthenticationMethods publickey
AllowTcpForwarding yes
AllowAgentForwarding yes
AcceptEnv LANG LC_* COLORTERM
Subsystem sftp internal-sftp
LoginGraceTime 60
MaxSessions 64
LogLevel ERROR
PrintMotd no
PrintLastLog no
UseDNS no
PidFile none
";

/// Does the server ask PAM whether an account may log in?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pam {
    Used,
    None,
}

/// Where a server that the image's init starts has banger's part of its configuration. Parts are read in the
/// order of their names, before the rest.
pub const DROP_IN: &str = "/etc/ssh/sshd_config.d/0-banger.conf";

/// The whole configuration of a server for one connection.
pub fn server_config(host_key: &Path, authorized_keys: &Path, pam: Pam) -> String {
    let use_pam = match pam {
        Pam::Used => "yes",
        Pam::None => "no",
    };
    format!(
        "# Written by banger's agent for each connection.\n{KEYS_ONLY}{ONE_CONNECTION}UsePAM {use_pam}\nHostKey {}\nAuthorizedKeysFile {} .ssh/authorized_keys\n",
        host_key.display(),
        authorized_keys.display()
    )
}

/// Banger's part of the configuration of a server that the image's init starts.
pub fn drop_in() -> String {
    format!("# Written by banger's agent at each start of the VM.\n{KEYS_ONLY}")
}

/// Does a server with this configuration read [`DROP_IN`], and before anything else? A value or a `Match`
/// above the line would win.
pub fn reads_drop_in(sshd_config: &[u8]) -> bool {
    let mut lines = sshd_config.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with(b"#"));
    first.is_some_and(|line| {
        let line = line.to_ascii_lowercase();
        line.starts_with(b"include") && line.windows(14).any(|part| part == b"sshd_config.d/")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_setting_is_made_once() {
        let text = server_config(Path::new("/k"), Path::new("/a"), Pam::None);
        let mut names: Vec<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "{text}");
        assert!(
            text.contains("UsePAM no\nHostKey /k\nAuthorizedKeysFile /a .ssh/authorized_keys\n"),
            "{text}"
        );
    }

    #[test]
    fn a_configuration_that_begins_with_its_parts_is_told_from_others() {
        for (config, reads) in [
            ("# x\n\nInclude /etc/ssh/sshd_config.d/*.conf\nPort 22\n", true),
            ("include \"/etc/ssh/sshd_config.d/*.conf\"\r\n", true),
            ("PasswordAuthentication yes\nInclude /etc/ssh/sshd_config.d/*.conf\n", false),
            ("#Include /etc/ssh/sshd_config.d/*.conf\nPort 22\n", false),
            ("Include /etc/crypto-policies/sshd.config\n", false),
            ("", false),
        ] {
            assert_eq!(reads_drop_in(config.as_bytes()), reads, "{config:?}");
        }
    }

    proptest! {
        #[test]
        fn any_configuration_can_be_looked_at(bytes: Vec<u8>) {
            reads_drop_in(&bytes);
        }
    }
}
