//! The guest's work comes out, as a patch.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use banger_guest_protocol::ByteString;
use banger_host::command::Command;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::WorkspaceError;
use super::checkout::join;
use super::guest_git::GuestGit;
use super::kept::Kept;
use super::object::ObjectId;
use super::scratch::{LeftOut, PreparedPart, Scratch, Start, Trees};
use crate::guest::Guest;

/// What the guest's work is compared with.
#[derive(Clone, Debug)]
pub enum Base {
    /// The state as it was prepared.
    Prepared,
    /// A commit: the name it was asked for by, and which one that is on the host, if it is one there.
    Commit { name: String, on_host: Option<ObjectId> },
}

/// How the guest's git is asked for a patch: in the one form that is read here.
pub(super) const DIFF: &[&str] = &[
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
];

/// The guest's repositories inside are no part of its patch.
const WITHOUT_SUBMODULES: &str = "--ignore-submodules=all";

/// Pieces between git and the file.
const QUEUED_PIECES: usize = 8;

/// How a patch was made.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The tree that it starts from, of the outermost repository.
    pub base: Option<ObjectId>,
    /// The trees that it ends with, of all repositories of the workspace.
    pub now: Vec<String>,
    pub left_out: LeftOut,
    /// Files that are ignored and were added all the same may be missing.
    pub index_unread: bool,
    pub bytes: u64,
}

/// Has the guest compare its working tree with `base`, and writes the patch to `file`.
///
/// The guest's own index, refs and files stay as they are: all that is written to is a git directory of
/// banger's own ([`Scratch`]), which is removed. Dropping the future leaves it to the next export.
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
    let mut patch =
        Limited { out: BufWriter::new(File::create(file).map_err(failed)?), bytes: 0, limit_bytes };
    let mut fetched =
        Fetched { base: None, now: Vec::new(), left_out: LeftOut::default(), index_unread: false, bytes: 0 };
    let outermost = GuestGit::new(guest, workspace.clone());
    for (number, part) in parts.iter().enumerate() {
        let PreparedPart { inside, base: prepared, .. } = part;
        let git = GuestGit::new(guest, join(workspace, inside.as_bytes()));
        let base = match base {
            Base::Prepared => Start::Tree(*prepared),
            Base::Commit { name, on_host } if inside.as_bytes().is_empty() => {
                Start::Commit { name: name.clone(), on_host: *on_host }
            }
            // A submodule starts from the commit that the outermost repository's commit names; one that it
            // does not know yet from what was prepared.
            Base::Commit { name, on_host } => {
                let name = on_host.map_or_else(|| name.clone(), |id| id.to_string());
                match gitlink(&outermost, &name, inside).await? {
                    Some(commit) => Start::Commit { name: commit.to_string(), on_host: Some(commit) },
                    None => Start::Tree(*prepared),
                }
            }
        };
        let kept = Kept::of(workspace, number);
        let scratch = Scratch::make(&git, &kept, part.format(), &part.conversions, &part.excludes).await?;
        let outcome = compare(&scratch, &base, inside, &below(parts, inside), &mut patch).await;
        scratch.remove().await?;
        let Trees { base, now, left_out, index_unread, .. } = outcome?;
        fetched.index_unread |= index_unread;
        fetched.base.get_or_insert(ObjectId::parse(base.as_bytes()).ok_or(WorkspaceError::BaseGone)?);
        fetched.now.push(now);
        fetched.left_out.add(inside, &left_out);
    }
    patch.out.flush().map_err(failed)?;
    fetched.bytes = patch.bytes;
    Ok(fetched)
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

/// A patch or a pack under construction.
pub(super) struct Limited {
    pub(super) out: BufWriter<File>,
    pub(super) bytes: u64,
    pub(super) limit_bytes: u64,
}

impl Limited {
    pub(super) fn take(&mut self, piece: &[u8]) -> Result<(), WorkspaceError> {
        self.bytes += piece.len() as u64;
        if self.bytes > self.limit_bytes {
            return Err(WorkspaceError::PatchTooLarge { limit_bytes: self.limit_bytes });
        }
        self.out.write_all(piece).map_err(|source| WorkspaceError::Patch { source })
    }
}

/// Writes what a git of the host's prints to `file`.
pub(super) async fn write_limited(
    command: Command,
    file: &Path,
    limit_bytes: u64,
) -> Result<u64, WorkspaceError> {
    let failed = |source| WorkspaceError::Patch { source };
    let out = BufWriter::new(File::create(file).map_err(failed)?);
    let mut out = Limited { out, bytes: 0, limit_bytes };
    let (sink, mut pieces) = mpsc::channel::<Bytes>(QUEUED_PIECES);
    let writing = async {
        while let Some(piece) = pieces.recv().await {
            out.take(&piece)?;
        }
        out.out.flush().map_err(failed)
    };
    let (ran, written) = tokio::join!(command.run_piped(sink), writing);
    // Who is not listened to fails as well.
    written?;
    ran?;
    Ok(out.bytes)
}

/// The other repositories of the workspace that lie in the one at `inside`, as that one names them.
pub(super) fn below(parts: &[PreparedPart], inside: &ByteString) -> Vec<ByteString> {
    let inside = inside.as_bytes();
    let below = |path: &[u8]| match inside {
        [] => Some(path.to_vec()).filter(|path| !path.is_empty()),
        inside => path.strip_prefix(inside)?.strip_prefix(b"/").map(<[u8]>::to_vec),
    };
    parts.iter().filter_map(|part| below(part.inside.as_bytes())).map(ByteString::from).collect()
}

async fn compare(
    scratch: &Scratch<'_>,
    start: &Start,
    inside: &ByteString,
    parts: &[ByteString],
    patch: &mut Limited,
) -> Result<Trees, WorkspaceError> {
    let trees = scratch.trees(start, parts).await?;
    let Trees { base, now, .. } = &trees;
    let no_renames = trees.may_have_symlinks && symlink_becomes_directory(&scratch.git, base, now).await?;
    let renames = if no_renames { "--no-renames" } else { "--find-renames" };
    let mut args: Vec<ByteString> =
        DIFF.iter().chain([&WITHOUT_SUBMODULES, &renames]).map(|word| (*word).into()).collect();
    for (option, side) in [("--src-prefix=", b"a"), ("--dst-prefix=", b"b")] {
        let prefix = join(&ByteString::from(side.to_vec()), inside.as_bytes());
        args.push([option.as_bytes(), prefix.as_bytes(), b"/"].concat().into());
    }
    args.extend([base.as_str().into(), now.as_str().into()]);
    scratch.trees_only().stream(&args, Bytes::new(), |piece| patch.take(piece)).await?;
    Ok(trees)
}

/// Whether there are files now below what was a symlink. `git apply` creates them only when it reads that the
/// symlink goes, and a rename does not say that it was one.
async fn symlink_becomes_directory(
    git: &GuestGit<'_>,
    base: &str,
    now: &str,
) -> Result<bool, WorkspaceError> {
    let args = ["diff-tree", "-r", "-z", "--raw", "--no-renames", "--diff-filter=AD", base, now];
    Ok(symlink_to_directory(&git.output(&args, Bytes::new()).await?))
}

/// Reads it from a list of added and deleted files.
pub(super) fn symlink_to_directory(raw: &[u8]) -> bool {
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
    !symlinks.is_empty() && added.iter().any(|path| (0..path.len()).any(|at| above(path, at)))
}
