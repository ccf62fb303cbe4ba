//! What the user's SSH client is told of VMs. Bytes only, no files.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::{KNOWN_HOSTS, SshError, USER_KEY};

/// For every VM. The first value wins in ssh, so that what a user has set for all hosts gives a guest neither
/// his agent nor his display, and no password of his. `IdentityFile` is another matter: ssh adds them up, and
/// a guest that refuses banger's key is shown the public ones of those that are named for all hosts.
///
/// A host key is pinned before a VM's first boot: none is learned, be it from DNS or from the guest itself.
const FIXED: &[(&str, &str)] = &[
    ("User", "root"),
    ("StrictHostKeyChecking", "yes"),
    ("GlobalKnownHostsFile", "/dev/null"),
    ("HostKeyAlgorithms", "ssh-ed25519"),
    ("UpdateHostKeys", "no"),
    ("VerifyHostKeyDNS", "no"),
    ("CheckHostIP", "no"),
    ("CanonicalizeHostname", "no"),
    ("IdentitiesOnly", "yes"),
    ("IdentityAgent", "none"),
    ("AddKeysToAgent", "no"),
    ("PreferredAuthentications", "publickey"),
    ("PubkeyAuthentication", "yes"),
    ("PasswordAuthentication", "no"),
    ("KbdInteractiveAuthentication", "no"),
    ("HostbasedAuthentication", "no"),
    ("GSSAPIAuthentication", "no"),
    ("ForwardAgent", "no"),
    ("ForwardX11", "no"),
    ("ForwardX11Trusted", "no"),
    ("PermitLocalCommand", "no"),
    ("Tunnel", "no"),
    ("ControlMaster", "no"),
    ("ControlPath", "none"),
    ("ProxyUseFdpass", "no"),
];

/// Whatever ends in `.vm`. A name with a quote in it would get out of the quotes around it below, where a
/// shell reads it; git takes such names from repositories (CVE-2023-51385).
const HOSTS: &str = "Host *.vm \"!*'*\"\n";

/// Where things are.
pub(super) struct ClientConfig<'a> {
    /// The program `banger`.
    pub(super) banger: &'a Path,
    /// What makes it find this daemon and no other, whatever else is set where ssh is started.
    pub(super) environment: &'a [(&'a str, OsString)],
    /// Where the keys are.
    pub(super) dir: &'a Path,
}

impl ClientConfig<'_> {
    /// # Errors
    ///
    /// When a path cannot be expressed.
    pub(super) fn text(&self) -> Result<Vec<u8>, SshError> {
        let identity = quoted(&self.dir.join(USER_KEY))?;
        let known_hosts = quoted(&self.dir.join(KNOWN_HOSTS))?;
        let mut text =
            b"# Written by bangerd at each start. Do not edit: `banger ssh -o` sets options for once.\n"
                .to_vec();
        text.extend(HOSTS.as_bytes());
        let own = [
            ("ProxyCommand", self.proxy_command()?),
            ("IdentityFile", identity),
            ("UserKnownHostsFile", known_hosts),
        ];
        let fixed = FIXED.iter().map(|(key, value)| (*key, value.as_bytes().to_vec()));
        for (key, value) in own.into_iter().chain(fixed) {
            text.extend([b"    ", key.as_bytes(), b" ", &value, b"\n"].concat());
        }
        Ok(text)
    }

    /// ssh expands `%n` to the name as it was typed, and gives the line to the user's shell, with an `exec`
    /// in front.
    fn proxy_command(&self) -> Result<Vec<u8>, SshError> {
        let mut words: Vec<Vec<u8>> = Vec::new();
        if !self.environment.is_empty() {
            words.push(b"env".into());
        }
        for (name, value) in self.environment {
            words.push([name.as_bytes(), b"=", &for_shell(Path::new(value))?].concat());
        }
        words.push(for_shell(self.banger)?);
        words.push(b"ssh-proxy -- '%n'".into());
        Ok(words.join(&b' '))
    }
}

/// A word for a shell, after ssh has expanded what begins with `%`. ssh splits the line into words of its own
/// first, and refuses it where quotes are left open: backslashes alone mean the same to both.
fn for_shell(path: &Path) -> Result<Vec<u8>, SshError> {
    let mut word = Vec::new();
    for byte in bytes_of_line(path)? {
        match byte {
            b'%' => word.extend(b"%%"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' | b'+' | b'@' | 0x80.. => {
                word.push(*byte);
            }
            other => word.extend([b'\\', *other]),
        }
    }
    Ok(word)
}

/// An argument of ssh's, in which it expands `%` and `${NAME}`.
fn quoted(path: &Path) -> Result<Vec<u8>, SshError> {
    let bytes = bytes_of_line(path)?;
    if bytes.windows(2).any(|pair| pair == b"${") {
        return Err(SshError::Unspeakable { path: path.into() });
    }
    let mut word = vec![b'"'];
    for byte in bytes {
        match byte {
            b'"' => word.extend(b"\\\""),
            b'\\' => word.extend(b"\\\\"),
            b'%' => word.extend(b"%%"),
            other => word.push(*other),
        }
    }
    word.push(b'"');
    Ok(word)
}

fn bytes_of_line(path: &Path) -> Result<&[u8], SshError> {
    let bytes = path.as_os_str().as_bytes();
    let line = !bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r' | 0));
    line.then_some(bytes).ok_or_else(|| SshError::Unspeakable { path: path.into() })
}

#[cfg(test)]
mod tests {
    use banger_host::command::{Command, find_program};

    use super::*;

    fn text(dir: &str) -> Result<String, SshError> {
        let environment = [("XDG_STATE_HOME", OsString::from(dir))];
        let banger = Path::new(dir).join("bin/banger");
        let config = ClientConfig {
            banger: &banger,
            environment: &environment,
            dir: &Path::new(dir).join("banger/ssh"),
        };
        config.text().map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn odd_paths_are_quoted_for_whom_they_are_read_by() {
        let config = text("/a b/50%/it's/\"q\"\\/$X").unwrap();
        assert!(
            config.contains(
                r#"ProxyCommand env XDG_STATE_HOME=/a\ b/50%%/it\'s/\"q\"\\/\$X /a\ b/50%%/it\'s/\"q\"\\/\$X/bin/banger ssh-proxy -- '%n'"#
            ),
            "{config}"
        );
        assert!(
            config.contains("IdentityFile \"/a b/50%%/it's/\\\"q\\\"\\\\/$X/banger/ssh/id_ed25519\"\n"),
            "{config}"
        );
        for path in ["/a\nb", "/${HOME}/x"] {
            assert!(matches!(text(path), Err(SshError::Unspeakable { .. })), "{path}");
        }
    }

    /// ssh itself says what it makes of it.
    #[tokio::test]
    async fn ssh_understands_it() {
        if find_program("ssh").is_err() {
            println!("skipped: no ssh");
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a b/50%/it's \"q\"\\");
        std::fs::create_dir_all(&dir).unwrap();
        let dir = dir.to_str().unwrap();
        let file = Path::new(dir).join("config");
        std::fs::write(&file, text(dir).unwrap()).unwrap();
        // As the user's file has it, with values of his own behind.
        let outer = root.path().join("outer");
        let include = super::super::config_include::line(&file).unwrap();
        let users = b"\nHost *\n  ForwardAgent yes\n  StrictHostKeyChecking no\n  ProxyCommand none\n";
        std::fs::write(&outer, [&include[..], users].concat()).unwrap();
        let said = |host: &'static str| {
            // Newer ones refuse some names on their own.
            let ssh = Command::new("ssh").ok_codes(&[0, 255]);
            let ssh = ssh.args(["-G", "-F"]).arg(&outer).arg("--").arg(host);
            async move { String::from_utf8(ssh.run().await.unwrap().stdout).unwrap() }
        };
        let of_vm = said("brave-otter.vm").await;
        for line in [
            format!("userknownhostsfile {dir}/banger/ssh/known_hosts"),
            "forwardagent no".into(),
            "stricthostkeychecking true".into(),
            "user root".into(),
            "identityagent none".into(),
            "updatehostkeys false".into(),
        ] {
            assert!(of_vm.lines().any(|found| found == line), "{line}\n{of_vm}");
        }
        assert!(of_vm.contains("/bin/banger ssh-proxy -- '%n'"), "{of_vm}");
        for other in ["vm", "x.vm.org", "a';touch x;'.vm"] {
            let of_other = said(other).await;
            assert!(!of_other.contains("ssh-proxy"), "{of_other}");
        }
    }
}
