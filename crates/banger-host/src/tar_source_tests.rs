use std::io::Write;

use proptest::prelude::*;
use tar::{EntryType, Header as TarHeader};

use super::*;

fn entries_of(bytes: &[u8]) -> Result<Vec<TarEntry>, TarError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let mut entries = Vec::new();
    read_entries(file.path(), |entry| {
        entries.push(entry);
        Ok(())
    })?;
    Ok(entries)
}

fn header(kind: EntryType, size: u64) -> TarHeader {
    let mut header = TarHeader::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o4755);
    header.set_uid(7);
    header.set_gid(8);
    header.set_mtime(9);
    header
}

/// Bypasses the builder's own checks of names.
fn raw_named(name: &[u8], kind: EntryType) -> Vec<u8> {
    let mut header = header(kind, 0);
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.set_cksum();
    [header.as_bytes(), &[0; 1024][..]].concat()
}

type Records<'a> = &'a [(&'a str, &'a [u8])];

/// An entry of three bytes, with what an extended header says about it.
fn with_pax(records: Records<'_>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_pax_extensions(records.iter().copied()).unwrap();
    builder.append_data(&mut header(EntryType::Regular, 3), "short", &b"abc"[..]).unwrap();
    builder.into_inner().unwrap()
}

fn one(records: Records<'_>) -> TarEntry {
    let entries = entries_of(&with_pax(records)).unwrap();
    let [entry] = &entries[..] else { panic!("{entries:?}") };
    entry.clone()
}

fn segments_of(entry: &TarEntry) -> (u64, Vec<(u64, u64)>) {
    let TarKind::File(content) = &entry.kind else { panic!("{entry:?}") };
    (content.size_bytes, content.segments.iter().map(|segment| (segment.file_offset, segment.len)).collect())
}

#[test]
fn pax_headers_win_over_the_old_ones() {
    let long = "d/".repeat(150) + "file";
    let entry = one(&[
        ("path", long.as_bytes()),
        ("mtime", b"-1.25"),
        ("uid", b"4000000"),
        ("SCHILY.xattr.user.x", b"\0\xFF="),
        ("SCHILY.xattr.user.a", b""),
        ("LIBARCHIVE.xattr.user.y", b"eHg="),
        ("comment", b"nobody cares"),
    ]);
    assert_eq!(entry.path, long.as_bytes());
    let expected = Attributes {
        mode: 0o4755,
        uid: 4_000_000,
        gid: 8,
        mtime: (-2, 750_000_000),
        xattrs: vec![(b"user.a".to_vec(), Vec::new()), (b"user.x".to_vec(), b"\0\xFF=".to_vec())],
    };
    assert_eq!(entry.attributes, expected);
}

#[test]
fn a_global_header_holds_until_an_entry_says_otherwise() {
    let mut global = tar::Builder::new(Vec::new());
    global.append_pax_extensions([("uid", &b"99"[..]), ("gid", b"98")]).unwrap();
    let mut global = global.into_inner().unwrap();
    global.truncate(1024);
    let mut changed = TarHeader::new_ustar();
    changed.as_mut_bytes().copy_from_slice(&global[..512]);
    changed.set_entry_type(EntryType::XGlobalHeader);
    changed.set_cksum();
    global[..512].copy_from_slice(changed.as_bytes());
    let archive = [&global[..], &with_pax(&[("gid", b"5")])].concat();
    let entries = entries_of(&archive).unwrap();
    assert_eq!((entries[0].attributes.uid, entries[0].attributes.gid), (99, 5));
    let archive = [&global[..], &raw_named(b"x", EntryType::Regular)].concat();
    assert_eq!(entries_of(&archive).unwrap()[0].attributes.gid, 98);
    // What can only be true of one is true of none.
    let mut of_one = [&global[..], &raw_named(b"x", EntryType::Regular)].concat();
    let at = of_one.windows(3).position(|window| window == b"uid").unwrap();
    of_one[at - 2..at + 7].copy_from_slice(b"9 size=1\n");
    let entries = entries_of(&of_one).unwrap();
    assert_eq!((segments_of(&entries[0]).0, entries[0].attributes.gid), (0, 98));
}

/// As with Go's reader, and GNU tar.
#[test]
fn of_what_is_said_twice_the_last_counts() {
    let entry = one(&[("path", b"a"), ("path", b"b"), ("uid", b"3"), ("uid", b"4")]);
    assert_eq!((&entry.path[..], entry.attributes.uid), (&b"b"[..], 4));
    let entry = one(&[("SCHILY.xattr.user.x", b"1"), ("SCHILY.xattr.user.x", b"2")]);
    assert_eq!(entry.attributes.xattrs, [(b"user.x".to_vec(), b"2".to_vec())]);
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_pax_extensions([("uid", &b"1"[..]), ("gid", b"1")]).unwrap();
    let twice = [builder.into_inner().unwrap()[..1024].to_vec(), with_pax(&[("uid", b"2")])].concat();
    let attributes = &entries_of(&twice).unwrap()[0].attributes;
    assert_eq!((attributes.uid, attributes.gid), (2, 8));
}

#[test]
fn no_name_leads_out() {
    for (name, path) in [
        (&b"./a//b"[..], &b"a/b"[..]),
        (b"/a/b", b"a/b"),
        (b"a/./b/", b"a/b"),
        (b"////a/b", b"a/b"),
        (b"a/../b", b"b"),
        (b"a/b/../../c", b"c"),
        (b"a/../../x", b"x"),
        (b"../x", b"x"),
        (b"/../../x/y", b"x/y"),
        (b"x/..", b""),
        (b"..", b""),
        (b".", b""),
        (b"./", b""),
        (b"/", b""),
    ] {
        assert_eq!(entries_of(&raw_named(name, EntryType::Directory)).unwrap()[0].path, path, "{name:?}");
    }
    for name in [&b"\xFF\xFE"[..], b"a\nb", b"a\"b", b"a\\b", b"...", b"..a", b"\x7F"] {
        assert_eq!(entries_of(&raw_named(name, EntryType::Regular)).unwrap()[0].path, name);
    }
    let result = entries_of(&raw_named(b"x", EntryType::new(b'Z')));
    assert!(matches!(result, Err(TarError::UnknownType { kind: 'Z', .. })), "{result:?}");
}

#[test]
fn names_have_the_systems_bounds() {
    let path = |path: &str| entries_of(&with_pax(&[("path", path.as_bytes())]));
    assert!(path(&"x".repeat(255)).is_ok());
    let result = path(&("d/".to_owned() + &"x".repeat(256)));
    assert!(matches!(result, Err(TarError::LongName { .. })), "{result:?}");
    assert!(path(&("d/".repeat(2000) + "f")).is_ok());
    let result = path(&("d/".repeat(2100) + "f"));
    assert!(matches!(result, Err(TarError::LongName { .. })), "{result:?}");
    let result = path("a\0b");
    assert!(matches!(result, Err(TarError::Field { field: "name", .. })), "{result:?}");
}

#[test]
fn link_targets_are_kept_or_refused() {
    let link = |kind, target: &[u8]| {
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_pax_extensions([("linkpath", target)]).unwrap();
        builder.append_data(&mut header(kind, 0), "link", &b""[..]).unwrap();
        entries_of(&builder.into_inner().unwrap()).map(|entries| entries[0].kind.clone())
    };
    for target in [&b"/etc/passwd"[..], b"../../../x", b"\xFF\n", &[b'x'; 4095]] {
        let kept = TarKind::Symlink { target: target.to_vec() };
        assert_eq!(link(EntryType::Symlink, target).unwrap(), kept);
    }
    for target in [&b"a\0b"[..], &[b'x'; 4096]] {
        let result = link(EntryType::Symlink, target);
        assert!(matches!(result, Err(TarError::Field { field: "link target", .. })), "{result:?}");
    }
    for target in [&b"./a/b"[..], b"/a/b", b"a//b", b"../a/b", b"a/x/../../../a/b"] {
        assert_eq!(link(EntryType::Link, target).unwrap(), TarKind::HardLink { target: b"a/b".to_vec() });
    }
}

#[test]
fn symlinks_have_the_mode_that_all_have() {
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_link(&mut header(EntryType::Symlink, 0), "link", "target").unwrap();
    assert_eq!(entries_of(&builder.into_inner().unwrap()).unwrap()[0].attributes.mode, 0o777);
}

#[test]
fn sizes_that_lie_are_found_out() {
    for size in ["1000000", "18446744073709551615"] {
        let result = entries_of(&with_pax(&[("size", size.as_bytes())]));
        assert!(matches!(result, Err(TarError::Cut { .. })), "{size}: {result:?}");
    }
    let whole = with_pax(&[("uid", b"1")]);
    // In the extended header's records, in the entry's header, in its content.
    for len in [600, 1100, 1537] {
        assert!(entries_of(&whole[..len]).is_err(), "{len}");
    }
    // Without the padding of the last entry, and without the end mark.
    for len in [1539, 2048] {
        assert_eq!(entries_of(&whole[..len]).unwrap().len(), 1);
    }
    let mut header = header(EntryType::XHeader, 1 << 30);
    header.set_cksum();
    let result = entries_of(&[header.as_bytes(), &[0; 4096][..]].concat());
    assert!(matches!(result, Err(TarError::Field { field: "extended header", .. })), "{result:?}");
    let mut damaged = raw_named(b"x", EntryType::Regular);
    damaged[0] = b'y';
    let result = entries_of(&damaged);
    assert!(matches!(result, Err(TarError::NoHeader { offset: 0 })), "{result:?}");
}

#[test]
fn sparse_files_of_every_form() {
    let maps: [Records<'_>; 2] = [
        &[("GNU.sparse.map", b"10,1,512,2"), ("GNU.sparse.size", b"9000"), ("GNU.sparse.name", b"real")],
        &[
            ("GNU.sparse.size", b"9000"),
            ("GNU.sparse.offset", b"10"),
            ("GNU.sparse.numbytes", b"1"),
            ("GNU.sparse.offset", b"512"),
            ("GNU.sparse.numbytes", b"2"),
            ("path", b"real"),
        ],
    ];
    for records in maps {
        let entry = one(records);
        assert_eq!(segments_of(&entry), (9000, vec![(10, 1), (512, 2)]));
        assert_eq!(entry.path, b"real");
    }
    let version_1: Records<'_> =
        &[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"9000")];
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_pax_extensions(version_1.iter().copied()).unwrap();
    let mut content = b"2\n10\n1\n512\n2\n".to_vec();
    content.resize(512, 0);
    content.extend_from_slice(b"abc");
    builder.append_data(&mut header(EntryType::Regular, 515), "x", &content[..]).unwrap();
    let entries = entries_of(&builder.into_inner().unwrap()).unwrap();
    assert_eq!(segments_of(&entries[0]), (9000, vec![(10, 1), (512, 2)]));
}

#[test]
fn old_sparse_files_may_have_long_maps() {
    let mut block = header(EntryType::GNUSparse, 30 * 2);
    let number = |number: u64| format!("{number:011o}\0").into_bytes();
    let pair = |index: u64| [number(index * 1000), number(2)].concat();
    let (in_header, beyond): (Vec<u64>, Vec<u64>) = ((0..4).collect(), (4..30).collect());
    let bytes = block.as_mut_bytes();
    bytes[386..482].copy_from_slice(&in_header.iter().flat_map(|index| pair(*index)).collect::<Vec<_>>());
    bytes[482] = 1;
    bytes[483..495].copy_from_slice(&number(100_000));
    bytes[0] = b's';
    block.set_cksum();
    let mut archive = block.as_bytes().to_vec();
    for (index, part) in beyond.chunks(21).enumerate() {
        let mut map: Vec<u8> = part.iter().flat_map(|index| pair(*index)).collect();
        map.resize(512, 0);
        map[504] = u8::from(index == 0);
        archive.extend_from_slice(&map);
    }
    archive.resize(archive.len() + 512, 7);
    archive.extend_from_slice(&raw_named(b"next", EntryType::Fifo));
    let entries = entries_of(&archive).unwrap();
    assert_eq!(segments_of(&entries[0]), (100_000, (0..30).map(|index| (index * 1000, 2)).collect()));
    let TarKind::File(content) = &entries[0].kind else { panic!() };
    assert_eq!(content.segments[0].tar_offset, 3 * 512);
    assert_eq!(entries[1].path, b"next");
}

#[test]
fn sparse_maps_that_lie_are_refused() {
    let map = |map: &'static str, size: &'static str| {
        entries_of(&with_pax(&[("GNU.sparse.map", map.as_bytes()), ("GNU.sparse.size", size.as_bytes())]))
    };
    assert!(map("0,3", "3").is_ok());
    for (numbers, size) in [
        // Out of order, beyond the end, other than what is stored, half a pair, no numbers, too large.
        ("5,1,0,2", "9"),
        ("0,1,8,2", "9"),
        ("0,1", "9"),
        ("0,4", "9"),
        ("0,1,2", "9"),
        ("a,b", "9"),
        ("18446744073709551615,3", "18446744073709551615"),
        ("0,3", "18446744073709551615"),
    ] {
        let result = map(numbers, size);
        let refused = matches!(result, Err(TarError::Sparse { .. } | TarError::Field { .. }));
        assert!(refused, "{numbers}: {result:?}");
    }
    let result = entries_of(&with_pax(&[("GNU.sparse.major", b"2"), ("GNU.sparse.realsize", b"9")]));
    assert!(matches!(result, Err(TarError::Sparse { .. })), "{result:?}");
}

#[test]
fn numbers_that_fit_no_field_are_refused() {
    for (key, value) in [("uid", "4294967296"), ("gid", "-1"), ("mtime", "soon"), ("size", "1e3")] {
        let result = entries_of(&with_pax(&[(key, value.as_bytes())]));
        assert!(matches!(result, Err(TarError::Field { .. })), "{key}: {result:?}");
    }
    let mut device = header(EntryType::Char, 0);
    device.set_device_major(5000).unwrap();
    device.as_mut_bytes()[0] = b'd';
    device.set_cksum();
    let result = entries_of(&[device.as_bytes(), &[0; 1024][..]].concat());
    assert!(matches!(result, Err(TarError::Field { field: "device number", .. })), "{result:?}");
}

proptest! {
    #[test]
    fn damaged_archives_never_panic(
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        mend in any::<bool>(),
    ) {
        let mut builder = tar::Builder::new(Vec::new());
        let sparse: [(&str, &[u8]); 2] = [("GNU.sparse.map", b"0,1,512,2"), ("GNU.sparse.size", b"9000")];
        builder.append_pax_extensions(sparse).unwrap();
        builder.append_data(&mut header(EntryType::Regular, 3), "sparse", &b"abc"[..]).unwrap();
        builder.append_link(&mut header(EntryType::Link, 0), "link", "sparse").unwrap();
        builder.append_data(&mut header(EntryType::GNUSparse, 600), "old", &[b'1'; 600][..]).unwrap();
        let mut bytes = builder.into_inner().unwrap();
        for (at, byte) in hits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        // Otherwise few get past the checksum.
        if mend {
            for block in bytes.chunks_exact_mut(512) {
                let mut header = TarHeader::new_old();
                header.as_mut_bytes().copy_from_slice(block);
                header.set_cksum();
                block.copy_from_slice(header.as_bytes());
            }
        }
        let _ = entries_of(&bytes);
    }
}
