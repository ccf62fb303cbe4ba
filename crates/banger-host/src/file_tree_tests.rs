use super::*;

fn add(tree: &mut FileTree, path: &str, mode: u16, kind: TarKind) -> Result<(), TarError> {
    let attributes = Attributes { mode, ..Attributes::default() };
    tree.insert(0, TarEntry { path: path.into(), attributes, kind })
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

fn find(tree: &FileTree, path: &str) -> Option<NodeId> {
    let (parent, name) = split(path.as_bytes())?;
    let parent = tree.arena.lookup(parent)?;
    tree.arena.names.get(parent, name)
}

fn mode(tree: &FileTree, path: &str) -> Option<u16> {
    find(tree, path).map(|id| tree.arena.nodes[id.index()].mode)
}

#[test]
fn a_parent_may_come_late_or_never() {
    let mut tree = FileTree::new();
    add(&mut tree, "a/b/file", 0o644, file()).unwrap();
    add(&mut tree, "a", 0o700, TarKind::Directory).unwrap();
    assert_eq!(mode(&tree, "a"), Some(0o700));
    assert_eq!(mode(&tree, "a/b"), Some(0o755));
    assert!(find(&tree, "a/b/file").is_some());
}

#[test]
fn a_directory_made_on_the_way_takes_the_group_along_as_mkdir_does() {
    let mut tree = FileTree::new();
    let attributes = Attributes { mode: 0o2750, uid: 7, gid: 8, ..Attributes::default() };
    tree.insert(0, TarEntry { path: b"srv".into(), attributes, kind: TarKind::Directory }).unwrap();
    add(&mut tree, "srv/a/b/file", 0o644, file()).unwrap();
    for path in ["srv/a", "srv/a/b"] {
        let node = &tree.arena.nodes[find(&tree, path).unwrap().index()];
        assert_eq!((node.mode, node.uid, node.gid), (0o2755, 0, 8), "{path}");
    }
}

#[test]
fn the_last_entry_wins_but_a_hard_link_keeps_the_first() {
    let mut tree = FileTree::new();
    add(&mut tree, "f", 0o600, file()).unwrap();
    add(&mut tree, "link", 0, hard_link("f")).unwrap();
    add(&mut tree, "f", 0o644, file()).unwrap();
    assert_eq!((mode(&tree, "f"), mode(&tree, "link")), (Some(0o644), Some(0o600)));
}

#[test]
fn a_link_to_a_later_entry_is_fine_and_one_to_nothing_is_not() {
    let mut tree = FileTree::new();
    add(&mut tree, "link", 0, hard_link("f")).unwrap();
    add(&mut tree, "f", 0o600, file()).unwrap();
    tree.resolve_links().unwrap();
    assert_eq!(find(&tree, "link"), find(&tree, "f"));
    add(&mut tree, "directory", 0, TarKind::Directory).unwrap();
    for target in ["nothing", "directory", "", "f/x"] {
        add(&mut tree, "broken", 0, hard_link(target)).unwrap();
        assert!(matches!(tree.resolve_links(), Err(TarError::LinkTarget { .. })), "{target}");
    }
}

#[test]
fn links_on_the_way_stay_inside() {
    let mut tree = FileTree::new();
    add(&mut tree, "out", 0, symlink("../../../etc")).unwrap();
    add(&mut tree, "out/passwd", 0o600, file()).unwrap();
    assert!(find(&tree, "etc/passwd").is_some());
    add(&mut tree, "bin", 0, symlink("/usr/bin")).unwrap();
    add(&mut tree, "bin/sh", 0o755, file()).unwrap();
    assert!(find(&tree, "usr/bin/sh").is_some());
    add(&mut tree, "past", 0, symlink("missing/../beside")).unwrap();
    add(&mut tree, "past/x", 0, file()).unwrap();
    assert!(find(&tree, "beside/x").is_some() && find(&tree, "missing").is_none());
    add(&mut tree, "loop", 0, symlink("loop")).unwrap();
    assert!(matches!(add(&mut tree, "loop/x", 0, file()), Err(TarError::NotDirectory { .. })));
    add(&mut tree, "plain", 0, file()).unwrap();
    assert!(matches!(add(&mut tree, "plain/x", 0, file()), Err(TarError::NotDirectory { .. })));
    assert!(matches!(add(&mut tree, "", 0, file()), Err(TarError::NotDirectory { .. })));
}

#[test]
fn what_was_removed_can_come_back() {
    let mut tree = FileTree::new();
    for round in 0..3 {
        add(&mut tree, "d/a", round, file()).unwrap();
        add(&mut tree, "d/b", round, file()).unwrap();
        tree.remove(b"d/a");
        assert_eq!((mode(&tree, "d/a"), mode(&tree, "d/b")), (None, Some(round)));
        tree.empty(b"d");
        tree.empty(b"d");
        assert_eq!((mode(&tree, "d"), mode(&tree, "d/b")), (Some(0o755), None));
    }
    add(&mut tree, "d/b", 1, file()).unwrap();
    add(&mut tree, "d/a", 2, file()).unwrap();
    tree.empty(b"nothing/here");
    tree.remove(b"d/a/below/a/file");
    let directory = find(&tree, "d").unwrap();
    let mut tree = tree.freeze();
    tree.sort_children(directory);
    let names: Vec<&[u8]> = tree.children(directory).map(|(_, name, _)| name).collect();
    assert_eq!(names, [b"a", b"b"]);
}

#[test]
fn a_file_that_grows_beyond_the_tables_is_named() {
    let mut tree = FileTree::new();
    let attributes =
        Attributes { xattrs: vec![(b"user.x".to_vec(), vec![0; 17 << 20])], ..Attributes::default() };
    let error = tree.insert(0, TarEntry { path: b"f".to_vec(), attributes, kind: file() }).unwrap_err();
    assert!(matches!(error, TarError::TooMany { .. }), "{error:?}");
}
