//! Which name in which directory means which node.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::arena::{NodeId, Text, add_text};
use crate::tar_source::TarError;

/// Index of a name in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DirEntryId(u32);

const NONE: u32 = u32::MAX;

/// Not in its directory's list.
const UNLINKED: u32 = u32::MAX - 1;

/// What one name in one directory means.
#[derive(Debug)]
struct DirEntry {
    parent: NodeId,
    /// Or [`NONE`]: the name is not there any more.
    node: u32,
    /// The next name in the same directory.
    next: u32,
    name: Text,
}

/// Names are found by a hash table over the entries, and listed by chains through them.
#[derive(Debug)]
pub(super) struct Names {
    entries: Vec<DirEntry>,
    texts: Vec<u8>,
    /// The first entry of every node that is a directory.
    heads: Vec<u32>,
    index: HashTable<u32>,
    hasher: RandomState,
}

impl Names {
    pub(super) fn new() -> Self {
        Self {
            entries: Vec::new(),
            texts: Vec::new(),
            heads: vec![NONE],
            index: HashTable::new(),
            hasher: RandomState::new(),
        }
    }

    /// How many names there are or were.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn add_node(&mut self) {
        self.heads.push(NONE);
    }

    fn find(&self, parent: NodeId, name: &[u8]) -> Option<u32> {
        let is_it = |id: &u32| {
            let entry = &self.entries[*id as usize];
            entry.parent == parent && entry.name.of(&self.texts) == name
        };
        self.index.find(self.hasher.hash_one((parent, name)), is_it).copied()
    }

    pub(super) fn get(&self, parent: NodeId, name: &[u8]) -> Option<NodeId> {
        let entry = &self.entries[self.find(parent, name)? as usize];
        (entry.node != NONE).then(|| NodeId::at(entry.node as usize))
    }

    /// `path` is for errors.
    pub(super) fn set(
        &mut self,
        parent: NodeId,
        name: &[u8],
        id: NodeId,
        path: &[u8],
    ) -> Result<(), TarError> {
        let found = self.find(parent, name);
        let number = match found {
            Some(number) => number,
            None => {
                let name = add_text(&mut self.texts, name, path)?;
                self.entries.push(DirEntry { parent, node: NONE, next: UNLINKED, name });
                self.entries.len() as u32 - 1
            }
        };
        let entry = &mut self.entries[number as usize];
        entry.node = id.index() as u32;
        if entry.next == UNLINKED {
            entry.next = std::mem::replace(&mut self.heads[parent.index()], number);
        }
        if found.is_none() {
            let (entries, texts, hasher) = (&self.entries, &self.texts, &self.hasher);
            let hash = |id: &u32| {
                let entry = &entries[*id as usize];
                hasher.hash_one((entry.parent, entry.name.of(texts)))
            };
            self.index.insert_unique(hasher.hash_one((parent, name)), number, hash);
        }
        Ok(())
    }

    pub(super) fn clear(&mut self, parent: NodeId, name: &[u8]) {
        if let Some(number) = self.find(parent, name) {
            self.entries[number as usize].node = NONE;
        }
    }

    /// The list is taken apart as well, so that doing this again and again costs nothing.
    pub(super) fn clear_all(&mut self, parent: NodeId) {
        let mut number = std::mem::replace(&mut self.heads[parent.index()], NONE);
        while number != NONE {
            let entry = &mut self.entries[number as usize];
            entry.node = NONE;
            number = std::mem::replace(&mut entry.next, UNLINKED);
        }
    }

    pub(super) fn without_index(self) -> Self {
        Self { index: HashTable::new(), ..self }
    }

    /// Adds a name that is not there; it cannot be found afterwards, only listed.
    pub(super) fn append(&mut self, parent: NodeId, name: &[u8], id: NodeId) {
        let start = self.texts.len();
        self.texts.extend_from_slice(name);
        let next = std::mem::replace(&mut self.heads[parent.index()], self.entries.len() as u32);
        let name = Text::at(start, name.len());
        self.entries.push(DirEntry { parent, node: id.index() as u32, next, name });
    }

    pub(super) fn children(&self, parent: NodeId) -> impl Iterator<Item = (DirEntryId, &[u8], NodeId)> {
        let mut number = self.heads[parent.index()];
        let all = std::iter::from_fn(move || {
            let entry = self.entries.get(number as usize)?;
            let id = DirEntryId(std::mem::replace(&mut number, entry.next));
            Some((id, entry))
        });
        all.filter(|(_, entry)| entry.node != NONE)
            .map(|(id, entry)| (id, entry.name.of(&self.texts), NodeId::at(entry.node as usize)))
    }

    /// Puts a directory's list in the order of its names, and drops from it those that are not there any
    /// more.
    pub(super) fn sort(&mut self, parent: NodeId) {
        let mut children: Vec<u32> = self.children(parent).map(|(id, ..)| id.0).collect();
        children.sort_unstable_by_key(|id| self.entries[*id as usize].name.of(&self.texts));
        let mut next = NONE;
        for id in children.into_iter().rev() {
            self.entries[id as usize].next = next;
            next = id;
        }
        self.heads[parent.index()] = next;
    }

    pub(super) fn entry(&self, id: DirEntryId) -> (NodeId, &[u8]) {
        let entry = &self.entries[id.0 as usize];
        (entry.parent, entry.name.of(&self.texts))
    }
}
