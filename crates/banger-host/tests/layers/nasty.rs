//! Layers with everything that is seldom done.

use tar::EntryType;

use super::fixture::{Layer, Meta};

fn dir_meta() -> Meta {
    Meta::mode(0o755).mtime("1600000000.25")
}

/// `setcap cap_net_raw+ep`, as the system hands it out.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Read by the owner, by user 1000 and nobody else.
const ACCESS_LIST: [u8; 44] = [
    2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 232, 3, 0, 0, 4, 0, 0, 0, 255, 255, 255, 255, 16,
    0, 4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
];

pub(crate) fn layers() -> Vec<Vec<u8>> {
    let mut layers = vec![base(), names(), changes(), returns(), tree_of_links()];
    for number in layers.len()..200 {
        layers.push(one_of_many(number));
    }
    layers.iter().map(Layer::finish).collect()
}

fn base() -> Layer {
    let mut layer = Layer::new();
    layer.dir("./", &Meta::mode(0o751).owner(0, 3).mtime("1234567890.123456789"));
    for path in
        ["usr", "usr/bin", "usr/lib", "etc", "opt", "opt/app", "opt/app/deep", "opt/app/deep/er", "many"]
    {
        layer.dir(path, &dir_meta());
    }
    layer.dir("tmp", &Meta::mode(0o1777)).dir("srv", &Meta::mode(0o2775).owner(1000, 70_000));
    layer.symlink("bin", "usr/bin").symlink("lib", "/usr/lib").symlink("up", "../../../etc/x");
    layer.symlink("etc/mtab", "../proc/self/mounts").symlink("long", "x/".repeat(100));
    layer.symlink("slow-or-fast-59", "y".repeat(59)).symlink("slow-or-fast-60", "y".repeat(60));
    layer.symlink("longest", "z".repeat(4095)).symlink(b"\xFEtarget", b"\xFF\n\"\\\xC0");
    layer.file("usr/bin/su", &Meta::mode(0o4755).mtime("0"), b"setuid");
    layer.file("usr/bin/ping", &Meta::mode(0o755).xattr("security.capability", &CAPABILITY), b"ping");
    let marked = Meta::default().xattr("user.note", b"\0\xFF\n").xattr("trusted.x", &[b'v'; 300]);
    layer.file("etc/marked", &marked, b"x").dir("etc/marked.d", &dir_meta().xattr("user.dir", b"1"));
    layer.file("etc/listed", &Meta::mode(0o640).xattr("system.posix_acl_access", &ACCESS_LIST), b"x");
    let many =
        Meta::default().xattr("user.a", &[b'a'; 1500]).xattr("user.b", b"b").xattr("user.c", &[b'c'; 2000]);
    layer.file("etc/much", &many, b"x");
    layer.file("etc/old", &Meta::default().mtime("-312345678.9"), b"1960");
    layer.file("etc/new", &Meta::default().mtime("4102444800.000000001"), b"2100");
    layer.file("etc/owner", &Meta::default().owner(2_097_151, 2_000_000), b"far");
    layer.special(EntryType::Fifo, "tmp/fifo", &Meta::mode(0o620), [0, 0]);
    layer.special(EntryType::Char, "tmp/null", &Meta::mode(0o666), [1, 3]);
    layer.special(EntryType::Block, "tmp/block", &Meta::mode(0o660).owner(0, 6), [254, 200]);
    for name in ["a", "b", "c", "d"] {
        layer.file(format!("opt/app/{name}"), &Meta::default(), name.as_bytes());
        layer.file(format!("opt/app/deep/{name}"), &Meta::default(), name.as_bytes());
        layer.file(format!("opt/app/deep/er/{name}"), &Meta::default(), name.as_bytes());
    }
    layer.file("etc/linked", &Meta::mode(0o600).owner(5, 6), b"linked").link("etc/linked-2", "etc/linked");
    layer.link("opt/linked-3", "./etc/linked-2").link("etc/link-to-link", "up");
    layer.sparse("opt/sparse", 9_000_000, &[(10, b"abc"), (4096, &[1; 5000]), (8_999_996, b"DEFG")]);
    layer.file("opt/zeros", &Meta::default(), &[0; 1 << 20]).file("etc/empty", &Meta::default(), b"");
    for index in 0..300 {
        layer.file(format!("many/file-{index}"), &Meta::default(), format!("{index}").as_bytes());
    }
    layer
}

/// Names that are hard to write, also so many that the directory is indexed.
fn names() -> Layer {
    let mut layer = Layer::new();
    layer.dir("names", &dir_meta()).dir("names/index", &dir_meta()).dir("names/many", &dir_meta());
    for name in [
        &b"new\nline"[..],
        b"quo\"te's",
        b"back\\slash",
        b"not \xFF\xFE\x80 text",
        "d\u{e9}j\u{e0} \u{1F600}".as_bytes(),
        b" ",
        b"...",
        b"-rf *",
        b"\x01\x7F",
        b"wh.x",
        b"\xC3",
    ] {
        layer.file([b"names/", name].concat(), &Meta::default(), name);
    }
    layer.file("names/".to_owned() + &"n".repeat(255), &Meta::default(), b"255");
    layer.file([&b"names/"[..], &[0xFF; 255]].concat(), &Meta::default(), b"255 of them");
    layer.symlink(b"names/\xFFlink", b"\xFF\xFE").link(b"names/\xFFhard", b"names/not \xFF\xFE\x80 text");
    let mut deep = "names".to_owned();
    for level in 0..12 {
        deep = format!("{deep}/level-{level}-{}", "d".repeat(40));
        layer.dir(&deep, &dir_meta());
    }
    layer.file(format!("{deep}/file"), &Meta::default(), b"deep");
    layer.dir(b"names/\xF0dir", &dir_meta()).file(b"names/\xF0dir/\xF1", &Meta::default(), b"1");
    for index in 0..3000_u16 {
        let [high, low] = index.to_be_bytes();
        let name = [high + 100, low.max(1), 0xFA];
        if low != b'/' {
            layer.file([b"names/many/", &name[..]].concat(), &Meta::default(), &name);
            layer.file([b"names/index/", &name[..]].concat(), &Meta::default(), &name);
        }
    }
    layer
}

/// Removes and replaces what is below.
fn changes() -> Layer {
    let mut layer = Layer::new();
    // As `umoci insert` writes the root.
    layer.dir("/", &Meta::mode(0o711).owner(0, 4).mtime("1234567891"));
    layer.dir("opt", &dir_meta()).dir("opt/app", &Meta::mode(0o700).owner(7, 7).mtime("1650000000.1"));
    // In both orders: the removal does not touch what the same layer brings.
    layer.without("opt/app/a").file("opt/app/a", &Meta::mode(0o600), b"a again");
    layer.file("opt/app/b", &Meta::mode(0o600), b"b again").without("opt/app/b");
    layer.without("opt/app/c").without("opt/app/not-there").without("nowhere/not-there");
    layer.dir("opt/app/deep", &dir_meta()).file("opt/app/deep/before", &Meta::default(), b"before");
    layer.opaque("opt/app/deep").file("opt/app/deep/after", &Meta::default(), b"after");
    layer.without("etc/marked").without("etc/linked");
    layer.dir("etc", &dir_meta()).dir("etc/marked.d", &Meta::mode(0o711));
    layer.link("etc/linked-from-above", "opt/linked-3").link("etc/absolute", "/etc/linked-2");
    // Through the symbolic links of the layer below, as a package for an unmerged system does it.
    layer.file("lib/libfoo.so", &Meta::mode(0o755), b"library").file(
        "bin/foo",
        &Meta::mode(0o755),
        b"program",
    );
    // Another kind of thing in the same place.
    layer.file("many/file-1", &Meta::default(), b"changed").without("many/file-2");
    layer.dir("many/file-3", &dir_meta()).file("many/file-3/below", &Meta::default(), b"below");
    layer.symlink("many/file-4", "file-5").file("long", &Meta::default(), b"a file now");
    layer.file("srv", &Meta::default(), b"a file now").without("usr/bin/su");
    layer
}

/// Brings back what was removed.
fn returns() -> Layer {
    let mut layer = Layer::new();
    layer.file("opt/app/c", &Meta::mode(0o640), b"c is back").dir("opt/app/deep/er", &dir_meta());
    layer.file("opt/app/deep/er/e", &Meta::default(), b"e").without("many/file-3");
    layer.file("etc/linked", &Meta::default(), b"no link any more").dir("srv", &Meta::mode(0o2770));
    // A directory in the place of a symbolic link to one.
    layer.dir("lib", &dir_meta()).file("lib/own", &Meta::default(), b"own");
    layer.without("opt/linked-3").opaque("names/index");
    layer.file(b"names/index/\xFF", &Meta::default(), b"alone");
    layer
}

/// Files with many names, in many directories, over layers.
fn tree_of_links() -> Layer {
    let mut layer = Layer::new();
    layer.dir("links", &dir_meta()).dir("links/other", &dir_meta()).file(
        "links/0",
        &Meta::mode(0o444),
        b"one",
    );
    for index in 1..500 {
        layer.link(format!("links/other/{index}"), "links/0");
    }
    layer.link("links/su", "usr/bin/ping");
    layer
}

fn one_of_many(number: usize) -> Layer {
    let mut layer = Layer::new();
    let meta = Meta::default().mtime(&format!("17{number:08}.{number:09}"));
    layer.dir("many", &dir_meta()).file(format!("many/of-layer-{number}"), &meta, &number.to_le_bytes());
    layer.without(&format!("many/of-layer-{}", number - 3)).file("many/common", &meta, &[number as u8; 100]);
    layer.link(format!("links/of-layer-{number}"), "many/common");
    if number.is_multiple_of(10) {
        layer.dir("round", &meta).opaque("round").file(format!("round/{number}"), &meta, b"round");
    }
    layer
}

/// Names as programs write them that see to it that everybody else takes them: absolute ones (`ko`,
/// distroless of old), `..` inside the tree and out of it, and removals that remove nothing.
pub(crate) fn odd_names() -> Vec<Vec<u8>> {
    let (dir, file) = (Meta::mode(0o755), Meta::default());
    let mut first = Layer::new();
    first.dir("/", &dir).dir("/ko-app", &dir).file("/ko-app/app", &Meta::mode(0o555), b"program");
    first.dir("./", &dir).dir("plain", &dir).file("plain/../beside", &file, b"beside").dir("plain/..", &dir);
    first.file("../up", &file, b"up").dir("deep", &dir).file("deep/../../../over", &file, b"over");
    first.file("/../root", &file, b"root").file("//doubled//name", &file, b"").dir("doubled", &dir);
    first.link("to-absolute", "/ko-app/app").link("to-dot", "./beside").link("to-up", "../../up");
    first.link("plain/to-inside", "deep/../beside").symlink("out", "../../../etc/passwd");
    first.file("twice", &file, b"first").file("./twice", &Meta::mode(0o600), b"second");
    first.file("removed", &file, b"").file("kept", &file, b"");
    let mut second = Layer::new();
    second.file("/.wh.removed", &file, b"").dir("plain", &dir);
    // Last: umoci does not put the root's time back after what it makes in there.
    second.dir("/", &dir);
    vec![first.finish(), second.finish()]
}
