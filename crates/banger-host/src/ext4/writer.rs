//! A planned image written, inode by inode.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::ControlFlow;

use mkext4::dirhash::HashSeed;
use mkext4::spec::{FIRST_INO, ROOT_INO, file_type, iflags};

use super::attributes;
use super::directory::{self, Name, Place};
use super::disk::{Disk, Fault};
use super::extents::BlockMap;
use super::groups::{InodeCounts, store_groups, store_reserved};
use super::inode::{self, InodeContent, LINKS_MAX};
use super::plan::Plan;
use super::space::{BLOCK_LEN, Geometry};
use super::{Ext4Options, Progress};
use crate::file_content::{ContentReader, data_runs};
use crate::file_tree::{FrozenTree, NodeId, NodeKind, ROOT};
use crate::xattr;

/// From so many bytes on, a symbolic link's target has a block of its own.
pub(super) const SHORT_TARGET_LEN: usize = 60;

/// As many blocks as 32 bits count.
const FILE_LEN_MAX: u64 = u32::MAX as u64 * BLOCK_LEN;

/// How much of a file is copied at once.
const COPY_LEN: usize = 1 << 20;

/// Most files are named for an attribute that was left out.
const NAMED_FILES_MAX: usize = 20;

/// What is written from where.
pub(super) struct ImageSource<'a> {
    pub(super) tree: &'a FrozenTree,
    pub(super) plan: &'a Plan,
    pub(super) layers: &'a [File],
    pub(super) options: &'a Ext4Options,
}

/// Why an image could not be written, and which entry was at fault.
pub(super) struct WriteFailure {
    pub(super) entry: Option<NodeId>,
    pub(super) fault: Fault,
}

impl From<Fault> for WriteFailure {
    fn from(fault: Fault) -> Self {
        Self { entry: None, fault }
    }
}

pub(super) struct ImageWriter<'a, 'p> {
    source: ImageSource<'a>,
    disk: Disk<'a>,
    hash_seed: HashSeed,
    progress: Progress<'p>,
    done_bytes: u64,
    buffer: Vec<u8>,
    /// Attributes that were left out: how many files have them, and the names of some.
    left_out: BTreeMap<Vec<u8>, (usize, Vec<NodeId>)>,
}

impl<'a, 'p> ImageWriter<'a, 'p> {
    pub(super) fn new(
        source: ImageSource<'a>,
        file: &'a File,
        geometry: &'a Geometry,
        progress: Progress<'p>,
    ) -> Self {
        let options = source.options;
        Self {
            disk: Disk::new(file, geometry, &options.uuid),
            hash_seed: directory::hash_seed(&options.uuid),
            source,
            progress,
            done_bytes: 0,
            buffer: vec![0; COPY_LEN],
            left_out: BTreeMap::new(),
        }
    }

    /// Writes everything. Answers with what people should know.
    pub(super) fn write(mut self, journal_blocks: u64) -> Result<Vec<String>, WriteFailure> {
        self.report(0)?;
        let journal_map = store_reserved(&mut self.disk, journal_blocks)?;
        let plan = self.source.plan;
        for id in plan.directories.iter().chain(&plan.others) {
            let fault = |fault| WriteFailure { entry: Some(*id), fault };
            let content = self.store(*id).map_err(fault)?;
            let (node, number) = (self.source.tree.node(*id), plan.inode(*id));
            let bytes = inode::encode(node, content, number, self.disk.checksum_seed);
            self.disk.put_inode(number, &bytes).map_err(Fault::Write)?;
        }
        let (directories, others) = (plan.directories.len() as u32 - 1, plan.others.len() as u32);
        let last_directory = FIRST_INO - 1 + directories;
        let counts = InodeCounts { last: last_directory + others, last_directory };
        store_groups(&mut self.disk, self.source.options, counts, &journal_map, journal_blocks)?;
        self.disk.flush().map_err(Fault::Write)?;
        Ok(self.notices())
    }

    fn report(&mut self, added_bytes: u64) -> Result<(), Fault> {
        self.done_bytes += added_bytes;
        match (self.progress)(self.done_bytes, self.source.plan.content_bytes) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Fault::Cancelled),
        }
    }

    fn store(&mut self, id: NodeId) -> Result<InodeContent, Fault> {
        let tree = self.source.tree;
        let attributes = self.xattrs(id);
        let attributes = attributes::store(&mut self.disk, attributes)?;
        let content = match &tree.node(id).kind {
            NodeKind::Directory => self.store_directory(id)?,
            NodeKind::File { .. } | NodeKind::SparseFile { .. } => self.store_file(id)?,
            NodeKind::Symlink(target) => self.store_symlink(id, tree.symlink_target(*target))?,
            NodeKind::CharDevice { major, minor } => {
                let block = inode::device(*major, *minor);
                InodeContent { block, ..self.empty(id)? }
            }
            NodeKind::BlockDevice { major, minor } => {
                let block = inode::device(*major, *minor);
                InodeContent { block, ..self.empty(id)? }
            }
            NodeKind::Fifo => self.empty(id)?,
        };
        Ok(InodeContent { attributes, ..content })
    }

    fn empty(&self, id: NodeId) -> Result<InodeContent, Fault> {
        let links = self.source.plan.links(id);
        if links > LINKS_MAX {
            return Err(Fault::Unfit("it has more than 65000 names"));
        }
        Ok(InodeContent::empty(file_type_of(&self.source.tree.node(id).kind), links))
    }

    fn xattrs(&mut self, id: NodeId) -> Vec<xattr::StoredXattr> {
        let mut stored = Vec::new();
        for (name, value) in self.source.tree.xattrs(id) {
            match xattr::stored(name, value) {
                Some(xattr) => stored.push(xattr),
                None => {
                    let (count, files) = self.left_out.entry(name.clone()).or_default();
                    *count += 1;
                    if files.len() < NAMED_FILES_MAX {
                        files.push(id);
                    }
                }
            }
        }
        stored
    }

    fn notices(&self) -> Vec<String> {
        let ImageSource { tree, plan, .. } = &self.source;
        let mut notices = Vec::new();
        for (name, (count, files)) in &self.left_out {
            let name = String::from_utf8_lossy(name);
            let of =
                |id: &NodeId| format!("{}: the extended attribute {name} was left out", plan.path(tree, *id));
            notices.extend(files.iter().map(of));
            if *count > files.len() {
                notices.push(format!(
                    "the extended attribute {name} was left out of {} more",
                    count - files.len()
                ));
            }
        }
        notices
    }

    fn store_directory(&mut self, id: NodeId) -> Result<InodeContent, Fault> {
        let ImageSource { tree, plan, .. } = self.source;
        let names: Vec<Name<'_>> = tree
            .children(id)
            .map(|(_, name, child)| Name {
                name,
                inode: plan.inode(child),
                file_type: file_type_of(&tree.node(child).kind),
            })
            .collect();
        let place = Place {
            inode: plan.inode(id),
            parent: if id == ROOT { ROOT_INO } else { plan.inode(plan.parent(tree, id)) },
            blocks_min: plan.blocks_min(id),
        };
        let stored = directory::store(&mut self.disk, place, &names, &self.hash_seed)?;
        let mut map = BlockMap::default();
        map.add(0, &stored.runs)?;
        let (block, blocks) = map.store(&mut self.disk, place.inode)?;
        Ok(InodeContent {
            size_bytes: stored.blocks * BLOCK_LEN,
            blocks,
            flags: iflags::EXTENTS | if stored.is_indexed { iflags::INDEX } else { 0 },
            block,
            // Its own name, its `.`, and the `..` of every directory in it.
            ..InodeContent::empty(file_type::DIR, 2 + plan.links(id))
        })
    }

    fn store_symlink(&mut self, id: NodeId, target: &[u8]) -> Result<InodeContent, Fault> {
        let content = InodeContent { size_bytes: target.len() as u64, ..self.empty(id)? };
        if target.len() < SHORT_TARGET_LEN {
            let mut block = [0; 60];
            block[..target.len()].copy_from_slice(target);
            return Ok(InodeContent { block, ..content });
        }
        let runs = self.disk.take(1)?;
        self.disk.put(runs[0].start, target)?;
        let mut map = BlockMap::default();
        map.add(0, &runs)?;
        let (block, blocks) = map.store(&mut self.disk, self.source.plan.inode(id))?;
        Ok(InodeContent { block, blocks, flags: iflags::EXTENTS, ..content })
    }

    fn store_file(&mut self, id: NodeId) -> Result<InodeContent, Fault> {
        let empty = self.empty(id)?;
        let Some((layer, content)) = self.source.tree.content(id) else { return Ok(empty) };
        if content.size_bytes > FILE_LEN_MAX {
            return Err(Fault::Unfit("it is larger than 16 TiB"));
        }
        let source = &self.source.layers[usize::from(layer)];
        let mut reader = ContentReader::new(source, &content);
        let mut map = BlockMap::default();
        for (start, end) in data_runs(&content) {
            let runs = self.disk.take((end - start).div_ceil(BLOCK_LEN))?;
            map.add(start / BLOCK_LEN, &runs)?;
            let mut left = end - start;
            for run in runs {
                let len = left.min(run.len * BLOCK_LEN);
                self.copy(&mut reader, run.start, len).map_err(|fault| match fault {
                    CopyFault::Read(source) => Fault::Read { layer, source },
                    CopyFault::Other(fault) => fault,
                })?;
                left -= len;
            }
        }
        let (block, blocks) = map.store(&mut self.disk, self.source.plan.inode(id))?;
        Ok(InodeContent { size_bytes: content.size_bytes, blocks, flags: iflags::EXTENTS, block, ..empty })
    }

    fn copy(
        &mut self,
        reader: &mut ContentReader<'_>,
        mut block: u64,
        mut len: u64,
    ) -> Result<(), CopyFault> {
        while len > 0 {
            let part = len.min(COPY_LEN as u64) as usize;
            let held = reader.read(&mut self.buffer[..part]).map_err(CopyFault::Read)?;
            self.disk.put(block, &self.buffer[..part]).map_err(|error| CopyFault::Other(error.into()))?;
            self.report(held).map_err(CopyFault::Other)?;
            block += (part as u64).div_ceil(BLOCK_LEN);
            len -= part as u64;
        }
        Ok(())
    }
}

/// Reading and writing fail in the same way, and mean different things.
enum CopyFault {
    Read(std::io::Error),
    Other(Fault),
}

fn file_type_of(kind: &NodeKind) -> u8 {
    match kind {
        NodeKind::Directory => file_type::DIR,
        NodeKind::File { .. } | NodeKind::SparseFile { .. } => file_type::REG,
        NodeKind::Symlink(_) => file_type::SYMLINK,
        NodeKind::CharDevice { .. } => file_type::CHR,
        NodeKind::BlockDevice { .. } => file_type::BLK,
        NodeKind::Fifo => file_type::FIFO,
    }
}
