//! git on the host's repository, for looking only.
//!
//! Every call is one that writes nothing: no refreshed index, no reflog, no lazy fetch, no hook, no fsmonitor
//! daemon. The daemon's own `GIT_*` variables are kept out, so that the repository alone decides.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use rustix::process::Signal;

use crate::command::{Command, CommandError, Output, find_program};

/// Variables that would make git look elsewhere than where it is told to.
const FOREIGN: &[&str] = &[
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_CEILING_DIRECTORIES",
    "GIT_DISCOVERY_ACROSS_FILESYSTEM",
    "GIT_CONFIG",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_PARAMETERS",
    "GIT_EXTERNAL_DIFF",
    "GIT_LITERAL_PATHSPECS",
    "GIT_GLOB_PATHSPECS",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_AUTHOR_NAME",
    "GIT_AUTHOR_EMAIL",
    "GIT_AUTHOR_DATE",
    "GIT_COMMITTER_NAME",
    "GIT_COMMITTER_EMAIL",
    "GIT_COMMITTER_DATE",
    "GIT_ATTR_SOURCE",
    "GIT_ALLOW_PROTOCOL",
    "GIT_TRACE",
    "GIT_TRACE2",
    "GIT_TRACE2_EVENT",
];

/// What is set instead.
const SETTINGS: &[(&str, &str)] = &[
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_TERMINAL_PROMPT", "0"),
    // With another object's content under its name, a commit is not what its name says.
    ("GIT_NO_REPLACE_OBJECTS", "1"),
];

/// Before every subcommand.
const OPTIONS: &[&str] = &[
    "--no-pager",
    "--literal-pathspecs",
    "-c",
    "core.fsmonitor=false",
    // A veto on conversions, and nothing is converted here for good.
    "-c",
    "core.safecrlf=false",
    // A git that does not know GIT_NO_LAZY_FETCH must not fetch either.
    "-c",
    "protocol.allow=never",
];

/// Runs git in one directory.
#[derive(Clone, Debug)]
pub struct Git {
    dir: PathBuf,
    git_dir: Option<PathBuf>,
}

impl Git {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), git_dir: None }
    }

    /// The same directory, with another repository than the one that git would find for it.
    pub fn with_git_dir(&self, git_dir: impl Into<PathBuf>) -> Self {
        Self { dir: self.dir.clone(), git_dir: Some(git_dir.into()) }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A git command in the directory.
    pub fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new("git").args(OPTIONS).arg("-C").arg(&self.dir).args(args);
        for name in FOREIGN {
            command = command.env_remove(name);
        }
        let command = SETTINGS.iter().fold(command, |command, (name, value)| command.env(name, value));
        self.git_dir.iter().fold(command, |command, git_dir| command.env("GIT_DIR", git_dir))
    }

    /// Runs a command that must succeed, and answers what it printed.
    ///
    /// # Errors
    ///
    /// When git is missing or fails.
    pub async fn output(&self, args: &[&str]) -> Result<Vec<u8>, CommandError> {
        Ok(self.command(args).run().await?.stdout)
    }

    /// Runs a command that fails with 1 when there is nothing to say, and answers what it printed, without
    /// the line's end.
    ///
    /// # Errors
    ///
    /// When git is missing, or fails otherwise.
    pub async fn line(&self, args: &[&str]) -> Result<Option<OsString>, CommandError> {
        let Output { code, stdout, .. } = self.command(args).ok_codes(&[0, 1]).run().await?;
        Ok((code == 0).then(|| without_line_end(stdout)))
    }

    /// Starts a reader of the repository's objects. Blocking, for threads that may.
    ///
    /// # Errors
    ///
    /// When git is missing or cannot be started.
    pub fn objects(&self) -> Result<ObjectReader, CommandError> {
        ObjectReader::start(&self.dir, self.git_dir.as_deref())
    }
}

/// There may be others in it: git prints a path as it is.
fn without_line_end(mut output: Vec<u8>) -> OsString {
    output.pop_if(|last| *last == b'\n');
    OsString::from_vec(output)
}

/// Splits NUL-terminated records.
pub fn records(output: &[u8]) -> impl Iterator<Item = &[u8]> {
    output.split(|byte| *byte == 0).filter(|record| !record.is_empty())
}

/// What kind of object it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    Commit,
    Tree,
    Blob,
    Tag,
}

impl ObjectKind {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "commit" => Self::Commit,
            "tree" => Self::Tree,
            "blob" => Self::Blob,
            "tag" => Self::Tag,
            _ => return None,
        })
    }
}

/// Why an object could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// In a partial clone, most likely.
    #[error("the repository does not have the object {id}")]
    Missing { id: String },
    #[error("git said {said:?} about the object {id}")]
    Unintelligible { id: String, said: String },
    #[error("could not read the object {id} from git")]
    Io { id: String, source: io::Error },
}

/// `git cat-file --batch`. It ends when this is dropped.
#[derive(Debug)]
pub struct ObjectReader {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl ObjectReader {
    fn start(dir: &Path, git_dir: Option<&Path>) -> Result<Self, CommandError> {
        let program = find_program("git")?;
        let argv = || "git cat-file --batch".to_owned();
        let failed = |source| CommandError::Spawn { argv: argv(), source };
        #[allow(
            clippy::disallowed_methods,
            reason = "the one git process that stays; everything else goes through Command"
        )]
        let mut command = std::process::Command::new(program);
        command.args(OPTIONS).arg("-C").arg(dir).args(["cat-file", "--batch"]).env("LC_ALL", "C.UTF-8");
        for name in FOREIGN {
            command.env_remove(name);
        }
        command.envs(SETTINGS.iter().copied()).envs(git_dir.map(|git_dir| ("GIT_DIR", git_dir)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(failed)?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(requests), Some(answers)) => Ok(Self {
                child,
                requests: Some(requests),
                answers: BufReader::with_capacity(256 * 1024, answers),
            }),
            _ => Err(failed(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Asks for an object: its kind, its size, and its content piece by piece.
    ///
    /// # Errors
    ///
    /// When the repository does not have it, or git breaks off.
    pub fn read(&mut self, id: &str) -> Result<(ObjectKind, u64, ObjectContent<'_>), ObjectError> {
        let failed = |source| ObjectError::Io { id: id.to_owned(), source };
        let requests = self.requests.as_mut().ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
        requests.write_all(format!("{id}\n").as_bytes()).and_then(|()| requests.flush()).map_err(failed)?;
        let mut line = Vec::new();
        (&mut self.answers).take(4096).read_until(b'\n', &mut line).map_err(failed)?;
        let said = String::from_utf8_lossy(&line).trim_end().to_owned();
        let mut words = said.split(' ').skip(1);
        let (kind, size) = (words.next(), words.next());
        if kind == Some("missing") {
            return Err(ObjectError::Missing { id: id.to_owned() });
        }
        let kind = kind.and_then(ObjectKind::parse);
        let size = size.and_then(|size| size.parse::<u64>().ok());
        let (Some(kind), Some(size)) = (kind, size) else {
            return Err(ObjectError::Unintelligible { id: id.to_owned(), said });
        };
        Ok((kind, size, ObjectContent { answers: &mut self.answers, rest: size, id: id.to_owned() }))
    }
}

impl Drop for ObjectReader {
    fn drop(&mut self) {
        // End of input ends it; one that is still writing an object nobody wants is not waited for.
        self.requests = None;
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        // Only reaps it.
        let _ = self.child.wait();
    }
}

/// An object's content. It must be read to its end before the next object is asked for.
pub struct ObjectContent<'a> {
    answers: &'a mut BufReader<ChildStdout>,
    rest: u64,
    id: String,
}

impl ObjectContent<'_> {
    /// The next piece; none at the end.
    ///
    /// # Errors
    ///
    /// When git breaks off.
    pub fn piece<'b>(&mut self, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, ObjectError> {
        let failed = |source| ObjectError::Io { id: self.id.clone(), source };
        if self.rest == 0 {
            let mut newline = [0];
            self.answers.read_exact(&mut newline).map_err(failed)?;
            return Ok(None);
        }
        let wanted = buffer.len().min(usize::try_from(self.rest).unwrap_or(usize::MAX));
        let len = self.answers.read(&mut buffer[..wanted]).map_err(failed)?;
        if len == 0 {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        }
        self.rest -= len as u64;
        Ok(Some(&buffer[..len]))
    }
}

/// A path as git prints it with `-z`.
pub fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}
