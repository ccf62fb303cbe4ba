use std::io::Write;
use std::os::unix::fs::MetadataExt;

use proptest::prelude::*;

use super::*;
use crate::tar_source::Segment;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

fn diff_id(bytes: &[u8]) -> String {
    let hex = hex::encode(Sha256::digest(bytes));
    format!("sha256:{hex}")
}

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn spool(&self) -> PathBuf {
        self.dir.path().join("spool")
    }

    /// No spool may be left by a failure.
    fn unpack(&self, blob: &[u8], diff_id: &str, progress: Progress<'_>) -> Result<Vec<u8>, LayerError> {
        let path = self.dir.path().join("blob");
        std::fs::write(&path, blob).unwrap();
        let blob = LayerBlob { path: &path, part: None, digest: None, diff_id: Some(diff_id) };
        let result = unpack_layer(&blob, &self.spool(), progress);
        if result.as_ref().map_or(true, |tar| tar.path == path) {
            assert!(!self.spool().exists());
        }
        let tar = result?;
        let bytes = std::fs::read(&tar.path).unwrap();
        assert_eq!(bytes.len() as u64, tar.size_bytes);
        let _ = std::fs::remove_file(self.spool());
        Ok(bytes)
    }
}

fn unpack(blob: &[u8], content: &[u8]) -> Result<Vec<u8>, LayerError> {
    Bench::new().unpack(blob, &diff_id(content), &mut |_, _| ControlFlow::Continue(()))
}

fn refusal(blob: &[u8], content: &[u8]) -> LayerError {
    // The content is nothing to print.
    unpack(blob, content).map(|bytes| bytes.len()).unwrap_err()
}

/// Neither all zeros nor without them.
fn sample() -> Vec<u8> {
    (0..1_000_000_u32).flat_map(|n| if n / 50_000 % 2 == 0 { [0; 4] } else { n.to_le_bytes() }).collect()
}

#[test]
fn every_form_comes_back() {
    let sample = sample();
    let (first, second) = sample.split_at(777_777);
    let skippable = [&[0x50, 0x2A, 0x4D, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    for blob in [
        gzip(&sample),
        [gzip(first), gzip(second)].concat(),
        [gzip(&[]), gzip(&sample)].concat(),
        zstd(&sample),
        [zstd(first), zstd(second)].concat(),
        [skippable.clone(), zstd(&sample), skippable].concat(),
        sample.clone(),
    ] {
        assert!(unpack(&blob, &sample).unwrap() == sample);
    }
    assert_eq!(unpack(b"", b"").unwrap(), b"");
}

#[test]
fn zeros_become_holes() {
    let bench = Bench::new();
    let mut content = vec![0; 60 << 20];
    content[30 << 20] = 1;
    let path = bench.dir.path().join("blob");
    std::fs::write(&path, zstd(&content)).unwrap();
    let diff_id = diff_id(&content);
    let blob = LayerBlob { path: &path, part: None, digest: None, diff_id: Some(&diff_id) };
    let tar = unpack_layer(&blob, &bench.spool(), &mut |_, _| ControlFlow::Continue(())).unwrap();
    assert!(std::fs::metadata(&tar.path).unwrap().blocks() * 512 <= 64 << 10);
    assert!(std::fs::read(&tar.path).unwrap() == content);
}

#[test]
fn what_is_cut_off_or_followed_by_garbage_is_damaged() {
    let sample = sample();
    for blob in [gzip(&sample), zstd(&sample)] {
        for len in [blob.len() - 1, blob.len() / 2, 30] {
            let error = refusal(&blob[..len], &sample);
            assert!(matches!(error, LayerError::Damaged { .. }), "{len}: {error:?}");
        }
        for garbage in [&b"\0"[..], b"garbage", &[0; 600], &[0x1F], &[0x1F, 0x8B]] {
            let error = refusal(&[&blob, garbage].concat(), &sample);
            assert!(matches!(error, LayerError::Damaged { .. }), "{garbage:?}: {error:?}");
        }
        let mut damaged = blob.clone();
        damaged[blob.len() / 2] ^= 0x40;
        assert!(unpack(&damaged, &sample).is_err());
    }
}

#[test]
fn other_content_than_promised_is_refused() {
    let error = refusal(&gzip(b"one"), b"other");
    assert!(matches!(error, LayerError::WrongContent { .. }), "{error:?}");
    let error = refusal(b"one", b"other");
    assert!(matches!(error, LayerError::WrongContent { .. }), "{error:?}");
    for wrong in ["", "sha256:12", "sha512:00", &diff_id(b"").to_uppercase()] {
        let bench = Bench::new();
        let error = bench.unpack(b"", wrong, &mut |_, _| ControlFlow::Continue(()));
        assert!(matches!(error, Err(LayerError::DiffId { .. })), "{wrong}: {error:?}");
    }
}

#[test]
fn what_no_decoder_is_here_for_is_named() {
    for (blob, text) in [(&b"BZh91AY"[..], "compressed with bzip2"), (b"hsqs", "a squashfs image")] {
        let error = refusal(blob, b"");
        assert!(matches!(error, LayerError::Unknown { .. }) && error.to_string().contains(text), "{error}");
    }
    // The name of a file in a tar file, not a magic number.
    let mut tar = vec![0; 1024];
    tar[..3].copy_from_slice(b"BZh");
    tar[257..262].copy_from_slice(b"ustar");
    assert!(unpack(&tar, &tar).unwrap() == tar);
}

#[test]
fn a_part_of_a_file_is_unpacked_and_held_against_its_own_digest() {
    let bench = Bench::new();
    let content = b"a tar file, as far as this test goes".to_vec();
    // A file of packed bytes, a hole, and plain bytes, in pieces.
    let packed = gzip(&content);
    let path = bench.dir.path().join("outer");
    std::fs::write(&path, [&b"before"[..], &packed, b"after"].concat()).unwrap();
    let segment = |file_offset, tar_offset, len| Segment { file_offset, tar_offset, len };
    let (len, half) = (packed.len() as u64, packed.len() as u64 / 2);
    let segments = vec![segment(0, 6, half), segment(half, 6 + half, len - half)];
    let whole = FileContent { size_bytes: len, segments };
    let unpack = |part: &FileContent, digest: &str, diff_id: &str| {
        let part = Some(BlobPart { name: "blobs/x", content: part });
        let blob = LayerBlob { path: &path, part, digest: Some(digest), diff_id: Some(diff_id) };
        let tar = unpack_layer(&blob, &bench.spool(), &mut |_, _| ControlFlow::Continue(()))?;
        let bytes = std::fs::read(&tar.path).unwrap();
        std::fs::remove_file(&tar.path).unwrap();
        Ok::<_, LayerError>(bytes)
    };
    assert_eq!(unpack(&whole, &diff_id(&packed), &diff_id(&content)).unwrap(), content);
    let error = unpack(&whole, &diff_id(b"x"), &diff_id(&content)).unwrap_err();
    assert!(matches!(error, LayerError::WrongBlob { .. }), "{error}");
    assert!(error.to_string().contains("outer:blobs/x"), "{error}");
    let sparse = FileContent { size_bytes: 10, segments: vec![segment(3, 0, 6)] };
    let expected = b"\0\0\0before\0";
    assert_eq!(unpack(&sparse, &diff_id(expected), &diff_id(expected)).unwrap(), expected);
    let cut = FileContent { size_bytes: 99, segments: vec![segment(0, 6, 99)] };
    assert!(unpack(&cut, &diff_id(&packed), &diff_id(&content)).is_err());
    assert!(!bench.spool().exists());
}

#[test]
fn a_bomb_is_stopped_and_a_large_ratio_of_little_is_not() {
    let zeros = vec![0; 65 << 20];
    for blob in [gzip(&zeros), zstd(&zeros)] {
        let error = refusal(&blob, &zeros);
        assert!(matches!(error, LayerError::Expands { .. }), "{error:?}");
        assert!(error.to_string().contains("banger image import"));
    }
    let zeros = &zeros[..63 << 20];
    assert!(unpack(&zstd(zeros), zeros).is_ok());
}

#[test]
fn progress_grows_and_may_cancel() {
    // Random enough not to be packed.
    let content: Vec<u8> =
        (0..3_000_000_u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u8).collect();
    let blob = gzip(&content);
    let mut seen = Vec::new();
    let bench = Bench::new();
    bench
        .unpack(&blob, &diff_id(&content), &mut |done, total| {
            seen.push((done, total));
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(seen.is_sorted() && seen.last() == Some(&(blob.len() as u64, blob.len() as u64)));
    let stop = &mut |done: u64, total: u64| {
        if done > total / 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let error = bench.unpack(&blob, &diff_id(&content), stop).map(drop).unwrap_err();
    assert!(matches!(error, LayerError::Cancelled), "{error:?}");
}

#[test]
fn the_spool_of_another_is_kept() {
    let bench = Bench::new();
    let path = bench.dir.path().join("blob");
    std::fs::write(&path, gzip(b"x")).unwrap();
    std::fs::write(bench.spool(), b"taken").unwrap();
    let blob = LayerBlob { path: &path, part: None, digest: None, diff_id: Some(&diff_id(b"x")) };
    let error = unpack_layer(&blob, &bench.spool(), &mut |_, _| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(error, LayerError::Write { .. }), "{error:?}");
    assert_eq!(std::fs::read(bench.spool()).unwrap(), b"taken");
}

proptest! {
    #[test]
    fn damaged_blobs_never_panic_nor_pass(
        zstd_form in any::<bool>(),
        content in prop::collection::vec(any::<u8>(), 0..3000),
        hits in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..5),
    ) {
        let mut blob = if zstd_form { zstd(&content) } else { gzip(&content) };
        for (at, flip) in hits {
            let at = at.index(blob.len());
            blob[at] ^= flip;
        }
        // Some bytes mean nothing (a time, a flag), but what passes is right.
        if let Ok(unpacked) = unpack(&blob, &content) {
            prop_assert!(unpacked == content);
        }
    }
}

#[test]
fn xz_of_a_tarball_comes_back_and_must_be_whole() {
    const TEXT: &[u8] = b"a tar file, as far as this test goes";
    // Of `xz -9`.
    const XZ: [u8; 92] = [
        0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x04, 0xe6, 0xd6, 0xb4, 0x46, 0x02, 0x00, 0x21, 0x01, 0x1c,
        0x00, 0x00, 0x00, 0x10, 0xcf, 0x58, 0xcc, 0x01, 0x00, 0x23, 0x61, 0x20, 0x74, 0x61, 0x72, 0x20, 0x66,
        0x69, 0x6c, 0x65, 0x2c, 0x20, 0x61, 0x73, 0x20, 0x66, 0x61, 0x72, 0x20, 0x61, 0x73, 0x20, 0x74, 0x68,
        0x69, 0x73, 0x20, 0x74, 0x65, 0x73, 0x74, 0x20, 0x67, 0x6f, 0x65, 0x73, 0x00, 0x45, 0x46, 0xde, 0xc0,
        0x24, 0xff, 0x9e, 0x5f, 0x00, 0x01, 0x3c, 0x24, 0x05, 0x28, 0x76, 0x6f, 0x1f, 0xb6, 0xf3, 0x7d, 0x01,
        0x00, 0x00, 0x00, 0x00, 0x04, 0x59, 0x5a,
    ];
    assert_eq!(unpack(&XZ, TEXT).unwrap(), TEXT);
    for len in [40, XZ.len() - 1] {
        let cut = unpack(&XZ[..len], TEXT);
        assert!(matches!(cut, Err(LayerError::Damaged { .. })), "{len}: {cut:?}");
    }
    let garbage = [&XZ[..], b"garbage"].concat();
    assert!(matches!(unpack(&garbage, TEXT), Err(LayerError::Damaged { .. })));
}
