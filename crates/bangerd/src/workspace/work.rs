//! The guest's work as objects, taken in and checked by the host's git, beside the host's repository.
//!
//! What the guest has packed may be meant to hurt: every git that reads it is bounded in memory and in what
//! it prints, and its caller bounds the time.

use std::fs::{self, File};
use std::path::Path;

use banger_host::command::{Command, CommandError};
use banger_host::git::Git;
use tokio::sync::mpsc;

use super::WorkspaceError;
use super::branch_trees::BranchTrees;
use super::export::{DIFF, symlink_to_directory, write_limited};
use super::guest_commits::{GuestCommit, MAX_COMMIT_LEN, MAX_COMMITS};
use super::guest_objects::GuestObjects;
use super::object::ObjectId;
use super::object_space::ObjectSpace;

/// How much memory a git may take that reads what the guest has packed.
const MEMORY_BYTES: u64 = 2 << 30;

/// Larger files are not held in memory where that can be avoided.
const BIG_FILE: &str = "core.bigFileThreshold=16m";

/// More than this the names of all that has changed never are, in bytes.
const ANSWER_MAX_LEN: usize = 256 << 20;

/// Pieces between git and us.
const QUEUED_PIECES: usize = 8;

/// What the guest has made, in an object space beside the host's repository.
pub struct Work<'h> {
    pub(super) space: ObjectSpace<'h>,
    pub(super) host: &'h Git,
    /// The commit that was prepared.
    pub(super) start: Option<ObjectId>,
    pub(super) objects: GuestObjects,
    /// The guest's own commits, oldest first.
    pub(super) commits: Vec<(ObjectId, GuestCommit)>,
    pub(super) trees: BranchTrees,
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
    ) -> Result<Self, WorkspaceError> {
        let kept = |source| WorkspaceError::Patch { source };
        let space = ObjectSpace::new(host, scratch).await?;
        space.borrow_host_objects().await?;
        let dir = space.objects().join("pack");
        fs::create_dir(&dir).map_err(kept)?;
        let packed = dir.join("pack-guest.pack");
        fs::rename(pack, &packed).map_err(kept)?;
        let trees = BranchTrees::default();
        let mut work = Self { space, host, start, objects, commits: Vec::new(), trees };
        work.index(&packed).await?;
        if work.measure(&dir.join("pack-guest.idx")).await? > limit_bytes {
            return Err(WorkspaceError::PatchTooLarge { limit_bytes });
        }
        work.check_connected().await?;
        work.commits = work.read_commits().await?;
        work.trees = work.branch_trees().await?;
        Ok(work)
    }

    /// A git in the object space.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        let words: Vec<&str> = ["-c", BIG_FILE].iter().chain(args).copied().collect();
        self.space.command(&self.space.git(), &words).memory_limit(MEMORY_BYTES)
    }

    /// What a command prints, which is not to be too much.
    pub(super) async fn ask(&self, command: Command) -> Result<Vec<u8>, WorkspaceError> {
        let (sink, mut pieces) = mpsc::channel::<bytes::Bytes>(QUEUED_PIECES);
        let gathering = async move {
            let mut output = Vec::new();
            while let Some(piece) = pieces.recv().await {
                if output.len() + piece.len() > ANSWER_MAX_LEN {
                    return Err(WorkspaceError::AnswerTooLarge { limit_bytes: ANSWER_MAX_LEN });
                }
                output.extend_from_slice(&piece);
            }
            Ok(output)
        };
        let (ran, gathered) = tokio::join!(command.run_piped(sink), gathering);
        let output = gathered?;
        match ran {
            Ok(()) => Ok(output),
            Err(CommandError::Failed { stderr, .. }) => Err(WorkspaceError::BadObjects { said: stderr }),
            Err(error) => Err(error.into()),
        }
    }

    /// git reads every object, and checks its form and what it names.
    async fn index(&self, packed: &Path) -> Result<(), WorkspaceError> {
        // A partial clone lacks files that nobody has changed; what must be there is looked at below.
        let partial = self.host.line(&["config", "--get", "extensions.partialClone"]).await?;
        let check = if partial.is_some() { "--fsck-objects" } else { "--strict" };
        self.ask(self.command(&["index-pack", check, "--threads=1"]).arg(packed)).await.map(drop)
    }

    /// What all objects of the pack come to, unpacked.
    async fn measure(&self, index: &Path) -> Result<u64, WorkspaceError> {
        let file = File::open(index).map_err(|source| WorkspaceError::Patch { source })?;
        let listed = self.ask(self.command(&["show-index"]).stdin_file(file)).await?;
        let ids = lines(&listed).filter_map(|line| line.split(|byte| *byte == b' ').nth(1));
        let ids: Vec<u8> = ids.flat_map(|id| id.iter().copied().chain([b'\n'])).collect();
        let sizes = self.ask(self.command(&["cat-file", "--batch-check=%(objectsize)"]).stdin(ids)).await?;
        let number = |line: &[u8]| std::str::from_utf8(line).ok().and_then(|size| size.parse::<u64>().ok());
        let total = lines(&sizes).map(number).sum::<Option<u64>>();
        total.ok_or_else(|| WorkspaceError::BadObjects { said: "an object has no size".into() })
    }

    /// All that the branch will reach must be there.
    async fn check_connected(&self) -> Result<(), WorkspaceError> {
        let revisions = self.objects.revisions(self.start).into_bytes();
        let command = self.command(&["rev-list", "--objects", "--quiet", "--stdin"]);
        self.ask(command.stdin(revisions)).await.map(drop)
    }

    async fn read_commits(&self) -> Result<Vec<(ObjectId, GuestCommit)>, WorkspaceError> {
        let Some(head) = self.objects.head.map(|head| head.to_string()) else { return Ok(Vec::new()) };
        let refused = |why: String| WorkspaceError::Commits { why };
        if let Some(start) = self.start.map(|start| start.to_string()) {
            let is_above = self.command(&["merge-base", "--is-ancestor", &start, &head]).ok_codes(&[0, 1]);
            if is_above.run().await?.code != 0 {
                return Err(refused(
                    "the guest's branch does not contain the commit that was prepared".into(),
                ));
            }
        }
        let max = format!("--max-count={}", MAX_COMMITS + 1);
        let mut list = vec!["rev-list".into(), "--topo-order".into(), "--reverse".into(), max, head];
        list.extend(self.start.map(|start| format!("^{start}")));
        let list: Vec<&str> = list.iter().map(String::as_str).collect();
        let listed = self.ask(self.command(&list)).await?;
        let ids: Option<Vec<ObjectId>> = lines(&listed).map(ObjectId::parse).collect();
        let ids = ids.ok_or_else(|| refused("git does not list them".into()))?;
        if ids.len() > MAX_COMMITS {
            return Err(refused(format!("there are more than {MAX_COMMITS}")));
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

    /// Files of the host's that its git does not keep as they lie there, and that are as in the commit on the
    /// branch.
    pub fn left_as_committed(&self) -> &[banger_guest_protocol::ByteString] {
        &self.trees.left_as_committed
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
        let raw = self.differences(before, after).await?;
        let renames = if symlink_to_directory(&raw) { "--no-renames" } else { "--find-renames" };
        let (before, after) = (before.to_string(), after.to_string());
        let args: Vec<&str> = DIFF.iter().copied().chain([renames, &before, &after]).collect();
        write_limited(self.command(&args), file, limit_bytes).await
    }
}

pub(super) fn lines(output: &[u8]) -> impl Iterator<Item = &[u8]> {
    output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}
