//! The trees of a branch: those of the guest's repository, as the host's repository would have them.
//!
//! Submodules stay at the commits that the host names. A file behind a filter driver (git-lfs, git-crypt) is
//! in the guest as it lies in the working tree, which is not what a commit has: it stays what the prepared
//! commit has, and is refused if the guest changed it.

use std::collections::{BTreeSet, HashMap};

use banger_guest_protocol::ByteString;
use banger_host::git::records;

use super::WorkspaceError;
use super::object::ObjectId;
use super::work::Work;

const GITLINK: &[u8] = b"160000";
const ABSENT: &[u8] = b"000000";

/// How many files an error names.
const NAMED_FILES: usize = 5;

/// What the commits of a branch have.
#[derive(Debug, Default)]
pub(super) struct BranchTrees {
    /// Of the prepared commit; an empty tree without one.
    pub(super) start: Option<ObjectId>,
    /// With what was sent over it.
    pub(super) sent: Option<ObjectId>,
    /// With what the guest has made of that.
    pub(super) now: Option<ObjectId>,
    /// Files behind a filter driver, which were sent otherwise than the prepared commit has them.
    pub(super) left_as_committed: Vec<ByteString>,
}

/// One file that differs.
struct Difference<'r> {
    old_mode: &'r [u8],
    new_mode: &'r [u8],
    new_id: &'r [u8],
    path: &'r [u8],
}

impl Work<'_> {
    /// Works them out.
    ///
    /// # Errors
    ///
    /// When the guest has changed what a branch cannot hold.
    pub(super) async fn branch_trees(&self) -> Result<BranchTrees, WorkspaceError> {
        let start = match self.start {
            Some(start) => self.tree_of(start).await?,
            None => self.written(self.command(&["mktree"]).stdin(Vec::new())).await?,
        };
        let objects = &self.objects;
        let raw = self.differences(start, objects.whole).await?;
        let filtered = self.filtered(&raw).await?;
        let added: Vec<&[u8]> =
            differences(&raw).filter(|found| found.old_mode == ABSENT).map(|found| found.path).collect();
        refuse(filtered.iter().map(ByteString::as_bytes).filter(|path| added.contains(path)))?;
        let sent = self.with(start, &raw, &filtered).await?;
        let raw = self.differences(objects.base, objects.now).await?;
        refuse(self.filtered(&raw).await?.iter().map(ByteString::as_bytes))?;
        let now = self.with(sent, &raw, &BTreeSet::new()).await?;
        for (before, after) in self.commit_steps(sent) {
            let raw = self.differences(before, after).await?;
            refuse(self.filtered(&raw).await?.iter().map(ByteString::as_bytes))?;
        }
        let left_as_committed = filtered.into_iter().collect();
        Ok(BranchTrees { start: Some(start), sent: Some(sent), now: Some(now), left_as_committed })
    }

    /// The trees between which there is something to be looked at: the guest's work as a whole, what was
    /// sent, and each of the guest's commits.
    pub fn steps(&self) -> Vec<(ObjectId, ObjectId)> {
        let BranchTrees { sent, now, .. } = &self.trees;
        let work = sent.zip(*now);
        let overlay = self.overlay();
        let commits = sent.map(|sent| self.commit_steps(sent)).unwrap_or_default();
        work.into_iter().chain(overlay).chain(commits).collect()
    }

    /// What was sent and not committed, if there is such.
    pub fn overlay(&self) -> Option<(ObjectId, ObjectId)> {
        let BranchTrees { start, sent, .. } = &self.trees;
        start.zip(*sent).filter(|(start, sent)| start != sent)
    }

    fn commit_steps(&self, sent: ObjectId) -> Vec<(ObjectId, ObjectId)> {
        let trees: HashMap<ObjectId, ObjectId> =
            self.commits.iter().map(|(id, commit)| (*id, commit.tree)).collect();
        let step = |commit: &super::guest_commits::GuestCommit| {
            let before = commit.parents.first().and_then(|parent| trees.get(parent));
            (before.copied().unwrap_or(sent), commit.tree)
        };
        self.commits.iter().map(|(_, commit)| step(commit)).collect()
    }

    /// What is different between two trees, file by file, as git lists it.
    pub(super) async fn differences(
        &self,
        before: ObjectId,
        after: ObjectId,
    ) -> Result<Vec<u8>, WorkspaceError> {
        let (before, after) = (before.to_string(), after.to_string());
        self.ask(self.command(&["diff-tree", "-r", "-z", "--raw", "--no-renames", &before, &after])).await
    }

    /// The tree `onto` with the differences, but for those of submodules and of the paths `without`.
    async fn with(
        &self,
        onto: ObjectId,
        raw: &[u8],
        without: &BTreeSet<ByteString>,
    ) -> Result<ObjectId, WorkspaceError> {
        let is_taken = |found: &Difference<'_>| {
            let is_submodule =
                found.new_mode == GITLINK || (found.old_mode == GITLINK && found.new_mode == ABSENT);
            !is_submodule && !without.contains(&ByteString::from(found.path.to_vec()))
        };
        // What goes first: it may be in the way of what comes.
        let (gone, there): (Vec<_>, Vec<_>) =
            differences(raw).filter(is_taken).partition(|found| found.new_mode == ABSENT);
        if gone.is_empty() && there.is_empty() {
            return Ok(onto);
        }
        let entry = |found: &Difference<'_>| {
            let mode = if found.new_mode == ABSENT { b"0" } else { found.new_mode };
            [mode, b" ", found.new_id, b"\t", found.path, b"\0"].concat()
        };
        let entries: Vec<u8> = gone.iter().chain(&there).flat_map(entry).collect();
        let index = self.space.dir().join("trees");
        let git = |args: &[&str]| self.command(args).env("GIT_INDEX_FILE", &index);
        self.ask(git(&["read-tree", &onto.to_string()])).await?;
        self.ask(git(&["update-index", "--replace", "-z", "--index-info"]).stdin(entries)).await?;
        self.written(git(&["write-tree"])).await
    }

    /// The files that come or change and that the host's git has a filter driver for.
    async fn filtered(&self, raw: &[u8]) -> Result<BTreeSet<ByteString>, WorkspaceError> {
        let configured = ["config", "-z", "--name-only", "--get-regexp", r"^filter\..*\.(clean|process)$"];
        let configured = self.host.command(configured).ok_codes(&[0, 1]).run().await?.stdout;
        let driver = |key: &[u8]| {
            let name = key.strip_prefix(b"filter.")?;
            Some(name[..name.iter().rposition(|byte| *byte == b'.')?].to_vec())
        };
        let drivers: BTreeSet<Vec<u8>> = records(&configured).filter_map(driver).collect();
        let paths: Vec<u8> = differences(raw)
            .filter(|found| found.new_mode != ABSENT && found.new_mode != GITLINK)
            .flat_map(|found| found.path.iter().copied().chain([0]))
            .collect();
        if drivers.is_empty() || paths.is_empty() {
            return Ok(BTreeSet::new());
        }
        let asked = self.host.command(["check-attr", "-z", "--stdin", "filter"]).stdin(paths);
        let answers = asked.run().await?.stdout;
        let mut fields = answers.split(|byte| *byte == 0);
        let mut found = BTreeSet::new();
        while let (Some(path), Some(_), Some(value)) = (fields.next(), fields.next(), fields.next()) {
            if drivers.contains(value) {
                found.insert(path.to_vec().into());
            }
        }
        Ok(found)
    }

    pub(super) async fn tree_of(&self, commit: ObjectId) -> Result<ObjectId, WorkspaceError> {
        let wanted = format!("{commit}^{{tree}}");
        let command = self.command(&["rev-parse", "--verify", "--quiet", &wanted]).ok_codes(&[0, 1]);
        let found = command.run().await?.stdout;
        let gone = || WorkspaceError::NoSuchCommit { name: commit.to_string() };
        ObjectId::parse(found.trim_ascii_end()).ok_or_else(gone)
    }

    /// Runs a command that names the object that it has written.
    async fn written(&self, command: banger_host::command::Command) -> Result<ObjectId, WorkspaceError> {
        let output = self.ask(command).await?;
        ObjectId::parse(output.trim_ascii_end()).ok_or(WorkspaceError::Disagreement)
    }
}

fn refuse<'p>(paths: impl Iterator<Item = &'p [u8]>) -> Result<(), WorkspaceError> {
    let name = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    let paths: Vec<String> = paths.take(NAMED_FILES).map(name).collect();
    if paths.is_empty() { Ok(()) } else { Err(WorkspaceError::Filtered { paths }) }
}

/// `:<old mode> <new mode> <old id> <new id> <status><NUL><path><NUL>`
fn differences(raw: &[u8]) -> impl Iterator<Item = Difference<'_>> {
    let mut fields = raw.split(|byte| *byte == 0);
    std::iter::from_fn(move || {
        let head = fields.next()?.strip_prefix(b":")?;
        let path = fields.next()?;
        let mut words = head.split(|byte| *byte == b' ');
        let (old_mode, new_mode) = (words.next()?, words.next()?);
        Some(Difference { old_mode, new_mode, new_id: words.nth(1)?, path })
    })
}
