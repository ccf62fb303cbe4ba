//! Is this host ready? One file per check. Looks only: nothing is made, repaired or started, whether a daemon
//! runs or not.

mod catalogs;
mod config_file;
mod defaults;
mod disk_space;
mod dns;
mod e2fsprogs;
mod files;
mod image_build;
mod kvm;
mod leftovers;
mod programs;
mod qemu;
mod sandbox;
mod ssh;
mod state_store;
#[cfg(test)]
mod tests;
mod vm_defaults;
mod vms;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use banger_api::doctor::{Check, Report, Verdict};

use crate::catalog::Catalog;
use crate::config::{Config, ConfigError};
use crate::download::{Downloads, Web};
use crate::image::ImageService;
use crate::kernel::KernelService;
use crate::network;
use crate::paths::Paths;
use crate::store::{Store, StoreError};

/// What the checks look at.
struct Host {
    paths: Paths,
    /// In force if it could be read; else as built in, so that the other checks can go on.
    config: Config,
    config_error: Option<ConfigError>,
    /// None before the first start.
    store: Result<Option<Store>, StoreError>,
    catalog: Catalog,
    /// The running bangerd.
    program: PathBuf,
}

impl Host {
    fn look(paths: &Paths) -> Self {
        let (config, config_error) = match Config::load(&paths.config_file) {
            Ok(config) => (config, None),
            Err(error) => (Config::builtin(&paths.config_file), Some(error)),
        };
        let database = paths.database();
        let store = match database.symlink_metadata() {
            Ok(_) => Store::open_read_only(&database).and_then(|store| {
                // An empty file is a store that is yet to be made.
                Ok(if store.is_blank() { None } else { store.integrity_check().map(|()| Some(store))? })
            }),
            Err(_) => Ok(None),
        };
        let program = std::env::current_exe().unwrap_or_else(|_| "bangerd".into());
        let web: Arc<dyn Web> = Arc::new(Downloads::new(&paths.cache));
        let catalog = Catalog::with(&config.catalogs.value, &paths.catalogs(), &web);
        Self { paths: paths.clone(), config, config_error, store, catalog, program }
    }

    fn store(&self) -> Option<&Store> {
        self.store.as_ref().ok()?.as_ref()
    }

    fn images(&self) -> Option<ImageService> {
        Some(ImageService::new(self.store()?.clone(), &self.paths, self.catalog.clone()))
    }

    fn kernels(&self) -> Option<KernelService> {
        Some(KernelService::new(self.store()?.clone(), &self.paths, self.catalog.clone(), self.agent()))
    }

    fn agent(&self) -> PathBuf {
        crate::kernel::agent_path().unwrap_or_else(|_| self.program.clone())
    }
}

/// Makes all checks.
pub async fn run(paths: &Paths) -> Report {
    let host = Host::look(paths);
    let (probe, qemu, sandbox) =
        tokio::join!(kvm::probe(&host.program), qemu::check(&host), sandbox::check(&host.program));
    let (image, kernel) = tokio::join!(defaults::image(&host), defaults::kernel(&host));
    let complete = image.local && kernel.local;
    let mut checks = vec![
        config_file::check(&host),
        kvm::check(&probe),
        qemu,
        sandbox,
        e2fsprogs::check(),
        ssh::check(),
        image_build::check(&host.catalog, complete).await,
        disk_space::check(&host.paths.state),
        files::check(&host),
        state_store::check(&host),
        image.check,
        kernel.check,
        catalogs::check(&host.catalog).await,
        programs::check("guest agent", &host.agent()),
        programs::check("gateway", &host.program.with_file_name(network::PROGRAM)),
        vm_defaults::check(&host, &probe),
        leftovers::check(&host),
        dns::check(host.config.dns_listen.value).await,
    ];
    checks.extend(vms::checks(&host).await);
    Report { checks }
}

fn ok(name: &str, seen: impl Into<String>) -> Check {
    Check { name: name.into(), verdict: Verdict::Ok, seen: seen.into(), fix: None }
}

fn warn(name: &str, seen: impl Into<String>, fix: Option<String>) -> Check {
    Check { name: name.into(), verdict: Verdict::Warn, seen: seen.into(), fix }
}

fn fail(name: &str, seen: impl Into<String>, fix: Option<String>) -> Check {
    Check { name: name.into(), verdict: Verdict::Fail, seen: seen.into(), fix }
}

/// The command that installs a Debian package.
fn install(package: &str) -> String {
    format!("sudo apt-get install {package}")
}

/// The directory itself, or the nearest one above it that exists.
fn existing(dir: &Path) -> &Path {
    dir.ancestors().find(|ancestor| ancestor.is_dir()).unwrap_or(Path::new("/"))
}

/// Bytes for people: `1.4 GiB`.
fn human_bytes(bytes: u64) -> String {
    if bytes < 1 << 30 {
        format!("{} MiB", bytes >> 20)
    } else {
        format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
    }
}
