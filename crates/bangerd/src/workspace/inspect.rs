//! What a repository on the host looks like now. Reads only.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use banger_guest_protocol::ByteString;
use banger_guest_protocol::import::ObjectFormat;
use banger_host::command::CommandError;
use banger_host::git::{Git, ObjectError, path_of, records};

use super::WorkspaceError;
use super::excludes::excludes;
use super::object::ObjectId;

/// How git writes the mode of a submodule's commit.
pub(super) const GITLINK: u32 = 0o160_000;
pub(super) const SYMLINK: u32 = 0o120_000;

/// Settings that decide what a file of the working tree looks like as an object: the guest needs the same.
const CARRIED: &str = r"^core\.(autocrlf|eol|filemode|symlinks)$";

/// A repository with a working tree.
#[derive(Debug)]
pub struct Repository {
    pub(super) git: Git,
    /// Where in the working tree the path lies that it was found by.
    pub(super) inside: PathBuf,
    pub(super) format: ObjectFormat,
    /// None before the first commit.
    pub(super) head: Option<Head>,
    /// None when HEAD is detached.
    pub(super) branch: Option<OsString>,
    /// Settings for the guest's copy: key and value.
    pub(super) config: Vec<(String, String)>,
    /// What is ignored, beyond what the repository itself says.
    pub(super) excludes: ByteString,
}

/// The commit that the guest's history ends with.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) commit: ObjectId,
    pub(super) tree: ObjectId,
    /// Everything in its tree that is no directory.
    pub(super) entries: BTreeMap<ByteString, TreeEntry>,
    /// Its tree's directories.
    pub(super) trees: Vec<ObjectId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TreeEntry {
    pub(super) mode: u32,
    pub(super) id: ObjectId,
}

/// What a whole copy has besides the last commit.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// Tags of commits that HEAD comes from: full name and object.
    pub(super) tags: Vec<(ByteString, ObjectId)>,
    /// Where the host's own history ends early.
    pub(super) shallow: Vec<ObjectId>,
}

/// What git says of the working tree.
#[derive(Debug, Default)]
pub struct Listing {
    /// What is in the index, in the order of paths.
    pub(super) tracked: Vec<Tracked>,
    /// Neither tracked nor ignored.
    pub(super) untracked: Vec<ByteString>,
    /// Repositories of their own inside this one, which git does not look into.
    pub(super) nested: Vec<ByteString>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tracked {
    pub(super) path: ByteString,
    pub(super) mode: u32,
    /// Left out of the working tree by a sparse checkout.
    pub(super) skip_worktree: bool,
}

impl Listing {
    pub fn untracked_count(&self) -> u64 {
        self.untracked.len() as u64
    }

    /// Repositories inside this one, as one writes them.
    pub fn nested_named(&self) -> impl Iterator<Item = String> {
        self.nested.iter().map(|path| path.as_os_str().display().to_string())
    }
}

impl Repository {
    /// Finds the repository that `path` is in, and reads what its history ends with: `from`, or HEAD.
    ///
    /// # Errors
    ///
    /// When there is none, it has no working tree, or git cannot make sense of it.
    pub async fn open(path: &Path, from: Option<&str>) -> Result<Self, WorkspaceError> {
        let not_found = || WorkspaceError::NoSuchPath { path: path.into() };
        let path = path.canonicalize().map_err(|_| not_found())?;
        let start = if path.is_dir() { path.clone() } else { return Err(not_found()) };
        let git = Git::new(&start);
        let found = git.command(["rev-parse", "--is-inside-work-tree"]).run().await;
        let inside_work_tree = match found {
            Ok(output) => output.stdout.starts_with(b"true"),
            Err(CommandError::Failed { stderr, .. }) => {
                // There is one, but it is somebody else's, or broken.
                let is_there = path.ancestors().any(|above| above.join(".git").symlink_metadata().is_ok());
                return Err(match is_there {
                    true => WorkspaceError::Unopened { path, said: stderr },
                    false => WorkspaceError::NoRepository { path, said: stderr },
                });
            }
            Err(error) => return Err(error.into()),
        };
        if !inside_work_tree {
            return Err(WorkspaceError::NoWorkingTree { path });
        }
        let top = git.line(&["rev-parse", "--show-toplevel"]).await?.unwrap_or_default();
        let git = Git::new(PathBuf::from(top));
        let inside = path.strip_prefix(git.dir()).unwrap_or(Path::new("")).to_owned();
        let format = match git.line(&["rev-parse", "--show-object-format"]).await?.unwrap_or_default() {
            format if format == "sha256" => ObjectFormat::Sha256,
            _ => ObjectFormat::Sha1,
        };
        let head = read_head(&git, from).await?;
        let branch = branch(&git).await?;
        let config = config(&git).await?;
        let excludes = excludes(&git).await?;
        Ok(Self { git, inside, format, head, branch, config, excludes })
    }

    /// The working tree's root.
    pub fn root(&self) -> &Path {
        self.git.dir()
    }

    /// Where in the working tree the path lies that it was found by.
    pub fn inside(&self) -> &Path {
        &self.inside
    }

    /// The commit that the guest's history ends with; none before the first.
    pub fn commit(&self) -> Option<ObjectId> {
        self.head.as_ref().map(|head| head.commit)
    }

    /// The settings that decide what a file of the working tree looks like as an object.
    pub(super) fn conversions(&self) -> Vec<(String, String)> {
        self.config.iter().filter(|(key, _)| key.starts_with("core.")).cloned().collect()
    }

    /// # Errors
    ///
    /// When no branch can be called that.
    pub async fn check_branch_name(&self, name: &str) -> Result<(), WorkspaceError> {
        check_branch_name(&self.git, name).await
    }

    /// The history behind HEAD.
    pub(super) async fn history(&self) -> Result<History, WorkspaceError> {
        if self.head.is_none() {
            return Ok(History::default());
        }
        let format = "--format=%(objectname) %(refname)";
        let tags = self.git.output(&["for-each-ref", "--merged=HEAD", format, "refs/tags"]).await?;
        let shallow = self.git.line(&["rev-parse", "--git-path", "shallow"]).await?.unwrap_or_default();
        let file = self.git.dir().join(shallow);
        let shallow = match std::fs::read(&file) {
            Ok(text) => text,
            // The history is whole.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(WorkspaceError::Read { path: file.display().to_string(), source }),
        };
        let tag = |line: &[u8]| {
            let space = line.iter().position(|byte| *byte == b' ')?;
            Some((line[space + 1..].to_vec().into(), ObjectId::parse(&line[..space])?))
        };
        Ok(History {
            tags: tags.split(|byte| *byte == b'\n').filter_map(tag).collect(),
            shallow: shallow.split(|byte| *byte == b'\n').filter_map(ObjectId::parse).collect(),
        })
    }

    /// Asks git what is in the working tree.
    ///
    /// # Errors
    ///
    /// When git fails.
    pub async fn list(&self) -> Result<Listing, WorkspaceError> {
        let tracked = self.git.output(&["ls-files", "-z", "-s", "-t"]).await?;
        let others = self.git.output(&["ls-files", "-z", "--others", "--exclude-standard"]).await?;
        let mut listing = Listing { tracked: parse_tracked(&tracked)?, ..Listing::default() };
        for tracked in listing.tracked.iter_mut().filter(|tracked| tracked.skip_worktree) {
            // The flag also serves to hide changes of a file from git; the file is there then, and goes along
            // as it is.
            tracked.skip_worktree = self.root().join(tracked.path.as_os_str()).symlink_metadata().is_err();
        }
        for path in records(&others) {
            match path.strip_suffix(b"/") {
                Some(nested) => listing.nested.push(nested.to_vec().into()),
                None => listing.untracked.push(path.to_vec().into()),
            }
        }
        Ok(listing)
    }
}

/// The commit that HEAD of the repository at `root` is at now. None before the first, and when the repository
/// has gone or moved: git would take the one around its place for it.
pub async fn head_commit_at(root: &Path) -> Option<ObjectId> {
    // One that git cannot be asked about is gone for this purpose.
    let asked = Git::new(root).output(&["rev-parse", "--show-toplevel", "HEAD^{commit}"]).await.ok()?;
    let said = asked.trim_ascii_end();
    let (toplevel, id) = said.split_at(said.iter().rposition(|byte| *byte == b'\n')?);
    ObjectId::parse(&id[1..]).filter(|_| path_of(toplevel) == root)
}

/// The commit that HEAD is at now; none before the first.
async fn head_commit(git: &Git) -> Result<Option<ObjectId>, CommandError> {
    let line = git.line(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]).await?;
    Ok(line.and_then(|line| ObjectId::parse(line.as_bytes())))
}

/// The commit of that name; none when there is none.
///
/// # Errors
///
/// When git cannot be run.
pub async fn named_commit(git: &Git, name: &str) -> Result<Option<ObjectId>, CommandError> {
    // A name that looks like an option is no revision.
    let wanted = format!("{name}^{{commit}}");
    let command = git.command(["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted]);
    let output = command.ok_codes(&[0, 1, 128]).run().await?;
    Ok(ObjectId::parse(output.stdout.trim_ascii_end()).filter(|_| output.code == 0))
}

async fn read_head(git: &Git, from: Option<&str>) -> Result<Option<Head>, WorkspaceError> {
    let commit = match from {
        None => match head_commit(git).await? {
            // Its name without the commit itself: not unborn, but damaged.
            None => match git.line(&["rev-parse", "--verify", "--quiet", "HEAD"]).await? {
                Some(id) => return Err(ObjectError::Missing { id: id.display().to_string() }.into()),
                None => None,
            },
            commit => commit,
        },
        Some(from) => {
            let unknown = || WorkspaceError::NoSuchCommit { name: from.into() };
            Some(named_commit(git, from).await?.ok_or_else(unknown)?)
        }
    };
    let Some(commit) = commit else { return Ok(None) };
    let tree = git.line(&["rev-parse", "--verify", "--quiet", &format!("{commit}^{{tree}}")]).await?;
    let tree = tree.and_then(|line| ObjectId::parse(line.as_bytes()));
    let tree = tree.ok_or_else(|| unintelligible("rev-parse", b""))?;
    let listed = git.output(&["ls-tree", "-r", "-t", "-z", "--full-tree", &tree.to_string()]).await?;
    let mut head = Head { commit, tree, entries: BTreeMap::new(), trees: vec![tree] };
    for record in records(&listed) {
        let (mode, id, path) = parse_tree_entry(record).ok_or_else(|| unintelligible("ls-tree", record))?;
        if mode == 0o040_000 {
            head.trees.push(id);
        } else {
            head.entries.insert(path, TreeEntry { mode, id });
        }
    }
    Ok(Some(head))
}

async fn branch(git: &Git) -> Result<Option<OsString>, CommandError> {
    let full = git.line(&["symbolic-ref", "--quiet", "HEAD"]).await?;
    Ok(full.and_then(|full| Some(OsString::from_vec(full.as_bytes().strip_prefix(b"refs/heads/")?.to_vec()))))
}

/// What the guest's copy is configured with: conversions, and whom commits are by in this very repository.
async fn config(git: &Git) -> Result<Vec<(String, String)>, CommandError> {
    let ask = |args: &[&str]| git.command(["config", "-z"].iter().chain(args)).ok_codes(&[0, 1]).run();
    let carried = ask(&["--get-regexp", CARRIED]).await?;
    let own = ask(&["--get-regexp", r"^user\.(name|email)$"]).await?;
    let mut config = BTreeMap::new();
    for record in records(&carried.stdout).chain(records(&own.stdout)) {
        let text = String::from_utf8_lossy(record);
        let (key, value) = text.split_once('\n').unwrap_or((&text, "true"));
        config.insert(key.to_owned(), value.to_owned());
    }
    Ok(config.into_iter().collect())
}

pub(super) fn parse_tracked(listed: &[u8]) -> Result<Vec<Tracked>, WorkspaceError> {
    let mut tracked: Vec<Tracked> = Vec::new();
    for record in records(listed) {
        let entry = parse_tracked_entry(record).ok_or_else(|| unintelligible("ls-files", record))?;
        // A path in conflict is listed once for each side.
        if tracked.last().is_none_or(|last| last.path != entry.path) {
            tracked.push(entry);
        }
    }
    Ok(tracked)
}

/// `H 100644 <id> 0<TAB>path`
fn parse_tracked_entry(record: &[u8]) -> Option<Tracked> {
    let (head, path) = split_at_tab(record)?;
    let mut words = head.split(|byte| *byte == b' ');
    let tag = words.next()?;
    let mode = parse_mode(words.next()?)?;
    Some(Tracked { path, mode, skip_worktree: tag == b"S" })
}

/// `100644 blob <id><TAB>path`
fn parse_tree_entry(record: &[u8]) -> Option<(u32, ObjectId, ByteString)> {
    let (head, path) = split_at_tab(record)?;
    let mut words = head.split(|byte| *byte == b' ');
    let mode = parse_mode(words.next()?)?;
    let id = ObjectId::parse(words.nth(1)?)?;
    Some((mode, id, path))
}

fn split_at_tab(record: &[u8]) -> Option<(&[u8], ByteString)> {
    let tab = record.iter().position(|byte| *byte == b'\t')?;
    Some((&record[..tab], record[tab + 1..].to_vec().into()))
}

fn parse_mode(word: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(word).ok()?, 8).ok()
}

fn unintelligible(command: &'static str, record: &[u8]) -> WorkspaceError {
    WorkspaceError::Unintelligible { command, said: path_of(record).display().to_string() }
}

/// Says whether a branch may have this name.
pub(super) async fn check_branch_name(git: &Git, name: &str) -> Result<(), WorkspaceError> {
    match git.command(["check-ref-format", "--branch", name]).run().await {
        Ok(output) if output.stdout.trim_ascii_end() == name.as_bytes() => Ok(()),
        Ok(_) | Err(CommandError::Failed { .. }) => Err(WorkspaceError::BranchName { name: name.to_owned() }),
        Err(error) => Err(error.into()),
    }
}
