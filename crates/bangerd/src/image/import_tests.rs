//! Files of the user's on their way to images.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use banger_api::{ErrorCode, Event};
use banger_host::files::allocated_bytes;

use super::tests::{Home, home};
use super::{ImageError, ImportRequest, PullRequest, image_ref};
use crate::artifact::fake::{Tar, reported, vm};
use crate::store::ImageRow;

const SIZE: u64 = 32 << 20;

/// A file that looks like an ext4 filesystem, with holes.
fn ext4(dir: &Path) -> PathBuf {
    let path = dir.join("user.ext4");
    let file = File::create(&path).unwrap();
    file.set_len(SIZE).unwrap();
    file.write_all_at(&((SIZE / 1024) as u32).to_le_bytes(), 1024 + 4).unwrap();
    file.write_all_at(&0xef53_u16.to_le_bytes(), 1024 + 0x38).unwrap();
    file.write_all_at(b"the end", SIZE - 7).unwrap();
    path
}

fn request(name: &str, path: &Path, in_place: bool) -> ImportRequest {
    ImportRequest { name: name.into(), path: path.into(), in_place, tag: None, size_mib: None, kernel: None }
}

async fn import(home: &Home, request: ImportRequest) -> Result<ImageRow, ImageError> {
    let images = home.images.clone();
    reported(move |reporter| async move { images.import(&request, &reporter).await }).await.0
}

async fn promote(home: &Home, name: &'static str) -> Result<ImageRow, ImageError> {
    let images = home.images.clone();
    reported(move |reporter| async move { images.promote(name, &reporter).await }).await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_whole_and_keeps_its_holes() {
    let home = home(Tar::Whole);
    let path = ext4(home.dir.path());
    let row = import(&home, request("mine", &path, false)).await.unwrap();
    let file = home.images.usable_file(&row).unwrap();
    assert_eq!(fs::read(&file).unwrap(), fs::read(&path).unwrap());
    assert!(allocated_bytes(&file).unwrap() <= 64 << 10);
    assert_eq!(row.sha256, crate::checksum::sha256(&fs::read(&path).unwrap()));
    fs::remove_file(&path).unwrap();
    assert!(home.images.show("mine").await.unwrap().local);
    let again = import(&home, request("mine", &ext4(home.dir.path()), false)).await.unwrap_err();
    assert_eq!((again.code(), home.artifacts()), (ErrorCode::Refused, vec![row.id]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_used_in_place_must_stay_as_it_was() {
    let home = home(Tar::Whole);
    let path = ext4(home.dir.path());
    let row = import(&home, request("mine", &path, true)).await.unwrap();
    assert_eq!(home.images.usable_file(&row).unwrap(), path.canonicalize().unwrap());
    assert_eq!(home.artifacts(), [format!("{}.json", row.id)]);
    assert_eq!(home.images.prune(false).await.unwrap().images, []);

    let later = SystemTime::now() + Duration::from_secs(5);
    File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
    let lost = home.images.usable_file(&row).unwrap_err();
    assert!(matches!(lost, ImageError::Lost { .. }), "{lost:?}");
    assert!(matches!(promote(&home, "mine").await, Err(ImageError::Lost { .. })));
    assert_eq!(home.artifacts(), [format!("{}.json", row.id)]);

    home.images.delete("mine").await.unwrap();
    assert!(path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_image_is_banger_s_own() {
    let home = home(Tar::Whole);
    let path = ext4(home.dir.path());
    let before = import(&home, request("mine", &path, true)).await.unwrap();
    home.store.insert_vm(&vm("0123456789ab", "brave-otter", Some(&before.id), None)).unwrap();
    let row = promote(&home, "mine").await.unwrap();
    assert_eq!(row.id, before.id, "its VMs go on with it");
    let content = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let stored = home.store.image("mine").unwrap().unwrap();
    assert_eq!(stored.sha256, crate::checksum::sha256(&content));
    assert_eq!(fs::read(home.images.usable_file(&stored).unwrap()).unwrap(), content);
    let again = promote(&home, "mine").await.unwrap_err();
    assert_eq!(again.code(), ErrorCode::Refused);
    assert_eq!(promote(&home, "none").await.unwrap_err().code(), ErrorCode::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_that_was_cut_off_loses_neither_file() {
    let home = home(Tar::Whole);
    let path = ext4(home.dir.path());
    let row = import(&home, request("mine", &path, true)).await.unwrap();
    let in_store = home.store.image("mine").unwrap().unwrap();
    let promoted = promote(&home, "mine").await.unwrap();
    // The copy was moved to its place, and then the daemon died: the row still says that it is in place.
    assert!(home.store.update_image(&in_store).unwrap());
    home.images.recover().await.unwrap();
    assert_eq!(home.store.image("mine").unwrap(), Some(promoted));
    // One that does not say what it is stays as well, elsewhere.
    assert!(home.store.update_image(&in_store).unwrap());
    fs::remove_file(home.dir.path().join("images").join(&row.id).join("image.json")).unwrap();
    home.images.recover().await.unwrap();
    assert_eq!(home.images.usable_file(&row).unwrap(), path.canonicalize().unwrap());
    assert_eq!(home.paths().lost_found().list().unwrap().len(), 1);
    promote(&home, "mine").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_in_place_comes_back_when_the_store_is_lost() {
    let mut home = home(Tar::Whole);
    let path = ext4(home.dir.path());
    let row = import(&home, request("mine", &path, true)).await.unwrap();
    home.forget_everything();
    home.images.recover().await.unwrap();
    assert_eq!(home.store.images().unwrap(), [row]);
    home.images.delete("mine").await.unwrap();
    home.images.recover().await.unwrap();
    assert!(home.store.images().unwrap().is_empty() && path.exists());
}

/// Nobody asks a registry, where everybody may publish what he likes, for the name of an image of his own.
#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_an_imported_image_brings_no_other() {
    let home = home(Tar::Whole);
    let path = ext4(home.dir.path());
    for name in ["mine", "my.ext4", "alpine:latest", "debian-trixie"] {
        let row = import(&home, request(name, &path, false)).await.unwrap();
        let pull = async |keep: bool| {
            let images = home.images.clone();
            let pull = move |reporter| async move {
                match keep {
                    true => images.ensure(images.want(name).await?, &reporter).await,
                    false => images.pull(&PullRequest::of(image_ref(name).unwrap()), &reporter).await,
                }
            };
            reported(pull).await
        };
        let (pulled, events) = pull(false).await;
        assert_eq!(pulled.unwrap().id, row.id);
        let noticed = events
            .iter()
            .any(|event| matches!(event, Event::Notice { text } if text.contains("delete it first")));
        assert!(noticed, "{name}: {events:?}");

        fs::remove_file(home.images.file(&row)).unwrap();
        for keep in [true, false] {
            let lost = pull(keep).await.0.unwrap_err();
            assert!(matches!(lost, ImageError::Lost { .. }), "{name}: {lost:?}");
            assert!(lost.hint().unwrap().ends_with("import it again"), "{lost:?}");
        }
        assert!(matches!(home.images.how_to_get(name).await, Err(ImageError::Lost { .. })), "{name}");
        home.images.delete(name).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_an_image_leaves_nothing() {
    let home = home(Tar::Whole);
    let dir = home.dir.path();
    let fifo = dir.join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    fs::write(dir.join("text"), "text").unwrap();
    let tar = dir.join("rootfs.tar");
    fs::write(&tar, tarball()).unwrap();
    for (request, code) in [
        (request("x", &dir.join("none"), false), ErrorCode::NotFound),
        (request("x", dir, false), ErrorCode::Refused),
        (request("x", &fifo, false), ErrorCode::Refused),
        (request("x", &dir.join("text"), false), ErrorCode::Refused),
        (request("x", &tar, true), ErrorCode::Usage),
        (request("bad name", &tar, false), ErrorCode::Usage),
        (ImportRequest { size_mib: Some(64), ..request("x", &ext4(dir), false) }, ErrorCode::Usage),
    ] {
        let error = import(&home, request.clone()).await.unwrap_err();
        assert_eq!(error.code(), code, "{request:?}: {error:?}");
    }
    assert_eq!((home.artifacts(), home.store.images().unwrap()), (vec![], vec![]));
    import(&home, request("x", &tar, false)).await.unwrap();
}

/// An archive of one file.
fn tarball() -> Vec<u8> {
    let mut header = [0; 512];
    header[..4].copy_from_slice(b"file");
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(b"00000000000\0");
    header[136..148].copy_from_slice(b"00000000000\0");
    header[148..156].fill(b' ');
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    [&header[..], &[0; 1024]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn unused_images_are_pruned_and_used_ones_are_not() {
    let home = home(Tar::Whole);
    let path = ext4(home.dir.path());
    let used = import(&home, request("used", &path, false)).await.unwrap();
    let unused = import(&home, request("unused", &path, false)).await.unwrap();
    home.store.insert_vm(&vm("0123456789ab", "brave-otter", Some(&used.id), None)).unwrap();
    let plan = home.images.prune(true).await.unwrap();
    assert_eq!(plan.images.iter().map(|image| &image.name).collect::<Vec<_>>(), ["unused"]);
    assert!(plan.freed_bytes > 0 && home.images.usable_file(&unused).is_ok());
    assert_eq!(home.images.prune(false).await.unwrap(), plan);
    assert_eq!(home.artifacts(), std::slice::from_ref(&used.id));
    assert!(home.images.prune(false).await.unwrap().images.is_empty());
}
