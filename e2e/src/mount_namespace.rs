use std::time::Duration;

use crate::home::Home;
use crate::run::Running;
use crate::spawn::tool;
use crate::wait::until;

/// A mount namespace with something in it that only those see who enter it; it lasts as long as this value. A
/// daemon in there is found from in there only: its state directory is another one from outside.
pub struct MountNamespace {
    kept: Running,
}

impl MountNamespace {
    /// Runs `script` in a new namespace, in the environment of `home`. It mounts what it likes and ends with
    /// `exec "$@"`.
    #[track_caller]
    pub fn new(home: &Home, script: &str, size: &str) -> Self {
        let wrapper = ["unshare", "--mount", "sh", "-c", script, "sh"];
        let sleep = home.program("/bin/sleep").args(["1800"]);
        let kept = sleep.env("SMALL_DISK", size).under(&wrapper).start();
        let comm = format!("/proc/{}/comm", kept.pid());
        until("the mount namespace is ready", Duration::from_secs(20), || {
            std::fs::read_to_string(&comm).is_ok_and(|name| name == "sleep\n")
        });
        Self { kept }
    }

    /// What enters it, for [`Home::under`].
    pub fn entry(&self) -> String {
        format!("--mount=/proc/{}/ns/mnt", self.kept.pid())
    }

    /// A path in there, as it is reached from outside.
    pub fn outside(&self, path: &std::path::Path) -> String {
        format!("/proc/{}/root{}", self.kept.pid(), path.display())
    }

    /// Runs a tool in there.
    ///
    /// # Panics
    ///
    /// When it fails.
    pub fn tool(&self, argv: &[&str]) {
        let entry = self.entry();
        let (worked, said) = tool(&[&["nsenter", &entry], argv].concat()).expect("nsenter is there");
        assert!(worked, "{argv:?}: {said}");
    }
}
