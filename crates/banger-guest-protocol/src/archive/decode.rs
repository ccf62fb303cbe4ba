use banger_tar::sparse::{Runs, SparseKeys};
use banger_tar::{BLOCK_LEN, Header, Reading, padding, pax};
use bytes::{Buf, Bytes};

use super::sparse::{self, MapPlace, MapReader};
use super::sparse_data::SparseData;
use super::{Entry, EntryKind, Note, Timestamp, note};

/// Largest long name or PAX header that is believed: some hundred times what a path can be.
const EXTENSION_MAX_LEN: u64 = 1024 * 1024;
/// Most extended headers before what they are about.
const EXTENSIONS_MAX: u32 = 64;

/// Why bytes are no archive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    #[error("it ends too early")]
    Truncated,
    #[error("it is not a tar archive, or a damaged one: the {field} of a header makes no sense")]
    Header { field: &'static str },
    #[error("it has an extended header of {len} bytes, {EXTENSION_MAX_LEN} at most")]
    Extension { len: u64 },
    #[error("it has more than {EXTENSIONS_MAX} extended headers in a row")]
    Extensions,
}

/// What an archive consists of, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Entry(Entry),
    /// The next piece of the latest entry's content, never empty.
    Data(Bytes),
    /// So many zeros of the latest entry's content, which is a sparse file; never none. With its data they
    /// make up its size.
    Hole(u64),
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
    /// The blocks of a sparse file's map.
    Map {
        entry: Entry,
        size: u64,
        /// What is left of what is stored.
        stored: u64,
        reader: MapReader,
    },
    Sparse(SparseData),
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
    sparse: SparseKeys,
    /// How many headers it took to say so.
    count: u32,
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
    /// Hands over the bytes that come next. Call it when [`Self::next`] has answered none: what was left is
    /// dropped.
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
                State::Map { .. } => {
                    let Some(block) = self.take_block() else { return Ok(None) };
                    if let Some(entry) = self.map_block(&block)? {
                        return Ok(Some(Item::Entry(entry)));
                    }
                }
                State::Sparse(data) => match data.next(&mut self.chunk) {
                    Some(None) => return Ok(None),
                    Some(item) => return Ok(item),
                    None => self.state = State::Skip { left: data.padding },
                },
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
        let header = Header::parse(block, Reading::Strict).ok_or(bad("checksum"))?;
        let size = header.size().ok_or(bad("size"))?;
        let which = match header.kind() {
            b'L' => Some(Extension::LongName),
            b'K' => Some(Extension::LongLink),
            b'x' => Some(Extension::Pax),
            b'g' => Some(Extension::GlobalPax),
            _ => None,
        };
        if let Some(which) = which {
            if size > EXTENSION_MAX_LEN {
                return Err(ArchiveError::Extension { len: size });
            }
            self.extensions.count += 1;
            if self.extensions.count > EXTENSIONS_MAX {
                return Err(ArchiveError::Extensions);
            }
            self.state = State::Extension { which, len: size, gathered: Vec::new() };
            return Ok(None);
        }
        let known = std::mem::take(&mut self.extensions);
        let size = known.size.unwrap_or(size);
        let keys = known.sparse;
        let path = keys.name.clone().or(known.path).unwrap_or_else(|| header.path());
        let link = || known.link.unwrap_or_else(|| header.link());
        let type_flag = header.kind();
        let kind = match type_flag {
            // Before there were directories in tar, a slash at the end was one.
            b'0' | 0 if path.ends_with(b"/") => EntryKind::Directory,
            b'0' | 0 | b'7' => EntryKind::File { size },
            b'1' => EntryKind::Hardlink { target: link() },
            b'2' => EntryKind::Symlink { target: link() },
            b'5' => EntryKind::Directory,
            type_flag => EntryKind::Other { type_flag },
        };
        let seconds = header.mtime().unwrap_or_default();
        let mtime = known.mtime.unwrap_or(Timestamp { seconds, nanoseconds: 0 });
        let mode = u32::from(header.mode().ok_or(bad("mode"))?);
        let sparse = match type_flag {
            b'S' => Some(sparse::read_gnu(&header)),
            b'0' | 0 | b'7' if keys.given => Some(sparse::read_keys(&keys)),
            _ => None,
        };
        let entry = Entry { path, kind, mode, mtime };
        if let Some(sparse) = sparse {
            let (real, place) = sparse.ok_or(bad("sparse map"))?;
            return self.sparse(entry, real, size, place);
        }
        self.state = match entry.kind {
            EntryKind::File { size } => State::Data { left: size, padding: padding(size) },
            // Some writers give it the size of the file that it links to, and no content.
            EntryKind::Hardlink { .. } => State::Header,
            _ => State::Skip { left: size.checked_add(padding(size)).ok_or(bad("size"))? },
        };
        Ok(Some(entry))
    }

    /// A sparse file begins, of which `stored` bytes come; none when its map comes first.
    fn sparse(
        &mut self,
        entry: Entry,
        size: u64,
        stored: u64,
        place: MapPlace,
    ) -> Result<Option<Entry>, ArchiveError> {
        match place {
            MapPlace::Known(map) => self.mapped(entry, size, stored, map).map(Some),
            MapPlace::Ahead(reader) => {
                self.state = State::Map { entry, size, stored, reader };
                Ok(None)
            }
            MapPlace::Unknown => {
                let left =
                    stored.checked_add(padding(stored)).ok_or(ArchiveError::Header { field: "size" })?;
                self.state = State::Skip { left };
                Ok(Some(Entry { kind: EntryKind::Other { type_flag: b'S' }, ..entry }))
            }
        }
    }

    fn map_block(&mut self, block: &[u8]) -> Result<Option<Entry>, ArchiveError> {
        let bad = ArchiveError::Header { field: "sparse map" };
        let State::Map { entry, size, stored, reader } = &mut self.state else { return Ok(None) };
        if reader.is_counted() {
            *stored = stored.checked_sub(BLOCK_LEN as u64).ok_or(bad.clone())?;
        }
        let Some(map) = reader.block(block).ok_or(bad)? else { return Ok(None) };
        let (entry, size, stored) = (entry.clone(), *size, *stored);
        self.mapped(entry, size, stored, map).map(Some)
    }

    fn mapped(&mut self, entry: Entry, size: u64, stored: u64, map: Runs) -> Result<Entry, ArchiveError> {
        let runs = sparse::checked(map, size, stored);
        let runs = runs.ok_or(ArchiveError::Header { field: "sparse map" })?;
        let padding = padding(stored);
        self.state = State::Sparse(SparseData::new(size, runs.clone(), padding));
        Ok(Entry { kind: EntryKind::Sparse { size, runs }, ..entry })
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
                for (key, value) in records(&bytes)? {
                    self.take(key, value)?;
                }
            }
            Extension::GlobalPax => {
                let note = note::read(&records(&bytes)?);
                // However many there are: whoever reads them counts.
                self.count -= u32::from(note.is_some());
                return Ok(note);
            }
        }
        Ok(None)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), ArchiveError> {
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => {
                self.size = Some(pax::decimal(value).ok_or(ArchiveError::Header { field: "size" })?);
            }
            b"mtime" => {
                let time = pax::time(value);
                self.mtime = time.map(|(seconds, nanoseconds)| Timestamp { seconds, nanoseconds });
            }
            key => {
                if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.set(key, value).ok_or(ArchiveError::Header { field: "sparse map" })?;
                }
            }
        }
        Ok(())
    }
}

/// The keys and values of an extended header.
fn records(bytes: &[u8]) -> Result<Vec<pax::Record<'_>>, ArchiveError> {
    pax::records(bytes).collect::<Option<_>>().ok_or(ArchiveError::Header { field: "extension" })
}
