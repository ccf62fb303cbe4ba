//! Files in and out: `vm cp`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::{Home, Running, Terminal, skipped, tool, until};
use rustix::fs::{AtFlags, CWD, FileType, Timespec, Timestamps, mknodat, utimensat};
use rustix::process::Signal;
use sha2::{Digest as _, Sha256};

#[test]
fn a_file_goes_in_and_out() {
    let home = Home::new();
    home.boot("x");
    let at = |name: &str| home.root().join(name);
    fs::write(at("f"), "content\n").unwrap();
    fs::set_permissions(at("f"), fs::Permissions::from_mode(0o640)).unwrap();

    // A directory gets it under its own name, anything else is its new name. Relative paths begin in /root.
    let copied = home.banger("vm cp f x:").ok();
    assert_eq!((copied.text().as_str(), copied.err.as_str()), ("", ""), "{copied}");
    home.banger("cp f x:/tmp/g").ok();
    home.banger("cp f x:h").ok();
    assert_eq!(
        home.sh("x", "cat /root/f /tmp/g /root/h; stat -c '%a %U' /tmp/g"),
        "content\ncontent\ncontent\n640 root"
    );
    home.banger("cp x:/tmp/g .").ok();
    home.banger("cp x:h back").ok();
    for name in ["g", "back"] {
        let metadata = at(name).metadata().unwrap();
        assert_eq!(fs::read(at(name)).unwrap(), b"content\n");
        assert_eq!(metadata.mode() & 0o7777, 0o640);
        assert_eq!(metadata.mtime(), at("f").metadata().unwrap().mtime());
    }
    // What is in the way is replaced, a symlink as well, and never what it points at.
    home.sh("x", "ln -s /etc/hostname /root/link");
    home.banger("cp f x:link").ok();
    assert_eq!(home.sh("x", "cat /root/link; hostname"), "content\nx");
    symlink("f", at("local")).unwrap();
    home.sh("x", "echo other > /root/o; chmod 6755 /root/o");
    home.banger("cp x:o local").ok();
    assert_eq!(fs::read_to_string(at("f")).unwrap(), "content\n");
    assert_eq!(fs::read_to_string(at("local")).unwrap(), "other\n");
    assert_eq!(at("local").symlink_metadata().unwrap().mode() & 0o7777, 0o755);

    // A name with a colon is local when it says so.
    fs::write(at("a:b"), "colon").unwrap();
    home.banger("cp ./a:b x:").ok();
    assert_eq!(home.sh("x", "cat /root/a:b"), "colon");
}

#[test]
fn a_tree_goes_in_and_out() {
    let home = Home::new();
    home.boot("x");
    let tree = home.root().join("tree");
    grow(&tree);
    let skipped = home.banger("cp tree x:").ok();
    skipped.says("skipped tree/fifo");
    assert_eq!(
        home.sh("x", "cd /root/tree && find . -mindepth 1 -maxdepth 1 -printf x && echo && stat -c '%a %Y' private private/run"),
        "xxxxx\n700 1600000000\n751 1600000000"
    );
    home.banger("cp x:tree back").ok();
    assert_eq!(look_at(&home.root().join("back")), look_at(&tree));

    // Into what is there: inside it. With `/.`: what is in it.
    home.banger("cp x:/root/tree back").ok();
    assert_eq!(look_at(&home.root().join("back/tree")), look_at(&tree));
    fs::create_dir(home.root().join("here")).unwrap();
    home.banger("cp x:tree/. here").ok();
    assert_eq!(look_at(&home.root().join("here"))[1..], look_at(&tree)[1..]);
    home.sh("x", "mkdir -m 711 /root/there");
    home.banger("cp tree/. x:there/").ok();
    let listing = "find . ! -type d -printf '%p %m %l %s\\n' | sort | sha256sum";
    assert_eq!(
        home.sh("x", &format!("cd /root/there; {listing}")),
        home.sh("x", &format!("cd /root/tree; {listing}"))
    );
    assert_eq!(home.sh("x", "stat -c %a /root/there"), "711");

    // Sockets and the like stay in the guest, too.
    home.sh("x", "mkfifo /root/tree/private/pipe; touch -d @1600000000 /root/tree/private");
    home.banger("cp x:tree again").ok().says("tree/private/pipe");
    assert_eq!(look_at(&home.root().join("again")), look_at(&tree));
}

#[test]
fn archives_go_through_pipes() {
    let home = Home::new();
    home.boot("x");
    let tree = home.root().join("tree");
    grow(&tree);
    let script = |script: &str| {
        let run = home.program("/bin/bash").args(["-o", "pipefail", "-c", script, "sh"]);
        run.args([home.programs().path("banger")]).ok()
    };
    script("tar -C tree --exclude fifo -c . | $1 cp - x:/tmp");
    script("mkdir out && $1 cp x:/tmp/private - | tar -C out -xp");
    assert_eq!(look_at(&home.root().join("out/private")), look_at(&tree.join("private")));
    let names = script("$1 cp x:/tmp/private/. - | tar -t --quoting-style=literal | sed -n 1,2p").text();
    assert_eq!(names.lines().next(), Some("./"), "{names}");
    // A reader that has seen enough.
    script("set +o pipefail; $1 cp x:/usr/lib - | head -c 1000 > /dev/null");

    home.banger("cp - x:/root")
        .stdin("this is no archive".repeat(100))
        .fails_with(1)
        .says("not a tar archive");
    home.banger("cp - x:/root").stdin("").fails_with(1).says("ends too early");
    home.banger("cp - x:/nowhere").fails_with(3).says("/nowhere");
    home.banger("cp - x:/etc/hostname").fails_with(4).says("not a directory");
    let mut terminal = Terminal::open(&home, 24, 80, &["cp", "x:/etc", "-"]);
    terminal.expect("stdout is a terminal");
    assert_eq!(terminal.wait(), 2);
}

#[test]
fn what_cannot_be_copied_is_explained() {
    let home = Home::new();
    home.boot("x");
    let before = home.sh("x", "ls -A /root");
    home.banger("vm create --name off").ok();
    fs::write(home.root().join("f"), "").unwrap();
    fs::create_dir(home.root().join("d")).unwrap();
    for (line, code, words) in [
        ("cp none x:", 3, "there is no none"),
        ("cp f x:/no/such/dir", 3, "/no/such"),
        ("cp f x:new/", 3, "/root/new/"),
        ("cp f x:/etc/hostname/", 4, "not a directory"),
        ("cp d x:/etc/hostname", 4, "in the way"),
        ("cp x:/no/such/file .", 3, "/no/such/file"),
        ("cp x:/etc/hostname none/", 3, "there is no directory none"),
        ("cp x:/etc/hostname none/f", 3, "there is no none"),
        ("cp x:/etc f", 4, "in the way"),
        ("cp x:/dev/null .", 4, "neither file"),
        ("cp --max-size 1 x:/usr/bin/perl .", 4, "--max-size"),
        ("cp f off:", 4, "vm start off"),
        ("cp off:/etc/hostname .", 4, "vm start off"),
        ("cp f nobody:", 3, "nobody"),
        ("cp nobody:/f .", 3, "nobody"),
        ("cp f d", 2, "REF:PATH"),
        ("cp x:/f off:/f", 2, "both sides"),
        ("cp f :/f", 2, "REF"),
        ("cp f", 2, "DST"),
    ] {
        home.banger(line).fails_with(code).says(words);
    }
    let left: Vec<_> = fs::read_dir(home.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name == "perl" || name == "hostname" || name == "etc"), "{left:?}");
    assert_eq!(home.sh("x", "ls -A /root"), before);
}

#[test]
fn needs_setpriv_unreadable_files_are_named_before_anything_is_sent() {
    let is_root = rustix::process::geteuid().is_root();
    if is_root && tool(&["setpriv", "--version"]).is_none() {
        return skipped("setpriv is not installed");
    }
    let home = Home::new();
    home.boot("x");
    let before = home.sh("x", "ls -A /root");
    let dir = home.root().join("d");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("a"), "").unwrap();
    fs::write(dir.join("secret"), "").unwrap();
    fs::set_permissions(dir.join("secret"), fs::Permissions::from_mode(0o000)).unwrap();
    // Root without the capability to read what it may not is as good as another user.
    let caps = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all"];
    let caps = if is_root { &caps[..] } else { &[] };
    home.banger("cp d x:").under(caps).fails_with(1).says("cannot read d/secret");
    assert_eq!(home.sh("x", "ls -A /root"), before);
}

#[test]
fn two_hundred_megabytes_arrive_identical() {
    let home = Home::new();
    home.configure("default_image = \"debian-trixie-minimal\"\n[vm_defaults]\nvcpu = 1\nmemory_mib = 384\ndisk_size = \"512MiB\"\n");
    home.boot("x");
    let sent = noise(200_000_000);
    fs::write(home.root().join("large"), &sent).unwrap();
    let mut terminal = Terminal::open(&home, 24, 100, &["cp", "large", "x:"]);
    terminal.expect("copy");
    terminal.expect("MiB/191 MiB");
    assert_eq!(terminal.wait(), 0);
    let sum: String = hex::encode(Sha256::digest(&sent));
    assert_eq!(home.sh("x", "sha256sum < /root/large").split(' ').next(), Some(sum.as_str()));
    home.banger("cp x:large back").ok();
    assert!(fs::read(home.root().join("back")).unwrap() == sent, "the bytes differ");
}

#[test]
fn ctrl_c_and_a_dying_vm_leave_nothing_half_done() {
    let home = Home::new();
    home.boot("x");
    fs::create_dir(home.root().join("to")).unwrap();
    home.sh("x", "head -c 150000000 /dev/zero > /root/large");
    let arrived = |to: &str| fs::read_dir(home.root().join(to)).unwrap().count() > 0;
    // A file that is not all there has no name.
    let arriving = |copy: &Running| {
        let open = fs::read_dir(format!("/proc/{}/fd", copy.pid())).into_iter().flatten().flatten();
        let file = |link: PathBuf| link.starts_with(home.root().join("to")) && link != home.root().join("to");
        open.filter_map(|fd| fs::read_link(fd.path()).ok()).any(file)
    };

    let copy = home.banger("cp x:large to/").start();
    until("the copy is under way", Duration::from_secs(20), || arriving(&copy));
    copy.signal(Signal::INT);
    let copy = copy.finish(Duration::from_secs(5));
    assert_eq!(copy.code, 130, "{copy}");
    assert!(!arrived("to"), "{:?}", look_at(&home.root().join("to")));

    // Inwards: the guest removes it.
    home.sh("x", "rm /root/large");
    fs::write(home.root().join("large"), vec![0; 150_000_000]).unwrap();
    let sizes = || home.sh("x", "stat -c %s /root/large 2>/dev/null; true");
    let copy = home.banger("cp large x:").start();
    until("the copy is under way", Duration::from_secs(20), || !sizes().is_empty());
    copy.signal(Signal::INT);
    assert_eq!(copy.finish(Duration::from_secs(5)).code, 130);
    until("the guest has removed it", Duration::from_secs(10), || sizes().is_empty());

    // A directory that was made for the copy goes as a whole.
    fs::create_dir(home.root().join("dir")).unwrap();
    fs::rename(home.root().join("large"), home.root().join("dir/large")).unwrap();
    let copy = home.banger("cp dir x:new").start();
    until("the copy is under way", Duration::from_secs(20), || {
        home.sh("x", "ls -A /root/new 2>/dev/null; true") == "large"
    });
    copy.signal(Signal::KILL);
    until("the guest has removed it", Duration::from_secs(10), || {
        home.sh("x", "ls -d /root/new 2>/dev/null; true").is_empty()
    });

    home.banger("cp dir/large x:").ok();
    let copy = home.banger("cp x:large to/").start();
    until("the copy is under way", Duration::from_secs(20), || arriving(&copy));
    home.banger("vm kill x").ok();
    let copy = copy.finish(Duration::from_secs(10));
    assert_eq!(copy.code, 1, "{copy}");
    copy.says("could not copy x:large").says("the VM stopped while files were copied");
    assert!(!arrived("to"));
    home.banger("vm delete --force x").ok();
    home.assert_no_residue();
}

/// Makes a tree of everything that can be copied, and a FIFO that cannot.
fn grow(tree: &Path) {
    let odd = OsStr::from_bytes(b"odd \"name\"\n\xff\xfe");
    fs::create_dir_all(tree.join("private/empty")).unwrap();
    fs::create_dir(tree.join(odd)).unwrap();
    fs::write(tree.join(odd).join("file"), noise(300_000)).unwrap();
    fs::write(tree.join("private/run"), "#!/bin/sh\n").unwrap();
    fs::write(tree.join("x".repeat(250)), "").unwrap();
    symlink("../..", tree.join("up")).unwrap();
    symlink("/no such/place", tree.join("private/dangling")).unwrap();
    mknodat(CWD, tree.join("fifo"), FileType::Fifo, 0o600.into(), 0).unwrap();
    symlink(odd, tree.join("to odd")).unwrap();
    let mode = |path: &str, mode| {
        fs::set_permissions(tree.join(path), fs::Permissions::from_mode(mode)).unwrap();
        let old = Timespec { tv_sec: 1_600_000_000, tv_nsec: 0 };
        let times = Timestamps { last_access: old, last_modification: old };
        utimensat(CWD, tree.join(path), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    };
    mode("private/run", 0o751);
    mode("private/empty", 0o777);
    mode("private", 0o700);
}

/// What is in a tree, to be compared: paths, kinds and modes, times in seconds, contents. FIFOs aside.
fn look_at(dir: &Path) -> Vec<(PathBuf, u32, i64, Vec<u8>)> {
    let (mut found, mut left) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(path) = left.pop() {
        let metadata = path.symlink_metadata().unwrap();
        let content = match metadata.file_type() {
            kind if kind.is_dir() => {
                left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                Vec::new()
            }
            kind if kind.is_symlink() => fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes(),
            kind if kind.is_file() => Sha256::digest(fs::read(&path).unwrap()).to_vec(),
            _ => continue,
        };
        let name = path.strip_prefix(dir).unwrap().to_owned();
        found.push((name, metadata.mode(), metadata.mtime(), content));
    }
    found.sort();
    found
}

/// Bytes that look random, the same each time.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
