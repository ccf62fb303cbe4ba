use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::workspace::patch::ChangeKind;

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
    let change = |path: &str| FileChange {
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
    };
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
