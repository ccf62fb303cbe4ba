//! Directories that pass for a repository. Whoever runs git inside one runs it with the configuration in
//! there.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use banger_guest_protocol::ByteString;

use super::names::fold;
use super::{Finding, Rule};
use crate::workspace::patch::FileChange;

/// What of a repository a directory has.
#[derive(Default, Clone, Copy)]
struct Parts {
    head: bool,
    objects: bool,
    refs: bool,
    common: bool,
}

impl Parts {
    fn of(name: &[u8]) -> Option<Self> {
        let none = Self::default();
        match name {
            b"head" => Some(Self { head: true, ..none }),
            b"objects" => Some(Self { objects: true, ..none }),
            b"refs" => Some(Self { refs: true, ..none }),
            b"commondir" => Some(Self { common: true, ..none }),
            _ => None,
        }
    }

    fn add(&mut self, other: Self) {
        self.head |= other.head;
        self.objects |= other.objects;
        self.refs |= other.refs;
        self.common |= other.common;
    }

    /// `commondir` says where else the other parts are.
    fn is_repository(self) -> bool {
        self.head && (self.common || (self.objects && self.refs))
    }
}

/// Every directory of a folded path that holds a part of a repository, with that part. A directory is known
/// by the hash of its path: a deep path has too many directories to keep their names.
fn parts(folded: &[u8], seed: &RandomState) -> Vec<(u64, Parts)> {
    let mut directory = seed.build_hasher();
    let mut found = Vec::new();
    for component in folded.split(|byte| *byte == b'/') {
        if let Some(part) = Parts::of(component) {
            found.push((directory.finish(), part));
        }
        directory.write(component);
        directory.write_u8(b'/');
    }
    found
}

/// The directories in which a patch makes or changes a part of a repository.
pub(super) struct Candidates<'a> {
    directories: HashMap<u64, (Parts, &'a ByteString)>,
    seed: RandomState,
}

impl<'a> Candidates<'a> {
    pub(super) fn new(changes: &'a [FileChange]) -> Self {
        let seed = RandomState::new();
        let mut directories: HashMap<u64, (Parts, &ByteString)> = HashMap::new();
        for path in changes.iter().filter_map(FileChange::new_path) {
            for (directory, part) in parts(&fold(path.as_bytes()), &seed) {
                directories.entry(directory).or_insert((part, path)).0.add(part);
            }
        }
        Self { directories, seed }
    }

    /// Adds what the tree has there already.
    pub(super) fn complete(&mut self, existing: &[u8]) {
        if self.directories.is_empty() {
            return;
        }
        for (directory, part) in parts(&fold(existing), &self.seed) {
            if let Some((parts, _)) = self.directories.get_mut(&directory) {
                parts.add(part);
            }
        }
    }

    pub(super) fn findings(self) -> impl Iterator<Item = Finding> {
        let repositories = self.directories.into_values().filter(|(parts, _)| parts.is_repository());
        repositories.map(|(_, path)| Finding {
            rule: Rule::NestedRepository,
            path: path.clone(),
            detail: None,
        })
    }
}
