//! The guest's work comes out, as objects of git's.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use banger_guest_protocol::ByteString;

use super::WorkspaceError;
use super::checkout::join;
use super::export::{Limited, below};
use super::guest_git::GuestGit;
use super::kept::Kept;
use super::object::ObjectId;
use super::scratch::{LeftOut, PreparedPart, Scratch, Start, Trees};
use crate::guest::Guest;

/// The guest's word for what it has sent: names, which the objects have to bear out.
#[derive(Clone, Debug)]
pub struct GuestObjects {
    /// The tree as it was prepared.
    pub base: ObjectId,
    /// The same, with what a sparse checkout leaves out.
    pub whole: ObjectId,
    /// The tree of the working tree.
    pub now: ObjectId,
    /// What the guest's HEAD is at, if that was made there.
    pub head: Option<ObjectId>,
    /// The trees of all repositories of the workspace.
    pub trees: Vec<String>,
    pub left_out: LeftOut,
    /// Files that are ignored and were added all the same may be missing.
    pub index_unread: bool,
}

/// How the guest's git is asked for a pack. Large files are sent as they are: to look for what two of them
/// share takes as much memory as both have.
pub(super) const PACK: &[&str] = &[
    "-c",
    "core.bigFileThreshold=16m",
    "pack-objects",
    "--revs",
    "--stdout",
    "--quiet",
    "--delta-base-offset",
];

/// Has the guest pack what is new in its working tree and, `with_commits`, in its history since the commit
/// `sent`, and writes the pack to `file`.
///
/// # Errors
///
/// When the guest's git fails, the pack is larger than `limit_bytes`, or a submodule was changed.
pub async fn fetch_objects(
    guest: &Guest,
    workspace: &ByteString,
    parts: &[PreparedPart],
    sent: Option<ObjectId>,
    with_commits: bool,
    file: &Path,
    limit_bytes: u64,
) -> Result<GuestObjects, WorkspaceError> {
    let (mut found, mut all) = (None, Vec::new());
    for (number, part) in parts.iter().enumerate() {
        let git = GuestGit::new(guest, join(workspace, part.inside.as_bytes()));
        let kept = Kept::of(workspace, number);
        let scratch = Scratch::make(&git, &kept, part.format(), &part.conversions, &part.excludes).await?;
        let outcome = async {
            let trees = scratch.trees(&Start::Tree(part.base), &below(parts, &part.inside)).await?;
            all.push(trees.now.clone());
            if part.inside.as_bytes().is_empty() {
                return pack(&git, &scratch, part, trees, (sent, with_commits), file, limit_bytes)
                    .await
                    .map(Some);
            }
            // A branch names a commit of the submodule, and there is none.
            match trees.base == trees.now {
                true => Ok(None),
                false => Err(WorkspaceError::SubmoduleChanged { path: part.inside.as_os_str().into() }),
            }
        };
        let outcome = outcome.await;
        scratch.remove().await?;
        found = found.or(outcome?);
    }
    let found = found.ok_or(WorkspaceError::BaseGone)?;
    Ok(GuestObjects { trees: all, ..found })
}

async fn pack(
    git: &GuestGit<'_>,
    scratch: &Scratch<'_>,
    part: &PreparedPart,
    trees: Trees,
    (sent, with_commits): (Option<ObjectId>, bool),
    file: &Path,
    limit_bytes: u64,
) -> Result<GuestObjects, WorkspaceError> {
    let now = ObjectId::parse(trees.now.as_bytes()).ok_or(WorkspaceError::BaseGone)?;
    let head = if with_commits { named(git, "HEAD^{commit}").await? } else { None };
    let head = head.filter(|head| Some(*head) != sent);
    let objects = GuestObjects {
        base: part.base,
        whole: part.whole,
        now,
        head,
        trees: Vec::new(),
        left_out: trees.left_out,
        index_unread: trees.index_unread,
    };
    let failed = |source| WorkspaceError::Patch { source };
    let out = BufWriter::new(File::create(file).map_err(failed)?);
    let mut out = Limited { out, bytes: 0, limit_bytes };
    scratch.git.stream(PACK, objects.revisions(sent), |piece| out.take(piece)).await?;
    out.out.flush().map_err(failed)?;
    Ok(objects)
}

impl GuestObjects {
    /// What the pack has, for git: all of it, but for what the commit `known` brings.
    pub(super) fn revisions(&self, known: Option<ObjectId>) -> String {
        let wanted =
            [self.now, self.base, self.whole].into_iter().chain(self.head).map(|id| format!("{id}\n"));
        // A tree by itself: a commit does not keep its tree from being packed when trees are asked for.
        let known = known.iter().map(|known| format!("^{known}\n^{known}^{{tree}}\n"));
        wanted.chain(known).collect()
    }
}

async fn named(git: &GuestGit<'_>, name: &str) -> Result<Option<ObjectId>, WorkspaceError> {
    let found = git.answer(&["rev-parse", "--verify", "--quiet", name]).await?;
    Ok(found.as_deref().map(<[u8]>::trim_ascii).and_then(ObjectId::parse))
}
