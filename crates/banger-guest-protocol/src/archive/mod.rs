//! Files and trees of files on their way between host and guest: tar streams, read and written without I/O
//! but for [`OpenFile`].
//!
//! Both sides unpack what the other one packed, and the host must not believe a byte of what a guest sends.
//! So one parser serves both: [`Decoder`] takes the bytes as they come and gives a file's content away in the
//! very chunks it came in. [`EntryPath`] is the only way from a name in an archive to a name in a directory.
//!
//! Understood: ustar, GNU long names, PAX, and sparse files in all forms that GNU tar writes. What is written
//! is read by GNU tar. An archive ends with its end mark; one that just stops is [`ArchiveError::Truncated`].

mod content;
mod decode;
mod encode;
mod note;
mod open_file;
mod path;
mod sparse;
mod sparse_data;

pub use banger_tar::BLOCK_LEN;
pub use content::{Contents, Looks, Packed, SPOOL_MAX, SeekTo, Trouble, put_file};
pub use decode::{ArchiveError, Decoder, Item};
pub use encode::{put_end, put_entry, put_padding};
pub use note::{Note, put_note};
pub use open_file::OpenFile;
pub use path::{EntryPath, EntryPathError};
pub use sparse::{Run, stored};

use std::sync::Arc;

/// One file, directory or link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As the archive has it. [`EntryPath`] makes something usable of it.
    pub path: Vec<u8>,
    pub kind: EntryKind,
    /// Permission bits, with setuid, setgid and sticky.
    pub mode: u32,
    pub mtime: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Its content follows.
    File {
        size: u64,
    },
    /// A file with holes. What its runs hold follows, and nothing for the rest.
    Sparse {
        size: u64,
        /// In order, without overlap, inside of the file, none of them empty.
        runs: Arc<[Run]>,
    },
    Directory,
    Symlink {
        target: Vec<u8>,
    },
    /// Another name of a file that came earlier in the archive.
    Hardlink {
        target: Vec<u8>,
    },
    /// A device, a FIFO, or something unheard of: the header's type byte.
    Other {
        type_flag: u8,
    },
}

/// A point in time since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timestamp {
    pub seconds: i64,
    pub nanoseconds: u32,
}
