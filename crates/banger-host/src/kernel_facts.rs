//! What a kernel's own bytes say about it.

use std::collections::BTreeSet;

use crate::decompress::Compression;
use crate::kernel_image::{u16_at, u32_at, u64_at};
use crate::kernel_version::{RELEASE_MAX_LEN, is_release};

/// Largest configuration accepted, in bytes; a distribution's has 300 KiB.
const CONFIG_MAX_LEN: usize = 4 << 20;

/// Which option builds a driver in.
const DRIVER_OPTIONS: &[(&str, &str)] = &[
    ("virtio_mmio", "CONFIG_VIRTIO_MMIO"),
    ("virtio_console", "CONFIG_VIRTIO_CONSOLE"),
    ("virtio_blk", "CONFIG_VIRTIO_BLK"),
    ("ext4", "CONFIG_EXT4_FS"),
    ("dm_snapshot", "CONFIG_DM_SNAPSHOT"),
    ("tun", "CONFIG_TUN"),
    ("af_packet", "CONFIG_PACKET"),
    ("vmw_vsock_virtio_transport", "CONFIG_VIRTIO_VSOCKETS"),
];

/// What `uname -r` prints, out of a bzImage or a vmlinux.
pub(crate) fn release_of(image: &[u8]) -> Option<String> {
    let text = bzimage_version(image).or_else(|| banner(image))?;
    let len = text.iter().position(|byte| !byte.is_ascii_graphic()).unwrap_or(text.len());
    let release = std::str::from_utf8(&text[..len]).ok()?;
    is_release(release).then(|| release.to_owned())
}

/// `Documentation/arch/x86/boot.rst`: `kernel_version`.
fn bzimage_version(image: &[u8]) -> Option<&[u8]> {
    if image.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let at = usize::from(u16_at(image, 0x20E).filter(|at| *at != 0)?) + 0x200;
    window(image, at)
}

/// What follows `Linux version ` in the banner (elsewhere a `%s` does).
fn banner(image: &[u8]) -> Option<&[u8]> {
    const BANNER: &[u8] = b"Linux version ";
    let at = image.windows(BANNER.len() + 1).position(|window| {
        window.starts_with(BANNER) && window.last().is_some_and(|byte| byte.is_ascii_digit())
    })?;
    window(image, at + BANNER.len())
}

/// As much as a release may have, and one more.
fn window(image: &[u8], at: usize) -> Option<&[u8]> {
    let rest = image.get(at..)?;
    Some(&rest[..rest.len().min(RELEASE_MAX_LEN + 1)])
}

/// Has this ELF kernel the entry point by which QEMU starts such a file (`CONFIG_PVH`)?
pub(crate) fn has_pvh_entry(elf: &[u8]) -> bool {
    const PT_NOTE: u32 = 4;
    const PROGRAM_HEADER_LEN: usize = 56;
    let number = |at: usize| usize::try_from(u64_at(elf, at)?).ok();
    let (Some(table), Some(count)) = (number(32), u16_at(elf, 56)) else { return false };
    (0..usize::from(count)).any(|index| {
        let header = table.saturating_add(index * PROGRAM_HEADER_LEN);
        let (Some(kind), Some(offset), Some(len)) =
            (u32_at(elf, header), number(header.saturating_add(8)), number(header.saturating_add(32)))
        else {
            return false;
        };
        let notes = elf.get(offset..offset.saturating_add(len));
        kind == PT_NOTE && notes.is_some_and(names_pvh_entry)
    })
}

/// Notes: lengths of name and description, type; name and description, each padded to four bytes.
fn names_pvh_entry(mut notes: &[u8]) -> bool {
    const XEN_ELFNOTE_PHYS32_ENTRY: u32 = 18;
    while let (Some(name_len), Some(len), Some(kind)) = (u32_at(notes, 0), u32_at(notes, 4), u32_at(notes, 8))
    {
        let padded = |len: u32| (len as usize).next_multiple_of(4);
        let name = notes.get(12..12_usize.saturating_add(name_len as usize));
        if name == Some(b"Xen\0") && kind == XEN_ELFNOTE_PHYS32_ENTRY {
            return true;
        }
        let next = 12_usize.saturating_add(padded(name_len)).saturating_add(padded(len));
        let Some(rest) = notes.get(next..) else { return false };
        notes = rest;
    }
    false
}

/// The options that are built in, of a kernel's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KernelConfig(BTreeSet<String>);

impl KernelConfig {
    /// Lines of `CONFIG_X=y`; others do not matter here. None when there is no such line.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let options = text.lines().filter_map(|line| line.trim_end().strip_suffix("=y"));
        let options: BTreeSet<String> =
            options.filter(|option| option.starts_with("CONFIG_")).map(str::to_owned).collect();
        (!options.is_empty()).then_some(Self(options))
    }

    /// The one that a kernel holds that was built with `CONFIG_IKCONFIG`.
    pub(crate) fn embedded(vmlinux: &[u8]) -> Option<Self> {
        const MARK: &[u8] = b"IKCFG_ST";
        let at = vmlinux.windows(MARK.len() + 2).position(|window| {
            window.starts_with(MARK) && Compression::of(&window[MARK.len()..]) == Some(Compression::Gzip)
        })?;
        let packed = &vmlinux[at + MARK.len()..];
        let text = Compression::Gzip.decompress(packed, CONFIG_MAX_LEN).ok()?;
        Self::parse(&String::from_utf8_lossy(&text))
    }

    /// The drivers that are built in, as lines of modules.builtin. Knows those that VMs need.
    pub(crate) fn modules_builtin(&self) -> String {
        let built_in = DRIVER_OPTIONS.iter().filter(|(_, option)| self.0.contains(*option));
        built_in.map(|(driver, _)| format!("kernel/{driver}.ko\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decompress::tests::compress;
    use crate::initramfs::required_drivers;
    use crate::kernel_image::tests::tiny_elf;

    #[test]
    fn the_release_is_in_the_header_or_the_banner() {
        let mut bzimage = vec![0; 0x400];
        bzimage[0x202..0x206].copy_from_slice(b"HdrS");
        bzimage[0x20E..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
        bzimage[0x300..0x31A].copy_from_slice(b"6.12.9+deb13-amd64 (x@y) #");
        assert_eq!(release_of(&bzimage).unwrap(), "6.12.9+deb13-amd64");
        let vmlinux = b"\x7FELF.. Linux version %s .. Linux version 6.1.0-13-amd64 (debian-kernel@";
        assert_eq!(release_of(vmlinux).unwrap(), "6.1.0-13-amd64");
        let endless = [&b"Linux version "[..], &[b'6'; 100]].concat();
        for none in [&b""[..], b"Linux version 6/../x", b"Linux version ", &endless] {
            assert_eq!(release_of(none), None);
        }
    }

    #[test]
    fn options_tell_what_is_built_in() {
        let text =
            "CONFIG_VIRTIO_BLK=y\n# CONFIG_EXT4_FS is not set\nCONFIG_VIRTIO_NET=m\nCONFIG_DM_SNAPSHOT=y\n";
        let config = KernelConfig::parse(text).unwrap();
        assert_eq!(config.modules_builtin(), "kernel/virtio_blk.ko\nkernel/dm_snapshot.ko\n");
        let mut vmlinux = b"...IKCFG_STIKCFG_ST".to_vec();
        vmlinux.extend(compress(Compression::Gzip, text.as_bytes()));
        vmlinux.extend(b"IKCFG_ED");
        assert_eq!(KernelConfig::embedded(&vmlinux).unwrap(), config);
        assert_eq!(KernelConfig::embedded(b"IKCFG_ST"), None);
        assert_eq!(KernelConfig::parse("nothing of the kind"), None);
        let known: Vec<_> = DRIVER_OPTIONS.iter().map(|(driver, _)| *driver).collect();
        assert!(required_drivers().iter().all(|driver| known.contains(driver)), "{known:?}");
    }

    fn with_notes(notes: &[u8]) -> Vec<u8> {
        let mut elf = tiny_elf();
        elf[64] = 4;
        elf[64 + 32..64 + 40].copy_from_slice(&(notes.len() as u64).to_le_bytes());
        elf.truncate(120);
        elf.extend_from_slice(notes);
        elf
    }

    fn note(name: &[u8], kind: u32) -> Vec<u8> {
        let lengths = [name.len() as u32, 4, kind];
        let mut note: Vec<u8> = lengths.iter().flat_map(|number| number.to_le_bytes()).collect();
        note.extend_from_slice(name);
        note.resize(note.len().next_multiple_of(4) + 4, 0);
        note
    }

    #[test]
    fn the_entry_point_for_qemu_is_found_among_notes() {
        let both = [note(b"Linux\0", 18), note(b"Xen\0", 18)].concat();
        assert!(has_pvh_entry(&with_notes(&both)));
        for notes in [note(b"Linux\0", 18), note(b"Xen\0", 5), vec![], vec![0xFF; 40]] {
            assert!(!has_pvh_entry(&with_notes(&notes)));
        }
        assert!(!has_pvh_entry(&tiny_elf()) && !has_pvh_entry(b""));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>, notes: Vec<u8>) {
            let _ = (release_of(&bytes), has_pvh_entry(&bytes), KernelConfig::embedded(&bytes));
            let _ = has_pvh_entry(&with_notes(&notes));
        }
    }
}
