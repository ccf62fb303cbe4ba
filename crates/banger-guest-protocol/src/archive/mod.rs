//! Files and trees of files on their way between host and guest: tar streams, read and written without I/O.
//!
//! Both sides unpack what the other one packed, and the host must not believe a byte of what a guest sends. So one parser
//! serves both: [`Decoder`] takes the bytes as they come and gives a file's content away in the very chunks it came in.
//! [`EntryPath`] is the only way from a name in an archive to a name in a directory.
//!
//! Understood: ustar, GNU long names, PAX. Not understood, and never half understood: sparse files.
//! An archive ends with its end mark; one that just stops is [`ArchiveError::Truncated`].

mod decode;
mod encode;
mod path;
mod pax;

pub use decode::{ArchiveError, Decoder, Item};
pub use encode::{put_end, put_entry, put_note, put_padding};
pub use path::{EntryPath, EntryPathError};

/// Headers and contents take whole blocks.
pub const BLOCK_LEN: usize = 512;

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
    Directory,
    Symlink {
        target: Vec<u8>,
    },
    /// Another name of a file that came earlier in the archive.
    Hardlink {
        target: Vec<u8>,
    },
    /// A device, a FIFO, a sparse file, or something unheard of: the header's type byte.
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

/// What the packing side has to say besides. Travels as a global PAX header, which other readers of tar ignore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Neither file, directory nor symlink, so it stayed behind: its path in the archive.
    Skipped { path: Vec<u8> },
    /// The rest could not be packed, and why. The archive has no end after that.
    Failed { reason: String },
}
