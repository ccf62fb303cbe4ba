//! Tar files made into an ext4 image, in this process, without root, mounts or an unpacked tree in between.
//!
//! Two passes: the first reads the headers into a [`FileTree`] and decides where everything goes, the second
//! copies the contents there. Nothing is written twice, and besides the tree nothing is kept in memory that
//! grows with the image. The forms of what lies on disk, checksums and hashes are `mkext4`'s; its own builder
//! is not used: it knows only names in UTF-8, and takes close to a kilobyte of memory a file.

mod attributes;
mod directory;
mod disk;
mod extents;
mod groups;
mod inode;
mod plan;
mod space;
mod writer;

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use disk::Fault;
use plan::Plan;
use space::{Geometry, journal_blocks};
use writer::{ImageSource, ImageWriter, WriteFailure};

use crate::file_tree::{FileTree, FrozenTree};
use crate::layer_merge::add_layer;
use crate::system::free_disk_bytes;
use crate::tar_source::{TarEntry, TarError, TarKind, read_entries};

/// One inode per so many bytes, as mke2fs has it.
const BYTES_PER_INODE: u64 = 16 * 1024;
/// However small an image is: an inode for every so many bytes, and what it needs.
const BYTES_PER_INODE_MIN: u64 = 8 * 1024;

/// A group has an inode for every block at most; with something to spare for the last one.
const BYTES_PER_INODE_LEAST: u64 = 5 * 1024;
const INODE_LEN: u64 = 256;

/// Inodes for what the guest will create, on top of one per entry.
const SPARE_INODES: u64 = 64 * 1024;
const SPARE_INODES_TIGHT: u64 = 64;

/// Inodes that are the filesystem's own.
const RESERVED_INODES: u64 = 10;

/// Free space on top of a quarter of the content.
const HEADROOM_BYTES: u64 = 512 << 20;

/// The journal of an image that is only read.
const JOURNAL_BLOCKS_TIGHT: u64 = 1024;

/// Each is held open while the image is written. Container tools stop at 127.
const LAYERS_MAX: usize = 500;

/// How often a build is asked whether to go on while it reads headers.
const ENTRIES_PER_REPORT: usize = 4096;

/// Why no image could be made.
#[derive(Debug, thiserror::Error)]
pub enum Ext4Error {
    #[error("the archive cannot be made into an image")]
    Tar(#[source] TarError),
    #[error("could not write the image {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "the disk that holds {} is full: the image needs {} MiB, {} MiB are free",
        path.display(), needed_bytes.div_ceil(1 << 20), free_bytes >> 20
    )]
    NoSpace { path: PathBuf, needed_bytes: u64, free_bytes: u64 },
    #[error("{} MiB are too small for the image's {} MiB of content", size_bytes >> 20, content_bytes >> 20)]
    TooSmall { size_bytes: u64, content_bytes: u64 },
    #[error("an ext4 filesystem cannot have {} MiB and {inodes} files", size_bytes >> 20)]
    Size { size_bytes: u64, inodes: u64 },
    #[error("the archive's entry {path:?} does not fit into an ext4 filesystem: {reason}")]
    Entry { path: String, reason: &'static str },
    #[error("the label {label:?} is longer than 16 bytes")]
    Label { label: String },
    #[error("the image has {count} layers; banger takes {LAYERS_MAX}")]
    TooManyLayers { count: usize },
    #[error("the image build was cancelled")]
    Cancelled,
}

impl From<TarError> for Ext4Error {
    fn from(error: TarError) -> Self {
        match error {
            TarError::Cancelled => Self::Cancelled,
            error => Self::Tar(error),
        }
    }
}

/// How large an image becomes, free space included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageSize {
    /// Exactly so large.
    Fixed { bytes: u64 },
    /// At least so large, and never less than the content, a quarter of it and 512 MiB.
    Headroom { min_bytes: u64 },
    /// As small as it safely can be, for images that are only read.
    Tight,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ext4Options {
    pub size: ImageSize,
    /// At most 16 bytes.
    pub label: String,
    pub uuid: [u8; 16],
}

/// What was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ext4Summary {
    /// The image's length; it is sparse, so it occupies about `content_bytes`.
    pub image_bytes: u64,
    /// What all files hold together.
    pub content_bytes: u64,
    /// Files, directories and other things.
    pub entries: u64,
    /// What was left out and does not matter much, for people.
    pub notices: Vec<String>,
}

/// Told how many bytes of content are done, and of how many. It may ask to stop. While the archives' headers
/// are read, nothing is done and the number is a guess.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>;

/// Makes the image `image` (which must not exist) of everything in `tar`. The same input gives the same
/// bytes.
///
/// # Errors
///
/// When the archive is malformed or holds what ext4 cannot, when the disk is full, or when `progress` asks to
/// stop. No file is left then.
pub fn tar_to_ext4(
    tar: &Path,
    image: &Path,
    options: &Ext4Options,
    progress: Progress<'_>,
) -> Result<Ext4Summary, Ext4Error> {
    let tars = [tar.to_owned()];
    let mut build = Build::new(&tars, progress)?;
    build.add_tar(tar, |_| true)?;
    build.write(image, options)
}

/// Makes the image `image` (which must not exist) of an OCI image's layers: plain tar files, the lowest
/// first. Later ones remove and replace what is in earlier ones, as the OCI image specification has it.
///
/// # Errors
///
/// As [`tar_to_ext4`].
pub fn layers_to_ext4(
    layers: &[PathBuf],
    image: &Path,
    options: &Ext4Options,
    progress: Progress<'_>,
) -> Result<Ext4Summary, Ext4Error> {
    if layers.len() > LAYERS_MAX {
        return Err(Ext4Error::TooManyLayers { count: layers.len() });
    }
    let mut build = Build::new(layers, progress)?;
    for (number, layer) in (0..).zip(layers) {
        build.add_layer(layer, number)?;
    }
    build.write(image, options)
}

/// Makes a read-only image of a kernel tarball's modules, to be mounted at `/lib/modules`: its paths begin
/// with the release.
///
/// # Errors
///
/// As [`tar_to_ext4`].
pub fn modules_to_ext4(
    tar: &Path,
    image: &Path,
    kernel_release: &str,
    progress: Progress<'_>,
) -> Result<Ext4Summary, Ext4Error> {
    let options =
        Ext4Options { size: ImageSize::Tight, label: "banger-modules".into(), uuid: *b"banger-modules-1" };
    let below_modules = |path: &[u8]| {
        let path = path.strip_prefix(b"usr/").unwrap_or(path).strip_prefix(b"lib/modules/")?;
        let rest = path.strip_prefix(kernel_release.as_bytes())?;
        (rest.is_empty() || rest.starts_with(b"/")).then(|| path.to_vec())
    };
    let tars = [tar.to_owned()];
    let mut build = Build::new(&tars, progress)?;
    build.add_tar(tar, |entry| {
        let Some(path) = below_modules(&entry.path) else { return false };
        entry.path = path;
        if let TarKind::HardLink { target } = &mut entry.kind
            && let Some(path) = below_modules(target)
        {
            *target = path;
        }
        true
    })?;
    build.write(image, &options)
}

/// An image being put together.
struct Build<'a, 'p> {
    tars: &'a [PathBuf],
    /// A guess at the content.
    tar_bytes: u64,
    tree: FileTree,
    entries: usize,
    progress: Progress<'p>,
}

impl<'a, 'p> Build<'a, 'p> {
    fn new(tars: &'a [PathBuf], progress: Progress<'p>) -> Result<Self, Ext4Error> {
        let len = |tar: &PathBuf| {
            let read_error = |source| TarError::Read { path: tar.clone(), source };
            std::fs::metadata(tar).map(|metadata| metadata.len()).map_err(read_error)
        };
        let tar_bytes = tars.iter().map(len).sum::<Result<_, _>>()?;
        Ok(Self { tars, tar_bytes, tree: FileTree::new(), entries: 0, progress })
    }

    /// Whether to go on.
    fn report(&mut self) -> bool {
        self.entries += 1;
        !self.entries.is_multiple_of(ENTRIES_PER_REPORT) || (self.progress)(0, self.tar_bytes).is_continue()
    }

    fn add_tar(
        &mut self,
        tar: &Path,
        mut select: impl FnMut(&mut TarEntry) -> bool,
    ) -> Result<(), Ext4Error> {
        read_entries(tar, |mut entry| {
            if !self.report() {
                return Err(TarError::Cancelled);
            }
            if select(&mut entry) { self.tree.insert(0, entry) } else { Ok(()) }
        })?;
        Ok(self.tree.resolve_links()?)
    }

    fn add_layer(&mut self, layer: &Path, number: u16) -> Result<(), Ext4Error> {
        let mut tree = std::mem::replace(&mut self.tree, FileTree::new());
        add_layer(&mut tree, layer, number, || self.report())?;
        self.tree = tree;
        Ok(())
    }

    fn write(self, image: &Path, options: &Ext4Options) -> Result<Ext4Summary, Ext4Error> {
        if options.label.len() > 16 {
            return Err(Ext4Error::Label { label: options.label.clone() });
        }
        let Self { tars, tree, progress, .. } = self;
        let mut tree = tree.freeze();
        let plan = Plan::new(&mut tree);
        let image_bytes = image_size(options.size, &plan)?;
        let open =
            |tar: &PathBuf| File::open(tar).map_err(|source| TarError::Read { path: tar.clone(), source });
        let layers: Vec<File> = tars.iter().map(open).collect::<Result<_, _>>()?;
        let target = Target { tars, tree: &tree, plan: &plan, image, image_bytes };
        let notices = target.write(&layers, options, progress)?;
        Ok(Ext4Summary { image_bytes, content_bytes: plan.content_bytes, entries: plan.entries(), notices })
    }
}

fn image_size(size: ImageSize, plan: &Plan) -> Result<u64, Ext4Error> {
    // Tables, bitmaps and the journal come to less than an eighth.
    let stored = plan.stored_bytes;
    let least = stored.saturating_add(stored / 8 + (16 << 20) + plan.entries() * INODE_LEN);
    // Of empty files there can be only so many.
    let least = least.max(plan.entries() * BYTES_PER_INODE_LEAST);
    let bytes = match size {
        ImageSize::Fixed { bytes } => bytes,
        ImageSize::Headroom { min_bytes } => {
            let spacious = least.saturating_add(stored / 8).saturating_add(HEADROOM_BYTES);
            spacious.max(min_bytes)
        }
        ImageSize::Tight => least,
    };
    if bytes < least {
        return Err(Ext4Error::TooSmall { size_bytes: bytes, content_bytes: plan.content_bytes });
    }
    Ok(bytes.checked_next_multiple_of(1 << 20).unwrap_or(u64::MAX))
}

/// An image about to be written.
struct Target<'a> {
    tars: &'a [PathBuf],
    tree: &'a FrozenTree,
    plan: &'a Plan,
    image: &'a Path,
    image_bytes: u64,
}

impl Target<'_> {
    fn write(
        &self,
        layers: &[File],
        options: &Ext4Options,
        progress: Progress<'_>,
    ) -> Result<Vec<String>, Ext4Error> {
        let is_tight = options.size == ImageSize::Tight;
        let (spare, by_size) = if is_tight {
            (SPARE_INODES_TIGHT, 0)
        } else {
            (SPARE_INODES, self.image_bytes / BYTES_PER_INODE)
        };
        let needed = self.plan.entries() + RESERVED_INODES;
        let inodes = (needed + spare).max(by_size).min(self.image_bytes / BYTES_PER_INODE_MIN).max(needed);
        let geometry = Geometry::new(self.image_bytes, inodes);
        let geometry = geometry.ok_or(Ext4Error::Size { size_bytes: self.image_bytes, inodes })?;
        let journal = if is_tight { JOURNAL_BLOCKS_TIGHT } else { journal_blocks(geometry.blocks) };
        let write_error = |source| Ext4Error::Write { path: self.image.to_owned(), source };
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.image)
            .map_err(write_error)?;
        let written = self.check_space().and_then(|()| {
            file.set_len(self.image_bytes).map_err(write_error)?;
            let source = ImageSource { tree: self.tree, plan: self.plan, layers, options };
            let writer = ImageWriter::new(source, &file, &geometry, progress);
            writer.write(journal).map_err(|failure| self.error(failure))
        });
        if written.is_err() {
            // The error to report is the one at hand.
            let _ = std::fs::remove_file(self.image);
        }
        written
    }

    fn check_space(&self) -> Result<(), Ext4Error> {
        let free_bytes = free_disk_bytes(self.image).unwrap_or(u64::MAX);
        if free_bytes >= self.plan.content_bytes {
            return Ok(());
        }
        let needed_bytes = self.plan.stored_bytes;
        Err(Ext4Error::NoSpace { path: self.image.to_owned(), needed_bytes, free_bytes })
    }

    fn error(&self, failure: WriteFailure) -> Ext4Error {
        let path = self.image.to_owned();
        match failure.fault {
            Fault::Write(error)
                if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                let free_bytes = free_disk_bytes(self.image).unwrap_or(0);
                Ext4Error::NoSpace { path, needed_bytes: self.plan.stored_bytes, free_bytes }
            }
            Fault::Write(source) => Ext4Error::Write { path, source },
            Fault::Read { layer, source } => {
                let path = self.tars.get(usize::from(layer)).cloned().unwrap_or_default();
                TarError::Read { path, source }.into()
            }
            Fault::Full => {
                Ext4Error::TooSmall { size_bytes: self.image_bytes, content_bytes: self.plan.content_bytes }
            }
            Fault::Unfit(reason) => {
                let path = failure.entry.map_or_else(String::new, |id| self.plan.path(self.tree, id));
                Ext4Error::Entry { path, reason }
            }
            Fault::Cancelled => Ext4Error::Cancelled,
        }
    }
}
