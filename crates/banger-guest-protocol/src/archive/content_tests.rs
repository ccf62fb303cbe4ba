use std::convert::Infallible;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::archive::{Decoder, Item, Timestamp, put_end, stored};

/// A file in memory, of the odd kinds.
#[derive(Clone, Default)]
struct Fake {
    content: Vec<u8>,
    /// Its data, where it has holes.
    runs: Option<Vec<Run>>,
    position: usize,
    /// What `stat` says by now.
    size: u64,
    /// After so many bytes there is this error.
    fails: Option<(usize, io::ErrorKind)>,
    endless: bool,
    /// So many bytes at a time.
    step: usize,
}

impl Contents for Fake {
    fn read(&mut self, out: &mut Vec<u8>) -> io::Result<usize> {
        let spare = out.capacity() - out.len();
        assert!(spare > 0, "a read of nothing looks like the end");
        let mut count = spare.min(self.step);
        if let Some((at, kind)) = self.fails {
            if self.position >= at {
                return Err(kind.into());
            }
            count = count.min(at - self.position);
        }
        if self.endless {
            out.resize(out.len() + count, 0);
            return Ok(count);
        }
        let rest = self.content.get(self.position..).unwrap_or_default();
        let count = count.min(rest.len());
        out.extend_from_slice(&rest[..count]);
        self.position += count;
        Ok(count)
    }

    fn seek(&mut self, to: SeekTo) -> io::Result<Option<u64>> {
        let len = self.content.len() as u64;
        let whole = vec![Run { offset: 0, len }];
        let runs = self.runs.as_ref().unwrap_or(&whole);
        Ok(match to {
            SeekTo::Start(at) => {
                self.position = at as usize;
                Some(at)
            }
            SeekTo::Data(at) => runs.iter().find(|run| run.end() > at).map(|run| run.offset.max(at)),
            SeekTo::Hole(at) => {
                Some(runs.iter().find(|run| run.offset <= at && at < run.end()).map_or(at, |run| run.end()))
            }
        })
    }

    fn size(&mut self) -> io::Result<u64> {
        Ok(self.size)
    }
}

fn fake(content: impl Into<Vec<u8>>) -> Fake {
    let content = content.into();
    Fake { size: content.len() as u64, content, step: usize::MAX, ..Fake::default() }
}

/// What comes out at the other end: the size told, the bytes; none when it is not there.
fn pack(mut file: Fake, size: u64, allocated: u64) -> (Packed, Option<(EntryKind, Vec<u8>)>) {
    let head = |kind| Entry { path: b"f".to_vec(), kind, mode: 0o644, mtime: Timestamp::default() };
    let (mut out, mut archive) = (Vec::with_capacity(64 << 10), Vec::new());
    let packed = put_file(&mut out, head, Looks { size, allocated }, &mut file, |out: &mut Vec<u8>| {
        archive.append(out);
        Ok::<_, Infallible>(())
    })
    .unwrap();
    archive.append(&mut out);
    put_end(&mut archive);
    let mut decoder = Decoder::default();
    decoder.push(Bytes::from(archive));
    let mut found: Option<(EntryKind, Vec<u8>)> = None;
    while let Some(item) = decoder.next().unwrap() {
        match (item, &mut found) {
            (Item::Entry(entry), found) => *found = Some((entry.kind, Vec::new())),
            (Item::Data(bytes), Some((_, content))) => content.extend_from_slice(&bytes),
            (Item::Hole(len), Some((_, content))) => content.resize(content.len() + len as usize, 0),
            _ => {}
        }
    }
    decoder.finish().unwrap();
    (packed, found)
}

fn is_whole(packed: &Packed) -> bool {
    matches!(packed, Packed::Whole)
}

#[test]
fn the_bytes_that_are_there_go_whatever_the_size_is() {
    for (what, size, allocated, content) in [
        ("/proc", 0, 0, vec![7; 200_000]),
        ("/sys", 4096, 0, b"up\n".to_vec()),
        ("more than a page", 4096, 0, vec![7; 5000]),
        ("an empty file", 0, 0, Vec::new()),
        ("a file that grew", 10, 4096, vec![7; 20]),
        ("a large file that grew", 100_000, 102_400, vec![7; 300_000]),
        ("a large size and nothing there", 1 << 20, 0, Vec::new()),
    ] {
        for step in [1000, usize::MAX] {
            let file = Fake { step, ..fake(content.clone()) };
            // On such file systems it all looks like data.
            let runs = Some(vec![Run { offset: 0, len: size.max(content.len() as u64) }]);
            let file = Fake { size: file.size.max(size), runs, ..file };
            let (packed, found) = pack(file, size, allocated);
            let expected = if allocated > 0 { &content[..size as usize] } else { &content[..] };
            assert!(is_whole(&packed), "{what}: {packed:?}");
            let (kind, got) = found.unwrap();
            assert_eq!(kind, EntryKind::File { size: expected.len() as u64 }, "{what}");
            assert!(got == expected, "{what}");
        }
    }
}

#[test]
fn what_was_cut_off_is_told_and_the_archive_stays_whole() {
    for (size, content) in [(50_u64, 20_usize), (1 << 20, 300_000), (1 << 20, 0)] {
        let (packed, found) = pack(fake(vec![7; content]), size, size);
        let Packed::Cut { len, why: Trouble::Truncated } = packed else { panic!("{packed:?}") };
        assert_eq!(len, content as u64);
        let (_, got) = found.unwrap();
        assert!(got[..content].iter().all(|byte| *byte == 7) && got[content..].iter().all(|byte| *byte == 0));
    }
    let broken = Fake { fails: Some((100_000, io::ErrorKind::Other)), ..fake(vec![7; 200_000]) };
    let (packed, found) = pack(broken, 200_000, 200_704);
    assert!(matches!(packed, Packed::Cut { len: 100_000, why: Trouble::Read(_) }), "{packed:?}");
    assert_eq!(found.unwrap().1.len(), 200_000);
}

#[test]
fn what_cannot_be_read_is_left_out() {
    let fails = |kind| Fake { fails: Some((0, kind)), ..fake(vec![7; 200_000]) };
    for (file, size, allocated) in [
        (fails(io::ErrorKind::Other), 0, 0),
        (fails(io::ErrorKind::WouldBlock), 0, 0),
        (fails(io::ErrorKind::IsADirectory), 100, 4096),
        (fails(io::ErrorKind::Other), 200_000, 200_704),
        (Fake { endless: true, ..fake("") }, 0, 0),
        (fake(""), 1 << 47, 0),
    ] {
        let file = if size == 1 << 47 {
            Fake { runs: Some(vec![Run { offset: 0, len: size }]), ..file }
        } else {
            file
        };
        let (packed, found) = pack(file, size, allocated);
        assert!(matches!(packed, Packed::Left(_)) && found.is_none(), "{packed:?}");
    }
    let text = Trouble::from(io::Error::from_raw_os_error(5)).to_string();
    assert_eq!(text, "could not be read: Input/output error");
}

#[test]
fn a_hole_costs_nothing() {
    let (len, size) = (1 << 20, 100 << 30);
    let runs = vec![Run { offset: 1 << 20, len }];
    let file = Fake { runs: Some(runs.clone()), ..fake(vec![7; 2 << 20]) };
    let mut out = Vec::new();
    let head = |kind| Entry { path: b"f".to_vec(), kind, mode: 0o644, mtime: Timestamp::default() };
    let looks = Looks { size, allocated: len };
    let packed =
        put_file(&mut out, head, looks, &mut file.clone(), |_: &mut Vec<u8>| Ok::<_, Infallible>(()));
    assert!(is_whole(&packed.unwrap()));
    assert!(out.len() < (len as usize) + 8192, "{}", out.len());
    let mut decoder = Decoder::default();
    decoder.push(out.into());
    let Some(Item::Entry(entry)) = decoder.next().unwrap() else { panic!() };
    assert_eq!(entry.kind, EntryKind::Sparse { size, runs: runs.into() });
    assert_eq!(decoder.next().unwrap(), Some(Item::Hole(1 << 20)));
}

proptest! {
    #[test]
    fn any_file_comes_out_as_it_is(
        parts in proptest::collection::vec((0_usize..150_000, 1_usize..90_000), 0..5), tail in 0_usize..100_000,
        step in prop_oneof![Just(usize::MAX), 500_usize..5000],
    ) {
        let (mut content, mut runs) = (Vec::new(), Vec::new());
        for (gap, len) in parts {
            content.resize(content.len() + gap, 0);
            runs.push(Run { offset: content.len() as u64, len: len as u64 });
            content.resize(content.len() + len, 7);
        }
        content.resize(content.len() + tail, 0);
        let (size, allocated) = (content.len() as u64, stored(&runs));
        let (packed, found) =
            pack(Fake { runs: Some(runs), step, ..fake(content.clone()) }, size, allocated);
        prop_assert!(is_whole(&packed));
        prop_assert!(found.unwrap().1 == content);
    }
}
