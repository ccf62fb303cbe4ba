//! `[[file_sync]]`: files of the host's that each start copies into the guest.
//!
//! [`survey`] looks at all of it before there is a VM, so that what cannot be copied costs nobody a boot.
//! [`pack()`] then makes one archive of all entries, for whoever has a guest to unpack it: this room knows
//! none. Files are read in pieces by a thread that waits for the guest, so their size costs no memory.

mod error;
mod pack;
#[cfg(test)]
mod tests;
mod visit;

use std::fmt;
use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;

pub use error::FileSyncError;
pub use pack::{Packing, pack};

use crate::config::FileSync;

/// Where the archive is to be unpacked. Not in `/root`: a link there may lead to anywhere in the guest, and
/// is followed as the guest's user would have it.
pub const UNPACK_DIR: &str = "/";

/// The home of the guest's user, from [`UNPACK_DIR`].
const GUEST_HOME: &str = "root";

/// The largest archive for one start, in bytes: some minutes under emulation. Its headers count, or a million
/// empty files would be nothing.
const ARCHIVE_MAX_LEN: u64 = 1 << 30;

/// An entry of `[[file_sync]]`, ready to be copied. Displays as its name in the configuration, with its path
/// on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    index: usize,
    host: PathBuf,
    /// Below the guest's home.
    guest: String,
    mode: Option<u32>,
}

impl Entry {
    /// All of the configuration's, for a user whose home is `home`.
    pub fn all(configured: &[FileSync], home: &Path) -> Vec<Self> {
        let entry = |(index, configured): (usize, &FileSync)| Self {
            index,
            host: configured.host_path(home),
            guest: configured.guest.clone(),
            mode: configured.mode,
        };
        configured.iter().enumerate().map(entry).collect()
    }

    /// Is it, now, a file on the host?
    pub fn is_file(&self) -> bool {
        self.host.is_file()
    }

    /// Its absolute path in the guest.
    pub fn guest_path(&self) -> String {
        format!("{UNPACK_DIR}{GUEST_HOME}/{}", self.guest)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file_sync[{}] ({})", self.index, self.host.display())
    }
}

/// How much there is to copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Files and links.
    pub files: u64,
    /// What the files contain.
    pub bytes: u64,
}

/// Opens everything that would be copied, and reads nothing of it.
///
/// # Errors
///
/// When something cannot be opened, or it is too much.
pub async fn survey(entries: &[Entry]) -> Result<Survey, FileSyncError> {
    let entries = entries.to_vec();
    let surveying = spawn_blocking(move || {
        let mut survey = Survey::default();
        visit::visit(&entries, ARCHIVE_MAX_LEN, |item| {
            survey.files += u64::from(item.is_file());
            survey.bytes += item.len();
            Ok(())
        })?;
        Ok(survey)
    });
    surveying.await.map_err(FileSyncError::Thread)?
}
