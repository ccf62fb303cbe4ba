use std::fs::{self, File};
use std::io::Write as _;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use banger_host::command::Command;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::manifest::files_of;
use super::write::write;
use super::*;
use crate::artifact::ArtifactError;
use crate::catalog::Kind;
use crate::checksum::sha256;
use crate::store::words::RunConfig;

const GO_ON: fn(u64, u64) -> ControlFlow<()> = |_, _| ControlFlow::Continue(());
const KERNEL: Expected<'static> = Expected { kind: Kind::Kernel, sha256: None, size_bytes: None };

fn kernel_details() -> Details {
    Details::Kernel { release: "6.12.9-test".into() }
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    file
}

/// A file of `len` bytes with these at these places.
fn sparse(len: u64, data: &[(u64, &[u8])]) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(len).unwrap();
    data.iter().for_each(|(offset, bytes)| file.write_all_at(bytes, *offset).unwrap());
    file
}

fn kernel_files() -> Vec<File> {
    let vmlinux: Vec<u8> = (0..3_000_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
    vec![file_of(&vmlinux), file_of(b"070701"), sparse(64 << 20, &[(0, b"ext4"), (40 << 20, &[7; 9000])])]
}

fn written(details: Details, files: Vec<File>) -> Vec<u8> {
    let out = tempfile::NamedTempFile::new().unwrap();
    let written =
        write(out.as_file(), "mine", details, files, &mut |_, _| ControlFlow::Continue(())).unwrap();
    let bytes = fs::read(out.path()).unwrap();
    assert_eq!((written.size_bytes, written.sha256), (bytes.len() as u64, sha256(&bytes)));
    bytes
}

fn unpacked(bundle: &[u8], expected: Expected<'_>) -> (tempfile::TempDir, Result<Unpacked, ArtifactError>) {
    let dir = tempfile::tempdir().unwrap();
    let result = unpack(file_of(bundle), expected, dir.path(), &mut GO_ON.clone());
    (dir, result)
}

/// What is wrong with it, with all causes.
fn refused(bundle: &[u8], expected: Expected<'_>) -> String {
    let (_dir, result) = unpacked(bundle, expected);
    let error = result.unwrap_err();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[test]
fn a_kernel_comes_back_with_its_holes() {
    let bundle = written(kernel_details(), kernel_files());
    assert_eq!(bundle, written(kernel_details(), kernel_files()), "the same files give another bundle");
    let (dir, result) = unpacked(&bundle, KERNEL);
    let found = result.unwrap();
    assert_eq!((found.manifest.details(), found.manifest.name.as_str()), (kernel_details(), "mine"));
    assert_eq!(found.sha256, sha256(&bundle));
    for ((name, _), file) in files_of(Kind::Kernel).iter().zip(kernel_files()) {
        let path = dir.path().join(name);
        let mut original = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut original, 0).unwrap();
        assert!(fs::read(&path).unwrap() == original, "{name}");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o444);
    }
    assert!(dir.path().join("modules.ext4").metadata().unwrap().blocks() * 512 < 4 << 20);
    assert!(is_bundle(&file_of(&bundle)).unwrap());
}

/// Nothing here is read or written hole by hole: 1 TiB would take hours.
#[test]
fn an_image_takes_time_and_space_by_its_data() {
    let config = RunConfig { env: vec!["A=b".into()], ..RunConfig::default() };
    let details = Details::Image { config };
    let len = 1 << 40;
    let image = sparse(len, &[(1 << 20, b"first"), (len / 2, &[9; 100_000]), (len - 3, b"end")]);
    let bundle = written(details.clone(), vec![image]);
    assert!(bundle.len() < 1 << 20);
    let (dir, result) = unpacked(&bundle, Expected { kind: Kind::Image, ..KERNEL });
    assert_eq!(result.unwrap().manifest.details(), details);
    let file = File::open(dir.path().join("rootfs.ext4")).unwrap();
    assert_eq!(file.metadata().unwrap().len(), len);
    assert!(file.metadata().unwrap().blocks() * 512 < 4 << 20);
    for (offset, bytes) in [(1 << 20, &b"first"[..]), (len / 2 + 99_999, &[9, 0]), (len - 3, b"end")] {
        let mut found = vec![1; bytes.len()];
        file.read_exact_at(&mut found, offset).unwrap();
        assert_eq!(found, bytes);
    }
}

#[tokio::test]
async fn what_gnu_tar_makes_is_a_bundle_and_what_banger_makes_is_a_tarball() {
    let dir = tempfile::tempdir().unwrap();
    let parts = dir.path().join("parts");
    fs::create_dir(&parts).unwrap();
    let content = |name: &str| name.repeat(100);
    for name in ["vmlinux", "modules.cpio"] {
        fs::write(parts.join(name), content(name)).unwrap();
    }
    let disk = File::create(parts.join("modules.ext4")).unwrap();
    disk.set_len(8 << 20).unwrap();
    disk.write_all_at(&[7; 4096], 1 << 20).unwrap();
    fs::write(
        parts.join("manifest.json"),
        manifest(&[("vmlinux", 700), ("modules.cpio", 1200), ("modules.ext4", 8 << 20)], Some(4096))
            .to_string(),
    )
    .unwrap();
    let tar = dir.path().join("k.tar");
    let names = ["manifest.json", "vmlinux", "modules.cpio", "modules.ext4"];
    let create = Command::new("tar").args(["--format=posix", "-S", "-C"]).arg(&parts).arg("-cf").arg(&tar);
    create.args(names).run().await.unwrap();
    let bundle = zstd::encode_all(&fs::read(&tar).unwrap()[..], 1).unwrap();
    assert!(is_bundle(&file_of(&bundle)).unwrap());
    let (got, result) = unpacked(&bundle, KERNEL);
    result.unwrap();
    assert_eq!(fs::read_to_string(got.path().join("vmlinux")).unwrap(), content("vmlinux"));

    let ours = written(kernel_details(), kernel_files());
    fs::write(&tar, zstd::decode_all(&ours[..]).unwrap()).unwrap();
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    Command::new("tar").arg("-C").arg(&out).arg("-xf").arg(&tar).run().await.unwrap();
    let (kept, result) = unpacked(&ours, KERNEL);
    result.unwrap();
    for (name, _) in files_of(Kind::Kernel) {
        assert!(fs::read(out.join(name)).unwrap() == fs::read(kept.path().join(name)).unwrap(), "{name}");
    }
}

/// A kernel's manifest with these files; `data` is what the last one holds, if it has holes.
fn manifest(files: &[(&str, u64)], data: Option<u64>) -> Value {
    let last = files.len().saturating_sub(1);
    let described = files.iter().enumerate().map(|(index, (name, size))| {
        let data = data.filter(|_| index == last).unwrap_or(*size);
        json!({"name": name, "size_bytes": size, "data_bytes": data})
    });
    let files: Vec<_> = described.collect();
    let architecture = std::env::consts::ARCH;
    json!({"format": 1, "kind": "kernel", "name": "x", "architecture": architecture, "release": "6.1", "files": files})
}

fn small_manifest() -> Value {
    manifest(&[("vmlinux", 3), ("modules.cpio", 3), ("modules.ext4", 3)], None)
}

/// An entry, with a checksum that is right.
fn entry(kind: u8, name: &str, target: &str, data: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_size(data.len() as u64);
    header.set_mode(0o644);
    let fields = header.as_old_mut();
    fields.name[..name.len()].copy_from_slice(name.as_bytes());
    fields.linkname[..target.len()].copy_from_slice(target.as_bytes());
    header.set_cksum();
    let mut bytes = [header.as_bytes(), data].concat();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn file(name: &str, data: &[u8]) -> Vec<u8> {
    entry(b'0', name, "", data)
}

fn packed(entries: &[Vec<u8>]) -> Vec<u8> {
    zstd::encode_all(&[entries.concat(), vec![0; 1024]].concat()[..], 1).unwrap()
}

/// The three small files behind `manifest`, the last of them replaced.
fn with_last(manifest: &Value, last: Vec<u8>) -> Vec<u8> {
    let manifest = file("manifest.json", manifest.to_string().as_bytes());
    packed(&[manifest, file("vmlinux", b"abc"), file("modules.cpio", b"abc"), last])
}

#[test]
fn entries_that_are_no_plain_files_of_the_manifest_are_refused() {
    let small = small_manifest();
    assert!(unpacked(&with_last(&small, file("modules.ext4", b"abc")), KERNEL).1.is_ok());
    let pax = |records: &str, name: &str, data: &[u8]| {
        [entry(b'x', "PaxHeaders/x", "", records.as_bytes()), file(name, data)].concat()
    };
    let sparse = "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n32 GNU.sparse.name=modules.ext4\n";
    let sparse_of = |size: u64, map: &str, data: &[u8]| {
        let size = format!("GNU.sparse.realsize={size}\n");
        let len = size.len() + 3;
        let mut map = map.as_bytes().to_vec();
        map.resize(512, 0);
        pax(&format!("{sparse}{len} {size}"), "GNUSparseFile.0/x", &[&map, data].concat())
    };
    for (last, expected) in [
        (entry(b'2', "modules.ext4", "/etc/passwd", b""), "\"modules.ext4\" is a symlink"),
        (entry(b'1', "modules.ext4", "vmlinux", b""), "is a hard link"),
        (entry(b'3', "modules.ext4", "", b""), "is a device"),
        (entry(b'5', "modules.ext4", "", b""), "is a directory"),
        (entry(b'6', "modules.ext4", "", b""), "is a FIFO"),
        (entry(b'S', "modules.ext4", "", b""), "GNU's old way"),
        (entry(b'L', "modules.ext4", "", b"abc"), "of a type that has no business"),
        (file("/modules.ext4", b"abc"), "\"/modules.ext4\" is not the next one"),
        (file("../modules.ext4", b"abc"), "\"../modules.ext4\" is not the next one"),
        (file("vmlinux", b"abc"), "\"vmlinux\" is not the next one"),
        (pax("18 path=../../x\n\n", "modules.ext4", b"abc"), "malformed PAX header"),
        (pax("16 path=../../x\n", "modules.ext4", b"abc"), "\"../../x\" is not the next one"),
        (pax("11 size=99\n", "modules.ext4", b"abc"), "99 bytes"),
        (pax("9999999 size=3\n", "modules.ext4", b"abc"), "malformed PAX header"),
        (file("modules.ext4", b"abcd"), "has 4 bytes, and its manifest says 3"),
        (Vec::new(), "has no entry"),
        ([file("modules.ext4", b"abc"), file("more", b"x")].concat(), "\"more\" is not in its manifest"),
        (
            [file("modules.ext4", b"abc"), file("vmlinux", b"abc")].concat(),
            "\"vmlinux\" is not in its manifest",
        ),
        ([file("modules.ext4", b"abc"), vec![0; 1024], vec![1; 512]].concat(), "something follows"),
        (sparse_of(3, "1\n0\n4\n", b"abcd"), "malformed map"),
        (sparse_of(3, "2\n2\n1\n0\n1\n", b"ab"), "malformed map"),
        (sparse_of(3, "1\n18446744073709551615\n2\n", b"ab"), "malformed map"),
        (sparse_of(3, "99999999999\n", b""), "malformed map"),
        (sparse_of(3, "x\n", b""), "malformed map"),
        (sparse_of(3, "1\n0\n3", b"abc"), "malformed map"),
        (sparse_of(3, "1\n0\n2\n", b"abc"), "another length than its map"),
        (sparse_of(1 << 50, "1\n0\n3\n", b"abc"), "has 1125899906842624 bytes"),
        (sparse_of(3, "1\n0\n2\n", b"ab"), "has 2 bytes of data"),
    ] {
        let error = refused(&with_last(&small, last), KERNEL);
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let twice = [file("manifest.json", small.to_string().as_bytes()), file("vmlinux", b"abc")];
    let again = packed(&[&twice[..], &twice[1..]].concat());
    assert!(refused(&again, KERNEL).contains("\"vmlinux\" is not the next one"));
    assert!(refused(&packed(&twice[1..]), KERNEL).contains("first entry is not manifest.json"));
    assert!(refused(&packed(&[]), KERNEL).contains("it is empty"));
}

#[test]
fn manifests_say_what_their_kind_may_say_and_no_more() {
    type Change = fn(&mut Value);
    let with = |change: Change| {
        let mut manifest = small_manifest();
        change(&mut manifest);
        refused(&with_last(&manifest, file("modules.ext4", b"abc")), KERNEL)
    };
    let cases: &[(&str, Change)] = &[
        ("made by a newer banger", |m| m["format"] = json!(2)),
        ("no such format", |m| m["format"] = json!(0)),
        ("missing field `format`", |m| *m = json!({})),
        ("it is for arm64, and this host is", |m| m["architecture"] = json!("arm64")),
        ("unknown field `more`", |m| m["more"] = json!(1)),
        ("unknown variant `disk`", |m| m["kind"] = json!("disk")),
        ("an image must have `config`", |m| m["config"] = json!({})),
        ("an image must have `config`", |m| m["kind"] = json!("image")),
        ("its release is none", |m| m["release"] = json!("../../x")),
        ("control characters", |m| m["name"] = json!("\u{1b}[2J")),
        (r#"it names the files ["../vmlinux", "modules.cpio", "modules.ext4"]"#, |m| {
            m["files"][0]["name"] = json!("../vmlinux")
        }),
        (r#"and a kernel has ["vmlinux", "modules.cpio""#, |m| m["files"] = json!([])),
        ("the sizes of vmlinux", |m| m["files"][0]["size_bytes"] = json!(1_u64 << 40)),
        ("the sizes of vmlinux", |m| m["files"][0]["data_bytes"] = json!(4)),
        ("the checksum of vmlinux", |m| m["files"][0]["sha256"] = json!("abc")),
        ("has the SHA-256 ba7816bf", |m| m["files"][0]["sha256"] = json!("0".repeat(64))),
        ("has 3 bytes, and its manifest says 4", |m| {
            m["files"][0]["size_bytes"] = json!(4);
            m["files"][0]["data_bytes"] = json!(4);
        }),
    ];
    for (expected, change) in cases {
        let error = with(*change);
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let large = json!({"format": 1, "name": "x".repeat(2 << 20)});
    assert!(refused(&with_last(&large, Vec::new()), KERNEL).contains("more than 1024 KiB"));
    let bundle = with_last(&small_manifest(), file("modules.ext4", b"abc"));
    let error = refused(&bundle, Expected { kind: Kind::Image, ..KERNEL });
    assert!(error.contains("it holds a kernel, not an image"), "{error}");
}

#[test]
fn what_does_not_fit_on_the_disk_is_not_begun() {
    let files = [("vmlinux", 3), ("modules.cpio", 3), ("modules.ext4", 16 << 30)];
    let many = manifest(&files, None);
    let (dir, result) = unpacked(&with_last(&many, Vec::new()), KERNEL);
    let free = banger_host::system::free_disk_bytes(dir.path()).unwrap();
    match result.unwrap_err() {
        ArtifactError::NoSpace { needed_mib, .. } => assert_eq!(needed_mib, 16 << 10),
        error => assert!(free > 16 << 30, "{error:?}"),
    }
}

#[test]
fn damage_and_the_wrong_file_are_told_apart() {
    let bundle = with_last(&small_manifest(), file("modules.ext4", b"abc"));
    let sum = sha256(&bundle);
    let expects = |sha256| Expected { sha256: Some(sha256), ..KERNEL };
    assert!(unpacked(&bundle, expects(&sum)).1.is_ok());
    let zero = "0".repeat(64);
    assert!(
        refused(&bundle, expects(&zero)).contains(&format!("SHA-256 {sum}, and the catalog says {zero}"))
    );
    // Also when it is no bundle at all.
    assert!(refused(b"<html>", expects(&zero)).contains("and the catalog says"));
    assert!(refused(b"<html>", KERNEL).contains("not compressed with zstd"));
    let size = Expected { size_bytes: Some(7), ..KERNEL };
    assert!(refused(&bundle, size).contains("and the catalog says 7"));
    assert!(refused(&[&bundle[..], b"garbage"].concat(), KERNEL).contains("something follows"));
    for len in 0..bundle.len() {
        let (_dir, result) = unpacked(&bundle[..len], KERNEL);
        assert!(result.is_err(), "{len} of {} bytes are enough", bundle.len());
        assert!(!matches!(result, Err(ArtifactError::Io { .. })));
    }
    assert!(refused(&bundle[..bundle.len() - 5], KERNEL).contains("cut off"));
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(&[7; 4096]).unwrap();
    assert!(!is_bundle(&file_of(&encoder.finish().unwrap())).unwrap());
}

#[test]
fn it_can_be_called_off() {
    let bundle = written(kernel_details(), kernel_files());
    let dir = tempfile::tempdir().unwrap();
    let result = unpack(file_of(&bundle), KERNEL, dir.path(), &mut |_, _| ControlFlow::Break(()));
    assert!(matches!(result, Err(ArtifactError::Cancelled)), "{result:?}");
    let out = tempfile::tempfile().unwrap();
    let stopped = write(&out, "x", kernel_details(), kernel_files(), &mut |_, _| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(BundleError::Cancelled)), "{stopped:?}");
}

fn names(dir: &Path) -> Vec<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

proptest! {
    #[test]
    fn damaged_bundles_never_panic_nor_write_elsewhere(
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        inside in any::<bool>(),
    ) {
        let mut bytes = with_last(&small_manifest(), file("modules.ext4", b"abc"));
        if inside {
            bytes = zstd::decode_all(&bytes[..]).unwrap();
        }
        for (at, byte) in hits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if inside {
            bytes = zstd::encode_all(&bytes[..], 1).unwrap();
        }
        let (dir, _) = unpacked(&bytes, KERNEL);
        let known: Vec<_> = files_of(Kind::Kernel).iter().map(|(name, _)| *name).collect();
        prop_assert!(names(dir.path()).iter().all(|name| known.contains(&name.as_str())));
    }
}
