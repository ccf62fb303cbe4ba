//! Files and trees of files, in and out of a running VM, as tar streams. Paths are bytes and go
//! percent-encoded into the query.

use banger_guest_protocol::messages;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the copies are made of.
pub use banger_guest_protocol::archive;
/// The queries of the requests. The daemon hands them through, so they are the guest's own.
pub use banger_guest_protocol::messages::{FileAt, Pack, Unpack};

/// How unpacking went: everything is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unpacked {
    /// Files and links.
    pub files: u64,
    /// What the files contain.
    pub bytes: u64,
}

impl From<messages::Unpacked> for Unpacked {
    fn from(done: messages::Unpacked) -> Self {
        Self { files: done.files, bytes: done.bytes }
    }
}

/// What is at a path in a VM, symlinks followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileStat {
    pub kind: FileKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    File,
    Directory,
    /// A device, a FIFO, a socket.
    Other,
}

impl From<messages::FileStat> for FileStat {
    fn from(found: messages::FileStat) -> Self {
        Self {
            kind: match found.kind {
                messages::FileKind::File => FileKind::File,
                messages::FileKind::Directory => FileKind::Directory,
                messages::FileKind::Other => FileKind::Other,
            },
        }
    }
}
