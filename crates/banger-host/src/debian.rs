//! Kernels and images out of Debian's signed archive, by mmdebstrap: a tar file in a staging directory.
//!
//! mmdebstrap chooses mirror and keys. It runs in namespaces of our making: as root of a new user namespace
//! when we are an ordinary user (so the staging directory can stay private), and always as the child of a PID
//! namespace's first process. When the daemon is killed, the kernel kills that process, with it everything in
//! the namespace, and drops the mounts.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::command::{Command, CommandError, find_program};
use crate::files::FileError;
use crate::staging::remove_tree;
use crate::system::{SystemError, free_disk_bytes, is_root, uid};

const CUSTOMIZE: &str = include_str!("debian/customize.sh");
const EXTRACT: &str = include_str!("debian/extract.sh");

/// How many ids a Debian system uses at least.
const SUB_IDS_MIN: u64 = 65_536;

/// Less than this at the end of a failed build means that the disk was full.
const NEARLY_FULL_BYTES: u64 = 64 << 20;

/// How often a running build's disk is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// After so many looks at a nearly full disk without a word from the build it is taken for stuck.
const STUCK_LOOKS: u32 = 6;

const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The least with which systemd is content.
const MINIMAL_PACKAGES: &[&str] =
    &["systemd-sysv", "dbus", "kmod", "procps", "iproute2", "ca-certificates", "less"];

/// What a developer or a coding agent reaches for.
const GOLDEN_PACKAGES: &[&str] = &[
    "build-essential",
    "curl",
    "git",
    "jq",
    "openssh-server",
    "python3-minimal",
    "ripgrep",
    "rsync",
    "tmux",
    "vim-tiny",
];

/// Docker with what its users expect beside it, all of the distribution's own.
const DOCKER_PACKAGES: &[&str] =
    &["docker.io", "docker-buildx", "docker-cli", "docker-compose", "iptables", "tini"];

/// Documentation and translations that nobody reads in a disposable VM.
const EXCLUDED_PATHS: &[&str] = &["doc/*", "info/*", "lintian/*", "locale/*", "man/*"];

/// Why a build failed, or would.
#[derive(Debug, thiserror::Error)]
pub enum DebianError {
    #[error("{0:?} is not a Debian suite's name")]
    Suite(String),
    #[error("a tool that is needed to build from Debian's archive is missing")]
    Tool(#[source] CommandError),
    #[error("the Debian archive's keys are not installed (Debian package debian-archive-keyring)")]
    Keyring,
    #[error(
        "{file} gives user {user} no range of {SUB_IDS_MIN} ids (to fix: \
         sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user})"
    )]
    SubIds { file: &'static str, user: String },
    #[error(
        "this kernel does not let ordinary users make user namespaces (to fix: sudo sysctl -w {setting})"
    )]
    UserNamespaces { setting: &'static str },
    #[error("{} MiB are needed in {}, {} MiB are free", needed_bytes >> 20, path.display(), free_bytes >> 20)]
    NoSpace { path: PathBuf, needed_bytes: u64, free_bytes: u64 },
    #[error("could not look at the disk")]
    Space(#[from] SystemError),
    #[error("could not prepare the build in {}", path.display())]
    Prepare { path: PathBuf, source: io::Error },
    #[error("could not get {suite}'s packages from the Debian archive (is the network up?)")]
    Fetch { suite: String, source: CommandError },
    #[error("could not install {suite}'s packages")]
    Install { suite: String, source: CommandError },
    #[error("could not clean up after the build")]
    CleanUp(#[from] FileError),
}

/// What is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// `boot/vmlinuz-*` and the modules of the suite's cloud kernel, with depmod's files.
    Kernel,
    /// A system for developers.
    Golden,
    /// That, and Docker. Needs Debian 13.
    Docker,
    /// A system that boots, and little else.
    Minimal,
}

impl Recipe {
    /// What the build takes on disk at its peak, in bytes: tree, tar file and downloads.
    pub fn needed_bytes(self) -> u64 {
        let mib = match self {
            Self::Kernel => 600,
            Self::Golden => 1700,
            Self::Docker => 2700,
            Self::Minimal => 600,
        };
        mib << 20
    }

    fn args(self) -> Vec<String> {
        let packages = match self {
            Self::Kernel => {
                // The last two are what depmod opens compressed modules with, if it finds them; without, it
                // sees no dependency.
                return ["--variant=extract", "--include=linux-image-cloud-amd64,liblzma5,libzstd1"]
                    .map(String::from)
                    .into();
            }
            Self::Golden => [MINIMAL_PACKAGES, GOLDEN_PACKAGES].concat(),
            Self::Docker => [MINIMAL_PACKAGES, GOLDEN_PACKAGES, DOCKER_PACKAGES].concat(),
            Self::Minimal => MINIMAL_PACKAGES.to_vec(),
        };
        let mut args = vec![
            "--variant=minbase".into(),
            format!("--include={}", packages.join(",")),
            "--aptopt=APT::Install-Recommends \"false\"".into(),
            "--dpkgopt=force-unsafe-io".into(),
            r#"--customize-hook=sh "$BANGER_STAGING/customize.sh" "$1""#.into(),
        ];
        args.extend(EXCLUDED_PATHS.iter().map(|path| format!("--dpkgopt=path-exclude=/usr/share/{path}")));
        args.push("--dpkgopt=path-include=/usr/share/doc/*/copyright".into());
        args.push("--dpkgopt=path-include=/usr/share/locale/locale.alias".into());
        args
    }
}

/// A build from Debian's archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebianBuild {
    suite: String,
    recipe: Recipe,
    environment: Vec<(&'static str, Option<String>)>,
}

impl DebianBuild {
    /// `suite` is a release's code name: `trixie`.
    pub fn new(suite: impl Into<String>, recipe: Recipe) -> Self {
        Self { suite: suite.into(), recipe, environment: Vec::new() }
    }

    /// Variables to set, or to unset: proxies, say.
    #[must_use]
    pub fn environment(self, environment: Vec<(&'static str, Option<String>)>) -> Self {
        Self { environment, ..self }
    }

    /// Looks whether a build can work here, as far as one can tell without the network.
    ///
    /// # Errors
    ///
    /// The first thing that is missing, with what to do about it.
    pub fn check(&self) -> Result<(), DebianError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !self.suite.starts_with(|c: char| c.is_ascii_lowercase()) || !self.suite.chars().all(plain) {
            return Err(DebianError::Suite(self.suite.clone()));
        }
        for tool in ["mmdebstrap", "unshare"] {
            find_program(tool).map_err(DebianError::Tool)?;
        }
        if !is_root() {
            check_user_namespaces()?;
        }
        check_keyring()
    }

    /// Builds, and answers the path of the tar file in `staging`, an existing directory. `on_line` gets
    /// progress for people. It takes seconds for a kernel and minutes for an image.
    ///
    /// # Errors
    ///
    /// As [`Self::check`], when the archive cannot be reached or verified, when the disk fills, or when a
    /// package does not install. What the build left is removed then; after a cancellation
    /// [`crate::staging::remove_stale`] does that.
    pub async fn run(
        &self,
        staging: &Path,
        mut on_line: impl FnMut(&str) + Send,
    ) -> Result<PathBuf, DebianError> {
        self.check()?;
        let (free_bytes, needed_bytes) = (free_disk_bytes(staging)?, self.recipe.needed_bytes());
        if free_bytes < needed_bytes {
            return Err(DebianError::NoSpace { path: staging.to_owned(), needed_bytes, free_bytes });
        }
        let work = staging.join("mmdebstrap");
        prepare(&work).map_err(|source| DebianError::Prepare { path: work.clone(), source })?;
        let tar = staging.join("rootfs.tar");
        let spoke = AtomicBool::new(false);
        let building = self.command(&work, &tar).run_streaming(|_, line| {
            spoke.store(true, Ordering::Relaxed);
            on_line(readable(line));
        });
        let is_nearly_full = || free_disk_bytes(staging).is_ok_and(|free| free < NEARLY_FULL_BYTES);
        let result = tokio::select! {
            result = building => Some(result),
            () = stuck(is_nearly_full, &spoke, LOOK_INTERVAL) => None,
        };
        let free_bytes = free_disk_bytes(staging)?;
        let fetched = work.join("fetched").exists();
        remove_tree(&work).await?;
        if let Some(Ok(_)) = result {
            return Ok(tar);
        }
        remove_tree(&tar).await?;
        let no_space = DebianError::NoSpace { path: staging.to_owned(), needed_bytes, free_bytes };
        let Some(Err(source)) = result else { return Err(no_space) };
        let suite = self.suite.clone();
        Err(match source {
            CommandError::NotFound { .. } => DebianError::Tool(source),
            _ if free_bytes < NEARLY_FULL_BYTES => no_space,
            _ if fetched => DebianError::Install { suite, source },
            _ => DebianError::Fetch { suite, source },
        })
    }

    fn command(&self, work: &Path, tar: &Path) -> Command {
        let mut command = Command::new("unshare");
        for (name, value) in &self.environment {
            command = match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if !is_root() {
            command = command.args(["--user", "--map-root-user", "--map-auto"]);
        }
        if self.recipe == Recipe::Kernel {
            command = command.env("BANGER_DEPMOD", "1");
        }
        command
            .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--", "mmdebstrap"])
            .args(["--mode=root", "--format=tar", "--verbose"])
            // Devices are the guest kernel's to provide.
            .arg("--skip=output/dev")
            .args(self.recipe.args())
            .arg(r#"--extract-hook=sh "$BANGER_STAGING/extract.sh" "$1""#)
            .arg(&self.suite)
            .arg(tar)
            .env("BANGER_STAGING", work)
            .env("TMPDIR", work.join("tmp"))
            .env("PATH", SYSTEM_PATH)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .cwd(work)
    }
}

fn prepare(work: &Path) -> io::Result<()> {
    std::fs::create_dir_all(work.join("tmp"))?;
    std::fs::write(work.join("customize.sh"), CUSTOMIZE)?;
    std::fs::write(work.join("extract.sh"), EXTRACT)
}

/// Waits until a build has said nothing for a while on a nearly full disk: apt, when it cannot write, may
/// wait for ever for a download that it has given up.
async fn stuck(is_nearly_full: impl Fn() -> bool, spoke: &AtomicBool, interval: Duration) {
    let mut looks = 0;
    while looks < STUCK_LOOKS {
        tokio::time::sleep(interval).await;
        looks = if spoke.swap(false, Ordering::Relaxed) || !is_nearly_full() { 0 } else { looks + 1 };
    }
}

/// mmdebstrap marks its own lines.
fn readable(line: &str) -> &str {
    line.strip_prefix("I: ").unwrap_or(line)
}

fn check_keyring() -> Result<(), DebianError> {
    let has_keys = |dir: &str| {
        // What cannot be read is no keyring that apt could use.
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("debian-archive-"))
    };
    let found = ["/usr/share/keyrings", "/etc/apt/trusted.gpg.d"].into_iter().any(has_keys);
    if found { Ok(()) } else { Err(DebianError::Keyring) }
}

fn check_user_namespaces() -> Result<(), DebianError> {
    for tool in ["newuidmap", "newgidmap"] {
        find_program(tool).map_err(DebianError::Tool)?;
    }
    let user = user_name();
    for file in ["/etc/subuid", "/etc/subgid"] {
        // What cannot be read gives no ids, to newuidmap neither.
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if !has_sub_ids(&text, &user, uid()) {
            return Err(DebianError::SubIds { file, user });
        }
    }
    let forbidden = [
        ("/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces=10000"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ];
    for (file, value, setting) in forbidden {
        if std::fs::read_to_string(file).is_ok_and(|text| text.trim() == value) {
            return Err(DebianError::UserNamespaces { setting });
        }
    }
    Ok(())
}

/// The user's name, or id where it has none.
fn user_name() -> String {
    let uid = uid().to_string();
    // Without it a user has no name; the number does.
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    name.unwrap_or(uid)
}

/// Lines of `user:first:count`.
fn has_sub_ids(text: &str, user: &str, uid: u32) -> bool {
    text.lines().any(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [owner, _, count] = fields[..] else { return false };
        (owner == user || owner == uid.to_string())
            && count.trim().parse().is_ok_and(|count: u64| count >= SUB_IDS_MIN)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_ids_are_found_by_name_or_number_when_there_are_enough() {
        let text = "alice:100000:65536\n1001:165536:65536\nbob:231072:1000\n\nbroken\n";
        assert!(has_sub_ids(text, "alice", 1000));
        assert!(has_sub_ids(text, "carol", 1001));
        assert!(!has_sub_ids(text, "bob", 1002));
        assert!(!has_sub_ids("", "alice", 1000));
    }

    #[tokio::test]
    async fn only_silence_on_a_full_disk_is_being_stuck() {
        let interval = Duration::from_millis(5);
        let long = interval * 4 * STUCK_LOOKS;
        let (spoke, silent) = (AtomicBool::new(false), AtomicBool::new(false));
        let chatter = async {
            loop {
                spoke.store(true, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = chatter => {}
            () = stuck(|| true, &spoke, interval) => panic!("it spoke"),
            () = stuck(|| false, &silent, interval) => panic!("there is room"),
            () = tokio::time::sleep(long) => {}
        }
        stuck(|| true, &silent, interval).await;
    }

    #[test]
    fn a_suite_cannot_be_an_option_or_a_path() {
        for suite in ["", "--mode=root", "../x", "a b", "Trixie"] {
            let result = DebianBuild::new(suite, Recipe::Kernel).check();
            assert!(matches!(result, Err(DebianError::Suite(_))), "{suite:?}");
        }
    }
}
