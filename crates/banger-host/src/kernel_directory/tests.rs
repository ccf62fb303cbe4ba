use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;
use crate::decompress::Compression;
use crate::decompress::tests::compress;
use crate::initramfs::{InitramfsError, Signatures, modules_archive, required_drivers};
use crate::initrd::tests::cpio;
use crate::kernel_image::tests::{bzimage, tiny_elf};
use crate::modules::{KernelTree, ModuleError, WantedModule};

const RELEASE: &str = "6.12.9-test";

fn vmlinux(release: &str) -> Vec<u8> {
    [tiny_elf(), format!("Linux version {release} (x@y) #1").into_bytes()].concat()
}

fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// The drivers that VMs need, each compressed in another way.
fn modules(dir: &Path) {
    let mut dep = String::new();
    let formats = [None, Some((Compression::Gzip, "gz")), Some((Compression::Zstd, "zst"))];
    for (driver, format) in required_drivers().into_iter().zip(formats.iter().cycle()) {
        let content = format!("\x7fELF {driver}").into_bytes();
        let (name, content) = match format {
            None => (format!("kernel/{driver}.ko"), content),
            Some((format, end)) => (format!("kernel/{driver}.ko.{end}"), compress(*format, &content)),
        };
        dep.push_str(&format!("{name}:\n"));
        write(&dir.join(name), content);
    }
    write(&dir.join("modules.dep"), dep);
    write(&dir.join("modules.builtin"), "");
}

/// A kernel's tar, read as the daemon does.
struct Packed {
    tree: KernelTree,
    notices: Vec<String>,
    _work: tempfile::TempDir,
}

fn packed(dir: &Path) -> Result<Packed, KernelDirectoryError> {
    let mut found = FoundKernel::find(dir)?;
    let work = tempfile::tempdir().unwrap();
    let tar = work.path().join("k.tar");
    found.pack(&tar, None, &mut |_, _| ControlFlow::Continue(()))?;
    let tree = KernelTree::from_tar(&tar).unwrap();
    assert_eq!(tree.release(), found.release);
    Ok(Packed { tree, notices: found.notices, _work: work })
}

fn module(tree: &KernelTree, name: &str) -> Vec<u8> {
    let (order, _) = tree.load_order(&[WantedModule::required(name)], &mut BTreeSet::new()).unwrap();
    tree.read_module(&order[0]).unwrap()
}

#[test]
fn modules_are_found_wherever_they_are_usually_put() {
    for (kernel, modules_at, from) in [
        ("root/boot/vmlinuz-6.12.9-test", "root/lib/modules/6.12.9-test", "root"),
        ("root/boot/vmlinuz-6.12.9-test", "root/lib/modules/6.12.9-test", "root/boot"),
        ("root/boot/vmlinux", "root/usr/lib/modules/6.12.9-test", "root"),
        ("root/boot/vmlinuz-6.12.9-test", "root/usr/lib/modules/6.12.9-test", "root/boot"),
        ("k/vmlinux-6.12.9-test", "k/modules/6.12.9-test", "k"),
        ("k/bzImage", "k/6.12.9-test", "k"),
        ("k/vmlinuz", "k/modules", "k"),
        ("6.12.9-test/vmlinuz", "6.12.9-test", "6.12.9-test"),
        ("root/usr/lib/modules/6.12.9-test/vmlinuz", "root/usr/lib/modules/6.12.9-test", "root"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join(kernel), vmlinux(RELEASE));
        modules(&dir.path().join(modules_at));
        let packed = packed(&dir.path().join(from)).unwrap();
        for driver in required_drivers() {
            assert_eq!(module(&packed.tree, driver), format!("\x7fELF {driver}").into_bytes(), "{kernel}");
        }
        modules_archive(&packed.tree, Signatures::Kept).unwrap();
    }
}

#[test]
fn the_newest_kernel_wins_and_the_others_are_told() {
    let dir = tempfile::tempdir().unwrap();
    for (name, release) in [
        ("vmlinuz-6.1.0-9-amd64", "6.1.0-9-amd64"),
        ("vmlinuz-6.1.0-13-amd64", "6.1.0-13-amd64"),
        ("vmlinuz-6.1.0-14-amd64.old", "6.1.0-14-amd64"),
        ("vmlinuz-0-rescue-ffff", "7.0.0"),
        ("vmlinuz", "6.1.0-9-amd64"),
    ] {
        write(&dir.path().join(name), bzimage(&compress(Compression::Gzip, &vmlinux(release))));
    }
    modules(&dir.path().join("lib/modules/6.1.0-13-amd64"));
    let packed = packed(dir.path()).unwrap();
    assert_eq!(packed.tree.release(), "6.1.0-13-amd64");
    let notices = packed.notices;
    assert!(notices.iter().any(|notice| notice.contains("3 kernels")), "{notices:?}");
}

#[test]
fn what_leads_out_of_the_modules_stays_behind() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("lib/modules").join(RELEASE);
    write(&dir.path().join("vmlinuz-6.12.9-test"), vmlinux(RELEASE));
    write(&dir.path().join("secret"), "secret");
    modules(&own);
    symlink(dir.path(), own.join("build")).unwrap();
    symlink("../../../secret", own.join("kernel/up")).unwrap();
    symlink("/etc/passwd", own.join("kernel/absolute")).unwrap();
    symlink("../modules.dep", own.join("kernel/inside")).unwrap();
    write(&own.join("vmlinuz"), "again");
    mknodat(CWD, own.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let mut found = FoundKernel::find(dir.path()).unwrap();
    let tar = dir.path().join("k.tar");
    found.pack(&tar, None, &mut |_, _| ControlFlow::Continue(())).unwrap();
    assert!(found.notices.iter().any(|notice| notice.contains("/fifo")), "{:?}", found.notices);
    let mut archive = tar::Archive::new(fs::File::open(&tar).unwrap());
    let entries = archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned());
    let names: Vec<String> = entries.map(|path| path.file_name().unwrap().to_string_lossy().into()).collect();
    assert!(names.contains(&"inside".into()), "{names:?}");
    for absent in ["build", "up", "absolute", "fifo", "vmlinuz"] {
        assert!(!names.contains(&absent.into()), "{absent} in {names:?}");
    }
}

#[test]
fn metadata_says_what_is_what() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("images/k"), vmlinux(RELEASE));
    modules(&dir.path().join("drivers"));
    let metadata = |text: &str| write(&dir.path().join("metadata.json"), text);
    metadata(r#"{"vmlinux": "images/k", "modules": "drivers", "release": "6.12.9-test"}"#);
    packed(dir.path()).unwrap();

    for (text, expected) in [
        ("{\n  \"vmlinux\": 7\n}", "metadata.json:2:14: invalid type: integer"),
        ("{\n  \"kernel\": \"x\"}", "metadata.json:2:10: unknown field `kernel`"),
        (r#"{"vmlinux": "a", "vmlinuz": "b"}"#, "either `vmlinux` or `vmlinuz`"),
        (r#"{"modules": "drivers"}"#, "either `vmlinux` or `vmlinuz`"),
        (r#"{"vmlinux": "../images/k"}"#, "must be a path in the same directory, found \"../images/k\""),
        (r#"{"vmlinux": "/etc/passwd"}"#, "`vmlinux` in "),
        (r#"{"vmlinux": "images/k", "initrd": ""}"#, "`initrd` in "),
        (r#"{"vmlinux": "images/k", "release": "../x"}"#, "`uname -r`"),
        (r#"{"vmlinux": "images/k", "release": "6.1"}"#, "is release 6.12.9-test, not 6.1"),
        (r#"{"vmlinux": "images/k", "modules": "none"}"#, "/none is no directory"),
        (r#"{"vmlinux": "none"}"#, "could not read "),
        ("", "metadata.json:1:0: EOF"),
    ] {
        metadata(text);
        let error = FoundKernel::find(dir.path()).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn what_is_no_kernel_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |name: &str| {
        let error = FoundKernel::find(&dir.path().join(name)).unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        format!("{error}: {source}")
    };
    write(&dir.path().join("file"), "");
    assert!(refused("file").contains("is no directory"));
    assert!(refused("none").contains("is no directory"));
    fs::create_dir(dir.path().join("empty")).unwrap();
    assert!(refused("empty").contains("there is no kernel in"));
    symlink("loop", dir.path().join("loop")).unwrap();
    assert!(refused("loop").contains("could not read"));
    let at = |name: &str| dir.path().join(name).join("vmlinuz");
    for (name, bytes, expected) in [
        ("garbage", b"garbage".repeat(1000), "neither an ELF file nor a bzImage"),
        ("arm64", [&[0; 0x38][..], b"ARM\x64", &[0; 0x300]].concat(), "for arm64"),
        ("short", bzimage(&vmlinux(RELEASE))[..1200].to_vec(), "cut off"),
        ("nameless", tiny_elf(), "does not say which release"),
    ] {
        write(&at(name), bytes);
        assert!(refused(name).contains(expected), "{name}: {}", refused(name));
    }
    fs::create_dir_all(at("directory")).unwrap();
    assert!(refused("directory").contains("is not a regular file"));
    fs::create_dir(dir.path().join("fifo")).unwrap();
    mknodat(CWD, at("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    assert!(refused("fifo").contains("is not a regular file"));
    fs::create_dir(dir.path().join("turning")).unwrap();
    symlink("vmlinuz", at("turning")).unwrap();
    assert!(refused("turning").contains("could not read"), "{}", refused("turning"));
}

#[test]
fn modules_may_come_out_of_the_initrd() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("vmlinuz-6.12.9-test"), vmlinux(RELEASE));
    let prefix = "usr/lib/modules/6.12.9-test/";
    let paths: Vec<_> =
        required_drivers().iter().map(|driver| (format!("{prefix}kernel/{driver}.ko"), *driver)).collect();
    let dep: String = paths.iter().map(|(path, _)| format!("{}:\n", &path[prefix.len()..])).collect();
    let dep_path = format!("{prefix}modules.dep");
    let escape = format!("{prefix}../../../../etc/evil");
    let mut files: Vec<(&str, &[u8])> =
        paths.iter().map(|(path, driver)| (path.as_str(), driver.as_bytes())).collect();
    files.extend([(dep_path.as_str(), dep.as_bytes()), (&escape, b"x"), ("bin/busybox", b"x")]);
    let initrd =
        [cpio(&[("kernel/x86/microcode/x", b"x")]), compress(Compression::Zstd, &cpio(&files))].concat();
    write(&dir.path().join("initrd.img-6.12.9-test"), &initrd);
    let packed = packed(dir.path()).unwrap();
    assert_eq!(module(&packed.tree, "virtio_blk"), b"virtio_blk");
    let notices = packed.notices;
    assert!(notices.iter().any(|notice| notice.contains("initrd.img-6.12.9-test")), "{notices:?}");

    write(&dir.path().join("initrd.img-6.12.9-test"), &initrd[..initrd.len() / 2]);
    let error = FoundKernel::find(dir.path()).unwrap_err();
    assert!(matches!(error, KernelDirectoryError::Initrd { .. }), "{error}");
}

#[test]
fn without_modules_the_configuration_must_tell() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("vmlinux"), vmlinux(RELEASE));
    let error = FoundKernel::find(dir.path()).unwrap_err();
    assert!(matches!(error, KernelDirectoryError::NoModules { .. }), "{error}");
    assert!(error.hint().unwrap().contains("lib/modules/6.12.9-test"));

    let all = "CONFIG_VIRTIO_MMIO=y\nCONFIG_VIRTIO_CONSOLE=y\nCONFIG_VIRTIO_BLK=y\nCONFIG_EXT4_FS=y\n";
    write(&dir.path().join(".config"), format!("{all}CONFIG_DM_SNAPSHOT=m\n"));
    let error = FoundKernel::find(dir.path()).unwrap_err();
    assert!(error.to_string().ends_with("built in: dm_snapshot"), "{error}");

    write(&dir.path().join(".config"), format!("{all}CONFIG_DM_SNAPSHOT=y\n"));
    let missing = || {
        let built_in = packed(dir.path()).unwrap();
        modules_archive(&built_in.tree, Signatures::Kept).unwrap().missing
    };
    assert_eq!(missing(), ["vmw_vsock_virtio_transport", "tun", "af_packet"]);
    let more = "CONFIG_DM_SNAPSHOT=y\nCONFIG_VIRTIO_VSOCKETS=y\nCONFIG_PACKET=y\nCONFIG_TUN=y\n";
    write(&dir.path().join(".config"), format!("{all}{more}"));
    assert_eq!(missing(), Vec::<String>::new());

    // A build's own directory has files that modules have as well.
    write(&dir.path().join("modules.order"), "");
    write(&dir.path().join("kernel/sched.c"), "");
    packed(dir.path()).unwrap();
}

#[test]
fn lacking_drivers_are_all_named() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join(RELEASE);
    write(&dir.path().join("vmlinux"), vmlinux(RELEASE));
    write(&own.join("modules.dep"), "kernel/ext4.ko:\nkernel/virtio_mmio.ko:\n");
    let packed = packed(dir.path()).unwrap();
    let error = modules_archive(&packed.tree, Signatures::Kept).unwrap_err();
    let InitramfsError::Modules(ModuleError::Unknown { names, .. }) = error else { panic!("{error}") };
    assert_eq!(names, ["virtio_console", "virtio_blk", "dm_snapshot"]);
}

#[tokio::test]
async fn modules_that_never_saw_depmod_need_it() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("lib/modules").join(RELEASE);
    write(&dir.path().join("vmlinux"), vmlinux(RELEASE));
    write(&own.join("kernel/a.ko"), "no ELF at all");
    write(&own.join("modules.order"), "");
    let found = FoundKernel::find(dir.path()).unwrap();
    let work = tempfile::tempdir().unwrap();
    // Whether there is a depmod here or not.
    match found.dependencies(work.path()).await {
        Ok(made) => assert!(made.unwrap().dir().join("modules.dep").is_file()),
        Err(error) => assert_eq!(error.hint().as_deref(), Some("sudo apt-get install kmod"), "{error}"),
    }
    assert!(!own.join("modules.dep").exists());
    write(&own.join("modules.dep"), "");
    assert!(found.dependencies(work.path()).await.unwrap().is_none());
}

#[test]
fn packing_can_be_called_off() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("vmlinux"), vmlinux(RELEASE));
    modules(&dir.path().join(RELEASE));
    let mut found = FoundKernel::find(dir.path()).unwrap();
    let result = found.pack(&dir.path().join("k.tar"), None, &mut |_, _| ControlFlow::Break(()));
    assert!(matches!(result, Err(KernelDirectoryError::Cancelled)));
}
