//! What a VM and its VMM said, read out of files that somebody else writes, turns over and removes meanwhile.

use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use banger_host::bounded_log::older;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use super::VmError;
use super::handles::remove_path;
use crate::paths::VmDir;

/// How much is handed on at a time, in bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// How much of a log goes into an error, in bytes.
const TAIL_BYTES: u64 = 1500;

/// How often a followed log is looked at. A file says nothing by itself, and nobody reads faster.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);

/// Reads a log from its oldest line on.
///
/// At any time it holds one file, and goes on to the next one when that is read and has been turned over:
/// what was in it is read to its end even if it has no name any more.
pub struct LogReader {
    path: PathBuf,
    /// None before the first, and after one that was read to its end.
    file: Option<Open>,
    /// The file that was read last.
    last: Option<FileId>,
}

struct Open {
    file: File,
    id: FileId,
    /// How much of it is wanted still; none where it is followed.
    left: Option<u64>,
}

type FileId = (u64, u64);

impl LogReader {
    /// Reads the log whose newer file is `path`.
    pub fn new(path: PathBuf) -> Self {
        Self { path, file: None, last: None }
    }

    /// The next piece of what is there now. None at its end, however fast it grows meanwhile.
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub async fn next_piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if self.file.is_none() && !self.open_next(false).await? {
                return Ok(None);
            }
            if let Some(piece) = self.read().await? {
                return Ok(Some(piece));
            }
            self.close();
        }
    }

    /// The next piece, when there is one. None when `ended` says that there never will be.
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub async fn follow(&mut self, ended: impl Fn() -> bool) -> io::Result<Option<Vec<u8>>> {
        loop {
            if self.file.is_none() {
                self.open_next(true).await?;
            }
            if let Some(piece) = self.read().await? {
                return Ok(Some(piece));
            }
            let over = self.file.as_ref().is_some_and(|open| id_of(&self.path) != Some(open.id));
            if over {
                // All that was written to it was written before its name went to another.
                match self.read().await? {
                    Some(piece) => return Ok(Some(piece)),
                    None => self.close(),
                }
                if self.open_next(true).await? {
                    continue;
                }
            }
            if ended() {
                return Ok(None);
            }
            tokio::time::sleep(FOLLOW_INTERVAL).await;
        }
    }

    fn close(&mut self) {
        self.last = self.file.take().map(|open| open.id).or(self.last);
    }

    async fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(open) = &mut self.file else { return Ok(None) };
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let wanted = open.left.map_or(PIECE_BYTES as u64, |left| left.min(PIECE_BYTES as u64));
        (&mut open.file).take(wanted).read_buf(&mut piece).await?;
        open.left = open.left.map(|left| left.saturating_sub(piece.len() as u64));
        Ok((!piece.is_empty()).then_some(piece))
    }

    /// Opens the file after the last one. False when there is none.
    async fn open_next(&mut self, follow: bool) -> io::Result<bool> {
        loop {
            let Some(newer) = id_of(&self.path) else {
                // Gone, and not only on its way to the other name: the number may be given to the next
                // boot's.
                if id_of(&older(&self.path)) != self.last {
                    self.last = None;
                }
                return Ok(false);
            };
            if self.last == Some(newer) {
                return Ok(false);
            }
            let aside = older(&self.path);
            let path = match id_of(&aside) {
                // The one that was read is the older one now.
                Some(id) if self.last == Some(id) => &self.path,
                Some(_) => &aside,
                None => &self.path,
            };
            let file = match File::open(path).await {
                Ok(file) => file,
                // It was turned over at this moment.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let meta = file.metadata().await?;
            let id = (meta.dev(), meta.ino());
            // Turned over between the look at the one and the opening of the other?
            if id_of(&self.path) != Some(newer) || self.last == Some(id) {
                continue;
            }
            self.file = Some(Open { file, id, left: (!follow).then_some(meta.len()) });
            return Ok(true);
        }
    }
}

fn id_of(path: &Path) -> Option<FileId> {
    // Missing or on its way to another name: the reader looks again.
    std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// Removes what earlier boots have said.
pub(super) fn remove(dir: &VmDir) -> Result<(), VmError> {
    for name in [VmDir::CONSOLE_LOG, VmDir::VMM_LOG] {
        let path = dir.file(name);
        // The newer one first: a writer that is left does not turn over what has lost its name.
        remove_path(&path)?;
        remove_path(&older(&path))?;
    }
    Ok(())
}

/// The ends of logs, one after the other, without the control characters a guest may have put there.
pub(super) fn tail(dir: &VmDir, names: &[&str]) -> String {
    let ends = names.iter().map(|name| end_of(&dir.file(name)));
    let text = ends.collect::<Vec<_>>().concat();
    let text = String::from_utf8_lossy(&text);
    let clean: String = text.chars().filter(|c| !c.is_control() || *c == '\n').collect();
    clean.trim().to_owned()
}

/// The end of a log, which may have been turned over a moment ago.
fn end_of(path: &Path) -> Vec<u8> {
    let newer = end_of_file(path, TAIL_BYTES);
    let rest = TAIL_BYTES.saturating_sub(newer.len() as u64);
    [end_of_file(&older(path), rest), newer].concat()
}

/// Empty where there is no file: an error with less in it is still one.
fn end_of_file(path: &Path, bytes: u64) -> Vec<u8> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(path)?;
        let start = file.metadata()?.len().saturating_sub(bytes);
        file.seek(SeekFrom::Start(start))?;
        let mut end = Vec::new();
        file.take(bytes).read_to_end(&mut end)?;
        Ok(end)
    };
    read().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    async fn all(path: &Path) -> String {
        let (mut reader, mut text) = (LogReader::new(path.into()), Vec::new());
        while let Some(piece) = reader.next_piece().await.unwrap() {
            text.extend(piece);
        }
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn the_older_half_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        assert_eq!(all(&path).await, "");
        std::fs::write(&path, "new").unwrap();
        assert_eq!(all(&path).await, "new");
        std::fs::write(older(&path), "old ").unwrap();
        assert_eq!(all(&path).await, "old new");
        std::fs::write(&path, "").unwrap();
        assert_eq!(all(&path).await, "old ");
        assert_eq!(end_of(&path), b"old ");
    }

    #[tokio::test]
    async fn what_is_appended_meanwhile_is_no_part_of_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        std::fs::write(&path, vec![b'x'; PIECE_BYTES + 1]).unwrap();
        let mut reader = LogReader::new(path.clone());
        let first = reader.next_piece().await.unwrap().unwrap();
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"yyyy").unwrap();
        let second = reader.next_piece().await.unwrap().unwrap();
        assert_eq!((first.len() + second.len(), reader.next_piece().await.unwrap()), (PIECE_BYTES + 1, None));
    }

    /// Follows a log until it has said `end`.
    async fn followed(mut reader: LogReader, end: &str) -> String {
        let mut text = String::new();
        while !text.ends_with(end) {
            text.push_str(&String::from_utf8(reader.follow(|| false).await.unwrap().unwrap()).unwrap());
        }
        text
    }

    #[tokio::test]
    async fn a_followed_log_goes_on_over_a_cut_and_over_another_boot() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let reader = LogReader::new(path.clone());
        let following = tokio::spawn(followed(reader, "end"));
        let pause = || tokio::time::sleep(2 * FOLLOW_INTERVAL);
        pause().await;
        let append = |text: &str| {
            let file = std::fs::OpenOptions::new().append(true).create(true).open(&path);
            file.unwrap().write_all(text.as_bytes()).unwrap();
        };
        append("1 ");
        pause().await;
        append("2 ");
        // Turned over at once after it was written, and again.
        std::fs::rename(&path, older(&path)).unwrap();
        append("3 ");
        pause().await;
        std::fs::rename(&path, older(&path)).unwrap();
        append("4 ");
        pause().await;
        // The next boot.
        std::fs::remove_file(&path).unwrap();
        std::fs::remove_file(older(&path)).unwrap();
        pause().await;
        append("end");
        assert_eq!(following.await.unwrap(), "1 2 3 4 end");
    }

    #[tokio::test]
    async fn following_ends_when_there_is_nothing_to_come() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        std::fs::write(&path, "said").unwrap();
        let ended = Arc::new(AtomicBool::new(true));
        let mut reader = LogReader::new(path);
        let seen = ended.clone();
        assert_eq!(reader.follow(|| seen.load(Ordering::Relaxed)).await.unwrap().unwrap(), b"said");
        assert_eq!(reader.follow(|| ended.load(Ordering::Relaxed)).await.unwrap(), None);
    }

    #[test]
    fn a_tail_is_clean_and_reaches_into_the_older_half() {
        let top = tempfile::tempdir().unwrap();
        let id = crate::identity::VmId::random();
        let paths = crate::paths::Paths {
            config_file: top.path().join("c"),
            state: top.path().into(),
            cache: top.path().into(),
            socket: top.path().join("s"),
        };
        let dir = paths.vm(&id);
        std::fs::create_dir_all(dir.path()).unwrap();
        assert_eq!(tail(&dir, &[VmDir::VMM_LOG, VmDir::CONSOLE_LOG]), "");
        std::fs::write(dir.file(VmDir::VMM_LOG), "no such machine\n").unwrap();
        std::fs::write(older(&dir.file(VmDir::CONSOLE_LOG)), "x".repeat(5000) + "kernel ").unwrap();
        std::fs::write(dir.file(VmDir::CONSOLE_LOG), "\x1b[2Jpanic\n").unwrap();
        let text = tail(&dir, &[VmDir::VMM_LOG, VmDir::CONSOLE_LOG]);
        assert!(text.starts_with("no such machine\nxxx") && text.ends_with("kernel [2Jpanic"), "{text}");
        assert!(text.len() < 2 * TAIL_BYTES as usize);
    }
}
