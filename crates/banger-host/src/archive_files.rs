//! The files of an archive of container images, in a tar file or a directory, by their names. Nothing is
//! unpacked: a tar file is read where its files lie in it.
//!
//! A tar file is foreign: names and links lead nowhere but to its own entries, and there is a bound on how
//! many of these are kept. A directory is the user's own: there links are followed (some builders make
//! layouts of nothing else).

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::archive_marks::Marks;
use crate::layer::source::read_at;
use crate::tar_source::{
    FileContent, Segment, TarEntry, TarError, TarKind, normal_path, printable, read_entries,
};

/// Bounds on memory. Docker has 127 layers an image at most, and three files for each.
const ENTRIES_MAX: usize = 1 << 16;
const SEGMENTS_MAX: usize = 1 << 20;

/// How many links lead to a file at most.
const LINKS_MAX: usize = 16;

/// What is looked at of a manifest to tell whether it is one.
const MANIFEST_MAX: u64 = 4 << 20;

/// How often is asked whether to go on.
const ENTRIES_PER_REPORT: usize = 1 << 12;

/// Why a file of an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveFileError {
    #[error(transparent)]
    Tar(#[from] TarError),
    #[error("it is {what}, not a file")]
    NoFile { what: &'static str },
    #[error("its links lead nowhere")]
    Links,
    #[error("it has {len} bytes, more than the {limit} that are read of such a thing")]
    TooLarge { len: u64, limit: u64 },
    #[error("could not read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
}

/// An archive of container images.
#[derive(Debug)]
pub struct ArchiveFiles(Place);

#[derive(Debug)]
enum Place {
    Tar { path: PathBuf, top: Vec<u8>, entries: HashMap<Vec<u8>, Entry> },
    Directory(PathBuf),
}

#[derive(Debug)]
enum Entry {
    File(FileContent),
    /// Where it may lead, the likeliest first.
    Link(Vec<Vec<u8>>),
    Other(&'static str),
}

/// A file in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedFile {
    /// The tar file that it is in, or itself.
    pub path: PathBuf,
    pub content: FileContent,
}

impl ArchiveFiles {
    /// Looks what is in a tar file. None: anything but images.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or `go_on` says no.
    pub fn in_tar(
        path: &Path,
        mut go_on: impl FnMut() -> ControlFlow<()>,
    ) -> Result<Option<Self>, ArchiveFileError> {
        let (mut marks, mut entries, mut segments, mut count) =
            (Marks::default(), HashMap::new(), 0, 0_usize);
        let mut too_many = None;
        let read = read_entries(path, |entry| {
            count += 1;
            if count.is_multiple_of(ENTRIES_PER_REPORT) && go_on().is_break() {
                return Err(TarError::Cancelled);
            }
            marks.see(&entry.path, !matches!(entry.kind, TarKind::Directory));
            if entries.len() >= ENTRIES_MAX || segments > SEGMENTS_MAX {
                let (name, what, max) = (printable(&entry.path), "file", ENTRIES_MAX);
                too_many.get_or_insert(TarError::TooMany { name, what, max });
                return Ok(());
            }
            segments += if let TarKind::File(content) = &entry.kind { content.segments.len() } else { 0 };
            if let Some((name, entry)) = kept(entry) {
                entries.insert(name, entry);
            }
            Ok(())
        });
        let is_list = |files: &Self| {
            let manifest = files.read("manifest.json", MANIFEST_MAX).ok().flatten().unwrap_or_default();
            let text = String::from_utf8_lossy(&manifest);
            text.trim_start().starts_with('[') && text.contains("\"Layers\"") && text.contains("\"Config\"")
        };
        let images = marks.images();
        let files =
            Self(Place::Tar { path: path.to_owned(), top: images.clone().unwrap_or_default(), entries });
        if images.is_none() && !(marks.may_have_manifest() && is_list(&files)) {
            // What else is wrong with it is found by whoever reads it next.
            return match read {
                Err(error @ TarError::Cancelled) => Err(error.into()),
                _ => Ok(None),
            };
        }
        read?;
        too_many.map_or(Ok(Some(files)), |error| Err(error.into()))
    }

    /// The images in a directory. None: there are none.
    #[must_use]
    pub fn in_directory(path: &Path) -> Option<Self> {
        let has = |name: &str| path.join(name).exists();
        let is_archive = ["oci-layout", "index.json", "manifest.json", "blobs/sha256"].into_iter().any(has);
        is_archive.then(|| Self(Place::Directory(path.to_owned())))
    }

    /// A small file. None: it is not there.
    ///
    /// # Errors
    ///
    /// When it is no file, cannot be read, or is longer than `limit` bytes.
    pub fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, ArchiveFileError> {
        let Some(ArchivedFile { path, content }) = self.find(name)? else { return Ok(None) };
        let len = content.size_bytes;
        if len > limit {
            return Err(ArchiveFileError::TooLarge { len, limit });
        }
        let failed = |source| ArchiveFileError::Read { path: path.clone(), source };
        let file = File::open(&path).map_err(failed)?;
        let (mut bytes, mut done) = (vec![0; len as usize], 0);
        while done < bytes.len() {
            match read_at(&file, &content, done as u64, &mut bytes[done..]).map_err(failed)? {
                0 => return Err(failed(io::ErrorKind::UnexpectedEof.into())),
                more => done += more,
            }
        }
        Ok(Some(bytes))
    }

    /// Where a file lies. None: it is not there.
    ///
    /// # Errors
    ///
    /// When it is no file, or is a link that leads to none.
    pub fn find(&self, name: &str) -> Result<Option<ArchivedFile>, ArchiveFileError> {
        let name = normal_path(name.as_bytes())?;
        match &self.0 {
            Place::Directory(directory) => find_on_disk(directory, &name),
            Place::Tar { path, top, entries } => {
                let name = if top.is_empty() { name } else { [top, &b"/"[..], &name].concat() };
                let content = find_in(entries, name)?;
                Ok(content.map(|content| ArchivedFile { path: path.clone(), content: content.clone() }))
            }
        }
    }
}

/// What is kept of an entry, under its name. Directories are made by their content.
fn kept(entry: TarEntry) -> Option<(Vec<u8>, Entry)> {
    let TarEntry { path, kind, .. } = entry;
    let kept = match kind {
        TarKind::Directory => return None,
        TarKind::File(content) => Entry::File(content),
        TarKind::HardLink { target } => Entry::Link(vec![target]),
        TarKind::Symlink { target } => {
            let parent = path.iter().rposition(|byte| *byte == b'/').map_or(&b""[..], |at| &path[..at]);
            let from_here =
                if target.starts_with(b"/") { target.clone() } else { [parent, b"/", &target].concat() };
            // Some programs write them as seen from the root.
            let targets = [from_here, target].into_iter().filter_map(|target| normal_path(&target).ok());
            Entry::Link(targets.filter(|target| *target != path).collect())
        }
        TarKind::CharDevice { .. } | TarKind::BlockDevice { .. } => Entry::Other("a device"),
        TarKind::Fifo => Entry::Other("a pipe"),
    };
    Some((path, kept))
}

fn find_in(
    entries: &HashMap<Vec<u8>, Entry>,
    mut name: Vec<u8>,
) -> Result<Option<&FileContent>, ArchiveFileError> {
    for _ in 0..LINKS_MAX {
        match entries.get(&name) {
            None => return Ok(None),
            Some(Entry::File(content)) => return Ok(Some(content)),
            Some(Entry::Other(what)) => return Err(ArchiveFileError::NoFile { what }),
            Some(Entry::Link(targets)) => {
                let there = targets.iter().find(|target| entries.contains_key(*target));
                name = there.ok_or(ArchiveFileError::Links)?.clone();
            }
        }
    }
    Err(ArchiveFileError::Links)
}

fn find_on_disk(directory: &Path, name: &[u8]) -> Result<Option<ArchivedFile>, ArchiveFileError> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = directory.join(std::ffi::OsStr::from_bytes(name));
    let failed = |source| ArchiveFileError::Read { path: path.clone(), source };
    // Opening a pipe would wait for a writer.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(&path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(ArchiveFileError::Links);
        }
        file => file.map_err(failed)?,
    };
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        let what = if meta.is_dir() { "a directory" } else { "something else" };
        return Err(ArchiveFileError::NoFile { what });
    }
    let len = meta.len();
    let whole = Segment { file_offset: 0, tar_offset: 0, len };
    let segments = if len == 0 { Vec::new() } else { vec![whole] };
    Ok(Some(ArchivedFile { path, content: FileContent { size_bytes: len, segments } }))
}

#[cfg(test)]
#[path = "archive_files_tests.rs"]
mod tests;
