use std::ops::Range;

use crate::BLOCK_LEN;
use crate::sparse::{Runs, gnu_runs};

/// What is made of headers that programs of today do not write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// An empty number is zero, what a space parts from one does not matter, and a checksum may be one of
    /// signed bytes: archives of every age.
    Lenient,
    /// None of that is accepted, but in the maps of sparse files, which whoever reads them checks as a whole.
    Strict,
}

/// Where the checksum is.
const CHECKSUM: Range<usize> = 148..156;

/// A header block whose checksum is right. A field whose value makes no sense is none.
#[derive(Clone, Debug)]
pub struct Header {
    block: [u8; BLOCK_LEN],
    reading: Reading,
}

impl Header {
    /// None when this is no header.
    pub fn parse(block: &[u8], reading: Reading) -> Option<Self> {
        let header = Self { block: block.try_into().ok()?, reading };
        let stored = header.number(CHECKSUM)?;
        // Emulated guests read a header for each file: sums of slices are what compilers make quick.
        let rest = [&header.block[..CHECKSUM.start], &header.block[CHECKSUM.end..]];
        let spaces = i64::from(b' ') * CHECKSUM.len() as i64;
        let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        let unsigned = spaces + rest.map(sum).into_iter().map(i64::from).sum::<i64>();
        // Some programs of old summed signed bytes.
        let signed_sum = |bytes: &[u8]| bytes.iter().map(|byte| i32::from(byte.cast_signed())).sum::<i32>();
        let signed = || spaces + rest.map(signed_sum).into_iter().map(i64::from).sum::<i64>();
        (stored == unsigned || reading == Reading::Lenient && stored == signed()).then_some(header)
    }

    /// The type byte. Zero is what old programs write for a file.
    pub fn kind(&self) -> u8 {
        self.block[156]
    }

    /// The name as far as it fits into a header.
    pub fn path(&self) -> Vec<u8> {
        let (name, prefix) = (text(&self.block[..100]), text(&self.block[345..500]));
        // GNU's headers have other things where the standard's have the prefix.
        let is_ustar = self.block[257..265] == *b"ustar\x0000";
        if is_ustar && !prefix.is_empty() { [prefix, b"/", name].concat() } else { name.to_vec() }
    }

    /// A link's target as far as it fits into a header.
    pub fn link(&self) -> Vec<u8> {
        text(&self.block[157..257]).to_vec()
    }

    /// Permission bits, setuid and the like included, and nothing else.
    pub fn mode(&self) -> Option<u16> {
        self.number(100..108).map(|mode| (mode & 0o7777) as u16)
    }

    pub fn uid(&self) -> Option<u64> {
        self.natural(108..116)
    }

    pub fn gid(&self) -> Option<u64> {
        self.natural(116..124)
    }

    /// How many bytes of content are stored.
    pub fn size(&self) -> Option<u64> {
        self.natural(124..136)
    }

    /// Seconds since the Unix epoch.
    pub fn mtime(&self) -> Option<i64> {
        self.number(136..148)
    }

    /// Major and minor number, none when Linux has no such device.
    pub fn device(&self) -> Option<(u32, u32)> {
        let part = |field, max: u32| {
            self.number(field).and_then(|number| u32::try_from(number).ok()).filter(|n| *n <= max)
        };
        Some((part(329..337, 0xFFF)?, part(337..345, 0xF_FFFF)?))
    }

    /// Is it of GNU's own form, in which alone the fields about sparse files are where they are looked for?
    pub fn is_gnu(&self) -> bool {
        self.block[257..265] == *b"ustar  \0"
    }

    /// The map in an old GNU sparse file's header.
    pub fn sparse_runs(&self) -> Option<Runs> {
        gnu_runs(&self.block[386..482])
    }

    /// Does an old GNU sparse file's map go on in blocks of its own?
    pub fn sparse_goes_on(&self) -> bool {
        self.block[482] != 0
    }

    /// How many bytes an old GNU sparse file has once unpacked.
    pub fn sparse_size(&self) -> Option<u64> {
        self.natural(483..495)
    }

    fn natural(&self, field: Range<usize>) -> Option<u64> {
        self.number(field).and_then(|number| u64::try_from(number).ok())
    }

    fn number(&self, field: Range<usize>) -> Option<i64> {
        let field = &self.block[field];
        let accepted = self.reading == Reading::Lenient || field[0] & 0x80 != 0 || is_plain(field);
        accepted.then(|| number(field))?
    }
}

/// Up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Is it digits with spaces around them, up to the first NUL?
fn is_plain(field: &[u8]) -> bool {
    let digits = text(field).trim_ascii();
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | 0)
}

/// Octal digits between blanks, or, when the first bit is set, a big-endian number in two's complement.
/// Nothing is zero.
pub(crate) fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        let negative = first & 0x40 != 0;
        let top = if negative { first } else { first & 0x7F };
        let start: i64 = if negative { -1 } else { 0 };
        let bytes = std::iter::once(top).chain(field[1..].iter().copied());
        return bytes.skip(usize::from(negative && top == 0xFF)).try_fold(start, |value, byte| {
            value.checked_mul(256).and_then(|value| value.checked_add(i64::from(byte)))
        });
    }
    let start = field.iter().position(|byte| !is_blank(byte)).unwrap_or(field.len());
    let digits = &field[start..];
    let digits = &digits[..digits.iter().position(is_blank).unwrap_or(digits.len())];
    digits.iter().try_fold(0_i64, |value, byte| match byte {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(byte - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_of_every_form() {
        assert_eq!(number(b"0000755\0"), Some(0o755));
        assert_eq!(number(b"   755 \0"), Some(0o755));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"0000a55\0"), None);
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1]), Some((2 << 32) + 1));
        assert_eq!(number(&[0xFF; 12]), Some(-1));
        let mut minus_two_hundred = [0xFF; 12];
        minus_two_hundred[11] = 56;
        assert_eq!(number(&minus_two_hundred), Some(-200));
        assert_eq!(number(&[0x80, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 1]), None);
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 1, 0]), Some(256));
    }

    #[test]
    fn only_lenient_readers_take_what_old_programs_wrote() {
        let mut block = tar::Header::new_ustar();
        block.set_size(7);
        block.as_mut_bytes()[0] = 0xE9;
        block.set_cksum();
        let read = |block: &tar::Header, reading| Header::parse(block.as_bytes(), reading);
        for (field, lenient, strict) in [
            (b"  755 \0\0", 0o755, Some(0o755)),
            (b"00755 \0x", 0o755, Some(0o755)),
            (b"       \0", 0, None),
            (b"755 1   ", 0o755, None),
            (b"\0   755 ", 0o755, None),
        ] {
            block.as_old_mut().mode = *field;
            block.set_cksum();
            assert_eq!(read(&block, Reading::Lenient).unwrap().mode(), Some(lenient), "{field:?}");
            assert_eq!(read(&block, Reading::Strict).unwrap().mode(), strict, "{field:?}");
        }

        let signed = block.cksum().unwrap() - 256;
        block.as_mut_bytes()[CHECKSUM].copy_from_slice(format!("{signed:06o}\0 ").as_bytes());
        assert!(read(&block, Reading::Strict).is_none());
        assert_eq!(read(&block, Reading::Lenient).unwrap().path(), [0xE9]);

        block.as_mut_bytes()[CHECKSUM].fill(b' ');
        assert!(read(&block, Reading::Lenient).is_none());
        assert!(Header::parse(&[0; 511], Reading::Lenient).is_none());
    }

    proptest! {
        #[test]
        fn headers_of_the_tar_crate_are_understood(
            path in "[a-z]{1,90}(/[a-z]{1,90})?", link in "[a-z/]{0,100}", size in 0_u64..1 << 63,
            mode in 0_u32..0o10000, (uid, gid) in (0_u64..1 << 32, 0_u64..1 << 32), mtime in 0_u64..1 << 63,
            device in (0_u32..0x1000, 0_u32..0x10_0000), is_gnu: bool, strict: bool,
        ) {
            let mut made = if is_gnu { tar::Header::new_gnu() } else { tar::Header::new_ustar() };
            prop_assume!(made.set_path(&path).is_ok());
            made.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
            made.set_size(size);
            made.set_mode(mode);
            made.set_uid(uid);
            made.set_gid(gid);
            made.set_mtime(mtime);
            made.set_device_major(device.0).unwrap();
            made.set_device_minor(device.1).unwrap();
            made.set_cksum();
            let reading = if strict { Reading::Strict } else { Reading::Lenient };
            let read = Header::parse(made.as_bytes(), reading).unwrap();
            prop_assert_eq!((read.path(), read.link()), (path.into_bytes(), link.into_bytes()));
            prop_assert_eq!((read.size(), read.mtime()), (Some(size), Some(mtime.cast_signed())));
            prop_assert_eq!((read.uid(), read.gid()), (Some(uid), Some(gid)));
            prop_assert_eq!((read.mode(), read.device()), (Some(mode as u16), Some(device)));
            prop_assert_eq!((read.is_gnu(), read.kind()), (is_gnu, 0));
        }
    }
}
