//! Names of git's objects.

use std::fmt;

use banger_guest_protocol::import::ObjectFormat;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// The name of an object: the hash of its kind, size and content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    bytes: [u8; Self::MAX_LEN],
    len: u8,
}

impl ObjectId {
    const MAX_LEN: usize = 32;

    /// Reads 40 or 64 hexadecimal digits.
    pub fn parse(hex: &[u8]) -> Option<Self> {
        if !matches!(hex.len(), 40 | 64) {
            return None;
        }
        let mut bytes = [0; Self::MAX_LEN];
        for (byte, digits) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).ok()?;
            *byte = u8::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))?;
        }
        Some(Self { bytes, len: (hex.len() / 2) as u8 })
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.as_bytes()))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A repository's hash over bytes as they come.
#[derive(Clone)]
pub(super) enum Hasher {
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hasher {
    pub(super) fn new(format: ObjectFormat) -> Self {
        match format {
            ObjectFormat::Sha1 => Self::Sha1(Sha1::new()),
            ObjectFormat::Sha256 => Self::Sha256(Sha256::new()),
        }
    }

    /// The hash that names a blob of `len` bytes; its content is to follow.
    pub(super) fn of_blob(format: ObjectFormat, len: u64) -> Self {
        let mut hasher = Self::new(format);
        hasher.update(format!("blob {len}\0").as_bytes());
        hasher
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(hash) => hash.update(bytes),
            Self::Sha256(hash) => hash.update(bytes),
        }
    }

    pub(super) fn finish(self) -> ObjectId {
        let (mut bytes, digest) = match self {
            Self::Sha1(hash) => ([0; ObjectId::MAX_LEN], hash.finalize().to_vec()),
            Self::Sha256(hash) => ([0; ObjectId::MAX_LEN], hash.finalize().to_vec()),
        };
        bytes[..digest.len()].copy_from_slice(&digest);
        ObjectId { bytes, len: digest.len() as u8 }
    }
}

/// The name of the blob that holds `content`.
pub(super) fn blob_id(format: ObjectFormat, content: &[u8]) -> ObjectId {
    let mut hasher = Hasher::of_blob(format, content.len() as u64);
    hasher.update(content);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_are_named_as_git_names_them() {
        // What every repository calls its empty file.
        let sha1 = blob_id(ObjectFormat::Sha1, b"");
        assert_eq!(sha1.to_string(), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        let sha256 = blob_id(ObjectFormat::Sha256, b"");
        assert_eq!(sha256.to_string(), "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813");
        assert_eq!(ObjectId::parse(sha1.to_string().as_bytes()), Some(sha1));
        for bad in [
            "",
            "e69de29b",
            "+69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
            "z69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
        ] {
            assert_eq!(ObjectId::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
