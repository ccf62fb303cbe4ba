//! A log that does not grow for ever: the newest of it, in two files.
//!
//! `NAME` is written until it is full; then it becomes `NAME.1`, in place of the one before it, and `NAME`
//! begins anew. Names change and files do not: whoever has one open reads it to its end.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Either file of a log. 16 MiB for both are hours of a busy console, and nothing on a disk.
const HALF_BYTES: u64 = 8 << 20;

/// Writes such a log. One that another process has begun is gone on with.
#[derive(Debug)]
pub struct BoundedLog {
    path: PathBuf,
    half_bytes: u64,
    /// None when it could not be made (a full disk); tried again at the next message.
    file: Option<File>,
    len: u64,
}

impl BoundedLog {
    /// The log whose newer file is `path`; made with mode 0600.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::of_size(path, HALF_BYTES)
    }

    fn of_size(path: &Path, half_bytes: u64) -> io::Result<Self> {
        let mut log = Self { path: path.to_owned(), half_bytes, file: None, len: 0 };
        log.reopen()?;
        Ok(log)
    }

    fn reopen(&mut self) -> io::Result<()> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        self.len = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    /// Puts a full file aside.
    fn turn_over(&mut self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        // A name that is no longer ours is another boot's log, or gone with its directory.
        let named = std::fs::symlink_metadata(&self.path)?;
        let own = file.metadata()?;
        if (named.dev(), named.ino()) != (own.dev(), own.ino()) {
            return Err(io::ErrorKind::NotFound.into());
        }
        std::fs::rename(&self.path, older(&self.path))?;
        self.file = None;
        Ok(())
    }
}

/// The name of the older file of the log `path`.
pub fn older(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

impl Write for BoundedLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A message as long as a file is cut; the caller comes back with the rest.
        let bytes = &bytes[..bytes.len().min(self.half_bytes as usize)];
        if self.len.saturating_add(bytes.len() as u64) > self.half_bytes {
            self.turn_over()?;
        }
        if self.file.is_none() {
            self.reopen()?;
        }
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        let written = file.write(bytes)?;
        self.len = self.len.saturating_add(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn both(path: &Path) -> String {
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        read(&older(path)) + "|" + &read(path)
    }

    #[test]
    fn the_newest_is_kept_and_no_more_than_that() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let mut log = BoundedLog::of_size(&path, 4).unwrap();
        let mut seen = Vec::new();
        for message in ["ab", "cd", "e", "f", "ghijklmn", "o"] {
            log.write_all(message.as_bytes()).unwrap();
            seen.push(both(&path));
        }
        assert_eq!(seen, ["|ab", "|abcd", "abcd|e", "abcd|ef", "ghij|klmn", "klmn|o"]);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        // Another one goes on with it.
        BoundedLog::of_size(&path, 4).unwrap().write_all(b"pqr").unwrap();
        assert_eq!(both(&path), "klmn|opqr");
    }

    #[test]
    fn what_another_boot_has_begun_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let mut log = BoundedLog::of_size(&path, 4).unwrap();
        log.write_all(b"abc").unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(log.write_all(b"de").is_err());
        std::fs::write(&path, "new").unwrap();
        assert!(log.write_all(b"de").is_err());
        assert_eq!(both(&path), "|new");
    }
}
