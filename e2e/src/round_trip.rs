use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;

use crate::home::Home;
use crate::repo::Repo;
use crate::run::Finished;
use crate::spawn::command;
use crate::tree::Tree;

/// One repository's way into a VM and back.
pub struct RoundTrip<'a> {
    home: &'a Home,
    vm: &'a str,
    repo: &'a Repo,
    place: String,
    is_large: bool,
}

impl<'a> RoundTrip<'a> {
    /// `repo` is to be at `/root/NAME` in the VM.
    pub fn new(home: &'a Home, vm: &'a str, repo: &'a Repo, name: &str) -> Self {
        Self { home, vm, repo, place: format!("/root/{name}"), is_large: false }
    }

    /// An emulated guest is slow to hash everything again and again: only sizes and times tell what has
    /// changed in it.
    #[must_use]
    pub fn large(self) -> Self {
        Self { is_large: true, ..self }
    }

    /// Prepares, works, exports, and applies: the whole promise for one repository and one script.
    #[track_caller]
    pub fn holds(&self, script: &str) {
        self.prepare("");
        self.guest_tree()
            .assert_same(&self.repo.tracked(), "after prepare, the guest's files and the tracked ones");
        let before = self.repo.tracked();
        self.sh(script);
        // What git ignores is nobody's work, unless it had been sent.
        let list = "git ls-files -z --others --ignored --exclude-standard";
        let ignored = self.home.banger("exec --workdir").args([&self.place, self.vm]).sh(list).ok().out;
        let guest = self.guest_tree();
        let ignored = guest.only(ignored.split(|byte| *byte == 0)).without(&before);
        let (guest, patch) = (guest.without(&ignored), self.export("", "prepared.patch"));
        let applied = self.repo.copy("applied");
        let stayed = applied.tree().without(&before);
        applied.apply(&patch);
        applied
            .tree()
            .without(&stayed)
            .assert_same(&guest, "the patch on the host's working tree, and the guest's");
        applied.tree().only_of(&stayed).assert_same(&stayed, "what had stayed behind, and what it is now");
        if self.repo.try_git("rev-parse --verify -q HEAD", &[]).is_ok() {
            let patch = self.export("--base-commit HEAD", "head.patch");
            let clean = self.repo.checkout("clean");
            let sparse = self.repo.sparse();
            let left_out = clean.tree().only(sparse.iter().map(Vec::as_slice)).without(&guest);
            clean.apply(&patch);
            clean
                .tree()
                .without(&left_out)
                .assert_same(&guest, "the patch from HEAD on a checkout of HEAD, and the guest's");
        }
    }

    /// Prepares with more words, and insists that the host's repository stays as it is and the guest's is
    /// sound.
    #[track_caller]
    pub fn prepare(&self, words: &str) -> Finished {
        let before = self.repo.fingerprint();
        let run = self.home.banger("vm workspace prepare --guest-path").args([&self.place, self.vm]);
        let prepared = run.args([self.repo.dir()]).args(words.split_whitespace()).ok();
        assert_eq!(self.repo.fingerprint(), before, "prepare has changed the host's repository");
        if !self.is_large {
            self.sh("git fsck --strict --no-dangling --no-progress >&2");
        }
        prepared
    }

    /// Exports to a file, and insists that neither the host's repository nor anything in the guest's changes.
    #[track_caller]
    pub fn export(&self, words: &str, name: &str) -> PathBuf {
        let patch = self.home.root().join(name);
        let (host, guest) = (self.repo.fingerprint(), self.guest_fingerprint());
        let run = self.home.banger("vm workspace export --allow-risky").args([self.vm]);
        run.args(words.split_whitespace()).args(["-o".as_ref(), patch.as_os_str()]).ok();
        assert_eq!(self.guest_fingerprint(), guest, "export has changed the guest's repository");
        assert_eq!(self.repo.fingerprint(), host, "export has changed the host's repository");
        patch
    }

    /// Runs a script in the guest's copy; its stdout.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.home.sh(self.vm, &format!("set -e; cd {}\n{script}", self.place))
    }

    /// The guest's files, through `tar`, which keeps every name and mode.
    #[track_caller]
    pub fn guest_tree(&self) -> Tree {
        let tar = self.home.banger("exec").args([self.vm, "--", "tar", "-C", &self.place]);
        let tar = tar.args(["--exclude=./.git", "-cf", "-", "."]).ok();
        let dir = self.home.root().join("guest-tree");
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).expect("a directory for the guest's files");
        let mut unpack =
            command("tar").arg("-xf-").current_dir(&dir).stdin(Stdio::piped()).spawn().expect("tar runs");
        unpack.stdin.take().expect("stdin").write_all(&tar.out).expect("tar reads");
        assert!(unpack.wait().expect("tar ends").success());
        Tree::scan(&dir)
    }

    /// Everything that an export must leave alone: each file's content, mode and time, refs, stash, reflog.
    #[track_caller]
    fn guest_fingerprint(&self) -> String {
        let contents = "find . -type f -print0 | sort -z | xargs -0 sha256sum";
        self.sh(&format!(
            "sha256sum .git/index 2>&1 || true; git for-each-ref; git stash list; git symbolic-ref -q HEAD || true
             # git renews the time of a pack as often as it finds in it what it was about to write.
             find . ! -path ./.git ! -path './.git/objects/*' -printf '%p %y %m %T@ %l %s %U\\n' | sort
             {}",
            if self.is_large { "" } else { contents }
        ))
    }
}
