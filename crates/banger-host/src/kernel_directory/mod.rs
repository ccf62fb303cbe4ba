//! A kernel and its modules in a directory of the host's: `/boot`, a root, a package's tree, a build.
//! [`FoundKernel::find`] looks, [`FoundKernel::pack`] makes the tar that Debian's kernels come as, and from
//! there on all kernels are alike.
//!
//! What there is, is told by `metadata.json` in the directory, or else found by its usual names; the newest
//! kernel wins:
//!
//! ```json
//! { "vmlinuz": "boot/vmlinuz-6.12.9", "modules": "lib/modules/6.12.9",
//!   "initrd": "boot/initrd.img", "release": "6.12.9" }
//! ```
//!
//! `vmlinuz` or `vmlinux` must be there, the rest may be. All paths are relative to the directory and stay in
//! it.

mod depmod;
mod error;
mod find;
mod metadata;
mod pack;
mod read;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use depmod::Dependencies;
pub use error::KernelDirectoryError;

/// A kernel that was found, and where its modules are.
#[derive(Debug)]
pub struct FoundKernel {
    /// What `uname -r` prints.
    pub release: String,
    /// The file it was found in.
    pub kernel: PathBuf,
    /// For people: what was passed over, and what may come as a surprise.
    pub notices: Vec<String>,
    /// The ELF file to boot.
    vmlinux: Vec<u8>,
    modules: ModulesAt,
    /// modules.builtin, where it does not lie among the modules.
    builtin: Option<String>,
}

/// Where a kernel's modules are.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ModulesAt {
    /// In the release's own directory.
    Directory(PathBuf),
    Initrd(PathBuf),
    /// All it needs is built in.
    Nowhere,
}
