//! The pack of a repository's objects, written as the host says it looks. The agent understands nothing of
//! it.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use banger_guest_protocol::import::stored::{self, BLOCK_HEADER_LEN, BLOCK_LEN};

use super::WorkspaceError;
use crate::system_error::{Context as _, SystemError};

/// Large writes: every one of them is expensive in an emulated guest.
const BUFFER_LEN: usize = 256 * 1024;

/// A pack and its `.idx` under construction.
pub(super) struct PackFiles {
    worktree: PathBuf,
    pack: BufWriter<File>,
    pack_path: PathBuf,
    index: BufWriter<File>,
    index_path: PathBuf,
    block: Vec<u8>,
    /// Bytes of the pack so far, for somebody who watches.
    written: Arc<AtomicU64>,
}

impl PackFiles {
    /// Makes the files of the pack `name` in the repository of `worktree`.
    pub(super) fn create(
        worktree: &Path,
        name: &str,
        written: Arc<AtomicU64>,
    ) -> Result<Self, WorkspaceError> {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(WorkspaceError::Order {
                what: "names its pack with something other than a checksum",
            });
        }
        let dir = worktree.join(".git/objects/pack");
        fs::create_dir_all(&dir).context("make the directory", dir.display())?;
        let (pack, pack_path) = create(dir.join(format!("pack-{name}.pack")))?;
        let (index, index_path) = create(dir.join(format!("pack-{name}.idx")))?;
        let worktree = worktree.to_owned();
        Ok(Self { worktree, pack, pack_path, index, index_path, block: Vec::new(), written })
    }

    pub(super) fn pack(&mut self, bytes: &[u8]) -> Result<(), SystemError> {
        self.pack.write_all(bytes).context("write", self.pack_path.display())?;
        self.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn index(&mut self, bytes: &[u8]) -> Result<(), SystemError> {
        self.index.write_all(bytes).context("write", self.index_path.display())
    }

    /// Copies a file of the working tree, which must be as long as it was when it was sent.
    pub(super) fn pack_file(&mut self, path: &Path, wanted: u64) -> Result<(), WorkspaceError> {
        let path = self.worktree.join(path);
        let mut file = File::open(&path).context("read", path.display())?;
        let found = file.metadata().context("read", path.display())?.len();
        if found != wanted {
            return Err(WorkspaceError::Changed { path, found, wanted });
        }
        self.block.resize(BLOCK_HEADER_LEN + BLOCK_LEN, 0);
        let mut offset = 0;
        loop {
            let (len, last) = stored::block_at(offset, wanted);
            let (header, rest) = self.block.split_at_mut(BLOCK_HEADER_LEN);
            header.copy_from_slice(&stored::block_header(len, last));
            let data = &mut rest[..usize::from(len)];
            file.read_exact(data).context("read", path.display())?;
            let block = &self.block[..BLOCK_HEADER_LEN + usize::from(len)];
            self.pack.write_all(block).context("write", self.pack_path.display())?;
            self.written.fetch_add(block.len() as u64, Ordering::Relaxed);
            offset += u64::from(len);
            if last {
                return Ok(());
            }
        }
    }

    /// Writes out what is buffered. git keeps its packs read-only.
    pub(super) fn close(mut self) -> Result<(), SystemError> {
        for (file, path) in [(&mut self.pack, &self.pack_path), (&mut self.index, &self.index_path)] {
            let closed = file.flush().and_then(|()| Ok(rustix::fs::fchmod(file.get_ref(), 0o444.into())?));
            closed.context("write", path.display())?;
        }
        Ok(())
    }
}

fn create(path: PathBuf) -> Result<(BufWriter<File>, PathBuf), SystemError> {
    let file: io::Result<File> = File::create_new(&path);
    Ok((BufWriter::with_capacity(BUFFER_LEN, file.context("make", path.display())?), path))
}
