use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// What git sees of a directory: each file's and each symlink's path, kind, executable bit and content.
/// `.git` at the top is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    nodes: BTreeMap<Vec<u8>, Node>,
}

#[derive(Clone, PartialEq, Eq)]
enum Node {
    File { executable: bool, sha256: Vec<u8>, start: Vec<u8> },
    Link { target: Vec<u8> },
    Other,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { executable, start, .. } => {
                write!(f, "{} {}", if *executable { "x" } else { "-" }, start.escape_ascii())
            }
            Self::Link { target } => write!(f, "-> {}", target.escape_ascii()),
            Self::Other => write!(f, "neither file nor symlink"),
        }
    }
}

impl Tree {
    /// Looks at a directory.
    ///
    /// # Panics
    ///
    /// When something in it cannot be read.
    #[track_caller]
    pub fn scan(dir: &Path) -> Self {
        let mut tree = Self::default();
        tree.collect(dir, b"");
        tree
    }

    fn collect(&mut self, dir: &Path, prefix: &[u8]) {
        for entry in std::fs::read_dir(dir).expect("a directory of the tree").flatten() {
            let name = entry.file_name();
            if prefix.is_empty() && name == ".git" {
                continue;
            }
            let path = [prefix, name.as_bytes()].concat();
            let kind = entry.file_type().expect("the type of an entry");
            if kind.is_dir() {
                self.collect(&entry.path(), &[&path[..], b"/"].concat());
                continue;
            }
            let node = if kind.is_symlink() {
                let target = std::fs::read_link(entry.path()).expect("a symlink's target");
                Node::Link { target: target.as_os_str().as_bytes().to_vec() }
            } else if kind.is_file() {
                let content = std::fs::read(entry.path()).expect("a file of the tree");
                let mode = entry.metadata().expect("a file's mode").permissions().mode();
                let start = content[..content.len().min(60)].to_vec();
                Node::File { executable: mode & 0o100 != 0, sha256: Sha256::digest(&content).to_vec(), start }
            } else {
                Node::Other
            };
            self.nodes.insert(path, node);
        }
    }

    /// The part of it with these paths, as far as they are there.
    pub fn only<'a>(&self, paths: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let found = |path: &'a [u8]| Some((path.to_vec(), self.nodes.get(path)?.clone()));
        Self { nodes: paths.into_iter().filter_map(found).collect() }
    }

    /// What is left of it without the paths of another.
    pub fn without(&self, other: &Self) -> Self {
        let mut nodes = self.nodes.clone();
        nodes.retain(|path, _| !other.nodes.contains_key(path));
        Self { nodes }
    }

    /// What is in it under the paths of another.
    pub fn only_of(&self, other: &Self) -> Self {
        self.only(other.nodes.keys().map(Vec::as_slice))
    }

    pub fn has(&self, path: impl AsRef<OsStr>) -> bool {
        self.nodes.contains_key(path.as_ref().as_bytes())
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Insists that both are the same, and names what is not.
    #[track_caller]
    pub fn assert_same(&self, other: &Self, what: &str) {
        let paths = self.nodes.keys().chain(other.nodes.keys());
        let mut differences: Vec<String> = paths
            .filter(|path| self.nodes.get(*path) != other.nodes.get(*path))
            .map(|path| {
                let path_text = path.escape_ascii();
                format!("{path_text}: {:?} and {:?}", self.nodes.get(path), other.nodes.get(path))
            })
            .collect();
        differences.dedup();
        assert!(differences.is_empty(), "{what}: {differences:#?}");
    }
}
