use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use banger_api::daemon::DaemonStatus;
use banger_api::vm::{Vm, VmState};
use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::owned::{is_alive, kill_all, owned_by, send};
use crate::programs::Programs;
use crate::run::Run;
use crate::seed::{self, Seed};
use crate::wait::until;

/// Held with `flock` for as long as the home's scenario lives.
const LOCK: &str = "scenario.lock";

/// Small VMs: two of them boot side by side on two emulated cores.
const CONFIG: &str = "[vm_defaults]\nvcpu = 1\nmemory_mib = 384\ndisk_size = \"256MiB\"\n";

/// Everything banger keeps, in a directory of its own, with a daemon of its own.
pub struct Home {
    root: TempDir,
    _lock: File,
    programs: Programs,
    wrapper: Vec<OsString>,
    path: Option<OsString>,
}

impl Home {
    /// With the default kernel and the minimal image, which is the default image here.
    pub fn new() -> Self {
        Self::seeded(Seed::Minimal)
    }

    /// With the golden image as well, which is the default image here.
    pub fn golden() -> Self {
        Self::seeded(Seed::Golden)
    }

    /// With the image that brings Docker as well, which is the default image here.
    pub fn docker() -> Self {
        Self::seeded(Seed::Docker)
    }

    fn seeded(seed: Seed) -> Self {
        let home = Self::bare();
        home.configure(&format!("default_image = \"{}\"\n{CONFIG}", seed.image()));
        seed::plant(seed, &home.state());
        home
    }

    /// Without kernel, image and configuration.
    ///
    /// # Panics
    ///
    /// When the directory cannot be made.
    pub fn bare() -> Self {
        let parent = seed::cache_dir().join("h");
        Self::bare_in(&parent)
    }

    /// A bare one in a directory of choice.
    ///
    /// # Panics
    ///
    /// When the directory cannot be made.
    pub fn bare_in(parent: &Path) -> Self {
        let programs = Programs::find();
        std::fs::create_dir_all(parent).expect("a directory for homes");
        // One at a time, or a new home would look like an abandoned one until it is locked.
        let turn = File::create(parent.join(".lock")).expect("a lock for homes");
        flock(&turn, FlockOperation::LockExclusive).expect("our turn to make a home");
        remove_abandoned(parent);
        let root = tempfile::Builder::new().prefix("").rand_bytes(6).tempdir_in(parent).expect("a home");
        let lock = File::create(root.path().join(LOCK)).expect("a lock in the home");
        flock(&lock, FlockOperation::LockExclusive).expect("the lock of a new home");
        Self { root, _lock: lock, programs, wrapper: Vec::new(), path: None }
    }

    /// Writes the configuration file.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn configure(&self, text: &str) {
        let dir = self.root().join("config/banger");
        std::fs::create_dir_all(&dir).expect("a configuration directory");
        std::fs::write(dir.join("config.toml"), text).expect("a configuration file");
    }

    /// From now on everything is started by `wrapper`.
    #[must_use]
    pub fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(OsString::from).collect();
        self
    }

    /// From now on these programs are used.
    #[must_use]
    pub fn with_programs(mut self, programs: Programs) -> Self {
        self.programs = programs;
        self
    }

    /// From now on PATH leads to everything in it now but the programs `hidden`.
    ///
    /// # Panics
    ///
    /// When the links cannot be made.
    #[must_use]
    pub fn without_programs(mut self, hidden: &[&str]) -> Self {
        let links = self.root().join("path");
        std::fs::create_dir(&links).expect("a directory for PATH");
        let path = std::env::var_os("PATH").unwrap_or_default();
        for entry in std::env::split_paths(&path).filter_map(|dir| dir.read_dir().ok()).flatten().flatten() {
            if !hidden.iter().any(|name| entry.file_name() == *name) {
                // The first of a name wins, as on PATH.
                let _ = std::os::unix::fs::symlink(entry.path(), links.join(entry.file_name()));
            }
        }
        self.path = Some(links.into());
        self
    }

    /// The programs that are found on PATH again.
    #[must_use]
    pub fn with_all_programs(mut self) -> Self {
        self.path = None;
        self
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// What `Paths` in bangerd calls the state directory.
    pub fn state(&self) -> PathBuf {
        self.root().join("state/banger")
    }

    pub fn socket(&self) -> PathBuf {
        self.root().join("run/banger/bangerd.sock")
    }

    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    pub(crate) fn wrapper(&self) -> Vec<OsString> {
        self.wrapper.clone()
    }

    pub(crate) fn environment(&self, command: &mut Command) {
        for variable in ["CONFIG_HOME", "STATE_HOME", "CACHE_HOME", "RUNTIME_DIR", "DATA_HOME"] {
            let name = format!("XDG_{variable}");
            let dir = variable.split('_').next().unwrap_or_default().to_lowercase();
            command.env(name, self.root().join(if dir == "runtime" { "run" } else { &dir }));
        }
        command.env("HOME", self.root()).current_dir(self.root());
        command.envs(self.path.as_ref().map(|path| ("PATH", path)));
    }

    /// `banger` with these words, split at spaces; more go into [`Run::args`].
    pub fn banger(&self, words: &str) -> Run<'_> {
        Run::new(self, self.programs.path("banger")).args(words.split_whitespace())
    }

    /// One of the programs, or any other, in this home's environment.
    pub fn program(&self, path: impl Into<PathBuf>) -> Run<'_> {
        Run::new(self, path.into())
    }

    /// Runs a script in a VM's shell; its stdout.
    #[track_caller]
    pub fn sh(&self, vm: &str, script: &str) -> String {
        self.banger("exec").args([vm]).sh(script).ok().text()
    }

    /// A running VM of that name.
    #[track_caller]
    pub fn boot(&self, vm: &str) {
        self.banger("vm create --start --name").args([vm]).ok();
    }

    #[track_caller]
    pub fn vms(&self) -> Vec<Vm> {
        let listed = self.banger("vm list --all --json").ok();
        serde_json::from_slice(&listed.out).unwrap_or_else(|error| panic!("{error} in {listed}"))
    }

    #[track_caller]
    pub fn vm(&self, vm: &str) -> Vm {
        let shown = self.banger("vm show --json").args([vm]).ok();
        serde_json::from_slice(&shown.out).unwrap_or_else(|error| panic!("{error} in {shown}"))
    }

    /// The directory of an image among `images/`, as the store has it.
    ///
    /// # Panics
    ///
    /// When there is no such image.
    pub fn image_id(&self, name: &str) -> String {
        let store = rusqlite::Connection::open(self.state().join("banger.db")).expect("the store");
        let id = store.query_row("SELECT id FROM images WHERE name = ?1", [name], |row| row.get(0));
        id.unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The process id of a VM's VMM.
    #[track_caller]
    pub fn vmm_pid(&self, vm: &str) -> u32 {
        let vm = self.vm(vm);
        vm.vmm_pid.unwrap_or_else(|| panic!("no process: {vm:?}"))
    }

    #[track_caller]
    pub fn wait_for_state(&self, vm: &str, state: VmState) {
        until(&format!("{vm} is {state}"), Duration::from_secs(30), || self.vm(vm).state == state);
    }

    #[track_caller]
    pub fn daemon(&self) -> DaemonStatus {
        let status = self.banger("daemon status --json").ok();
        serde_json::from_slice(&status.out).unwrap_or_else(|error| panic!("{error} in {status}"))
    }

    /// `kill -9` of the daemon; back when it is dead.
    #[track_caller]
    pub fn kill_daemon(&self) {
        let pid = self.daemon().pid;
        send(pid, Signal::KILL);
        until("the daemon is dead", Duration::from_secs(10), || !is_alive(pid));
    }

    /// The processes of this home whose command line contains `word`.
    pub fn processes(&self, word: &str) -> Vec<crate::OwnedProcess> {
        let own = std::process::id();
        let owned = owned_by(self.root());
        owned.into_iter().filter(|process| process.parent != own && process.line.contains(word)).collect()
    }

    fn show_logs(&self) {
        let state = self.state();
        let logs = ["bangerd.log"].map(|name| state.join(name)).into_iter();
        let vms = std::fs::read_dir(state.join("vms")).into_iter().flatten().flatten();
        let vm_logs = vms.flat_map(|vm| ["console.log", "vmm.log"].map(|name| vm.path().join(name)));
        for path in logs.chain(vm_logs) {
            let text = std::fs::read(&path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text[text.len().saturating_sub(6000)..]).into_owned();
            eprintln!("--- {}\n{text}", path.display());
        }
    }
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs();
        }
        kill_all(self.root());
    }
}

/// Removes homes whose scenario was killed before it could do so.
fn remove_abandoned(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let Ok(lock) = File::open(entry.path().join(LOCK)) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            kill_all(&entry.path());
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
