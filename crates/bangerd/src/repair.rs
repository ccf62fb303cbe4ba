//! `bangerd doctor --repair`: a store that cannot be used is set aside, and a new one is made of what lies
//! beside the disks.

use std::collections::HashSet;
use std::fs::File;
use std::path::PathBuf;

use banger_api::doctor::Repaired;
use banger_host::files::FileError;
use rustix::fs::{FlockOperation, flock};

use crate::catalog::Catalog;
use crate::causes::on_one_line;
use crate::identity::VmId;
use crate::image::{ImageError, ImageService};
use crate::kernel::{AgentError, KernelError, KernelService, agent_path};
use crate::lost_found::LostKind;
use crate::paths::{Paths, PathsError};
use crate::store::{Store, StoreError, UnreadableVm, VmRow};
use crate::vm::{Strays, VmError};

/// Why nothing was repaired.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    #[error("bangerd is running, and holds the state store (it holds {})", lock.display())]
    Running { lock: PathBuf },
    #[error("could not lock {}", path.display())]
    Lock { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Paths(#[from] PathsError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error(transparent)]
    Vm(Box<VmError>),
}

impl From<VmError> for RepairError {
    fn from(error: VmError) -> Self {
        Self::Vm(error.into())
    }
}

/// Repairs what can be repaired without the user's help, and says what that was.
///
/// # Errors
///
/// When a daemon runs, the store is of a newer banger, or something cannot be moved or written.
pub async fn repair(paths: &Paths) -> Result<Repaired, RepairError> {
    paths.create()?;
    let _lock = lock(paths)?;
    let set_aside = set_broken_store_aside(paths)?;
    let store = Store::open(&paths.database())?;
    let before = counts(&store)?;
    let lost_before = paths.lost_found().list()?.len();
    ImageService::new(store.clone(), paths, Catalog::builtin()).recover().await?;
    KernelService::new(store.clone(), paths, Catalog::builtin(), agent_path()?).recover().await?;
    // The daemon heals a damaged row when it starts.
    let id =
        |row: Result<VmRow, UnreadableVm>| row.map_or_else(|row| VmId::parse(&row.id), |row| Some(row.id));
    let known: HashSet<_> = store.vms()?.into_iter().filter_map(id).collect();
    let vms = Strays { store: &store, paths }.reclaim(&known, &HashSet::new()).0;
    let after = counts(&store)?;
    Ok(Repaired {
        set_aside: set_aside.map(|path| path.display().to_string()),
        vms: vms.into_iter().map(|row| row.name.to_string()).collect(),
        images: after.0 - before.0,
        kernels: after.1 - before.1,
        lost: paths.lost_found().list()?.len().saturating_sub(lost_before),
    })
}

fn counts(store: &Store) -> Result<(usize, usize), StoreError> {
    Ok((store.images()?.len(), store.kernels()?.len()))
}

fn lock(paths: &Paths) -> Result<File, RepairError> {
    let path = paths.lock();
    let failed = |source| RepairError::Lock { path: paths.lock(), source };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&path).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(RepairError::Running { lock: path }),
        Err(error) => Err(failed(error.into())),
    }
}

/// Moves the store to lost+found when its content is no use. One of a newer banger is fine, and so is one
/// that cannot be reached for now: both are left alone.
fn set_broken_store_aside(paths: &Paths) -> Result<Option<PathBuf>, RepairError> {
    let path = paths.database();
    let error = match Store::open(&path).and_then(|store| store.integrity_check()) {
        Ok(()) => return Ok(None),
        Err(error) if !error.is_damage() => return Err(error.into()),
        Err(error) => error,
    };
    let why = on_one_line(&error);
    let lost_found = paths.lost_found();
    let moved = lost_found.take(&path, LostKind::Store, &why)?;
    // What SQLite keeps beside it belongs to it.
    for suffix in ["-wal", "-shm"] {
        let beside = PathBuf::from(format!("{}{suffix}", path.display()));
        if beside.exists() {
            lost_found.take(&beside, LostKind::Store, &why)?;
        }
    }
    Ok(Some(moved))
}
