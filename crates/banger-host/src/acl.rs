//! Access control lists of files.

use std::io;
use std::path::Path;

use rustix::fs::{XattrFlags, getxattr, setxattr};
use rustix::io::Errno;

/// Where Linux keeps a file's list.
const NAME: &str = "system.posix_acl_access";

/// Where it keeps the one that a directory gives to what is made in it.
const DEFAULT: &str = "system.posix_acl_default";

/// The largest value of an attribute, in bytes.
const MAX_LEN: usize = 64 << 10;

/// Gives `to` the list that `from` has, if it has one.
///
/// # Errors
///
/// When it cannot be read or set.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    read(from, NAME)?.map_or(Ok(()), |list| set(to, &list))
}

/// Gives `to` the list that the directory `from` has for new files. Answers whether it has one.
///
/// # Errors
///
/// When it cannot be read or set.
pub fn inherit(from: &Path, to: &Path) -> io::Result<bool> {
    let list = read(from, DEFAULT)?;
    list.as_ref().map_or(Ok(()), |list| set(to, list))?;
    Ok(list.is_some())
}

/// Whether a directory has a list for new files.
///
/// # Errors
///
/// When it cannot be looked at.
pub fn is_inherited(from: &Path) -> io::Result<bool> {
    Ok(read(from, DEFAULT)?.is_some())
}

fn read(from: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    let mut list = vec![0; MAX_LEN];
    match getxattr(from, name, &mut list[..]) {
        // No list, or a file system without any.
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(error) => Err(error.into()),
        Ok(len) => {
            list.truncate(len);
            Ok(Some(list))
        }
    }
}

fn set(to: &Path, list: &[u8]) -> io::Result<()> {
    Ok(setxattr(to, NAME, list, XattrFlags::empty())?)
}
