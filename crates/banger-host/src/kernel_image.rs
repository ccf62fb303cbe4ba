//! The ELF `vmlinux` inside a distribution's `vmlinuz` (bzImage).
//!
//! Booting the ELF directly saves the guest its own decompression, and Firecracker takes nothing else. See
//! the kernel's `Documentation/arch/x86/boot.rst` for the header.

use std::io;

use crate::decompress::Compression;

/// Largest kernel accepted, in bytes.
const VMLINUX_MAX_LEN: usize = 512 << 20;

/// The first boot protocol that says where the payload lies.
const MIN_BOOT_PROTOCOL: u16 = 0x0208;

const ELF_MAGIC: &[u8] = b"\x7FELF";

/// Why a file is no kernel that can be booted.
#[derive(Debug, thiserror::Error)]
pub enum KernelImageError {
    #[error("the kernel image is neither an ELF file nor a bzImage")]
    UnknownFormat,
    #[error("the kernel image is for {0}, not for x86-64")]
    Foreign(&'static str),
    #[error("it is an EFI program that holds no bzImage, perhaps a unified kernel image")]
    EfiProgram,
    #[error("the bzImage is of boot protocol {}.{:02}, at least 2.08 is needed", version >> 8, version & 0xFF)]
    TooOld { version: u16 },
    #[error(
        "the bzImage is cut off: its payload lies at byte {offset}, {len} bytes long, but the file has {file_len}"
    )]
    CutOff { offset: usize, len: usize, file_len: usize },
    #[error("the bzImage's payload is compressed in an unknown way (it begins with {0:02x?})")]
    UnknownCompression([u8; 4]),
    #[error("the bzImage's payload is compressed with {0}, which is not supported")]
    Unsupported(&'static str),
    #[error("could not decompress the bzImage's payload")]
    Decompress(#[source] io::Error),
    #[error("the kernel is no bootable x86-64 ELF file: {0}")]
    Elf(&'static str),
}

/// Answers the ELF kernel in `input`, which is a bzImage, or that ELF already.
///
/// # Errors
///
/// When the input is neither, damaged, or of another architecture.
pub fn extract_vmlinux(input: &[u8]) -> Result<Vec<u8>, KernelImageError> {
    let vmlinux = if input.starts_with(ELF_MAGIC) { input.to_vec() } else { unpack(payload(input)?)? };
    check_elf(&vmlinux)?;
    Ok(vmlinux)
}

/// The compressed kernel inside a bzImage.
fn payload(image: &[u8]) -> Result<&[u8], KernelImageError> {
    const SETUP_SECTS: usize = 0x1F1;
    const SIGNATURE: usize = 0x202;
    const VERSION: usize = 0x206;
    const PAYLOAD_OFFSET: usize = 0x248;
    const PAYLOAD_LENGTH: usize = 0x24C;

    if image.get(SIGNATURE..SIGNATURE + 4) != Some(b"HdrS") {
        return Err(no_bzimage(image));
    }
    let version = u16_at(image, VERSION).ok_or(KernelImageError::UnknownFormat)?;
    if version < MIN_BOOT_PROTOCOL {
        return Err(KernelImageError::TooOld { version });
    }
    let word = |at| u32_at(image, at).map(|value| value as usize).ok_or(KernelImageError::UnknownFormat);
    // Zero means four, for historical reasons.
    let setup_sectors = match image[SETUP_SECTS] {
        0 => 4,
        count => usize::from(count),
    };
    let offset = ((setup_sectors + 1) * 512).saturating_add(word(PAYLOAD_OFFSET)?);
    let len = word(PAYLOAD_LENGTH)?;
    let end = offset.saturating_add(len);
    image.get(offset..end).ok_or(KernelImageError::CutOff { offset, len, file_len: image.len() })
}

/// Says what it is instead, as far as one can tell.
fn no_bzimage(image: &[u8]) -> KernelImageError {
    // `Documentation/arch/arm64/booting.rst`, and the same place on RISC-V.
    match image.get(0x38..0x3C) {
        Some(b"ARM\x64") => KernelImageError::Foreign("arm64"),
        Some(b"RSC\x05") => KernelImageError::Foreign("RISC-V"),
        _ if image.starts_with(b"MZ") => KernelImageError::EfiProgram,
        _ => KernelImageError::UnknownFormat,
    }
}

fn unpack(payload: &[u8]) -> Result<Vec<u8>, KernelImageError> {
    let Some(compression) = Compression::of(payload) else {
        let first = payload.first_chunk().copied().unwrap_or_default();
        return Err(match &first {
            b"BZh9" => KernelImageError::Unsupported("bzip2"),
            b"\x89LZO" => KernelImageError::Unsupported("LZO"),
            _ => KernelImageError::UnknownCompression(first),
        });
    };
    compression.decompress(payload, VMLINUX_MAX_LEN).map_err(KernelImageError::Decompress)
}

/// Makes sure that it is an ELF kernel that can be booted: 64-bit, little-endian, x86-64, executable, and
/// every segment to load is there.
///
/// # Errors
///
/// When it is not.
pub fn check_elf(elf: &[u8]) -> Result<(), KernelImageError> {
    const PT_LOAD: u32 = 1;
    const ET_EXEC: u16 = 2;
    const EM_X86_64: u16 = 62;
    const PROGRAM_HEADER_LEN: usize = 56;

    let cut_off = || KernelImageError::Elf("it is cut off");
    let half = |at| u16_at(elf, at).ok_or_else(cut_off);
    if !elf.starts_with(ELF_MAGIC) {
        return Err(KernelImageError::Elf("it does not begin like one"));
    }
    if elf.get(4..6) != Some(&[2, 1]) || half(18)? != EM_X86_64 {
        return Err(KernelImageError::Elf("it is for another architecture"));
    }
    if half(16)? != ET_EXEC {
        return Err(KernelImageError::Elf("it is not an executable"));
    }
    let table = u64_at(elf, 32).ok_or_else(cut_off)?;
    if usize::from(half(54)?) != PROGRAM_HEADER_LEN {
        return Err(KernelImageError::Elf("its program headers have an unknown size"));
    }
    let mut load_segments = 0;
    for index in 0..usize::from(half(56)?) {
        let start =
            usize::try_from(table).ok().and_then(|table| table.checked_add(index * PROGRAM_HEADER_LEN));
        let start = start.ok_or_else(cut_off)?;
        if u32_at(elf, start).ok_or_else(cut_off)? != PT_LOAD {
            continue;
        }
        load_segments += 1;
        let offset = u64_at(elf, start.saturating_add(8)).ok_or_else(cut_off)?;
        let len = u64_at(elf, start.saturating_add(32)).ok_or_else(cut_off)?;
        if offset.checked_add(len).is_none_or(|end| end > elf.len() as u64) {
            return Err(cut_off());
        }
    }
    if load_segments == 0 { Err(KernelImageError::Elf("it has nothing to load")) } else { Ok(()) }
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_le_bytes)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_le_bytes)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array_at(bytes, at).map(u64::from_le_bytes)
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decompress::tests::compress;

    pub(crate) fn tiny_elf() -> Vec<u8> {
        let mut elf = vec![0; 64 + 56 + 16];
        elf[..6].copy_from_slice(b"\x7FELF\x02\x01");
        elf[16] = 2;
        elf[18] = 62;
        elf[32] = 64;
        elf[54] = 56;
        elf[56] = 1;
        elf[64] = 1;
        elf[64 + 8] = 120;
        elf[64 + 32] = 16;
        elf
    }

    pub(crate) fn bzimage(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 1024 + 0x100];
        image[0x1F1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&0x020F_u16.to_le_bytes());
        image[0x248..0x24C].copy_from_slice(&0x100_u32.to_le_bytes());
        image[0x24C..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        image.extend_from_slice(payload);
        image.extend_from_slice(b"what follows the payload");
        image
    }

    #[test]
    fn the_elf_comes_out_of_a_bzimage_and_passes_through_bare() {
        let elf = tiny_elf();
        for format in [Compression::Gzip, Compression::Zstd, Compression::Lz4Legacy, Compression::Lzma] {
            let mut payload = compress(format, &elf);
            payload.extend_from_slice(&(elf.len() as u32).to_le_bytes());
            assert_eq!(extract_vmlinux(&bzimage(&payload)).unwrap(), elf, "{format:?}");
        }
        assert_eq!(extract_vmlinux(&elf).unwrap(), elf);
    }

    #[test]
    fn hostile_inputs_are_refused_by_name() {
        let elf = tiny_elf();
        let mut endless = elf.clone();
        endless[64 + 8..64 + 16].copy_from_slice(&u64::MAX.to_le_bytes());
        let mut far_table = elf.clone();
        far_table[32..40].copy_from_slice(&(u64::MAX - 8).to_le_bytes());
        let mut arm = elf.clone();
        arm[18] = 183;
        let mut cut_off = bzimage(&elf);
        cut_off.truncate(1400);
        for (input, expected) in [
            (&b""[..], "neither"),
            (&endless, "cut off"),
            (&far_table, "cut off"),
            (&arm, "another architecture"),
            (&cut_off, "cut off"),
            (&bzimage(&elf), "unknown way"),
            (&bzimage(b"BZh91AY&SY"), "with bzip2"),
            (&bzimage(b"\x89LZO\0\r\n"), "with LZO"),
            (&b"MZ efi".repeat(200), "EFI program"),
            (&[&[0; 0x38][..], b"ARM\x64", &[0; 0x300]].concat(), "for arm64"),
            (&bzimage(&[0x1F, 0x8B, 0, 0]), "could not decompress"),
        ] {
            let error = extract_vmlinux(input).unwrap_err().to_string();
            assert!(error.contains(expected), "{error:?} does not say {expected:?}");
        }
    }

    proptest! {
        #[test]
        fn damaged_kernels_never_panic(
            hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
            packed in any::<bool>(),
        ) {
            let mut image = tiny_elf();
            if packed {
                image = bzimage(&compress(Compression::Zstd, &image));
            }
            for (at, byte) in hits {
                let at = at.index(image.len());
                image[at] = byte;
            }
            let _ = extract_vmlinux(&image);
        }
    }
}
