//! The guest's work comes out, as a patch.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use banger_guest_protocol::ByteString;
use bytes::Bytes;

use super::WorkspaceError;
use super::checkout::join;
use super::guest_git::GuestGit;
use super::object::ObjectId;
use super::scratch::{PreparedPart, Scratch, Start, Trees};
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

/// Has the guest compare its working tree with `base`, and writes the patch to `file`.
///
/// The guest's own index, refs and files stay as they are: all that is written to is a git directory of banger's own ([`Scratch`]),
/// which is removed. Dropping the future leaves it to the next export.
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
    for part in parts {
        let PreparedPart { inside, base: prepared, .. } = part;
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
        let scratch = Scratch::make(&git, part.format(), &part.conversions).await?;
        let outcome = compare(&scratch, &base, inside, &below(parts, inside), &mut patch).await;
        scratch.remove().await?;
        let (base, nested) = outcome?;
        fetched.base.get_or_insert(base);
        fetched.nested.extend(nested.iter().map(|path: &ByteString| join(inside, path.as_bytes())));
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
    patch: &mut Patch,
) -> Result<(ObjectId, Vec<ByteString>), WorkspaceError> {
    let Trees { base, now, nested } = scratch.trees(start, parts).await?;
    let no_renames = symlink_becomes_directory(&scratch.git, &base, &now).await?;
    let renames = if no_renames { "--no-renames" } else { "--find-renames" };
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

/// Whether there are files now below what was a symlink. `git apply` creates them only when it reads that the symlink goes, and
/// a rename does not say that it was one.
async fn symlink_becomes_directory(
    git: &GuestGit<'_>,
    base: &str,
    now: &str,
) -> Result<bool, WorkspaceError> {
    let args = ["diff-tree", "-r", "-z", "--raw", "--no-renames", "--diff-filter=AD", base, now];
    let raw = git.output(&args, Bytes::new()).await?;
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
