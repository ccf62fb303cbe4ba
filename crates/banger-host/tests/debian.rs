//! Builds from Debian's archive. They need the network and take minutes, so they run only with
//! `BANGER_TEST_NETWORK=1`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests may panic and print")]

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use banger_host::command::{Command, find_program};
use banger_host::debian::{DebianBuild, DebianError, Recipe};
use banger_host::ext4::{Ext4Options, ImageSize, modules_to_ext4, tar_to_ext4};
use banger_host::initramfs;
use banger_host::kernel_image::extract_vmlinux;
use banger_host::modules::{KernelTree, WantedModule};
use banger_host::staging::{StagingDir, remove_stale};

/// False, and says why, when builds are not asked for or cannot work here.
fn can_build(recipe: Recipe) -> bool {
    if std::env::var_os("BANGER_TEST_NETWORK").is_none() {
        println!("skipped: needs the network; set BANGER_TEST_NETWORK=1 to run it");
        return false;
    }
    match DebianBuild::new("trixie", recipe).check() {
        Ok(()) => true,
        Err(error) => {
            println!("skipped: {error}");
            false
        }
    }
}

async fn build(suite: &str, recipe: Recipe, staging: &Path) -> std::path::PathBuf {
    let started = Instant::now();
    let mut lines = 0;
    let tar = DebianBuild::new(suite, recipe).run(staging, |_| lines += 1).await.unwrap();
    let mib = tar.metadata().unwrap().len() >> 20;
    println!("{suite} {recipe:?}: {mib} MiB in {:.1} s, {lines} lines", started.elapsed().as_secs_f64());
    assert!(lines > 5);
    tar
}

async fn fsck(image: &Path) {
    Command::new("e2fsck").arg("-fn").arg(image).run().await.unwrap();
}

#[tokio::test]
async fn a_kernel_becomes_vmlinux_initramfs_and_modules() {
    if !can_build(Recipe::Kernel) {
        return;
    }
    let parent = tempfile::tempdir().unwrap();
    for suite in ["trixie", "bookworm"] {
        let staging = StagingDir::new(parent.path()).unwrap();
        let tar = build(suite, Recipe::Kernel, staging.path()).await;
        let started = Instant::now();
        let kernel = KernelTree::from_tar(&tar).unwrap();
        let vmlinux = extract_vmlinux(kernel.vmlinuz()).unwrap();
        let initramfs = initramfs::build(&kernel, b"agent").unwrap();
        assert_eq!(initramfs.bytes, initramfs::build(&kernel, b"agent").unwrap().bytes);
        assert_eq!(initramfs.missing, Vec::<String>::new(), "{}", kernel.release());
        // Debian's kernels have it, so their guests can be reached over vsock.
        let transport = b"modules/vmw_vsock_virtio_transport.ko\0";
        assert!(initramfs.bytes.windows(transport.len()).any(|bytes| bytes == transport));
        println!(
            "{}: vmlinux {} KiB, initramfs {} KiB, without {:?}, {} ms",
            kernel.release(),
            vmlinux.len() >> 10,
            initramfs.bytes.len() >> 10,
            initramfs.missing,
            started.elapsed().as_millis()
        );
        let unknown =
            kernel.load_order(&[WantedModule::required("no_such")], &mut BTreeSet::new()).unwrap_err();
        assert!(unknown.to_string().ends_with("lacks drivers, neither loadable nor built in: no_such"));
        let image = staging.path().join("modules.ext4");
        let proceed = &mut |_, _| ControlFlow::Continue(());
        let summary = modules_to_ext4(&tar, &image, kernel.release(), proceed).unwrap();
        println!("modules image: {} MiB of {} MiB", summary.content_bytes >> 20, summary.image_bytes >> 20);
        fsck(&image).await;
        let list = Command::new("cpio").arg("-t").stdin(initramfs.bytes);
        if find_program("cpio").is_ok() {
            println!("{}", String::from_utf8_lossy(&list.run().await.unwrap().stdout));
        }
    }
}

#[tokio::test]
async fn images_name_no_machine_and_keep_their_owners() {
    if !can_build(Recipe::Golden) {
        return;
    }
    let parent = tempfile::tempdir().unwrap();
    for (suite, recipe) in
        [("trixie", Recipe::Minimal), ("bookworm", Recipe::Golden), ("trixie", Recipe::Golden)]
    {
        let staging = StagingDir::new(parent.path()).unwrap();
        let tar = build(suite, recipe, staging.path()).await;
        let image = staging.path().join("image.ext4");
        let options = Ext4Options {
            size: ImageSize::Headroom { min_bytes: 8 << 30 },
            label: "root".into(),
            uuid: [1; 16],
        };
        let started = Instant::now();
        let summary = tar_to_ext4(&tar, &image, &options, &mut |_, _| ControlFlow::Continue(())).unwrap();
        println!("{summary:?} in {:.1} s", started.elapsed().as_secs_f64());
        fsck(&image).await;
        let show = async |request: &str| {
            let output = Command::new("debugfs").args(["-R", request]).arg(&image).run().await.unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        assert_eq!(show("cat /etc/machine-id").await, "");
        assert_eq!(show("cat /etc/hostname").await, "localhost\n");
        assert!(!show("ls /etc/ssh").await.contains("ssh_host"));
        assert!(show("stat /usr/bin/passwd").await.contains("Mode:  04755"));
        assert!(show("stat /etc/shadow").await.contains("Group:    42"));
        assert!(show("stat /usr/sbin/init").await.contains("symlink"));
        if let Some(keep) = std::env::var_os("BANGER_TEST_KEEP") {
            let kept = Path::new(&keep).join(format!("{suite}-{recipe:?}.ext4"));
            Command::new("cp").arg("--sparse=always").arg(&image).arg(kept).run().await.unwrap();
        }
    }
}

/// Processes that carry the staging directory in their environment.
fn processes_of(staging: &Path) -> Vec<String> {
    let marker = format!("BANGER_STAGING={}", staging.join("mmdebstrap").display());
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        String::from_utf8_lossy(&environment).contains(&marker)
    })
    .map(|pid| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " "))
    .collect()
}

#[tokio::test]
async fn a_build_that_is_cut_off_leaves_nothing_running_and_can_be_removed() {
    if !can_build(Recipe::Minimal) {
        return;
    }
    let parent = tempfile::tempdir().unwrap();
    let staging = StagingDir::new(parent.path()).unwrap();
    let path = staging.path().to_owned();
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let build = DebianBuild::new("trixie", Recipe::Minimal);
    let run = build.run(&path, |line| {
        // Late enough for files of several owners.
        if line.starts_with("Setting up ") {
            let _ = sender.send(());
        }
    });
    tokio::select! {
        result = run => panic!("ended before it was cut off: {result:?}"),
        _ = receiver.recv() => assert!(!processes_of(&path).is_empty()),
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while !processes_of(&path).is_empty() {
        assert!(Instant::now() < deadline, "still running: {:?}", processes_of(&path));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(staging);
    remove_stale(parent.path()).await.unwrap();
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_suite_that_does_not_exist_is_a_failure_to_fetch() {
    if !can_build(Recipe::Kernel) {
        return;
    }
    let parent = tempfile::tempdir().unwrap();
    let staging = StagingDir::new(parent.path()).unwrap();
    let error =
        DebianBuild::new("nosuchsuite", Recipe::Kernel).run(staging.path(), |_| {}).await.unwrap_err();
    assert!(matches!(error, DebianError::Fetch { .. }), "{error:?}");
    println!("{error}: {}", std::error::Error::source(&error).unwrap());
    assert_eq!(std::fs::read_dir(staging.path()).unwrap().count(), 0);
}
