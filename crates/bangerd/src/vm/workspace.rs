//! A VM's copy of a repository: who may touch it when, and what is known of it.
//!
//! Preparing and exporting take turns. A VM that is stopped, killed or deleted does not wait for them: they
//! are cut off as soon as it leaves the running state. A copy that was cut off before it reached its place
//! has changed nothing; one that was cut off later is marked incomplete, here and in the store, and is not
//! exported.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use banger_api::workspace::{PrepareWorkspace, WorkspaceContents, WorkspaceMode};
use banger_guest_protocol::ByteString;

use super::mailbox::VmHandle;
use super::record::VmRecord;
use super::registry::Vms;
use super::{VmError, VmView};
use crate::clock::unix_ms;
use crate::guest::Guest;
use crate::identity::VmId;
use crate::operation::Reporter;
use crate::store::StoredWorkspace;
use crate::workspace::{
    self, Checkout, Listing, Losses, ObjectId, Preparation, Prepared, PreparedPart, WorkspaceError,
};

/// Where a repository is put unless somebody says otherwise.
const GUEST_PATH: &str = "/root/repo";

/// How many changed files an error names.
const NAMED_FILES: usize = 3;

/// A VM's workspace, and the turn to work on it.
#[derive(Default)]
pub(super) struct WorkspaceSlot {
    turn: tokio::sync::Mutex<()>,
    current: Mutex<Option<StoredWorkspace>>,
    /// The trees that were exported last.
    exported: Mutex<Vec<String>>,
}

impl WorkspaceSlot {
    pub(super) fn new(current: Option<StoredWorkspace>) -> Self {
        Self { current: Mutex::new(current), ..Self::default() }
    }

    pub(super) fn current(&self) -> Option<StoredWorkspace> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until nobody else prepares or exports.
    pub(super) async fn turn(&self, reporter: &Reporter) -> tokio::sync::MutexGuard<'_, ()> {
        if let Ok(turn) = self.turn.try_lock() {
            return turn;
        }
        reporter.notice("another prepare or export of this VM is under way; waiting for it");
        self.turn.lock().await
    }

    /// Nobody prepares or exports.
    pub(super) fn is_free(&self) -> bool {
        self.turn.try_lock().is_ok()
    }

    /// Notes what was exported.
    pub(super) fn set_exported(&self, trees: Vec<String>) {
        *self.exported.lock().unwrap_or_else(PoisonError::into_inner) = trees;
    }

    /// Something of it was exported since it was prepared.
    pub(super) fn is_exported(&self) -> bool {
        !self.exported.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    pub(super) fn was_exported(&self, trees: &[String]) -> bool {
        *self.exported.lock().unwrap_or_else(PoisonError::into_inner) == trees
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

/// Where a workspace's repository on the host stands.
pub struct Staleness {
    pub stale: bool,
    pub prepared_commit: Option<String>,
    pub host_commit: Option<String>,
}

impl Vms {
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
            slot.set_exported(Vec::new());
            let Prepared { parts } = workspace::finish(&guest, sent, &preparation, reporter).await?;
            stored.wholes = parts.iter().map(|part| part.whole.to_string()).collect();
            stored.bases = parts.iter().map(|part| (part.inside.clone(), part.base.to_string())).collect();
            (stored.conversions, stored.excludes) =
                parts.into_iter().map(|part| (part.conversions, part.excludes)).unzip();
            stored.complete = true;
            stored.prepared_at_unix_ms = unix_ms();
            note(&stored)
        };
        handle.while_running(reporter, work).await?;
        Ok(handle.view())
    }

    /// Whether a workspace's repository on the host has moved on since it was prepared.
    ///
    /// # Errors
    ///
    /// When the VM has no workspace.
    pub async fn staleness(&self, view: &VmView) -> Result<Staleness, VmError> {
        let missing = || VmError::NoWorkspace { name: view.row.name.to_string() };
        let workspace = view.workspace.as_ref().ok_or_else(missing)?;
        // A repository that has gone or moved has no commit; the export says so, if it matters there.
        let now = workspace::head_commit_at(Path::new(workspace.host_path.as_os_str())).await;
        let (prepared_commit, host_commit) = (workspace.commit.clone(), now.map(|now| now.to_string()));
        // A repository that is gone has not moved on.
        let stale = host_commit.is_some() && host_commit != prepared_commit;
        Ok(Staleness { stale, prepared_commit, host_commit })
    }

    pub(super) fn handle(&self, id: &VmId) -> Result<VmHandle, VmError> {
        let gone = || VmError::NotFound { reference: id.to_string(), similar: None };
        self.table.get(id).ok_or_else(gone)
    }

    pub(super) fn running_guest(&self, handle: &VmHandle) -> Result<Guest, VmError> {
        handle.view().guest()
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
    let Losses { files, others, .. } = losses;
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
        mode: preparation.mode.into(),
        include_untracked: preparation.include_untracked,
        commit: repository.commit().map(|commit| commit.to_string()),
        branch: preparation.checked_out(repository).map(|branch| branch.display().to_string()),
        bases: Vec::new(),
        wholes: Vec::new(),
        conversions: Vec::new(),
        excludes: Vec::new(),
        prepared_at_unix_ms: unix_ms(),
        complete: false,
    }
}

/// The trees that the guest's work is compared with.
pub(super) fn parts_of(workspace: &StoredWorkspace) -> Result<Vec<PreparedPart>, VmError> {
    let mut wholes = workspace.wholes.iter();
    // One of an earlier build knows no conversions and excludes.
    let (mut conversions, mut excludes) = (workspace.conversions.iter(), workspace.excludes.iter());
    let part = |(inside, base): &(ByteString, String)| {
        let conversions = conversions.next().cloned().unwrap_or_default();
        let excludes = excludes.next().cloned().unwrap_or_else(|| Vec::new().into());
        let base = ObjectId::parse(base.as_bytes())?;
        let whole = match wholes.next() {
            Some(whole) => ObjectId::parse(whole.as_bytes())?,
            None => base,
        };
        Some(PreparedPart { inside: inside.clone(), base, whole, conversions, excludes })
    };
    let parts: Option<Vec<PreparedPart>> = workspace.bases.iter().map(part).collect();
    let parts = parts.filter(|parts| !parts.is_empty());
    parts.ok_or(VmError::Workspace(WorkspaceError::BaseGone))
}
