//! The tar inside a bundle, as a stream and strictly: regular files only, sparse ones in PAX format 1.0.

use std::io::{self, Read};

use banger_host::sparse::{DataRun, RUNS_MAX};
use banger_tar::pax::{decimal, records};
use banger_tar::sparse::DecimalMap;
use banger_tar::{BLOCK_LEN, Header, Reading, padding};

use super::BundleError;
use super::manifest::printable;

/// Longest PAX header accepted, in bytes.
const PAX_MAX_LEN: u64 = 64 << 10;

/// How many zeros may follow the end mark: writers fill whole records of 10 KiB.
const PADDING_MAX_LEN: usize = 1 << 20;

/// A tar archive that is read once, from its beginning.
pub(super) struct TarStream<R> {
    input: R,
}

/// The beginning of a file in it; its data follows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    /// Its length, holes included.
    pub(super) size_bytes: u64,
    /// Where its data goes, in order.
    pub(super) runs: Vec<DataRun>,
    pub(super) is_sparse: bool,
}

impl Entry {
    /// How much data follows.
    pub(super) fn data_bytes(&self) -> u64 {
        self.runs.iter().fold(0, |sum, run| sum.saturating_add(run.len))
    }
}

/// What a PAX header says that matters here.
#[derive(Debug, Default)]
struct Pax {
    path: Option<String>,
    size: Option<u64>,
    sparse_version: (Option<u64>, Option<u64>),
    sparse_name: Option<String>,
    sparse_size: Option<u64>,
}

impl<R: Read> TarStream<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input }
    }

    /// The next file; none at the end mark.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, BundleError> {
        let mut pax = None;
        loop {
            let block = self.block()?;
            if block.iter().all(|byte| *byte == 0) {
                return if pax.is_none() {
                    self.end()
                } else {
                    Err(BundleError::NoBundle("its archive is malformed"))
                };
            }
            let header = Header::parse(&block, Reading::Strict);
            let sized = header.and_then(|header| Some((header.size()?, header)));
            let (len, header) = sized.ok_or(BundleError::NoBundle("its archive is malformed"))?;
            let name = printable(&String::from_utf8_lossy(&header.path()));
            match header.kind() {
                b'x' if pax.is_none() && len <= PAX_MAX_LEN => pax = Some(self.pax(len, &name)?),
                b'0' | 0 => return self.file(name, len, pax.unwrap_or_default()).map(Some),
                other => return Err(BundleError::Entry { name, problem: problem_of(other) }),
            }
        }
    }

    fn file(&mut self, name: String, len: u64, pax: Pax) -> Result<Entry, BundleError> {
        let len = pax.size.unwrap_or(len);
        let (name, size_bytes, runs, is_sparse) = match pax.sparse_version {
            (None, None) => {
                let run = (len > 0).then_some(DataRun { offset: 0, len });
                (pax.path.unwrap_or(name), len, run.into_iter().collect(), false)
            }
            (Some(1), Some(0)) => {
                let problem = |problem| BundleError::Entry { name: name.clone(), problem };
                let size_bytes =
                    pax.sparse_size.ok_or_else(|| problem("is sparse, and does not say how long it is"))?;
                let sparse_name = pax.sparse_name.ok_or_else(|| problem("is sparse, and has no name"))?;
                let (map_len, runs) = self.map(&sparse_name, len, size_bytes)?;
                let stored: u64 = runs.iter().map(|run| run.len).sum();
                if map_len.checked_add(stored) != Some(len) {
                    return Err(problem("has another length than its map of data"));
                }
                (sparse_name, size_bytes, runs, true)
            }
            _ => {
                return Err(BundleError::Entry { name, problem: "is sparse in another way than format 1.0" });
            }
        };
        let name = name.strip_prefix("./").map(str::to_owned).unwrap_or(name);
        Ok(Entry { name, size_bytes, runs, is_sparse })
    }

    /// The map of a sparse file: how many runs, then offset and length of each, one number a line, in whole
    /// blocks. Answers its own length as well.
    fn map(&mut self, name: &str, len: u64, size_bytes: u64) -> Result<(u64, Vec<DataRun>), BundleError> {
        let wrong = || BundleError::Entry { name: name.into(), problem: "has a malformed map of its data" };
        let (mut reader, mut map_len) = (DecimalMap::new(RUNS_MAX), 0);
        let map = loop {
            map_len += BLOCK_LEN as u64;
            if map_len > len {
                return Err(wrong());
            }
            match reader.block(&self.block()?).ok_or_else(wrong)? {
                Some((map, rest)) if rest.iter().all(|byte| *byte == 0) => break map,
                Some(_) => return Err(wrong()),
                None => {}
            }
        };
        let (mut runs, mut end) = (Vec::new(), 0);
        for (offset, len) in map {
            if offset < end {
                return Err(wrong());
            }
            end = offset.checked_add(len).filter(|end| *end <= size_bytes).ok_or_else(wrong)?;
            if len > 0 {
                runs.push(DataRun { offset, len });
            }
        }
        Ok((map_len, runs))
    }

    fn pax(&mut self, len: u64, name: &str) -> Result<Pax, BundleError> {
        let mut bytes = vec![0; len as usize];
        self.fill(&mut bytes)?;
        self.skip_padding(len)?;
        let malformed = || BundleError::Entry { name: name.into(), problem: "has a malformed PAX header" };
        let mut pax = Pax::default();
        for record in records(&bytes) {
            let (key, value) = record.ok_or_else(malformed)?;
            let text = || std::str::from_utf8(value).map(printable).map_err(|_| malformed());
            let number = || decimal(value).map(Some).ok_or_else(malformed);
            match key {
                b"path" => pax.path = Some(text()?),
                b"size" => pax.size = number()?,
                b"GNU.sparse.major" => pax.sparse_version.0 = number()?,
                b"GNU.sparse.minor" => pax.sparse_version.1 = number()?,
                b"GNU.sparse.name" => pax.sparse_name = Some(text()?),
                b"GNU.sparse.realsize" => pax.sparse_size = number()?,
                // Of older sparse formats, which put the map elsewhere.
                key if key.starts_with(b"GNU.sparse.") => pax.sparse_version = (Some(0), None),
                // Times, owners and the like do not matter.
                _ => {}
            }
        }
        Ok(pax)
    }

    /// Reads the data of a file that [`Self::next`] has begun, as much as fits.
    pub(super) fn data(&mut self, buffer: &mut [u8]) -> Result<(), BundleError> {
        self.fill(buffer)
    }

    /// Reads what fills the last block after `len` bytes of data.
    pub(super) fn skip_padding(&mut self, len: u64) -> Result<(), BundleError> {
        self.fill(&mut [0; BLOCK_LEN][..padding(len) as usize])
    }

    /// After the first block of zeros: another one, and nothing but zeros behind.
    fn end(&mut self) -> Result<Option<Entry>, BundleError> {
        if self.block()?.iter().any(|byte| *byte != 0) {
            return Err(BundleError::NoBundle("its archive is malformed"));
        }
        let (mut buffer, mut total) = ([0; 8192], 0);
        loop {
            let read = match self.input.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // A first frame that is whole, and then something that is none.
                Err(_) => return Err(BundleError::Trailing),
            };
            total += read;
            if total > PADDING_MAX_LEN || buffer[..read].iter().any(|byte| *byte != 0) {
                return Err(BundleError::Trailing);
            }
        }
    }

    fn block(&mut self) -> Result<[u8; BLOCK_LEN], BundleError> {
        let mut block = [0; BLOCK_LEN];
        self.fill(&mut block)?;
        Ok(block)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), BundleError> {
        self.input.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => BundleError::CutOff,
            _ => BundleError::Damaged(error),
        })
    }
}

fn problem_of(kind: u8) -> &'static str {
    match kind {
        b'1' => "is a hard link",
        b'2' => "is a symlink",
        b'3' | b'4' => "is a device",
        b'5' => "is a directory",
        b'6' => "is a FIFO",
        b'S' => "is sparse in GNU's old way: make it with --format=posix",
        b'x' => "has more than one PAX header, or one that is too long",
        _ => "is of a type that has no business in a bundle",
    }
}

#[cfg(test)]
#[path = "tar_stream_tests.rs"]
mod tests;
