//! A tree of files as unpacking tar files over one another would leave it, held in memory without the
//! contents.
//!
//! Later entries win over earlier ones of the same name, parents may come after their children or not at all,
//! and hard links share one node. An image may have hundreds of thousands of files, so that the tree is made
//! of few large tables: about 100 bytes a file, names included. What is replaced or removed only loses its
//! name; its node stays in the table.

mod arena;
mod names;
mod walk;

use arena::{Arena, Text};
pub(crate) use arena::{Node, NodeId, NodeKind, ROOT};
pub(crate) use names::DirEntryId;
use names::Names;

use crate::tar_source::{Attributes, FileContent, Segment, TarEntry, TarError, TarKind, Xattrs, printable};

/// A bound on memory, far above what any real image has.
const PENDING_LINK_BYTES_MAX: usize = 16 << 20;

#[derive(Debug)]
pub(crate) struct FileTree {
    arena: Arena,
    /// Name and target of hard links whose target has not come yet.
    pending_links: Vec<(Vec<u8>, Vec<u8>)>,
    pending_link_bytes: usize,
}

impl FileTree {
    pub(crate) fn new() -> Self {
        Self { arena: Arena::new(), pending_links: Vec::new(), pending_link_bytes: 0 }
    }

    /// Adds an entry of the layer `layer` as unpacking it would.
    pub(crate) fn insert(&mut self, layer: u16, entry: TarEntry) -> Result<(), TarError> {
        let TarEntry { path, attributes, kind } = entry;
        let kind = match kind {
            TarKind::HardLink { target } => return self.link(path, target),
            TarKind::Directory => return self.insert_directory(&path, &attributes),
            TarKind::File(content) => self.arena.file(layer, content, &path)?,
            TarKind::Symlink { target } => self.arena.symlink(&target, &path)?,
            TarKind::CharDevice { major, minor } => NodeKind::CharDevice { major, minor },
            TarKind::BlockDevice { major, minor } => NodeKind::BlockDevice { major, minor },
            TarKind::Fifo => NodeKind::Fifo,
        };
        let id = self.arena.push(&attributes, kind, &path)?;
        self.put(&path, id)
    }

    /// Resolves hard links to entries that came later; to be called at a layer's end.
    pub(crate) fn resolve_links(&mut self) -> Result<(), TarError> {
        self.pending_link_bytes = 0;
        for (name, target) in std::mem::take(&mut self.pending_links) {
            let id = self.find_link_target(&target);
            let id = id
                .ok_or_else(|| TarError::LinkTarget { name: printable(&name), target: printable(&target) })?;
            self.put(&name, id)?;
        }
        Ok(())
    }

    /// Takes away what is at `path`, if anything is.
    pub(crate) fn remove(&mut self, path: &[u8]) {
        let Some((parent, name)) = split(path) else { return };
        if let Some(parent) = self.arena.lookup(parent) {
            self.arena.names.clear(parent, name);
        }
    }

    /// Takes away everything below the directory at `path`, if there is one.
    pub(crate) fn empty(&mut self, path: &[u8]) {
        let Some((parent, name)) = split(path) else { return self.arena.names.clear_all(ROOT) };
        let directory = self.arena.lookup(parent).and_then(|parent| self.arena.names.get(parent, name));
        // What a symbolic link names is another directory.
        if let Some(directory) = directory.filter(|id| self.arena.is_directory(*id)) {
            self.arena.names.clear_all(directory);
        }
    }

    /// Drops what only changes need.
    pub(crate) fn freeze(self) -> FrozenTree {
        let Arena { nodes, names, texts, maps, xattrs, .. } = self.arena;
        FrozenTree { nodes, names: names.without_index(), texts, maps, xattrs: xattrs.sets }
    }

    fn insert_directory(&mut self, path: &[u8], attributes: &Attributes) -> Result<(), TarError> {
        let Some((parent, name)) = split(path) else {
            return self.arena.set_attributes(ROOT, attributes, path);
        };
        let parent = self.directory(parent, path)?;
        match self.arena.names.get(parent, name).filter(|id| self.arena.is_directory(*id)) {
            Some(id) => self.arena.set_attributes(id, attributes, path),
            None => {
                let id = self.arena.push(attributes, NodeKind::Directory, path)?;
                self.arena.set_child(parent, name, id, path)
            }
        }
    }

    fn link(&mut self, name: Vec<u8>, target: Vec<u8>) -> Result<(), TarError> {
        if let Some(id) = self.find_link_target(&target) {
            return self.put(&name, id);
        }
        self.pending_link_bytes += name.len() + target.len();
        if self.pending_link_bytes > PENDING_LINK_BYTES_MAX {
            return Err(TarError::LinkTarget { name: printable(&name), target: printable(&target) });
        }
        self.pending_links.push((name, target));
        Ok(())
    }

    fn find_link_target(&self, target: &[u8]) -> Option<NodeId> {
        let (parent, name) = split(target)?;
        let parent = self.arena.lookup(parent)?;
        self.arena.names.get(parent, name).filter(|id| !self.arena.is_directory(*id))
    }

    fn put(&mut self, path: &[u8], id: NodeId) -> Result<(), TarError> {
        // Nothing but a directory can be the root.
        let (parent, name) = split(path).ok_or_else(|| TarError::NotDirectory { name: "/".into() })?;
        let parent = self.directory(parent, path)?;
        self.arena.set_child(parent, name, id, path)
    }

    /// The directory at `path`, made if it is missing; `name` is what needs it.
    fn directory(&mut self, path: &[u8], name: &[u8]) -> Result<NodeId, TarError> {
        self.arena.make_directory(path, name)
    }
}

/// The parent's path and the last name; none for the root.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => Some((&path[..slash], &path[slash + 1..])),
        None if path.is_empty() => None,
        None => Some((b"", path)),
    }
}

/// A tree that does not change any more.
#[derive(Debug)]
pub(crate) struct FrozenTree {
    nodes: Vec<Node>,
    names: Names,
    texts: Vec<u8>,
    maps: Vec<Box<[Segment]>>,
    xattrs: Vec<Xattrs>,
}

impl FrozenTree {
    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// Every id's index is less than this. Replaced nodes count as well.
    pub(crate) fn node_count(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn xattrs(&self, id: NodeId) -> &Xattrs {
        &self.xattrs[self.node(id).xattrs as usize]
    }

    pub(crate) fn symlink_target(&self, target: Text) -> &[u8] {
        target.of(&self.texts)
    }

    /// The layer that holds a file's contents, and where.
    pub(crate) fn content(&self, id: NodeId) -> Option<(u16, FileContent)> {
        match self.node(id).kind {
            NodeKind::File { size_bytes, tar_offset, layer } => {
                let whole = Segment { file_offset: 0, tar_offset, len: size_bytes };
                let segments = if size_bytes == 0 { Vec::new() } else { vec![whole] };
                Some((layer, FileContent { size_bytes, segments }))
            }
            NodeKind::SparseFile { size_bytes, map, layer } => {
                Some((layer, FileContent { size_bytes, segments: self.maps[map as usize].to_vec() }))
            }
            _ => None,
        }
    }

    /// Sorts the names in a directory, so that the same tree always gives the same image.
    pub(crate) fn sort_children(&mut self, directory: NodeId) {
        self.names.sort(directory);
    }

    pub(crate) fn children(&self, directory: NodeId) -> impl Iterator<Item = (DirEntryId, &[u8], NodeId)> {
        self.names.children(directory)
    }

    pub(crate) fn child(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        self.children(directory).find(|(_, own, _)| *own == name).map(|(_, _, id)| id)
    }

    /// The directory that a name is in, and the name.
    pub(crate) fn entry(&self, id: DirEntryId) -> (NodeId, &[u8]) {
        self.names.entry(id)
    }

    /// Adds what no archive describes to the root.
    pub(crate) fn add_directory(&mut self, name: &[u8], mode: u16) -> NodeId {
        self.nodes.push(Node::plain(mode));
        self.names.add_node();
        let id = NodeId::at(self.nodes.len() - 1);
        self.names.append(ROOT, name, id);
        id
    }
}

#[cfg(test)]
#[path = "file_tree_tests.rs"]
mod tests;
