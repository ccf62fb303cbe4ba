use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use crate::archive::{
    ArchiveError, Decoder, Entry, EntryKind, Item, Note, Timestamp, put_end, put_entry, put_note, put_padding,
};

/// What an archive in pieces of `step` bytes consists of, with each file's data in one piece.
fn decode(bytes: &[u8], step: usize) -> Result<Vec<Item>, ArchiveError> {
    let mut decoder = Decoder::default();
    let mut items: Vec<Item> = Vec::new();
    for chunk in bytes.chunks(step) {
        decoder.push(Bytes::copy_from_slice(chunk));
        while let Some(item) = decoder.next()? {
            match (items.last_mut(), item) {
                (Some(Item::Data(before)), Item::Data(more)) => {
                    *before = [&before[..], &more[..]].concat().into()
                }
                (_, item) => items.push(item),
            }
        }
    }
    decoder.finish().map(|()| items)
}

fn entry(path: impl Into<Vec<u8>>, kind: EntryKind) -> Entry {
    Entry {
        path: path.into(),
        kind,
        mode: 0o644,
        mtime: Timestamp { seconds: 1_700_000_000, nanoseconds: 0 },
    }
}

fn file(path: impl Into<Vec<u8>>, size: u64) -> Entry {
    entry(path, EntryKind::File { size })
}

fn any_entry() -> impl Strategy<Value = (Entry, Vec<u8>)> {
    let name = proptest::collection::vec(1u8.., 1..260).prop_map(|mut name| {
        if name.last() == Some(&b'/') {
            name.push(b'x');
        }
        name
    });
    let content = proptest::collection::vec(any::<u8>(), 0..1500);
    (name.clone(), name, content, 0u8..4, 0u32..0o10000, 0i64..1 << 36).prop_map(
        |(path, target, content, kind, mode, seconds)| {
            let content = if kind == 0 { content } else { Vec::new() };
            let kind = match kind {
                0 => EntryKind::File { size: content.len() as u64 },
                1 => EntryKind::Directory,
                2 => EntryKind::Symlink { target },
                _ => EntryKind::Hardlink { target },
            };
            (Entry { path, kind, mode, mtime: Timestamp { seconds, nanoseconds: 0 } }, content)
        },
    )
}

proptest! {
    #[test]
    fn what_was_put_in_comes_out(
        entries in proptest::collection::vec(any_entry(), 0..5), step in 1usize..2000,
    ) {
        let (mut bytes, mut expected) = (BytesMut::new(), Vec::new());
        for (entry, content) in entries {
            put_entry(&mut bytes, &entry);
            bytes.extend_from_slice(&content);
            put_padding(&mut bytes, content.len() as u64);
            let slash: &[u8] = if entry.kind == EntryKind::Directory { b"/" } else { b"" };
            expected.push(Item::Entry(Entry { path: [&entry.path, slash].concat(), ..entry }));
            if !content.is_empty() {
                expected.push(Item::Data(content.into()));
            }
        }
        put_end(&mut bytes);
        expected.push(Item::End);
        prop_assert_eq!(decode(&bytes, step).unwrap(), expected);
    }

    #[test]
    fn any_bytes_are_answered(mut bytes: Vec<u8>, blocks in 0usize..6, step in 1usize..700) {
        bytes.extend(vec![0x30; blocks * 512]);
        let _ = decode(&bytes, step);
    }

    #[test]
    fn a_damaged_archive_is_answered(at in 0usize..2048, with: u8, cut in 0usize..2048) {
        let mut bytes = BytesMut::new();
        put_entry(&mut bytes, &file("a".repeat(150), 3));
        bytes.extend_from_slice(b"abc");
        put_padding(&mut bytes, 3);
        put_end(&mut bytes);
        bytes[at] = with;
        let _ = decode(&bytes[..cut.max(1)], 512);
    }
}

#[test]
fn notes_travel_and_do_not_stay() {
    let mut bytes = BytesMut::new();
    let skipped = Note::Skipped { path: b"a/\n=\xff".to_vec() };
    put_note(&mut bytes, &skipped);
    put_entry(&mut bytes, &file("b", 0));
    put_end(&mut bytes);
    assert_eq!(decode(&bytes, 99).unwrap(), [Item::Note(skipped), Item::Entry(file("b", 0)), Item::End]);
}

#[test]
fn what_just_stops_is_truncated() {
    let mut bytes = BytesMut::new();
    put_entry(&mut bytes, &file("a", 600));
    bytes.extend_from_slice(&[7; 600]);
    put_padding(&mut bytes, 600);
    for len in [1, 511, 512, 513, 1111, 1200, 1536] {
        assert_eq!(decode(&bytes[..len], 512), Err(ArchiveError::Truncated), "{len}");
    }
    assert_eq!(decode(b"", 512), Err(ArchiveError::Truncated));
}

#[test]
fn large_files_and_old_directories_are_understood() {
    let mut bytes = BytesMut::new();
    put_entry(&mut bytes, &file("large", 9 << 30));
    let mut decoder = Decoder::default();
    decoder.push(bytes.split().freeze());
    assert_eq!(decoder.next(), Ok(Some(Item::Entry(file("large", 9 << 30)))));

    put_entry(&mut bytes, &file("dir/", 0));
    put_end(&mut bytes);
    assert_eq!(decode(&bytes, 512).unwrap()[0], Item::Entry(entry("dir/", EntryKind::Directory)));
}

#[test]
fn what_is_no_archive_is_refused() {
    assert!(matches!(decode(&[b'x'; 512], 512), Err(ArchiveError::Header { field: "checksum" })));
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(1 << 40);
    header.set_cksum();
    assert_eq!(decode(header.as_bytes(), 512), Err(ArchiveError::Extension { len: 1 << 40 }));
}
