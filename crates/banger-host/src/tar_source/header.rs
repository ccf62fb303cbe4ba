//! The fields of a tar file's headers.

pub(super) const BLOCK_LEN: usize = 512;

/// A header block whose checksum is right.
pub(super) struct Header(Box<[u8; BLOCK_LEN]>);

impl Header {
    /// None when this is no header.
    pub(super) fn parse(block: &[u8]) -> Option<Self> {
        let block: [u8; BLOCK_LEN] = block.try_into().ok()?;
        let stored = number(&block[148..156])?;
        let bytes =
            || block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { b' ' } else { *byte });
        let unsigned: i64 = bytes().map(i64::from).sum();
        // Some programs of old summed signed bytes.
        let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
        (stored == unsigned || stored == signed).then(|| Self(Box::new(block)))
    }

    pub(super) fn kind(&self) -> u8 {
        self.0[156]
    }

    /// The name as far as it fits into a header.
    pub(super) fn path(&self) -> Vec<u8> {
        let (name, prefix) = (text(&self.0[..100]), text(&self.0[345..500]));
        // GNU's headers have other things where the standard's have the prefix.
        let is_ustar = self.0[257..265] == *b"ustar\x0000";
        if is_ustar && !prefix.is_empty() { [prefix, b"/", name].concat() } else { name.to_vec() }
    }

    pub(super) fn link(&self) -> Vec<u8> {
        text(&self.0[157..257]).to_vec()
    }

    pub(super) fn mode(&self) -> Option<i64> {
        number(&self.0[100..108])
    }

    pub(super) fn uid(&self) -> Option<i64> {
        number(&self.0[108..116])
    }

    pub(super) fn gid(&self) -> Option<i64> {
        number(&self.0[116..124])
    }

    pub(super) fn size(&self) -> Option<u64> {
        number(&self.0[124..136]).and_then(|size| u64::try_from(size).ok())
    }

    pub(super) fn mtime(&self) -> Option<i64> {
        number(&self.0[136..148])
    }

    /// Major and minor number, none when Linux has no such device.
    pub(super) fn device(&self) -> Option<(u32, u32)> {
        let part = |field, max: u32| {
            number(field).and_then(|number| u32::try_from(number).ok()).filter(|n| *n <= max)
        };
        Some((part(&self.0[329..337], 0xFFF)?, part(&self.0[337..345], 0xF_FFFF)?))
    }

    /// The map in an old GNU sparse file's header: where, and how long.
    pub(super) fn sparse_map(&self) -> &[u8] {
        &self.0[386..482]
    }

    /// Does an old GNU sparse file's map go on in blocks of its own?
    pub(super) fn sparse_goes_on(&self) -> bool {
        self.0[482] != 0
    }

    /// How long an old GNU sparse file is once unpacked.
    pub(super) fn sparse_size(&self) -> Option<u64> {
        number(&self.0[483..495]).and_then(|size| u64::try_from(size).ok())
    }
}

/// Up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Octal digits between blanks, or, when the first bit is set, a big-endian number in two's complement.
/// Nothing is zero.
pub(super) fn number(field: &[u8]) -> Option<i64> {
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
    let is_blank = |byte: &u8| matches!(byte, b' ' | 0);
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
}
