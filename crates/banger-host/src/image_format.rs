//! What kind of root filesystem a file holds, told by what is in it and not by its name.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use mkext4::spec::Superblock;

use crate::layer::Compression;

const SUPERBLOCK_OFFSET: usize = 1024;

/// How much of the file is looked at.
const HEAD_LEN: usize = SUPERBLOCK_OFFSET + Superblock::LEN;

const TAR_HEADER_LEN: usize = 512;

/// A file that a root filesystem can be had from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageFormat {
    /// A filesystem of that size; the file may be longer.
    Ext4 { size_bytes: u64 },
    /// A tarball, or something else that is compressed as one: only unpacking tells.
    Tar(Compression),
}

/// Why it cannot.
#[derive(Debug, thiserror::Error)]
pub enum ImageFormatError {
    #[error("it could not be read")]
    Read(#[from] io::Error),
    #[error("it is {what}, and neither an ext4 filesystem nor a tarball")]
    Other { what: &'static str, fix: &'static str },
    #[error("it is neither an ext4 filesystem nor a tarball")]
    Unknown,
    #[error(
        "its ext4 filesystem is {} MiB large, but the file only {} MiB: it is cut off",
        size_bytes >> 20, file_bytes >> 20
    )]
    Truncated { size_bytes: u64, file_bytes: u64 },
    #[error("its ext4 filesystem has a superblock that makes no sense")]
    Superblock,
}

/// What people mistake for a root filesystem: where its magic bytes are, what it is, and what to do.
const OTHERS: &[(usize, &[u8], &str, &str)] = &[
    (
        0,
        b"QFI\xfb",
        "a QEMU disk image (qcow2)",
        "take the root partition out of it: qemu-img convert -O raw, then cut the partition out",
    ),
    (0, b"hsqs", "a squashfs filesystem", "unpack it with unsquashfs, and import it as a tarball"),
    (0, b"XFSB", "an XFS filesystem", "mount it, and import its files as a tarball"),
    (0, b"PK\x03\x04", "a zip archive", "pack its files as a tarball instead"),
    (0, b"BZh", "compressed with bzip2", "unpack it with bunzip2 first"),
    (512, b"EFI PART", "a whole disk with partitions", "import its root partition, cut out of it"),
    (510, b"\x55\xaa", "a whole disk with partitions", "import its root partition, cut out of it"),
];

/// Looks at the first bytes of a file.
///
/// # Errors
///
/// When it cannot be read or is of another kind.
pub fn recognise(file: &File) -> Result<ImageFormat, ImageFormatError> {
    let head = read_head(file)?;
    // It refuses what is too short or has another magic number.
    if let Ok(superblock) = Superblock::decode(head.get(SUPERBLOCK_OFFSET..).unwrap_or_default()) {
        return ext4(&superblock, file.metadata()?.len());
    }
    for (magic, compression) in [
        (&[0x1f, 0x8b][..], Compression::Gzip),
        (&[0x28, 0xb5, 0x2f, 0xfd], Compression::Zstd),
        (&[0xfd, b'7', b'z', b'X', b'Z', 0], Compression::Xz),
    ] {
        if head.starts_with(magic) {
            return Ok(ImageFormat::Tar(compression));
        }
    }
    if is_tar(&head) {
        return Ok(ImageFormat::Tar(Compression::None));
    }
    let other = OTHERS
        .iter()
        .find(|(offset, magic, ..)| head.get(*offset..).is_some_and(|bytes| bytes.starts_with(magic)));
    Err(match other {
        Some((_, _, what, fix)) => ImageFormatError::Other { what, fix },
        None => ImageFormatError::Unknown,
    })
}

fn read_head(file: &File) -> io::Result<Vec<u8>> {
    let mut head = vec![0; HEAD_LEN];
    let mut len = 0;
    while len < HEAD_LEN {
        match file.read_at(&mut head[len..], len as u64) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    head.truncate(len);
    Ok(head)
}

fn ext4(superblock: &Superblock, file_bytes: u64) -> Result<ImageFormat, ImageFormatError> {
    // Up to 64 KiB, as the kernel has it.
    if superblock.log_block_size > 6 || superblock.blocks_count == 0 {
        return Err(ImageFormatError::Superblock);
    }
    let size_bytes = superblock.blocks_count.checked_mul(superblock.block_size());
    let size_bytes = size_bytes.ok_or(ImageFormatError::Superblock)?;
    if size_bytes > file_bytes {
        return Err(ImageFormatError::Truncated { size_bytes, file_bytes });
    }
    Ok(ImageFormat::Ext4 { size_bytes })
}

/// Is it a header with the right checksum? Old archives have no other sign.
fn is_tar(head: &[u8]) -> bool {
    let Some(header) = head.get(..TAR_HEADER_LEN) else { return false };
    let mut sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let field = &header[148..156];
    sum -= field.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    sum += 8 * u32::from(b' ');
    let digits = String::from_utf8_lossy(field);
    let digits = digits.trim_matches(|c: char| c == ' ' || c == '\0');
    header[0] != 0 && u32::from_str_radix(digits, 8) == Ok(sum)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn tarballs_are_told_by_their_content() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_old();
        header.set_size(0);
        header.set_path("etc/passwd").unwrap();
        header.set_cksum();
        builder.append(&header, &[][..]).unwrap();
        let tar = builder.into_inner().unwrap();
        let format = |bytes: &[u8]| recognise(&file(bytes)).unwrap();
        assert_eq!(format(&tar), ImageFormat::Tar(Compression::None));
        assert_eq!(format(b"\x1f\x8b\x08"), ImageFormat::Tar(Compression::Gzip));
        assert_eq!(format(b"\x28\xb5\x2f\xfd"), ImageFormat::Tar(Compression::Zstd));
        assert_eq!(format(b"\xfd7zXZ\0"), ImageFormat::Tar(Compression::Xz));
    }

    #[test]
    fn what_people_mistake_for_one_is_named() {
        let mut disk = vec![0; 2048];
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        for (bytes, word) in [(disk, "partitions"), (b"QFI\xfb".to_vec(), "qcow2")] {
            let error = recognise(&file(&bytes)).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
        for nothing in [&b""[..], b"text", &[0; 4096]] {
            assert!(matches!(recognise(&file(nothing)), Err(ImageFormatError::Unknown)));
        }
    }

    #[test]
    fn a_filesystem_that_is_cut_off_is_refused() {
        let mut image = vec![0; 4096];
        image[1024 + 4..][..4].copy_from_slice(&1024_u32.to_le_bytes());
        image[1024 + 0x38..][..2].copy_from_slice(&0xef53_u16.to_le_bytes());
        let cut = file(&image);
        assert!(matches!(recognise(&cut), Err(ImageFormatError::Truncated { size_bytes: 1_048_576, .. })));
        cut.set_len(2 << 20).unwrap();
        assert_eq!(recognise(&cut).unwrap(), ImageFormat::Ext4 { size_bytes: 1 << 20 });
        image[1024 + 0x18..][..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(recognise(&file(&image)), Err(ImageFormatError::Superblock)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..2100)) {
            let _ = recognise(&file(&bytes));
        }
    }
}
