use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::metadata::{Metadata, read_metadata};
use super::read::{is_absent, read, read_text};
use super::{FoundKernel, KernelDirectoryError, ModulesAt};
use crate::initramfs::required_drivers;
use crate::kernel_facts::{KernelConfig, has_pvh_entry, release_of};
use crate::kernel_image::extract_vmlinux;
use crate::kernel_version::{compare_releases, is_release};
use crate::modules::{ModuleIndex, WantedModule};

/// Largest kernel image accepted, in bytes.
const KERNEL_MAX_LEN: u64 = 512 << 20;

/// Largest configuration or list of what is built in, in bytes.
const TEXT_MAX_LEN: u64 = 4 << 20;

/// What kernels are called; what is smaller comes first where the releases are equal.
const KERNEL_NAMES: &[&str] = &["vmlinuz", "vmlinux", "bzImage"];

/// Ends of names that are no kernels of their own.
const NOT_KERNELS: &[&str] = &[".old", ".bak", ".gz", ".xz", ".zst", ".sig", ".hmac", ".debug", ".map"];

/// Where a root has its kernels' files.
const MODULE_ROOTS: &[&str] = &["lib/modules", "usr/lib/modules"];

/// A file that looks like a kernel.
struct Candidate {
    path: PathBuf,
    /// As its name has it.
    release: Option<String>,
    /// Position in [`KERNEL_NAMES`].
    rank: usize,
}

impl FoundKernel {
    /// Looks through a directory.
    ///
    /// # Errors
    ///
    /// When there is no kernel in it, or one that cannot be used, or modules are missing.
    pub fn find(dir: &Path) -> Result<Self, KernelDirectoryError> {
        let meta = dir.metadata().map_err(|source| match is_absent(&source) {
            true => KernelDirectoryError::NotDirectory(dir.into()),
            false => KernelDirectoryError::Io { action: "read", path: dir.into(), source },
        })?;
        if !meta.is_dir() {
            return Err(KernelDirectoryError::NotDirectory(dir.into()));
        }
        let mut notices = Vec::new();
        let metadata = match read_metadata(dir)? {
            Some(metadata) => metadata,
            None => newest(dir, &mut notices)?,
        };
        let kernel = metadata.kernel;
        let bytes = read(&kernel, KERNEL_MAX_LEN)?;
        let image_error = |source| KernelDirectoryError::Image { path: kernel.clone(), source };
        let vmlinux = extract_vmlinux(&bytes).map_err(image_error)?;
        let release = release_of(&bytes).or_else(|| release_of(&vmlinux));
        drop(bytes);
        let release = match (release, metadata.release) {
            (Some(actual), Some(wanted)) if actual != wanted => {
                return Err(KernelDirectoryError::Release { path: kernel, wanted, actual });
            }
            (Some(release), _) | (None, Some(release)) => release,
            (None, None) => return Err(KernelDirectoryError::NoRelease(kernel)),
        };
        if !has_pvh_entry(&vmlinux) {
            notices.push(format!(
                "kernel {release} was built without CONFIG_PVH: QEMU cannot boot it, and no VM will start with it there"
            ));
        }
        let mut found =
            Self { release, kernel, notices, vmlinux, modules: ModulesAt::Nowhere, builtin: None };
        found.find_modules(dir, metadata.modules, metadata.initrd)?;
        Ok(found)
    }

    fn find_modules(
        &mut self,
        dir: &Path,
        named: Option<PathBuf>,
        initrd: Option<PathBuf>,
    ) -> Result<(), KernelDirectoryError> {
        self.builtin = self.find_builtin(dir)?;
        let initrd = initrd.or_else(|| self.beside(dir, &["initrd.img", "initrd", "initramfs"]));
        let looked_in = self.module_places(dir);
        let found = match named {
            Some(modules) => Some(self.named_modules(modules)?),
            None => looked_in.iter().find(|place| self.has_modules(place)).cloned(),
        };
        if let Some(modules) = found {
            self.modules = ModulesAt::Directory(modules);
            if let Some(initrd) = initrd {
                let name = initrd.display();
                self.notices.push(format!("{name} is left out: VMs boot with an initramfs of banger's own"));
            }
            return Ok(());
        }
        let wanted: Vec<_> = required_drivers().into_iter().map(WantedModule::required).collect();
        let lacking = self.builtin.as_ref().map(|builtin| {
            let index = ModuleIndex::parse("", builtin);
            index.load_order(&wanted, &mut BTreeSet::new()).err().unwrap_or_default()
        });
        if lacking.as_ref().is_some_and(Vec::is_empty) {
            self.notices.push("there are no modules: VMs have only what is built into the kernel".into());
            return Ok(());
        }
        if let Some(initrd) = initrd
            && self.initrd_has_modules(&initrd)?
        {
            let name = initrd.display();
            self.notices.push(format!("there are no modules but those in {name}: VMs have no others either"));
            self.modules = ModulesAt::Initrd(initrd);
            return Ok(());
        }
        let release = self.release.clone();
        Err(match lacking {
            Some(names) => KernelDirectoryError::NotBuiltIn { release, names, looked_in },
            None => KernelDirectoryError::NoModules { release, looked_in },
        })
    }

    /// The release's own directory is the one that was named, or lies in it.
    fn named_modules(&self, modules: PathBuf) -> Result<PathBuf, KernelDirectoryError> {
        let own = modules.join(&self.release);
        if own.is_dir() {
            return Ok(own);
        }
        if modules.is_dir() { Ok(modules) } else { Err(KernelDirectoryError::NotDirectory(modules)) }
    }

    /// Modules that depmod has not seen are told by the release in their directory's name; a kernel's sources
    /// have files of the same names.
    fn has_modules(&self, dir: &Path) -> bool {
        let is_own = dir.file_name().is_some_and(|name| name == &*self.release);
        dir.join("modules.dep").is_file()
            || is_own && (dir.join("modules.order").is_file() || dir.join("kernel").is_dir())
    }

    /// What is built in, by a list or a configuration beside the kernel, or the configuration in it.
    fn find_builtin(&self, dir: &Path) -> Result<Option<String>, KernelDirectoryError> {
        let near: Vec<&Path> = self.kernel.parent().into_iter().chain([dir]).collect();
        for dir in &near {
            if let Some(list) = read_text(&dir.join("modules.builtin"), TEXT_MAX_LEN)? {
                return Ok(Some(list));
            }
        }
        for dir in &near {
            for name in [format!("config-{}", self.release), ".config".into(), "config".into()] {
                let text =
                    if dir.join(&name).is_file() { read_text(&dir.join(name), TEXT_MAX_LEN)? } else { None };
                if let Some(config) = text.and_then(|text| KernelConfig::parse(&text)) {
                    return Ok(Some(config.modules_builtin()));
                }
            }
        }
        Ok(KernelConfig::embedded(&self.vmlinux).map(|config| config.modules_builtin()))
    }

    /// A file beside the kernel with one of these names, for this release or without one.
    fn beside(&self, dir: &Path, names: &[&str]) -> Option<PathBuf> {
        let near: Vec<&Path> = self.kernel.parent().into_iter().chain([dir]).collect();
        let release = &self.release;
        let with_release = |name: &&str| [format!("{name}-{release}"), format!("{name}-{release}.img")];
        let versioned = names.iter().flat_map(with_release);
        let plain = names.iter().flat_map(|name| [(*name).to_owned(), format!("{name}.img")]);
        let candidates: Vec<String> = versioned.chain(plain).collect();
        let paths = candidates.iter().flat_map(|name| near.iter().map(move |dir| dir.join(name)));
        paths.into_iter().find(|path| path.is_file())
    }

    /// Where the release's own directory may be.
    fn module_places(&self, dir: &Path) -> Vec<PathBuf> {
        let release = &self.release;
        let roots = |root: &Path| -> Vec<PathBuf> {
            MODULE_ROOTS.iter().map(|modules| root.join(modules).join(release)).collect()
        };
        let mut places = roots(dir);
        places.push(dir.join("modules").join(release));
        places.push(dir.join(release));
        // `/boot` belongs to the root above it.
        let whole = dir.canonicalize().unwrap_or_else(|_| dir.into());
        if let Some(root) = whole.parent().filter(|_| whole.file_name().is_some_and(|name| name == "boot")) {
            places.extend(roots(root));
        }
        places.push(dir.join("modules"));
        places.push(dir.into());
        places
    }
}

/// The newest kernel, by the names of the files.
fn newest(dir: &Path, notices: &mut Vec<String>) -> Result<Metadata, KernelDirectoryError> {
    let mut candidates = kernels_in(dir)?;
    candidates.extend(kernels_in(&dir.join("boot"))?);
    for root in MODULE_ROOTS {
        candidates.extend(kernels_of_modules(&dir.join(root))?);
    }
    let newer = |a: &Candidate, b: &Candidate| match (&a.release, &b.release) {
        (Some(a), Some(b)) => compare_releases(b, a),
        (a, b) => b.is_some().cmp(&a.is_some()),
    };
    candidates.sort_by(|a, b| match newer(a, b) {
        Ordering::Equal => a.rank.cmp(&b.rank),
        order => order,
    });
    let releases: BTreeSet<&String> = candidates.iter().filter_map(|found| found.release.as_ref()).collect();
    if let (Some(first), true) = (candidates.first(), releases.len() > 1) {
        notices.push(format!(
            "there are {} kernels; this is the newest: {}",
            releases.len(),
            first.path.display()
        ));
    }
    let first = candidates.into_iter().next().ok_or_else(|| KernelDirectoryError::NoKernel(dir.into()))?;
    Ok(Metadata { kernel: first.path, initrd: None, modules: None, release: None })
}

fn kernels_in(dir: &Path) -> Result<Vec<Candidate>, KernelDirectoryError> {
    let mut found = Vec::new();
    for name in names_in(dir)? {
        let rank = KERNEL_NAMES.iter().position(|kernel| {
            name.strip_prefix(kernel).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        });
        let (Some(rank), false) = (rank, NOT_KERNELS.iter().any(|end| name.ends_with(end))) else { continue };
        let release = name.split_once('-').map(|(_, release)| release);
        let release = release
            .filter(|release| is_release(release) && release.starts_with(|c: char| c.is_ascii_digit()));
        found.push(Candidate { path: dir.join(&name), release: release.map(str::to_owned), rank });
    }
    Ok(found)
}

/// Some distributions keep each kernel beside its modules.
fn kernels_of_modules(root: &Path) -> Result<Vec<Candidate>, KernelDirectoryError> {
    let mut found = Vec::new();
    for release in names_in(root)?.into_iter().filter(|name| is_release(name)) {
        let path = root.join(&release).join("vmlinuz");
        if path.is_file() {
            found.push(Candidate { path, release: Some(release), rank: 0 });
        }
    }
    Ok(found)
}

/// The names in a directory; none when it does not exist.
fn names_in(dir: &Path) -> Result<Vec<String>, KernelDirectoryError> {
    let failed = |source| KernelDirectoryError::Io { action: "read", path: dir.into(), source };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(failed)?.file_name().into_string().ok());
    }
    Ok(names)
}
