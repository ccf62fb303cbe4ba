//! From the host's description to a repository at its place.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use banger_guest_protocol::import::{Finish, Record, RecordCodec};
use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio_util::codec::Decoder as _;

use super::WorkspaceError;
use super::index::IndexFile;
use super::pack::PackFiles;
use super::staging::{checked, publish};

/// Does what the records in `body` say, until it ends. Blocks. `written` counts the pack's bytes.
///
/// # Errors
///
/// When the description is wrong, or a file cannot be written. What has been made stays in the staging
/// directory.
pub(super) fn run(mut body: mpsc::Receiver<Bytes>, written: &Arc<AtomicU64>) -> Result<(), WorkspaceError> {
    let mut pending = BytesMut::new();
    let mut repository: Option<Repository> = None;
    let mut ended = false;
    while let Some(bytes) = body.blocking_recv() {
        pending.extend_from_slice(&bytes);
        while let Some(record) = RecordCodec.decode(&mut pending)? {
            match (record, &mut repository) {
                _ if ended => return Err(WorkspaceError::Order { what: "goes on after its end" }),
                (Record::End, Some(_)) => ended = true,
                (Record::Finish(finish), None) => repository = Some(Repository::new(finish, written)?),
                (Record::Finish(_), Some(_)) => {
                    return Err(WorkspaceError::Order { what: "begins twice" });
                }
                (_, None) => return Err(WorkspaceError::Order { what: "has no beginning" }),
                (record, Some(repository)) => repository.take(&record)?,
            }
        }
    }
    match repository {
        Some(repository) if ended && pending.is_empty() => repository.complete(),
        _ => Err(WorkspaceError::Order { what: "broke off" }),
    }
}

/// A repository that is being made.
struct Repository {
    finish: Finish,
    worktree: PathBuf,
    pack: Option<PackFiles>,
    index: IndexFile,
}

impl Repository {
    fn new(finish: Finish, written: &Arc<AtomicU64>) -> Result<Self, WorkspaceError> {
        let worktree = checked(finish.staging.as_os_str())?.join(finish.inside.as_os_str());
        let create = |name| PackFiles::create(&worktree, name, Arc::clone(written));
        let pack = finish.pack.as_deref().map(create).transpose()?;
        let index = IndexFile::new(&worktree, finish.object_format)?;
        Ok(Self { finish, worktree, pack, index })
    }

    fn take(&mut self, record: &Record) -> Result<(), WorkspaceError> {
        const NO_PACK: WorkspaceError = WorkspaceError::Order { what: "has objects, but no pack for them" };
        match record {
            Record::Pack(bytes) => self.pack.as_mut().ok_or(NO_PACK)?.pack(bytes)?,
            Record::PackFile { len, path } => {
                self.pack.as_mut().ok_or(NO_PACK)?.pack_file(Path::new(path.as_os_str()), *len)?;
            }
            Record::PackIndex(bytes) => self.pack.as_mut().ok_or(NO_PACK)?.index(bytes)?,
            Record::Entry(entry) => self.index.add(entry)?,
            Record::Finish(_) | Record::End => {}
        }
        Ok(())
    }

    fn complete(self) -> Result<(), WorkspaceError> {
        if let Some(pack) = self.pack {
            pack.close()?;
        }
        // git takes a missing index for an empty one.
        if !self.index.is_empty() {
            self.index.write(&self.worktree)?;
        }
        if self.finish.publish {
            let (staging, path) =
                (checked(self.finish.staging.as_os_str())?, checked(self.finish.path.as_os_str())?);
            publish(&staging, &path, self.finish.replace)?;
        }
        Ok(())
    }
}
