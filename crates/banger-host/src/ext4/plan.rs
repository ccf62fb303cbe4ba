//! What an image will hold, in the order in which it is written: directories first, then everything else,
//! each from the root down and by name. So the same tree always gives the same image.

use mkext4::spec::{FIRST_INO, ROOT_INO};

use super::directory;
use super::extents::BlockMap;
use super::space::BLOCK_LEN;
use crate::file_content::data_runs;
use crate::file_tree::{DirEntryId, FrozenTree, NodeId, NodeKind, ROOT};
use crate::tar_source::printable;

/// Where the checker puts what it finds.
const LOST_AND_FOUND: &[u8] = b"lost+found";
const LOST_AND_FOUND_BLOCKS: u64 = 4;

#[derive(Debug)]
pub(super) struct Plan {
    /// Beginning with the root.
    pub(super) directories: Vec<NodeId>,
    pub(super) others: Vec<NodeId>,
    /// Of every node; 0 for what is not in the image.
    inodes: Vec<u32>,
    /// How many names every node has. Of a directory: how many directories it has.
    links: Vec<u32>,
    /// The first name of every node but the root.
    names: Vec<Option<DirEntryId>>,
    lost_and_found: Option<NodeId>,
    /// What all files hold together.
    pub(super) content_bytes: u64,
    /// An upper bound on what all of it takes, without the inodes.
    pub(super) stored_bytes: u64,
}

impl Plan {
    pub(super) fn new(tree: &mut FrozenTree) -> Self {
        let lost_and_found = match tree.child(ROOT, LOST_AND_FOUND) {
            Some(id) => Some(id).filter(|id| matches!(tree.node(*id).kind, NodeKind::Directory)),
            None => Some(tree.add_directory(LOST_AND_FOUND, 0o700)),
        };
        let count = tree.node_count();
        let mut plan = Self {
            directories: Vec::new(),
            others: Vec::new(),
            inodes: vec![0; count],
            links: vec![0; count],
            names: vec![None; count],
            lost_and_found,
            content_bytes: 0,
            stored_bytes: 0,
        };
        plan.visit(tree);
        plan.inodes[ROOT.index()] = ROOT_INO;
        let in_order = plan.directories.iter().skip(1).chain(&plan.others);
        for (inode, id) in (FIRST_INO..).zip(in_order) {
            plan.inodes[id.index()] = inode;
        }
        plan
    }

    /// Without recursion: an archive decides how deep it goes.
    fn visit(&mut self, tree: &mut FrozenTree) {
        let mut todo = vec![ROOT];
        while let Some(directory) = todo.pop() {
            self.directories.push(directory);
            tree.sort_children(directory);
            let first_subdirectory = todo.len();
            let mut names_len = 0;
            for (name_id, name, id) in tree.children(directory) {
                names_len += directory::entry_len(name);
                let index = id.index();
                let is_directory = matches!(tree.node(id).kind, NodeKind::Directory);
                if is_directory {
                    self.links[directory.index()] += 1;
                    todo.push(id);
                } else {
                    if self.links[index] == 0 {
                        self.others.push(id);
                        self.stored_bytes += self.measure(tree, id);
                    }
                    self.links[index] += 1;
                }
                self.names[index].get_or_insert(name_id);
            }
            todo[first_subdirectory..].reverse();
            let blocks = directory::blocks_max(names_len).max(self.blocks_min(directory));
            self.stored_bytes += (blocks + xattr_blocks(tree, directory)) * BLOCK_LEN;
        }
    }

    /// What a node that is no directory takes at most.
    fn measure(&mut self, tree: &FrozenTree, id: NodeId) -> u64 {
        let mut blocks = xattr_blocks(tree, id);
        if let NodeKind::Symlink(target) = tree.node(id).kind {
            blocks += u64::from(target.len() >= super::writer::SHORT_TARGET_LEN);
        }
        if let Some((_, content)) = tree.content(id) {
            self.content_bytes += content.segments.iter().map(|segment| segment.len).sum::<u64>();
            let mut extents = 0;
            for (start, end) in data_runs(&content) {
                let len = (end - start).div_ceil(BLOCK_LEN);
                blocks += len;
                // What is reserved in every group may cut a run.
                extents += 1 + 2 * (len / 32_768 + 1);
            }
            blocks += BlockMap::tree_blocks_max(extents);
        }
        blocks.saturating_mul(BLOCK_LEN)
    }

    pub(super) fn blocks_min(&self, directory: NodeId) -> u64 {
        if self.lost_and_found == Some(directory) { LOST_AND_FOUND_BLOCKS } else { 1 }
    }

    /// Files, directories and other things.
    pub(super) fn entries(&self) -> u64 {
        (self.directories.len() + self.others.len()) as u64
    }

    pub(super) fn inode(&self, id: NodeId) -> u32 {
        self.inodes[id.index()]
    }

    pub(super) fn links(&self, id: NodeId) -> u32 {
        self.links[id.index()]
    }

    pub(super) fn parent(&self, tree: &FrozenTree, id: NodeId) -> NodeId {
        self.names[id.index()].map_or(ROOT, |name| tree.entry(name).0)
    }

    /// For errors.
    pub(super) fn path(&self, tree: &FrozenTree, id: NodeId) -> String {
        let (mut parts, mut here) = (Vec::new(), id);
        while let Some(name) = self.names[here.index()] {
            let (parent, name) = tree.entry(name);
            parts.push(name);
            here = parent;
        }
        parts.reverse();
        if parts.is_empty() { "/".into() } else { printable(&parts.join(&b'/')) }
    }
}

fn xattr_blocks(tree: &FrozenTree, id: NodeId) -> u64 {
    u64::from(!tree.xattrs(id).is_empty())
}
