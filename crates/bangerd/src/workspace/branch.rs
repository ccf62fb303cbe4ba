//! The guest's work becomes a branch of the host's repository: objects and one ref. No file, index, hook or filter of the
//! host's has a part in it.
//!
//! The commits are made beside the repository ([`Work`]). What they reach and the repository has not is then put into it as one
//! pack; the ref is made last.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use banger_host::command::CommandError;
use banger_host::git::{Git, path_of, records};

use super::WorkspaceError;
use super::guest_commits::GuestCommit;
use super::guest_objects::GuestObjects;
use super::inspect::check_branch_name;
use super::object::ObjectId;
use super::work::{BIG_FILE, MEMORY_BYTES, Work};

/// No hook of the host's runs, not even the one that looks at changes of refs.
const NO_HOOKS: &str = "core.hooksPath=/dev/null";

/// What git takes for "there is no such ref".
const NO_REF: &str = "0000000000000000000000000000000000000000";

/// What the branch is to be.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub name: String,
    /// The message of the commit of the guest's work.
    pub message: String,
    /// The message of the commit of what was sent and not committed on the host.
    pub sent_message: String,
    /// The guest's own commits, one by one.
    pub commits: bool,
    /// Make it anew if it is there.
    pub force: bool,
}

/// A branch that may be made.
#[derive(Debug)]
pub struct Free {
    pub wanted: Wanted,
    /// What it is now.
    before: Option<ObjectId>,
}

impl Free {
    /// Looks whether the branch may be made.
    ///
    /// # Errors
    ///
    /// When its name is none, or it is there already.
    pub async fn look(host: &Git, wanted: Wanted) -> Result<Self, WorkspaceError> {
        check_branch_name(host, &wanted.name).await?;
        let name = wanted.name.clone();
        let reference = format!("refs/heads/{name}");
        let found = host.line(&["rev-parse", "--verify", "--quiet", &reference]).await?;
        let before = found.and_then(|id| ObjectId::parse(id.as_encoded_bytes()));
        if before.is_none() {
            return Ok(Self { wanted, before });
        }
        if !wanted.force {
            return Err(WorkspaceError::BranchExists { name });
        }
        // Whoever works there would find his files to be changes.
        let listed = host.output(&["worktree", "list", "--porcelain", "-z"]).await?;
        let mut place = PathBuf::new();
        for record in records(&listed) {
            if let Some(path) = record.strip_prefix(b"worktree ") {
                place = path_of(path);
            } else if record.strip_prefix(b"branch ") == Some(reference.as_bytes()) {
                return Err(WorkspaceError::BranchCheckedOut { name, path: place });
            }
        }
        Ok(Self { wanted, before })
    }
}

impl Work<'_> {
    /// Makes the commits. Answers the last one, and how many there are.
    ///
    /// # Errors
    ///
    /// When the host's git does not know whom they are by, or the disk is full.
    pub async fn commit(&self, wanted: &Wanted) -> Result<(ObjectId, usize), WorkspaceError> {
        let GuestObjects { base, now, .. } = self.objects;
        let mut made = 0;
        let mut tip = self.start;
        let start_tree = match self.start {
            Some(start) => Some(self.tree_of(&start).await?),
            None => None,
        };
        let is_sent = start_tree != Some(base) && !(start_tree.is_none() && self.is_empty_tree(&base).await?);
        if is_sent {
            tip = Some(self.commit_tree(&base, tip.as_slice(), &wanted.sent_message, None).await?);
            made += 1;
        }
        let mut last_tree = base;
        let mut names: HashMap<ObjectId, ObjectId> = HashMap::new();
        for (id, commit) in &self.commits {
            let new = |parent: &ObjectId| match names.get(parent) {
                Some(new) => *new,
                // On top of what was sent, if that is what it began with.
                None if Some(*parent) == self.start => tip.unwrap_or(*parent),
                None => *parent,
            };
            let mut parents: Vec<ObjectId> = commit.parents.iter().map(new).collect();
            if parents.is_empty() {
                parents.extend(tip.filter(|_| names.is_empty()));
            }
            let new = self.commit_tree(&commit.tree, &parents, &commit.message, Some(commit)).await?;
            names.insert(*id, new);
            last_tree = commit.tree;
            made += 1;
        }
        tip = self.commits.last().and_then(|(id, _)| names.get(id).copied()).or(tip);
        if last_tree != now {
            tip = Some(self.commit_tree(&now, tip.as_slice(), &wanted.message, None).await?);
            made += 1;
        }
        tip.map(|tip| (tip, made)).ok_or(WorkspaceError::BaseGone)
    }

    async fn tree_of(&self, commit: &ObjectId) -> Result<ObjectId, WorkspaceError> {
        let wanted = format!("{commit}^{{tree}}");
        let found = self.command(&["rev-parse", "--verify", "--quiet", &wanted]).ok_codes(&[0, 1]).run().await?;
        let gone = || WorkspaceError::NoSuchCommit { name: commit.to_string() };
        ObjectId::parse(found.stdout.trim_ascii_end()).ok_or_else(gone)
    }

    async fn is_empty_tree(&self, tree: &ObjectId) -> Result<bool, WorkspaceError> {
        Ok(self.command(&["ls-tree", &tree.to_string()]).run().await?.stdout.is_empty())
    }

    /// By the host's user, whatever the guest says; `by` only names the author.
    async fn commit_tree(
        &self,
        tree: &ObjectId,
        parents: &[ObjectId],
        message: &str,
        by: Option<&GuestCommit>,
    ) -> Result<ObjectId, WorkspaceError> {
        let command = self.host.command(["-c", "i18n.commitEncoding=UTF-8", "commit-tree", "-F", "-"]);
        let command = command.env("GIT_OBJECT_DIRECTORY", self.space.objects());
        let command = parents.iter().fold(command, |command, parent| command.arg("-p").arg(parent.to_string()));
        let command = match by {
            None => command,
            Some(by) => by.author.environment().into_iter().fold(command, |command, (name, value)| command.env(name, value)),
        };
        let output = command.arg(tree.to_string()).stdin(message.as_bytes().to_vec()).run().await?.stdout;
        ObjectId::parse(output.trim_ascii_end()).ok_or(WorkspaceError::Disagreement)
    }

    /// Puts the branch into the host's repository.
    ///
    /// # Errors
    ///
    /// When that fails. Then nothing has been left there.
    pub async fn put(&self, free: &Free, tip: ObjectId) -> Result<(), WorkspaceError> {
        let Free { wanted, before } = free;
        let pack = self.pack(tip).await?;
        let put = Pack::put(self.host, &pack).await?;
        let before = match before {
            Some(before) => before.to_string(),
            None => NO_REF.repeat(2)[..tip.to_string().len()].to_owned(),
        };
        let reference = format!("refs/heads/{}", wanted.name);
        let reason = "banger: the work of a VM";
        let update = ["-c", NO_HOOKS, "update-ref", "--no-deref", "-m", reason, "--", &reference];
        let update = self.host.command(update).arg(tip.to_string()).arg(before).run().await;
        match update {
            Ok(_) => Ok(()),
            Err(error) => {
                put.undo();
                match error {
                    CommandError::Failed { stderr, .. } => Err(WorkspaceError::BranchNotMade { said: stderr }),
                    error => Err(error.into()),
                }
            }
        }
    }

    /// Packs what is between the prepared commit and `tip`.
    async fn pack(&self, tip: ObjectId) -> Result<PathBuf, WorkspaceError> {
        let base = self.space.dir().join("branch");
        let known = self.start.iter().map(|start| format!("^{start}\n"));
        let revisions: String = std::iter::once(format!("{tip}\n")).chain(known).collect();
        let command = self.command(&["pack-objects", "--revs", "--quiet", "--delta-base-offset", "--threads=1"]);
        let output = command.arg(&base).stdin(revisions.into_bytes()).run().await?.stdout;
        let name = String::from_utf8_lossy(output.trim_ascii_end()).into_owned();
        Ok(self.space.dir().join(format!("branch-{name}.pack")))
    }
}

/// A pack in the host's repository, put there by us.
struct Pack {
    /// Its files, if it was not there before.
    files: Vec<PathBuf>,
}

impl Pack {
    async fn put(host: &Git, pack: &Path) -> Result<Self, WorkspaceError> {
        let place = host.line(&["rev-parse", "--git-path", "objects/pack"]).await?;
        let place = host.dir().join(place.ok_or(WorkspaceError::HostGone)?);
        let name = pack.file_stem().unwrap_or_default().to_string_lossy().replacen("branch-", "pack-", 1);
        let files = ["idx", "rev", "pack"].map(|suffix| place.join(format!("{name}.{suffix}")));
        let is_new = !files[2].exists();
        let put = Self { files: if is_new { files.to_vec() } else { Vec::new() } };
        let file = File::open(pack).map_err(|source| WorkspaceError::Patch { source })?;
        let args = ["-c", BIG_FILE, "index-pack", "--strict", "--threads=1", "--stdin"];
        match host.command(args).stdin_file(file).memory_limit(MEMORY_BYTES).run().await {
            Ok(_) => Ok(put),
            Err(error) => {
                put.undo();
                match error {
                    CommandError::Failed { stderr, .. } => Err(WorkspaceError::BranchNotMade { said: stderr }),
                    error => Err(error.into()),
                }
            }
        }
    }

    fn undo(&self) {
        for file in &self.files {
            match fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%error, file = %file.display(), "a pack of no use was not removed");
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
#[path = "branch_tests.rs"]
mod tests;
