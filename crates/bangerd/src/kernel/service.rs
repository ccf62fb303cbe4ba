use std::path::PathBuf;
use std::sync::Arc;

use banger_api::kernel::Kernel;
use banger_registry::Flights;

use super::KernelError;
use super::agent::Agent;
use super::initramfs::InitramfsCache;
use crate::artifact::bundle::Fetcher;
use crate::artifact::{Archive, ArtifactStore, DebianArchive};
use crate::catalog::{Catalog, Entry, Kind};
use crate::download::{Downloads, Web};
use crate::lost_found::LostFound;
use crate::operation::Reporter;
use crate::paths::Paths;
use crate::store::{KernelRow, Store};

/// The uncompressed kernel, an ELF file.
pub(super) const VMLINUX: &str = "vmlinux";

/// The initramfs but for the agent.
pub(super) const MODULES_ARCHIVE: &str = "modules.cpio";

/// All modules, for the guest's `/lib/modules`.
pub(super) const MODULES_DISK: &str = "modules.ext4";

/// All that is done with kernels.
#[derive(Clone)]
pub struct KernelService {
    pub(super) store: Store,
    pub(super) artifacts: ArtifactStore,
    pub(super) flights: Flights<String>,
    pub(super) catalog: Catalog,
    pub(super) archive: Arc<dyn Archive>,
    pub(super) fetcher: Fetcher,
    pub(super) lost_found: LostFound,
    pub(super) initramfs: InitramfsCache,
    agent: Agent,
}

impl KernelService {
    /// `agent` is the guest agent's program, for the initramfs; see [`super::agent_path`].
    pub fn new(store: Store, paths: &Paths, catalog: Catalog, agent: PathBuf) -> Self {
        let web = Arc::new(Downloads::new(&paths.cache));
        Self::with_archive(store, paths, catalog, web, agent, Arc::new(DebianArchive))
    }

    /// With other places to get kernels from.
    pub fn with_archive(
        store: Store,
        paths: &Paths,
        catalog: Catalog,
        web: Arc<dyn Web>,
        agent: PathBuf,
        archive: Arc<dyn Archive>,
    ) -> Self {
        Self {
            store,
            artifacts: ArtifactStore::new(paths.kernels()),
            flights: Flights::default(),
            catalog,
            archive,
            fetcher: Fetcher::new(paths.downloads(), web),
            lost_found: paths.lost_found(),
            initramfs: InitramfsCache::new(paths.initramfs()),
            agent: Agent::new(agent),
        }
    }

    /// The kernel of that name: at once when it is on this host, else it is pulled.
    ///
    /// # Errors
    ///
    /// When it is not here and cannot be pulled either.
    pub async fn ensure(&self, name: &str, reporter: &Reporter) -> Result<KernelRow, KernelError> {
        match self.local(name)? {
            Some(row) => Ok(row),
            None => self.get(name, reporter).await,
        }
    }

    /// Gets a kernel of the catalog onto this host. One that is here stays as it is.
    ///
    /// # Errors
    ///
    /// When it cannot be built; nothing of it is left then.
    pub async fn pull(&self, name: &str, reporter: &Reporter) -> Result<KernelRow, KernelError> {
        match self.local(name)? {
            Some(row) => {
                reporter
                    .notice(format!("kernel {name} is on this host already; delete it first to get it anew"));
                Ok(row)
            }
            None => self.get(name, reporter).await,
        }
    }

    /// The kernels on this host; with `available` those of the catalog that could be, as well.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn list(&self, available: bool) -> Result<Vec<Kernel>, KernelError> {
        let rows = self.store.kernels()?;
        let mut kernels = rows.iter().map(|row| self.describe(row)).collect::<Result<Vec<_>, _>>()?;
        if available {
            let missing = |entry: &&Entry| !rows.iter().any(|row| row.name == entry.name);
            let entries = self.catalog.entries(Kind::Kernel, &Reporter::unwatched()).await;
            kernels.extend(entries.iter().filter(missing).map(describe_entry));
        }
        kernels.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(kernels)
    }

    /// One of them.
    ///
    /// # Errors
    ///
    /// When it is neither here nor in the catalog.
    pub async fn show(&self, name: &str) -> Result<Kernel, KernelError> {
        if let Some(row) = self.store.kernel(name)? {
            return self.describe(&row);
        }
        match self.catalog.find(Kind::Kernel, name, &Reporter::unwatched()).await {
            Some(entry) => Ok(describe_entry(&entry)),
            None => Err(self.unknown(name).await),
        }
    }

    /// Removes a kernel from this host.
    ///
    /// # Errors
    ///
    /// When it is not here, or a VM uses it.
    pub async fn delete(&self, name: &str) -> Result<(), KernelError> {
        let Some(row) = self.store.kernel(name)? else { return Err(self.not_here(name).await) };
        if self.store.delete_unused_kernel(&row.id)? {
            self.remove_files(&row).await;
            return Ok(());
        }
        let users = self.store.kernel_users(&row.id)?;
        // Somebody else may have deleted it just now.
        Err(if users.is_empty() {
            self.not_here(name).await
        } else {
            KernelError::InUse { name: name.into(), users }
        })
    }

    /// The ELF file to boot.
    pub fn vmlinux(&self, row: &KernelRow) -> PathBuf {
        self.artifacts.dir(&row.id).join(VMLINUX)
    }

    /// The ext4 image of all modules.
    pub fn modules_disk(&self, row: &KernelRow) -> PathBuf {
        self.artifacts.dir(&row.id).join(MODULES_DISK)
    }

    /// The initramfs of this kernel with the agent as it is now.
    ///
    /// # Errors
    ///
    /// When a file of the kernel or the agent is missing, or the cache cannot be written.
    pub async fn initramfs(&self, row: &KernelRow) -> Result<PathBuf, KernelError> {
        if let Some(path) = self.missing_file(row) {
            return Err(self.lost(row, path)?);
        }
        let (cache, agent, id) = (self.initramfs.clone(), self.agent.clone(), row.id.clone());
        let modules = self.artifacts.dir(&row.id).join(MODULES_ARCHIVE);
        let file = tokio::task::spawn_blocking(move || cache.file(&id, &modules, &agent)).await;
        file.unwrap_or_else(|error| Err(error.into()))
            .map_err(|source| KernelError::Initramfs { name: row.name.clone(), source })
    }

    /// Where the agent is looked for.
    pub fn agent(&self) -> &std::path::Path {
        self.agent.path()
    }

    /// The kernel of that name, when it is on this host and whole.
    pub(super) fn local(&self, name: &str) -> Result<Option<KernelRow>, KernelError> {
        Ok(self.store.kernel(name)?.filter(|row| self.missing_file(row).is_none()))
    }

    pub(super) fn missing_file(&self, row: &KernelRow) -> Option<PathBuf> {
        self.files(row).into_iter().find(|path| !path.is_file())
    }

    /// All its files, in the order in which a bundle has them.
    pub(super) fn files(&self, row: &KernelRow) -> Vec<PathBuf> {
        let dir = self.artifacts.dir(&row.id);
        [VMLINUX, MODULES_ARCHIVE, MODULES_DISK].map(|file| dir.join(file)).into()
    }

    pub(super) fn lost(&self, row: &KernelRow, path: PathBuf) -> Result<KernelError, KernelError> {
        let users = self.store.kernel_users(&row.id)?;
        Ok(KernelError::Lost { name: row.name.clone(), path, users })
    }

    pub(super) async fn remove_files(&self, row: &KernelRow) {
        self.initramfs.forget(&row.id);
        self.artifacts.remove(&row.id).await;
    }

    fn describe(&self, row: &KernelRow) -> Result<Kernel, KernelError> {
        Ok(Kernel {
            name: row.name.clone(),
            local: self.missing_file(row).is_none(),
            source: row.source.clone(),
            release: Some(row.release.clone()),
            disk_used_bytes: Some(self.artifacts.disk_used_bytes(&row.id)),
            sha256: Some(row.sha256.clone()),
            created_at_unix_ms: Some(row.created_at_unix_ms),
            used_by: self.store.kernel_users(&row.id)?,
        })
    }

    pub(super) async fn unknown(&self, name: &str) -> KernelError {
        let hint = self.catalog.hint(Kind::Kernel, name, self.names()).await;
        KernelError::Unknown { name: name.into(), hint }
    }

    pub(super) async fn not_here(&self, name: &str) -> KernelError {
        let hint = self.catalog.hint_here(Kind::Kernel, name, self.names()).await;
        KernelError::Unknown { name: name.into(), hint }
    }

    /// What is on this host, for hints: none are better than another error.
    fn names(&self) -> Vec<String> {
        // See above.
        self.store.kernels().unwrap_or_default().into_iter().map(|row| row.name).collect()
    }
}

fn describe_entry(entry: &Entry) -> Kernel {
    Kernel {
        name: entry.name.clone(),
        local: false,
        source: entry.source.to_string(),
        release: None,
        disk_used_bytes: None,
        sha256: None,
        created_at_unix_ms: None,
        used_by: Vec::new(),
    }
}
