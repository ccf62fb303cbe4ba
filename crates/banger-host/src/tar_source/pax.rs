//! What extended headers of the PAX format say.

use std::collections::BTreeMap;

use banger_tar::pax::{decimal, records, time};
use banger_tar::sparse::SparseKeys;

use super::TarError;

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
    fn with(&self, bytes: &[u8], name: &str) -> Result<Self, TarError> {
        let mut pax = self.clone();
        let field = |field| TarError::Field { name: name.to_owned(), field };
        for record in records(bytes) {
            let (key, value) = record.ok_or_else(|| field("extended header"))?;
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
