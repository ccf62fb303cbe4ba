//! A download's file: what has arrived, and the hash of exactly that.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::task::spawn_blocking;

use super::flight::Turn;
use super::rename_durably;
use crate::digest::Digest;
use crate::error::RegistryError;

/// How much is gathered before it is hashed and written, in bytes.
const BATCH_BYTES: usize = 512 << 10;

/// How long anything is gathered: so much of a slow download is lost when the process dies.
const BATCH_TIME: Duration = Duration::from_secs(1);

/// Appends to a file. The file holds a beginning of the content at every instant, whatever kills the process.
#[derive(Debug)]
pub(crate) struct Sink {
    path: PathBuf,
    /// Away only while it is written to; a writer that is not waited for any more keeps the turn until it is
    /// done.
    written: Option<Written>,
    pending: Vec<Bytes>,
    pending_bytes: usize,
    flushed: Instant,
}

#[derive(Debug)]
struct Written {
    file: File,
    hasher: Sha256,
    len: u64,
    _turn: Turn,
}

impl Sink {
    /// Opens a file where an earlier download stopped; what is longer than it may be is begun anew.
    pub(crate) async fn open(path: &Path, limit_bytes: u64, turn: Turn) -> Result<Self, RegistryError> {
        let owned = path.to_owned();
        let opened = run(path, "open", move || {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
                .open(owned)?;
            if file.metadata()?.len() > limit_bytes {
                file.set_len(0)?;
            }
            let mut hasher = Sha256::new();
            let len = hash_all(&mut file, &mut hasher)?;
            Ok(Written { file, hasher, len, _turn: turn })
        });
        let written = Some(opened.await?);
        Ok(Self {
            path: path.to_owned(),
            written,
            pending: Vec::new(),
            pending_bytes: 0,
            flushed: Instant::now(),
        })
    }

    /// How much has arrived.
    pub(crate) fn len(&self) -> u64 {
        self.written.as_ref().map_or(0, |written| written.len) + self.pending_bytes as u64
    }

    /// The digest of what was flushed.
    pub(crate) fn digest(&self) -> Digest {
        Digest::finish(self.written.as_ref().map_or_else(Sha256::new, |written| written.hasher.clone()))
    }

    /// Takes the next bytes.
    pub(crate) async fn push(&mut self, bytes: Bytes) -> Result<(), RegistryError> {
        self.pending_bytes += bytes.len();
        self.pending.push(bytes);
        let due = self.pending_bytes >= BATCH_BYTES || self.flushed.elapsed() >= BATCH_TIME;
        if due { self.flush().await } else { Ok(()) }
    }

    /// Hands what was gathered to the operating system. A full disk is given its space back.
    pub(crate) async fn flush(&mut self) -> Result<(), RegistryError> {
        let pending = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        self.flushed = Instant::now();
        let done = self.change("write", move |written| {
            for bytes in &pending {
                if let Err(error) = written.file.write_all(bytes) {
                    written.file.set_len(written.len)?;
                    written.file.seek(SeekFrom::Start(written.len))?;
                    return Err(error);
                }
                written.hasher.update(bytes);
                written.len += bytes.len() as u64;
            }
            Ok(())
        });
        let done = done.await;
        if matches!(done, Err(RegistryError::DiskFull { .. })) {
            self.discard();
        }
        done
    }

    /// Forgets all that has arrived.
    pub(crate) async fn restart(&mut self) -> Result<(), RegistryError> {
        self.pending.clear();
        self.pending_bytes = 0;
        self.change("empty", |written| {
            written.file.set_len(0)?;
            written.file.seek(SeekFrom::Start(0))?;
            written.hasher = Sha256::new();
            written.len = 0;
            Ok(())
        })
        .await
    }

    /// Makes sure that all of it survives a power cut.
    pub(crate) async fn make_durable(&mut self) -> Result<(), RegistryError> {
        self.flush().await?;
        self.change("flush", |written| written.file.sync_all()).await
    }

    /// Gives the file its final name, still in its turn: whoever is next finds it there.
    pub(crate) async fn publish(&mut self, to: PathBuf) -> Result<(), RegistryError> {
        let from = self.path.clone();
        self.change("rename", move |_| rename_durably(&from, &to)).await
    }

    /// Removes the file: what is in it is of no use.
    pub(crate) fn discard(&mut self) {
        // If it stays, the next download finds it and its digest out.
        let _ = fs::remove_file(&self.path);
    }

    async fn change(
        &mut self,
        action: &'static str,
        change: impl FnOnce(&mut Written) -> io::Result<()> + Send + 'static,
    ) -> Result<(), RegistryError> {
        let Some(mut written) = self.written.take() else {
            let source = io::Error::other("an earlier write did not end");
            return Err(RegistryError::file(action, self.path.clone(), source));
        };
        let (written, result) = run(&self.path, action, move || {
            let result = change(&mut written);
            Ok((written, result))
        })
        .await?;
        self.written = Some(written);
        result.map_err(|source| RegistryError::file(action, self.path.clone(), source))
    }
}

/// Runs what may block.
async fn run<T: Send + 'static>(
    path: &Path,
    action: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, RegistryError> {
    let result = spawn_blocking(work).await.unwrap_or_else(|stopped| Err(io::Error::other(stopped)));
    result.map_err(|source| RegistryError::file(action, path, source))
}

/// Hashes from here to the end, and stays there.
fn hash_all(file: &mut File, hasher: &mut Sha256) -> io::Result<u64> {
    let mut buffer = vec![0; BATCH_BYTES];
    let mut len = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(len),
            read => {
                hasher.update(&buffer[..read]);
                len += read as u64;
            }
        }
    }
}
