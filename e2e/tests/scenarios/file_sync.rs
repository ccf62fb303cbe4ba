//! What of the user's a VM has from its first command on: the files of `[[file_sync]]`, and the git identity.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use banger_api::vm::VmState;
use e2e::{Home, Seed};

/// Small VMs that get these files.
fn configure(home: &Home, entries: &str) {
    let image = Seed::Minimal.image();
    let vm = "[vm_defaults]\nvcpu = 1\nmemory_mib = 384\ndisk_size = \"256MiB\"";
    home.configure(&format!("default_image = \"{image}\"\n{vm}\n{entries}"));
}

fn entry(host: &str, guest: &str, mode: &str) -> String {
    format!("[[file_sync]]\nhost = \"{host}\"\nguest = \"{guest}\"\n{mode}\n")
}

fn write(path: &Path, content: &str, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    chmod(path, mode);
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn every_start_copies_the_files() {
    let home = Home::new();
    let at = |name: &str| home.root().join(name);
    write(&at(".ssh/id"), "key", 0o644);
    chmod(&at(".ssh"), 0o700);
    write(&at("tools/bin/run"), "#!/bin/sh\necho runs\n", 0o4755);
    write(&at("tools/data"), &"x".repeat(1_000_000), 0o640);
    symlink("bin/run", at("tools/link")).unwrap();
    let socket = UnixListener::bind(at("tools/socket")).unwrap();
    write(&at("open"), "open", 0o600);
    write(&at(".gitconfig"), "[user]\n\tname = Ada \\\"L\\\" Lovelace\n\temail = ada@example.org\n", 0o600);
    let tools = at("tools").display().to_string();
    configure(
        &home,
        &[
            entry("~/.ssh/id", "~/.ssh/id", ""),
            entry(&tools, "/root/.local/tools/", ""),
            entry("~/open", "~/open", "mode = \"444\""),
            entry("~/none", "~/none", ""),
        ]
        .concat(),
    );
    let shown = home.banger("config show").ok();
    assert!(shown.text().contains("{ host = \"~/open\", guest = \"~/open\", mode = \"0444\" }"), "{shown}");

    let started = home.banger("vm create --start --name x").ok();
    started.says(&format!("file_sync[3] ({}) is not copied: it does not exist", at("none").display()));
    started.says(&format!("no sockets, FIFOs or devices are copied: {tools}/socket"));
    let look = "cd /root && stat -c '%a %n' .ssh .ssh/id .local .local/tools/* .local/tools/bin/run open && \
        cat .ssh/id open && echo && .local/tools/link && wc -c < .local/tools/data && ls none 2>&1";
    let seen = home.banger("exec x").sh(look).output();
    assert_eq!(
        seen.text(),
        "700 .ssh\n600 .ssh/id\n755 .local\n755 .local/tools/bin\n640 .local/tools/data\n777 .local/tools/link\n\
         755 .local/tools/bin/run\n444 open\nkeyopen\nruns\n1000000\n\
         ls: cannot access 'none': No such file or directory",
        "{seen}"
    );
    let identity = home.sh("x", "cat /root/.gitconfig");
    assert!(identity.contains("name = \"Ada \\\"L\\\" Lovelace\""), "{identity}");
    assert!(identity.contains("email = \"ada@example.org\""), "{identity}");

    // The host's word on the files, the guest's on whom commits are by.
    home.sh(
        "x",
        "cd /root; echo guest > open; rm .ssh/id; echo '# mine' > .gitconfig; echo kept > .local/tools/own",
    );
    write(&at("open"), "changed", 0o600);
    home.banger("vm stop x").ok();
    home.banger("vm start x").ok();
    let look = "cd /root; cat .ssh/id open .gitconfig .local/tools/own";
    assert_eq!(home.sh("x", look), "keychanged# mine\nkept");
    home.sh("x", "cd /root; rm .gitconfig; ln -s dotfiles/none .gitconfig");
    home.banger("vm stop x").ok();
    home.banger("vm start x").ok();
    assert_eq!(home.sh("x", "readlink /root/.gitconfig"), "dotfiles/none");
    home.banger("vm delete --force x").ok();
    drop(socket);
    fs::remove_file(at("tools/socket")).unwrap();
    home.assert_no_residue();
}

#[test]
fn a_copied_git_configuration_is_the_only_one() {
    let home = Home::new();
    write(&home.root().join(".gitconfig"), "[user]\n\tname = Ada\n", 0o600);
    write(&home.root().join("work"), "[user]\n\tname = Work\n", 0o600);
    configure(&home, &entry("~/work", "~/.config/git/config", ""));
    let seen = home.banger("run --rm").sh("ls -d /root/.git*; cat /root/.config/git/config").ok();
    assert_eq!(seen.text(), "[user]\n\tname = Work", "{seen}");
}

#[test]
fn what_cannot_be_copied_stops_the_start() {
    let home = Home::new();
    let at = |name: &str| home.root().join(name);
    write(&at("file"), "", 0o600);
    fs::File::create(at("large")).unwrap().set_len(1 << 30).unwrap();
    symlink("loop", at("loop")).unwrap();
    let fine = entry("~/file", "~/fine", "");
    for (host, why) in [("large", "too much"), ("loop", "Too many levels of symbolic links")] {
        configure(&home, &(fine.clone() + &entry(&format!("~/{host}"), "~/x", "")));
        let refused = home.banger("run --rm -- true").fails_with(125);
        refused.says(&format!("file_sync[1] ({})", at(host).display())).says(why).says("help: ");
        assert!(home.vms().is_empty(), "{refused}");
        home.banger("daemon stop").ok();
    }

    // What only the guest can know.
    configure(&home, &fine);
    home.boot("x");
    home.sh("x", "mkdir /root/x");
    home.banger("vm stop x").ok();
    configure(&home, &(fine.clone() + &entry("~/file", "~/x", "")));
    home.banger("daemon stop").ok();
    let refused = home.banger("vm start x").fails_with(1);
    refused.says(&format!("file_sync[1] ({})", at("file").display())).says("/root/x is a directory");
    assert_eq!(home.vm("x").state, VmState::Stopped);
    assert!(home.processes("qemu").is_empty(), "{refused}");
    configure(&home, &fine);
    home.banger("daemon stop").ok();
    home.banger("vm start x").ok();
    assert_eq!(home.sh("x", "cd /root; ls -d fine x"), "fine\nx");
    home.banger("vm delete --force x").ok();
    home.assert_no_residue();
}

#[test]
fn a_bad_entry_is_told_by_index_line_and_column() {
    let home = Home::new();
    let file = home.root().join("config/banger/config.toml");
    for (entry, place, says) in [
        ("host = \"x\"", "5:8", "`host` of file_sync[1] must be an absolute path"),
        ("guest = \"~/../etc\"", "5:9", "`guest` of file_sync[1] must be a path without `..`"),
        ("guest = \"/etc/passwd\"", "5:9", "`guest` of file_sync[1] must lie under"),
        ("mode = \"0999\"", "5:8", "`mode` of file_sync[1] must be permission bits in octal"),
        ("gest = \"~/x\"", "5:1", "unknown key `gest` in file_sync[1]"),
        ("host = \"/x\"", "4:1", "file_sync[1] has no `guest`"),
    ] {
        home.configure(&format!("[[file_sync]]\nhost = \"/x\"\nguest = \"~/x\"\n[[file_sync]]\n{entry}\n"));
        let refused = home.banger("vm list").output();
        assert_ne!(refused.code, 0, "{entry} is taken");
        refused.says(&format!("{}:{place}: {says}", file.display()));
    }
}
