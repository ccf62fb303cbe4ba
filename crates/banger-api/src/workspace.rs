//! The git round trip: a repository goes into a VM, a patch comes out.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ByteString;

/// git takes no larger patch, in bytes. A branch may be larger.
pub const PATCH_MAX_BYTES: u64 = 1023 << 20;

/// How much of a repository a VM gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkspaceMode {
    /// The last commit without its history, and the working tree over it.
    #[default]
    Shallow,
    /// The whole history and the submodules, and the working tree over it.
    Full,
    /// The last commit as it is, without what the working tree has changed.
    Metadata,
}

impl std::fmt::Display for WorkspaceMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Shallow => "shallow",
            Self::Full => "full",
            Self::Metadata => "metadata",
        })
    }
}

/// Asks for a copy of a repository in a VM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PrepareWorkspace {
    /// A directory of the host's in a git working tree, absolute.
    #[schema(value_type = String)]
    pub path: ByteString,
    #[serde(default)]
    pub mode: WorkspaceMode,
    /// Files that are neither tracked nor ignored, too.
    #[serde(default)]
    pub include_untracked: bool,
    /// Check out a new branch of this name in the VM.
    pub branch: Option<String>,
    /// Take this commit instead of HEAD, and nothing of the working tree.
    pub from: Option<String>,
    /// Where it is to be in the VM, absolute; `/root/repo` when absent.
    #[schema(value_type = Option<String>)]
    pub guest_path: Option<ByteString>,
    /// Throw away what has been changed in the VM since it was prepared last.
    #[serde(default)]
    pub discard: bool,
}

/// What would be copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkspaceContents {
    /// Relative to the repository.
    #[schema(value_type = Vec<String>)]
    pub files: Vec<ByteString>,
    pub bytes: u64,
    /// How many untracked files stay behind.
    pub untracked: u64,
    /// None before the first commit.
    pub commit: Option<String>,
}

/// A VM's copy of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Workspace {
    #[schema(value_type = String)]
    pub guest_path: ByteString,
    /// The repository on the host.
    #[schema(value_type = String)]
    pub host_path: ByteString,
    /// Where in the repository commands begin, relative to it; empty for its root.
    #[schema(value_type = String)]
    pub inside: ByteString,
    pub mode: WorkspaceMode,
    pub include_untracked: bool,
    /// The commit that the copy was made of; none when there was none yet.
    pub commit: Option<String>,
    /// None for a detached HEAD.
    pub branch: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub prepared_at_unix_ms: u64,
    /// False: the last preparation broke off.
    pub complete: bool,
}

/// Whether the host's repository is still at the commit that the copy was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Staleness {
    pub stale: bool,
    pub prepared_commit: Option<String>,
    /// None when there is no commit, or no repository any more.
    pub host_commit: Option<String>,
}

/// What a patch is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExportPurpose {
    /// To be kept: what is in it counts as exported when the VM is deleted.
    #[default]
    Export,
    /// To be shown.
    Show,
    /// Only to be told what is in it; the patch itself is not to be had.
    Summary,
}

/// Asks for what has been changed in a VM's copy of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportWorkspace {
    /// Compare with this commit instead of the state as it was prepared.
    pub base_commit: Option<String>,
    /// Say whether the patch applies to the host's repository now.
    #[serde(default)]
    pub check: bool,
    /// Apply it there.
    #[serde(default)]
    pub apply: bool,
    #[serde(default)]
    pub purpose: ExportPurpose,
    /// Make a branch of the host's repository of it. Cannot be had with `base_commit`, `check` or `apply`.
    pub branch: Option<WantedBranch>,
    /// Give out, apply or commit changes that could run on the host by themselves.
    #[serde(default)]
    pub allow_risky: bool,
    /// Refuse more than this, in bytes: a larger patch, or a branch whose new objects are larger together.
    #[serde(default = "ExportWorkspace::default_max_bytes")]
    pub max_bytes: u64,
    /// How long the guest may take, in milliseconds.
    #[serde(default = "ExportWorkspace::default_timeout_ms")]
    pub timeout_ms: u64,
}

impl ExportWorkspace {
    fn default_max_bytes() -> u64 {
        PATCH_MAX_BYTES
    }

    fn default_timeout_ms() -> u64 {
        600_000
    }
}

impl Default for ExportWorkspace {
    fn default() -> Self {
        Self {
            base_commit: None,
            check: false,
            apply: false,
            purpose: ExportPurpose::default(),
            branch: None,
            allow_risky: false,
            max_bytes: Self::default_max_bytes(),
            timeout_ms: Self::default_timeout_ms(),
        }
    }
}

/// A branch to be made in the host's repository, of objects alone: no file of the working tree, no index and
/// no hook has a part in it. It begins at the commit that was prepared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WantedBranch {
    pub name: String,
    /// Of the commit of the guest's work.
    pub message: Option<String>,
    /// The guest's own commits, one by one; what it has not committed comes last.
    #[serde(default)]
    pub commits: bool,
    /// Make it anew if there is one of this name.
    #[serde(default)]
    pub force: bool,
}

/// A branch that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Branch {
    pub name: String,
    /// The last commit on it.
    pub commit: String,
    /// How many commits are new.
    pub commits: u64,
}

/// A patch, and what is to be known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Export {
    /// The tree that the patch starts from.
    pub base: String,
    pub files: Vec<ChangedFile>,
    /// Risky ones first.
    pub findings: Vec<Finding>,
    /// Repositories inside the workspace: what is in them is not part of the patch.
    #[schema(value_type = Vec<String>)]
    pub nested: Vec<ByteString>,
    pub patch_bytes: u64,
    /// Names the patch for `GET /v1/patches/{id}`, for a short while; none when it is withheld, or a branch
    /// was wanted.
    pub patch: Option<String>,
    /// Why it does not apply to the host's repository now; none when it does, or nobody asked.
    pub conflict: Option<String>,
    /// It has been applied to the host's repository.
    pub applied: bool,
    /// The branch that was made; none when nobody asked, there were no changes, or they are risky.
    pub branch: Option<Branch>,
}

impl Export {
    /// Is there anything that could run on the host by itself?
    pub fn is_risky(&self) -> bool {
        self.findings.iter().any(|finding| finding.risky)
    }
}

/// A file that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangedFile {
    #[schema(value_type = String)]
    pub path: ByteString,
    /// What a renamed file was called before.
    #[schema(value_type = Option<String>)]
    pub renamed_from: Option<ByteString>,
    pub change: Change,
    /// Lines; none for binary content.
    pub added: Option<u64>,
    pub removed: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Added,
    Deleted,
    Modified,
    Renamed,
}

/// Something that should be looked at before the patch is applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    #[schema(value_type = String)]
    pub path: ByteString,
    /// It could run on the host by itself; else it is only worth knowing.
    pub risky: bool,
    /// Which kind of thing it is, for programs.
    pub rule: String,
    /// Why it matters, after the path: "is a git hook".
    pub reason: String,
    /// Where a symlink points to, which file another one collides with.
    #[schema(value_type = Option<String>)]
    pub detail: Option<ByteString>,
}
