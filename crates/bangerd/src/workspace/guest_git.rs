//! git in the guest, which is not trusted: its answers are bounded, and believed as far as the guest's own
//! affairs go.

use std::time::Duration;

use banger_guest_protocol::ByteString;
use banger_guest_protocol::messages::{FileAt, GuestErrorKind};
use bytes::Bytes;
use futures_util::Stream;

use super::WorkspaceError;
use super::object::ObjectId;
use crate::guest::{Guest, GuestCommand, GuestError, SmallFile};

/// More than this the names of all files of a repository never are, in bytes.
const ANSWER_MAX_LEN: usize = 64 * 1024 * 1024;

/// How long a command may take whose answer somebody waits for. Hashing some gigabytes under emulation takes
/// minutes.
const LIMIT: Duration = Duration::from_secs(600);

/// What every command is run with: this very repository, whoever owns it and whatever it calls itself; no
/// pager, no prompt, no path magic.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("GIT_DIR", ".git"),
    ("GIT_WORK_TREE", "."),
    // With another object's content under its name, a commit is not what its name says.
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    ("GIT_PAGER", "cat"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_LITERAL_PATHSPECS", "1"),
    ("LC_ALL", "C.UTF-8"),
];

/// Runs git in one of the guest's repositories.
#[derive(Clone)]
pub(super) struct GuestGit<'a> {
    guest: &'a Guest,
    dir: ByteString,
    env: Vec<(ByteString, ByteString)>,
}

/// How a program ended.
struct Ended {
    code: u8,
    /// The end of it.
    stderr: Vec<u8>,
}

impl<'a> GuestGit<'a> {
    pub(super) fn new(guest: &'a Guest, dir: ByteString) -> Self {
        let env = ENVIRONMENT.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Self { guest, dir, env }
    }

    /// The same, with more in its environment.
    pub(super) fn with(&self, name: &str, value: ByteString) -> Self {
        let mut env = self.env.clone();
        env.push((name.into(), value));
        Self { guest: self.guest, dir: self.dir.clone(), env }
    }

    /// The same, from another directory.
    pub(super) fn at(&self, dir: ByteString) -> Self {
        Self { guest: self.guest, dir, env: self.env.clone() }
    }

    /// Makes sure that the guest's user has not taken the workspace away.
    pub(super) async fn must_be_there(&self) -> Result<(), WorkspaceError> {
        match self.is_there(&self.dir).await? {
            true => Ok(()),
            false => Err(WorkspaceError::GuestRepositoryGone { path: self.dir.as_os_str().into() }),
        }
    }

    /// Whether there is something at a path. A symlink to nothing is nothing.
    async fn is_there(&self, path: &ByteString) -> Result<bool, WorkspaceError> {
        match self.guest.file_stat(&FileAt { path: path.clone() }).await {
            Err(GuestError::Refused { kind: GuestErrorKind::NotFound, .. }) => Ok(false),
            found => Ok(found.map(|_| true)?),
        }
    }

    /// Removes what is at a path, with all that is in it.
    pub(super) async fn remove(&self, path: &ByteString) -> Result<(), WorkspaceError> {
        self.program(&[b"rm", b"-rf", b"--", path.as_bytes()]).await
    }

    /// The same, when there is something. To ask takes less time than a program in an emulated guest.
    pub(super) async fn remove_if_there(&self, path: &ByteString) -> Result<(), WorkspaceError> {
        match self.is_there(path).await {
            Ok(false) => Ok(()),
            Ok(true) | Err(_) => self.remove(path).await,
        }
    }

    /// Writes small files, and makes directories, below the repository's directory.
    pub(super) async fn put_files(&self, files: &[SmallFile]) -> Result<(), WorkspaceError> {
        Ok(self.guest.put_files(self.dir.clone(), files).await?)
    }

    /// A path below the repository's directory.
    pub(super) fn path(&self, below: &str) -> ByteString {
        [self.dir.as_bytes(), b"/", below.as_bytes()].concat().into()
    }

    /// Runs git, which must succeed, and gives `stdout` what it prints.
    pub(super) async fn stream(
        &self,
        args: &[impl Clone + Into<ByteString>],
        stdin: impl Into<Bytes>,
        stdout: impl FnMut(&[u8]) -> Result<(), WorkspaceError> + Send,
    ) -> Result<(), WorkspaceError> {
        let argv = std::iter::once("git".into()).chain(args.iter().cloned().map(Into::into)).collect();
        self.run(argv, once(stdin.into()), stdout, &[]).await.map(drop)
    }

    /// Runs git, which must succeed, and answers what it prints.
    pub(super) async fn output(
        &self,
        args: &[&str],
        stdin: impl Into<Bytes>,
    ) -> Result<Vec<u8>, WorkspaceError> {
        let argv = words(args);
        let mut output = Vec::new();
        within(self.run(argv, once(stdin.into()), |bytes| bounded(&mut output, bytes), &[])).await?;
        Ok(output)
    }

    /// Runs git and answers what it prints; none when it ends with 1.
    pub(super) async fn answer(&self, args: &[&str]) -> Result<Option<Vec<u8>>, WorkspaceError> {
        let argv = words(args);
        let mut output = Vec::new();
        let run = self.run(argv, once(Bytes::new()), |bytes| bounded(&mut output, bytes), &[1]);
        let Ended { code, .. } = within(run).await?;
        Ok((code == 0).then_some(output))
    }

    /// Runs git and answers the object that it names.
    pub(super) async fn object(&self, args: &[&str]) -> Result<ObjectId, WorkspaceError> {
        let output = self.output(args, Bytes::new()).await?;
        let command = format!("git {}", args.join(" "));
        ObjectId::parse(output.trim_ascii_end())
            .ok_or_else(|| WorkspaceError::GuestSaid { command, said: printable(&output) })
    }

    /// Brings the index to what the working tree has: drops the paths `gone`, and reads the paths `there`.
    /// Answers those that git does not take: it says so, and goes on.
    pub(super) async fn update_index(
        &self,
        gone: Vec<u8>,
        there: Vec<u8>,
    ) -> Result<Vec<ByteString>, WorkspaceError> {
        // Dropped by name: git will not look for a file where a symlink or another file has taken its
        // directory's place.
        let drop = ["update-index", "--force-remove", "-z", "--stdin"];
        let read = ["update-index", "--add", "--remove", "--replace", "-z", "--stdin"];
        let mut ignored = Vec::new();
        for (args, paths) in [(&drop[..], gone), (&read[..], there)] {
            if !paths.is_empty() {
                let run = self.run(words(args), once(paths.into()), |_| Ok(()), &[]);
                let Ended { stderr, .. } = within(run).await?;
                let lines = stderr.split(|byte| *byte == b'\n');
                let paths = lines.filter_map(|line| line.strip_prefix(b"Ignoring path "));
                ignored.extend(paths.map(|path| ByteString::from(path.to_vec())));
            }
        }
        Ok(ignored)
    }

    /// Runs any program of the guest's in the repository.
    pub(super) async fn program(&self, argv: &[&[u8]]) -> Result<(), WorkspaceError> {
        let argv = argv.iter().map(|word| word.to_vec().into()).collect();
        within(self.run(argv, once(Bytes::new()), |_| Ok(()), &[])).await.map(drop)
    }

    /// Runs any program of the guest's in the repository, and answers what it prints.
    pub(super) async fn program_output(
        &self,
        argv: &[&[u8]],
        stdin: impl Into<Bytes>,
    ) -> Result<Vec<u8>, WorkspaceError> {
        let argv = argv.iter().map(|word| word.to_vec().into()).collect();
        let mut output = Vec::new();
        within(self.run(argv, once(stdin.into()), |bytes| bounded(&mut output, bytes), &[])).await?;
        Ok(output)
    }

    /// Runs git, which must succeed, with a long input.
    pub(super) async fn feed(
        &self,
        args: &[&str],
        stdin: impl Stream<Item = Bytes> + Send,
    ) -> Result<(), WorkspaceError> {
        let argv = words(args);
        self.run(argv, stdin, |_| Ok(()), &[]).await.map(drop)
    }

    async fn run(
        &self,
        argv: Vec<ByteString>,
        stdin: impl Stream<Item = Bytes> + Send,
        stdout: impl FnMut(&[u8]) -> Result<(), WorkspaceError> + Send,
        ok_codes: &[u8],
    ) -> Result<Ended, WorkspaceError> {
        let command = named(&argv);
        let (env, workdir) = (self.env.clone(), Some(self.dir.clone()));
        let guest_command = GuestCommand { argv, env, workdir };
        let output = self.guest.run(guest_command, stdin, stdout).await?;
        let code = output.exit.code;
        if code == 0 || ok_codes.contains(&code) {
            return Ok(Ended { code, stderr: output.stderr });
        }
        let said = output.exit.error.unwrap_or_else(|| printable(&output.stderr));
        Err(WorkspaceError::GuestCommand { command, code, said })
    }
}

async fn within<T>(work: impl Future<Output = Result<T, WorkspaceError>>) -> Result<T, WorkspaceError> {
    tokio::time::timeout(LIMIT, work).await.map_err(|_| WorkspaceError::Timeout { limit: LIMIT })?
}

fn words(args: &[&str]) -> Vec<ByteString> {
    std::iter::once("git").chain(args.iter().copied()).map(ByteString::from).collect()
}

fn once(bytes: Bytes) -> impl Stream<Item = Bytes> + Send {
    futures_util::stream::iter([bytes])
}

/// The beginning of a command line, without git's settings.
fn named(argv: &[ByteString]) -> String {
    let mut words = Vec::new();
    let mut rest = argv.iter().map(|word| word.as_os_str().display().to_string());
    while let Some(word) = rest.next() {
        if word == "-c" {
            rest.next();
        } else {
            words.push(word);
        }
    }
    words.truncate(4);
    words.join(" ")
}

fn bounded(output: &mut Vec<u8>, bytes: &[u8]) -> Result<(), WorkspaceError> {
    if output.len() + bytes.len() > ANSWER_MAX_LEN {
        return Err(WorkspaceError::AnswerTooLarge { limit_bytes: ANSWER_MAX_LEN });
    }
    output.extend_from_slice(bytes);
    Ok(())
}

/// The end of what a guest said, made fit for a message.
fn printable(bytes: &[u8]) -> String {
    let start = bytes.len().saturating_sub(400);
    let text = String::from_utf8_lossy(&bytes[start..]);
    let is_fit = |c: &char| (!c.is_control() || *c == '\n') && *c != char::REPLACEMENT_CHARACTER;
    // On one line: what a guest says must not pass for what we say.
    let text: String = text.trim().chars().filter(is_fit).collect();
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}
