//! A tar file as a list of entries, with the places of their contents in it.
//!
//! Understands what distributions and container tools write: ustar, GNU (long names, sparse files) and PAX (long names, exact
//! times, extended attributes, sparse files). Contents are not read here; see [`Segment`].

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tar::{EntryType, GnuExtSparseHeader, GnuHeader, GnuSparseHeader, Header};

const BLOCK_LEN: u64 = 512;

/// Longest sparse map accepted, in segments: a bound on memory, far above what any real file has.
const SEGMENTS_MAX: usize = 1 << 20;

const XATTR_PREFIX: &str = "SCHILY.xattr.";

/// Why a tar file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    #[error("could not read the archive {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the archive's entry {name:?} leads out of the archive")]
    Escape { name: String },
    #[error("the archive's entry {name:?} is not named in UTF-8, which is not supported yet")]
    NotUtf8 { name: String },
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
}

/// One file, directory or other thing in a tar file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TarEntry {
    /// Relative to the root, without `.` and `..`; empty for the root itself.
    pub path: String,
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
    pub xattrs: Vec<(String, Vec<u8>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TarKind {
    Directory,
    File(FileContent),
    Symlink {
        target: String,
    },
    /// Another name of an earlier entry, whose path this is.
    HardLink {
        target: String,
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
    /// Which of several tar files holds them.
    pub layer: usize,
    pub size_bytes: u64,
    /// In order, without overlap; what lies between them reads as zeros.
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
/// When the file cannot be read or is malformed, when an entry would leave the tree, or what `on_entry` answers.
pub fn read_entries(
    tar: &Path,
    mut on_entry: impl FnMut(TarEntry) -> Result<(), TarError>,
) -> Result<(), TarError> {
    let read_error = |source| TarError::Read { path: tar.to_owned(), source };
    let file = File::open(tar).map_err(read_error)?;
    let contents = file.try_clone().map_err(read_error)?;
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries_with_seek().map_err(read_error)? {
        let mut entry = entry.map_err(read_error)?;
        let pax = Pax::read(&mut entry).map_err(read_error)?;
        if let Some(entry) = convert(&contents, &entry, pax)? {
            on_entry(entry)?;
        }
    }
    Ok(())
}

fn convert(file: &File, entry: &tar::Entry<'_, File>, pax: Pax) -> Result<Option<TarEntry>, TarError> {
    let raw_name = pax.sparse_name.clone().unwrap_or_else(|| entry.path_bytes().into_owned());
    let name = String::from_utf8_lossy(&raw_name).into_owned();
    let header = entry.header();
    let kind = match header.entry_type() {
        EntryType::Directory => TarKind::Directory,
        // Old archives mark directories by their name only.
        EntryType::Regular if raw_name.ends_with(b"/") => TarKind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            TarKind::File(content(file, entry, &pax).map_err(|_| TarError::Sparse { name: name.clone() })?)
        }
        EntryType::Symlink => TarKind::Symlink { target: utf8(&link_target(entry), &name)? },
        EntryType::Link => TarKind::HardLink { target: normalise(&utf8(&link_target(entry), &name)?)? },
        EntryType::Char => {
            let (major, minor) = device(header, &name)?;
            TarKind::CharDevice { major, minor }
        }
        EntryType::Block => {
            let (major, minor) = device(header, &name)?;
            TarKind::BlockDevice { major, minor }
        }
        EntryType::Fifo => TarKind::Fifo,
        EntryType::XGlobalHeader => return Ok(None),
        other => return Err(TarError::UnknownType { name, kind: char::from(other.as_byte()) }),
    };
    let path = normalise(&utf8(&raw_name, &name)?)?;
    Ok(Some(TarEntry { path, attributes: attributes(header, pax, &name)?, kind }))
}

fn attributes(header: &Header, pax: Pax, name: &str) -> Result<Attributes, TarError> {
    let field = |field| move |_| TarError::Field { name: name.to_owned(), field };
    let id = |value: io::Result<u64>, what| {
        value.and_then(|id| u32::try_from(id).map_err(io::Error::other)).map_err(field(what))
    };
    let seconds = i64::try_from(header.mtime().map_err(field("time"))?).unwrap_or(0);
    Ok(Attributes {
        mode: (header.mode().map_err(field("mode"))? & 0o7777) as u16,
        uid: id(header.uid(), "user id")?,
        gid: id(header.gid(), "group id")?,
        mtime: pax.mtime.unwrap_or((seconds, 0)),
        xattrs: pax.xattrs,
    })
}

fn link_target(entry: &tar::Entry<'_, File>) -> Vec<u8> {
    entry.link_name_bytes().unwrap_or_default().into_owned()
}

fn device(header: &Header, name: &str) -> Result<(u32, u32), TarError> {
    let field = |field| move |_| TarError::Field { name: name.to_owned(), field };
    let major = header.device_major().map_err(field("device number"))?;
    let minor = header.device_minor().map_err(field("device number"))?;
    Ok((major.unwrap_or(0), minor.unwrap_or(0)))
}

fn utf8(bytes: &[u8], name: &str) -> Result<String, TarError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| TarError::NotUtf8 { name: name.to_owned() })
}

/// Without `.`, doubled slashes and a slash in front (as any tar program unpacks it); `..` is refused.
fn normalise(path: &str) -> Result<String, TarError> {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(TarError::Escape { name: path.to_owned() }),
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// What PAX headers say about the entry that follows them.
#[derive(Debug, Default)]
struct Pax {
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(String, Vec<u8>)>,
    /// The real name of a sparse file; the entry's own one is for programs that do not know sparse files.
    sparse_name: Option<Vec<u8>>,
    /// `GNU.sparse.realsize` or `.size`.
    sparse_size: Option<u64>,
    /// `GNU.sparse.map`: the map of format 0.1.
    sparse_map: Option<String>,
    /// `GNU.sparse.major`: format 1 has the map before the contents.
    sparse_major: Option<u64>,
    /// Format 0.0 has the map in repeated keys; nobody writes that any more.
    sparse_unsupported: bool,
}

impl Pax {
    fn read(entry: &mut tar::Entry<'_, File>) -> io::Result<Self> {
        let mut pax = Self::default();
        let Some(extensions) = entry.pax_extensions()? else { return Ok(pax) };
        for extension in extensions {
            let extension = extension?;
            let Ok(key) = extension.key() else { continue };
            let bytes = extension.value_bytes();
            let text = extension.value().unwrap_or_default();
            match key {
                "mtime" => pax.mtime = parse_time(text),
                "GNU.sparse.name" => pax.sparse_name = Some(bytes.to_vec()),
                "GNU.sparse.realsize" | "GNU.sparse.size" => pax.sparse_size = text.parse().ok(),
                "GNU.sparse.map" => pax.sparse_map = Some(text.to_owned()),
                "GNU.sparse.major" => pax.sparse_major = text.parse().ok(),
                "GNU.sparse.offset" => pax.sparse_unsupported = true,
                _ => {
                    if let Some(name) = key.strip_prefix(XATTR_PREFIX) {
                        pax.xattrs.push((name.to_owned(), bytes.to_vec()));
                    }
                }
            }
        }
        Ok(pax)
    }
}

/// `1700000000.25`, maybe negative; digits beyond nanoseconds are cut.
fn parse_time(text: &str) -> Option<(i64, u32)> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = seconds.parse().ok()?;
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    if text.starts_with('-') && nanoseconds > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds));
    }
    Some((seconds, nanoseconds))
}

/// Where the contents are. Errors carry no detail: the caller names the entry.
fn content(file: &File, entry: &tar::Entry<'_, File>, pax: &Pax) -> io::Result<FileContent> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let start = entry.raw_file_position();
    let (size_bytes, map, data_start) = if let Some(gnu) = sparse_header(entry.header()) {
        let (map, data_start) = gnu_map(file, gnu, start)?;
        (entry.size(), map, data_start)
    } else if pax.sparse_unsupported {
        return Err(malformed());
    } else if pax.sparse_major == Some(1) {
        let (map, data_start) = pax_map(file, start, entry.size())?;
        (pax.sparse_size.ok_or_else(malformed)?, map, data_start)
    } else if let Some(map) = &pax.sparse_map {
        let numbers: Vec<u64> =
            map.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| malformed())?;
        (pax.sparse_size.ok_or_else(malformed)?, pairs(&numbers)?, start)
    } else {
        let len = entry.size();
        let whole = Segment { file_offset: 0, tar_offset: start, len };
        return Ok(FileContent {
            layer: 0,
            size_bytes: len,
            segments: if len == 0 { Vec::new() } else { vec![whole] },
        });
    };
    let mut segments = Vec::with_capacity(map.len());
    let (mut tar_offset, mut end) = (data_start, 0);
    for (file_offset, len) in map.into_iter().filter(|(_, len)| *len > 0) {
        if file_offset < end {
            return Err(malformed());
        }
        end = file_offset.checked_add(len).ok_or_else(malformed)?;
        segments.push(Segment { file_offset, tar_offset, len });
        tar_offset = tar_offset.checked_add(len).ok_or_else(malformed)?;
    }
    if end > size_bytes { Err(malformed()) } else { Ok(FileContent { layer: 0, size_bytes, segments }) }
}

/// Offsets and lengths of the runs of data in a sparse file.
type SparseMap = Vec<(u64, u64)>;

fn sparse_header(header: &Header) -> Option<&GnuHeader> {
    header.as_gnu().filter(|_| header.entry_type().is_gnu_sparse())
}

/// The map of an old GNU sparse file, which may go on in blocks before the contents; and where the contents begin.
fn gnu_map(file: &File, header: &GnuHeader, start: u64) -> io::Result<(SparseMap, u64)> {
    let mut map = Vec::new();
    let mut add = |blocks: &[GnuSparseHeader]| -> io::Result<bool> {
        for block in blocks.iter().filter(|block| !block.is_empty()) {
            map.push((block.offset()?, block.length()?));
        }
        Ok(map.len() <= SEGMENTS_MAX)
    };
    let mut within_bounds = add(&header.sparse)?;
    let (mut position, mut extended) = (start, header.is_extended());
    while extended && within_bounds {
        let mut block = GnuExtSparseHeader::new();
        file.read_exact_at(block.as_mut_bytes(), position)?;
        position += BLOCK_LEN;
        within_bounds = add(block.sparse())?;
        extended = block.is_extended();
    }
    if within_bounds { Ok((map, position)) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// The map of a PAX 1.0 sparse file: decimal numbers, one a line, in whole blocks before the contents.
fn pax_map(file: &File, start: u64, entry_len: u64) -> io::Result<(SparseMap, u64)> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let (mut numbers, mut number, mut position) = (Vec::new(), None::<u64>, start);
    loop {
        if position >= start.saturating_add(entry_len) {
            return Err(malformed());
        }
        let mut block = [0; BLOCK_LEN as usize];
        file.read_exact_at(&mut block, position)?;
        position += BLOCK_LEN;
        for byte in block {
            match byte {
                b'0'..=b'9' => {
                    let digit = u64::from(byte - b'0');
                    let grown =
                        number.unwrap_or(0).checked_mul(10).and_then(|value| value.checked_add(digit));
                    number = Some(grown.ok_or_else(malformed)?);
                }
                b'\n' => numbers.push(number.take().ok_or_else(malformed)?),
                _ => return Err(malformed()),
            }
            let count = numbers.first().copied().unwrap_or(u64::MAX);
            if numbers.len() > 2 * SEGMENTS_MAX {
                return Err(malformed());
            }
            if count.checked_mul(2).is_some_and(|expected| expected + 1 == numbers.len() as u64) {
                return Ok((pairs(&numbers[1..])?, position));
            }
        }
    }
}

fn pairs(numbers: &[u64]) -> io::Result<SparseMap> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    if rest.is_empty() && pairs.len() <= SEGMENTS_MAX {
        Ok(pairs.iter().map(|[offset, len]| (*offset, *len)).collect())
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

#[cfg(test)]
#[path = "tar_source_tests.rs"]
mod tests;
