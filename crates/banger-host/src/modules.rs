//! Kernel modules in a distribution's kernel tarball: which ones are needed, in which order, and their contents.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::decompress::Compression;
use crate::kernel_version::compare_releases;

/// Largest module accepted, decompressed, in bytes.
const MODULE_MAX_LEN: usize = 64 << 20;

/// Largest kernel image or index file accepted, in bytes.
const FILE_MAX_LEN: u64 = 512 << 20;

/// Among so many modules some depend on others.
const INDEPENDENT_MAX: usize = 32;

/// Why a kernel's modules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    #[error("could not read the kernel archive {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the kernel archive {} has no {what}", path.display())]
    Missing { path: PathBuf, what: String },
    #[error("kernel {release} lacks drivers, neither loadable nor built in: {}", names.join(", "))]
    Unknown { release: String, names: Vec<String> },
    #[error("modules.dep names {path}, but the kernel archive has no such file")]
    NoFile { path: String },
    #[error("could not decompress the module {path}")]
    Decompress { path: String, source: io::Error },
    #[error("{path} is {len} bytes long, more than the {max} that are accepted")]
    TooLarge { path: String, len: u64, max: u64 },
}

/// A module that is asked for, by name (`-` and `_` mean the same).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedModule<'a> {
    pub name: &'a str,
    /// Do without it where the kernel has none.
    pub optional: bool,
}

impl<'a> WantedModule<'a> {
    pub fn required(name: &'a str) -> Self {
        Self { name, optional: false }
    }

    pub fn optional(name: &'a str) -> Self {
        Self { name, optional: true }
    }
}

/// A module to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// As in modules.dep: relative to the release's directory, maybe compressed.
    pub path: String,
    /// Whether only optional modules need it.
    pub optional: bool,
}

impl Module {
    /// The plain file name: `dm-mod.ko`.
    pub fn file_name(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or(&self.path);
        name.find(".ko").map_or(name, |at| &name[..at + 3])
    }
}

/// What `modules.dep` and `modules.builtin` say.
#[derive(Clone, Debug, Default)]
pub struct ModuleIndex {
    /// By normalised name: the path, and the paths of all it needs, the deepest last.
    loadable: BTreeMap<String, (String, Vec<String>)>,
    built_in: BTreeSet<String>,
}

impl ModuleIndex {
    /// Lines that are not of the expected form are skipped: they cannot name a module.
    pub fn parse(dep: &str, builtin: &str) -> Self {
        let loadable = dep.lines().filter_map(|line| {
            let (path, needs) = line.split_once(':')?;
            let needs = needs.split_whitespace().map(str::to_owned).collect();
            Some((module_name(path)?, (path.trim().to_owned(), needs)))
        });
        let built_in = builtin.lines().filter_map(module_name);
        Self { loadable: loadable.collect(), built_in: built_in.collect() }
    }

    /// The modules to load for `wanted`, in order; those in `loaded` are taken as there, and what is chosen is added to it.
    /// Also answers the optional ones that do not exist.
    ///
    /// # Errors
    ///
    /// The names of the required modules that do not exist.
    pub fn load_order(
        &self,
        wanted: &[WantedModule<'_>],
        loaded: &mut BTreeSet<String>,
    ) -> Result<(Vec<Module>, Vec<String>), Vec<String>> {
        let (mut order, mut missing): (Vec<Module>, Vec<String>) = (Vec::new(), Vec::new());
        // The required ones first: what both kinds need is then required.
        let (optional, required): (Vec<WantedModule<'_>>, Vec<_>) =
            wanted.iter().partition(|module| module.optional);
        let lacking: Vec<String> =
            required.iter().map(|module| normalise(module.name)).filter(|name| !self.has(name)).collect();
        if !lacking.is_empty() {
            return Err(lacking);
        }
        for module in required.into_iter().chain(optional) {
            let name = normalise(module.name);
            if self.built_in.contains(&name) {
                continue;
            }
            let Some((path, needs)) = self.loadable.get(&name) else {
                missing.push(name);
                continue;
            };
            for path in needs.iter().rev().chain([path]) {
                if loaded.insert(path.clone()) {
                    order.push(Module { path: path.clone(), optional: module.optional });
                }
            }
        }
        Ok((order, missing))
    }

    /// Is there a module of that normalised name?
    fn has(&self, name: &str) -> bool {
        self.built_in.contains(name) || self.loadable.contains_key(name)
    }
}

/// `kernel/fs/ext4/ext4.ko.xz` -> `ext4`.
fn module_name(path: &str) -> Option<String> {
    let name = path.trim().rsplit('/').next()?;
    let stem = &name[..name.find(".ko")?];
    (!stem.is_empty()).then(|| normalise(stem))
}

fn normalise(name: &str) -> String {
    name.replace('-', "_")
}

/// A kernel tarball that has been looked through.
#[derive(Debug)]
pub struct KernelTree {
    tar: PathBuf,
    release: String,
    vmlinuz: Vec<u8>,
    index: ModuleIndex,
    /// Where in the tarball each file of the release's directory lies: offset and length, in bytes.
    files: HashMap<String, (u64, u64)>,
}

impl KernelTree {
    /// Looks through a tarball that holds `boot/vmlinuz-RELEASE` and `lib/modules/RELEASE` (or `usr/lib/modules/RELEASE`) with
    /// depmod's files.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or one of these is missing.
    pub fn from_tar(tar: &Path) -> Result<Self, ModuleError> {
        let read_error = |source| ModuleError::Read { path: tar.to_owned(), source };
        let missing = |what: &str| ModuleError::Missing { path: tar.to_owned(), what: what.to_owned() };
        let all = list_files(tar).map_err(read_error)?;
        let kernels = all.keys().filter_map(|path| path.strip_prefix("boot/vmlinuz-"));
        let kernel = kernels.max_by(|a, b| compare_releases(a, b));
        let release = kernel.ok_or_else(|| missing("boot/vmlinuz-*"))?.to_owned();
        let vmlinuz = read_at(tar, "vmlinuz", all[&format!("boot/vmlinuz-{release}")])?;
        let dir = format!("lib/modules/{release}/");
        let files: HashMap<String, (u64, u64)> = all
            .into_iter()
            .filter_map(|(path, place)| {
                let path = path.strip_prefix("usr/").unwrap_or(&path);
                Some((path.strip_prefix(&dir)?.to_owned(), place))
            })
            .collect();
        let text = |name: &str| -> Result<String, ModuleError> {
            let place = files.get(name).ok_or_else(|| missing(&format!("{dir}{name}")))?;
            Ok(String::from_utf8_lossy(&read_at(tar, name, *place)?).into_owned())
        };
        let index = ModuleIndex::parse(&text("modules.dep")?, &text("modules.builtin")?);
        // A depmod that cannot decompress modules lists them all, without a word and without their needs.
        let independent = index.loadable.values().all(|(_, needs)| needs.is_empty());
        if independent && index.loadable.len() > INDEPENDENT_MAX {
            return Err(missing(&format!("any dependency in {dir}modules.dep")));
        }
        Ok(Self { tar: tar.to_owned(), release, vmlinuz, index, files })
    }

    /// As `uname -r` prints it in a guest that runs it.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// The kernel as distributed, for [`crate::kernel_image::extract_vmlinux`].
    pub fn vmlinuz(&self) -> &[u8] {
        &self.vmlinuz
    }

    /// See [`ModuleIndex::load_order`].
    ///
    /// # Errors
    ///
    /// When a required module does not exist.
    pub fn load_order(
        &self,
        wanted: &[WantedModule<'_>],
        loaded: &mut BTreeSet<String>,
    ) -> Result<(Vec<Module>, Vec<String>), ModuleError> {
        let unknown = |names| ModuleError::Unknown { release: self.release.clone(), names };
        self.index.load_order(wanted, loaded).map_err(unknown)
    }

    /// A module's decompressed content.
    ///
    /// # Errors
    ///
    /// When it is not in the tarball, or damaged.
    pub fn read_module(&self, module: &Module) -> Result<Vec<u8>, ModuleError> {
        let path = &module.path;
        let place = self.files.get(path).ok_or_else(|| ModuleError::NoFile { path: path.clone() })?;
        let bytes = read_at(&self.tar, path, *place)?;
        match Compression::of(&bytes) {
            None => Ok(bytes),
            Some(compression) => compression
                .decompress(&bytes, MODULE_MAX_LEN)
                .map_err(|source| ModuleError::Decompress { path: path.clone(), source }),
        }
    }
}

/// Offset and length of every regular file, by path.
fn list_files(tar: &Path) -> io::Result<BTreeMap<String, (u64, u64)>> {
    let mut archive = tar::Archive::new(File::open(tar)?);
    let mut files = BTreeMap::new();
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let path = path.trim_start_matches("./").trim_start_matches('/').to_owned();
        if entry.header().entry_type().is_file() {
            files.insert(path, (entry.raw_file_position(), entry.size()));
        }
    }
    Ok(files)
}

fn read_at(tar: &Path, name: &str, (offset, len): (u64, u64)) -> Result<Vec<u8>, ModuleError> {
    if len > FILE_MAX_LEN {
        return Err(ModuleError::TooLarge { path: name.to_owned(), len, max: FILE_MAX_LEN });
    }
    let read = || {
        let mut file = File::open(tar)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.take(len).read_to_end(&mut bytes)?;
        if bytes.len() as u64 == len { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    };
    read().map_err(|source| ModuleError::Read { path: tar.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DEP: &str = "kernel/drivers/md/dm-mod.ko.xz:\n\
        kernel/drivers/md/dm-bufio.ko.xz: kernel/drivers/md/dm-mod.ko.xz\n\
        kernel/drivers/md/dm-snapshot.ko.xz: kernel/drivers/md/dm-bufio.ko.xz kernel/drivers/md/dm-mod.ko.xz\n\
        kernel/lib/crc32c-intel.ko.xz: kernel/drivers/md/dm-mod.ko.xz kernel/lib/only.ko.xz\n\
        kernel/lib/only.ko.xz:\n";

    fn names(order: &[Module]) -> Vec<(&str, bool)> {
        order.iter().map(|module| (module.file_name(), module.optional)).collect()
    }

    #[test]
    fn dependencies_come_first_and_once() {
        let index = ModuleIndex::parse(DEP, "kernel/fs/ext4/ext4.ko\n");
        let wanted = [
            WantedModule::optional("crc32c-intel"),
            WantedModule::required("ext4"),
            WantedModule::required("dm_snapshot"),
            WantedModule::optional("virtio-rng"),
        ];
        let mut loaded = BTreeSet::new();
        let (order, missing) = index.load_order(&wanted, &mut loaded).unwrap();
        let expected = [
            ("dm-mod.ko", false),
            ("dm-bufio.ko", false),
            ("dm-snapshot.ko", false),
            ("only.ko", true),
            ("crc32c-intel.ko", true),
        ];
        assert_eq!(names(&order), expected);
        assert_eq!(missing, ["virtio_rng"]);
        // What an earlier list has loaded is not loaded again.
        assert!(index.load_order(&wanted, &mut loaded).unwrap().0.is_empty());
    }

    #[test]
    fn every_required_module_that_does_not_exist_is_named() {
        let index = ModuleIndex::parse(DEP, "");
        let wanted = ["ext4", "dm-mod", "virtio-blk"].map(WantedModule::required);
        let lacking = index.load_order(&wanted, &mut BTreeSet::new()).unwrap_err();
        assert_eq!(lacking, ["ext4", "virtio_blk"]);
    }

    proptest! {
        #[test]
        fn any_index_is_parsed(dep: String, builtin: String, name: String) {
            let index = ModuleIndex::parse(&dep, &builtin);
            let _ = index.load_order(&[WantedModule::required(&name)], &mut BTreeSet::new());
        }
    }
}
