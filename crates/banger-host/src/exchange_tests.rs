use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

const TAKEN: [&str; 5] = ["a/b", "f", "d/mod", "gone/deep/one", "link"];
const PUT: [(&str, &str); 7] = [
    ("a", "was a directory"),
    ("f/x", "was a file"),
    ("d/mod", "new"),
    ("n/e/w", "w"),
    ("link", "l"),
    ("top", "t"),
    ("hollow", "was an empty directory"),
];

struct Tree {
    dir: tempfile::TempDir,
}

impl Tree {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tree = Self { dir };
        for (path, content) in [
            ("keep", "k"),
            ("a/b", "b"),
            ("f", "f"),
            ("d/mod", "old"),
            ("d/other", "o"),
            ("gone/deep/one", "1"),
        ] {
            fs::create_dir_all(tree.root().join(path).parent().unwrap()).unwrap();
            fs::write(tree.root().join(path), content).unwrap();
        }
        symlink("keep", tree.root().join("link")).unwrap();
        fs::create_dir(tree.root().join("hollow")).unwrap();
        fs::set_permissions(tree.root().join("gone"), fs::Permissions::from_mode(0o750)).unwrap();
        fs::create_dir_all(tree.stage().join("old")).unwrap();
        fs::create_dir_all(tree.stage().join("new")).unwrap();
        for (index, (_, content)) in PUT.iter().enumerate() {
            fs::write(tree.stage().join("new").join(index.to_string()), content).unwrap();
        }
        tree
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    fn stage(&self) -> PathBuf {
        self.dir.path().join("stage")
    }

    fn exchange(&self) -> Exchange {
        let stamp = |path: &Path| Stamp::of(&self.root().join(path)).unwrap();
        let taken = TAKEN.iter().map(PathBuf::from).map(|path| (path.clone(), stamp(&path))).collect();
        let put = PUT.iter().map(|(path, _)| PathBuf::from(path)).collect();
        Exchange::plan(&self.root(), &self.stage(), taken, put, 0o755).unwrap()
    }

    /// Every path with its kind, mode and content.
    fn fingerprint(&self) -> Vec<String> {
        let mut found = Vec::new();
        note(&self.root(), &mut found);
        found.sort();
        found
    }
}

fn note(dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        let content = if metadata.is_dir() {
            note(&path, found);
            "directory".to_owned()
        } else if metadata.is_symlink() {
            fs::read_link(&path).unwrap().display().to_string()
        } else {
            fs::read_to_string(&path).unwrap()
        };
        found.push(format!("{} {:o} {content}", path.display(), metadata.mode()));
    }
}

#[test]
fn all_of_it_is_done() {
    let tree = Tree::new();
    tree.exchange().carry_out().unwrap();
    for (path, content) in PUT.iter().chain(&[("keep", "k"), ("d/other", "o")]) {
        assert_eq!(fs::read_to_string(tree.root().join(path)).unwrap(), *content, "{path}");
    }
    assert!(!tree.root().join("gone").exists());
    assert_eq!(tree.root().join("n/e").metadata().unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn whatever_has_been_done_can_be_undone_by_another_process() {
    let steps = Tree::new().exchange().steps().count();
    assert_eq!(steps, TAKEN.len() + PUT.len() + 4 + 3);
    for done in 0..=steps {
        let tree = Tree::new();
        let before = tree.fingerprint();
        let exchange = tree.exchange();
        let written = serde_json::to_string(&exchange).unwrap();
        let places = exchange.places().unwrap();
        for step in exchange.steps().take(done) {
            exchange.take_step(&places, &step).unwrap();
        }
        let found: Exchange = serde_json::from_str(&written).unwrap();
        assert_eq!(found.undo().unwrap(), Vec::<PathBuf>::new());
        assert_eq!(tree.fingerprint(), before, "after {done} steps");
        // Whoever is not sure does it once more.
        found.undo().unwrap();
        assert_eq!(tree.fingerprint(), before, "twice, after {done} steps");
    }
}

#[test]
fn what_comes_in_the_way_stays_and_the_rest_is_undone() {
    for (path, _) in PUT.iter().filter(|(path, _)| ["n/e/w", "top"].contains(path)) {
        let tree = Tree::new();
        let exchange = tree.exchange();
        let outermost = tree.root().join(Path::new(path).iter().next().unwrap());
        fs::write(&outermost, "mine").unwrap();
        let before = tree.fingerprint();
        let error = exchange.carry_out().unwrap_err();
        assert!(error.path.starts_with(outermost.file_name().unwrap()), "{error}");
        exchange.undo().unwrap();
        assert_eq!(tree.fingerprint(), before);
    }
}

#[test]
fn what_was_written_to_since_is_kept() {
    let tree = Tree::new();
    let exchange = tree.exchange();
    exchange.carry_out().unwrap();
    fs::write(tree.root().join("top"), "edited since").unwrap();
    fs::write(tree.root().join("d/mod"), "edited, too").unwrap();
    for _ in 0..2 {
        assert_eq!(exchange.undo().unwrap(), [PathBuf::from("d/mod"), PathBuf::from("top")]);
        assert_eq!(fs::read_to_string(tree.root().join("top")).unwrap(), "edited since");
        assert_eq!(fs::read_to_string(tree.root().join("d/mod")).unwrap(), "edited, too");
        assert_eq!(fs::read_to_string(tree.stage().join("old/2")).unwrap(), "old");
        assert!(tree.root().join("a/b").exists());
    }
}

#[test]
fn what_was_written_to_before_is_not_taken() {
    let tree = Tree::new();
    let exchange = tree.exchange();
    fs::write(tree.root().join("d/mod"), "edited meanwhile").unwrap();
    let before = tree.fingerprint();
    let error = exchange.carry_out().unwrap_err();
    assert!(error.path.ends_with("d/mod"), "{error}");
    exchange.undo().unwrap();
    assert_eq!(tree.fingerprint(), before);
}
