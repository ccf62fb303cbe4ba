//! A tar file made into an ext4 image, in this process, without root, mounts or an unpacked tree in between.
//!
//! Two passes: the first reads the headers and decides where everything goes, the second copies the contents there.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use mkext4::{FsBuilder, InodeCount, InodeHandle, Layout, Meta, Options, SpecialKind};

use crate::file_content::{BLOCK_LEN, ContentReader, SparseSink, sparse_segments};
use crate::file_tree::{FileTree, NodeId, NodeKind, ROOT};
use crate::system::free_disk_bytes;
use crate::tar_source::{Attributes, TarError, TarKind, read_entries};
use crate::xattr::{on_disk_value, storable};

/// One inode per so many bytes, as mke2fs has it.
const BYTES_PER_INODE: u64 = 16 * 1024;

/// Inodes for what the guest will create, on top of one per entry.
const SPARE_INODES: u64 = 64 * 1024;

/// Free space on top of a quarter of the content.
const HEADROOM_BYTES: u64 = 512 << 20;

/// Why no image could be made.
#[derive(Debug, thiserror::Error)]
pub enum Ext4Error {
    #[error("the archive cannot be made into an image")]
    Tar(#[from] TarError),
    #[error("could not write the image {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "the disk that holds {} is full: the image needs {} MiB, {} MiB are free",
        path.display(), needed_bytes.div_ceil(1 << 20), free_bytes >> 20
    )]
    NoSpace { path: PathBuf, needed_bytes: u64, free_bytes: u64 },
    #[error("{} MiB are too small for the image's {} MiB of content", size_bytes >> 20, content_bytes >> 20)]
    TooSmall { size_bytes: u64, content_bytes: u64 },
    #[error("the archive's entry {path:?} does not fit into an ext4 filesystem")]
    Entry { path: String, source: mkext4::Error },
    #[error("could not lay out the image")]
    Layout(#[source] mkext4::Error),
    #[error("the image build was cancelled")]
    Cancelled,
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

/// Told how many bytes of content are done, and of how many. It may ask to stop.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>;

/// Makes the image `image` (which must not exist) of everything in `tar`. The same input gives the same bytes.
///
/// # Errors
///
/// When the archive is malformed or holds what ext4 cannot, when the disk is full, or when `progress` asks to stop. No file is
/// left then.
pub fn tar_to_ext4(
    tar: &Path,
    image: &Path,
    options: &Ext4Options,
    progress: Progress<'_>,
) -> Result<Ext4Summary, Ext4Error> {
    build(&[tar.to_owned()], image, options, &|path| Some(path.to_owned()), progress)
}

/// Makes the image `image` (which must not exist) of an OCI image's layers: plain tar files, the lowest first.
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
    build(layers, image, options, &|path| Some(path.to_owned()), progress)
}

/// Makes a read-only image of a kernel tarball's modules, to be mounted at `/lib/modules`: its paths begin with the release.
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
    let select = |path: &str| {
        let path = path.strip_prefix("usr/").unwrap_or(path).strip_prefix("lib/modules/")?;
        let wanted =
            path.strip_prefix(kernel_release).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        wanted.then(|| path.to_owned())
    };
    build(&[tar.to_owned()], image, &options, &select, progress)
}

/// What path an entry has in the image, if any.
type Select<'a> = &'a dyn Fn(&str) -> Option<String>;

fn build(
    layers: &[PathBuf],
    image: &Path,
    options: &Ext4Options,
    select: Select<'_>,
    progress: Progress<'_>,
) -> Result<Ext4Summary, Ext4Error> {
    let mut tree = FileTree::new();
    let mut newest = 0;
    for (index, tar) in layers.iter().enumerate() {
        read_entries(tar, |mut entry| {
            let Some(path) = select(&entry.path) else { return Ok(()) };
            entry.path = path;
            match &mut entry.kind {
                TarKind::HardLink { target } => {
                    *target = select(target).unwrap_or_else(|| std::mem::take(target));
                }
                TarKind::File(content) => content.layer = index,
                _ => {}
            }
            newest = newest.max(entry.attributes.mtime.0);
            tree.insert(entry)
        })?;
        tree.finish()?;
    }
    let mut plan = Plan::default();
    plan.measure(&tree);
    let image_bytes = image_size(options.size, &plan)?;
    let layout = plan.lay_out(&tree, options, image_bytes, newest)?;
    let write_error = |source| Ext4Error::Write { path: image.to_owned(), source };
    let file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(image).map_err(write_error)?;
    let written = file.set_len(image_bytes).map_err(write_error).and_then(|()| {
        let open =
            |tar: &PathBuf| File::open(tar).map_err(|source| TarError::Read { path: tar.to_owned(), source });
        let sources: Vec<File> = layers.iter().map(open).collect::<Result<_, _>>()?;
        plan.write(&tree, &layout, &sources, &file, image, progress)
    });
    if let Err(error) = written {
        // The error to report is the one at hand.
        let _ = std::fs::remove_file(image);
        return Err(error);
    }
    let Plan { content_bytes, entries, notices, .. } = plan;
    Ok(Ext4Summary { image_bytes, content_bytes, entries, notices })
}

fn image_size(size: ImageSize, plan: &Plan) -> Result<u64, Ext4Error> {
    // Inode tables, bitmaps and the journal come to less than an eighth.
    let least = plan.stored_bytes + plan.stored_bytes / 8 + (16 << 20);
    let bytes = match size {
        ImageSize::Fixed { bytes } => bytes,
        ImageSize::Headroom { min_bytes } => min_bytes
            .max(plan.stored_bytes.saturating_add(plan.stored_bytes / 4).saturating_add(HEADROOM_BYTES)),
        ImageSize::Tight => least + plan.entries * 256,
    };
    if bytes < least {
        return Err(Ext4Error::TooSmall { size_bytes: bytes, content_bytes: plan.content_bytes });
    }
    Ok(bytes.next_multiple_of(1 << 20))
}

/// What goes into the image, in the order in which it is written.
#[derive(Default)]
struct Plan {
    files: Vec<(InodeHandle, NodeId, String)>,
    content_bytes: u64,
    /// Content in whole blocks, and what names and targets take.
    stored_bytes: u64,
    entries: u64,
    notices: Vec<String>,
}

impl Plan {
    fn measure(&mut self, tree: &FileTree) {
        let mut seen = vec![false; tree.node_count()];
        let mut todo = vec![ROOT];
        while let Some(id) = todo.pop() {
            if std::mem::replace(&mut seen[id.index()], true) {
                continue;
            }
            self.entries += 1;
            match &tree.node(id).kind {
                NodeKind::Directory(children) => {
                    let names: u64 = children.keys().map(|name| name.len() as u64 + 12).sum();
                    // Hashed directories are at worst half full.
                    self.stored_bytes += (2 * names).next_multiple_of(BLOCK_LEN);
                    todo.extend(children.values());
                }
                NodeKind::File(content) => {
                    let held: u64 = content.segments.iter().map(|segment| segment.len).sum();
                    self.content_bytes += held;
                    self.stored_bytes +=
                        held.next_multiple_of(BLOCK_LEN) + BLOCK_LEN * content.segments.len() as u64;
                }
                _ => self.stored_bytes += BLOCK_LEN,
            }
        }
    }

    fn lay_out(
        &mut self,
        tree: &FileTree,
        options: &Ext4Options,
        image_bytes: u64,
        newest: i64,
    ) -> Result<Layout, Ext4Error> {
        // The superblock's time: the image is as old as its newest file, so that the same archive gives the same image.
        let epoch = newest.clamp(0, i64::from(u32::MAX));
        let mut ext4 = Options::new(image_bytes, options.uuid, epoch);
        ext4.label = Some(options.label.clone());
        ext4.reserved_percent = 0;
        let spare = if options.size == ImageSize::Tight { 64 } else { SPARE_INODES };
        let by_size = if options.size == ImageSize::Tight { 0 } else { image_bytes / BYTES_PER_INODE };
        let inodes = by_size.max(self.entries + spare);
        ext4.inodes = InodeCount::Exact(u32::try_from(inodes).unwrap_or(u32::MAX));
        if options.size == ImageSize::Tight {
            ext4.journal_blocks = Some(1024);
        }
        let mut builder = FsBuilder::new(ext4).map_err(Ext4Error::Layout)?;
        self.declare(tree, &mut builder)?;
        builder.seal().map_err(Ext4Error::Layout)
    }

    /// Depth first and sorted, without recursion: an archive decides how deep it goes.
    fn declare(&mut self, tree: &FileTree, builder: &mut FsBuilder) -> Result<(), Ext4Error> {
        let mut handles: Vec<Option<InodeHandle>> = vec![None; tree.node_count()];
        let entry_error = |path: &str| {
            let path = path.to_owned();
            move |source| Ext4Error::Entry { path, source }
        };
        let root = &tree.node(ROOT).attributes;
        builder.set_meta(mkext4::ROOT, meta(root)).map_err(entry_error("/"))?;
        self.set_xattrs(builder, mkext4::ROOT, root, "/")?;
        let mut todo = vec![(ROOT, mkext4::ROOT, String::new())];
        while let Some((directory, parent, prefix)) = todo.pop() {
            let NodeKind::Directory(children) = &tree.node(directory).kind else { continue };
            let first_subdirectory = todo.len();
            for (name, id) in children {
                let path = format!("{prefix}{name}");
                if let Some(handle) = handles[id.index()] {
                    builder.hardlink(parent, name, handle).map_err(entry_error(&path))?;
                    continue;
                }
                let node = tree.node(*id);
                let handle = declare_node(builder, parent, name, &node.kind, meta(&node.attributes))
                    .map_err(entry_error(&path))?;
                handles[id.index()] = Some(handle);
                self.set_xattrs(builder, handle, &node.attributes, &path)?;
                match &node.kind {
                    NodeKind::Directory(_) => todo.push((*id, handle, path + "/")),
                    NodeKind::File(content) if !content.segments.is_empty() => {
                        self.files.push((handle, *id, path))
                    }
                    _ => {}
                }
            }
            todo[first_subdirectory..].reverse();
        }
        Ok(())
    }

    fn set_xattrs(
        &mut self,
        builder: &mut FsBuilder,
        handle: InodeHandle,
        attributes: &Attributes,
        path: &str,
    ) -> Result<(), Ext4Error> {
        for (name, value) in &attributes.xattrs {
            match on_disk_value(name, value).filter(|_| storable(name)) {
                Some(value) => builder
                    .set_xattr(handle, name, &value)
                    .map_err(|source| Ext4Error::Entry { path: path.to_owned(), source })?,
                None => self.notices.push(format!("{path}: the extended attribute {name} was left out")),
            }
        }
        Ok(())
    }

    fn write(
        &self,
        tree: &FileTree,
        layout: &Layout,
        sources: &[File],
        file: &File,
        image: &Path,
        progress: Progress<'_>,
    ) -> Result<(), Ext4Error> {
        let free_bytes = free_disk_bytes(image).unwrap_or(u64::MAX);
        if free_bytes < self.content_bytes {
            let needed_bytes = self.stored_bytes;
            return Err(Ext4Error::NoSpace { path: image.to_owned(), needed_bytes, free_bytes });
        }
        let mut done = 0;
        let mut report = |added: u64| {
            done += added;
            progress(done, self.content_bytes)
        };
        let mut cancelled = report(0).is_break();
        let mut writer =
            layout.writer(SparseSink(file)).map_err(|error| self.write_error(error, image, ""))?;
        for (handle, id, path) in &self.files {
            let NodeKind::File(content) = &tree.node(*id).kind else { continue };
            let mut reader =
                ContentReader::new(&sources[content.layer], content, &mut report, &mut cancelled);
            let filled = writer.fill(*handle, &mut reader);
            if cancelled {
                return Err(Ext4Error::Cancelled);
            }
            filled.map_err(|error| self.write_error(error, image, path))?;
        }
        writer.finish().map(drop).map_err(|error| self.write_error(error, image, ""))
    }

    fn write_error(&self, error: mkext4::Error, image: &Path, path: &str) -> Ext4Error {
        match error {
            mkext4::Error::Io(error) if error.kind() == io::ErrorKind::StorageFull => Ext4Error::NoSpace {
                path: image.to_owned(),
                needed_bytes: self.stored_bytes,
                free_bytes: free_disk_bytes(image).unwrap_or(0),
            },
            mkext4::Error::Io(source) => Ext4Error::Write { path: image.to_owned(), source },
            source => Ext4Error::Entry { path: path.to_owned(), source },
        }
    }
}

fn meta(attributes: &Attributes) -> Meta {
    // What an ext4 inode can hold: 34 bits of seconds from 1901 on.
    let seconds = attributes.mtime.0.clamp(-(1 << 31), (1 << 34) - (1 << 31) - 1);
    Meta::new(attributes.mode, attributes.uid, attributes.gid, (seconds, attributes.mtime.1))
}

fn declare_node(
    builder: &mut FsBuilder,
    parent: InodeHandle,
    name: &str,
    kind: &NodeKind,
    meta: Meta,
) -> mkext4::Result<InodeHandle> {
    match kind {
        NodeKind::Directory(_) => builder.mkdir(parent, name, meta),
        NodeKind::File(content) => match sparse_segments(content) {
            None => builder.file(parent, name, meta, content.size_bytes),
            Some(segments) => builder.file_sparse(parent, name, meta, &segments),
        },
        NodeKind::Symlink(target) => builder.symlink(parent, name, target, meta),
        NodeKind::CharDevice { major, minor } => {
            builder.mknod(parent, name, meta, SpecialKind::Char { major: *major, minor: *minor })
        }
        NodeKind::BlockDevice { major, minor } => {
            builder.mknod(parent, name, meta, SpecialKind::Block { major: *major, minor: *minor })
        }
        NodeKind::Fifo => builder.mknod(parent, name, meta, SpecialKind::Fifo),
    }
}
