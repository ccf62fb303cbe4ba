//! A tree of files as unpacking a tar file would leave it, held in memory without the contents.
//!
//! Later entries win over earlier ones of the same name, parents may come after their children or not at all, and hard links
//! share one node.

use std::collections::BTreeMap;

use crate::tar_source::{Attributes, FileContent, TarEntry, TarError, TarKind};

/// How many symbolic links a path may lead through, as in Linux.
const LINKS_MAX: usize = 40;

/// Index of a [`Node`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(usize);

impl NodeId {
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

pub(crate) const ROOT: NodeId = NodeId(0);

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) attributes: Attributes,
    pub(crate) kind: NodeKind,
}

#[derive(Debug)]
pub(crate) enum NodeKind {
    /// Sorted by name, so that the same tree always gives the same image.
    Directory(BTreeMap<String, NodeId>),
    File(FileContent),
    Symlink(String),
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

#[derive(Debug)]
pub(crate) struct FileTree {
    nodes: Vec<Node>,
    /// Name and target of hard links whose target has not come yet.
    pending_links: Vec<(String, String)>,
}

/// What a directory gets that no entry describes.
fn implied_directory() -> Node {
    Node {
        attributes: Attributes { mode: 0o755, ..Attributes::default() },
        kind: NodeKind::Directory(BTreeMap::new()),
    }
}

impl FileTree {
    pub(crate) fn new() -> Self {
        Self { nodes: vec![implied_directory()], pending_links: Vec::new() }
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Every id's index is less than this. Replaced nodes count as well.
    pub(crate) fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Adds an entry as unpacking it would.
    pub(crate) fn insert(&mut self, entry: TarEntry) -> Result<(), TarError> {
        let TarEntry { path, attributes, kind } = entry;
        let kind = match kind {
            TarKind::HardLink { target } => return self.link(path, target),
            TarKind::Directory => return self.insert_directory(&path, attributes),
            TarKind::File(content) => NodeKind::File(content),
            TarKind::Symlink { target } => NodeKind::Symlink(target),
            TarKind::CharDevice { major, minor } => NodeKind::CharDevice { major, minor },
            TarKind::BlockDevice { major, minor } => NodeKind::BlockDevice { major, minor },
            TarKind::Fifo => NodeKind::Fifo,
        };
        let id = self.push(Node { attributes, kind });
        self.put(&path, id)
    }

    /// Resolves hard links to entries that came later.
    pub(crate) fn finish(&mut self) -> Result<(), TarError> {
        for (name, target) in std::mem::take(&mut self.pending_links) {
            let id = self.find_link_target(&target);
            let id = id.ok_or_else(|| TarError::LinkTarget { name: name.clone(), target: target.clone() })?;
            self.put(&name, id)?;
        }
        Ok(())
    }

    fn insert_directory(&mut self, path: &str, attributes: Attributes) -> Result<(), TarError> {
        let Some((parent, name)) = split(path) else {
            self.nodes[ROOT.0].attributes = attributes;
            return Ok(());
        };
        let parent = self.directory(parent, path)?;
        let existing = self.child(parent, name).filter(|id| self.is_directory(*id));
        match existing {
            Some(id) => self.nodes[id.0].attributes = attributes,
            None => {
                let id = self.push(Node { attributes, ..implied_directory() });
                self.set_child(parent, name, id);
            }
        }
        Ok(())
    }

    fn link(&mut self, name: String, target: String) -> Result<(), TarError> {
        match self.find_link_target(&target) {
            Some(id) => self.put(&name, id),
            None => {
                self.pending_links.push((name, target));
                Ok(())
            }
        }
    }

    fn find_link_target(&mut self, target: &str) -> Option<NodeId> {
        let (parent, name) = split(target)?;
        let parent = self.lookup(parent)?;
        self.child(parent, name).filter(|id| !self.is_directory(*id))
    }

    fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId(self.nodes.len() - 1)
    }

    fn put(&mut self, path: &str, id: NodeId) -> Result<(), TarError> {
        // Nothing but a directory can be the root.
        let (parent, name) = split(path).ok_or_else(|| TarError::NotDirectory { name: "/".into() })?;
        let parent = self.directory(parent, path)?;
        self.set_child(parent, name, id);
        Ok(())
    }

    fn is_directory(&self, id: NodeId) -> bool {
        matches!(self.node(id).kind, NodeKind::Directory(_))
    }

    fn child(&self, parent: NodeId, name: &str) -> Option<NodeId> {
        match &self.node(parent).kind {
            NodeKind::Directory(children) => children.get(name).copied(),
            _ => None,
        }
    }

    fn set_child(&mut self, parent: NodeId, name: &str, id: NodeId) {
        if let NodeKind::Directory(children) = &mut self.nodes[parent.0].kind {
            children.insert(name.to_owned(), id);
        }
    }

    /// The directory at `path`, made if it is missing; `name` is what needs it.
    fn directory(&mut self, path: &str, name: &str) -> Result<NodeId, TarError> {
        self.walk(path, true).ok_or_else(|| TarError::NotDirectory { name: name.to_owned() })
    }

    fn lookup(&mut self, path: &str) -> Option<NodeId> {
        self.walk(path, false)
    }

    /// Follows symbolic links, which cannot lead out: above the root is the root.
    fn walk(&mut self, path: &str, create: bool) -> Option<NodeId> {
        let mut todo: Vec<String> = path.rsplit('/').map(str::to_owned).collect();
        let mut trail = vec![ROOT];
        let mut links = 0;
        while let Some(part) = todo.pop() {
            let here = *trail.last()?;
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    trail.truncate(trail.len().saturating_sub(1).max(1));
                    continue;
                }
                _ => {}
            }
            let next = match self.child(here, &part) {
                Some(id) => id,
                None if create => {
                    let id = self.push(implied_directory());
                    self.set_child(here, &part, id);
                    id
                }
                None => return None,
            };
            match &self.node(next).kind {
                NodeKind::Directory(_) => trail.push(next),
                NodeKind::Symlink(target) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return None;
                    }
                    if target.starts_with('/') {
                        trail.truncate(1);
                    }
                    todo.extend(target.rsplit('/').map(str::to_owned));
                }
                _ => return None,
            }
        }
        trail.last().copied()
    }
}

/// The parent's path and the last name; none for the root.
fn split(path: &str) -> Option<(&str, &str)> {
    match path.rsplit_once('/') {
        Some(parts) => Some(parts),
        None if path.is_empty() => None,
        None => Some(("", path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(tree: &mut FileTree, path: &str, mode: u16, kind: TarKind) -> Result<(), TarError> {
        tree.insert(TarEntry {
            path: path.into(),
            attributes: Attributes { mode, ..Attributes::default() },
            kind,
        })
    }

    fn file() -> TarKind {
        TarKind::File(FileContent::default())
    }

    fn symlink(target: &str) -> TarKind {
        TarKind::Symlink { target: target.into() }
    }

    fn hard_link(target: &str) -> TarKind {
        TarKind::HardLink { target: target.into() }
    }

    fn find(tree: &mut FileTree, path: &str) -> Option<NodeId> {
        let (parent, name) = split(path)?;
        let parent = tree.lookup(parent)?;
        tree.child(parent, name)
    }

    #[test]
    fn a_parent_may_come_late_or_never() {
        let mut tree = FileTree::new();
        add(&mut tree, "a/b/file", 0o644, file()).unwrap();
        add(&mut tree, "a", 0o700, TarKind::Directory).unwrap();
        let a = find(&mut tree, "a").unwrap();
        assert_eq!(tree.node(a).attributes.mode, 0o700);
        let b = find(&mut tree, "a/b").unwrap();
        assert_eq!(tree.node(b).attributes.mode, 0o755);
        assert!(find(&mut tree, "a/b/file").is_some());
    }

    #[test]
    fn the_last_entry_wins_but_a_hard_link_keeps_the_first() {
        let mut tree = FileTree::new();
        add(&mut tree, "f", 0o600, file()).unwrap();
        add(&mut tree, "link", 0, hard_link("f")).unwrap();
        add(&mut tree, "f", 0o644, file()).unwrap();
        let modes = ["f", "link"].map(|path| {
            let id = find(&mut tree, path).unwrap();
            tree.node(id).attributes.mode
        });
        assert_eq!(modes, [0o644, 0o600]);
    }

    #[test]
    fn a_link_to_a_later_entry_is_fine_and_one_to_nothing_is_not() {
        let mut tree = FileTree::new();
        add(&mut tree, "link", 0, hard_link("f")).unwrap();
        add(&mut tree, "f", 0o600, file()).unwrap();
        tree.finish().unwrap();
        assert_eq!(find(&mut tree, "link"), find(&mut tree, "f"));
        add(&mut tree, "broken", 0, hard_link("nothing")).unwrap();
        assert!(matches!(tree.finish(), Err(TarError::LinkTarget { .. })));
    }

    #[test]
    fn links_on_the_way_stay_inside() {
        let mut tree = FileTree::new();
        add(&mut tree, "out", 0, symlink("../../../etc")).unwrap();
        add(&mut tree, "out/passwd", 0o600, file()).unwrap();
        assert!(find(&mut tree, "etc/passwd").is_some());
        add(&mut tree, "bin", 0, symlink("usr/bin")).unwrap();
        add(&mut tree, "bin/sh", 0o755, file()).unwrap();
        assert!(find(&mut tree, "usr/bin/sh").is_some());
        add(&mut tree, "loop", 0, symlink("loop")).unwrap();
        assert!(matches!(add(&mut tree, "loop/x", 0, file()), Err(TarError::NotDirectory { .. })));
        add(&mut tree, "plain", 0, file()).unwrap();
        assert!(matches!(add(&mut tree, "plain/x", 0, file()), Err(TarError::NotDirectory { .. })));
        assert!(matches!(add(&mut tree, "", 0, file()), Err(TarError::NotDirectory { .. })));
    }
}
