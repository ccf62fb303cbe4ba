//! OCI layers made into ext4 images, held against what reference programs unpack from the same layers.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests may panic and print")]

mod fixture;
mod hostile;
mod kernel;
mod listing;
mod mount;
mod nasty;
mod rootfs;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use banger_host::command::{Command, find_program};
use banger_host::ext4::{Ext4Error, Ext4Options, Ext4Summary, ImageSize, layers_to_ext4};
use banger_host::layer::{LayerBlob, unpack_layer};
use banger_host::system::is_root;
use fixture::{Blob, Layer, Meta};

fn build(layers: &[PathBuf], image: &Path) -> Result<Ext4Summary, Ext4Error> {
    build_sized(layers, image, ImageSize::Headroom { min_bytes: 64 << 20 })
}

fn build_sized(layers: &[PathBuf], image: &Path, size: ImageSize) -> Result<Ext4Summary, Ext4Error> {
    let options = Ext4Options { size, label: "test".into(), uuid: *b"a test's own one" };
    layers_to_ext4(layers, image, &options, &mut |_, _| ControlFlow::Continue(()))
}

fn unpack(blobs: &[Blob], dir: &Path) -> Vec<PathBuf> {
    let unpack = |(index, blob): (usize, &Blob)| {
        let spool = dir.join(format!("spool-{index}"));
        let blob = LayerBlob { path: &blob.path, part: None, digest: None, diff_id: Some(&blob.diff_id) };
        unpack_layer(&blob, &spool, &mut |_, _| ControlFlow::Continue(())).unwrap().path
    };
    blobs.iter().enumerate().map(unpack).collect()
}

/// Says what is missing.
fn has(programs: &[&str]) -> bool {
    let missing: Vec<&&str> = programs.iter().filter(|program| find_program(program).is_err()).collect();
    if !missing.is_empty() {
        println!("skipped in part: not installed: {missing:?}");
    }
    missing.is_empty()
}

async fn fsck(image: &Path) {
    if has(&["e2fsck"]) {
        Command::new("e2fsck").arg("-fn").arg(image).run().await.unwrap();
    }
}

/// The image, this crate's reader, the kernel and umoci must all agree.
async fn compare_with_umoci(layers: &[Vec<u8>]) {
    let dir = tempfile::tempdir().unwrap();
    let layout = dir.path().join("layout");
    let blobs = fixture::write_image(&layout, layers);
    let spools = unpack(&blobs, dir.path());
    let image = dir.path().join("image");
    let started = std::time::Instant::now();
    let summary = build(&spools, &image).unwrap();
    println!("{} entries in {} ms", summary.entries, started.elapsed().as_millis());
    assert_eq!(summary.notices, Vec::<String>::new());
    fsck(&image).await;
    let ours = listing::of_image(&image);
    if !is_root() {
        println!("skipped in part: umoci and mount must be root to unpack an image as it is");
        return;
    }
    if has(&["umoci"]) {
        let rootfs = fixture::umoci_unpack(&layout, &dir.path().join("bundle")).await;
        listing::assert_same(&ours, &listing::of_directory(&rootfs));
    }
    if let Some(mount) = mount::Mount::new(&image, &dir.path().join("mnt")).await {
        listing::assert_same(&listing::of_directory(mount.point()), &ours);
    }
}

#[tokio::test]
async fn a_nasty_image_is_as_umoci_unpacks_it() {
    compare_with_umoci(&nasty::layers()).await;
}

#[tokio::test]
async fn odd_names_are_as_umoci_unpacks_them() {
    compare_with_umoci(&nasty::odd_names()).await;
}

#[tokio::test]
async fn twenty_thousand_files_are_as_umoci_unpacks_them() {
    compare_with_umoci(&[rootfs::layer(20_000).finish()]).await;
}

/// umoci would write all of it; GNU tar knows sparse files.
#[tokio::test]
async fn large_files_are_as_gnu_tar_unpacks_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut layer = Layer::new();
    layer.dir(".", &Meta::mode(0o755).mtime("5"));
    // GNU tar takes no pieces but of whole 512 bytes.
    let (begin, end) = ([b'b'; 512], [b'e'; 100]);
    let pieces = [(1024, &begin[..]), (3 << 30, &[7; 10_240]), ((5 << 30) - 100, &end)];
    layer.sparse("sparse", 5 << 30, &pieces);
    layer.sparse("hole", 5 << 30, &[]);
    let mut scattered: Vec<(u64, &[u8])> = Vec::new();
    for index in 0..2000 {
        scattered.push((index * 20_480 + index % 9 * 512, &begin));
    }
    layer.sparse("scattered", 50 << 20, &scattered);
    let mut zeros = vec![0; 80 << 20];
    zeros[40 << 20] = 1;
    layer.file("zeros", &Meta::default(), &zeros);
    let tars = fixture::write_layers(dir.path(), &[layer.finish()]);
    let image = dir.path().join("image");
    build(&tars, &image).unwrap();
    // What the zeros would take.
    assert!(banger_host::files::allocated_bytes(&image).unwrap() < 30 << 20);
    fsck(&image).await;
    let ours = listing::of_image(&image);
    assert_eq!(ours[&b"sparse"[..]].size, 5 << 30);
    if is_root() && has(&["tar"]) {
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        Command::new("tar").args(["-x", "-p", "-f"]).arg(&tars[0]).arg("-C").arg(&root).run().await.unwrap();
        listing::assert_same(&ours, &listing::of_directory(&root));
    }
    if is_root()
        && let Some(mount) = mount::Mount::new(&image, &dir.path().join("mnt")).await
    {
        listing::assert_same(&listing::of_directory(mount.point()), &ours);
    }
}
