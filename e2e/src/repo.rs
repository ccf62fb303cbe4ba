use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::home::Home;
use crate::spawn::command;
use crate::tree::Tree;

/// A git repository on the host, made for a scenario.
#[derive(Clone, Debug)]
pub struct Repo {
    dir: PathBuf,
    home: PathBuf,
}

impl Repo {
    /// A new one in the home's directory, without a commit.
    #[track_caller]
    pub fn new(home: &Home, name: &str) -> Self {
        Self::init(home, name, "--object-format=sha1")
    }

    /// A new one, with an option of `git init`.
    #[track_caller]
    pub fn init(home: &Home, name: &str, option: &str) -> Self {
        let repo = Self::at(home, home.root().join(name));
        fs::create_dir_all(&repo.dir).expect("a directory for the repository");
        repo.git(&format!("init -q -b main {option}"));
        repo
    }

    /// One that is there.
    pub fn at(home: &Home, dir: PathBuf) -> Self {
        Self { dir, home: home.root().into() }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where something in it is.
    pub fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.dir.join(name.as_ref())
    }

    /// Runs git with these words, split at spaces, and insists on success; what it prints.
    #[track_caller]
    pub fn git(&self, words: &str) -> String {
        String::from_utf8_lossy(&self.git_with(words, &[])).trim().into()
    }

    /// The same with a last argument of any bytes, and its output as it is.
    #[track_caller]
    pub fn git_with(&self, words: &str, more: &[&OsStr]) -> Vec<u8> {
        let output = self.try_git(words, more);
        output.unwrap_or_else(|said| panic!("git {words} in {}: {said}", self.dir.display()))
    }

    /// The same where it may fail; then what it says.
    #[track_caller]
    pub fn try_git(&self, words: &str, more: &[&OsStr]) -> Result<Vec<u8>, String> {
        let identity = ["-c", "user.name=Host", "-c", "user.email=host@example.org"];
        let output = command("git")
            .args(identity)
            .args(words.split_whitespace())
            .args(more)
            .current_dir(&self.dir)
            .env("HOME", &self.home)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .stdin(Stdio::null())
            .output()
            .expect("git runs");
        match output.status.success() {
            true => Ok(output.stdout),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Writes a file and the directories above it.
    #[track_caller]
    pub fn write(&self, name: impl AsRef<OsStr>, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("the file's directory");
        fs::write(path, content).expect("a file of the repository");
        self
    }

    /// Writes a file with an executable bit.
    #[track_caller]
    pub fn write_executable(&self, name: &str, content: &str) -> &Self {
        self.write(name, content);
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).expect("its mode");
        self
    }

    #[track_caller]
    pub fn link(&self, name: impl AsRef<OsStr>, target: impl AsRef<OsStr>) -> &Self {
        symlink(target.as_ref(), self.path(name)).expect("a symlink of the repository");
        self
    }

    #[track_caller]
    pub fn remove(&self, name: &str) -> &Self {
        let path = self.path(name);
        let is_dir = path.symlink_metadata().expect("something to remove").is_dir();
        let removed = if is_dir { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        removed.expect("removed");
        self
    }

    /// Commits everything that is not ignored.
    #[track_caller]
    pub fn commit(&self, message: &str) -> &Self {
        self.git("add -A");
        self.git(&format!("commit -q --allow-empty -m {message}"));
        self
    }

    /// Everything in the working tree.
    #[track_caller]
    pub fn tree(&self) -> Tree {
        Tree::scan(&self.dir)
    }

    /// What is tracked, as it is in the working tree.
    #[track_caller]
    pub fn tracked(&self) -> Tree {
        let listed = self.git_with("ls-files -z", &[]);
        self.tree().only(listed.split(|byte| *byte == 0))
    }

    /// Paths that a sparse checkout leaves out.
    #[track_caller]
    pub fn sparse(&self) -> Vec<Vec<u8>> {
        let listed = self.git_with("ls-files -z -t", &[]);
        let records = listed.split(|byte| *byte == 0);
        records.filter_map(|record| record.strip_prefix(b"S ")).map(<[u8]>::to_vec).collect()
    }

    /// A copy of it, `.git` and all.
    #[track_caller]
    pub fn copy(&self, name: &str) -> Self {
        let to = self.home.join(name);
        let _ = fs::remove_dir_all(&to);
        let copied = command("cp").arg("-a").args([&self.dir, &to]).status().expect("cp runs");
        assert!(copied.success(), "no copy of {}", self.dir.display());
        Self { dir: to, home: self.home.clone() }
    }

    /// A clean checkout of its HEAD elsewhere.
    #[track_caller]
    pub fn checkout(&self, name: &str) -> Self {
        let to = self.home.join(name);
        let _ = fs::remove_dir_all(&to);
        self.git_with("clone -q --no-checkout", &[self.dir.as_os_str(), to.as_os_str()]);
        let clean = Self { dir: to, home: self.home.clone() };
        clean.git(&format!("checkout -q --detach {}", self.git("rev-parse HEAD")));
        clean
    }

    /// Has git apply a patch to the working tree.
    #[track_caller]
    pub fn apply(&self, patch: &Path) {
        if fs::metadata(patch).expect("a patch").len() > 0 {
            self.git_with("apply --binary --whitespace=nowarn", &[patch.as_os_str()]);
        }
    }

    /// Every byte and every time of the working tree and of `.git`, wherever that is.
    #[track_caller]
    pub fn fingerprint(&self) -> Vec<String> {
        let mut lines = Vec::new();
        note_all(&self.dir, &mut lines);
        let common = self.git("rev-parse --path-format=absolute --git-common-dir");
        if !Path::new(&common).starts_with(&self.dir) {
            note_all(Path::new(&common), &mut lines);
        }
        lines.sort();
        lines
    }

    /// Runs a script in its directory.
    #[track_caller]
    pub fn sh(&self, script: &str) {
        let mut shell =
            command("sh").args(["-e"]).current_dir(&self.dir).stdin(Stdio::piped()).spawn().expect("sh runs");
        shell.stdin.take().expect("stdin").write_all(script.as_bytes()).expect("a script is read");
        assert!(shell.wait().expect("sh ends").success(), "{script}");
    }
}

fn note_all(path: &Path, lines: &mut Vec<String>) {
    use sha2::{Digest as _, Sha256};
    let found = path.symlink_metadata().expect("a file of the repository");
    let content = if found.is_file() {
        fs::read(path).expect("a file of the repository")
    } else if found.is_symlink() {
        fs::read_link(path).expect("a symlink's target").as_os_str().as_bytes().to_vec()
    } else {
        Vec::new()
    };
    let hash: String = hex::encode(&Sha256::digest(&content)[..8]);
    let (mode, mtime, mtime_ns) = (found.mode(), found.mtime(), found.mtime_nsec());
    lines.push(format!("{:?} {mode:o} {mtime}.{mtime_ns} {hash}", path.as_os_str()));
    if found.is_dir() {
        for entry in fs::read_dir(path).expect("a directory of the repository").flatten() {
            note_all(&entry.path(), lines);
        }
    }
}
