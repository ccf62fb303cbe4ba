use std::fs::{File, OpenOptions};
use std::io::BufReader;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use banger_host::sparse_copy::{Piece, write_piece};
use banger_host::system::free_disk_bytes;
use sha2::{Digest as _, Sha256};

use super::BundleError;
use super::manifest::{BundleFile, MANIFEST, MANIFEST_MAX_LEN, Manifest};
use super::read::{WINDOW_LOG_MAX, Watched};
use super::tar_stream::{Entry, TarStream};
use crate::artifact::ArtifactError;
use crate::catalog::Kind;

/// How much data is written at once, in bytes.
const CHUNK: usize = 1 << 20;

/// How much of a file is looked at to tell whether it is a bundle: two blocks of zstd.
const HEAD_LEN: usize = 256 << 10;

/// What is known of a bundle before it is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected<'a> {
    pub(crate) kind: Kind,
    /// Of the whole file, in hex.
    pub(crate) sha256: Option<&'a str>,
    pub(crate) size_bytes: Option<u64>,
}

/// What a bundle held. Its files lie where they were unpacked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unpacked {
    pub(crate) manifest: Manifest,
    /// Of the bundle's file, in hex.
    pub(crate) sha256: String,
}

type Decoder<'a, 'p> = zstd::Decoder<'static, BufReader<&'a mut Watched<'p>>>;

/// Is this file a bundle, as far as its beginning tells? Tarballs of root filesystems do not begin with a
/// manifest.
///
/// # Errors
///
/// When it cannot be read.
pub(crate) fn is_bundle(file: &File) -> std::io::Result<bool> {
    let mut head = vec![0; HEAD_LEN];
    let mut len = 0;
    while len < HEAD_LEN {
        match file.read_at(&mut head[len..], len as u64)? {
            0 => break,
            read => len += read,
        }
    }
    let Ok(mut decoder) = zstd::Decoder::new(&head[..len]) else { return Ok(false) };
    let first = decoder.window_log_max(WINDOW_LOG_MAX).map(|()| TarStream::new(decoder).next());
    Ok(matches!(first, Ok(Ok(Some(entry))) if entry.name == MANIFEST))
}

/// Unpacks the bundle `file` into the directory `dir`, whose later content is the caller's to judge; on
/// failure that of `dir` is worth nothing.
///
/// # Errors
///
/// When it is not what is expected, or no bundle that can be used, or the disk has no room for it.
pub(crate) fn unpack(
    file: File,
    expected: Expected<'_>,
    dir: &Path,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<Unpacked, ArtifactError> {
    let mut input = Watched::new(file, progress)?;
    if let Some(wanted) = expected.size_bytes.filter(|wanted| *wanted != input.len()) {
        return Err(BundleError::Size { found: input.len(), wanted }.into());
    }
    let unpacked = unpack_entries(&mut input, expected.kind, dir);
    if input.is_cancelled() {
        return Err(ArtifactError::Cancelled);
    }
    // What is wrong with a file that is not the right one matters less than that.
    let sha256 = match (&unpacked, expected.sha256) {
        (Err(_), None) => String::new(),
        _ => input.finish()?,
    };
    if let Some(wanted) = expected.sha256.filter(|wanted| *wanted != sha256) {
        return Err(BundleError::Checksum { found: sha256, wanted: wanted.into() }.into());
    }
    Ok(Unpacked { manifest: unpacked?, sha256 })
}

fn unpack_entries(input: &mut Watched<'_>, kind: Kind, dir: &Path) -> Result<Manifest, ArtifactError> {
    let no_zstd = |_| BundleError::NoBundle("it is not compressed with zstd");
    let mut decoder = zstd::Decoder::new(input).map_err(BundleError::Read)?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(BundleError::Read)?;
    let mut tar = TarStream::new(decoder);
    let manifest = match tar.next() {
        Err(BundleError::Damaged(error)) => return Err(no_zstd(error).into()),
        first => read_manifest(&mut tar, first?)?,
    };
    if manifest.kind != kind {
        return Err(BundleError::Kind { found: manifest.kind, wanted: kind }.into());
    }
    let free_bytes = free_disk_bytes(dir)?;
    if manifest.data_bytes() > free_bytes {
        let needed_mib = manifest.data_bytes() >> 20;
        return Err(ArtifactError::NoSpace { path: dir.into(), needed_mib, free_mib: free_bytes >> 20 });
    }
    for file in &manifest.files {
        let entry = tar.next()?.ok_or_else(|| BundleError::Mismatch {
            name: file.name.clone(),
            found: "no entry".into(),
            declared: "that there is one".into(),
        })?;
        check(&entry, file)?;
        write_file(&mut tar, &entry, file, dir)?;
    }
    if let Some(extra) = tar.next()? {
        return Err(BundleError::Entry { name: extra.name, problem: "is not in its manifest" }.into());
    }
    Ok(manifest)
}

fn read_manifest(
    tar: &mut TarStream<Decoder<'_, '_>>,
    first: Option<Entry>,
) -> Result<Manifest, BundleError> {
    let entry = first.ok_or(BundleError::NoBundle("it is empty"))?;
    if entry.name != MANIFEST || entry.is_sparse {
        return Err(BundleError::NoBundle("its first entry is not manifest.json"));
    }
    if entry.size_bytes > MANIFEST_MAX_LEN {
        return Err(BundleError::Manifest(format!("it has more than {} KiB", MANIFEST_MAX_LEN >> 10)));
    }
    let mut bytes = vec![0; entry.size_bytes as usize];
    tar.data(&mut bytes)?;
    tar.skip_padding(entry.size_bytes)?;
    Manifest::parse(&bytes)
}

/// Is an entry what the manifest promises?
fn check(entry: &Entry, file: &BundleFile) -> Result<(), BundleError> {
    if entry.name != file.name {
        return Err(BundleError::Entry {
            name: entry.name.clone(),
            problem: "is not the next one of its manifest",
        });
    }
    let differs = |found: u64, declared: u64, what: &str| BundleError::Mismatch {
        name: file.name.clone(),
        found: format!("{found} {what}"),
        declared: declared.to_string(),
    };
    if entry.size_bytes != file.size_bytes {
        return Err(differs(entry.size_bytes, file.size_bytes, "bytes"));
    }
    if entry.data_bytes() != file.data_bytes {
        return Err(differs(entry.data_bytes(), file.data_bytes, "bytes of data"));
    }
    Ok(())
}

fn write_file(
    tar: &mut TarStream<Decoder<'_, '_>>,
    entry: &Entry,
    described: &BundleFile,
    dir: &Path,
) -> Result<(), BundleError> {
    let name = &described.name;
    let failed = |source| BundleError::Write { name: name.clone(), source };
    // One of the names that its kind has.
    let path = dir.join(name);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
    file.set_len(entry.size_bytes).map_err(failed)?;
    let (mut buffer, mut hash) = (vec![0; CHUNK], described.sha256.as_ref().map(|_| Sha256::new()));
    for run in &entry.runs {
        let mut position = run.offset;
        while position < run.end() {
            let len = CHUNK.min(usize::try_from(run.end() - position).unwrap_or(CHUNK));
            let chunk = &mut buffer[..len];
            tar.data(chunk)?;
            if let Some(hash) = &mut hash {
                hash.update(&*chunk);
            }
            write_piece(&file, position, Piece::Data(chunk)).map_err(failed)?;
            position += len as u64;
        }
    }
    tar.skip_padding(entry.data_bytes())?;
    if let (Some(hash), Some(declared)) = (hash, &described.sha256) {
        let found = hex::encode(hash.finalize());
        if found != *declared {
            let found = format!("the SHA-256 {found}");
            return Err(BundleError::Mismatch { name: name.clone(), found, declared: declared.clone() });
        }
    }
    file.set_permissions(std::fs::Permissions::from_mode(0o444)).map_err(failed)
}
