//! What an image's maker says of environment and directory.

use e2e::{Home, LayerTar, Repo, busybox};
use serde_json::json;

#[test]
fn commands_get_the_images_environment_and_directory() {
    let home = Home::new();
    let files = LayerTar::new().dir("bin/", 0o755).file("bin/busybox", 0o755, busybox());
    home.import_files("app", files.symlink("bin/sh", "busybox").symlink("bin/env", "busybox"));
    let huge = "x".repeat(1 << 20);
    home.set_image_config(
        "app",
        &json!({
            "env": ["PATH=/opt/app/bin:/bin", "A=first", "A=image", "B=image", "E=", "NONSENSE", "=x", format!("H={huge}")],
            "working_dir": "/srv/app",
        }),
    );
    let start = home.banger("vm create --start --name x --image app").ok();
    start.says("\"NONSENSE\" (and one more entry) is not used: it is not NAME=VALUE");
    start.says("is more than a program's environment can hold");

    let script = "echo $PATH $A $B ${E-unset} $HOME $USER; pwd";
    let seen = "/opt/app/bin:/bin image image /root root\n/srv/app";
    assert_eq!(home.sh("x", script), seen);
    // A shell, too, has the image's PATH: no profile has replaced it.
    assert_eq!(home.banger("exec x").stdin(script).ok().text(), seen);
    let chosen =
        home.banger("exec x --env A=user --env HOME=/tmp --workdir /bin").sh("echo $A $B $HOME; pwd").ok();
    assert_eq!(chosen.text(), "user image /tmp\n/bin");
    let run = home.banger("run --rm --image app").sh(script).ok();
    assert_eq!(run.text(), seen);

    // A later daemon finds the agent as it was; a later start sends it anew.
    home.kill_daemon();
    assert_eq!(home.sh("x", script), seen);
    home.banger("vm stop x").ok();
    home.banger("vm start x").ok();
    assert_eq!(home.sh("x", "busybox rmdir /srv/app; exec /bin/sh -c 'echo $A'"), "image");
    assert_eq!(home.sh("x", "pwd"), "/srv/app", "a missing directory is made");
    home.banger("vm delete --force x").ok();

    home.set_image_config("app", &json!({ "env": [], "working_dir": "../etc" }));
    home.banger("vm create --start --name y --image app")
        .ok()
        .says("working directory \"../etc\" is not used");
    assert_eq!(home.sh("y", "pwd"), "/root");
    home.banger("vm delete --force y").ok();
    home.assert_no_residue();
}

/// The daemon's own commands in a guest are not steered by its image.
#[test]
fn a_workspace_survives_an_environment_made_against_git() {
    let home = Home::golden();
    home.set_image_config(
        "debian-trixie",
        &json!({
            "env": ["GIT_DIR=/evil", "GIT_WORK_TREE=/evil", "GIT_INDEX_FILE=/evil", "HOME=/evil", "MINE=1"],
            "working_dir": "/evil",
        }),
    );
    let repo = Repo::new(&home, "repo");
    std::fs::write(repo.path("file"), "one\n").unwrap();
    repo.git("add file");
    repo.git("commit -qm first");
    let run = home
        .banger("run --memory 512M --disk-size 2G --name x")
        .args([repo.dir()])
        .sh("pwd; echo $MINE; echo two >> file")
        .ok();
    assert_eq!(run.text(), "/root/repo\n1");
    let patch = home.banger("vm workspace export x").ok();
    assert!(patch.text().contains("+two"), "{patch}");
    home.banger("vm delete --force x").ok();
    home.assert_no_residue();
}
