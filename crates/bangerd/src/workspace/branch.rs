//! The guest's work becomes a branch of the host's repository: objects and one ref. No file, index, hook or
//! filter of the host's has a part in it.
//!
//! The commits are made beside the repository ([`Work`]). What they reach and the repository has not is then
//! put into it as one pack; the ref is made last.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use banger_host::command::CommandError;
use banger_host::git::{Git, path_of, records};

use super::WorkspaceError;
use super::branch_pack::BranchPack;
use super::branch_trees::BranchTrees;
use super::guest_commits::GuestCommit;
use super::inspect::check_branch_name;
use super::object::ObjectId;
use super::work::Work;

/// No hook of the host's runs, not even the one that looks at changes of refs.
const NO_HOOKS: &str = "core.hooksPath=/dev/null";

/// One branch after the other.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

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
    /// When its name is none, it is there already, or somebody works on it.
    pub async fn look(host: &Git, wanted: Wanted) -> Result<Self, WorkspaceError> {
        check_branch_name(host, &wanted.name).await?;
        let name = wanted.name.clone();
        let reference = format!("refs/heads/{name}");
        let found = host.line(&["rev-parse", "--verify", "--quiet", &reference]).await?;
        let before = found.and_then(|id| ObjectId::parse(id.as_encoded_bytes()));
        if before.is_some() && !wanted.force {
            return Err(WorkspaceError::BranchExists { name });
        }
        // Another branch would be made anew, or a name that leads to it lost.
        if let Some(other) = host.line(&["symbolic-ref", "--quiet", &reference]).await? {
            let said = format!("{name} is another name for {}", other.display());
            return Err(WorkspaceError::BranchNotMade { said });
        }
        // Whoever works there would find his files to be changes; on a branch that is yet to be born, too.
        let listed = host.output(&["worktree", "list", "--porcelain", "-z"]).await?;
        let mut place = PathBuf::new();
        for record in records(&listed) {
            let is_taken = if let Some(path) = record.strip_prefix(b"worktree ") {
                place = path_of(path);
                false
            } else {
                record.strip_prefix(b"branch ") == Some(reference.as_bytes())
                    || (record == b"detached" && is_under_way(&Git::new(&place), &name).await)
            };
            if is_taken {
                return Err(WorkspaceError::BranchCheckedOut { name, path: place });
            }
        }
        Ok(Self { wanted, before })
    }
}

/// Is the branch being rebased or bisected there? Then HEAD is not at it, and comes back to it.
async fn is_under_way(worktree: &Git, name: &str) -> bool {
    for file in
        ["rebase-merge/head-name", "rebase-merge/update-refs", "rebase-apply/head-name", "BISECT_START"]
    {
        // A worktree that is gone has nothing under way.
        let Ok(Some(path)) = worktree.line(&["rev-parse", "--git-path", file]).await else { continue };
        let Ok(content) = fs::read_to_string(worktree.dir().join(path)) else { continue };
        if content.lines().any(|line| line.strip_prefix("refs/heads/").unwrap_or(line) == name) {
            return true;
        }
    }
    false
}

impl Work<'_> {
    /// Makes the commits. Answers the last one, and how many there are.
    ///
    /// # Errors
    ///
    /// When the host's git does not know whom they are by, or the disk is full.
    pub async fn commit(&self, wanted: &Wanted) -> Result<(ObjectId, usize), WorkspaceError> {
        let BranchTrees { start: start_tree, sent, now, .. } = &self.trees;
        let (sent, now) = sent.zip(*now).ok_or(WorkspaceError::BaseGone)?;
        let mut made = 0;
        let mut tip = self.start;
        if *start_tree != Some(sent) {
            tip = Some(self.commit_tree(&sent, tip.as_slice(), &wanted.sent_message, None).await?);
            made += 1;
        }
        let mut last_tree = sent;
        let mut names: HashMap<ObjectId, ObjectId> = HashMap::new();
        for (id, commit) in &self.commits {
            let new = |parent: &ObjectId| match names.get(parent) {
                Some(new) => *new,
                // On top of what was sent, if that is what it began with.
                None if Some(*parent) == self.start => tip.unwrap_or(*parent),
                None => *parent,
            };
            let mut parents: Vec<ObjectId> = commit.parents.iter().map(new).collect();
            if parents.is_empty() && self.start.is_none() && names.is_empty() {
                parents.extend(tip);
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
        let command =
            parents.iter().fold(command, |command, parent| command.arg("-p").arg(parent.to_string()));
        let command = match by {
            None => command,
            Some(by) => by
                .author
                .environment()
                .into_iter()
                .fold(command, |command, (name, value)| command.env(name, value)),
        };
        let output = command.arg(tree.to_string()).stdin(message.as_bytes().to_vec()).run().await?.stdout;
        ObjectId::parse(output.trim_ascii_end()).ok_or(WorkspaceError::Disagreement)
    }

    /// Puts the branch into the host's repository. What is under way is written down in `journals`.
    ///
    /// # Errors
    ///
    /// When that fails. Then nothing has been left there.
    pub async fn put(&self, free: &Free, tip: ObjectId, journals: &Path) -> Result<(), WorkspaceError> {
        let Free { wanted, before } = free;
        let pack = self.pack(tip).await?;
        // Two of the same would be one pack, and the one that fails would take it from the other.
        let _turn = TURN.lock().await;
        let put = BranchPack::put(self.host, &pack, tip, journals).await?;
        let before = match before {
            Some(before) => before.to_string(),
            None => NO_REF.repeat(2)[..tip.to_string().len()].to_owned(),
        };
        let reference = format!("refs/heads/{}", wanted.name);
        let reason = "banger: the work of a VM";
        let update = ["-c", NO_HOOKS, "update-ref", "--no-deref", "-m", reason, "--", &reference];
        match self.host.command(update).arg(tip.to_string()).arg(before).run().await {
            Ok(_) => {
                put.keep();
                Ok(())
            }
            Err(error) => {
                put.undo();
                Err(not_made(error))
            }
        }
    }

    /// Packs what is between the prepared commit and `tip`, and has git check it once more.
    async fn pack(&self, tip: ObjectId) -> Result<PathBuf, WorkspaceError> {
        let base = self.space.dir().join("branch");
        let known = self.start.iter().map(|start| format!("^{start}\n"));
        let revisions: String = std::iter::once(format!("{tip}\n")).chain(known).collect();
        let command =
            self.command(&["pack-objects", "--revs", "--quiet", "--delta-base-offset", "--threads=1"]);
        let output = self.ask(command.arg(&base).stdin(revisions.into_bytes())).await?;
        let name = String::from_utf8_lossy(output.trim_ascii_end()).into_owned();
        let pack = self.space.dir().join(format!("branch-{name}.pack"));
        let check = self.command(&["index-pack", "--fsck-objects", "--threads=1", "-o"]);
        let check = check.arg(self.space.dir().join("checked.idx")).arg(&pack).run();
        check.await.map_err(not_made)?;
        Ok(pack)
    }
}

fn not_made(error: CommandError) -> WorkspaceError {
    match error {
        CommandError::Failed { stderr, .. } => WorkspaceError::BranchNotMade { said: stderr },
        error => error.into(),
    }
}

#[cfg(test)]
#[path = "branch_tests.rs"]
mod tests;
