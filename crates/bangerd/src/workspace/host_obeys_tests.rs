use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::workspace::hidden::{hidden, ignored};
use crate::workspace::patch::{ChangeKind, FileChange};

async fn run(git: &Git, args: &[&str]) {
    git.command(args).run().await.unwrap();
}

async fn configured(git: &Git) -> Vec<String> {
    let found = obeyed(git, &[]).await.unwrap().configured;
    found.into_iter().map(|(path, _)| path.as_os_str().display().to_string()).collect()
}

#[tokio::test]
async fn what_git_is_set_to_run_and_read_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let git = Git::new(dir.path());
    run(&git, &["init", "-q"]).await;
    assert_eq!(configured(&git).await, [""; 0]);
    for path in
        ["dev/ci/pre-commit", "scripts/check.sh", "tools/clean", "monitor", "more.config", "attributes"]
    {
        fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
        fs::write(dir.path().join(path), "").unwrap();
    }
    for (name, value, place) in [
        ("core.hooksPath", "dev/ci", "dev/ci"),
        ("filter.x.clean", "sh tools/clean %f", "tools/clean"),
        ("core.fsmonitor", "monitor", "monitor"),
        ("include.path", "../more.config", "more.config"),
        ("core.attributesFile", "attributes", "attributes"),
        ("alias.go", "!\"$PWD\"/scripts/check.sh", "scripts/check.sh"),
        ("alias.go", "!${ROOT}/scripts/check.sh", "scripts/check.sh"),
        ("alias.go", "!exec $(dirname \"$0\")/../../scripts/check.sh", "scripts/check.sh"),
        ("diff.x.textconv", "./not-there-yet", "not-there-yet"),
        ("gc.recentObjectsHook", "tools/clean", "tools/clean"),
        ("imap.tunnel", "exec tools/clean", "tools/clean"),
        ("lfs.customtransfer.x.args", "tools/clean", "tools/clean"),
    ] {
        run(&git, &["config", name, value]).await;
        let found = configured(&git).await;
        assert!(found.iter().any(|found| found == place), "{name}={value}: {found:?}");
        run(&git, &["config", "--unset", name]).await;
    }
    assert_eq!(configured(&git).await, [""; 0]);
    symlink("../../scripts/check.sh", dir.path().join(".git/hooks/pre-commit")).unwrap();
    assert_eq!(configured(&git).await, ["scripts/check.sh"]);
    fs::remove_file(dir.path().join(".git/hooks/pre-commit")).unwrap();
    fs::write(dir.path().join(".git/hooks/pre-push"), "#!/bin/sh\nexec tools/clean \"$@\"\n").unwrap();
    assert_eq!(configured(&git).await, ["tools/clean"]);
}

fn change(path: &str) -> FileChange {
    FileChange {
        kind: ChangeKind::Added,
        path: path.into(),
        renamed_from: None,
        old_mode: None,
        new_mode: Some(FileMode::Regular),
        old_id: None,
        new_id: None,
        added: 0,
        removed: 0,
        binary: false,
    }
}

#[tokio::test]
async fn what_a_patch_hides_itself_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let changes = ["x/.gitignore", "x/tool.py", "y/a.log", "y/b", ".gitignore"].map(change);
    let patterns =
        vec![("x/.gitignore".into(), b"*\n".to_vec()), (".gitignore".into(), b"# all\n*.log\n".to_vec())];
    let found = hidden(dir.path(), &changes, patterns).await.unwrap();
    assert_eq!(found, HashSet::from(["x/.gitignore".into(), "x/tool.py".into(), "y/a.log".into()]));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let many = vec![(".gitignore".into(), b"no\n".repeat(1 << 20))];
    assert_eq!(hidden(dir.path(), &changes, many).await.unwrap().len(), changes.len());
}

/// What is found of a patch that makes `path`, a symlink or a file.
async fn judged(git: &Git, path: &str, mode: FileMode) -> Vec<String> {
    let tracked = super::super::apply::tree_of(git).await.unwrap();
    let obeyed = obeyed(git, &tracked).await.unwrap();
    let changes = [FileChange { new_mode: Some(mode), ..change(path) }];
    let found = crate::workspace::patch::Screening::new().finish(&changes, tracked, &obeyed);
    found.iter().map(|finding| format!("{:?}", finding.rule)).collect()
}

#[tokio::test]
async fn a_symlink_on_the_way_decides_what_is_obeyed() {
    let dir = tempfile::tempdir().unwrap();
    let git = Git::new(dir.path());
    run(&git, &["init", "-q"]).await;
    for path in ["dev/ci/pre-commit", "scripts/check.sh", "a/cfg/tasks.json", "plain/f"] {
        fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
        fs::write(dir.path().join(path), "").unwrap();
    }
    for (link, target) in
        [("tools", "scripts"), ("pc", "tools/check.sh"), (".vscode", "mid"), ("mid", "a/cfg")]
    {
        symlink(target, dir.path().join(link)).unwrap();
    }
    run(&git, &["add", "-A"]).await;
    symlink("../../pc", dir.path().join(".git/hooks/pre-commit")).unwrap();
    for (path, mode, expected) in [
        ("tools", FileMode::Symlink, "HostConfigured"),
        ("pc", FileMode::Symlink, "HostConfigured"),
        ("scripts", FileMode::Symlink, "HostConfigured"),
        ("scripts", FileMode::Gitlink, "HostConfigured"),
        ("scripts/check.sh", FileMode::Regular, "HostConfigured"),
        ("mid", FileMode::Symlink, "EditorTask"),
        ("a", FileMode::Symlink, "EditorTask"),
    ] {
        let found = judged(&git, path, mode).await;
        assert!(found.iter().any(|rule| rule == expected), "{path}: {found:?}");
    }
    run(&git, &["config", "core.hooksPath", "dev/ci"]).await;
    assert!(judged(&git, "dev", FileMode::Symlink).await.contains(&"HostConfigured".to_owned()));
    for (path, mode) in [("plain", FileMode::Symlink), ("dev/other", FileMode::Regular)] {
        let found = judged(&git, path, mode).await;
        assert!(
            !found.iter().any(|rule| rule == "HostConfigured" || rule == "EditorTask"),
            "{path}: {found:?}"
        );
    }
}

#[tokio::test]
async fn what_is_included_on_another_branch_counts() {
    let dir = tempfile::tempdir().unwrap();
    let git = Git::new(dir.path().join("repo"));
    fs::create_dir(git.dir()).unwrap();
    run(&git, &["init", "-q"]).await;
    let other = dir.path().join("other");
    fs::write(&other, "[core]\n\thooksPath = tools/h\n").unwrap();
    run(&git, &["config", "includeIf.onbranch:work.path", other.to_str().unwrap()]).await;
    assert_eq!(configured(&git).await, ["tools/h"]);
}

#[tokio::test]
async fn a_submodule_is_asked_and_a_stranger_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let git = Git::new(dir.path());
    run(&git, &["init", "-q"]).await;
    for (name, file) in [("sub", "ci/pre-commit"), ("vendor/lib", "f")] {
        let inner = Git::new(dir.path().join(name));
        fs::create_dir_all(inner.dir().join(file).parent().unwrap()).unwrap();
        fs::write(inner.dir().join(file), "").unwrap();
        run(&inner, &["init", "-q"]).await;
        run(&inner, &["config", "core.hooksPath", "ci"]).await;
        fs::write(inner.dir().join(".gitignore"), ".venv/\n").unwrap();
    }
    let changes = ["sub/ci/pre-commit", "sub/.venv/x", "vendor/lib/ci/pre-commit", "own"].map(change);
    let mut found = Obeyed::default();
    let parts = ["".into(), "sub".into()];
    crate::workspace::other_repositories::add_others(&git, &changes, &[], &parts, &mut found).await.unwrap();
    assert!(found.configured.iter().any(|(place, _)| *place == "sub/ci".into()), "{found:?}");
    assert_eq!(found.ignored, HashSet::from(["sub/.venv/x".into()]));
    assert_eq!(found.strangers, ["vendor/lib".into()]);
    let rules = crate::workspace::patch::Screening::new().finish(&changes, [], &found);
    let rules: Vec<String> = rules.iter().map(|found| format!("{:?} {:?}", found.rule, found.path)).collect();
    assert_eq!(rules.len(), 4, "{rules:?}");
}

#[tokio::test]
async fn scripts_are_followed_to_what_they_run() {
    let dir = tempfile::tempdir().unwrap();
    let git = Git::new(dir.path());
    run(&git, &["init", "-q"]).await;
    for (path, content) in [
        ("scripts/check.sh", ". \"$(dirname \"$0\")/lib.sh\"\npython3 tools/lint.py src/main.c\n"),
        ("scripts/lib.sh", "cd tools && ./more.sh\nscripts/check.sh\n"),
        ("tools/lint.py", ""),
        ("tools/more.sh", ""),
        ("tools/none.sh", ""),
        ("src/main.c", ""),
    ] {
        fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
        fs::write(dir.path().join(path), content).unwrap();
    }
    fs::write(dir.path().join(".git/hooks/pre-commit"), "#!/bin/sh\nexec scripts/check.sh\n").unwrap();
    let found = configured(&git).await;
    for path in ["scripts/check.sh", "scripts/lib.sh", "tools/lint.py", "tools/more.sh"] {
        assert!(found.iter().any(|found| found == path), "{path}: {found:?}");
    }
    // What is data, or is named by nobody. What is not there yet may be meant.
    let there = found.iter().filter(|path| dir.path().join(path).exists());
    assert_eq!(there.count(), 4, "{found:?}");
}

#[tokio::test]
async fn what_files_name_that_run_things_unasked_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let git = Git::new(dir.path());
    run(&git, &["init", "-q"]).await;
    for (path, content) in [
        (".husky/pre-commit", "scripts/check.sh\n"),
        ("lefthook.yml", "pre-commit:\n  commands:\n    x:\n      run: scripts/hook.py\n"),
        (".claude/settings.json", r#"{"hooks": {"Stop": [{"command": "scripts/agent.sh"}]}}"#),
        (".vscode/tasks.json", r#"{"command": "scripts/asked.sh"}"#),
        (".claude/commands/review.md", "Look at src/main.py.\n"),
        ("scripts/check.sh", "exec tools/more.sh\n"),
    ] {
        fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
        fs::write(dir.path().join(path), content).unwrap();
    }
    fs::create_dir(dir.path().join("env")).unwrap();
    fs::write(dir.path().join("env/vars"), "").unwrap();
    run(&git, &["add", "-A"]).await;
    // One that git does not know of is obeyed as well.
    fs::write(dir.path().join(".envrc"), "source env/vars\nexport X=data/x\n").unwrap();
    let tracked = super::super::apply::tree_of(&git).await.unwrap();
    let named = obeyed(&git, &tracked).await.unwrap().named;
    for (path, by) in [
        ("scripts/check.sh", ".husky/pre-commit"),
        ("tools/more.sh", ".husky/pre-commit"),
        ("scripts/hook.py", "lefthook.yml"),
        ("scripts/agent.sh", ".claude/settings.json"),
        ("env/vars", ".envrc"),
    ] {
        assert!(named.contains(&(path.into(), by.into())), "{path}: {named:?}");
        assert_eq!(judged(&git, path, FileMode::Regular).await, ["NamedUnasked"], "{path}");
    }
    for path in ["scripts/asked.sh", "data/x", "src/main.py"] {
        assert_eq!(judged(&git, path, FileMode::Regular).await, [""; 0], "{path}");
    }
}

#[tokio::test]
async fn symlinks_are_followed_and_ignored_paths_found() {
    let dir = tempfile::tempdir().unwrap();
    let git = Git::new(dir.path());
    run(&git, &["init", "-q"]).await;
    fs::create_dir(dir.path().join("cfg")).unwrap();
    symlink("cfg", dir.path().join(".vscode")).unwrap();
    symlink("/etc", dir.path().join("out")).unwrap();
    fs::write(dir.path().join(".gitignore"), ".venv/\n*.log\n").unwrap();
    let link = |path: &str| TreeEntry { path: path.into(), mode: FileMode::Symlink };
    let found = obeyed(&git, &[link(".vscode"), link("out"), link("gone")]).await.unwrap();
    assert_eq!(found.links, [(".vscode".into(), "cfg".into())]);
    let patch = ".venv/bin/python src/main.rs x.log :(top)a .vscode/x.log out/x.log tracked.log";
    let changes: Vec<FileChange> = patch.split(' ').map(change).collect();
    let tracked = TreeEntry { path: "tracked.log".into(), mode: FileMode::Regular };
    let ignored = ignored(&git, &changes, &[tracked]).await.unwrap();
    assert_eq!(ignored, HashSet::from([".venv/bin/python".into(), "x.log".into()]));
}

#[tokio::test]
async fn ordinary_settings_name_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let git = Git::new(dir.path());
    run(&git, &["init", "-q"]).await;
    for name in ["store/x", "vim/x", "config/x", "main/x", "false/x", "vendor/x", "clean/x"] {
        fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
        fs::write(dir.path().join(name), "").unwrap();
    }
    let vendor = dir.path().join("vendor").display().to_string();
    for (name, value) in [
        ("credential.helper", "store"),
        ("core.editor", "vim"),
        ("alias.cfg", "config"),
        ("init.defaultBranch", "main"),
        ("safe.directory", &vendor),
        ("branch.main.description", "see vendor/x"),
        ("filter.lfs.clean", "git-lfs clean -- %f"),
        ("remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"),
    ] {
        run(&git, &["config", name, value]).await;
    }
    assert_eq!(configured(&git).await, [""; 0]);
}
