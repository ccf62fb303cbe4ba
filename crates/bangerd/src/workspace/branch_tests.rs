use super::super::guest_objects::{GuestObjects, PACK};
use super::*;
use crate::workspace::Reviewer;
use crate::workspace::scratch::LeftOut;

/// A host's repository, and a guest's copy of it.
struct Bench {
    dir: tempfile::TempDir,
    host: Git,
    guest: Git,
}

const MANY: u64 = 1 << 30;

async fn run(git: &Git, args: &[&str]) -> String {
    let identity = ["-c", "user.name=Guest", "-c", "user.email=guest@vm", "-c", "protocol.file.allow=always"];
    let output =
        git.command(identity).args(args).run().await.unwrap_or_else(|error| panic!("{args:?}: {error}"));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

impl Bench {
    /// With one commit, one file that was changed since, and hooks that would fail.
    async fn new(format: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["host", "scratch"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let (host, guest) = (Git::new(dir.path().join("host")), Git::new(dir.path().join("guest")));
        run(&host, &["init", "-q", "-b", "main", &format!("--object-format={format}")]).await;
        for (name, value) in [
            ("user.name", "J\u{f6}rg Host"),
            ("user.email", "host@home"),
            ("commit.gpgsign", "true"),
            ("gpg.program", "/bin/false"),
        ] {
            run(&host, &["config", name, value]).await;
        }
        let bench = Self { dir, host, guest };
        bench.write_host("kept", "kept\n");
        bench.write_host("changed", "one\ntwo\n");
        run(&bench.host, &["add", "-A"]).await;
        run(&bench.host, &["commit", "-q", "--no-gpg-sign", "-m", "first"]).await;
        bench.write_host("changed", "one\ntwo\nsent\n");
        let hooks = bench.host.dir().join(".git/hooks");
        fs::create_dir_all(&hooks).unwrap();
        for hook in ["reference-transaction", "post-commit", "pre-commit", "commit-msg", "post-index-change"]
        {
            let path = hooks.join(hook);
            fs::write(&path, format!("#!/bin/sh\ntouch {}/hook-ran\nexit 1\n", bench.dir.path().display()))
                .unwrap();
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        let from = bench.host.dir().to_str().unwrap();
        run(&Git::new(bench.dir.path()), &["clone", "-q", from, "guest"]).await;
        bench
    }

    fn write_host(&self, name: &str, content: &str) {
        fs::write(self.host.dir().join(name), content).unwrap();
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.guest.dir().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// The tree of what is in the guest's files.
    async fn tree(&self) -> ObjectId {
        run(&self.guest, &["add", "-A"]).await;
        id(&run(&self.guest, &["write-tree"]).await)
    }

    async fn start(&self) -> ObjectId {
        id(&run(&self.host, &["rev-parse", "main"]).await)
    }

    /// What the guest sends when the workspace was prepared at `base`.
    async fn send(&self, base: ObjectId, commits: bool) -> (GuestObjects, PathBuf) {
        let now = self.tree().await;
        let (start, head) = (self.start().await, id(&run(&self.guest, &["rev-parse", "HEAD"]).await));
        let head = Some(head).filter(|head| commits && *head != start);
        let objects = GuestObjects {
            base,
            whole: base,
            now,
            head,
            trees: Vec::new(),
            left_out: LeftOut::default(),
            index_unread: false,
        };
        let pack = self.dir.path().join("scratch/pack");
        let packed =
            self.guest.command(PACK).stdin(objects.revisions(Some(start)).into_bytes()).run().await.unwrap();
        fs::write(&pack, packed.stdout).unwrap();
        (objects, pack)
    }

    async fn take_in(
        &self,
        objects: GuestObjects,
        pack: &Path,
        limit: u64,
    ) -> Result<Work<'_>, WorkspaceError> {
        let scratch = self.dir.path().join("scratch");
        Work::take_in(&self.host, &scratch, pack, objects, Some(self.start().await), limit).await
    }

    /// Sends the guest's files, and makes a branch of them.
    async fn export(&self, base: ObjectId, wanted: Wanted) -> Result<usize, WorkspaceError> {
        let free = Free::look(&self.host, wanted).await?;
        let (objects, pack) = self.send(base, free.wanted.commits).await;
        let work = self.take_in(objects, &pack, MANY).await?;
        let (tip, made) = work.commit(&free.wanted).await?;
        work.put(&free, tip, &self.journals()).await?;
        Ok(made)
    }

    /// All of the host's that a branch must leave alone.
    async fn fingerprint(&self) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        for name in [
            "kept",
            "changed",
            ".git/index",
            ".git/config",
            ".git/HEAD",
            ".git/logs/HEAD",
            ".git/logs/refs/heads/main",
        ] {
            found.push((name.to_owned(), fs::read(self.host.dir().join(name)).unwrap()));
        }
        found.push(("status".into(), run(&self.host, &["status", "--porcelain"]).await.into_bytes()));
        found
    }

    fn journals(&self) -> PathBuf {
        self.dir.path().join("journals")
    }

    async fn objects(&self) -> String {
        run(&self.host, &["count-objects", "-v"]).await
    }

    async fn check_host(&self) {
        run(&self.host, &["fsck", "--strict", "--no-dangling"]).await;
        assert!(!self.dir.path().join("hook-ran").exists(), "a hook has run");
        assert_eq!(fs::read_dir(self.journals()).unwrap().count(), 0);
    }
}

fn id(text: &str) -> ObjectId {
    ObjectId::parse(text.as_bytes()).unwrap()
}

fn wanted(name: &str) -> Wanted {
    let (name, message, sent_message) = (name.to_owned(), "work".to_owned(), "sent".to_owned());
    Wanted { name, message, sent_message, commits: false, force: false }
}

#[tokio::test]
async fn what_was_sent_and_what_was_made_become_two_commits() {
    for format in ["sha1", "sha256"] {
        let bench = Bench::new(format).await;
        bench.write("changed", "one\ntwo\nsent\n");
        let base = bench.tree().await;
        bench.write("changed", "one\ntwo\nsent\nmade\n");
        bench.write("dir/new", "new\n");
        fs::remove_file(bench.guest.dir().join("kept")).unwrap();
        let before = bench.fingerprint().await;
        assert_eq!(bench.export(base, wanted("vm/work")).await.unwrap(), 2, "{format}");
        assert_eq!(bench.fingerprint().await, before, "{format}");
        bench.check_host().await;
        let log = run(&bench.host, &["log", "--format=%an <%ae> %cn %s %G?", "main..vm/work"]).await;
        assert_eq!(
            log,
            "J\u{f6}rg Host <host@home> J\u{f6}rg Host work N\nJ\u{f6}rg Host <host@home> J\u{f6}rg Host sent N"
        );
        assert_eq!(run(&bench.host, &["rev-parse", "vm/work~1^{tree}"]).await, base.to_string());
        assert_eq!(run(&bench.host, &["rev-parse", "vm/work^{tree}"]).await, bench.tree().await.to_string());
        assert_eq!(run(&bench.host, &["rev-parse", "vm/work~2"]).await, bench.start().await.to_string());
    }
}

#[tokio::test]
async fn the_guests_commits_come_one_by_one() {
    let bench = Bench::new("sha1").await;
    bench.write("changed", "one\ntwo\nsent\n");
    let base = bench.tree().await;
    bench.write("a", "a\n");
    run(&bench.guest, &["add", "-A"]).await;
    run(
        &bench.guest,
        &[
            "commit",
            "-qm",
            "first \u{1b}[31mred",
            "--author=Agent \u{1b}X <agent@vm>",
            "--date=@1700000000 +0200",
        ],
    )
    .await;
    bench.write("b", "b\n");
    run(&bench.guest, &["add", "-A"]).await;
    run(&bench.guest, &["commit", "-qm", "second"]).await;
    bench.write("c", "not committed\n");
    let all = || Wanted { commits: true, ..wanted("work") };
    assert_eq!(bench.export(base, all()).await.unwrap(), 4);
    bench.check_host().await;
    let log =
        run(&bench.host, &["log", "--reverse", "--format=%an|%ad|%cn|%s", "--date=raw", "main..work"]).await;
    let lines: Vec<Vec<&str>> = log.lines().map(|line| line.split('|').collect()).collect();
    assert_eq!(lines[1], ["Agent \u{241b}X", "1700000000 +0200", "J\u{f6}rg Host", "first \u{241b}[31mred"]);
    assert_eq!(
        lines.iter().map(|line| line[3]).collect::<Vec<_>>(),
        ["sent", "first \u{241b}[31mred", "second", "work"]
    );
    // Once more, with a history that does not contain what was prepared.
    run(&bench.guest, &["checkout", "-q", "--orphan", "other"]).await;
    run(&bench.guest, &["commit", "-qm", "orphan"]).await;
    let refused = bench.export(base, Wanted { force: true, ..all() }).await.unwrap_err();
    assert!(matches!(refused, WorkspaceError::Commits { .. }), "{refused}");
}

#[tokio::test]
async fn a_branch_that_is_there_is_kept() {
    let bench = Bench::new("sha1").await;
    let base = bench.tree().await;
    bench.write("a", "a\n");
    bench.export(base, wanted("work")).await.unwrap();
    let first = run(&bench.host, &["rev-parse", "work"]).await;
    bench.write("a", "b\n");
    let refused = bench.export(base, wanted("work")).await.unwrap_err();
    assert!(matches!(refused, WorkspaceError::BranchExists { .. }), "{refused}");
    assert_eq!(run(&bench.host, &["rev-parse", "work"]).await, first);
    bench.export(base, Wanted { force: true, ..wanted("work") }).await.unwrap();
    assert_ne!(run(&bench.host, &["rev-parse", "work"]).await, first);
    // Where somebody works, nothing is moved; in another worktree neither.
    let refused = bench.export(base, Wanted { force: true, ..wanted("main") }).await.unwrap_err();
    assert!(matches!(refused, WorkspaceError::BranchCheckedOut { .. }), "{refused}");
    let alias = bench.host.dir().join(".git/refs/heads/alias");
    fs::write(&alias, "ref: refs/heads/main\n").unwrap();
    let refused = bench.export(base, Wanted { force: true, ..wanted("alias") }).await.unwrap_err();
    assert!(refused.to_string().contains("another name for refs/heads/main"), "{refused}");
    fs::remove_file(alias).unwrap();
    // A name for which there can be no file, found out by the last step: nothing is left of the others.
    let before = bench.objects().await;
    bench.write("a", "c\n");
    for name in ["work/more", "-x", "a..b", "HEAD", "@{-1}", "a b", ""] {
        let refused = bench.export(base, wanted(name)).await.unwrap_err();
        let is_told =
            matches!(refused, WorkspaceError::BranchName { .. } | WorkspaceError::BranchNotMade { .. });
        assert!(is_told, "{name}: {refused}");
        assert_eq!(bench.objects().await, before, "{name}");
    }
    bench.check_host().await;
}

#[tokio::test]
async fn objects_are_not_believed() {
    let bench = Bench::new("sha1").await;
    let base = bench.tree().await;
    let before = bench.objects().await;
    bench.write("a", "a\n");
    let (objects, pack) = bench.send(base, false).await;
    // Another tree than the one that was sent.
    let missing = id("1234567890123456789012345678901234567890");
    let lie = GuestObjects { now: missing, ..objects.clone() };
    let refused = bench.take_in(lie, &pack, MANY).await.map(drop).unwrap_err();
    assert!(matches!(refused, WorkspaceError::BadObjects { .. }), "{refused}");
    // Larger than allowed when it is unpacked, though the pack is small.
    bench.write("zeros", &"0".repeat(10 << 20));
    let (objects, pack) = bench.send(base, false).await;
    assert!(pack.metadata().unwrap().len() < 1 << 20);
    let refused = bench.take_in(objects, &pack, 1 << 20).await.map(drop).unwrap_err();
    assert!(matches!(refused, WorkspaceError::PatchTooLarge { .. }), "{refused}");
    // No pack at all, and a cut one.
    for content in [&b""[..], b"PACK\0\0\0\x02\0\0\0\x05"] {
        let (objects, pack) = bench.send(base, false).await;
        fs::write(&pack, content).unwrap();
        let refused = bench.take_in(objects, &pack, MANY).await.map(drop).unwrap_err();
        assert!(matches!(refused, WorkspaceError::BadObjects { .. }), "{refused}");
    }
    // A tree that would write into the git directory.
    let blob = run(&bench.guest, &["hash-object", "-w", "a"]).await;
    let tree = format!("100644 blob {blob}\tconfig\n").into_bytes();
    let tree = bench.guest.command(["mktree"]).stdin(tree).run().await.unwrap().stdout;
    let line = [b"040000 tree ", tree.trim_ascii_end(), b"\t.git\n"].concat();
    let evil = bench.guest.command(["mktree"]).stdin(line).run().await.unwrap().stdout;
    let now = ObjectId::parse(evil.trim_ascii_end()).unwrap();
    let objects = GuestObjects {
        base,
        whole: base,
        now,
        head: None,
        trees: Vec::new(),
        left_out: LeftOut::default(),
        index_unread: false,
    };
    let start = bench.start().await;
    let packed =
        bench.guest.command(PACK).stdin(objects.revisions(Some(start)).into_bytes()).run().await.unwrap();
    fs::write(&pack, packed.stdout).unwrap();
    let refused = bench.take_in(objects, &pack, MANY).await.map(drop).unwrap_err();
    assert!(matches!(refused, WorkspaceError::BadObjects { .. }), "{refused}");
    assert_eq!(bench.objects().await, before);
}

#[path = "branch_kinds_tests.rs"]
mod kinds;
