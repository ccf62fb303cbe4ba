//! `vm cp` of what is not as it seems: files whose size is not what stat says, mounts, links to follow,
//! holes, full disks.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, symlink};
use std::path::Path;

use e2e::{Home, skipped, tool};

const GIB: u64 = 1 << 30;

#[test]
fn what_is_there_is_copied_and_what_is_not_is_named() {
    let home = Home::new();
    home.boot("x");
    let at = |name: &str| home.root().join(name);
    let read = |name: &str| fs::read_to_string(at(name)).unwrap();

    // Files that know nothing of their size, both ways.
    home.banger("cp x:/proc/meminfo meminfo").ok();
    assert!(read("meminfo").starts_with("MemTotal:"));
    home.banger("cp x:/proc/sys/kernel/ostype .").ok();
    assert_eq!(read("ostype"), "Linux\n");
    home.banger("cp x:/sys/class/net/lo/mtu .").ok();
    assert_eq!(read("mtu"), "65536\n");
    home.banger("cp /proc/cpuinfo x:").ok();
    assert!(home.sh("x", "head -c 9 /root/cpuinfo").starts_with("processor"));
    home.banger("cp /sys/class/net/lo/mtu x:").ok();
    assert_eq!(home.sh("x", "cat /root/mtu"), "65536");

    // Those without an end, and those that cannot be read.
    home.banger("cp x:/proc/kmsg .").fails_with(1).says("kmsg").says("has no end");
    home.banger("cp x:/proc/self/pagemap .").fails_with(1).says("pagemap");
    home.banger("cp x:/proc/self/mem .").fails_with(1).says("could not be read");
    home.banger("cp x:/dev/zero .").fails_with(4).says("neither file");
    assert!(["kmsg", "pagemap", "mem", "zero"].iter().all(|name| !at(name).exists()));

    // In a tree they are named, and the rest is there.
    let copied = home.banger("cp x:/proc/1 one").fails_with(1);
    copied.says("1/mem could not be read").says("the rest is copied");
    assert!(read("one/status").starts_with("Name:"));
    home.banger("cp x:/sys/class class").ok();
    assert!(at("class/net/lo").symlink_metadata().unwrap().is_symlink());

    // A log that is cut while it is copied: its first bytes, and the rest of the tree.
    home.sh(
        "x",
        "mkdir /root/logs; cd /root/logs; head -c 60000000 /dev/urandom > a; echo whole > b; echo whole > 0",
    );
    let copy = home.banger("cp x:logs logs").start();
    e2e::until("the log is on its way", std::time::Duration::from_secs(30), || {
        at("logs").is_dir() && fs::read_dir(at("logs")).unwrap().count() > 0
    });
    home.sh("x", "truncate -s 0 /root/logs/a");
    let copied = copy.finish(std::time::Duration::from_secs(60));
    if copied.code != 0 {
        copied.says("logs/a was truncated while it was copied");
        assert_eq!(copied.code, 1, "{copied}");
        assert!(at("logs/a").metadata().unwrap().len() < 60_000_000);
    }
    assert_eq!((read("logs/b"), read("logs/0")), ("whole\n".into(), "whole\n".into()));
}

#[test]
fn a_copy_stays_on_its_file_system_and_follows_links_when_told() {
    let home = Home::new();
    home.boot("x");
    let at = |name: &str| home.root().join(name);
    home.sh(
        "x",
        "mkdir -p /opt/tree/mounted /opt/tree/d /opt/other; mount -t tmpfs none /opt/tree/mounted; \
         echo hidden > /opt/tree/mounted/f; echo there > /opt/tree/d/f; echo other > /opt/other/f; \
         ln -s /opt/other /opt/tree/out; ln -s .. /opt/tree/d/up; ln -s /opt/tree /opt/link; \
         chmod 0551 /opt/tree/d",
    );
    let copied = home.banger("cp x:/opt/tree tree").ok();
    copied.says("left tree/mounted empty: another file system is mounted there");
    assert_eq!(fs::read_dir(at("tree/mounted")).unwrap().count(), 0);
    assert_eq!(fs::read_to_string(at("tree/d/f")).unwrap(), "there\n");
    assert_eq!(at("tree/d").metadata().unwrap().mode() & 0o7777, 0o551);
    home.banger("cp x:/opt/tree/mounted .").ok();
    assert_eq!(fs::read_to_string(at("mounted/f")).unwrap(), "hidden\n");
    // The whole of a guest: /proc and /sys and /dev are not gone into.
    let sent = home.banger("cp x:/ -").output();
    for mount in ["./proc", "./sys", "./dev"] {
        sent.says(&format!("left {mount} empty"));
    }
    assert_eq!(sent.code, 0, "{}", sent.err);

    // Links: as they are, or what they lead to.
    home.banger("cp x:/opt/link .").ok();
    assert_eq!(fs::read_link(at("link")).unwrap(), Path::new("/opt/tree"));
    let followed = home.banger("cp -L x:/opt/link followed").fails_with(1);
    followed.says("link/d/up leads back to a directory that it is in");
    assert_eq!(fs::read_to_string(at("followed/out/f")).unwrap(), "other\n");
    fs::create_dir_all(at("local/d")).unwrap();
    fs::write(at("f"), "local").unwrap();
    symlink("../f", at("local/f")).unwrap();
    symlink("local", at("to local")).unwrap();
    home.banger("cp -L").args(["to local", "x:copied"]).ok();
    assert_eq!(
        home.sh("x", "stat -c %F /root/copied /root/copied/f; cat /root/copied/f"),
        "directory\nregular file\nlocal"
    );
    symlink("nowhere", at("local/d/dangling")).unwrap();
    home.banger("cp -L local x:again").fails_with(1).says("local/d/dangling is a symlink that leads nowhere");
    assert_eq!(home.sh("x", "cat /root/again/f"), "local");
}

#[test]
fn holes_stay_holes_and_tar_understands() {
    if tool(&["tar", "--version"]).is_none() {
        return skipped("tar is not installed");
    }
    let home = Home::new();
    home.boot("x");
    let at = |name: &str| home.root().join(name);
    let file = File::create(at("sparse")).unwrap();
    file.set_len(100 * GIB).unwrap();
    file.write_all_at(&[7; 1 << 20], 50 * GIB).unwrap();
    file.write_all_at(b"start", 0).unwrap();
    // The guest's own disk is far smaller than that: it goes to where there is no end of room for holes.
    home.sh("x", "mkdir /mnt/t && mount -t tmpfs none /mnt/t");
    home.banger("cp sparse x:/mnt/t/").ok();
    let sum = "tail -c +53687091201 sparse | head -c 1048576 | sha256sum";
    assert_eq!(
        home.sh("x", "cd /mnt/t; stat -c %s sparse; test $(du -k sparse | cut -f1) -lt 2048 && echo small"),
        format!("{}\nsmall", 100 * GIB)
    );
    let here = home.program("/bin/sh").args(["-c", sum]).ok().text();
    assert_eq!(home.sh("x", &format!("cd /mnt/t; {sum}")), here);
    home.banger("cp x:/mnt/t/sparse back").ok();
    let same = |name: &str| {
        let metadata = at(name).metadata().unwrap();
        assert_eq!(metadata.len(), 100 * GIB, "{name}");
        assert!(metadata.blocks() * 512 < 4 << 20, "{name}: {}", metadata.blocks());
        let (file, mut bytes) = (File::open(at(name)).unwrap(), vec![0; 1 << 20]);
        file.read_exact_at(&mut bytes, 50 * GIB).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 7), "{name}");
        file.read_exact_at(&mut bytes[..6], 0).unwrap();
        assert_eq!(&bytes[..6], b"start\0", "{name}");
    };
    same("back");
    // Through tar: what is sent, and what it sends, in each of its forms.
    let script = |script: &str| {
        let run = home.program("/bin/bash").args(["-o", "pipefail", "-c", script, "sh"]);
        run.args([home.programs().path("banger")]).ok()
    };
    script("mkdir out && $1 cp x:/mnt/t/sparse - | tar -C out -x");
    same("out/sparse");
    for form in ["--format=gnu", "--format=posix", "--sparse-version=0.0", "--sparse-version=0.1"] {
        let format = if form.starts_with("--sparse") { "--format=posix" } else { "" };
        script(&format!("tar -S {format} {form} -c sparse | $1 cp - x:/mnt/t"));
        home.banger("cp x:/mnt/t/sparse again").ok();
        same("again");
        fs::remove_file(at("again")).unwrap();
    }
}
