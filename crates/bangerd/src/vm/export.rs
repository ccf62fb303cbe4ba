//! A VM's work comes back: as a patch, on the host's files, or as a branch of the host's repository.

use std::path::PathBuf;
use std::time::Duration;

use banger_api::workspace::{ExportPurpose, ExportWorkspace, PATCH_MAX_BYTES, WantedBranch};
use banger_guest_protocol::ByteString;
use banger_host::git::Git;
use tempfile::NamedTempFile;

use super::VmError;
use super::mailbox::VmHandle;
use super::patches::remove_left;
use super::registry::Vms;
use super::workspace::parts_of;
use crate::download::Environment;
use crate::identity::VmId;
use crate::operation::Reporter;
use crate::store::StoredWorkspace;
use crate::workspace::{
    self, Base, Fetched, Filters, Free, GuestObjects, Landing, ObjectId, Repository, Reviewed, Reviewer,
    Wanted, Work, WorkspaceError,
};

/// A patch is text, and has what was before as well: for review it may be so many times as large as the
/// objects.
const REVIEWED_PATCHES: u64 = 4;

/// How many files a notice names.
const NAMED_FILES: usize = 20;

const INDEX_UNREAD: &str = "the index of the VM's repository cannot be read: files that are ignored and were added all the same may be missing";

/// A patch as the guest has made it, read and screened.
pub struct Exported {
    pub fetched: Fetched,
    pub reviewed: Reviewed,
    /// By which name the patch can be had, if it is handed out.
    pub patch: Option<String>,
    /// Why it does not apply, if that was asked.
    pub conflict: Option<String>,
    pub applied: bool,
    pub branch: Option<MadeBranch>,
}

/// A branch that was made in the host's repository.
pub struct MadeBranch {
    pub name: String,
    pub commit: ObjectId,
    /// How many are new.
    pub commits: usize,
}

/// Refuses what cannot be had together.
///
/// # Errors
///
/// When a branch is asked for and a patch as well.
pub fn check_export(wanted: &ExportWorkspace) -> Result<(), VmError> {
    let is_patch = wanted.check || wanted.apply || wanted.base_commit.is_some();
    if wanted.branch.is_some() && is_patch { Err(VmError::BranchWithPatch) } else { Ok(()) }
}

impl Vms {
    /// Fetches what has been changed in a VM's workspace.
    ///
    /// # Errors
    ///
    /// When there is no complete workspace, the VM does not run, or the guest does not deliver a patch in
    /// time.
    pub async fn export(
        &self,
        id: &VmId,
        wanted: &ExportWorkspace,
        reporter: &Reporter,
    ) -> Result<Exported, VmError> {
        if let Some(branch) = &wanted.branch {
            return self.export_branch(id, wanted, branch, reporter).await;
        }
        let handle = self.handle(id)?;
        let slot = handle.workspace.clone();
        let limit = Duration::from_millis(wanted.timeout_ms);
        let max_bytes = wanted.max_bytes.min(PATCH_MAX_BYTES);
        let fetching = async {
            let _turn = slot.turn(reporter).await;
            let guest = self.running_guest(&handle)?;
            let current = self.complete_workspace(&handle)?;
            let host = host_repository(&current).await;
            let base = match &wanted.base_commit {
                Some(name) => named_base(name, host.as_ref()).await?,
                None => Base::Prepared,
            };
            let parts = parts_of(&current)?;
            let patch = self.patch_file()?;
            let fetching =
                workspace::fetch(&guest, &current.guest_path, &parts, &base, patch.path(), max_bytes);
            let fetched = tokio::time::timeout(limit, fetching)
                .await
                .map_err(|_| VmError::Workspace(WorkspaceError::Timeout { limit }))??;
            let parts: Vec<_> = parts.into_iter().map(|part| part.inside).collect();
            Ok((fetched, patch, host, parts))
        };
        let (fetched, patch, host, parts) = handle.while_running(reporter, fetching).await?;
        tell_left_out(&fetched, reporter);
        // From here on it is between the patch and the host, whatever becomes of the VM: git must not be cut
        // off while it writes into the user's files.
        let reviewed = Reviewer::new(host.as_ref()).await?.review(patch.path(), &parts).await?;
        let mut exported =
            Exported { fetched, reviewed, patch: None, conflict: None, applied: false, branch: None };
        if reporter.cancelled().is_cancelled() {
            return Err(VmError::Cancelled);
        }
        self.meet_host(&mut exported, &patch, wanted, host.as_ref()).await?;
        let is_given = !exported.reviewed.is_risky() || wanted.allow_risky;
        if is_given && wanted.purpose != ExportPurpose::Summary {
            exported.patch = Some(self.patches.keep(patch));
        }
        let is_kept = exported.applied || (is_given && !wanted.check && !wanted.apply);
        if wanted.purpose == ExportPurpose::Export && is_kept {
            slot.set_exported(exported.fetched.now.clone());
        }
        Ok(exported)
    }

    /// Checks the patch against the host's repository, and applies it, as far as that is wanted.
    async fn meet_host(
        &self,
        exported: &mut Exported,
        patch: &NamedTempFile,
        wanted: &ExportWorkspace,
        host: Option<&Git>,
    ) -> Result<(), VmError> {
        if !(wanted.check || wanted.apply) {
            return Ok(());
        }
        let host = host.ok_or(WorkspaceError::HostGone)?;
        let file = patch.path();
        let changes = &exported.reviewed.changes;
        if changes.is_empty() {
            exported.applied = wanted.apply;
            return Ok(());
        }
        let filters = if wanted.base_commit.is_some() { Filters::On } else { Filters::Off };
        let is_risky = exported.reviewed.is_risky() && !wanted.allow_risky;
        if wanted.apply && is_risky {
            return Ok(());
        }
        exported.conflict = workspace::dirty_overlap(host, changes, filters).await?;
        if exported.conflict.is_some() {
            return Ok(());
        }
        let umask = Environment::of_caller().umask();
        let places = (&*self.services.paths.patches(), &*self.services.paths.applying());
        // To find out whether it applies, nothing is smudged: a filter driver may fetch what the guest names.
        let check_out = if wanted.apply { filters } else { Filters::Off };
        let landing = match Landing::prepare(host, file, changes, (filters, check_out), umask, places).await {
            Ok(landing) => landing,
            Err(WorkspaceError::DoesNotApply { said }) => {
                exported.conflict = Some(said);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        if wanted.apply {
            landing.carry_out().await?;
            exported.applied = true;
        }
        Ok(())
    }

    /// Has the guest's work made a branch of the host's repository.
    async fn export_branch(
        &self,
        id: &VmId,
        wanted: &ExportWorkspace,
        branch: &WantedBranch,
        reporter: &Reporter,
    ) -> Result<Exported, VmError> {
        let handle = self.handle(id)?;
        let slot = handle.workspace.clone();
        let limit = Duration::from_millis(wanted.timeout_ms);
        let current = self.complete_workspace(&handle)?;
        let host = host_repository(&current).await.ok_or(WorkspaceError::HostGone)?;
        let wanted_branch = wanted_branch(branch, &handle.view().row.name.to_string());
        let free = Free::look(&host, wanted_branch).await?;
        let pack = self.patch_file()?;
        let start = current.commit.as_ref().and_then(|commit| ObjectId::parse(commit.as_bytes()));
        let fetching = async {
            let _turn = slot.turn(reporter).await;
            let guest = self.running_guest(&handle)?;
            let (path, parts) = (&current.guest_path, parts_of(&current)?);
            let (commits, max) = (branch.commits, wanted.max_bytes);
            let fetching = workspace::fetch_objects(&guest, path, &parts, start, commits, pack.path(), max);
            let timeout = || VmError::Workspace(WorkspaceError::Timeout { limit });
            Ok(tokio::time::timeout(limit, fetching).await.map_err(|_| timeout())??)
        };
        let objects = handle.while_running(reporter, fetching).await?;
        let scratch = self.services.paths.patches();
        let making = async {
            let max = wanted.max_bytes;
            let work = Work::take_in(&host, &scratch, pack.path(), objects, start, max).await?;
            let exported = self.review_work(&work, &host, wanted, reporter).await?;
            let is_risky = exported.reviewed.is_risky() && !wanted.allow_risky;
            let commits =
                if work.is_empty() || is_risky { None } else { Some(work.commit(&free.wanted).await?) };
            Ok::<_, VmError>((work, exported, commits))
        };
        let timeout = |_| VmError::Workspace(WorkspaceError::Timeout { limit });
        let (work, mut exported, made) = tokio::time::timeout(limit, making).await.map_err(timeout)??;
        if reporter.cancelled().is_cancelled() {
            return Err(VmError::Cancelled);
        }
        let Some((commit, commits)) = made else { return Ok(exported) };
        work.put(&free, commit, &self.services.paths.applying()).await?;
        for path in work.left_as_committed() {
            let path = path.as_os_str().display();
            reporter.notice(format!("{path} is on the branch as it was committed: a filter driver keeps it"));
        }
        slot.set_exported(exported.fetched.now.clone());
        exported.branch = Some(MadeBranch { name: branch.name.clone(), commit, commits });
        Ok(exported)
    }

    /// Has the host's git show what the guest has made, and looks at it: as a whole, at what was sent, and
    /// commit by commit.
    async fn review_work(
        &self,
        work: &Work<'_>,
        host: &Git,
        wanted: &ExportWorkspace,
        reporter: &Reporter,
    ) -> Result<Exported, VmError> {
        let reviewer = Reviewer::new(Some(host)).await?;
        let GuestObjects { base, trees, left_out, index_unread, .. } = work.objects().clone();
        let mut fetched = Fetched { base: Some(base), now: trees, left_out, index_unread, bytes: 0 };
        tell_left_out(&fetched, reporter);
        let mut left = wanted.max_bytes.saturating_mul(REVIEWED_PATCHES);
        let mut found: Option<Reviewed> = None;
        for step in work.steps() {
            if reporter.cancelled().is_cancelled() {
                return Err(VmError::Cancelled);
            }
            let patch = self.patch_file()?;
            let bytes = work.patch(step, patch.path(), left).await.map_err(|error| match error {
                WorkspaceError::PatchTooLarge { .. } => {
                    WorkspaceError::PatchTooLarge { limit_bytes: wanted.max_bytes }
                }
                error => error,
            })?;
            left -= bytes;
            let reviewed = reviewer.review_own(patch.path()).await?;
            if Some(step) == work.overlay() {
                // The guest's word for it: an image that lies from its first second may add to it.
                reporter.notice(format!(
                    "not committed when it was sent, and a commit by itself: {}",
                    some(&reviewed)
                ));
            }
            match &mut found {
                Some(first) => first.add_findings(reviewed.findings),
                None => {
                    fetched.bytes = bytes;
                    found = Some(reviewed);
                }
            }
        }
        let reviewed = found.ok_or(WorkspaceError::BaseGone)?;
        Ok(Exported { fetched, reviewed, patch: None, conflict: None, applied: false, branch: None })
    }

    /// A patch that an export has named. It can be had once, and for ten minutes.
    pub fn take_patch(&self, name: &str) -> Option<NamedTempFile> {
        self.patches.take(name)
    }

    /// Removes the patches that a daemon which was killed has left behind.
    ///
    /// # Errors
    ///
    /// When they cannot be removed.
    pub fn remove_left_patches(&self) -> std::io::Result<()> {
        remove_left(&self.services.paths.patches())
    }

    fn complete_workspace(&self, handle: &VmHandle) -> Result<StoredWorkspace, VmError> {
        let name = handle.view().row.name.to_string();
        match handle.workspace.current() {
            None => Err(VmError::NoWorkspace { name }),
            Some(current) if !current.complete => Err(VmError::IncompleteWorkspace { name }),
            Some(current) => Ok(current),
        }
    }

    fn patch_file(&self) -> Result<NamedTempFile, VmError> {
        let dir = self.services.paths.patches();
        let made = banger_host::files::private_dir(&dir).map(|_| ());
        made?;
        NamedTempFile::new_in(dir).map_err(|source| VmError::Workspace(WorkspaceError::Patch { source }))
    }
}

/// Says what is missing in a patch; the nested repositories are named by whoever shows it.
fn tell_left_out(fetched: &Fetched, reporter: &Reporter) {
    if fetched.index_unread {
        reporter.notice(INDEX_UNREAD);
    }
    let unsupported = &fetched.left_out.unsupported;
    if !unsupported.is_empty() {
        let names = named(unsupported.iter());
        reporter.notice(format!("git takes no such file or name, and it is not part of the patch: {names}"));
    }
}

/// The files that are changed, as far as a line holds them.
fn some(reviewed: &Reviewed) -> String {
    named(reviewed.changes.iter().map(|change| &change.path))
}

fn named<'p>(paths: impl ExactSizeIterator<Item = &'p ByteString>) -> String {
    let more = paths.len().saturating_sub(NAMED_FILES);
    let mut names: Vec<String> =
        paths.take(NAMED_FILES).map(|path| path.as_os_str().display().to_string()).collect();
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    names.join(", ")
}

fn wanted_branch(branch: &WantedBranch, vm: &str) -> Wanted {
    Wanted {
        name: branch.name.clone(),
        message: branch.message.clone().unwrap_or_else(|| format!("Work of the VM {vm}")),
        sent_message: format!("Not committed when it was sent to the VM {vm}"),
        commits: branch.commits,
        force: branch.force,
    }
}

/// The host's user names a commit as on the host. The guest's HEAD is another one as soon as somebody has
/// committed there, and a patch from there would not apply to anything that the host has. What the host does
/// not know is the guest's.
async fn named_base(name: &str, host: Option<&Git>) -> Result<Base, VmError> {
    let on_host = match host {
        Some(host) => workspace::named_commit(host, name).await.map_err(WorkspaceError::from)?,
        None => None,
    };
    Ok(Base::Commit { name: name.to_owned(), on_host })
}

/// None says that the repository has gone or moved. git would take the one around its place for it.
async fn host_repository(workspace: &StoredWorkspace) -> Option<Git> {
    let path = PathBuf::from(workspace.host_path.as_os_str());
    // What it is that cannot be opened is for whoever needs it to say.
    let repository = Repository::open(&path, None).await.ok()?;
    (repository.root() == path).then(|| Git::new(repository.root()))
}
