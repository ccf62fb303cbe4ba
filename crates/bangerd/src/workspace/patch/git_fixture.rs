//! Repositories made with the real git, and what it says of a patch.

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// What both we and git can say of a changed file: its path and its lines, none if it is binary.
pub(super) type Counted = (Vec<u8>, Option<(u64, u64)>);

/// A command of git that neither the machine's configuration nor a repository around it has a say in.
#[allow(clippy::disallowed_methods, reason = "the tests compare with git itself, one short call at a time")]
fn git(dir: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.current_dir(dir).args(arguments).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
        .envs([("HOME", "/nonexistent"), ("GIT_CONFIG_NOSYSTEM", "1")])
        .env("GIT_CEILING_DIRECTORIES", "/");
    command
}

fn output(mut command: Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("git is installed");
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // Git may stop reading when it has seen enough.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    })
}

/// A repository whose index is filled file by file, without a working tree: any name and mode is possible.
pub(super) struct Repository {
    dir: TempDir,
}

impl Repository {
    pub(super) fn new(format: &str) -> Self {
        let repository = Self { dir: tempfile::tempdir().unwrap() };
        repository.run(&["init", "-q", "--object-format", format], b"");
        repository
    }

    pub(super) fn run(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let output = output(git(self.dir.path(), arguments), input);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// The id of the tree with these files: mode, path, content.
    pub(super) fn tree(&self, files: &[(&str, &[u8], &[u8])]) -> String {
        self.run(&["read-tree", "--empty"], b"");
        let mut index = Vec::new();
        for (mode, path, content) in files {
            let id = match *mode {
                "160000" => content.to_vec(),
                _ => self.run(&["hash-object", "-w", "--stdin"], content).trim_ascii().to_vec(),
            };
            index.extend([mode.as_bytes(), b" ", &id, b"\t", path, b"\0"].concat());
        }
        self.run(&["update-index", "-z", "--index-info"], &index);
        String::from_utf8(self.run(&["write-tree"], b"").trim_ascii().to_vec()).unwrap()
    }

    /// The patch between two trees, made as the guest is asked to.
    pub(super) fn patch(&self, base: &str, new: &str) -> Vec<u8> {
        let arguments =
            ["diff-tree", "-p", "--binary", "--full-index", "-M", "--no-ext-diff", "--no-textconv"];
        let rest = ["--no-color", "--src-prefix=a/", "--dst-prefix=b/", base, new];
        self.run(&[&arguments[..], &rest[..]].concat(), b"")
    }

    /// `git diff-tree --raw`: old mode, new mode, old id, new id, status with its old and new path.
    pub(super) fn raw(&self, base: &str, new: &str) -> Vec<(Vec<String>, Vec<Vec<u8>>)> {
        let raw = self.run(&["diff-tree", "-r", "--raw", "-z", "--no-abbrev", "-M", base, new], b"");
        let mut fields = raw.split(|byte| *byte == 0).map(<[u8]>::to_vec);
        let mut entries = Vec::new();
        while let Some(head) = fields.next().filter(|head| !head.is_empty()) {
            let head = String::from_utf8(head).unwrap();
            let words: Vec<String> = head.trim_start_matches(':').split(' ').map(str::to_owned).collect();
            let names = if words[4].starts_with('R') { 2 } else { 1 };
            entries.push((words, fields.by_ref().take(names).collect()));
        }
        entries
    }
}

/// What `git apply` reads out of a patch, or `None` if it refuses it.
pub(super) fn numstat(patch: &[u8]) -> Option<Vec<Counted>> {
    let dir = tempfile::tempdir().unwrap();
    let output = output(git(dir.path(), &["apply", "--numstat", "-z", "--allow-empty"]), patch);
    output.status.success().then(|| {
        let lines = output.stdout.split(|byte| *byte == 0).filter(|line| !line.is_empty());
        lines.map(parse_count).collect()
    })
}

fn parse_count(line: &[u8]) -> Counted {
    let mut parts = line.splitn(3, |byte| *byte == b'\t');
    let mut number = || String::from_utf8(parts.next().unwrap().to_vec()).unwrap().parse().ok();
    let counts = number().zip(number());
    (parts.next().unwrap().to_vec(), counts)
}

/// Applies a patch to files in a directory, and says whether git did.
pub(super) fn applies(files: &[(&str, &[u8], &[u8])], patch: &[u8]) -> bool {
    let dir = tempfile::tempdir().unwrap();
    for (mode, path, content) in files {
        let path: PathBuf = dir.path().join(OsStr::from_bytes(path));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match *mode {
            "120000" => symlink(OsStr::from_bytes(content), &path).unwrap(),
            "160000" => std::fs::create_dir(&path).unwrap(),
            _ => {
                std::fs::write(&path, content).unwrap();
                let mode = if *mode == "100755" { 0o755 } else { 0o644 };
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            }
        }
    }
    output(git(dir.path(), &["apply", "--binary"]), patch).status.success()
}
