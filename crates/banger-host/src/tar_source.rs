//! A tar file as a list of entries, with the places of their contents in it.
//!
//! Understands what distributions and container tools write: ustar, GNU (long names, sparse files) and PAX
//! (long names, exact times, extended attributes, sparse files). Contents are not read here; see [`Segment`].
//! Names and targets are bytes: a tar file may hold any. The file is foreign: every length is bounded before
//! anything is read by it.

mod blocks;
mod names;
mod pax;
mod sparse;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use banger_tar::{BLOCK_LEN, Header, Reading};
use blocks::BlockReader;
use names::symlink_target;
pub(crate) use names::{path as normal_path, printable};
use pax::Pax;
use sparse::content;

/// Longest extended header or long name accepted, in bytes. That of Go's and GNU's programs is the same or
/// less.
const EXTENSION_MAX: u64 = 1 << 20;

/// Why a tar file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    #[error("could not read the archive {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the archive is damaged: there is no entry at byte {offset}, where one should be")]
    NoHeader { offset: u64 },
    #[error("the archive ends in the middle of its entry {name:?}")]
    Cut { name: String },
    #[error("the archive's entry {name:?} has a longer name than Linux can hold")]
    LongName { name: String },
    #[error("the archive's entry {name:?} is of the unknown type {kind:?}")]
    UnknownType { name: String, kind: char },
    #[error("the archive's entry {name:?} has a malformed or unsupported map of its sparse contents")]
    Sparse { name: String },
    #[error("the archive's entry {name:?} has a malformed {field}")]
    Field { name: String, field: &'static str },
    #[error("the archive's entry {name:?} is a hard link to {target:?}, which is not in the archive")]
    LinkTarget { name: String, target: String },
    #[error("the archive's entry {name:?} lies below something that is no directory")]
    NotDirectory { name: String },
    #[error("the archive's entry {name:?} is one {what} too many; banger takes {max}")]
    TooMany { name: String, what: &'static str, max: usize },
    /// What was given the entries wants no more.
    #[error("reading the archive was cancelled")]
    Cancelled,
}

/// One file, directory or other thing in a tar file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TarEntry {
    /// Relative to the root, without `.` and `..`; empty for the root itself.
    pub path: Vec<u8>,
    pub attributes: Attributes,
    pub kind: TarKind,
}

/// What every kind of file has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits, setuid and the like included.
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since the Unix epoch, and nanoseconds.
    pub mtime: (i64, u32),
    /// Sorted by name, each name once.
    pub xattrs: Xattrs,
}

/// Names and values of extended attributes.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TarKind {
    Directory,
    File(FileContent),
    Symlink {
        target: Vec<u8>,
    },
    /// Another name of another entry, whose path this is.
    HardLink {
        target: Vec<u8>,
    },
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
}

/// Where a file's bytes are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileContent {
    pub size_bytes: u64,
    /// In order, without overlap, none empty; what lies between them reads as zeros.
    pub segments: Vec<Segment>,
}

/// A run of a file's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where in the file.
    pub file_offset: u64,
    /// Where in the tar file.
    pub tar_offset: u64,
    pub len: u64,
}

/// Hands over every entry of a tar file, in its order.
///
/// # Errors
///
/// When the file cannot be read or is malformed, or what `on_entry` answers.
pub fn read_entries(
    tar: &Path,
    mut on_entry: impl FnMut(TarEntry) -> Result<(), TarError>,
) -> Result<(), TarError> {
    let read_error = |source| TarError::Read { path: tar.to_owned(), source };
    let file = File::open(tar).map_err(read_error)?;
    let mut entries = Entries::new(BlockReader::new(&file).map_err(read_error)?);
    loop {
        match entries.next_entry() {
            Ok(Some(entry)) => on_entry(entry)?,
            Ok(None) => return Ok(()),
            Err(EntryError::Io(source)) => return Err(read_error(source)),
            Err(EntryError::Tar(error)) => return Err(error),
        }
    }
}

enum EntryError {
    Io(io::Error),
    Tar(TarError),
}

impl From<io::Error> for EntryError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<TarError> for EntryError {
    fn from(error: TarError) -> Self {
        Self::Tar(error)
    }
}

/// What stands before an entry and is about it.
#[derive(Default)]
struct Extensions {
    pax: Option<Pax>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl Extensions {
    fn is_empty(&self) -> bool {
        self.pax.is_none() && self.long_name.is_none() && self.long_link.is_none()
    }
}

struct Entries<'a> {
    blocks: BlockReader<'a>,
    offset: u64,
    /// What holds for all entries that follow.
    global: Pax,
}

impl<'a> Entries<'a> {
    fn new(blocks: BlockReader<'a>) -> Self {
        Self { blocks, offset: 0, global: Pax::default() }
    }

    fn next_entry(&mut self) -> Result<Option<TarEntry>, EntryError> {
        let mut extensions = Extensions::default();
        loop {
            let Some(header) = self.next_header()? else {
                // Something was said about an entry that does not come.
                if !extensions.is_empty() {
                    return Err(TarError::Cut { name: String::new() }.into());
                }
                return Ok(None);
            };
            let name = printable(&header.path());
            match header.kind() {
                b'x' => {
                    let bytes = self.extension(&header, &name)?;
                    // Of several the last counts, as with Go's reader, which most container tools are built
                    // on.
                    extensions.pax = Some(self.global.with_local(&bytes, &name)?);
                }
                b'g' => {
                    let bytes = self.extension(&header, &name)?;
                    self.global = self.global.with_global(&bytes, &name)?;
                }
                b'L' => extensions.long_name = Some(self.long_text(&header, &name)?),
                b'K' => extensions.long_link = Some(self.long_text(&header, &name)?),
                // What `tar --label` writes.
                b'V' => {}
                _ => return Ok(Some(self.convert(&header, extensions)?)),
            }
        }
    }

    /// The next header; the position is then behind it, with what it describes still to come.
    fn next_header(&mut self) -> Result<Option<Header>, EntryError> {
        let offset = self.offset;
        let Some(block) = self.blocks.read(offset, BLOCK_LEN)? else {
            // Some programs leave the end mark out; others cut its padding.
            return if offset >= self.blocks.len() {
                Ok(None)
            } else {
                Err(TarError::NoHeader { offset }.into())
            };
        };
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let header = Header::parse(block, Reading::Lenient).ok_or(TarError::NoHeader { offset })?;
        self.offset += BLOCK_LEN as u64;
        Ok(Some(header))
    }

    /// Goes past the contents of an entry, which must be there.
    fn skip(&mut self, len: u64, name: &str) -> Result<(), TarError> {
        let end = self.offset.checked_add(len).filter(|end| *end <= self.blocks.len());
        let end = end.ok_or_else(|| TarError::Cut { name: name.to_owned() })?;
        self.offset = end.next_multiple_of(BLOCK_LEN as u64);
        Ok(())
    }

    fn extension(&mut self, header: &Header, name: &str) -> Result<Vec<u8>, EntryError> {
        let malformed = || TarError::Field { name: name.to_owned(), field: "extended header" };
        let len = header.size().filter(|len| *len <= EXTENSION_MAX).ok_or_else(malformed)?;
        let offset = self.offset;
        self.skip(len, name)?;
        let bytes = self.blocks.read(offset, len as usize)?;
        Ok(bytes.ok_or_else(|| TarError::Cut { name: name.to_owned() })?.to_vec())
    }

    /// A GNU long name ends with a NUL.
    fn long_text(&mut self, header: &Header, name: &str) -> Result<Vec<u8>, EntryError> {
        let mut text = self.extension(header, name)?;
        if text.last() == Some(&0) {
            text.pop();
        }
        Ok(text)
    }

    fn convert(&mut self, header: &Header, extensions: Extensions) -> Result<TarEntry, EntryError> {
        let pax = extensions.pax.unwrap_or_else(|| self.global.clone());
        let raw_name = pax
            .sparse
            .name
            .clone()
            .or_else(|| pax.path.clone())
            .or(extensions.long_name)
            .unwrap_or_else(|| header.path());
        let name = printable(&raw_name);
        let raw_link = pax.link_path.clone().or(extensions.long_link).unwrap_or_else(|| header.link());
        let kind = match header.kind() {
            b'5' => TarKind::Directory,
            // Old archives mark directories by their name only.
            0 | b'0' if raw_name.ends_with(b"/") => TarKind::Directory,
            0 | b'0' | b'7' | b'S' => TarKind::File(self.content(header, &pax, &name)?),
            b'2' => TarKind::Symlink { target: symlink_target(raw_link, &name)? },
            b'1' => TarKind::HardLink { target: normal_path(&raw_link)? },
            b'3' => header
                .device()
                .map(|(major, minor)| TarKind::CharDevice { major, minor })
                .ok_or_else(|| TarError::Field { name: name.clone(), field: "device number" })?,
            b'4' => header
                .device()
                .map(|(major, minor)| TarKind::BlockDevice { major, minor })
                .ok_or_else(|| TarError::Field { name: name.clone(), field: "device number" })?,
            b'6' => TarKind::Fifo,
            other => return Err(TarError::UnknownType { name, kind: char::from(other) }.into()),
        };
        let path = normal_path(&raw_name)?;
        let mut attributes = attributes(header, pax, &name)?;
        if matches!(kind, TarKind::Symlink { .. }) {
            // Linux knows no other, whatever the archive says.
            attributes.mode = 0o777;
        }
        Ok(TarEntry { path, attributes, kind })
    }

    /// Where the contents are; they are skipped as well. No other kind of entry has any, whatever its size
    /// says.
    fn content(&mut self, header: &Header, pax: &Pax, name: &str) -> Result<FileContent, EntryError> {
        let stored = pax.size.or_else(|| header.size());
        let stored = stored.ok_or_else(|| TarError::Field { name: name.to_owned(), field: "size" })?;
        let start = self.offset;
        let extended = header.kind() == b'S' && header.sparse_goes_on();
        if extended {
            let map_blocks = sparse::skip_gnu_map(&mut self.blocks, start)?;
            let map_blocks = map_blocks.ok_or_else(|| TarError::Sparse { name: name.to_owned() })?;
            self.offset += map_blocks * BLOCK_LEN as u64;
        }
        self.skip(stored, name)?;
        let content = content(&mut self.blocks, header, &pax.sparse, start, stored)?;
        Ok(content.ok_or_else(|| TarError::Sparse { name: name.to_owned() })?)
    }
}

fn attributes(header: &Header, pax: Pax, name: &str) -> Result<Attributes, TarError> {
    let field = |field| move || TarError::Field { name: name.to_owned(), field };
    let id = |pax: Option<u64>, own: Option<u64>| pax.or(own).and_then(|id| u32::try_from(id).ok());
    let mtime = pax.mtime.or_else(|| header.mtime().map(|seconds| (seconds, 0)));
    Ok(Attributes {
        mode: header.mode().ok_or_else(field("mode"))?,
        uid: id(pax.uid, header.uid()).ok_or_else(field("user id"))?,
        gid: id(pax.gid, header.gid()).ok_or_else(field("group id"))?,
        mtime: mtime.ok_or_else(field("time"))?,
        xattrs: pax.xattrs.into_iter().collect(),
    })
}

#[cfg(test)]
#[path = "tar_source_tests.rs"]
mod tests;
