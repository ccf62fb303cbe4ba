//! The layers of an OCI image put over one another.
//!
//! A layer says what it removes of those below it by names of its own: `.wh.NAME` removes NAME,
//! `.wh..wh..opq` all that the directory held. Neither touches what the layer itself brings, wherever in the
//! layer it stands: so a layer is read twice, first for what it removes, then for what it adds.

use std::path::Path;

use crate::file_tree::FileTree;
use crate::tar_source::{TarError, read_entries};

const PREFIX: &[u8] = b".wh.";

/// What begins with this is about the layer, not about files; all but the opaque mark are leftovers of AUFS.
const META_PREFIX: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What an entry's path means in a layer.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    /// Something to be there.
    Entry,
    /// This path is removed.
    Remove(Vec<u8>),
    /// Everything below this directory is.
    Empty(Vec<u8>),
    Nothing,
}

/// Adds the layer `tar`, the `number`th from below, to what is there. `go_on` is asked at every entry.
pub(crate) fn add_layer(
    tree: &mut FileTree,
    tar: &Path,
    number: u16,
    mut go_on: impl FnMut() -> bool,
) -> Result<(), TarError> {
    let mut check = || if go_on() { Ok(()) } else { Err(TarError::Cancelled) };
    // Nothing lies below the first.
    if number > 0 {
        read_entries(tar, |entry| {
            check()?;
            remove_in(tree, &entry.path);
            Ok(())
        })?;
    }
    read_entries(tar, |entry| {
        check()?;
        match meaning(&entry.path) {
            Meaning::Entry => tree.insert(number, entry),
            _ => Ok(()),
        }
    })?;
    tree.resolve_links()
}

/// Does what a name of a layer asks to be removed.
fn remove_in(tree: &mut FileTree, path: &[u8]) {
    match meaning(path) {
        Meaning::Remove(path) => tree.remove(&path),
        Meaning::Empty(path) => tree.empty(&path),
        Meaning::Entry | Meaning::Nothing => {}
    }
}

fn meaning(path: &[u8]) -> Meaning {
    let mut parts = path.split(|byte| *byte == b'/').peekable();
    let mut parent_len = 0;
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        match part.strip_prefix(PREFIX) {
            Some(_) if is_last && part == OPAQUE => return Meaning::Empty(path[..parent_len].to_vec()),
            Some(_) if part.starts_with(META_PREFIX) => return Meaning::Nothing,
            // Nothing has such a name.
            Some(b"" | b"." | b"..") if is_last => return Meaning::Nothing,
            Some(name) if is_last => {
                let parent = &path[..parent_len];
                let slash: &[u8] = if parent.is_empty() { b"" } else { b"/" };
                return Meaning::Remove([parent, slash, name].concat());
            }
            _ => {}
        }
        // With the slash before it, which the root has none of.
        parent_len += part.len() + usize::from(parent_len > 0);
    }
    Meaning::Entry
}

#[cfg(test)]
#[path = "layer_merge_tests.rs"]
mod tests;
