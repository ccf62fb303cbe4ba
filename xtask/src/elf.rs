//! Just enough ELF to tell whether a program asks for a dynamic linker.

use thiserror::Error;

const PROGRAM_HEADER_BYTES: usize = 56;
const PT_INTERP: u32 = 3;

#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum ElfError {
    #[error("it is no 64-bit little-endian ELF file")]
    NotElf64,
    #[error("its program headers lie outside of the file")]
    Truncated,
    #[error("it names a dynamic linker (built without `-C target-feature=+crt-static`?)")]
    Dynamic,
}

/// Succeeds for a 64-bit ELF program without a `PT_INTERP` header: one that runs with no other file present.
pub(crate) fn require_static(content: &[u8]) -> Result<(), ElfError> {
    const CLASS_64_LITTLE_ENDIAN: &[u8] = b"\x7fELF\x02\x01";
    if !content.starts_with(CLASS_64_LITTLE_ENDIAN) {
        return Err(ElfError::NotElf64);
    }
    let table_offset =
        usize::try_from(u64::from_le_bytes(bytes_at(content, 32)?)).map_err(|_| ElfError::Truncated)?;
    let header_count = usize::from(u16::from_le_bytes(bytes_at(content, 56)?));
    for index in 0..header_count {
        let offset = table_offset.checked_add(index * PROGRAM_HEADER_BYTES).ok_or(ElfError::Truncated)?;
        if u32::from_le_bytes(bytes_at(content, offset)?) == PT_INTERP {
            return Err(ElfError::Dynamic);
        }
    }
    Ok(())
}

fn bytes_at<const N: usize>(content: &[u8], offset: usize) -> Result<[u8; N], ElfError> {
    content.get(offset..).and_then(|rest| rest.first_chunk()).copied().ok_or(ElfError::Truncated)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF header and program headers of the given types.
    fn elf(types: &[u32]) -> Vec<u8> {
        let mut content = vec![0; 64];
        content[..6].copy_from_slice(b"\x7fELF\x02\x01");
        content[32] = 64;
        content[56] = u8::try_from(types.len()).unwrap();
        for kind in types {
            content.extend(kind.to_le_bytes());
            content.resize(content.len() + PROGRAM_HEADER_BYTES - 4, 0);
        }
        content
    }

    #[test]
    fn tells_static_from_dynamic() {
        assert_eq!(require_static(&elf(&[1, 1, 2, 6])), Ok(()));
        assert_eq!(require_static(&elf(&[6, PT_INTERP, 1])), Err(ElfError::Dynamic));
    }

    #[test]
    fn this_test_itself_is_dynamic() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert_eq!(require_static(&own), Err(ElfError::Dynamic));
    }

    #[test]
    fn refuses_what_is_cut_off_or_foreign() {
        let whole = elf(&[1, 1]);
        assert_eq!(require_static(&whole[..70]), Err(ElfError::Truncated));
        assert_eq!(require_static(&whole[..40]), Err(ElfError::Truncated));
        let mut far = whole;
        far[32..40].fill(0xff);
        assert_eq!(require_static(&far), Err(ElfError::Truncated));
        assert_eq!(require_static(b"#!/bin/sh\n"), Err(ElfError::NotElf64));
        assert_eq!(require_static(b""), Err(ElfError::NotElf64));
    }
}
