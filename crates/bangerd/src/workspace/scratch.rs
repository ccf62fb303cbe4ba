//! A git directory of banger's own over the guest's working tree, to ask what the guest's work is.
//!
//! The guest's own git directory gives names of files, and objects that are new. Whatever else is in it, or
//! in the guest's other configuration, does not count: settings, filters, attributes, hooks, replaced
//! objects, flags of the index, who owns what. What a file is as an object is decided by the host's settings,
//! as they were when the workspace was prepared.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use banger_guest_protocol::ByteString;
use banger_guest_protocol::import::ObjectFormat;
use banger_host::git::records;
use bytes::Bytes;

use super::WorkspaceError;
use super::changed::{Changes, changes};
use super::checkout::join;
use super::guest_git::GuestGit;
use super::inspect::{GITLINK, SYMLINK, Tracked, parse_tracked};
use super::kept::Kept;
use super::object::ObjectId;
use super::object_space::quoted;
use super::skeleton::lines;

/// What it is called among what is kept.
const SCRATCH: &str = "scratch";

/// How often the working tree is looked at when git does not get to its end: a file that becomes shorter
/// while it is read ends git by SIGBUS.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);

/// More repositories than this nobody has inside another one.
const MAX_NESTED: usize = 10_000;

/// What no question may depend on: settings of the system's and the user's.
pub(super) const ENVIRONMENT: [(&str, &str); 5] = [
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    // For a git that is too old for the last one.
    ("HOME", "/nonexistent"),
    ("XDG_CONFIG_HOME", "/nonexistent"),
    ("GIT_ATTR_NOSYSTEM", "1"),
];

/// One repository of a workspace, as it was prepared.
#[derive(Clone, Debug)]
pub struct PreparedPart {
    /// Where it lies in the workspace; empty for the outermost one.
    pub inside: ByteString,
    /// Its tree.
    pub base: ObjectId,
    /// The same, with what a sparse checkout leaves out.
    pub whole: ObjectId,
    /// The host's settings that decide what a file is as an object.
    pub conversions: Vec<(String, String)>,
    /// What is ignored, beyond what the repository itself says.
    pub excludes: ByteString,
}

impl PreparedPart {
    pub(super) fn format(&self) -> ObjectFormat {
        if self.base.as_bytes().len() == 32 { ObjectFormat::Sha256 } else { ObjectFormat::Sha1 }
    }
}

/// What a patch of one repository starts from.
pub(super) enum Start {
    Tree(ObjectId),
    Commit { name: String, on_host: Option<ObjectId> },
}

/// What lies in the workspace and is no part of it.
#[derive(Clone, Debug, Default)]
pub struct LeftOut {
    /// Repositories.
    pub nested: Vec<ByteString>,
    /// What git takes no file like: pipes, sockets and devices, and names like that of its own directory.
    pub unsupported: Vec<ByteString>,
}

impl LeftOut {
    /// Adds what lies in the repository at `inside`.
    pub(super) fn add(&mut self, inside: &ByteString, other: &Self) {
        let join = |path: &ByteString| join(inside, path.as_bytes());
        self.nested.extend(other.nested.iter().map(join));
        self.unsupported.extend(other.unsupported.iter().map(join));
    }
}

/// Two trees to compare.
pub(super) struct Trees {
    pub(super) base: String,
    pub(super) now: String,
    pub(super) left_out: LeftOut,
    /// What the guest's own index names could not be found out.
    pub(super) index_unread: bool,
    /// Unless this is so, there is no symlink in the base.
    pub(super) may_have_symlinks: bool,
}

/// The git directory; what it is asked leaves the guest's own index, refs and files as they are.
pub(super) struct Scratch<'a> {
    plain: &'a GuestGit<'a>,
    kept: &'a Kept,
    /// The directory itself.
    dir: ByteString,
    /// Line ends may be converted.
    converts: bool,
    pub(super) git: GuestGit<'a>,
    /// With one more index, for what only the base has.
    base_only: GuestGit<'a>,
}

impl<'a> Scratch<'a> {
    /// Makes it anew. Dropping it leaves it to the next one.
    ///
    /// # Errors
    ///
    /// When the workspace is gone.
    pub(super) async fn make(
        plain: &'a GuestGit<'a>,
        kept: &'a Kept,
        format: ObjectFormat,
        conversions: &[(String, String)],
        excludes: &ByteString,
    ) -> Result<Self, WorkspaceError> {
        plain.must_be_there().await?;
        let dir = kept.path(SCRATCH);
        // Those that were kept, and those that were made since.
        let alternates =
            [b"../../objects\n".to_vec(), quoted(plain.path(".git/objects").as_bytes())].concat();
        let config = config(format, conversions);
        let files = [
            ("scratch/HEAD", Some(&b"ref: refs/heads/none\n"[..])),
            ("scratch/config", Some(config.as_bytes())),
            ("scratch/objects/info/alternates", Some(&alternates)),
            ("scratch/refs", None),
            ("scratch/info/exclude", Some(excludes.as_bytes())),
        ];
        plain.remove_if_there(&dir).await?;
        if kept.put_files(plain, files).await.is_err() {
            // What is in its place may be no directory at all.
            plain.remove(&dir).await?;
            kept.put_files(plain, files).await?;
        }
        let with = |git: GuestGit<'a>, (name, value): &(&str, &str)| git.with(name, (*value).into());
        let git = ENVIRONMENT.iter().fold(plain.with("GIT_DIR", dir.clone()), with);
        let base_only = git.with("GIT_INDEX_FILE", kept.path("scratch/base-only"));
        Ok(Self { plain, kept, dir, converts: !conversions.is_empty(), git, base_only })
    }

    /// A git that sees no working tree: attributes in it have no say in how two trees differ. One could show
    /// all text as binary, for nobody to read.
    pub(super) fn trees_only(&self) -> GuestGit<'a> {
        let git = self.git.at(self.dir.clone()).with("GIT_WORK_TREE", "refs".into());
        // Nor in the index.
        git.with("GIT_INDEX_FILE", self.kept.path("scratch/none"))
    }

    pub(super) async fn remove(self) -> Result<(), WorkspaceError> {
        self.plain.remove(&self.dir).await
    }

    /// The trees to compare. `parts` are the repositories of the workspace that lie in this one.
    ///
    /// # Errors
    ///
    /// When the guest's git fails, each time.
    pub(super) async fn trees(&self, start: &Start, parts: &[ByteString]) -> Result<Trees, WorkspaceError> {
        for _ in 1..ATTEMPTS {
            match self.attempt(start, parts).await {
                Err(WorkspaceError::GuestCommand { command, code, said }) => {
                    tracing::info!(command, code, said, "the guest's git did not get to its end; once more");
                    self.clear().await?;
                    tokio::time::sleep(PAUSE).await;
                }
                outcome => return outcome,
            }
        }
        self.attempt(start, parts).await
    }

    /// Removes what a git leaves behind that a signal ended: the next one would wait for its lock.
    async fn clear(&self) -> Result<(), WorkspaceError> {
        let leavings = ["index", "index.lock", "base-only", "base-only.lock"]
            .map(|name| self.kept.path(&format!("{SCRATCH}/{name}")));
        let remove: Vec<&[u8]> =
            [&b"rm"[..], b"-f", b"--"].into_iter().chain(leavings.iter().map(ByteString::as_bytes)).collect();
        self.plain.program(&remove).await
    }

    async fn attempt(&self, start: &Start, parts: &[ByteString]) -> Result<Trees, WorkspaceError> {
        let base = self.base(start).await?;
        let (prepared, index) = (self.kept.path("index"), self.kept.path("scratch/index"));
        let copy: [&[u8]; 5] = [b"cp", b"-p", b"--", prepared.as_bytes(), index.as_bytes()];
        if self.plain.program(&copy).await.is_err() {
            // Every file is read then.
            self.git.output(&["read-tree", &base], Bytes::new()).await?;
        }
        let own = self.tracked(&self.git).await?;
        let missing = self.missing(&base).await?;
        let has_symlinks = own.iter().any(|entry| entry.mode == SYMLINK) || has_symlink(&missing);
        let theirs = self.named_by_guest().await?;
        let index_unread = theirs.is_none();
        let left_out = self.catch_up(&missing, &own, &theirs.unwrap_or_default(), parts).await?;
        if own.iter().any(|entry| entry.skip_worktree) && matches!(start, Start::Tree(_)) {
            self.drop_left_out(&base).await?;
        }
        let now = self.git.object(&["write-tree"]).await?.to_string();
        // The index is that of what was prepared, and says nothing of another commit.
        let may_have_symlinks = has_symlinks || matches!(start, Start::Commit { .. });
        Ok(Trees { base, now, left_out, index_unread, may_have_symlinks })
    }

    async fn base(&self, start: &Start) -> Result<String, WorkspaceError> {
        match start {
            Start::Tree(tree) => {
                let there = self.git.answer(&["cat-file", "-e", &tree.to_string()]).await?;
                there.ok_or(WorkspaceError::BaseGone)?;
                Ok(tree.to_string())
            }
            // A name is one of the guest's.
            Start::Commit { name, on_host } => {
                let wanted = on_host.map_or_else(|| name.clone(), |id| id.to_string()) + "^{tree}";
                let args = ["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted];
                let found = self.plain.answer(&args).await?;
                let unknown = || WorkspaceError::NoSuchGuestCommit { name: name.clone(), on_host: *on_host };
                let id = found.as_deref().map(<[u8]>::trim_ascii).and_then(ObjectId::parse);
                Ok(id.ok_or_else(unknown)?.to_string())
            }
        }
    }

    async fn tracked(&self, git: &GuestGit<'_>) -> Result<Vec<Tracked>, WorkspaceError> {
        parse_tracked(&git.output(&["ls-files", "-z", "-s", "-t"], Bytes::new()).await?)
    }

    /// What the guest's own index names: files that are ignored, and were added all the same. None if it
    /// cannot be read.
    async fn named_by_guest(&self) -> Result<Option<Vec<Tracked>>, WorkspaceError> {
        let theirs = self.git.with("GIT_INDEX_FILE", ".git/index".into());
        // One that is split has its other half in the guest's own git directory.
        for git in [&theirs, self.plain] {
            match self.tracked(git).await {
                Err(WorkspaceError::GuestCommand { said, .. }) => {
                    tracing::info!(said, "the guest's index cannot be read");
                }
                tracked => return tracked.map(Some),
            }
        }
        Ok(None)
    }

    /// Brings the throw-away index to what is in the working tree. Answers what lies inside and is no part of
    /// it.
    async fn catch_up(
        &self,
        missing: &[u8],
        own: &[Tracked],
        theirs: &[Tracked],
        parts: &[ByteString],
    ) -> Result<LeftOut, WorkspaceError> {
        let is_stranger = |entry: &&Tracked| entry.mode == GITLINK && !parts.contains(&entry.path);
        let known: HashSet<&[u8]> = own.iter().map(|entry| entry.path.as_bytes()).collect();
        // Submodules that were not sent: git would not look at what is in their directories.
        let strangers: Vec<&[u8]> =
            own.iter().filter(is_stranger).map(|entry| entry.path.as_bytes()).collect();
        self.git.update_index(terminated(strangers.iter().copied()), Vec::new()).await?;
        let others =
            self.git.output(&["ls-files", "-z", "--others", "--exclude-standard"], Bytes::new()).await?;
        let is_attributes = |path: &[u8]| path.ends_with(b".gitattributes");
        let may_convert = self.converts || known.iter().copied().chain(records(&others)).any(is_attributes);
        let Changes { gone, mut there, modes, repositories, special } =
            changes(&self.git, own, may_convert).await?;
        there.extend(self.only_in_base(missing).await?);
        let added =
            theirs.iter().filter(|entry| entry.mode != GITLINK && !known.contains(entry.path.as_bytes()));
        let mut new: BTreeSet<&[u8]> = added.map(|entry| entry.path.as_bytes()).collect();
        let mut nested: BTreeSet<&[u8]> = theirs
            .iter()
            .filter(is_stranger)
            .map(|entry| entry.path.as_bytes())
            .filter(|path| !known.contains(path))
            .chain(repositories.iter().map(Vec::as_slice))
            .collect();
        for path in records(&others) {
            let stranger = strangers.iter().find(|dir| is_in(path, dir));
            match (stranger, path.strip_suffix(b"/")) {
                (Some(dir), _) => nested.insert(dir),
                (None, Some(dir)) => nested.insert(dir),
                (None, None) => new.insert(path),
            };
            if nested.len() > MAX_NESTED {
                return Err(WorkspaceError::TooManyRepositories { limit: MAX_NESTED });
            }
        }
        there.extend(terminated(new));
        let mut unsupported = self.git.update_index(gone, there).await?;
        if !modes.is_empty() {
            self.git.output(&["update-index", "-z", "--index-info"], modes).await?;
        }
        unsupported.extend(special);
        Ok(LeftOut { nested: nested.into_iter().map(|path| path.to_vec().into()).collect(), unsupported })
    }

    /// Takes out of the throw-away index what a sparse checkout left out when it was prepared and is left out
    /// still: the base has nothing of it either.
    async fn drop_left_out(&self, base: &str) -> Result<(), WorkspaceError> {
        let tracked = self.tracked(&self.git).await?;
        let left_out: HashSet<&[u8]> =
            tracked.iter().filter(|entry| entry.skip_worktree).map(|entry| entry.path.as_bytes()).collect();
        if left_out.is_empty() {
            return Ok(());
        }
        let added = ["diff-index", "--cached", "-z", "--name-only", "--no-renames", "--diff-filter=A", base];
        let added = self.git.output(&added, Bytes::new()).await?;
        let drop = records(&added).filter(|path| left_out.contains(path));
        self.git.update_index(terminated(drop), Vec::new()).await?;
        Ok(())
    }

    /// Files that the base has and the index has not, as git lists them.
    async fn missing(&self, base: &str) -> Result<Vec<u8>, WorkspaceError> {
        let missing = ["diff-index", "--cached", "--raw", "-z", "--no-renames", "--diff-filter=D", base];
        self.git.output(&missing, Bytes::new()).await
    }

    /// Those of them that are in the working tree. git would not name them if they are ignored, and they are
    /// no less a part of what was sent.
    async fn only_in_base(&self, missing: &[u8]) -> Result<Vec<u8>, WorkspaceError> {
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        // An index of them alone, where none is in another's way.
        let add = ["update-index", "-z", "--index-info"];
        self.base_only.output(&add, index_info(missing)).await?;
        self.base_only.output(&["diff-files", "-z", "--name-only", "--diff-filter=d"], Bytes::new()).await
    }
}

/// Is there one in `:120000 000000 <id> 000000 D<NUL>path<NUL>`?
fn has_symlink(raw: &[u8]) -> bool {
    raw.split(|byte| *byte == 0).step_by(2).any(|head| head.starts_with(b":120000"))
}

fn config(format: ObjectFormat, conversions: &[(String, String)]) -> String {
    let (version, extensions) = match format {
        ObjectFormat::Sha1 => (0, ""),
        ObjectFormat::Sha256 => (1, "[extensions]\n\tobjectformat = sha256\n"),
    };
    let core =
        "bare = false\n\tattributesFile = /dev/null\n\texcludesFile = /dev/null\n\tsparseCheckout = true\n";
    format!("[core]\n\trepositoryformatversion = {version}\n\t{core}{extensions}{}", lines(conversions))
}

/// `:100644 000000 <id> 000000 D<NUL>path<NUL>` as `100644 <id><TAB>path<NUL>`.
fn index_info(raw: &[u8]) -> Vec<u8> {
    let mut info = Vec::with_capacity(raw.len());
    let mut fields = raw.split(|byte| *byte == 0);
    while let (Some(head), Some(path)) = (fields.next(), fields.next()) {
        let mut words = head.strip_prefix(b":").unwrap_or(head).split(|byte| *byte == b' ');
        // A submodule is no file.
        if let (Some(mode), Some(id)) = (words.next(), words.nth(1))
            && mode != b"160000"
        {
            info.extend([mode, b" ", id, b"\t", path, b"\0"].concat());
        }
    }
    info
}

/// Paths as git reads them from its stdin.
fn terminated<'p>(paths: impl IntoIterator<Item = &'p [u8]>) -> Vec<u8> {
    paths.into_iter().flat_map(|path| path.iter().copied().chain([0])).collect()
}

fn is_in(path: &[u8], dir: &[u8]) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.starts_with(b"/"))
}
