//! Extended headers of the PAX format: records of the form `length key=value`.

use std::collections::BTreeMap;

use super::TarError;
use super::sparse::SparseKeys;

/// `LIBARCHIVE.xattr.` is not read: who writes it writes this as well.
const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";
const SPARSE_PREFIX: &[u8] = b"GNU.sparse.";

/// What PAX headers say about an entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) sparse: SparseKeys,
}

impl Pax {
    /// For one entry; `self` is what holds for all.
    pub(super) fn with_local(&self, bytes: &[u8], name: &str) -> Result<Self, TarError> {
        self.with(bytes, name)
    }

    /// For all entries that follow. What can only be true of one is left out, as every reader does.
    pub(super) fn with_global(&self, bytes: &[u8], name: &str) -> Result<Self, TarError> {
        let Self { uid, gid, mtime, xattrs, .. } = self.with(bytes, name)?;
        Ok(Self { uid, gid, mtime, xattrs, ..Self::default() })
    }

    /// Of two records with one key the later counts, as with Go's reader and GNU tar.
    fn with(&self, mut bytes: &[u8], name: &str) -> Result<Self, TarError> {
        let mut pax = self.clone();
        while !bytes.is_empty() {
            let field = |field| TarError::Field { name: name.to_owned(), field };
            let (key, value, rest) = record(bytes).ok_or_else(|| field("extended header"))?;
            bytes = rest;
            pax.set(key, value).map_err(field)?;
        }
        Ok(pax)
    }

    /// An empty value means: what the header itself says.
    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let text = || (!value.is_empty()).then(|| value.to_vec());
        let number = |what| if value.is_empty() { Ok(None) } else { decimal(value).map(Some).ok_or(what) };
        match key {
            b"path" => self.path = text(),
            b"linkpath" => self.link_path = text(),
            b"size" => self.size = number("size")?,
            b"uid" => self.uid = number("user id")?,
            b"gid" => self.gid = number("group id")?,
            b"mtime" if value.is_empty() => self.mtime = None,
            b"mtime" => self.mtime = Some(time(value).ok_or("time")?),
            _ => {
                if let Some(name) = key.strip_prefix(XATTR_PREFIX) {
                    self.xattrs.insert(name.to_vec(), value.to_vec());
                } else if let Some(key) = key.strip_prefix(SPARSE_PREFIX) {
                    self.sparse.set(key, value).ok_or("map of its sparse contents")?;
                }
            }
        }
        Ok(())
    }
}

/// Key and value of the first record, and what follows it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let len = usize::try_from(decimal(&bytes[..blank])?).ok()?;
    let (record, rest) = bytes.split_at_checked(len)?;
    let pair = record.get(blank + 1..)?.strip_suffix(b"\n")?;
    let equals = pair.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
    Some((&pair[..equals], &pair[equals + 1..], rest))
}

/// Digits and nothing else.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, byte| match byte {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// `1700000000.25`, maybe negative; digits beyond nanoseconds are cut.
pub(super) fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = digits.fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
    match (negative, nanoseconds) {
        (false, _) => Some((seconds, nanoseconds)),
        (true, 0) => Some((-seconds, 0)),
        (true, _) => Some((-seconds - 1, 1_000_000_000 - nanoseconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_every_form() {
        assert_eq!(time(b"5"), Some((5, 0)));
        assert_eq!(time(b"5."), Some((5, 0)));
        assert_eq!(time(b"5.000000001999"), Some((5, 1)));
        assert_eq!(time(b"-0.5"), Some((-1, 500_000_000)));
        assert_eq!(time(b"-7"), Some((-7, 0)));
        for wrong in [&b"x"[..], b"", b"-", b"1.x", b"1e3", b"99999999999999999999"] {
            assert_eq!(time(wrong), None);
        }
    }

    #[test]
    fn records_hold_any_bytes_but_lengths_must_be_right() {
        let pair = |bytes| record(bytes).map(|(key, value, _)| (key.to_vec(), value.to_vec()));
        assert_eq!(pair(b"9 a=b\n=\n\nrest"), Some((b"a".to_vec(), b"b\n=\n".to_vec())));
        for wrong in [&b"5 a=b\n"[..], b"99 a=b\n", b"0 a=b\n", b"6 a-b\n", b"5 =b\n", b"a=b\n", b"6a=bc\n"] {
            assert_eq!(record(wrong), None, "{wrong:?}");
        }
    }
}
