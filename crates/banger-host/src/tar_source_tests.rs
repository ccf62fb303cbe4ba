use std::io::Write;

use proptest::prelude::*;

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

fn header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
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

#[test]
fn pax_headers_win_over_the_old_ones() {
    let mut builder = tar::Builder::new(Vec::new());
    let long = "d/".repeat(150) + "file";
    let pax = [
        ("path", long.as_bytes()),
        ("mtime", b"-1.25"),
        ("uid", b"4000000"),
        ("SCHILY.xattr.user.x", b"\0\xFF="),
    ];
    builder.append_pax_extensions(pax).unwrap();
    builder.append_data(&mut header(EntryType::Regular, 3), "short", &b"abc"[..]).unwrap();
    let entries = entries_of(&builder.into_inner().unwrap()).unwrap();
    let [entry] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!(entry.path, long);
    let expected = Attributes {
        mode: 0o4755,
        uid: 4_000_000,
        gid: 8,
        mtime: (-2, 750_000_000),
        xattrs: vec![("user.x".into(), b"\0\xFF=".to_vec())],
    };
    assert_eq!(entry.attributes, expected);
}

#[test]
fn names_that_lead_out_are_refused_and_harmless_ones_normalised() {
    for name in [&b"../x"[..], b"a/../../x", b"/../x", b".."] {
        let result = entries_of(&raw_named(name, EntryType::Regular));
        assert!(matches!(result, Err(TarError::Escape { .. })), "{name:?}: {result:?}");
    }
    for name in [&b"./a//b"[..], b"/a/b", b"a/./b/"] {
        assert_eq!(entries_of(&raw_named(name, EntryType::Regular)).unwrap()[0].path, "a/b");
    }
    let result = entries_of(&raw_named(b"\xFF\xFE", EntryType::Regular));
    assert!(matches!(result, Err(TarError::NotUtf8 { .. })), "{result:?}");
    let result = entries_of(&raw_named(b"x", EntryType::new(b'Z')));
    assert!(matches!(result, Err(TarError::UnknownType { kind: 'Z', .. })), "{result:?}");
}

#[test]
fn times_of_every_form() {
    assert_eq!(parse_time("5"), Some((5, 0)));
    assert_eq!(parse_time("5.000000001999"), Some((5, 1)));
    assert_eq!(parse_time("-0.5"), Some((-1, 500_000_000)));
    assert_eq!(parse_time("x"), None);
}

proptest! {
    #[test]
    fn damaged_archives_never_panic(hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)) {
        let mut builder = tar::Builder::new(Vec::new());
        let sparse: [(&str, &[u8]); 2] = [("GNU.sparse.map", b"0,1,512,2"), ("GNU.sparse.size", b"9000")];
        builder.append_pax_extensions(sparse).unwrap();
        builder.append_data(&mut header(EntryType::Regular, 3), "sparse", &b"abc"[..]).unwrap();
        builder.append_link(&mut header(EntryType::Link, 0), "link", "sparse").unwrap();
        let mut bytes = builder.into_inner().unwrap();
        for (at, byte) in hits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = entries_of(&bytes);
    }
}
