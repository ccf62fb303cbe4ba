use bytes::{Buf, Bytes};
use tar::{EntryType, Header};

use super::encode::{NOTE_FAILED, NOTE_SKIPPED};
use super::{BLOCK_LEN, Entry, EntryKind, Note, Timestamp, pax};

/// Largest long name or PAX header that is believed: some hundred times what a path can be.
const EXTENSION_MAX_LEN: u64 = 1024 * 1024;

/// Why bytes are no archive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    #[error("it ends too early")]
    Truncated,
    #[error("it is not a tar archive, or a damaged one: the {field} of a header makes no sense")]
    Header { field: &'static str },
    #[error("it has an extended header of {len} bytes, {EXTENSION_MAX_LEN} at most")]
    Extension { len: u64 },
}

/// What an archive consists of, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Entry(Entry),
    /// The next piece of the latest entry's content, never empty.
    Data(Bytes),
    Note(Note),
    /// Nothing that comes after it counts.
    End,
}

/// Takes an archive apart. Feed it with [`Self::push`] whenever [`Self::next`] has nothing left to say.
#[derive(Debug)]
pub struct Decoder {
    chunk: Bytes,
    /// The beginning of a header that came in pieces.
    partial: Vec<u8>,
    state: State,
    extensions: Extensions,
}

#[derive(Debug)]
enum State {
    Header,
    Extension {
        which: Extension,
        len: u64,
        gathered: Vec<u8>,
    },
    /// A file's content, with as many bytes to go.
    Data {
        left: u64,
        padding: u64,
    },
    Skip {
        left: u64,
    },
    Ended,
}

#[derive(Clone, Copy, Debug)]
enum Extension {
    LongName,
    LongLink,
    Pax,
    GlobalPax,
}

/// What extended headers said about the entry that comes next.
#[derive(Debug, Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    mtime: Option<Timestamp>,
    sparse: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            chunk: Bytes::new(),
            partial: Vec::new(),
            state: State::Header,
            extensions: Extensions::default(),
        }
    }
}

impl Decoder {
    /// Hands over the bytes that come next. Call it when [`Self::next`] has answered none: what was left is dropped.
    pub fn push(&mut self, chunk: Bytes) {
        self.chunk = chunk;
    }

    /// Has the archive's end been seen?
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Truncated`] when it has not.
    pub fn finish(&self) -> Result<(), ArchiveError> {
        if matches!(self.state, State::Ended) { Ok(()) } else { Err(ArchiveError::Truncated) }
    }

    /// The next item; none when it takes more bytes to know.
    ///
    /// # Errors
    ///
    /// When the bytes are no archive. There is no way to go on after that.
    #[allow(clippy::should_implement_trait, reason = "none is not the end, so it is no iterator")]
    pub fn next(&mut self) -> Result<Option<Item>, ArchiveError> {
        loop {
            match &mut self.state {
                State::Header => {
                    let Some(block) = self.take_block() else { return Ok(None) };
                    if block.iter().all(|byte| *byte == 0) {
                        self.state = State::Ended;
                        return Ok(Some(Item::End));
                    }
                    if let Some(entry) = self.header(&block)? {
                        return Ok(Some(Item::Entry(entry)));
                    }
                }
                State::Extension { which, len, gathered } => {
                    let missing = *len as usize - gathered.len();
                    let taken = self.chunk.split_to(missing.min(self.chunk.len()));
                    gathered.extend_from_slice(&taken);
                    if taken.len() < missing {
                        return Ok(None);
                    }
                    let (which, bytes) = (*which, std::mem::take(gathered));
                    self.state = State::Skip { left: padding(*len) };
                    if let Some(note) = self.extensions.read(which, bytes)? {
                        return Ok(Some(Item::Note(note)));
                    }
                }
                State::Data { left: 0, padding } => self.state = State::Skip { left: *padding },
                State::Data { left, .. } => {
                    if self.chunk.is_empty() {
                        return Ok(None);
                    }
                    let len = self.chunk.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= len as u64;
                    return Ok(Some(Item::Data(self.chunk.split_to(len))));
                }
                State::Skip { left } => {
                    let len = self.chunk.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    self.chunk.advance(len);
                    *left -= len as u64;
                    if *left > 0 {
                        return Ok(None);
                    }
                    self.state = State::Header;
                }
                State::Ended => return Ok(None),
            }
        }
    }

    fn take_block(&mut self) -> Option<Bytes> {
        if self.partial.is_empty() && self.chunk.len() >= BLOCK_LEN {
            return Some(self.chunk.split_to(BLOCK_LEN));
        }
        let missing = (BLOCK_LEN - self.partial.len()).min(self.chunk.len());
        self.partial.extend_from_slice(&self.chunk.split_to(missing));
        (self.partial.len() == BLOCK_LEN).then(|| std::mem::take(&mut self.partial).into())
    }

    /// Reads a header; none when it belongs to the entry that follows.
    fn header(&mut self, block: &[u8]) -> Result<Option<Entry>, ArchiveError> {
        let bad = |field| ArchiveError::Header { field };
        let header = Header::from_byte_slice(block);
        if header.cksum().ok() != Some(checksum(block)) {
            return Err(bad("checksum"));
        }
        let size = header.entry_size().map_err(|_| bad("size"))?;
        let which = match header.entry_type() {
            EntryType::GNULongName => Some(Extension::LongName),
            EntryType::GNULongLink => Some(Extension::LongLink),
            EntryType::XHeader => Some(Extension::Pax),
            EntryType::XGlobalHeader => Some(Extension::GlobalPax),
            _ => None,
        };
        if let Some(which) = which {
            if size > EXTENSION_MAX_LEN {
                return Err(ArchiveError::Extension { len: size });
            }
            self.state = State::Extension { which, len: size, gathered: Vec::new() };
            return Ok(None);
        }
        let known = std::mem::take(&mut self.extensions);
        let size = known.size.unwrap_or(size);
        let path = known.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = || known.link.or_else(|| header.link_name_bytes().map(Into::into)).unwrap_or_default();
        let type_flag = header.entry_type().as_byte();
        let kind = match type_flag {
            _ if known.sparse => EntryKind::Other { type_flag: b'S' },
            // Before there were directories in tar, a slash at the end was one.
            b'0' | 0 if path.ends_with(b"/") => EntryKind::Directory,
            b'0' | 0 | b'7' => EntryKind::File { size },
            b'1' => EntryKind::Hardlink { target: link() },
            b'2' => EntryKind::Symlink { target: link() },
            b'5' => EntryKind::Directory,
            type_flag => EntryKind::Other { type_flag },
        };
        self.state = match kind {
            EntryKind::File { size } => State::Data { left: size, padding: padding(size) },
            // Some writers give it the size of the file that it links to, and no content.
            EntryKind::Hardlink { .. } => State::Header,
            _ => State::Skip { left: size.checked_add(padding(size)).ok_or(bad("size"))? },
        };
        let seconds = header.mtime().ok().and_then(|mtime| i64::try_from(mtime).ok()).unwrap_or_default();
        let mtime = known.mtime.unwrap_or(Timestamp { seconds, nanoseconds: 0 });
        let mode = header.mode().map_err(|_| bad("mode"))? & 0o7777;
        Ok(Some(Entry { path, kind, mode, mtime }))
    }
}

impl Extensions {
    /// Takes in an extended header; what it says is for us when it is a note.
    fn read(&mut self, which: Extension, mut bytes: Vec<u8>) -> Result<Option<Note>, ArchiveError> {
        match which {
            Extension::LongName | Extension::LongLink => {
                // It ends with a NUL, for readers in C.
                bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
                let slot = if matches!(which, Extension::LongName) { &mut self.path } else { &mut self.link };
                *slot = Some(bytes);
            }
            Extension::Pax => {
                let records = pax::records(&bytes).ok_or(ArchiveError::Header { field: "extension" })?;
                for (key, value) in records {
                    self.take(key, value)?;
                }
            }
            Extension::GlobalPax => {
                let records = pax::records(&bytes).ok_or(ArchiveError::Header { field: "extension" })?;
                return Ok(records.into_iter().find_map(|(key, value)| match key {
                    NOTE_SKIPPED => Some(Note::Skipped { path: value.to_vec() }),
                    NOTE_FAILED => Some(Note::Failed { reason: String::from_utf8_lossy(value).into_owned() }),
                    _ => None,
                }));
            }
        }
        Ok(None)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), ArchiveError> {
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => {
                self.size = Some(pax::number(value).ok_or(ArchiveError::Header { field: "size" })?);
            }
            b"mtime" => self.mtime = pax::timestamp(value),
            key if key.starts_with(b"GNU.sparse.") => self.sparse = true,
            _ => {}
        }
        Ok(())
    }
}

/// How many bytes follow a content of `size` bytes to fill its last block.
pub(super) fn padding(size: u64) -> u64 {
    let block = BLOCK_LEN as u64;
    (block - size % block) % block
}

/// The sum of a header's bytes, its own field counted as spaces.
fn checksum(block: &[u8]) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    sum(&block[..148]) + 8 * u32::from(b' ') + sum(&block[156..])
}
