//! Kernel modules in a distribution's kernel tarball, and their contents.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::decompress::Compression;
use crate::kernel_version::compare_releases;
pub use crate::module_index::{Module, ModuleIndex, WantedModule};

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
    /// Looks through a tarball that holds `boot/vmlinuz-RELEASE` and `lib/modules/RELEASE` (or
    /// `usr/lib/modules/RELEASE`) with depmod's files.
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
        let mut index = ModuleIndex::parse(&text("modules.dep")?, &text("modules.builtin")?);
        if files.contains_key("modules.softdep") && files.contains_key("modules.alias") {
            index.add_soft_dependencies(&text("modules.softdep")?, &text("modules.alias")?);
        }
        // A depmod that cannot decompress modules lists them all, without a word and without their needs.
        if index.is_independent() && index.len() > INDEPENDENT_MAX {
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
