use std::collections::BTreeMap;

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::*;
use crate::workspace::Reviewer;

/// A host's repository, and what a guest has made of it.
struct Bench {
    dir: tempfile::TempDir,
    git: Git,
}

/// What is at a path: its mode, and its content or target.
type Files = BTreeMap<String, (u32, Vec<u8>)>;

impl Bench {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["repo", "guest", "scratch"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let git = Git::new(dir.path().join("repo"));
        let bench = Self { dir, git };
        bench.run(&["init", "-q"]).await;
        bench
    }

    async fn run(&self, args: &[&str]) -> Vec<u8> {
        let identity = ["-c", "user.name=x", "-c", "user.email=x@x"];
        self.git.command(identity).args(args).run().await.unwrap().stdout
    }

    fn path(&self, name: &str) -> PathBuf {
        self.git.dir().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), content).unwrap();
    }

    async fn commit(&self) {
        self.run(&["add", "-A"]).await;
        self.run(&["commit", "-qm", "x"]).await;
    }

    /// Has git write a patch of what `work` does to the files, and takes that back.
    async fn patch(&self, work: impl FnOnce(&Self)) -> PathBuf {
        self.commit().await;
        let index = fs::read(self.path(".git/index")).unwrap();
        let saved = self.dir.path().join("saved");
        copy_tree(self.git.dir(), &saved);
        work(self);
        self.run(&["-c", "core.autocrlf=false", "add", "-A", "-f"]).await;
        let args =
            ["diff-index", "-p", "-U3", "--cached", "--binary", "--full-index", "--find-renames", "HEAD"];
        let patch = self.dir.path().join("patch");
        fs::write(&patch, self.run(&args).await).unwrap();
        for entry in fs::read_dir(self.git.dir()).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.ends_with(".git") {
                continue;
            }
            if path.is_dir() && !path.is_symlink() {
                fs::remove_dir_all(&path).unwrap();
            } else {
                fs::remove_file(&path).unwrap();
            }
        }
        copy_tree(&saved, self.git.dir());
        fs::write(self.path(".git/index"), index).unwrap();
        patch
    }

    async fn land(&self, patch: &Path) -> Result<Landing, WorkspaceError> {
        let reviewer = Reviewer::new(Some(&self.git)).await.unwrap();
        let reviewed = reviewer.review(patch, &[]).await.unwrap();
        let places = (&*self.dir.path().join("scratch"), &*self.journals());
        Landing::prepare(&self.git, patch, &reviewed.changes, (Filters::Off, Filters::Off), 0o022, places)
            .await
    }

    fn journals(&self) -> PathBuf {
        self.dir.path().join("journals")
    }

    /// Everything but git's own directory, and what is in that by name.
    fn files(&self) -> Files {
        let mut files = Files::new();
        note_tree(self.git.dir(), self.git.dir(), &mut files);
        files
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, dest) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().unwrap() {
            _ if path.ends_with(".git") => {}
            kind if kind.is_dir() => copy_tree(&path, &dest),
            kind if kind.is_symlink() => symlink(fs::read_link(&path).unwrap(), &dest).unwrap(),
            _ => drop(fs::copy(&path, &dest).unwrap()),
        }
    }
}

fn note_tree(root: &Path, dir: &Path, files: &mut Files) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        let found = path.symlink_metadata().unwrap();
        let content = match found.file_type() {
            _ if name.starts_with(".git/") => Vec::new(),
            kind if kind.is_symlink() => fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes(),
            kind if kind.is_file() => fs::read(&path).unwrap(),
            _ => Vec::new(),
        };
        // Objects that the tests' own git makes are no trace of ours.
        if !name.starts_with(".git/objects") {
            files.insert(name, (found.mode(), content));
        }
        if found.is_dir() {
            note_tree(root, &path, files);
        }
    }
}

const ODD: &str = "odd \"name\"\nwith a line end";

/// A change of each kind.
async fn bench_of_all_kinds() -> (Bench, PathBuf) {
    let bench = Bench::new().await;
    let long = "a line of the file that moves\n".repeat(20);
    for (name, content) in [("kept", "k\n"), ("secret", "s\n"), ("gone/deep/one", "1\n"), ("moves", &long)] {
        bench.write(name, content);
    }
    for (name, content) in [("becomes/file", "f\n"), ("becomes-dir", "d\n"), ("program", "p\n"), (ODD, "o\n")]
    {
        bench.write(name, content);
    }
    symlink("kept", bench.path("link")).unwrap();
    fs::set_permissions(bench.path("secret"), Permissions::from_mode(0o600)).unwrap();
    let patch = bench
        .patch(|bench| {
            bench.write("secret", "S\n");
            fs::remove_dir_all(bench.path("gone")).unwrap();
            fs::create_dir(bench.path("into")).unwrap();
            fs::rename(bench.path("moves"), bench.path("into/moved")).unwrap();
            fs::remove_dir_all(bench.path("becomes")).unwrap();
            bench.write("becomes", "file\n");
            fs::remove_file(bench.path("becomes-dir")).unwrap();
            bench.write("becomes-dir/inside", "i\n");
            fs::set_permissions(bench.path("program"), Permissions::from_mode(0o755)).unwrap();
            bench.write(ODD, "O\n");
            fs::remove_file(bench.path("link")).unwrap();
            symlink("secret", bench.path("link")).unwrap();
            bench.write("new/file", "n\n");
            fs::write(bench.path("binary"), [0, 1, 2, 255]).unwrap();
        })
        .await;
    (bench, patch)
}

#[tokio::test]
async fn every_kind_of_change_lands_and_leaves_nothing_behind() {
    let (bench, patch) = bench_of_all_kinds().await;
    let before = bench.files();
    bench.land(&patch).await.unwrap().carry_out().await.unwrap();
    let after = bench.files();
    let content = |name: &str| (after[name].0 & 0o7777, String::from_utf8_lossy(&after[name].1).into_owned());
    assert_eq!(content("secret"), (0o600, "S\n".into()));
    assert_eq!(content("program"), (0o755, "p\n".into()));
    assert_eq!(content("becomes"), (0o644, "file\n".into()));
    assert_eq!(content("becomes-dir/inside"), (0o644, "i\n".into()));
    assert_eq!(content(ODD), (0o644, "O\n".into()));
    assert_eq!(content("new/file"), (0o644, "n\n".into()));
    assert_eq!(after["link"].1, b"secret");
    assert_eq!(after["binary"].1, [0, 1, 2, 255]);
    assert_eq!(after["into/moved"].1, before["moves"].1);
    for gone in ["gone", "moves", "becomes/file"] {
        assert!(!after.contains_key(gone), "{gone}");
    }
    let of_git =
        |files: &Files| files.keys().filter(|name| name.starts_with(".git")).cloned().collect::<Vec<_>>();
    assert_eq!(of_git(&before), of_git(&after));
    assert_eq!(fs::read_dir(bench.journals()).unwrap().count(), 0);
    assert_eq!(fs::read_dir(bench.dir.path().join("scratch")).unwrap().count(), 0);
}

/// An access list: owner, user 4242, group, mask, others.
fn access_list(allowed: [u16; 5]) -> Vec<u8> {
    let tags = [(1_u16, u32::MAX), (2, 4242), (4, u32::MAX), (16, u32::MAX), (32, u32::MAX)];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for ((tag, id), allowed) in tags.into_iter().zip(allowed) {
        list.extend([&tag.to_le_bytes()[..], &allowed.to_le_bytes(), &id.to_le_bytes()].concat());
    }
    list
}

#[tokio::test]
async fn needs_root_owner_group_and_access_list_of_a_file_stay() {
    let (access, default) = ("system.posix_acl_access", "system.posix_acl_default");
    let set = |path: &Path, name: &str, list: &[u8]| {
        rustix::fs::setxattr(path, name, list, rustix::fs::XattrFlags::empty())
    };
    let bench = Bench::new().await;
    bench.write("theirs", "one\n");
    bench.write("shared/x", "x\n");
    let patch = bench.patch(|bench| {
        bench.write("theirs", "two\n");
        fs::set_permissions(bench.path("theirs"), Permissions::from_mode(0o755)).unwrap();
        bench.write("shared/new/file", "f\n");
    });
    let patch = patch.await;
    let theirs = bench.path("theirs");
    let is_set = std::os::unix::fs::chown(&theirs, Some(4711), Some(4712)).is_ok()
        && set(&theirs, access, &access_list([6, 6, 4, 6, 0])).is_ok()
        && set(&bench.path("shared"), default, &access_list([7, 7, 5, 7, 0])).is_ok();
    if !is_set {
        println!("skipped: it takes root, and a file system with access lists");
        return;
    }
    bench.land(&patch).await.unwrap().carry_out().await.unwrap();
    let of = |path: &Path, name: &str| {
        let mut list = vec![0; 256];
        let len = rustix::fs::getxattr(path, name, &mut list[..]).unwrap();
        list[..len].to_vec()
    };
    let found = theirs.metadata().unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (4711, 4712, 0o770));
    assert_eq!(of(&theirs, access), access_list([7, 6, 4, 7, 0]));
    // What is new has what the directory gives to what is made in it.
    assert_eq!(of(&bench.path("shared/new"), access), access_list([7, 7, 5, 7, 0]));
    assert_eq!(of(&bench.path("shared/new/file"), access), access_list([6, 7, 5, 6, 0]));
}

#[tokio::test]
async fn whatever_stands_in_the_way_of_one_file_keeps_all_as_they_were() {
    let (bench, patch) = bench_of_all_kinds().await;
    for name in ["new", "binary", "into"] {
        let landing = bench.land(&patch).await.unwrap();
        bench.write(name, "mine");
        let before = bench.files();
        let error = landing.carry_out().await.unwrap_err();
        assert!(matches!(error, WorkspaceError::NotPutInPlace { .. }), "{name}: {error}");
        assert_eq!(bench.files(), before, "{name}");
        assert_eq!(fs::read_dir(bench.journals()).unwrap().count(), 0, "{name}");
        fs::remove_file(bench.path(name)).unwrap();
    }
}

#[tokio::test]
async fn what_a_dead_daemon_left_is_undone_unless_it_was_done() {
    let (bench, patch) = bench_of_all_kinds().await;
    let before = bench.files();
    for done in [false, true] {
        let Landing { mut stage, exchange, .. } = bench.land(&patch).await.unwrap();
        exchange.carry_out().unwrap();
        let after = bench.files();
        note(&stage.journal, &Journal { exchange, done }).unwrap();
        stage.is_needed = true;
        recover(&bench.journals()).unwrap();
        assert_eq!(fs::read_dir(bench.journals()).unwrap().count(), 0);
        if done {
            assert_eq!(bench.files()["secret"], after["secret"]);
        } else {
            assert_eq!(bench.files(), before);
        }
    }
}

#[tokio::test]
async fn the_patchs_own_attributes_have_no_say_in_what_is_written() {
    let bench = Bench::new().await;
    bench.write("x", "one\n");
    let patch = bench
        .patch(|bench| {
            bench.write("x", "two\n");
            bench.write("y", "three\n");
            bench.write(".gitattributes", "* eol=crlf text\n");
        })
        .await;
    bench.land(&patch).await.unwrap().carry_out().await.unwrap();
    for (name, content) in [("x", "two\n"), ("y", "three\n"), (".gitattributes", "* eol=crlf text\n")] {
        assert_eq!(fs::read_to_string(bench.path(name)).unwrap(), content, "{name}");
    }
}

#[tokio::test]
async fn files_that_the_host_converts_are_converted() {
    let bench = Bench::new().await;
    bench.write(".gitattributes", "*.txt text eol=crlf\n");
    bench.write("a.txt", "one\ntwo\n");
    let patch = bench
        .patch(|bench| {
            bench.write("a.txt", "one\nTWO\n");
            bench.write("b.txt", "new\n");
        })
        .await;
    // As git would have checked it out.
    bench.write("a.txt", "one\r\ntwo\r\n");
    bench.land(&patch).await.unwrap().carry_out().await.unwrap();
    assert_eq!(fs::read_to_string(bench.path("a.txt")).unwrap(), "one\r\nTWO\r\n");
    assert_eq!(fs::read_to_string(bench.path("b.txt")).unwrap(), "new\r\n");
}

#[tokio::test]
async fn what_the_host_has_changed_meanwhile_is_refused() {
    let (bench, patch) = bench_of_all_kinds().await;
    bench.write("secret", "mine\n");
    let before = bench.files();
    let Err(WorkspaceError::DoesNotApply { said }) = bench.land(&patch).await else { panic!("it lands") };
    assert!(said.contains("secret"), "{said}");
    assert_eq!(bench.files(), before);
}

#[tokio::test]
async fn no_filter_of_the_hosts_runs() {
    let bench = Bench::new().await;
    bench.write("a", "one\n");
    bench.write("gone", "x\n");
    let patch = bench
        .patch(|bench| {
            bench.write("a", "two\n");
            bench.write("new", "new\n");
            fs::remove_file(bench.path("gone")).unwrap();
        })
        .await;
    let mark = bench.dir.path().join("filter-ran");
    for (key, value) in [
        ("clean", "touch MARK; cat"),
        ("smudge", "touch MARK; cat"),
        ("process", "touch MARK"),
        ("required", "true"),
    ] {
        let value = value.replace("MARK", mark.to_str().unwrap());
        bench.run(&["config", &format!("filter.x.{key}"), &value]).await;
    }
    fs::write(bench.path(".git/info/attributes"), "* filter=x\n").unwrap();
    bench.land(&patch).await.unwrap().carry_out().await.unwrap();
    assert!(!mark.exists());
    assert_eq!(fs::read_to_string(bench.path("new")).unwrap(), "new\n");
}

#[tokio::test]
async fn what_a_conversion_makes_another_file_of_is_undone() {
    let bench = Bench::new().await;
    bench.write("a", "one\n");
    bench.write("gone", "x\n");
    let patch = bench
        .patch(|bench| {
            bench.write("a", "two\n");
            // With conversion of line ends, git reads another file than it has written.
            bench.write("new.txt", "one\r\ntwo\n");
            fs::remove_file(bench.path("gone")).unwrap();
        })
        .await;
    fs::write(bench.path(".git/info/attributes"), "*.txt text\n").unwrap();
    let before = bench.files();
    let error = bench.land(&patch).await.unwrap().carry_out().await.unwrap_err();
    assert!(matches!(&error, WorkspaceError::Converted { path } if path.ends_with("new.txt")), "{error}");
    assert_eq!(bench.files(), before);
    assert_eq!(fs::read_dir(bench.journals()).unwrap().count(), 0);
}

#[path = "landing_property_tests.rs"]
mod property;
