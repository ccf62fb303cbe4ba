//! Which shell there is in an image, if any.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::command::{DEFAULT_PATH, find_program, is_executable};
use crate::passwd::RootAccount;

/// Looked for in this order when root has no shell of its own.
const NAMES: [&str; 3] = ["bash", "sh", "ash"];

/// Brings a shell, also where nobody has made a link of that name to it.
const BUSYBOX: &str = "busybox";
const BUSYBOX_SHELL: &str = "sh";

/// Shells of accounts that shall have none. In a VM of one's own that says nothing about root.
const NO_SHELLS: [&str; 2] = ["nologin", "false"];

/// A shell of the image's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shell {
    pub(super) program: PathBuf,
    /// It is busybox, which is told by its `argv[0]` what to be.
    busybox: bool,
}

impl Shell {
    /// Root's own shell when it can be run, else the first usable one on `path` or in the usual places.
    pub(super) fn find(account: &RootAccount, path: &OsStr) -> Option<Self> {
        let own = account.shell.as_ref().filter(|shell| {
            let name = shell.file_name().unwrap_or_default();
            !NO_SHELLS.iter().any(|none| name == *none) && is_executable(shell) == Some(true)
        });
        if let Some(program) = own {
            return Some(Self { program: program.clone(), busybox: false });
        }
        let on_paths = |name: &str| {
            let paths = [path, OsStr::new(DEFAULT_PATH)];
            paths.into_iter().find_map(|path| find_program(OsStr::new(name), path, Path::new("/")).ok())
        };
        let plain = NAMES.iter().find_map(|name| on_paths(name));
        let plain = plain.map(|program| Self { program, busybox: false });
        plain.or_else(|| Some(Self { program: on_paths(BUSYBOX)?, busybox: true }))
    }

    /// What `SHELL` is set to: programs run it with `-c`, which busybox without a link does not understand.
    pub(super) fn variable(&self) -> Option<&Path> {
        (!self.busybox).then_some(&self.program)
    }

    /// The `argv[0]` to start it with.
    pub(super) fn argv0(&self, login: bool) -> OsString {
        let name = if self.busybox {
            OsStr::new(BUSYBOX_SHELL)
        } else {
            self.program.file_name().unwrap_or(self.program.as_os_str())
        };
        let mut argv0 = OsString::from(if login { "-" } else { "" });
        argv0.push(name);
        argv0
    }

    /// The words to have another program start it.
    pub(super) fn words(&self, login: bool) -> Vec<OsString> {
        let applet = self.busybox.then_some(BUSYBOX_SHELL);
        let login = login.then_some("-l");
        let options = applet.into_iter().chain(login).map(OsString::from);
        std::iter::once(self.program.clone().into_os_string()).chain(options).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn program(path: &Path) {
        fs::write(path, "").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn roots_own_shell_comes_first_if_it_is_one() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["zsh", "nologin", "bash"] {
            program(&dir.path().join(name));
        }
        let find = |own: &str| {
            let account = RootAccount { shell: Some(dir.path().join(own)), ..RootAccount::default() };
            Shell::find(&account, dir.path().as_os_str()).unwrap().program
        };
        assert_eq!(find("zsh"), dir.path().join("zsh"));
        assert_eq!(find("nologin"), dir.path().join("bash"));
        assert_eq!(find("gone"), dir.path().join("bash"));
    }

    #[test]
    fn busybox_is_a_shell_without_any_link() {
        let busybox = Shell { program: "/bin/busybox".into(), busybox: true };
        assert_eq!((busybox.argv0(true), busybox.variable()), ("-sh".into(), None));
        assert_eq!(busybox.words(true), ["/bin/busybox", "sh", "-l"]);
        let plain = Shell { program: "/bin/ash".into(), busybox: false };
        assert_eq!((plain.argv0(false), plain.words(false)), ("ash".into(), vec!["/bin/ash".into()]));
        assert_eq!(plain.variable(), Some(Path::new("/bin/ash")));
    }
}
