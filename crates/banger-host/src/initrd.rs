//! Kernel modules out of a distribution's initrd: archives (cpio, newc) one after the other, each compressed
//! or not.

use std::io;
use std::ops::Range;

use crate::decompress::Compression;

/// Largest initrd accepted, decompressed, in bytes.
const UNPACKED_MAX_LEN: usize = 1 << 30;

/// A newc header: the magic, and thirteen numbers of eight hexadecimal digits.
const HEADER_LEN: usize = 110;

const TRAILER: &[u8] = b"TRAILER!!!";

const FORMAT: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;

/// Why nothing can be had out of an initrd.
#[derive(Debug, thiserror::Error)]
pub enum InitrdError {
    #[error(
        "it is no initrd: at byte {0} there is neither a cpio archive nor anything known that is compressed"
    )]
    Unknown(usize),
    #[error("could not decompress it")]
    Decompress(#[source] io::Error),
    #[error("it is cut off")]
    CutOff,
    #[error("it holds a malformed cpio header")]
    Malformed,
}

/// A regular file in an initrd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InitrdFile {
    /// Without a leading `/` or `./`.
    pub(crate) path: String,
    pub(crate) content: Vec<u8>,
}

/// The regular files whose path is `wanted`.
///
/// # Errors
///
/// When it is no initrd, or damaged.
pub(crate) fn files(initrd: &[u8], wanted: &dyn Fn(&str) -> bool) -> Result<Vec<InitrdFile>, InitrdError> {
    let (mut found, mut position) = (Vec::new(), 0);
    loop {
        // Zeros between archives are padding.
        let padding = initrd[position..].iter().take_while(|byte| **byte == 0).count();
        position += padding;
        let rest = &initrd[position..];
        if rest.is_empty() {
            return Ok(found);
        }
        if is_cpio(rest) {
            position += archive(rest, wanted, &mut found)?;
            continue;
        }
        let compression = Compression::of(rest).ok_or(InitrdError::Unknown(position))?;
        let unpacked = compression.decompress(rest, UNPACKED_MAX_LEN).map_err(InitrdError::Decompress)?;
        // What is compressed is the last one: the modules and the system.
        let mut inner = 0;
        while inner < unpacked.len() {
            if unpacked[inner] == 0 {
                inner += 1;
            } else {
                inner += archive(&unpacked[inner..], wanted, &mut found)?;
            }
        }
        return Ok(found);
    }
}

fn is_cpio(bytes: &[u8]) -> bool {
    bytes.starts_with(b"070701") || bytes.starts_with(b"070702")
}

/// Goes through one archive; answers its length.
fn archive(
    bytes: &[u8],
    wanted: &dyn Fn(&str) -> bool,
    found: &mut Vec<InitrdFile>,
) -> Result<usize, InitrdError> {
    let mut position = 0;
    loop {
        let header = bytes.get(position..position + HEADER_LEN).ok_or(InitrdError::CutOff)?;
        if !is_cpio(header) {
            return Err(InitrdError::Malformed);
        }
        let (mode, len, name_len) = (field(header, 1)?, field(header, 6)?, field(header, 11)?);
        let name = part(bytes, position + HEADER_LEN, name_len)?;
        let content = part(bytes, name.end.next_multiple_of(4), len)?;
        position = content.end.next_multiple_of(4);
        // It ends with a zero byte.
        let name = bytes[name].strip_suffix(b"\0").ok_or(InitrdError::Malformed)?;
        if name == TRAILER {
            return Ok(position.min(bytes.len()));
        }
        let path = String::from_utf8_lossy(name);
        let path = path.trim_start_matches("./").trim_start_matches('/');
        if mode & FORMAT == REGULAR && wanted(path) {
            found.push(InitrdFile { path: path.to_owned(), content: bytes[content].to_vec() });
        }
    }
}

fn part(bytes: &[u8], start: usize, len: u32) -> Result<Range<usize>, InitrdError> {
    let range = start..start.saturating_add(len as usize);
    bytes.get(range.clone()).map(|_| range).ok_or(InitrdError::CutOff)
}

fn field(header: &[u8], index: usize) -> Result<u32, InitrdError> {
    let digits = &header[6 + 8 * index..14 + 8 * index];
    let plain = digits.iter().all(u8::is_ascii_hexdigit).then(|| std::str::from_utf8(digits).ok()).flatten();
    plain.and_then(|text| u32::from_str_radix(text, 16).ok()).ok_or(InitrdError::Malformed)
}

#[cfg(test)]
pub(crate) mod tests {
    use cpio::newc::{Builder, ModeFileType, trailer};
    use proptest::prelude::*;

    use super::*;
    use crate::decompress::tests::compress;

    /// An archive of these files.
    pub(crate) fn cpio(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (path, content) in files {
            let entry = Builder::new(path).mode(0o644).set_mode_file_type(ModeFileType::Regular);
            let mut writer = entry.write(bytes, content.len() as u32);
            io::Write::write_all(&mut writer, content).unwrap();
            bytes = writer.finish().unwrap();
        }
        let link = Builder::new("usr/lib/modules/6.1/build").set_mode_file_type(ModeFileType::Symlink);
        let mut writer = link.write(bytes, 4);
        io::Write::write_all(&mut writer, b"/etc").unwrap();
        trailer(writer.finish().unwrap()).unwrap()
    }

    fn modules(initrd: &[u8]) -> Result<Vec<(String, usize)>, InitrdError> {
        let found = files(initrd, &|path| path.contains("lib/modules/"))?;
        Ok(found.into_iter().map(|file| (file.path, file.content.len())).collect())
    }

    #[test]
    fn modules_are_found_behind_microcode_however_it_is_compressed() {
        let early = cpio(&[("kernel/x86/microcode/GenuineIntel.bin", &[7; 99])]);
        let main = cpio(&[("init", b"#!/bin/sh"), ("./usr/lib/modules/6.1/modules.dep", b"a.ko:")]);
        let expected = [("usr/lib/modules/6.1/modules.dep".to_owned(), 5)];
        for format in [Compression::Gzip, Compression::Zstd, Compression::Lz4Legacy, Compression::Xz] {
            let mut initrd = early.clone();
            initrd.resize(initrd.len().next_multiple_of(512), 0);
            initrd.extend(compress(format, &main));
            assert_eq!(modules(&initrd).unwrap(), expected, "{format:?}");
        }
        assert_eq!(modules(&[early, main.clone()].concat()).unwrap(), expected);
        assert_eq!(modules(&main).unwrap(), expected);
        assert_eq!(modules(b"").unwrap(), []);
    }

    #[test]
    fn damage_is_told() {
        let main = cpio(&[("lib/modules/6.1/modules.dep", b"a.ko:")]);
        assert!(matches!(modules(&main[..main.len() / 2]), Err(InitrdError::CutOff)));
        assert!(matches!(modules(b"something else"), Err(InitrdError::Unknown(0))));
        let packed = compress(Compression::Zstd, &main);
        assert!(matches!(modules(&packed[..packed.len() / 2]), Err(InitrdError::Decompress(_))));
        let mut malformed = main.clone();
        malformed[60] = b'x';
        assert!(matches!(modules(&malformed), Err(InitrdError::Malformed)));
        let mut endless = main;
        endless[54..62].copy_from_slice(b"FFFFFFFF");
        assert!(matches!(modules(&endless), Err(InitrdError::CutOff)));
    }

    proptest! {
        #[test]
        fn damaged_archives_never_panic(
            hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = cpio(&[("lib/modules/6.1/a.ko", &[1; 33]), ("x", b"")]);
            for (at, byte) in hits {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(cut.index(bytes.len() + 1));
            let _ = modules(&bytes);
        }
    }
}
