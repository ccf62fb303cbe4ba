//! Tar files made into ext4 images, judged by e2fsprogs and, as root, by the kernel.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests may panic and print")]

use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use banger_host::command::{Command, find_program};
use banger_host::ext4::{Ext4Error, Ext4Options, Ext4Summary, ImageSize, modules_to_ext4, tar_to_ext4};
use banger_host::system::is_root;
use banger_host::work_disk::make_work_disk;
use tar::{EntryType, Header};

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(1000);
    header.set_gid(1001);
    header.set_mtime(1_700_000_000);
    header
}

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write_tar(&self, fill: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> PathBuf {
        let mut builder = tar::Builder::new(Vec::new());
        fill(&mut builder);
        std::fs::write(self.path("in.tar"), builder.into_inner().unwrap()).unwrap();
        self.path("in.tar")
    }

    fn build(&self, tar: &Path, size: ImageSize) -> Result<Ext4Summary, Ext4Error> {
        let options = Ext4Options { size, label: "test".into(), uuid: [7; 16] };
        tar_to_ext4(tar, &self.path("image"), &options, &mut |_, _| ControlFlow::Continue(()))
    }
}

/// False, and says so, when e2fsprogs is missing.
async fn fsck(image: &Path) -> bool {
    if find_program("e2fsck").is_err() {
        println!("skipped in part: e2fsck is not installed");
        return false;
    }
    Command::new("e2fsck").arg("-fn").arg(image).run().await.unwrap();
    true
}

async fn debugfs(image: &Path, request: &str) -> String {
    let output = Command::new("debugfs").args(["-R", request]).arg(image).run().await.unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn kitchen_sink(builder: &mut tar::Builder<Vec<u8>>) {
    builder.append_data(&mut header(EntryType::Regular, 0o4755, 5), "./usr/bin/tool", &b"hello"[..]).unwrap();
    builder.append_data(&mut header(EntryType::Directory, 0o2750, 0), "./usr/", &b""[..]).unwrap();
    builder.append_link(&mut header(EntryType::Link, 0o4755, 0), "usr/bin/alias", "./usr/bin/tool").unwrap();
    builder.append_link(&mut header(EntryType::Symlink, 0o777, 0), "bin", "usr/bin").unwrap();
    let long = "x".repeat(200);
    builder.append_link(&mut header(EntryType::Symlink, 0o777, 0), "long", &long).unwrap();
    let mut null = header(EntryType::Char, 0o666, 0);
    null.set_device_major(1).unwrap();
    null.set_device_minor(3).unwrap();
    builder.append_data(&mut null, "dev/null", &b""[..]).unwrap();
    builder.append_data(&mut header(EntryType::Fifo, 0o600, 0), "run/fifo", &b""[..]).unwrap();
    builder.append_data(&mut header(EntryType::Regular, 0o644, 3), "etc/twice", &b"old"[..]).unwrap();
    builder.append_data(&mut header(EntryType::Regular, 0o600, 3), "etc/twice", &b"new"[..]).unwrap();
    let name = "deep/".repeat(40) + "file";
    builder.append_data(&mut header(EntryType::Regular, 0o644, 1), name, &b"d"[..]).unwrap();
    builder
        .append_pax_extensions([("SCHILY.xattr.user.note", &b"kept"[..]), ("SCHILY.xattr.btrfs.x", b"-")])
        .unwrap();
    builder.append_data(&mut header(EntryType::Regular, 0o644, 0), "noted", &b""[..]).unwrap();
    let map: [(&str, &[u8]); 2] = [("GNU.sparse.map", b"10,3,5000000,4"), ("GNU.sparse.size", b"9000000")];
    builder.append_pax_extensions(map).unwrap();
    builder.append_data(&mut header(EntryType::Regular, 0o644, 7), "sparse", &b"abcDEFG"[..]).unwrap();
}

#[tokio::test]
async fn everything_a_root_filesystem_has_arrives() {
    let bench = Bench::new();
    let tar = bench.write_tar(kitchen_sink);
    let summary = bench.build(&tar, ImageSize::Headroom { min_bytes: 64 << 20 }).unwrap();
    assert_eq!(summary.notices, ["noted: the extended attribute btrfs.x was left out"]);
    let image = bench.path("image");
    if !fsck(&image).await {
        return;
    }
    let tool = debugfs(&image, "stat /usr/bin/tool").await;
    for part in ["Mode:  04755", "User:  1000", "Group:  1001", "Links: 2", "Size: 5", "0x6553f100"] {
        assert!(tool.contains(part), "{part:?} is not in {tool}");
    }
    assert!(debugfs(&image, "stat /usr").await.contains("Mode:  02750"));
    assert!(debugfs(&image, "stat /dev/null").await.contains("Device major/minor number: 01:03"));
    assert_eq!(debugfs(&image, "cat /etc/twice").await, "new");
    assert!(debugfs(&image, "ea_get /noted user.note").await.contains("kept"));
}

#[tokio::test]
async fn the_kernel_reads_what_was_written() {
    let bench = Bench::new();
    let tar = bench.write_tar(kitchen_sink);
    bench.build(&tar, ImageSize::Headroom { min_bytes: 64 << 20 }).unwrap();
    let Some(mount) = Mount::new(&bench, "image", "ro").await else { return };
    let content = std::fs::read(mount.path("sparse")).unwrap();
    let mut expected = vec![0; 9_000_000];
    expected[10..13].copy_from_slice(b"abc");
    expected[5_000_000..5_000_004].copy_from_slice(b"DEFG");
    assert!(content == expected);
    assert_eq!(std::fs::read_link(mount.path("bin")).unwrap(), Path::new("usr/bin"));
    assert_eq!(std::fs::read_link(mount.path("long")).unwrap().as_os_str().len(), 200);
    assert_eq!(std::fs::read(mount.path("usr/bin/alias")).unwrap(), b"hello");
    assert_eq!(std::fs::read(mount.path(&("deep/".repeat(40) + "file"))).unwrap(), b"d");
}

/// Not even root may, where containers or virtual machines have taken that capability away.
fn may_resize() -> bool {
    const CAP_SYS_RESOURCE: u32 = 24;
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(effective.trim(), 16).unwrap() >> CAP_SYS_RESOURCE & 1 == 1
}

/// A loop mount, undone when dropped.
struct Mount {
    point: PathBuf,
}

impl Mount {
    /// None, and says so, where that is not possible.
    async fn new(bench: &Bench, image: &str, options: &str) -> Option<Self> {
        if !is_root() {
            println!("skipped: mounting needs root");
            return None;
        }
        let point = bench.path("mnt");
        std::fs::create_dir(&point).unwrap();
        let mount =
            Command::new("mount").args(["-o", &format!("loop,{options}")]).arg(bench.path(image)).arg(&point);
        match mount.run().await {
            Ok(_) => Some(Self { point }),
            Err(error) => {
                println!("skipped: no loop devices here: {error}");
                None
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.point.join(name)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.point, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

#[tokio::test]
async fn the_same_archive_gives_the_same_image() {
    let bench = Bench::new();
    let tar = bench.write_tar(kitchen_sink);
    let images = [bench.path("a"), bench.path("b")].map(|to| {
        bench.build(&tar, ImageSize::Fixed { bytes: 64 << 20 }).unwrap();
        std::fs::rename(bench.path("image"), &to).unwrap();
        std::fs::read(to).unwrap()
    });
    assert!(images[0] == images[1]);
}

#[tokio::test]
async fn failures_are_named_and_leave_no_image() {
    let bench = Bench::new();
    let broken_link = bench.write_tar(|builder| {
        builder.append_link(&mut header(EntryType::Link, 0o644, 0), "a", "nothing").unwrap();
    });
    let error = bench.build(&broken_link, ImageSize::Tight).unwrap_err();
    assert!(matches!(error, Ext4Error::Tar(_)), "{error:?}");
    let large = bench.write_tar(|builder| {
        let content = vec![1; 20 << 20];
        builder.append_data(&mut header(EntryType::Regular, 0o644, 20 << 20), "f", &content[..]).unwrap();
    });
    let error = bench.build(&large, ImageSize::Fixed { bytes: 16 << 20 }).unwrap_err();
    assert_eq!(error.to_string(), "16 MiB are too small for the image's 20 MiB of content");
    let options = Ext4Options { size: ImageSize::Tight, label: String::new(), uuid: [0; 16] };
    let mut calls = 0;
    let stop_half_way = &mut |done: u64, total: u64| {
        calls += 1;
        if done * 2 > total { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let error = tar_to_ext4(&large, &bench.path("image"), &options, stop_half_way).unwrap_err();
    assert!(matches!(error, Ext4Error::Cancelled), "{error:?}");
    assert!(calls > 2);
    let mut cut_off = std::fs::read(&large).unwrap();
    cut_off.truncate(10 << 20);
    std::fs::File::create(&large).unwrap().write_all(&cut_off).unwrap();
    assert!(bench.build(&large, ImageSize::Tight).is_err());
    assert!(!bench.path("image").exists());
}

#[tokio::test]
async fn a_full_disk_is_told_from_other_failures() {
    if !is_root() {
        println!("skipped: mounting a small tmpfs needs root");
        return;
    }
    let bench = Bench::new();
    let tar = bench.write_tar(|builder| {
        let content = vec![1; 20 << 20];
        builder.append_data(&mut header(EntryType::Regular, 0o644, 20 << 20), "f", &content[..]).unwrap();
    });
    let mount = Mount { point: bench.path("small") };
    std::fs::create_dir(&mount.point).unwrap();
    let tmpfs = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(&mount.point);
    tmpfs.run().await.unwrap();
    let options = Ext4Options { size: ImageSize::Tight, label: String::new(), uuid: [0; 16] };
    let error =
        tar_to_ext4(&tar, &mount.path("image"), &options, &mut |_, _| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(error, Ext4Error::NoSpace { .. }), "{error:?}");
    assert!(!mount.path("image").exists());
}

#[tokio::test]
async fn a_modules_image_holds_one_release_only() {
    let bench = Bench::new();
    let tar = bench.write_tar(|builder| {
        for path in [
            "usr/lib/modules/6.12/kernel/a.ko",
            "lib/modules/6.12/modules.dep",
            "lib/modules/6.1/b.ko",
            "etc/x",
        ] {
            builder.append_data(&mut header(EntryType::Regular, 0o644, 1), path, &b"m"[..]).unwrap();
        }
    });
    let image = bench.path("modules");
    modules_to_ext4(&tar, &image, "6.12", &mut |_, _| ControlFlow::Continue(())).unwrap();
    if !fsck(&image).await {
        return;
    }
    assert_eq!(debugfs(&image, "cat /6.12/kernel/a.ko").await, "m");
    assert_eq!(debugfs(&image, "cat /6.12/modules.dep").await, "m");
    let root = debugfs(&image, "ls -p /").await;
    assert!(!root.contains("/6.1/") && !root.contains("etc"), "{root}");
}

#[tokio::test]
async fn a_work_disk_is_small_clean_and_grows_online() {
    if find_program("mke2fs").is_err() {
        println!("skipped: mke2fs is not installed");
        return;
    }
    let bench = Bench::new();
    let disk = bench.path("work");
    make_work_disk(&disk, 2048).await.unwrap();
    assert!(banger_host::files::allocated_bytes(&disk).unwrap() < 1 << 20);
    fsck(&disk).await;
    if !may_resize() {
        println!("skipped in part: growing a mounted filesystem needs CAP_SYS_RESOURCE");
        return;
    }
    let Some(mount) = Mount::new(&bench, "work", "rw").await else { return };
    std::fs::write(mount.path("data"), b"kept").unwrap();
    std::fs::OpenOptions::new().write(true).open(&disk).unwrap().set_len(64 << 30).unwrap();
    let device = Command::new("findmnt").args(["-n", "-o", "SOURCE"]).arg(&mount.point).run().await.unwrap();
    let device = String::from_utf8(device.stdout).unwrap().trim().to_owned();
    Command::new("losetup").args(["-c", &device]).run().await.unwrap();
    Command::new("resize2fs").arg(&device).run().await.unwrap();
    let stat = rustix::fs::statvfs(&mount.point).unwrap();
    assert!(stat.f_blocks * stat.f_frsize > 60 << 30);
    assert_eq!(std::fs::read(mount.path("data")).unwrap(), b"kept");
    drop(mount);
    fsck(&disk).await;
}
