use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use super::depmod::Dependencies;
use super::read::{open, read};
use super::{FoundKernel, KernelDirectoryError, ModulesAt};
use crate::ext4::Progress;
use crate::initrd::files;
use crate::tar_writer::{EntryMeta, TarWriter};
use crate::walk::{Found, FoundKind, Walk};

/// Largest initrd accepted, in bytes.
const INITRD_MAX_LEN: u64 = 512 << 20;

/// In a release's directory, and not for guests: the way back to the sources, and the kernel once more.
const LEFT_OUT: &[&str] = &["build", "source", "vmlinuz", "vmlinux", "systemtap"];

const DIRECTORY_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

/// A tar under construction.
struct Packing<'a> {
    tar: TarWriter<BufWriter<File>>,
    path: &'a Path,
    /// `lib/modules/RELEASE`.
    root: String,
    /// What has been put below it, of depmod's files.
    present: BTreeSet<Vec<u8>>,
    done: u64,
    total: u64,
    progress: Progress<'a>,
}

impl FoundKernel {
    /// What the modules take, in bytes.
    ///
    /// # Errors
    ///
    /// When they cannot be looked through.
    pub fn modules_bytes(&self) -> Result<u64, KernelDirectoryError> {
        let dir = match &self.modules {
            ModulesAt::Directory(dir) => dir,
            ModulesAt::Initrd(initrd) => return Ok(open(initrd)?.1),
            ModulesAt::Nowhere => return Ok(0),
        };
        let mut bytes = 0;
        for found in Walk::begin(dir)?.into_iter().flatten() {
            if let FoundKind::File { len, .. } = found?.kind {
                bytes += len;
            }
        }
        Ok(bytes)
    }

    /// Writes a tar file with the kernel and its modules, as [`crate::modules::KernelTree`] reads it.
    /// Symlinks that lead out of the modules are left out, and so is everything that is neither file nor
    /// directory.
    ///
    /// # Errors
    ///
    /// When something cannot be read or the tar not be written, or when `progress` asks to stop.
    pub fn pack(
        &mut self,
        tar: &Path,
        dependencies: Option<&Dependencies>,
        progress: Progress<'_>,
    ) -> Result<(), KernelDirectoryError> {
        let total = self.modules_bytes()?;
        let failed = |source| KernelDirectoryError::Io { action: "write", path: tar.into(), source };
        let file = File::options().write(true).create_new(true).open(tar).map_err(failed)?;
        let mut packing = Packing {
            tar: TarWriter::new(BufWriter::new(file)),
            path: tar,
            root: format!("lib/modules/{}", self.release),
            present: BTreeSet::new(),
            done: 0,
            total,
            progress,
        };
        let kernel = format!("boot/vmlinuz-{}", self.release);
        packing.file(
            kernel.as_bytes(),
            0,
            self.vmlinux.len() as u64,
            &mut &self.vmlinux[..],
            &self.kernel,
        )?;
        packing.directory(b"", 0)?;
        match &self.modules {
            ModulesAt::Directory(dir) => packing.modules(dir, &mut self.notices)?,
            ModulesAt::Initrd(initrd) => packing.initrd(initrd, &self.release)?,
            ModulesAt::Nowhere => {}
        }
        if let Some(dependencies) = dependencies {
            packing.dependencies(dependencies)?;
        }
        for (name, text) in [("modules.dep", ""), ("modules.builtin", self.builtin.as_deref().unwrap_or(""))]
        {
            if !packing.present.contains(name.as_bytes()) {
                packing.below(name.as_bytes(), 0, text.len() as u64, &mut text.as_bytes(), tar)?;
            }
        }
        let finished = packing.tar.finish().and_then(|mut out| out.flush());
        finished.map_err(failed)
    }

    /// Whether an initrd holds modules of this release.
    pub(super) fn initrd_has_modules(&self, initrd: &Path) -> Result<bool, KernelDirectoryError> {
        let bytes = read(initrd, INITRD_MAX_LEN)?;
        let dep = format!("lib/modules/{}/modules.dep", self.release);
        let found = files(&bytes, &|path| path.strip_prefix("usr/").unwrap_or(path) == dep);
        let found = found.map_err(|source| KernelDirectoryError::Initrd { path: initrd.into(), source })?;
        Ok(!found.is_empty())
    }
}

impl Packing<'_> {
    fn modules(&mut self, dir: &Path, notices: &mut Vec<String>) -> Result<(), KernelDirectoryError> {
        for found in Walk::begin(dir)?.into_iter().flatten() {
            let found = found?;
            let below = found.below.as_os_str().as_bytes().to_vec();
            if below.is_empty() || is_left_out(&found.below) {
                continue;
            }
            let mtime_s = u64::try_from(found.mtime_s).unwrap_or(0);
            match found.kind {
                FoundKind::Directory => self.directory(&below, mtime_s)?,
                FoundKind::File { mut file, len } => {
                    self.below(&below, mtime_s, len, &mut file, &found.path)?
                }
                FoundKind::Symlink { ref target } if stays_below(&found, target) => {
                    let path = [self.root.as_bytes(), b"/", &below].concat();
                    let meta = EntryMeta { mode: 0o777, mtime_s };
                    self.tar.symlink(&path, target.as_bytes(), meta).map_err(self.write_error())?;
                }
                FoundKind::Symlink { .. } => {}
                FoundKind::Special => {
                    notices
                        .push(format!("{} is neither file nor directory and left out", found.path.display()));
                }
            }
        }
        Ok(())
    }

    fn initrd(&mut self, initrd: &Path, release: &str) -> Result<(), KernelDirectoryError> {
        let bytes = read(initrd, INITRD_MAX_LEN)?;
        let prefix = format!("lib/modules/{release}/");
        let below = |path: &str| -> Option<String> {
            let below = path.strip_prefix("usr/").unwrap_or(path).strip_prefix(&prefix)?;
            let plain = Path::new(below).components().all(|part| matches!(part, Component::Normal(_)));
            (plain && !below.is_empty()).then(|| below.to_owned())
        };
        let found = files(&bytes, &|path| below(path).is_some());
        let found = found.map_err(|source| KernelDirectoryError::Initrd { path: initrd.into(), source })?;
        drop(bytes);
        let mut directories = BTreeSet::new();
        for file in found {
            let Some(path) = below(&file.path) else { continue };
            let parents: Vec<&Path> = Path::new(&path).ancestors().skip(1).collect();
            for parent in parents.into_iter().rev().filter(|parent| !parent.as_os_str().is_empty()) {
                if directories.insert(parent.to_owned()) {
                    self.directory(parent.as_os_str().as_bytes(), 0)?;
                }
            }
            let len = file.content.len() as u64;
            self.below(path.as_bytes(), 0, len, &mut &file.content[..], initrd)?;
        }
        Ok(())
    }

    /// What depmod has just written, beside the links to what there was.
    fn dependencies(&mut self, dependencies: &Dependencies) -> Result<(), KernelDirectoryError> {
        for found in Walk::begin(dependencies.dir())?.into_iter().flatten() {
            let found = found?;
            let name = found.below.as_os_str().as_bytes().to_vec();
            if let FoundKind::File { mut file, len } = found.kind {
                self.below(&name, 0, len, &mut file, &found.path)?;
            }
        }
        Ok(())
    }

    fn directory(&mut self, below: &[u8], mtime_s: u64) -> Result<(), KernelDirectoryError> {
        let separator: &[u8] = if below.is_empty() { b"" } else { b"/" };
        let path = [self.root.as_bytes(), separator, below, b"/"].concat();
        let meta = EntryMeta { mode: DIRECTORY_MODE, mtime_s };
        self.tar.directory(&path, meta).map_err(self.write_error())
    }

    /// A file below the release's directory.
    fn below(
        &mut self,
        below: &[u8],
        mtime_s: u64,
        len: u64,
        content: &mut dyn io::Read,
        source: &Path,
    ) -> Result<(), KernelDirectoryError> {
        if below.starts_with(b"modules.") {
            self.present.insert(below.to_vec());
        }
        let path = [self.root.as_bytes(), b"/", below].concat();
        self.file(&path, mtime_s, len, content, source)?;
        self.done += len;
        match (self.progress)(self.done, self.total.max(self.done)) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(KernelDirectoryError::Cancelled),
        }
    }

    fn file(
        &mut self,
        path: &[u8],
        mtime_s: u64,
        len: u64,
        content: &mut dyn io::Read,
        source: &Path,
    ) -> Result<(), KernelDirectoryError> {
        let meta = EntryMeta { mode: FILE_MODE, mtime_s };
        self.tar.file(path, meta, len, content).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => KernelDirectoryError::Unsteady(source.into()),
            _ => self.write_error()(error),
        })
    }

    fn write_error(&self) -> impl FnOnce(io::Error) -> KernelDirectoryError + use<> {
        let path = self.path.to_owned();
        move |source| KernelDirectoryError::Io { action: "write", path, source }
    }
}

fn is_left_out(below: &Path) -> bool {
    below.components().count() == 1 && LEFT_OUT.iter().any(|name| below == Path::new(name))
}

/// Does a symlink lead to something among the same modules?
fn stays_below(link: &Found, target: &OsStr) -> bool {
    let mut depth = link.below.components().count().saturating_sub(1);
    Path::new(target).components().all(|part| match part {
        Component::Normal(_) => {
            depth += 1;
            true
        }
        Component::CurDir => true,
        Component::ParentDir if depth > 0 => {
            depth -= 1;
            true
        }
        _ => false,
    })
}
