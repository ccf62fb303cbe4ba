//! The guest's work comes out, as a patch.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use banger_guest_protocol::ByteString;
use banger_host::git::records;
use bytes::Bytes;

use super::WorkspaceError;
use super::checkout::join;
use super::guest_git::GuestGit;
use super::object::ObjectId;
use crate::guest::Guest;

/// Where an export keeps its index and its objects, in the guest's `.git`.
const SCRATCH: &str = ".git/banger-export";

/// Names what git sees as changed.
const DIFF_FILES: [&str; 3] = ["diff-files", "-z", "--name-only"];

/// What the guest's work is compared with.
#[derive(Clone, Debug)]
pub enum Base {
    /// The state as it was prepared.
    Prepared,
    /// A commit: the name it was asked for by, and which one that is on the host, if it is one there.
    Commit { name: String, on_host: Option<ObjectId> },
}

/// What a patch of one repository starts from.
enum Start {
    Tree(ObjectId),
    Commit { name: String, on_host: Option<ObjectId> },
}

/// How the guest's git is asked for a patch: in the one form that is read here.
const DIFF: &[&str] = &[
    "-c",
    "core.quotePath=true",
    "-c",
    "diff.suppressBlankEmpty=false",
    "diff-tree",
    "-p",
    "-U3",
    "--binary",
    "--full-index",
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--ignore-submodules=all",
];

/// How a patch was made.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The tree that it starts from, of the outermost repository.
    pub base: Option<ObjectId>,
    /// Repositories inside the workspace: they are not part of it.
    pub nested: Vec<ByteString>,
    pub bytes: u64,
}

/// One repository of a workspace: where it lies in it (empty for the outermost one), and the tree that it was prepared as.
pub type PreparedPart = (ByteString, ObjectId);

/// Has the guest compare its working tree with `base`, and writes the patch to `file`.
///
/// The guest's own index, refs and files stay as they are: a copy of the index and a directory for new objects are all that is
/// written to, and both are removed. Dropping the future leaves them to the next export.
///
/// # Errors
///
/// When the guest's git fails, or the patch is larger than `limit_bytes`.
pub async fn fetch(
    guest: &Guest,
    workspace: &ByteString,
    parts: &[PreparedPart],
    base: &Base,
    file: &Path,
    limit_bytes: u64,
) -> Result<Fetched, WorkspaceError> {
    let failed = |source| WorkspaceError::Patch { source };
    let mut patch = Patch { out: BufWriter::new(File::create(file).map_err(failed)?), bytes: 0, limit_bytes };
    let mut fetched = Fetched { base: None, nested: Vec::new(), bytes: 0 };
    let outermost = GuestGit::new(guest, workspace.clone());
    for (inside, prepared) in parts {
        let git = GuestGit::new(guest, join(workspace, inside.as_bytes()));
        let base = match base {
            Base::Prepared => Start::Tree(*prepared),
            Base::Commit { name, on_host } if inside.as_bytes().is_empty() => {
                Start::Commit { name: name.clone(), on_host: *on_host }
            }
            // A submodule starts from the commit that the outermost repository's commit names; one that it does not know yet
            // from what was prepared.
            Base::Commit { name, on_host } => {
                let name = on_host.map_or_else(|| name.clone(), |id| id.to_string());
                match gitlink(&outermost, &name, inside).await? {
                    Some(commit) => Start::Commit { name: commit.to_string(), on_host: Some(commit) },
                    None => Start::Tree(*prepared),
                }
            }
        };
        let scratch = Scratch::make(&git).await?;
        let outcome = compare(&scratch, &base, inside, &mut patch).await;
        scratch.remove().await?;
        let (base, nested) = outcome?;
        fetched.base.get_or_insert(base);
        fetched.nested.extend(nested.iter().map(|path: &ByteString| join(inside, path.as_bytes())));
    }
    patch.out.flush().map_err(failed)?;
    fetched.bytes = patch.bytes;
    Ok(fetched)
}

/// The names of the files that have been changed since the workspace was prepared.
///
/// # Errors
///
/// When the guest's git fails.
pub async fn changed_files(
    guest: &Guest,
    workspace: &ByteString,
    parts: &[PreparedPart],
) -> Result<Vec<ByteString>, WorkspaceError> {
    let mut changed = Vec::new();
    for (inside, prepared) in parts {
        let git = GuestGit::new(guest, join(workspace, inside.as_bytes()));
        let scratch = Scratch::make(&git).await?;
        let outcome = async {
            let (base, now, _) = scratch.trees(&Start::Tree(*prepared)).await?;
            let args = ["diff-tree", "-r", "-z", "--name-only", "--ignore-submodules=all", &base, &now];
            scratch.git.output(&args, Bytes::new()).await
        };
        let outcome = outcome.await;
        scratch.remove().await?;
        changed.extend(records(&outcome?).map(|name| join(inside, name)));
    }
    Ok(changed)
}

/// The commit that a commit of the outermost repository names for a submodule.
async fn gitlink(
    git: &GuestGit<'_>,
    commit: &str,
    inside: &ByteString,
) -> Result<Option<ObjectId>, WorkspaceError> {
    let wanted = format!("{commit}:{}", inside.as_os_str().to_string_lossy());
    let found = git.answer(&["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted]).await?;
    Ok(found.as_deref().map(<[u8]>::trim_ascii).and_then(ObjectId::parse))
}

/// A patch under construction.
struct Patch {
    out: BufWriter<File>,
    bytes: u64,
    limit_bytes: u64,
}

impl Patch {
    fn take(&mut self, piece: &[u8]) -> Result<(), WorkspaceError> {
        self.bytes += piece.len() as u64;
        if self.bytes > self.limit_bytes {
            return Err(WorkspaceError::PatchTooLarge { limit_bytes: self.limit_bytes });
        }
        self.out.write_all(piece).map_err(|source| WorkspaceError::Patch { source })
    }
}

async fn compare(
    scratch: &Scratch<'_>,
    base: &Start,
    inside: &ByteString,
    patch: &mut Patch,
) -> Result<(ObjectId, Vec<ByteString>), WorkspaceError> {
    let (base, now, nested) = scratch.trees(base).await?;
    let renames =
        if scratch.symlink_becomes_directory(&base, &now).await? { "--no-renames" } else { "--find-renames" };
    let mut args: Vec<ByteString> = DIFF.iter().chain([&renames]).map(|word| (*word).into()).collect();
    for (option, side) in [("--src-prefix=", b"a"), ("--dst-prefix=", b"b")] {
        let prefix = join(&ByteString::from(side.to_vec()), inside.as_bytes());
        args.push([option.as_bytes(), prefix.as_bytes(), b"/"].concat().into());
    }
    args.extend([base.as_str().into(), now.as_str().into()]);
    scratch.git.stream(args, |piece| patch.take(piece)).await?;
    let base = ObjectId::parse(base.as_bytes()).ok_or(WorkspaceError::BaseGone)?;
    Ok((base, nested))
}

/// A throw-away index and object directory.
struct Scratch<'a> {
    plain: &'a GuestGit<'a>,
    git: GuestGit<'a>,
    /// With one more index, for what only the base has.
    base_only: GuestGit<'a>,
}

impl<'a> Scratch<'a> {
    async fn make(plain: &'a GuestGit<'a>) -> Result<Self, WorkspaceError> {
        let index = format!("{SCRATCH}/index");
        let objects = format!("{SCRATCH}/objects");
        plain.must_be_there().await?;
        remove(plain).await?;
        plain.program(&[b"mkdir", b"-p", b"--", objects.as_bytes()]).await?;
        // By the index's time git knows which files may have been written since without its looking. An index without entries is
        // not there.
        let _ = plain.program(&[b"cp", b"-p", b"--", b".git/index", index.as_bytes()]).await;
        // Relative: a path with a colon in it would be taken for two.
        let git = plain
            .with("GIT_INDEX_FILE", index.into())
            // So that git looks at files which are there though a sparse checkout leaves them out.
            .with("GIT_CONFIG_COUNT", "1".into())
            .with("GIT_CONFIG_KEY_0", "core.sparseCheckout".into())
            .with("GIT_CONFIG_VALUE_0", "true".into())
            .with("GIT_OBJECT_DIRECTORY", objects.into())
            .with("GIT_ALTERNATE_OBJECT_DIRECTORIES", ".git/objects".into());
        let base_only = git.with("GIT_INDEX_FILE", format!("{SCRATCH}/base-only").into());
        Ok(Self { plain, git, base_only })
    }

    async fn remove(self) -> Result<(), WorkspaceError> {
        remove(self.plain).await
    }

    /// The trees to compare, and the repositories that lie inside the workspace.
    async fn trees(&self, base: &Start) -> Result<(String, String, Vec<ByteString>), WorkspaceError> {
        let is_prepared = matches!(base, Start::Tree(_));
        let base = match base {
            Start::Tree(tree) => {
                let there = self.git.answer(&["cat-file", "-e", &tree.to_string()]).await?;
                there.ok_or(WorkspaceError::BaseGone)?;
                tree.to_string()
            }
            Start::Commit { name, on_host } => {
                let wanted = on_host.map_or_else(|| name.clone(), |id| id.to_string()) + "^{tree}";
                let args = ["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted];
                let found = self.git.answer(&args).await?;
                let unknown = || WorkspaceError::NoSuchGuestCommit { name: name.clone(), on_host: *on_host };
                let id = found.as_deref().map(<[u8]>::trim_ascii).and_then(ObjectId::parse);
                id.ok_or_else(unknown)?.to_string()
            }
        };
        let nested = self.catch_up(&base).await?;
        if is_prepared {
            self.drop_left_out(&base).await?;
        }
        let now = self.git.object(&["write-tree"]).await?;
        Ok((base, now.to_string(), nested))
    }

    /// Whether there are files now below what was a symlink. `git apply` creates them only when it reads that the symlink goes, and
    /// a rename does not say that it was one.
    async fn symlink_becomes_directory(&self, base: &str, now: &str) -> Result<bool, WorkspaceError> {
        let args = ["diff-tree", "-r", "-z", "--raw", "--no-renames", "--diff-filter=AD", base, now];
        let raw = self.git.output(&args, Bytes::new()).await?;
        let (mut symlinks, mut added) = (HashSet::new(), Vec::new());
        let mut fields = raw.split(|byte| *byte == 0);
        while let (Some(head), Some(path)) = (fields.next(), fields.next()) {
            if head.ends_with(b"A") {
                added.push(path);
            } else if head.starts_with(b":120000") {
                symlinks.insert(path);
            }
        }
        let above = |path: &[u8], at: usize| path[at] == b'/' && symlinks.contains(&path[..at]);
        Ok(!symlinks.is_empty() && added.iter().any(|path| (0..path.len()).any(|at| above(path, at))))
    }

    /// Brings the throw-away index to what is in the working tree. Answers the repositories that lie inside.
    async fn catch_up(&self, base: &str) -> Result<Vec<ByteString>, WorkspaceError> {
        let others =
            self.git.output(&["ls-files", "-z", "--others", "--exclude-standard"], Bytes::new()).await?;
        let gone = self.git.output(&[&DIFF_FILES[..], &["--diff-filter=D"]].concat(), Bytes::new()).await?;
        let mut there =
            self.git.output(&[&DIFF_FILES[..], &["--diff-filter=d"]].concat(), Bytes::new()).await?;
        there.extend(self.only_in_base(base).await?);
        let mut nested = Vec::new();
        for path in records(&others) {
            match path.strip_suffix(b"/") {
                Some(path) => nested.push(path.to_vec().into()),
                None => {
                    there.extend_from_slice(path);
                    there.push(0);
                }
            }
        }
        self.git.update_index(gone, there).await?;
        Ok(nested)
    }

    /// Takes out of the throw-away index what a sparse checkout left out when it was prepared and is left out still: the base
    /// has nothing of it either.
    async fn drop_left_out(&self, base: &str) -> Result<(), WorkspaceError> {
        let listed = self.git.output(&["ls-files", "-z", "-t"], Bytes::new()).await?;
        let left_out: HashSet<&[u8]> =
            records(&listed).filter_map(|record| record.strip_prefix(b"S ")).collect();
        if left_out.is_empty() {
            return Ok(());
        }
        let added = ["diff-index", "--cached", "-z", "--name-only", "--no-renames", "--diff-filter=A", base];
        let added = self.git.output(&added, Bytes::new()).await?;
        let drop = records(&added).filter(|path| left_out.contains(path));
        self.git.update_index(drop.flat_map(|path| [path, b"\0"].concat()).collect(), Vec::new()).await
    }

    /// Files that the base has and the guest's index has not, as far as they are in the working tree. git would not name them
    /// if they are ignored, and they are no less a part of what was sent.
    async fn only_in_base(&self, base: &str) -> Result<Vec<u8>, WorkspaceError> {
        let missing = ["diff-index", "--cached", "--raw", "-z", "--no-renames", "--diff-filter=D", base];
        let missing = self.git.output(&missing, Bytes::new()).await?;
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        // An index of them alone, where none is in another's way.
        let add = ["update-index", "-z", "--index-info"];
        self.base_only.output(&add, index_info(&missing)).await?;
        self.base_only.output(&[&DIFF_FILES[..], &["--diff-filter=d"]].concat(), Bytes::new()).await
    }
}

/// `:100644 000000 <id> 000000 D<NUL>path<NUL>` as `100644 <id><TAB>path<NUL>`.
fn index_info(raw: &[u8]) -> Vec<u8> {
    let mut info = Vec::with_capacity(raw.len());
    let mut fields = raw.split(|byte| *byte == 0);
    while let (Some(head), Some(path)) = (fields.next(), fields.next()) {
        let mut words = head.strip_prefix(b":").unwrap_or(head).split(|byte| *byte == b' ');
        if let (Some(mode), Some(id)) = (words.next(), words.nth(1)) {
            info.extend([mode, b" ", id, b"\t", path, b"\0"].concat());
        }
    }
    info
}

async fn remove(git: &GuestGit<'_>) -> Result<(), WorkspaceError> {
    git.program(&[b"rm", b"-rf", b"--", SCRATCH.as_bytes()]).await
}
