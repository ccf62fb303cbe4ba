//! The repository's index, with the times and sizes of the files in this very filesystem: without them git
//! would read and hash every file before it could say that nothing has changed.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use banger_guest_protocol::import::{IndexEntry, ObjectFormat};
use rustix::fs::{AtFlags, Mode, OFlags, Stat, statat};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::WorkspaceError;
use crate::system_error::{Context as _, SystemError};

const SIGNATURE: &[u8; 4] = b"DIRC";
const HEADER_LEN: usize = 12;
/// Ten numbers of 32 bits come before an entry's id.
const STAT_LEN: usize = 40;

const EXTENDED: u16 = 0x4000;
const NAME_LEN_MAX: u16 = 0x0FFF;
const SKIP_WORKTREE: u16 = 0x4000;
const INTENT_TO_ADD: u16 = 0x2000;

/// An index under construction.
pub(super) struct IndexFile {
    worktree: OwnedFd,
    format: ObjectFormat,
    bytes: Vec<u8>,
    count: u32,
    extended: bool,
}

impl IndexFile {
    pub(super) fn new(worktree: &Path, format: ObjectFormat) -> Result<Self, SystemError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(worktree, flags, Mode::empty()).context("open", worktree.display())?;
        Ok(Self { worktree: dir, format, bytes: vec![0; HEADER_LEN], count: 0, extended: false })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds an entry; they come sorted by path.
    pub(super) fn add(&mut self, entry: &IndexEntry) -> Result<(), WorkspaceError> {
        if entry.id.len() != self.format.id_len() {
            return Err(WorkspaceError::Order { what: "has an object id of the wrong length" });
        }
        let path = entry.path.as_bytes();
        let start = self.bytes.len();
        let stat =
            if entry.clean { statat(&self.worktree, path, AtFlags::SYMLINK_NOFOLLOW).ok() } else { None };
        self.put_stat(stat.as_ref(), entry.mode);
        self.bytes.extend_from_slice(&entry.id);
        let extended = entry.skip_worktree || entry.intent_to_add;
        let name_len = u16::try_from(path.len()).unwrap_or(NAME_LEN_MAX).min(NAME_LEN_MAX);
        let flags = name_len | if extended { EXTENDED } else { 0 };
        self.bytes.extend_from_slice(&flags.to_be_bytes());
        if extended {
            let skip = if entry.skip_worktree { SKIP_WORKTREE } else { 0 };
            let intent = if entry.intent_to_add { INTENT_TO_ADD } else { 0 };
            self.bytes.extend_from_slice(&(skip | intent).to_be_bytes());
            self.extended = true;
        }
        self.bytes.extend_from_slice(path);
        // At least one NUL ends the path, and entries begin at multiples of eight.
        let padded = (self.bytes.len() - start) / 8 * 8 + 8;
        self.bytes.resize(start + padded, 0);
        self.count += 1;
        Ok(())
    }

    fn put_stat(&mut self, stat: Option<&Stat>, mode: u32) {
        let mut fields = [0_u32; STAT_LEN / 4];
        if let Some(stat) = stat {
            // git keeps the low 32 bits of each, too.
            fields = [
                stat.st_ctime as u32,
                stat.st_ctime_nsec as u32,
                stat.st_mtime as u32,
                stat.st_mtime_nsec as u32,
                stat.st_dev as u32,
                stat.st_ino as u32,
                0,
                stat.st_uid,
                stat.st_gid,
                stat.st_size as u32,
            ];
        }
        fields[6] = mode;
        self.bytes.extend(fields.iter().flat_map(|field| field.to_be_bytes()));
    }

    /// Writes it into the repository of `worktree`.
    pub(super) fn write(mut self, worktree: &Path) -> Result<(), SystemError> {
        let version: u32 = if self.extended { 3 } else { 2 };
        self.bytes[..4].copy_from_slice(SIGNATURE);
        self.bytes[4..8].copy_from_slice(&version.to_be_bytes());
        self.bytes[8..HEADER_LEN].copy_from_slice(&self.count.to_be_bytes());
        let checksum = match self.format {
            ObjectFormat::Sha1 => Sha1::digest(&self.bytes).to_vec(),
            ObjectFormat::Sha256 => Sha256::digest(&self.bytes).to_vec(),
        };
        self.bytes.extend(checksum);
        let path = worktree.join(".git/index");
        fs::write(&path, &self.bytes).context("write", path.display())
    }
}
