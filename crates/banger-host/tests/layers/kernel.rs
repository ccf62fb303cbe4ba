//! Images as e2fsprogs and the kernel take them, at their bounds.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use banger_host::ext4::ImageSize;
use banger_host::layer::{LayerBlob, LayerError, unpack_layer};
use banger_host::system::is_root;

use super::fixture::{Layer, Meta, write_layers};
use super::mount::Mount;
use super::{build, build_sized, fsck, listing};

/// More names than one level of an index holds, and attributes of every size.
fn bounds() -> Layer {
    let mut layer = Layer::new();
    for index in 0..9000 {
        layer.file(format!("wide/{index:0>240}"), &Meta::default(), b"");
    }
    for len in 0..300_usize {
        let mut meta = Meta::default().xattr("user.first", &vec![1; len * 12]);
        if len % 3 > 0 {
            meta = meta.xattr("trusted.second", &vec![2; len % 90]).xattr("security.third", &[3; 7]);
        }
        layer.file(format!("marked/{len}"), &meta, b"x");
    }
    // Around one block of names.
    for count in 100..140 {
        for index in 0..count {
            layer.file(format!("block-{count}/{index:023}"), &Meta::default(), b"");
        }
    }
    layer
}

#[tokio::test]
async fn large_indexes_and_attributes_are_clean() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    build(&write_layers(dir.path(), &[bounds().finish()]), &image).unwrap();
    fsck(&image).await;
    let ours = listing::of_image(&image);
    assert_eq!(ours[&b"marked/299"[..]].xattrs[&b"user.first"[..]].len(), 299 * 12);
    if is_root()
        && let Some(mount) = Mount::new(&image, &dir.path().join("mnt")).await
    {
        listing::assert_same(&listing::of_directory(mount.point()), &ours);
    }
}

/// Groups in part, groups that would hold nothing, copies of the superblock, and a journal of every size.
#[tokio::test]
async fn images_of_every_size_are_clean() {
    let dir = tempfile::tempdir().unwrap();
    let mut layer = Layer::new();
    layer.dir("lost+found", &Meta::mode(0o711).owner(3, 3)).file("lost+found/x", &Meta::default(), b"kept");
    layer.file("f", &Meta::default(), &[1; 300_000]);
    let tars = write_layers(dir.path(), &[layer.finish()]);
    for size_mib in [18, 64, 127, 128, 129, 255, 260, 1024, 2049, 2080, 5000, 33_000, 140_000] {
        let image = dir.path().join(format!("{size_mib}"));
        let summary = build_sized(&tars, &image, ImageSize::Fixed { bytes: size_mib << 20 }).unwrap();
        assert_eq!(summary.image_bytes, size_mib << 20);
        fsck(&image).await;
        std::fs::remove_file(&image).unwrap();
    }
    let image = dir.path().join("tight");
    build_sized(&tars, &image, ImageSize::Tight).unwrap();
    fsck(&image).await;
}

/// Names of any bytes in an index, as the kernel has to find, add and remove them.
#[tokio::test]
async fn the_kernel_goes_on_where_the_build_stopped() {
    if !is_root() {
        println!("skipped: mounting needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut layer = Layer::new();
    let name = |index: u16| [b"name-", &index.to_be_bytes().map(|byte| byte | 0x80)[..], b"\xFF"].concat();
    let mut count = 0;
    for index in (0..20_000).filter(|index| index & 0x8080 == 0) {
        layer.file([b"d/", &name(index)[..]].concat(), &Meta::default(), b"");
        count += 1;
    }
    let image = dir.path().join("image");
    build(&write_layers(dir.path(), &[layer.finish()]), &image).unwrap();
    let Some(mount) = Mount::with_options(&image, &dir.path().join("mnt"), &["-o", "loop,rw"]).await else {
        return;
    };
    let directory = mount.point().join("d");
    for index in (0..20_000).filter(|index| index & 0x8080 == 0 && index % 3 == 0) {
        std::fs::remove_file(directory.join(OsStr::from_bytes(&name(index)))).unwrap();
        count -= 1;
    }
    for index in 0..2000 {
        std::fs::write(directory.join(format!("new-{index}")), b"new").unwrap();
        count += 1;
    }
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), count);
    std::fs::remove_dir_all(mount.point().join("lost+found")).unwrap();
    drop(mount);
    fsck(&image).await;
}

#[tokio::test]
async fn a_full_disk_leaves_no_spool() {
    if !is_root() {
        println!("skipped: mounting a small tmpfs needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..20_000_000_u32).map(|number| (number / 7) as u8 | 1).collect();
    let blobs = super::fixture::write_image(&dir.path().join("layout"), &[content]);
    let point = dir.path().join("small");
    let mount = Mount::with_options("tmpfs".as_ref(), &point, &["-t", "tmpfs", "-o", "size=8m"]).await;
    let Some(mount) = mount else { return };
    let blob = LayerBlob { path: &blobs[0].path, part: None, digest: None, diff_id: Some(&blobs[0].diff_id) };
    let proceed = &mut |_, _| std::ops::ControlFlow::Continue(());
    let error = unpack_layer(&blob, &mount.point().join("spool"), proceed).unwrap_err();
    assert!(matches!(error, LayerError::NoSpace { .. }), "{error:?}");
    assert_eq!(std::fs::read_dir(mount.point()).unwrap().count(), 0);
}
