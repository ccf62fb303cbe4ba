//! The guest's work as objects, taken in and checked by the host's git, beside the host's repository.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use banger_host::command::{Command, CommandError};
use banger_host::git::Git;

use super::WorkspaceError;
use super::export::{DIFF, symlink_to_directory, write_limited};
use super::guest_commits::{GuestCommit, MAX_COMMIT_LEN, MAX_COMMITS};
use super::guest_objects::GuestObjects;
use super::object::ObjectId;
use super::object_space::ObjectSpace;

/// How much memory a git may take that reads what the guest has packed.
pub(super) const MEMORY_BYTES: u64 = 1 << 30;

/// Larger files are not held in memory where that can be avoided.
pub(super) const BIG_FILE: &str = "core.bigFileThreshold=16m";

/// What the guest has made, in an object space beside the host's repository.
pub struct Work<'h> {
    pub(super) space: ObjectSpace<'h>,
    pub(super) host: &'h Git,
    /// The commit that was prepared.
    pub(super) start: Option<ObjectId>,
    pub(super) objects: GuestObjects,
    /// The guest's own commits, oldest first.
    pub(super) commits: Vec<(ObjectId, GuestCommit)>,
    /// All new objects together, unpacked.
    pub bytes: u64,
}

impl<'h> Work<'h> {
    /// Takes in and checks what the guest has packed.
    ///
    /// # Errors
    ///
    /// When it is not what it should be, or larger than `limit_bytes`.
    pub async fn take_in(
        host: &'h Git,
        scratch: &Path,
        pack: &Path,
        objects: GuestObjects,
        start: Option<ObjectId>,
        limit_bytes: u64,
        within: Duration,
    ) -> Result<Self, WorkspaceError> {
        let kept = |source| WorkspaceError::Patch { source };
        let space = ObjectSpace::new(host, scratch).await?;
        space.borrow_host_objects().await?;
        let dir = space.objects().join("pack");
        fs::create_dir(&dir).map_err(kept)?;
        let packed = dir.join("pack-guest.pack");
        fs::rename(pack, &packed).map_err(kept)?;
        let mut work = Self { space, host, start, objects, commits: Vec::new(), bytes: 0 };
        let taking = async {
            work.index(&packed).await?;
            work.bytes = work.measure(&dir.join("pack-guest.idx")).await?;
            if work.bytes > limit_bytes {
                return Err(WorkspaceError::PatchTooLarge { limit_bytes });
            }
            work.commits = work.read_commits().await?;
            work.check_connected().await
        };
        tokio::time::timeout(within, taking).await.map_err(|_| WorkspaceError::Timeout { limit: within })??;
        Ok(work)
    }

    pub(super) fn command(&self, args: &[&str]) -> Command {
        let words: Vec<&str> = ["-c", BIG_FILE].iter().chain(args).copied().collect();
        self.space.command(&self.space.git(), &words)
    }

    /// git reads every object, and checks its form and what it names.
    async fn index(&self, packed: &Path) -> Result<(), WorkspaceError> {
        let command = self.command(&["index-pack", "--strict", "--threads=1"]).memory_limit(MEMORY_BYTES);
        match command.arg(packed).run().await {
            Ok(_) => Ok(()),
            Err(CommandError::Failed { stderr, .. }) => Err(WorkspaceError::BadObjects { said: stderr }),
            Err(error) => Err(error.into()),
        }
    }

    /// What all objects of the pack come to.
    async fn measure(&self, index: &Path) -> Result<u64, WorkspaceError> {
        let failed = |source| WorkspaceError::Patch { source };
        let file = File::open(index).map_err(failed)?;
        let listed = self.command(&["show-index"]).stdin_file(file).run().await?.stdout;
        let ids = listed.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(1));
        let ids: Vec<u8> = ids.flat_map(|id| id.iter().copied().chain([b'\n'])).collect();
        let sizes = self.command(&["cat-file", "--batch-check=%(objectsize)"]).stdin(ids).run().await?.stdout;
        let sizes = sizes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let sizes = sizes.map(|line| std::str::from_utf8(line).ok().and_then(|size| size.parse::<u64>().ok()));
        let total = sizes.sum::<Option<u64>>();
        total.ok_or_else(|| WorkspaceError::BadObjects { said: "an object has no size".into() })
    }

    /// All that the branch will reach must be there.
    async fn check_connected(&self) -> Result<(), WorkspaceError> {
        let revisions = self.objects.revisions(self.start);
        let args = ["rev-list", "--objects", "--quiet", "--stdin"];
        match self.command(&args).stdin(revisions.into_bytes()).run().await {
            Ok(_) => Ok(()),
            Err(CommandError::Failed { stderr, .. }) => Err(WorkspaceError::BadObjects { said: stderr }),
            Err(error) => Err(error.into()),
        }
    }

    async fn read_commits(&self) -> Result<Vec<(ObjectId, GuestCommit)>, WorkspaceError> {
        let Some(head) = self.objects.head.map(|head| head.to_string()) else { return Ok(Vec::new()) };
        let refused = |why: String| WorkspaceError::Commits { why };
        if let Some(start) = self.start.map(|start| start.to_string()) {
            let is_above = self.command(&["merge-base", "--is-ancestor", &start, &head]).ok_codes(&[0, 1]);
            if is_above.run().await?.code != 0 {
                return Err(refused("the guest's branch does not contain the commit that was prepared".into()));
            }
        }
        let mut list = vec!["rev-list".into(), "--topo-order".into(), "--reverse".into(), head];
        list.extend(self.start.map(|start| format!("^{start}")));
        let list: Vec<&str> = list.iter().map(String::as_str).collect();
        let listed = self.command(&list).run().await?.stdout;
        let ids: Option<Vec<ObjectId>> = listed
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(ObjectId::parse)
            .collect();
        let ids = ids.ok_or_else(|| refused("git does not list them".into()))?;
        if ids.len() > MAX_COMMITS {
            return Err(refused(format!("there are {}, and {MAX_COMMITS} are the limit", ids.len())));
        }
        let mut reader = self.space.reader()?;
        let reading = tokio::task::spawn_blocking(move || {
            let mut commits = Vec::with_capacity(ids.len());
            for id in ids {
                let (_, len, mut content) = reader.read(&id.to_string())?;
                if len > MAX_COMMIT_LEN {
                    return Err(refused(format!("{id} is larger than {} KiB", MAX_COMMIT_LEN >> 10)));
                }
                let (mut raw, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
                while let Some(piece) = content.piece(&mut buffer)? {
                    raw.extend_from_slice(piece);
                }
                let commit = GuestCommit::parse(&raw).ok_or_else(|| refused(format!("{id} is none")))?;
                commits.push((id, commit));
            }
            Ok(commits)
        });
        reading.await.map_err(|_| WorkspaceError::Cut)?
    }

    /// Is there anything that the guest has made?
    pub fn is_empty(&self) -> bool {
        self.objects.base == self.objects.now && self.commits.is_empty()
    }

    /// What was sent.
    pub fn objects(&self) -> &GuestObjects {
        &self.objects
    }

    /// The trees between which there is something to be looked at: the guest's work as a whole, and each of its commits.
    pub fn steps(&self) -> Vec<(ObjectId, ObjectId)> {
        let mut steps = vec![(self.objects.base, self.objects.now)];
        let trees: HashMap<ObjectId, ObjectId> =
            self.commits.iter().map(|(id, commit)| (*id, commit.tree)).collect();
        for (_, commit) in &self.commits {
            let before = commit.parents.first().and_then(|parent| trees.get(parent));
            steps.push((before.copied().unwrap_or(self.objects.base), commit.tree));
        }
        steps
    }

    /// Writes what is between two trees to `file`, as a patch.
    ///
    /// # Errors
    ///
    /// When git fails, or the patch is larger than `limit_bytes`.
    pub async fn patch(
        &self,
        (before, after): (ObjectId, ObjectId),
        file: &Path,
        limit_bytes: u64,
    ) -> Result<u64, WorkspaceError> {
        let (before, after) = (before.to_string(), after.to_string());
        let raw = ["diff-tree", "-r", "-z", "--raw", "--no-renames", "--diff-filter=AD", &before, &after];
        let raw = self.command(&raw).run().await?.stdout;
        let renames = if symlink_to_directory(&raw) { "--no-renames" } else { "--find-renames" };
        let args: Vec<&str> = DIFF.iter().copied().chain([renames, &before, &after]).collect();
        write_limited(self.command(&args), file, limit_bytes).await
    }
}
