//! Access control lists of files.

use std::io;
use std::path::Path;

use rustix::fs::{XattrFlags, getxattr, setxattr};
use rustix::io::Errno;

/// Where Linux keeps a file's list.
const NAME: &str = "system.posix_acl_access";

/// The largest value of an attribute, in bytes.
const MAX_LEN: usize = 64 << 10;

/// Gives `to` the list that `from` has, if it has one.
///
/// # Errors
///
/// When it cannot be read or set.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut list = vec![0; MAX_LEN];
    match getxattr(from, NAME, &mut list[..]) {
        // No list, or a file system without any.
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(len) => Ok(setxattr(to, NAME, &list[..len], XattrFlags::empty())?),
    }
}
