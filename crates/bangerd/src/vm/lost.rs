//! What is in lost+found: shown, brought back, removed for good. Only the user decides which.

use std::path::{Path, PathBuf};

use banger_api::vm::CreateVm;
use banger_host::files::{FileError, allocated_bytes};
use banger_host::staging::discard;

use super::actor::{Actor, Initial};
use super::record::VmRecord;
use super::registry::Vms;
use super::{VmError, spec};
use crate::causes::on_one_line;
use crate::config::{HostSize, vm_defaults};
use crate::disk::cow_bytes;
use crate::identity::{ImageRef, VmId, VmName};
use crate::lost_found::{Lost, LostKind};
use crate::paths::VmDir;
use crate::record::{self, RecordError};
use crate::store::{ImageRow, KernelRow, StoredSpec, VmPhase, VmRow};
use crate::{image, kernel};

/// One of the things in lost+found.
pub struct LostEntry {
    pub name: String,
    pub lost: Result<Lost, RecordError>,
    pub path: PathBuf,
    pub disk_used_bytes: u64,
}

impl Vms {
    /// What is there.
    ///
    /// # Errors
    ///
    /// When lost+found cannot be read.
    pub fn lost(&self) -> Result<Vec<LostEntry>, VmError> {
        let lost_found = self.services.paths.lost_found();
        let described = lost_found.list()?.into_iter().map(|(name, lost)| {
            let path = lost_found.content(&name).unwrap_or_else(|| lost_found.path().join(&name));
            LostEntry { disk_used_bytes: disk_used_bytes(&path), name, lost, path }
        });
        Ok(described.collect())
    }

    /// Brings something back to where it lay, and makes it known. A VM without a record needs its `image`.
    /// Answers what it is and what it is called now.
    ///
    /// # Errors
    ///
    /// When there is no such thing, its place is taken, or it does not say what it is. It stays where it is
    /// then.
    pub async fn restore_lost(&self, name: &str, image: Option<&str>) -> Result<(LostKind, String), VmError> {
        let lost_found = self.services.paths.lost_found();
        let not_there = || VmError::NotLost { name: name.to_owned() };
        let content = lost_found.content(name).filter(|path| path.exists()).ok_or_else(not_there)?;
        let lost = lost_found.read(name)?;
        let restored = match lost.kind {
            LostKind::Vm => self.restore_vm(&lost, &content, image)?,
            LostKind::Image => self.restore_image(&content).await?,
            LostKind::Kernel => self.restore_kernel(&content).await?,
            LostKind::Store => return Err(VmError::NotRestorable { path: content }),
        };
        if let Some(entry) = lost_found.entry(name) {
            discard(&entry).await?;
        }
        Ok((lost.kind, restored))
    }

    /// Removes something for good.
    ///
    /// # Errors
    ///
    /// When there is no such thing, or it cannot be removed.
    pub async fn delete_lost(&self, name: &str) -> Result<(), VmError> {
        let entry = self.services.paths.lost_found().entry(name);
        let entry = entry.ok_or_else(|| VmError::NotLost { name: name.to_owned() })?;
        Ok(discard(&entry).await?)
    }

    /// Its record says which one it is, wherever it lay.
    async fn restore_image(&self, content: &Path) -> Result<String, VmError> {
        let services = &self.services;
        let unnamed = |_| VmError::NotRestorable { path: content.into() };
        let id = record::read::<ImageRow>(&content.join(image::RECORD)).map_err(unnamed)?.id;
        let moved = Moved::new(content, &services.paths.images().join(&id))?;
        services.images.recover().await?;
        let row = services.store.image_by_id(&id)?;
        let name = row.ok_or_else(|| VmError::NotRestorable { path: content.into() })?.name;
        moved.keep();
        Ok(name)
    }

    async fn restore_kernel(&self, content: &Path) -> Result<String, VmError> {
        let services = &self.services;
        let unnamed = |_| VmError::NotRestorable { path: content.into() };
        let id = record::read::<KernelRow>(&content.join(kernel::RECORD)).map_err(unnamed)?.id;
        let moved = Moved::new(content, &services.paths.kernels().join(&id))?;
        services.kernels.recover().await?;
        let row = services.store.kernel_by_id(&id)?;
        let name = row.ok_or_else(|| VmError::NotRestorable { path: content.into() })?.name;
        moved.keep();
        Ok(name)
    }

    fn restore_vm(&self, lost: &Lost, content: &Path, image: Option<&str>) -> Result<String, VmError> {
        let unnamed = || VmError::NotRestorable { path: content.into() };
        let dir = VmDir::at(content);
        let by_place = || VmId::parse(lost.from.file_name()?.to_str()?);
        let id = VmRecord::id(&dir).or_else(by_place).ok_or_else(unnamed)?;
        if let Err(error) = VmRecord::read(&dir, &id) {
            let image = image.ok_or(VmError::NeedsImage { why: on_one_line(&error) })?;
            VmRecord::of(&self.row_by_its_disks(&id, &dir, image)?, None).write(&dir)?;
        }
        let moved = Moved::new(content, self.services.paths.vm(&id).path())?;
        // One that is known was broken for the want of its directory, and is so no longer.
        let name = match self.table.get(&id) {
            Some(known) => known.view().row.name.to_string(),
            None => {
                let row = self.strays().reclaim_one(&id)?;
                let name = row.name.to_string();
                Actor::spawn(self.services.clone(), self.table.clone(), row, Initial::Stopped);
                name
            }
        };
        moved.keep();
        Ok(name)
    }

    /// What a VM must have been that has these disks, and this image.
    fn row_by_its_disks(&self, id: &VmId, dir: &VmDir, image: &str) -> Result<VmRow, VmError> {
        let services = &self.services;
        let missing = || VmError::NeedsImage { why: format!("there is no image {image:?} on this host") };
        let image = services.store.image(image)?.ok_or_else(missing)?;
        let wanted = image.details.kernel.as_deref().unwrap_or(&services.config.default_kernel.value);
        // Disks fit any kernel: where the usual one is not here, another one does.
        let kernel = match services.store.kernel(wanted)? {
            Some(kernel) => Some(kernel),
            None => services.store.kernels()?.pop(),
        };
        let no_kernel = || VmError::NeedsImage { why: "there is no kernel on this host".into() };
        let kernel = kernel.ok_or_else(no_kernel)?;
        let len = |name| dir.file(name).metadata().map_or(0, |meta| meta.len());
        if len(VmDir::COW) != cow_bytes(image.size_bytes) {
            let why =
                format!("its disk does not fit the image {}: it holds changes to another one", image.name);
            return Err(VmError::NeedsImage { why });
        }
        let acceleration = banger_api::vm::Acceleration::Tcg;
        let defaults = vm_defaults(&services.config, HostSize::of_this_host(), acceleration);
        Ok(VmRow {
            id: id.clone(),
            name: VmName::of_id(id),
            phase: VmPhase::Exists,
            image_id: Some(image.id),
            kernel_id: Some(kernel.id),
            created_at_unix_ms: crate::clock::unix_ms(),
            spec: StoredSpec {
                image: ImageRef::stored(image.name),
                kernel: kernel.name,
                vcpu: defaults.vcpu.value,
                memory_mib: defaults.memory_mib.value,
                disk_mib: len(VmDir::WORK) >> 20,
                vmm: spec::vmm(&CreateVm::default(), &services.config).name().into(),
                ..VmRow::placeholder(id.clone(), VmName::of_id(id)).spec
            },
        })
    }
}

/// Something on its way back to its place. Where it cannot stay it goes to where it was.
struct Moved<'a> {
    from: &'a Path,
    to: Option<PathBuf>,
}

impl<'a> Moved<'a> {
    fn new(from: &'a Path, to: &Path) -> Result<Self, VmError> {
        if to.symlink_metadata().is_ok() {
            return Err(VmError::PlaceTaken { path: to.into() });
        }
        std::fs::rename(from, to).map_err(|source| FileError::Io {
            action: "move back",
            path: to.into(),
            source,
        })?;
        Ok(Self { from, to: Some(to.into()) })
    }

    fn keep(mut self) {
        self.to = None;
    }
}

impl Drop for Moved<'_> {
    fn drop(&mut self) {
        if let Some(to) = &self.to
            && let Err(error) = std::fs::rename(to, self.from)
        {
            tracing::error!(%error, path = %to.display(), "it is of no use here, and could not be moved back");
        }
    }
}

/// For show: what cannot be read counts nothing.
fn disk_used_bytes(path: &Path) -> u64 {
    let own = allocated_bytes(path).unwrap_or_default();
    // A file has nothing below it.
    let below = std::fs::read_dir(path).into_iter().flatten().flatten();
    own + below.map(|entry| disk_used_bytes(&entry.path())).sum::<u64>()
}
