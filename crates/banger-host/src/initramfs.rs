//! The initramfs: the agent and the few modules it needs, nothing else.
//!
//! `/init` is the agent. `/modules/early` names, one a line and in load order, the modules it loads before
//! its hello; `/modules/vsock` those it needs besides where the machine has a vsock device; `/modules/late`
//! those for the disks and the network, which it loads when it is configured. A `-` before a name says that
//! the guest can do without. Not compressed, and without the modules' signatures (docs/decisions/0006):
//! either would cost the guest more time than reading it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use cpio::newc::{Builder, ModeFileType, trailer};

use crate::module_signature::without_signature;
use crate::modules::{KernelTree, Module, ModuleError, WantedModule};

/// A page of the guest's memory, in bytes.
const PAGE_LEN: usize = 4096;

/// Why no initramfs could be made.
#[derive(Debug, thiserror::Error)]
pub enum InitramfsError {
    #[error("the kernel's modules do not suffice")]
    Modules(#[from] ModuleError),
    #[error("could not write the initramfs")]
    Write(#[from] io::Error),
}

/// A finished initramfs.
#[derive(Clone, Debug)]
pub struct Initramfs {
    pub bytes: Vec<u8>,
    /// The optional modules this kernel does not have.
    pub missing: Vec<String>,
}

/// What happens to the signatures of a kernel's modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signatures {
    /// Cut off: checking them takes the guest time, and they guard nothing here.
    Dropped,
    /// Left where they are, for kernels that may insist on them.
    Kept,
}

/// The drivers without which no VM comes up, loadable or built in.
pub fn required_drivers() -> Vec<&'static str> {
    let all = early_modules().into_iter().chain(late_modules());
    all.filter(|module| !module.optional).map(|module| module.name).collect()
}

/// What the agent needs to say hello.
fn early_modules() -> Vec<WantedModule<'static>> {
    ["virtio_mmio", "virtio_console"].map(WantedModule::required).into()
}

/// What it needs to say hello over vsock. A kernel without is of use to VMMs that have no vsock.
fn vsock_modules() -> Vec<WantedModule<'static>> {
    ["vmw_vsock_virtio_transport"].map(WantedModule::optional).into()
}

/// What it needs to assemble the root and the network.
fn late_modules() -> Vec<WantedModule<'static>> {
    let required = ["virtio_blk", "ext4", "dm_snapshot"].map(WantedModule::required);
    // A kernel without `tun` is of use without a network. Packet sockets are wanted by tcpdump. Nothing else
    // is here for convenience: loading modules is the longest stage of configuring an emulated guest.
    let optional = ["tun", "af_packet"].map(WantedModule::optional);
    required.into_iter().chain(optional).collect()
}

/// Builds the initramfs for a kernel and an agent. The same input gives the same bytes.
///
/// # Errors
///
/// When the kernel lacks a module that is needed.
pub fn build(kernel: &KernelTree, agent: &[u8]) -> Result<Initramfs, InitramfsError> {
    let modules = modules_archive(kernel, Signatures::Dropped)?;
    let bytes = join(agent_archive(agent)?, &modules.bytes);
    Ok(Initramfs { bytes, missing: modules.missing })
}

/// Makes one initramfs of the two archives, whose length is a multiple of [`PAGE_LEN`].
///
/// QEMU puts an initramfs at the end of the guest's memory, aligned to pages at its beginning only, where
/// microvm's firmware has put the ACPI tables (about 1 KiB at the very end): with an unlucky length the one
/// overwrote the other, and the guest booted without devices. A length of whole pages leaves the last page to
/// the tables.
pub fn join(mut agent_archive: Vec<u8>, modules_archive: &[u8]) -> Vec<u8> {
    agent_archive.extend(modules_archive);
    // Linux skips zeros behind an archive.
    agent_archive.resize(agent_archive.len().next_multiple_of(PAGE_LEN), 0);
    agent_archive
}

/// The part that belongs to the kernel: its modules and in which order to load them. Linux takes archives one
/// after the other, so [`agent_archive`] and this, [joined](join), make an initramfs.
///
/// # Errors
///
/// When the kernel lacks a module that is needed.
pub fn modules_archive(kernel: &KernelTree, signatures: Signatures) -> Result<Initramfs, InitramfsError> {
    let all: Vec<_> = early_modules().into_iter().chain(late_modules()).collect();
    // So that a complaint is about both lists.
    kernel.load_order(&all, &mut BTreeSet::new())?;
    let mut loaded = BTreeSet::new();
    let (early, mut missing) = kernel.load_order(&early_modules(), &mut loaded)?;
    // Not every guest loads this list: what it brings does not count as loaded for the next one.
    let (vsock, vsock_missing) = kernel.load_order(&vsock_modules(), &mut loaded.clone())?;
    let (late, late_missing) = kernel.load_order(&late_modules(), &mut loaded)?;
    missing.extend(vsock_missing.into_iter().chain(late_missing));
    let mut archive = Archive::default();
    archive.directory("modules")?;
    let mut files = BTreeMap::new();
    for (name, list) in [("early", &early), ("vsock", &vsock), ("late", &late)] {
        archive.file(&format!("modules/{name}"), 0o644, load_list(list).as_bytes())?;
        files.extend(list.iter().map(|module| (&module.path, module)));
    }
    for module in files.into_values() {
        let path = format!("modules/{}", module.file_name());
        let content = kernel.read_module(module)?;
        let content = if signatures == Signatures::Dropped { without_signature(content) } else { content };
        archive.file(&path, 0o644, &content)?;
    }
    Ok(Initramfs { bytes: trailer(archive.bytes)?, missing })
}

/// The part that belongs to the agent: its program as `/init`, and the console. Ends where another archive
/// may begin.
///
/// # Errors
///
/// When the agent has 4 GiB or more.
pub fn agent_archive(agent: &[u8]) -> Result<Vec<u8>, InitramfsError> {
    let mut archive = Archive::default();
    archive.directory("dev")?;
    archive.console()?;
    archive.file("init", 0o755, agent)?;
    Ok(trailer(archive.bytes)?)
}

fn load_list(modules: &[Module]) -> String {
    modules
        .iter()
        .map(|module| format!("{}{}\n", if module.optional { "-" } else { "" }, module.file_name()))
        .collect()
}

/// A cpio archive under construction.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn directory(&mut self, path: &str) -> io::Result<()> {
        self.add(Builder::new(path).mode(0o755).set_mode_file_type(ModeFileType::Directory), &[])
    }

    fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.add(Builder::new(path).mode(mode).set_mode_file_type(ModeFileType::Regular), content)
    }

    /// The kernel opens it for `/init` before anything is mounted.
    fn console(&mut self) -> io::Result<()> {
        let node = Builder::new("dev/console").mode(0o600).set_mode_file_type(ModeFileType::Char);
        self.add(node.rdev_major(5).rdev_minor(1), &[])
    }

    fn add(&mut self, entry: Builder, content: &[u8]) -> io::Result<()> {
        self.entries += 1;
        let len = u32::try_from(content.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let mut writer = entry.ino(self.entries).nlink(1).write(std::mem::take(&mut self.bytes), len);
        io::Write::write_all(&mut writer, content)?;
        self.bytes = writer.finish()?;
        Ok(())
    }
}
