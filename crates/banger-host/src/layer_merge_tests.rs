use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::file_tree::{FrozenTree, NodeId, NodeKind, ROOT};
use crate::tar_source::{Attributes, FileContent, TarEntry, TarKind};

#[test]
fn names_that_remove_are_told_apart() {
    let meaning = |path: &str| meaning(path.as_bytes());
    assert_eq!(meaning("a/.wh.b"), Meaning::Remove(b"a/b".to_vec()));
    assert_eq!(meaning(".wh.b"), Meaning::Remove(b"b".to_vec()));
    assert_eq!(meaning("a/.wh..b"), Meaning::Remove(b"a/.b".to_vec()));
    assert_eq!(meaning("a/b/.wh..wh..opq"), Meaning::Empty(b"a/b".to_vec()));
    assert_eq!(meaning(".wh..wh..opq"), Meaning::Empty(Vec::new()));
    // What it is that is removed is the last name's to say.
    for path in ["", "a", "a/wh.b", "x.wh.b", "a.wh./b", ".wh", ".wh./x", ".wh.a/x", "a/.wh.b/c"] {
        assert_eq!(meaning(path), Meaning::Entry, "{path}");
    }
    for path in [".wh..wh.plnk/1.2", ".wh.", ".wh..", ".wh...", "a/.wh."] {
        assert_eq!(meaning(path), Meaning::Nothing, "{path}");
    }
}

/// A few names, so that they meet.
const NAMES: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Debug)]
enum Change {
    Directory(u16),
    File(u16),
    Symlink,
    Link(Vec<usize>),
    Remove,
    Empty,
}

fn any_path() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..NAMES.len(), 1..4)
}

fn any_layer() -> impl Strategy<Value = Vec<(Vec<usize>, Change)>> {
    let change = prop_oneof![
        3 => (0..0o777_u16).prop_map(Change::Directory),
        3 => (0..0o777_u16).prop_map(Change::File),
        1 => Just(Change::Symlink),
        1 => any_path().prop_map(Change::Link),
        2 => Just(Change::Remove),
        1 => Just(Change::Empty),
    ];
    prop::collection::vec((any_path(), change), 0..10)
}

fn spell(path: &[usize]) -> String {
    path.iter().map(|part| NAMES[*part]).collect::<Vec<_>>().join("/")
}

fn as_entry(path: &[usize], change: &Change) -> TarEntry {
    let (parent, last) = path.split_at(path.len() - 1);
    let below = |parent: &[usize], name: &str| {
        let parent = spell(parent);
        if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") }
    };
    let file = || TarKind::File(FileContent::default());
    let (path, mode, kind) = match change {
        Change::Directory(mode) => (spell(path), *mode, TarKind::Directory),
        Change::File(mode) => (spell(path), *mode, file()),
        Change::Symlink => (spell(path), 0, TarKind::Symlink { target: b"nowhere".to_vec() }),
        Change::Link(target) => (spell(path), 0, TarKind::HardLink { target: spell(target).into() }),
        Change::Remove => (below(parent, &format!(".wh.{}", spell(last))), 0, file()),
        Change::Empty => (below(path, ".wh..wh..opq"), 0, file()),
    };
    TarEntry { path: path.into(), attributes: Attributes { mode, ..Attributes::default() }, kind }
}

/// As [`add_layer`], with entries from memory.
fn merge(tree: &mut FileTree, layer: &[(Vec<usize>, Change)]) -> Result<(), TarError> {
    let entries: Vec<TarEntry> = layer.iter().map(|(path, change)| as_entry(path, change)).collect();
    for entry in &entries {
        remove_in(tree, &entry.path);
    }
    for entry in entries {
        if meaning(&entry.path) == Meaning::Entry {
            tree.insert(0, entry)?;
        }
    }
    tree.resolve_links()
}

/// What is at a path: which inode, of which kind, with which mode.
type Model = BTreeMap<Vec<usize>, (usize, char, u16)>;

/// The image specification, word for word, on whole paths. None when a layer is wrong.
fn apply(model: &mut Model, layer: &[(Vec<usize>, Change)], inode: &mut usize) -> Option<()> {
    let is_below = |path: &Vec<usize>, top: &[usize]| path.len() > top.len() && path.starts_with(top);
    for (path, change) in layer {
        // No symbolic link of the model leads anywhere, nor does a file.
        let reachable =
            (1..path.len()).all(|len| model.get(&path[..len]).is_some_and(|found| found.1 == 'd'));
        match change {
            Change::Remove if reachable => model.retain(|other, _| other != path && !is_below(other, path)),
            Change::Empty if reachable && model.get(path).is_some_and(|found| found.1 == 'd') => {
                model.retain(|other, _| !is_below(other, path));
            }
            _ => {}
        }
    }
    let mut pending = Vec::new();
    // Directories count from there on; files must not be taken for one of them, nor for one another.
    let mut next = *inode + 500_000;
    let mut put = |model: &mut Model, path: &[usize], what: (usize, char, u16)| {
        for len in 1..path.len() {
            *inode += 1;
            let parent = model.entry(path[..len].to_vec()).or_insert((*inode, 'd', 0o755));
            // Links that lead nowhere make a directory there; not in this model.
            if parent.1 != 'd' {
                return None;
            }
        }
        let stays = what.1 == 'd' && model.get(path).is_some_and(|found| found.1 == 'd');
        if !stays {
            model.retain(|other, _| !is_below(other, path));
        }
        *inode += 1;
        let own = if what.1 == 'd' { *inode } else { what.0.max(1) };
        model.insert(path.to_vec(), (own, what.1, what.2));
        Some(())
    };
    for (path, change) in layer {
        next += 1;
        match change {
            Change::Directory(mode) => put(model, path, (0, 'd', *mode))?,
            Change::File(mode) => put(model, path, (next, 'f', *mode))?,
            Change::Symlink => put(model, path, (next, 'l', 0))?,
            Change::Link(target) => match model.get(target).copied().filter(|found| found.1 != 'd') {
                Some(found) => put(model, path, found)?,
                None => pending.push((path, target)),
            },
            Change::Remove | Change::Empty => {}
        }
    }
    for (path, target) in pending {
        let found = model.get(target).copied().filter(|found| found.1 != 'd')?;
        put(model, path, found)?;
    }
    Some(())
}

/// The paths, and which of them are one file.
type Outcome = (BTreeMap<String, (char, u16)>, Vec<Vec<String>>);

fn outcome(all: Vec<(String, usize, char, u16)>) -> Outcome {
    let mut groups: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (path, inode, kind, _) in &all {
        if *kind != 'd' {
            groups.entry(*inode).or_default().push(path.clone());
        }
    }
    let mut groups: Vec<Vec<String>> = groups.into_values().filter(|group| group.len() > 1).collect();
    groups.iter_mut().for_each(|group| group.sort());
    groups.sort();
    (all.into_iter().map(|(path, _, kind, mode)| (path, (kind, mode))).collect(), groups)
}

fn list(tree: &FrozenTree, directory: NodeId, prefix: &str, all: &mut Vec<(String, usize, char, u16)>) {
    for (_, name, id) in tree.children(directory) {
        let path = format!("{prefix}{}", String::from_utf8_lossy(name));
        let node = tree.node(id);
        let kind = match node.kind {
            NodeKind::Directory => 'd',
            NodeKind::Symlink(_) => 'l',
            _ => 'f',
        };
        all.push((path.clone(), id.index(), kind, node.mode));
        list(tree, id, &(path + "/"), all);
    }
}

/// Does a path of this layer lead through a symbolic link, of it or of what is below?
fn leads_through_a_link(model: &Model, layer: &[(Vec<usize>, Change)]) -> bool {
    let mut links: Vec<&[usize]> = layer
        .iter()
        .filter(|(_, change)| matches!(change, Change::Symlink | Change::Link(_)))
        .map(|(path, _)| &path[..])
        .collect();
    links.extend(model.iter().filter(|(_, found)| found.1 == 'l').map(|(path, _)| &path[..]));
    let targets = layer.iter().filter_map(|(_, change)| match change {
        Change::Link(target) => Some(target),
        _ => None,
    });
    layer
        .iter()
        .map(|(path, _)| path)
        .chain(targets)
        .any(|path| links.iter().any(|link| path.len() > link.len() && path.starts_with(link)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, max_global_rejects: 100_000, ..ProptestConfig::default() })]

    #[test]
    fn layers_merge_as_specified(layers in prop::collection::vec(any_layer(), 1..5)) {
        let (mut tree, mut model, mut inode) = (FileTree::new(), Model::new(), 0);
        for layer in &layers {
            // That is the subject of the tree's own tests.
            prop_assume!(!leads_through_a_link(&model, layer));
            let merged = merge(&mut tree, layer);
            inode += 1_000_000;
            let applied = apply(&mut model, layer, &mut inode);
            prop_assert_eq!(merged.is_ok(), applied.is_some(), "{:?}", merged);
            if applied.is_none() {
                return Ok(());
            }
        }
        let mut all = Vec::new();
        list(&tree.freeze(), ROOT, "", &mut all);
        let expected = model.into_iter().map(|(path, (inode, kind, mode))| (spell(&path), inode, kind, mode));
        prop_assert_eq!(outcome(all), outcome(expected.collect()));
    }
}
