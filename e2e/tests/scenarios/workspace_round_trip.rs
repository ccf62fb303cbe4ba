//! A repository goes into a VM, and the work on it comes back: whatever is in it, whatever kind it is.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use e2e::{Home, Repo, RoundTrip};

/// What somebody does in the guest, with and without a commit of it.
const WORK: &str = "
echo new > 'new in the guest'; mkdir -p made/deep; printf '\\0\\1\\2\\377' > made/deep/binary; : > made/empty
printf '#!/bin/sh\\n' > made/tool; chmod 755 made/tool; ln -s ../nowhere made/link
git add -A; git commit -qm 'work in the guest'
echo later >> 'new in the guest'; echo untracked > made/untracked";

fn boot(home: &Home, vm: &str) {
    home.banger("vm create --start --memory 512M --disk-size 2G --name").args([vm]).ok();
    home.sh(vm, "git config --global user.name Guest; git config --global user.email guest@example.org");
}

#[test]
fn workspace_files_of_every_kind_make_the_round_trip() {
    let home = Home::golden();
    boot(&home, "x");
    let repo = Repo::new(&home, "kinds");
    let odd: &[&[u8]] = &[
        b"with space",
        b"quote\"s'",
        b"new\nline",
        b"back\\slash",
        b"-dash",
        b"--",
        b"tab\t",
        b"not utf8 \xff\xfe",
        "ünï".as_bytes(),
        b" lead",
        b"trail ",
        b":colon",
        b"*star?[x]",
        b"dir with space/\xe9/f",
        b"a/b/c/d",
    ];
    for name in odd {
        repo.write(OsStr::from_bytes(name), "odd\nname\n");
    }
    repo.write("binary", (0..=255_u8).cycle().take(70_000).collect::<Vec<_>>());
    repo.write("empty", "").write("crlf.txt", "one\r\ntwo\r\nthree\r\n").write("mixed.txt", "one\r\ntwo\n");
    repo.write("no-newline", "no newline at the end").write("long", "0123456789\n".repeat(30_000));
    repo.write("renamed", "a\nb\nc\nd\ne\nf\n").write("moved/away", "1\n2\n3\n4\n5\n");
    repo.write_executable("tool.sh", "#!/bin/sh\n").write("plain.sh", "#!/bin/sh\n");
    repo.link("link", "a/b/c/d")
        .link("dangling", "no/where")
        .link("dirlink", "a")
        .link("absolute", "/etc/passwd");
    repo.link(OsStr::from_bytes(b"odd\nlink"), OsStr::from_bytes(b"odd\xff\ntarget"));
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";
    repo.write(".gitattributes", "*.psd filter=lfs diff=lfs merge=lfs -text\n").write("art.psd", pointer);
    repo.write(".gitignore", "*.log\n/target/\n").write("sub/.gitignore", "*.tmp\n!keep.tmp\n");
    repo.write("sub/keep.tmp", "kept").write("forced.log", "tracked though ignored\n");
    repo.git("add -f forced.log");
    repo.write("gone", "gone\n")
        .write("gone-staged", "gone\n")
        .write("edited", "before\n")
        .write("both", "one\n");
    repo.commit("first");
    RoundTrip::new(&home, "x", &repo, "clean").holds(&format!(
        "git mv renamed 'renamed in the guest'; git mv moved elsewhere; chmod 755 plain.sh; chmod 644 tool.sh
         printf 'one\\r\\nTWO\\r\\nthree\\r\\n' > crlf.txt; printf 'x' >> binary; rm -- empty gone -dash 'back\\slash'
         for f in 'new\nline' 'quote\"s'\\''' 'with space'; do echo more >> \"$f\"; done; printf x >> no-newline
         ln -sfn elsewhere link; rm dirlink; echo a file now > dirlink; echo more >> forced.log; rm sub/.gitignore
         echo ignored > x.log; mkdir target; echo ignored > target/o
         for f in not*; do mv \"$f\" \"$f moved\"; done; sed -i 5000,5010d long; echo more >> art.psd{WORK}"
    ));

    // Now everything that a working tree can be other than clean.
    repo.remove("gone")
        .write("edited", "after\n")
        .write("staged", "staged\n")
        .write("staged-then-edited", "one\n");
    repo.write("tool.sh", "#!/bin/sh\necho edited\n").write_executable("plain.sh", "#!/bin/sh\n");
    repo.write("both", "one\ntwo\n").write("crlf.txt", "one\r\nchanged\r\n");
    let _ = repo.git("add staged staged-then-edited both");
    repo.git("rm -q --cached gone-staged");
    repo.git("mv renamed renamed-and-staged");
    repo.write("staged-then-edited", "one\ntwo\n").write("both", "one\ntwo\nthree\n");
    repo.write("intended", "intent to add\n").git("add -N intended");
    repo.write("added.log", "ignored, and added\n").git("add -f added.log");
    repo.write("untracked", "stays\n").write("ignored.log", "stays\n").write("sub/x.tmp", "stays\n");
    RoundTrip::new(&home, "x", &repo, "dirty").holds(&format!(
        "echo more >> edited; echo more >> staged; rm staged-then-edited; echo more >> intended; echo more >> both
         git mv renamed-and-staged renamed-again || mv renamed-and-staged renamed-again; echo more >> added.log{WORK}
         git rm -q --cached edited both; echo both > .gitignore; git stash list; git reset -q"
    ));
}

#[test]
fn workspace_line_ends_survive() {
    let home = Home::golden();
    boot(&home, "x");
    let repo = Repo::new(&home, "crlf");
    repo.write(
        ".gitattributes",
        "* text=auto eol=crlf\n.gitattributes eol=lf\n*.sh text eol=lf\n*.bin -text\n",
    );
    repo.write("a.txt", "one\r\ntwo\r\n").write("b.sh", "one\ntwo\n").write("c.bin", "one\r\ntwo\n");
    repo.write("d.txt", "x\r\ny\r\nz\r\n").commit("first");
    RoundTrip::new(&home, "x", &repo, "clean").holds(
        "printf 'one\\r\\n2\\r\\n' > a.txt; echo three >> b.sh; echo three >> c.bin; rm d.txt
         printf 'new\\r\\n' > new.txt; git add -A; git commit -qm work; printf 'more\\r\\n' >> new.txt",
    );
    repo.write("a.txt", "dirty\r\none\r\n").write("d.txt", "w\r\nx\r\ny\r\nz\r\n");
    RoundTrip::new(&home, "x", &repo, "dirty")
        .holds("printf 'more\\r\\n' >> a.txt; printf 'w\\r\\nz\\r\\n' > d.txt");

    // The setting instead of the attribute: the guest must have it, too.
    let repo = Repo::new(&home, "autocrlf");
    repo.git("config core.autocrlf input");
    repo.write("a.txt", "one\ntwo\n").commit("first").write("a.txt", "one\ntwo\nthree\n");
    RoundTrip::new(&home, "x", &repo, "autocrlf").holds("echo four >> a.txt");
}

#[test]
fn workspace_repositories_of_every_kind_make_the_round_trip() {
    let home = Home::golden();
    boot(&home, "x");
    let holds = |repo: &Repo, name: &str| {
        RoundTrip::new(&home, "x", repo, name).holds(&format!("echo more >> f{WORK}"))
    };
    let main = Repo::new(&home, "main");
    main.write("f", "1\n")
        .commit("one")
        .write("f", "1\n2\n")
        .write("in/g", "g\n")
        .write("out/h", "h\n")
        .commit("two");
    let dirty = |repo: &Repo| {
        repo.write("f", "1\n2\ndirty\n").write("untracked", "stays\n");
    };

    main.git("worktree add -q -b side ../side HEAD");
    let side = Repo::at(&home, home.root().join("side"));
    dirty(&side);
    holds(&side, "worktree");

    let shallow = Repo::at(&home, home.root().join("shallow"));
    main.git(&format!("clone -q --depth 1 file://{} ../shallow", main.dir().display()));
    dirty(&shallow);
    holds(&shallow, "shallow");

    let sparse = main.copy("sparse");
    sparse.git("update-index -q --refresh");
    sparse.git("sparse-checkout set --cone in");
    dirty(&sparse);
    assert!(!sparse.path("out").exists());
    holds(&sparse, "sparse");
    // Files where there were none: one that was left out, and a new one beside it.
    RoundTrip::new(&home, "x", &sparse, "filled")
        .holds("mkdir out; echo filled > out/h; echo new > out/i; git add -A; git commit -qm filled; echo more >> out/h");
    // Hidden from git, and there all the same.
    let hidden = main.copy("hidden");
    hidden.git("update-index --skip-worktree out/h");
    hidden.write("out/h", "mine\n");
    RoundTrip::new(&home, "x", &hidden, "hidden").holds("echo more >> out/h; echo more >> f");

    let borrower = Repo::at(&home, home.root().join("borrower"));
    main.git("clone -q --shared . ../borrower");
    assert!(borrower.path(".git/objects/info/alternates").exists());
    dirty(&borrower);
    holds(&borrower, "borrower");

    main.git("checkout -q --detach HEAD~1");
    dirty(&main);
    holds(&main, "detached");

    let sha256 = Repo::init(&home, "sha256", "--object-format=sha256");
    sha256.write("f", "1\n").commit("one");
    dirty(&sha256);
    holds(&sha256, "sha256");

    let empty = Repo::new(&home, "empty");
    empty.write("f", "1\n").write("untracked", "stays\n").git("add f");
    holds(&empty, "empty");
    let refused = home.banger("vm workspace export x --base-commit HEAD~5").fails_with(3);
    refused.says("HEAD~5");
    let bare = Repo::new(&home, "nothing");
    holds(&bare, "nothing");

    // A commit that git shows another one for is sent as it is.
    let replaced = Repo::new(&home, "replaced");
    replaced.write("f", "1\n").commit("one").write("f", "2\n").commit("two");
    replaced.git("replace HEAD HEAD~1");
    RoundTrip::new(&home, "x", &replaced, "replaced").prepare("");
}

#[test]
fn workspace_types_change_on_both_sides() {
    let home = Home::golden();
    boot(&home, "x");
    let repo = Repo::new(&home, "types");
    for name in ["file-to-dir", "file-to-link", "file-to-dir-2", "file-to-link-2"] {
        repo.write(name, "a file\n");
    }
    for name in ["dir-to-file", "dir-to-link", "dir-to-file-2", "dir-to-link-2"] {
        repo.write(format!("{name}/a"), "a\n").write(format!("{name}/deep/b"), "b\n");
    }
    for name in ["link-to-file", "link-to-dir", "link-to-file-2", "link-to-dir-2"] {
        repo.link(name, "other");
    }
    repo.write("other/a", "other\n").commit("first");
    let change = "
        rm file-to-dir; mkdir file-to-dir; echo x > file-to-dir/a; rm file-to-link; ln -s other file-to-link
        rm -r dir-to-file; echo x > dir-to-file; rm -r dir-to-link; ln -s other dir-to-link
        rm link-to-file; echo x > link-to-file; rm link-to-dir; mkdir link-to-dir; echo x > link-to-dir/a\n";
    let second = change.replace("-file", "-file-2").replace("-dir", "-dir-2").replace("-link", "-link-2");
    let second = second.replace("-2-to", "-to");
    let commit = "git add -A; git commit -qm types\n";
    RoundTrip::new(&home, "x", &repo, "committed").holds(&format!("{change}{commit}{second}"));
    RoundTrip::new(&home, "x", &repo, "uncommitted").holds(&format!("{second}{change}"));

    // On the host: first in the working tree alone, then in the index as well.
    repo.sh(change);
    RoundTrip::new(&home, "x", &repo, "host").holds(&format!("{second}echo more >> link-to-file"));
    repo.git("add -A");
    RoundTrip::new(&home, "x", &repo, "staged").holds(&format!("{second}{commit}echo more >> link-to-file"));
}

#[test]
fn workspace_a_large_file_makes_the_round_trip() {
    let home = Home::golden();
    home.banger("vm create --start --memory 1G --disk-size 2G --name x").ok();
    let megabytes =
        std::env::var("BANGER_E2E_LARGE_MB").ok().and_then(|text| text.parse().ok()).unwrap_or(24);
    let repo = Repo::new(&home, "large");
    repo.write("small", "small\n");
    repo.sh(&format!("head -c {megabytes}M /dev/urandom > large; cp large dirty"));
    repo.git("config core.bigFileThreshold 8M");
    repo.commit("large").sh("printf x >> dirty");
    RoundTrip::new(&home, "x", &repo, "large").large().holds("echo more >> small; mv large moved; rm dirty");
}
