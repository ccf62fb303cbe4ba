use std::fs::File;
use std::io::{self, BufWriter, Seek as _, Write};
use std::ops::ControlFlow;

use banger_host::sparse::{DataRun, data_runs};
use banger_host::tar_writer::{EntryMeta, TarWriter};
use sha2::{Digest as _, Sha256};

use super::BundleError;
use super::manifest::{BundleFile, Details, MANIFEST, Manifest, files_of};
use crate::checksum::sha256_file;

/// A bundle is made once and fetched often. On the golden image 9 needs five times as long as 3 and saves a
/// tenth; 12 twice as long again, and saves nothing worth it.
const LEVEL: i32 = 9;

/// Buffered before it goes to the file, in bytes.
const BUFFER_LEN: usize = 1 << 20;

const FILE_META: EntryMeta = EntryMeta { mode: 0o444, mtime_s: 0 };

/// One of the files that are to be put into a bundle.
struct Part {
    file: File,
    described: BundleFile,
    /// None for a file without holes.
    runs: Option<Vec<DataRun>>,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) size_bytes: u64,
    pub(super) sha256: String,
}

/// Writes a bundle of `files`, opened in the order that the kind has them in; `progress` is told how many
/// bytes of data are done, and of how many, and may ask to stop. The same files give the same bundle.
///
/// # Errors
///
/// When one cannot be read or the bundle not be written.
pub(super) fn write(
    out: &File,
    name: &str,
    details: Details,
    files: Vec<File>,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<Written, BundleError> {
    let kind = details.kind();
    let names = files_of(kind).iter().map(|(name, _)| *name);
    let parts: Vec<Part> = names
        .zip(files)
        .map(|(name, file)| describe(name, file))
        .collect::<io::Result<_>>()
        .map_err(BundleError::Read)?;
    let described = parts.iter().map(|part| part.described.clone()).collect();
    let manifest = Manifest::new(name, details, described);
    let written = write_parts(out, &manifest, &parts, progress);
    written.map_err(|error| match error.kind() {
        // What `progress` asked for.
        io::ErrorKind::Interrupted => BundleError::Cancelled,
        _ => BundleError::Write { name: "the bundle".into(), source: error },
    })
}

fn describe(name: &str, file: File) -> io::Result<Part> {
    let size_bytes = file.metadata()?.len();
    let runs = data_runs(&file, size_bytes)?;
    let data_bytes: u64 = runs.iter().map(|run| run.len).sum();
    let runs = (data_bytes < size_bytes).then_some(runs);
    let sha256 = match runs {
        Some(_) => None,
        None => {
            // Looking for holes has moved it.
            let mut whole = file.try_clone()?;
            whole.rewind()?;
            Some(sha256_file(whole)?)
        }
    };
    let described = BundleFile { name: name.into(), size_bytes, data_bytes, sha256 };
    Ok(Part { file, described, runs })
}

fn write_parts(
    out: &File,
    manifest: &Manifest,
    parts: &[Part],
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> io::Result<Written> {
    let (mut done, total) = (0, manifest.data_bytes());
    let mut on_progress = |more: u64| {
        done += more;
        if progress(done, total).is_break() { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    };
    let hashed = Hashed { out: BufWriter::with_capacity(BUFFER_LEN, out), hash: Sha256::new(), len: 0 };
    let mut encoder = zstd::Encoder::new(hashed, LEVEL)?;
    encoder.include_checksum(true)?;
    encoder.multithread(banger_host::system::cpu_count())?;
    let mut tar = TarWriter::new(encoder);
    let text = serde_json::to_vec_pretty(manifest)?;
    tar.file(MANIFEST.as_bytes(), FILE_META, text.len() as u64, &mut &text[..])?;
    for part in parts {
        let (name, len) = (&part.described.name, part.described.size_bytes);
        match &part.runs {
            Some(runs) => tar.sparse_file(name, FILE_META, (&part.file, len), runs, &mut on_progress)?,
            None => tar.plain_file(name, FILE_META, (&part.file, len), &mut on_progress)?,
        }
    }
    let mut hashed = tar.finish()?.finish()?;
    hashed.out.flush()?;
    Ok(Written { size_bytes: hashed.len, sha256: hex::encode(hashed.hash.finalize()) })
}

/// Knows what went through it.
struct Hashed<W> {
    out: W,
    hash: Sha256,
    len: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
