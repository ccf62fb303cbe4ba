//! A VM's copy of a repository: who may touch it when, and what is known of it.
//!
//! Preparing and exporting take turns. A VM that is stopped, killed or deleted does not wait for them: they are cut off as soon as
//! it leaves the running state. A copy that was cut off before it reached its place has changed nothing; one that was cut off
//! later is marked incomplete, here and in the store, and is not exported.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use banger_api::workspace::{ExportWorkspace, PrepareWorkspace, WorkspaceContents, WorkspaceMode};
use banger_guest_protocol::ByteString;
use banger_host::git::Git;

use super::mailbox::VmHandle;
use super::record::VmRecord;
use super::registry::{Plan, Vms};
use super::{VmError, VmView};
use crate::causes::chain;
use crate::clock::unix_ms;
use crate::download::Environment;
use crate::guest::Guest;
use crate::identity::VmId;
use crate::operation::Reporter;
use crate::store::StoredWorkspace;
use crate::workspace::{
    self, Base, Checkout, Fetched, Filters, Landing, Listing, Losses, ObjectId, Preparation, Prepared,
    PreparedPart, Repository, Reviewed, WorkspaceError,
};

/// Where a repository is put unless somebody says otherwise.
const GUEST_PATH: &str = "/root/repo";

/// How many changed files an error names.
const NAMED_FILES: usize = 3;

/// A VM's workspace, and the turn to work on it.
#[derive(Default)]
pub(super) struct Slot {
    turn: tokio::sync::Mutex<()>,
    current: Mutex<Option<StoredWorkspace>>,
}

impl Slot {
    pub(super) fn new(current: Option<StoredWorkspace>) -> Self {
        Self { turn: tokio::sync::Mutex::default(), current: Mutex::new(current) }
    }

    pub(super) fn current(&self) -> Option<StoredWorkspace> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until nobody else prepares or exports.
    async fn turn(&self, reporter: &Reporter) -> tokio::sync::MutexGuard<'_, ()> {
        if let Ok(turn) = self.turn.try_lock() {
            return turn;
        }
        reporter.notice("another prepare or export of this VM is under way; waiting for it");
        self.turn.lock().await
    }

    fn set(&self, workspace: StoredWorkspace) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(workspace);
    }
}

/// A repository that was looked at and can be prepared as asked for.
pub struct Inspected {
    checkout: Checkout,
    preparation: Preparation,
    discard: bool,
}

impl Inspected {
    /// Looks at the repository. Touches nothing.
    ///
    /// # Errors
    ///
    /// When there is none, or it cannot be prepared like that.
    pub async fn look(wanted: &PrepareWorkspace) -> Result<Self, VmError> {
        let path = PathBuf::from(wanted.path.as_os_str());
        let whole = wanted.mode == WorkspaceMode::Full;
        let checkout = Checkout::look(&path, wanted.from.as_deref(), whole).await?;
        if let Some(branch) = &wanted.branch {
            checkout.repository().check_branch_name(branch).await?;
        }
        let guest_path = wanted.guest_path.clone().unwrap_or_else(|| GUEST_PATH.into());
        let preparation = Preparation {
            mode: wanted.mode,
            include_untracked: wanted.include_untracked,
            branch: wanted.branch.clone(),
            from: wanted.from.clone(),
            guest_path,
            replace: false,
        };
        preparation.check(&checkout)?;
        Ok(Self { checkout, preparation, discard: wanted.discard })
    }

    /// What would be copied.
    pub fn contents(&self) -> WorkspaceContents {
        let contents = self.preparation.contents(&self.checkout);
        WorkspaceContents {
            files: contents.files,
            bytes: contents.bytes,
            untracked: self.left_behind(),
            commit: self.checkout.repository().commit().map(|commit| commit.to_string()),
        }
    }

    /// How many untracked files are not copied.
    fn left_behind(&self) -> u64 {
        if self.preparation.include_untracked { 0 } else { self.checkout.listing().untracked_count() }
    }
}

/// A patch as the guest has made it, read and screened.
pub struct Exported {
    pub fetched: Fetched,
    pub reviewed: Reviewed,
    /// Holds the patch as long as it is wanted.
    pub patch: tempfile::NamedTempFile,
    /// Why it does not apply, if that was asked.
    pub conflict: Option<String>,
    pub applied: bool,
}

impl Vms {
    /// Makes and starts a VM and copies a repository into it. When any of it fails, nothing is left of the VM.
    ///
    /// # Errors
    ///
    /// What went wrong.
    pub async fn create_with_workspace(
        &self,
        plan: Plan,
        inspected: Inspected,
        reporter: &Reporter,
    ) -> Result<VmView, Arc<VmError>> {
        let view = self.create(plan, true, reporter).await?;
        let prepared = self.prepare(&view.row.id, inspected, reporter).await;
        if prepared.is_err()
            && let Err(error) = self.delete(&view.row.id, true, Duration::ZERO, reporter).await
        {
            tracing::error!(vm = %view.row.name, causes = ?chain(&*error), "could not be removed");
        }
        prepared.map_err(Arc::new)
    }

    /// Copies a repository into a running VM.
    ///
    /// # Errors
    ///
    /// When the VM does not run, holds changes that would be lost, or the copy fails.
    pub async fn prepare(
        &self,
        id: &VmId,
        inspected: Inspected,
        reporter: &Reporter,
    ) -> Result<VmView, VmError> {
        let handle = self.handle(id)?;
        let slot = handle.workspace.clone();
        let work = async {
            let _turn = slot.turn(reporter).await;
            let guest = self.running_guest(&handle)?;
            let before = slot.current();
            let Inspected { checkout, mut preparation, discard } = inspected;
            let is_same_place =
                before.as_ref().is_some_and(|before| before.guest_path == preparation.guest_path);
            if let Some(before) = before.filter(|before| is_same_place && before.complete && !discard) {
                refuse_to_lose_changes(&guest, &before).await?;
            }
            preparation.replace = is_same_place;
            tell_what_stays(checkout.listing(), &preparation, reporter);
            let mut stored = stored(&checkout, &preparation, reporter);
            let note = |stored: &StoredWorkspace| {
                self.services.store.set_workspace(id, stored)?;
                let record = VmRecord::of(&handle.view().row, Some(stored.clone()));
                record.write(&self.services.paths.vm(id))?;
                slot.set(stored.clone());
                Ok::<_, VmError>(())
            };
            let sent = workspace::send_to(&guest, checkout, &preparation, reporter).await?;
            // From here on the guest's copy may be neither the old nor the new one.
            note(&stored)?;
            let Prepared { parts } = workspace::settle(&guest, sent, &preparation, reporter).await?;
            stored.bases = parts.iter().map(|part| (part.inside.clone(), part.base.to_string())).collect();
            stored.conversions = parts.into_iter().map(|part| part.conversions).collect();
            stored.complete = true;
            stored.prepared_at_unix_ms = unix_ms();
            note(&stored)
        };
        handle.while_running(reporter, work).await?;
        Ok(handle.view())
    }

    /// Fetches what has been changed in a VM's workspace.
    ///
    /// # Errors
    ///
    /// When there is no complete workspace, the VM does not run, or the guest does not deliver a patch in time.
    pub async fn export(
        &self,
        id: &VmId,
        wanted: &ExportWorkspace,
        reporter: &Reporter,
    ) -> Result<Exported, VmError> {
        let handle = self.handle(id)?;
        let slot = handle.workspace.clone();
        let limit = Duration::from_millis(wanted.timeout_ms);
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
                workspace::fetch(&guest, &current.guest_path, &parts, &base, patch.path(), wanted.max_bytes);
            let fetched = tokio::time::timeout(limit, fetching)
                .await
                .map_err(|_| VmError::Workspace(WorkspaceError::Timeout { limit }))??;
            Ok((fetched, patch, host))
        };
        let (fetched, patch, host) = handle.while_running(reporter, fetching).await?;
        // From here on it is between the patch and the host, whatever becomes of the VM: git must not be cut off while it
        // writes into the user's files.
        let reviewed = workspace::review(patch.path(), host.as_ref()).await?;
        let mut exported = Exported { fetched, reviewed, patch, conflict: None, applied: false };
        if reporter.cancelled().is_cancelled() {
            return Err(VmError::Cancelled);
        }
        self.meet_host(&mut exported, wanted, host.as_ref()).await?;
        Ok(exported)
    }

    /// Checks the patch against the host's repository, and applies it, as far as that is wanted.
    async fn meet_host(
        &self,
        exported: &mut Exported,
        wanted: &ExportWorkspace,
        host: Option<&Git>,
    ) -> Result<(), VmError> {
        if !(wanted.check || wanted.apply) {
            return Ok(());
        }
        let host = host.ok_or(WorkspaceError::HostGone)?;
        let file = exported.patch.path();
        let changes = &exported.reviewed.changes;
        if changes.is_empty() {
            exported.applied = wanted.apply;
            return Ok(());
        }
        let filters = if wanted.base_commit.is_some() { Filters::On } else { Filters::Off };
        exported.conflict = workspace::dirty_overlap(host, changes, filters).await?;
        if exported.conflict.is_some() {
            return Ok(());
        }
        let umask = Environment::of_caller().umask();
        let places = (&*self.services.paths.patches(), &*self.services.paths.applying());
        let landing = match Landing::prepare(host, file, changes, filters, umask, places).await {
            Ok(landing) => landing,
            Err(WorkspaceError::DoesNotApply { said }) => {
                exported.conflict = Some(said);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let is_risky = exported.reviewed.is_risky() && !wanted.allow_risky;
        if wanted.apply && !is_risky {
            landing.carry_out().await?;
            exported.applied = true;
        }
        Ok(())
    }

    /// The commits that a workspace was made of, and that its repository on the host is at now.
    ///
    /// # Errors
    ///
    /// When the VM has no workspace.
    pub async fn staleness(&self, view: &VmView) -> Result<(Option<String>, Option<String>), VmError> {
        let missing = || VmError::NoWorkspace { name: view.row.name.to_string() };
        let workspace = view.workspace.as_ref().ok_or_else(missing)?;
        let git = Git::new(PathBuf::from(workspace.host_path.as_os_str()));
        // A repository that has gone or moved has no commit; the export says so, if it matters there.
        let now = workspace::head_commit(&git).await.ok().flatten();
        Ok((workspace.commit.clone(), now.map(|now| now.to_string())))
    }

    fn handle(&self, id: &VmId) -> Result<VmHandle, VmError> {
        let gone = || VmError::NotFound { reference: id.to_string(), similar: None };
        self.members.get(id).ok_or_else(gone)
    }

    fn running_guest(&self, handle: &VmHandle) -> Result<Guest, VmError> {
        handle.view().guest()
    }

    fn complete_workspace(&self, handle: &VmHandle) -> Result<StoredWorkspace, VmError> {
        let name = handle.view().row.name.to_string();
        match handle.workspace.current() {
            None => Err(VmError::NoWorkspace { name }),
            Some(current) if !current.complete => Err(VmError::IncompleteWorkspace { name }),
            Some(current) => Ok(current),
        }
    }

    fn patch_file(&self) -> Result<tempfile::NamedTempFile, VmError> {
        let dir = self.services.paths.patches();
        let made = banger_host::files::private_dir(&dir).map(|_| ());
        made?;
        tempfile::NamedTempFile::new_in(dir)
            .map_err(|source| VmError::Workspace(WorkspaceError::Patch { source }))
    }
}

/// A second preparation would throw away what somebody has done in the guest.
async fn refuse_to_lose_changes(guest: &Guest, before: &StoredWorkspace) -> Result<(), VmError> {
    let Ok(parts) = parts_of(before) else { return Ok(()) };
    let losses = match workspace::losses(guest, &before.guest_path, &parts).await {
        Ok(losses) => losses,
        // Nobody can say what is there; whoever knows says so.
        Err(source) => return Err(VmError::UnknownChanges { source }),
    };
    if losses.is_empty() {
        return Ok(());
    }
    let Losses { files, others } = losses;
    let named = files.iter().take(NAMED_FILES).map(|path| path.as_os_str().display().to_string()).collect();
    Err(VmError::WouldLoseChanges { count: files.len(), named, others })
}

fn tell_what_stays(listing: &Listing, preparation: &Preparation, reporter: &Reporter) {
    let untracked = listing.untracked_count();
    if untracked > 0 && !preparation.include_untracked && preparation.sends_working_tree() {
        let files = if untracked == 1 { "untracked file stays" } else { "untracked files stay" };
        reporter.notice(format!("{untracked} {files} behind; --include-untracked takes them along"));
    }
    for nested in listing.nested_named() {
        reporter.notice(format!("{nested} is a repository of its own and stays behind"));
    }
}

fn stored(checkout: &Checkout, preparation: &Preparation, reporter: &Reporter) -> StoredWorkspace {
    let repository = checkout.repository();
    let bytes = |path: &Path| ByteString::from(path.as_os_str().to_owned());
    let start_dir = preparation.start_dir(checkout).unwrap_or_else(|| {
        let named = repository.inside().display();
        reporter.notice(format!("nothing in {named} is copied; commands run in the repository's root"));
        Path::new("")
    });
    StoredWorkspace {
        guest_path: preparation.guest_path.clone(),
        host_path: bytes(repository.root()),
        inside: bytes(start_dir),
        mode: preparation.mode,
        include_untracked: preparation.include_untracked,
        commit: repository.commit().map(|commit| commit.to_string()),
        branch: preparation.checked_out(repository).map(|branch| branch.display().to_string()),
        bases: Vec::new(),
        conversions: Vec::new(),
        prepared_at_unix_ms: unix_ms(),
        complete: false,
    }
}

/// The trees that the guest's work is compared with.
fn parts_of(workspace: &StoredWorkspace) -> Result<Vec<PreparedPart>, VmError> {
    // One of an earlier build knows no conversions.
    let mut conversions = workspace.conversions.iter();
    let part = |(inside, base): &(ByteString, String)| {
        let conversions = conversions.next().cloned().unwrap_or_default();
        Some(PreparedPart { inside: inside.clone(), base: ObjectId::parse(base.as_bytes())?, conversions })
    };
    let parts: Option<Vec<PreparedPart>> = workspace.bases.iter().map(part).collect();
    let parts = parts.filter(|parts| !parts.is_empty());
    parts.ok_or(VmError::Workspace(WorkspaceError::BaseGone))
}

/// The host's user names a commit as on the host. The guest's HEAD is another one as soon as somebody has committed there, and a
/// patch from there would not apply to anything that the host has. What the host does not know is the guest's.
async fn named_base(name: &str, host: Option<&Git>) -> Result<Base, VmError> {
    let on_host = match host {
        Some(host) => workspace::named_commit(host, name).await.map_err(WorkspaceError::from)?,
        None => None,
    };
    Ok(Base::Commit { name: name.to_owned(), on_host })
}

async fn host_repository(workspace: &StoredWorkspace) -> Option<Git> {
    let path = PathBuf::from(workspace.host_path.as_os_str());
    // None says that the repository has gone or moved.
    Repository::open(&path, None).await.ok().map(|repository| Git::new(repository.root()))
}
