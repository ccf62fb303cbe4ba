//! The tables that a tree is made of.

use std::collections::HashMap;

use super::names::Names;
use crate::tar_source::{Attributes, FileContent, Segment, TarError, Xattrs, printable};

/// Bounds on memory, far above what any real image has.
const NODES_MAX: usize = 2_000_000;
const TEXT_BYTES_MAX: usize = 128 << 20;
const SEGMENTS_MAX: usize = 1 << 21;
const XATTR_BYTES_MAX: usize = 16 << 20;

/// Index of a [`Node`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(u32);

impl NodeId {
    /// No table comes near 32 bits.
    pub(super) fn at(index: usize) -> Self {
        Self(index as u32)
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

pub(crate) const ROOT: NodeId = NodeId(0);

/// Bytes in the tree's table of texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    start: u32,
    len: u16,
}

impl Text {
    pub(super) fn at(start: usize, len: usize) -> Self {
        Self { start: start as u32, len: len as u16 }
    }

    pub(super) fn of(self, texts: &[u8]) -> &[u8] {
        &texts[self.start as usize..][..usize::from(self.len)]
    }

    pub(crate) fn len(self) -> usize {
        usize::from(self.len)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) mtime_seconds: i64,
    pub(crate) mtime_nanoseconds: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Index of a set of extended attributes.
    pub(super) xattrs: u32,
    pub(crate) mode: u16,
    pub(crate) kind: NodeKind,
}

impl Node {
    /// What is root's, and as old as can be.
    pub(crate) fn plain(mode: u16) -> Self {
        let kind = NodeKind::Directory;
        Self { mtime_seconds: 0, mtime_nanoseconds: 0, uid: 0, gid: 0, xattrs: 0, mode, kind }
    }

    /// What a directory gets that no entry describes.
    pub(super) fn implied_directory() -> Self {
        Self::plain(0o755)
    }

    /// The same for one in this directory: as `mkdir` has it, it takes the group along where that is asked
    /// for.
    pub(super) fn implied_subdirectory(&self) -> Self {
        const SET_GROUP_ID: u16 = 0o2000;
        match self.mode & SET_GROUP_ID {
            0 => Self::implied_directory(),
            _ => Self { gid: self.gid, ..Self::plain(0o755 | SET_GROUP_ID) },
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum NodeKind {
    Directory,
    /// All of it is in one place.
    File {
        size_bytes: u64,
        tar_offset: u64,
        layer: u16,
    },
    SparseFile {
        size_bytes: u64,
        /// Index of the map of its segments.
        map: u32,
        layer: u16,
    },
    Symlink(Text),
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

/// Sets of extended attributes, each held once: many files of an image have the same.
#[derive(Debug)]
pub(super) struct XattrSets {
    pub(super) sets: Vec<Xattrs>,
    numbers: HashMap<Xattrs, u32>,
    bytes: usize,
}

impl XattrSets {
    fn new() -> Self {
        Self { sets: vec![Vec::new()], numbers: HashMap::from([(Vec::new(), 0)]), bytes: 0 }
    }

    fn number(&mut self, xattrs: &Xattrs, path: &[u8]) -> Result<u32, TarError> {
        if let Some(number) = self.numbers.get(xattrs) {
            return Ok(*number);
        }
        self.bytes += xattrs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        if self.bytes > XATTR_BYTES_MAX {
            return Err(too_many(path, "byte of extended attributes", XATTR_BYTES_MAX));
        }
        let number = self.sets.len() as u32;
        self.sets.push(xattrs.clone());
        self.numbers.insert(xattrs.clone(), number);
        Ok(number)
    }
}

#[derive(Debug)]
pub(super) struct Arena {
    pub(super) nodes: Vec<Node>,
    pub(super) names: Names,
    /// Targets of symbolic links.
    pub(super) texts: Vec<u8>,
    /// Of sparse files.
    pub(super) maps: Vec<Box<[Segment]>>,
    map_segments: usize,
    pub(super) xattrs: XattrSets,
}

impl Arena {
    pub(super) fn new() -> Self {
        Self {
            nodes: vec![Node::implied_directory()],
            names: Names::new(),
            texts: Vec::new(),
            maps: Vec::new(),
            map_segments: 0,
            xattrs: XattrSets::new(),
        }
    }

    /// `path` is for errors.
    pub(super) fn push(
        &mut self,
        attributes: &Attributes,
        kind: NodeKind,
        path: &[u8],
    ) -> Result<NodeId, TarError> {
        let node = self.node(attributes, kind, path)?;
        self.add(node, path)
    }

    pub(super) fn add(&mut self, node: Node, path: &[u8]) -> Result<NodeId, TarError> {
        if self.nodes.len() >= NODES_MAX {
            return Err(too_many(path, "file", NODES_MAX));
        }
        self.nodes.push(node);
        self.names.add_node();
        Ok(NodeId::at(self.nodes.len() - 1))
    }

    pub(super) fn set_attributes(
        &mut self,
        id: NodeId,
        attributes: &Attributes,
        path: &[u8],
    ) -> Result<(), TarError> {
        let kind = self.nodes[id.index()].kind.clone();
        self.nodes[id.index()] = self.node(attributes, kind, path)?;
        Ok(())
    }

    fn node(&mut self, attributes: &Attributes, kind: NodeKind, path: &[u8]) -> Result<Node, TarError> {
        let Attributes { mode, uid, gid, mtime: (mtime_seconds, mtime_nanoseconds), xattrs } = attributes;
        Ok(Node {
            mtime_seconds: *mtime_seconds,
            mtime_nanoseconds: *mtime_nanoseconds,
            uid: *uid,
            gid: *gid,
            xattrs: self.xattrs.number(xattrs, path)?,
            mode: *mode,
            kind,
        })
    }

    pub(super) fn file(
        &mut self,
        layer: u16,
        content: FileContent,
        path: &[u8],
    ) -> Result<NodeKind, TarError> {
        let FileContent { size_bytes, segments } = content;
        match segments[..] {
            [] if size_bytes == 0 => return Ok(NodeKind::File { size_bytes, tar_offset: 0, layer }),
            [Segment { file_offset: 0, tar_offset, len }] if len == size_bytes => {
                return Ok(NodeKind::File { size_bytes, tar_offset, layer });
            }
            _ => {}
        }
        // One more for the map itself.
        self.map_segments += segments.len() + 1;
        if self.map_segments > SEGMENTS_MAX {
            return Err(too_many(path, "part of a sparse file", SEGMENTS_MAX));
        }
        self.maps.push(segments.into_boxed_slice());
        Ok(NodeKind::SparseFile { size_bytes, map: self.maps.len() as u32 - 1, layer })
    }

    pub(super) fn symlink(&mut self, target: &[u8], path: &[u8]) -> Result<NodeKind, TarError> {
        add_text(&mut self.texts, target, path).map(NodeKind::Symlink)
    }

    pub(super) fn is_directory(&self, id: NodeId) -> bool {
        matches!(self.nodes[id.index()].kind, NodeKind::Directory)
    }

    pub(super) fn set_child(
        &mut self,
        parent: NodeId,
        name: &[u8],
        id: NodeId,
        path: &[u8],
    ) -> Result<(), TarError> {
        if self.names.len() >= NODES_MAX {
            return Err(too_many(path, "name", NODES_MAX));
        }
        self.names.set(parent, name, id, path)
    }
}

/// No text is longer than a path.
pub(super) fn add_text(texts: &mut Vec<u8>, text: &[u8], path: &[u8]) -> Result<Text, TarError> {
    if texts.len() + text.len() > TEXT_BYTES_MAX {
        return Err(too_many(path, "byte of names", TEXT_BYTES_MAX));
    }
    let start = texts.len();
    texts.extend_from_slice(text);
    Ok(Text::at(start, text.len()))
}

fn too_many(path: &[u8], what: &'static str, max: usize) -> TarError {
    TarError::TooMany { name: printable(path), what, max }
}
