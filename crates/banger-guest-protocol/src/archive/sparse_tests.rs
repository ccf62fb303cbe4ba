use bytes::Bytes;
use proptest::prelude::*;
use tar::{EntryType, Header};

use super::*;
use crate::archive::encode::put_extension;
use crate::archive::{
    ArchiveError, Decoder, Entry, EntryKind, Item, Timestamp, put_end, put_entry, put_padding,
};

/// The first entry and the content behind it, holes filled.
fn decode(archive: &[u8], step: usize) -> Result<(Entry, Vec<u8>), ArchiveError> {
    let (mut decoder, mut found, mut content) = (Decoder::default(), None, Vec::new());
    for chunk in archive.chunks(step) {
        decoder.push(Bytes::copy_from_slice(chunk));
        while let Some(item) = decoder.next()? {
            match item {
                Item::Entry(entry) => found = Some(entry),
                Item::Data(bytes) => content.extend_from_slice(&bytes),
                Item::Hole(len) => content.resize(content.len() + usize::try_from(len).unwrap(), 0),
                Item::Note(_) | Item::End => {}
            }
        }
    }
    decoder.finish()?;
    Ok((found.unwrap(), content))
}

fn sparse(size: u64, runs: &[Run]) -> Entry {
    let kind = EntryKind::Sparse { size, runs: runs.into() };
    Entry { path: b"d/sparse".to_vec(), kind, mode: 0o640, mtime: Timestamp::default() }
}

/// A file of PAX 1.0 form with a map of one's own.
fn with_map(size: &str, map: &str, data: u64) -> Vec<u8> {
    let (mut archive, mut records) = (Vec::new(), Vec::new());
    put_record(&mut records, b"GNU.sparse.major", b"1");
    put_record(&mut records, b"GNU.sparse.minor", b"0");
    put_record(&mut records, b"GNU.sparse.realsize", size.as_bytes());
    put_extension(&mut archive, EntryType::XHeader, &records);
    let map_len = map.len().next_multiple_of(512);
    let kind = EntryKind::File { size: map_len as u64 + data };
    put_entry(&mut archive, &Entry { kind, ..sparse(0, &[]) });
    archive.extend_from_slice(map.as_bytes());
    archive.resize(archive.len().next_multiple_of(512), 0);
    archive.resize(archive.len() + data as usize, 7);
    put_padding(&mut archive, data);
    put_end(&mut archive);
    archive
}

proptest! {
    #[test]
    fn what_was_put_in_comes_out(
        parts in proptest::collection::vec((1_u64..3000, 1_u64..2000), 0..30), tail in 0_u64..3000, step in 1_usize..2000,
    ) {
        let (mut runs, mut content) = (Vec::new(), Vec::new());
        let mut archive = Vec::new();
        let mut data = Vec::new();
        for (gap, len) in parts {
            content.resize(content.len() + gap as usize, 0);
            runs.push(Run { offset: content.len() as u64, len });
            let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8 + 1).collect();
            data.extend_from_slice(&bytes);
            content.extend_from_slice(&bytes);
        }
        content.resize(content.len() + tail as usize, 0);
        let entry = sparse(content.len() as u64, &runs);
        put_entry(&mut archive, &entry);
        archive.extend_from_slice(&data);
        put_padding(&mut archive, data.len() as u64);
        put_end(&mut archive);
        prop_assert_eq!(decode(&archive, step).unwrap(), (entry, content));
    }

    #[test]
    fn any_map_is_answered(map in "[0-9\n]{0,60}", size in "[0-9]{1,20}", data in 0_u64..100) {
        // What is accepted has the size that it says.
        if let Ok(size) = size.parse::<u64>() && size > 1 << 20 {
            let mut decoder = Decoder::default();
            decoder.push(with_map(&size.to_string(), &map, data).into());
            while let Ok(Some(item)) = decoder.next() {
                if matches!(item, Item::End) { break; }
            }
        } else if let Ok((entry, content)) = decode(&with_map(&size, &map, data), 700)
            && let EntryKind::Sparse { size, .. } = entry.kind
        {
            prop_assert_eq!(content.len() as u64, size);
        }
    }
}

#[test]
fn maps_that_make_no_sense_are_refused() {
    let good = with_map("100", "2\n0\n10\n20\n10\n", 20);
    assert_eq!(decode(&good, 512).unwrap().1.len(), 100);
    let endless = "0".repeat(2000);
    for (what, size, map, data) in [
        ("overlap", "100", "2\n0\n10\n5\n10\n", 20),
        ("out of order", "100", "2\n50\n10\n0\n10\n", 20),
        ("beyond the end", "100", "1\n95\n10\n", 10),
        ("an offset of 2^63", "100", "1\n9223372036854775808\n10\n", 10),
        ("a sum over 2^64", "18446744073709551615", "1\n18446744073709551615\n10\n", 10),
        ("a size of 2^63", "9223372036854775808", "1\n0\n10\n", 10),
        ("a number over 2^64", "100", "1\n99999999999999999999\n10\n", 10),
        ("too many runs", "100", "9999999\n0\n10\n", 10),
        ("fewer runs than said", "100", "3\n0\n10\n", 10),
        ("more data than said", "100", "1\n0\n10\n", 20),
        ("less data than said", "100", "1\n0\n30\n", 20),
        ("no number", "100", "1\n\n10\n", 10),
        ("a sign", "100", "1\n-1\n10\n", 10),
        ("no end of digits", "100", &endless, 0),
    ] {
        let refused = decode(&with_map(size, map, data), 512);
        assert_eq!(refused, Err(ArchiveError::Header { field: "sparse map" }), "{what}");
    }
    // Headers that contradict themselves.
    for records in [
        &[(&b"GNU.sparse.major"[..], &b"1"[..])][..],
        &[(b"GNU.sparse.offset", b"0"), (b"GNU.sparse.offset", b"1")],
        &[(b"GNU.sparse.numbytes", b"0")],
        &[(b"GNU.sparse.map", b"1,2,3"), (b"GNU.sparse.size", b"9")],
        &[(b"GNU.sparse.map", b"x")],
        &[(b"GNU.sparse.size", b"9")],
    ] {
        let (mut archive, mut bytes) = (Vec::new(), Vec::new());
        records.iter().for_each(|(key, value)| put_record(&mut bytes, key, value));
        put_extension(&mut archive, EntryType::XHeader, &bytes);
        put_entry(&mut archive, &Entry { kind: EntryKind::File { size: 0 }, ..sparse(0, &[]) });
        put_end(&mut archive);
        assert!(decode(&archive, 512).is_err(), "{records:?}");
    }
}

#[test]
fn older_forms_are_understood() {
    for records in [
        &[(&b"GNU.sparse.size"[..], &b"40"[..]), (b"GNU.sparse.map", b"0,10,20,10")][..],
        &[
            (b"GNU.sparse.size", b"40"),
            (b"GNU.sparse.numblocks", b"2"),
            (b"GNU.sparse.offset", b"0"),
            (b"GNU.sparse.numbytes", b"10"),
            (b"GNU.sparse.offset", b"20"),
            (b"GNU.sparse.numbytes", b"10"),
        ],
    ] {
        let (mut archive, mut bytes) = (Vec::new(), Vec::new());
        records.iter().for_each(|(key, value)| put_record(&mut bytes, key, value));
        put_extension(&mut archive, EntryType::XHeader, &bytes);
        put_entry(&mut archive, &Entry { kind: EntryKind::File { size: 20 }, ..sparse(0, &[]) });
        archive.extend_from_slice(&[7; 20]);
        put_padding(&mut archive, 20);
        put_end(&mut archive);
        let content = [&[7; 10][..], &[0; 10], &[7; 10], &[0; 10]].concat();
        assert_eq!(decode(&archive, 99).unwrap().1, content, "{records:?}");
    }
}

/// The old GNU form: four runs in the header, the others in blocks behind it.
fn gnu(size: u64, runs: &[Run], data: &[u8]) -> Vec<u8> {
    let field = |number: u64| format!("{number:011o}\0").into_bytes();
    let pair = |run: &Run| [field(run.offset), field(run.len)].concat();
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNUSparse);
    header.set_mode(0o644);
    header.set_size(data.len() as u64);
    header.as_old_mut().name[..1].copy_from_slice(b"f");
    let bytes = header.as_mut_bytes();
    let (first, rest) = runs.split_at(runs.len().min(4));
    for (at, run) in first.iter().enumerate() {
        bytes[386 + 24 * at..][..24].copy_from_slice(&pair(run));
    }
    bytes[482] = u8::from(!rest.is_empty());
    bytes[483..495].copy_from_slice(&field(size));
    header.set_cksum();
    let mut archive = header.as_bytes().to_vec();
    let blocks: Vec<&[Run]> = rest.chunks(21).collect();
    for (at, chunk) in blocks.iter().enumerate() {
        let mut block = [0; 512];
        for (at, run) in chunk.iter().enumerate() {
            block[24 * at..][..24].copy_from_slice(&pair(run));
        }
        block[504] = u8::from(at + 1 < blocks.len());
        archive.extend_from_slice(&block);
    }
    archive.extend_from_slice(data);
    put_padding(&mut archive, data.len() as u64);
    put_end(&mut archive);
    archive
}

#[test]
fn the_form_that_tar_writes_by_itself_is_understood() {
    for count in [0, 1, 4, 5, 25, 26, 80] {
        let runs: Vec<Run> = (0..count).map(|at| Run { offset: 100 * at + 50, len: 10 }).collect();
        let data = vec![7; 10 * count as usize];
        let size = 100 * count + 3;
        let (entry, content) = decode(&gnu(size, &runs, &data), 700).unwrap();
        assert_eq!(entry.kind, EntryKind::Sparse { size, runs: runs.clone().into() }, "{count}");
        assert_eq!(content.len() as u64, size);
        assert!(runs.iter().all(|run| content[run.offset as usize..][..10] == [7; 10]));
    }
    let overlap = [Run { offset: 0, len: 10 }, Run { offset: 5, len: 10 }];
    assert!(decode(&gnu(100, &overlap, &[7; 20]), 512).is_err());
    // A map that goes on and on.
    let runs = vec![Run { offset: 0, len: 0 }; RUNS_MAX + 30];
    assert!(decode(&gnu(100, &runs, &[]), 4096).is_err());
}

#[test]
fn a_file_with_very_many_holes_gets_a_map_of_bounded_length() {
    let (size, step) = (RUNS_SENT as u64 * 3 * (HOLE_MIN_LEN + 4096), HOLE_MIN_LEN + 4096);
    let runs = find(size, |to| {
        Ok(match to {
            SeekTo::Data(at) => Some(if at % step < 4096 { at } else { at.next_multiple_of(step) }),
            SeekTo::Hole(at) => Some(at - at % step + 4096),
            SeekTo::Start(at) => Some(at),
        })
    })
    .unwrap();
    assert!(runs.len() < RUNS_SENT);
    assert!(runs.windows(2).all(|pair| pair[0].end() < pair[1].offset));
    assert!(runs.last().unwrap().end() > size - step);
}
