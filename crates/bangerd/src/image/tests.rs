use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use banger_api::{ErrorCode, Event};
use banger_host::ext4::ImageSize;

use super::*;
use crate::artifact::fake::{FakeArchive, Tar, cancelled, reported, vm};
use crate::catalog::{Catalog, CatalogPlace, Kind};
use crate::download::Web;
use crate::download::fake::FakeWeb;
use crate::operation::Reporter;
use crate::paths::Paths;
use crate::store::{ImageDetails, ImageRow, Store};

impl ImageError {
    /// What a client is told that it is.
    pub(super) fn code(&self) -> ErrorCode {
        crate::server::image_code(self)
    }
}

const NAME: &str = "debian-trixie-minimal";

/// A daemon's home with an image service in it.
pub(super) struct Home {
    pub(super) dir: tempfile::TempDir,
    pub(super) store: Store,
    archive: Arc<FakeArchive>,
    pub(super) images: ImageService,
}

pub(super) fn home(tar: Tar) -> Home {
    let dir = tempfile::tempdir().unwrap();
    let paths = paths(dir.path());
    fs::create_dir(paths.images()).unwrap();
    let store = Store::open(&paths.database()).unwrap();
    let archive = Arc::new(FakeArchive::new(tar));
    let mut images = ImageService::with_archive(store.clone(), &paths, Catalog::builtin(), archive.clone());
    images.size = ImageSize::Tight;
    Home { dir, store, archive, images }
}

fn paths(dir: &Path) -> Paths {
    Paths {
        config_file: dir.join("config.toml"),
        state: dir.to_owned(),
        cache: dir.join("cache"),
        socket: dir.join("s"),
    }
}

impl Home {
    pub(super) fn paths(&self) -> Paths {
        paths(self.dir.path())
    }

    /// As after `rm banger.db*` and a new start.
    pub(super) fn forget_everything(&mut self) {
        let paths = self.paths();
        for suffix in ["", "-wal", "-shm"] {
            drop(fs::remove_file(format!("{}{suffix}", paths.database().display())));
        }
        self.store = Store::open(&paths.database()).unwrap();
        self.images.store = self.store.clone();
    }

    pub(super) fn artifacts(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path().join("images")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_build_one_image_that_then_only_is_read() {
    let home = home(Tar::Whole);
    let (images, other) = (home.images.clone(), home.images.clone());
    let ((first, _), (second, _)) = tokio::join!(
        reported(move |reporter| async move { images.ensure(images.want(NAME).await?, &reporter).await }),
        reported(move |reporter| async move { other.ensure(other.want(NAME).await?, &reporter).await }),
    );
    let row = first.unwrap();
    assert_eq!(row, second.unwrap());
    assert_eq!(home.archive.fetched.load(Ordering::SeqCst), 1);

    let file = home.images.usable_file(&row).unwrap();
    assert_eq!(names(file.parent().unwrap()), ["image.json", "rootfs.ext4"]);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o444);
    assert_eq!(file.metadata().unwrap().len(), row.size_bytes);
    assert_eq!(row.sha256, *home.archive.sha256.lock().unwrap());

    let images = home.images.clone();
    let (again, events) = reported(move |reporter| async move {
        images.pull(&PullRequest::of(image_ref(NAME).unwrap()), &reporter).await
    })
    .await;
    assert_eq!(again.unwrap(), row);
    assert!(events.iter().any(|event| matches!(event, Event::Notice { text } if text.contains("already"))));
    assert_eq!(home.images.recover().await.unwrap(), Vec::<PathBuf>::new());
    let shown = home.images.show(NAME).await.unwrap();
    assert!(shown.local && shown.disk_used_bytes.unwrap() < shown.size_bytes.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_build_leaves_nothing_and_can_be_repeated() {
    let home = home(Tar::Whole);
    for (tar, code) in [
        (Tar::NotReady, ErrorCode::HostNotReady),
        (Tar::Fails, ErrorCode::Failed),
        (Tar::Garbage, ErrorCode::Failed),
        (Tar::Cancels, ErrorCode::Cancelled),
    ] {
        home.archive.set(tar);
        let images = home.images.clone();
        let (result, _) = cancelled(&home.archive, move |reporter| async move {
            images.pull(&PullRequest::of(image_ref(NAME).unwrap()), &reporter).await
        })
        .await;
        assert_eq!(result.unwrap_err().code(), code, "{tar:?}");
        assert_eq!((home.artifacts(), home.store.images().unwrap()), (vec![], vec![]), "{tar:?}");
    }
    home.archive.set(Tar::Whole);
    let images = home.images.clone();
    let (result, _) = reported(move |reporter| async move {
        images.pull(&PullRequest::of(image_ref(NAME).unwrap()), &reporter).await
    })
    .await;
    assert_eq!(home.artifacts(), [result.unwrap().id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_file_is_noticed_and_built_anew_unless_vms_build_upon_it() {
    let home = home(Tar::Whole);
    let pull = || {
        let images = home.images.clone();
        reported(move |reporter| async move { images.ensure(images.want(NAME).await?, &reporter).await })
    };
    let first = pull().await.0.unwrap();
    fs::remove_file(home.images.file(&first)).unwrap();
    let lost = home.images.usable_file(&first).unwrap_err();
    assert_eq!(
        (lost.code(), lost.hint().unwrap().starts_with(&format!("`banger image pull {NAME}` gets"))),
        (ErrorCode::Refused, true)
    );
    assert!(!home.images.show(NAME).await.unwrap().local);

    let second = pull().await.0.unwrap();
    assert_ne!(second.id, first.id);
    assert_eq!(home.artifacts(), std::slice::from_ref(&second.id));

    home.store.insert_vm(&vm("0123456789ab", "brave-otter", Some(&second.id), None)).unwrap();
    fs::remove_file(home.images.file(&second)).unwrap();
    let refused = pull().await.0.unwrap_err();
    assert!(refused.hint().unwrap().starts_with("put the file back"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_image_stays_and_an_unused_one_goes() {
    let home = home(Tar::Whole);
    let images = home.images.clone();
    let (pulled, _) = reported(move |reporter| async move {
        images.pull(&PullRequest::of(image_ref(NAME).unwrap()), &reporter).await
    })
    .await;
    let image = pulled.unwrap();
    for (id, name) in [("0123456789ab", "brave-otter"), ("0123456789ac", "calm-otter")] {
        home.store.insert_vm(&vm(id, name, Some(&image.id), None)).unwrap();
    }
    let error = home.images.delete(NAME).await.unwrap_err();
    assert_eq!(error.to_string(), format!("image {NAME} is in use by brave-otter, calm-otter"));
    assert_eq!(error.code(), ErrorCode::Refused);
    assert_eq!(home.images.show(NAME).await.unwrap().used_by, ["brave-otter", "calm-otter"]);
    for row in home.store.vms().unwrap().into_iter().flatten() {
        home.store.delete_vm(&row.id).unwrap();
    }
    home.images.delete(NAME).await.unwrap();
    assert_eq!((home.artifacts(), home.images.list(false).await.unwrap()), (vec![], vec![]));
    assert_eq!(home.images.delete(NAME).await.unwrap_err().code(), ErrorCode::NotFound);
}

#[tokio::test]
async fn recovery_removes_what_is_half_made_and_nothing_else() {
    let home = home(Tar::Whole);
    home.store.insert_image(&row("aaaaaaaaaaaa")).unwrap();
    let images = home.dir.path().join("images");
    for dir in ["aaaaaaaaaaaa", "bbbbbbbbbbbb", ".staging-dead", "notes"] {
        fs::create_dir(images.join(dir)).unwrap();
        fs::write(images.join(dir).join("rootfs.ext4"), "x").unwrap();
    }
    assert_eq!(home.images.recover().await.unwrap(), [images.join(".staging-dead")]);
    let mut left = home.artifacts();
    left.sort();
    assert_eq!(left, ["aaaaaaaaaaaa", "notes"]);
    // Nothing says what the other one is: it is out of the way, and whole.
    let lost_found = home.paths().lost_found();
    let [(name, Ok(_))] = &lost_found.list().unwrap()[..] else { panic!("{:?}", lost_found.list().unwrap()) };
    assert_eq!(fs::read_to_string(lost_found.content(name).unwrap().join("rootfs.ext4")).unwrap(), "x");
    assert!(home.images.recover().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn images_come_back_when_the_store_is_lost_and_keep_their_names_apart() {
    let mut home = home(Tar::Whole);
    let images = home.images.clone();
    let (made, _) = reported(move |reporter| async move {
        images.pull(&PullRequest::of(image_ref(NAME).unwrap()), &reporter).await
    })
    .await;
    let made = made.unwrap();
    home.forget_everything();
    home.store.insert_image(&ImageRow { name: NAME.into(), ..row("aaaaaaaaaaaa") }).unwrap();
    home.images.recover().await.unwrap();
    let back = home.store.image_by_id(&made.id).unwrap().unwrap();
    assert!(back.name.starts_with(&format!("{NAME}@")), "{back:?}");
    assert_eq!(ImageRow { name: made.name.clone(), ..back }, made);
    // Once more changes nothing.
    home.images.recover().await.unwrap();
    assert_eq!(home.store.images().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_row_is_repaired_and_until_then_touched_by_nobody() {
    let home = home(Tar::Whole);
    let images = home.images.clone();
    let (made, _) = reported(move |reporter| async move {
        images.pull(&PullRequest::of(image_ref(NAME).unwrap()), &reporter).await
    })
    .await;
    let made = made.unwrap();
    let damage = rusqlite::Connection::open(home.paths().database()).unwrap();
    damage.execute("UPDATE images SET details = '{'", []).unwrap();
    let damaged = home.images.show(NAME).await.unwrap();
    assert!(!damaged.local);
    assert!(home.images.prune(false).await.unwrap().images.is_empty());
    home.images.recover().await.unwrap();
    assert_eq!(home.store.image(NAME).unwrap(), Some(made));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_when_an_image_was_looked_for_is_said_when_it_is_got() {
    let mut home = home(Tar::Whole);
    let broken = home.dir.path().join("catalog.json");
    fs::write(&broken, "{").unwrap();
    let web: Arc<dyn Web> = Arc::new(FakeWeb::default());
    home.images.catalog = Catalog::with(&[CatalogPlace::File(broken)], &home.dir.path().join("cache"), &web);
    let images = home.images.clone();
    let (made, events) = reported(move |reporter| async move {
        let wanted = images.want(NAME).await?;
        images.ensure(wanted, &reporter).await
    })
    .await;
    made.unwrap();
    let of_catalog =
        |event: &&Event| matches!(event, Event::Notice { text } if text.contains("catalog.json"));
    assert_eq!(events.iter().filter(of_catalog).count(), 1, "{events:?}");
}

#[tokio::test]
async fn an_unknown_name_is_an_error_with_a_suggestion() {
    let home = home(Tar::Whole);
    for slip in ["debian-trixi", "debian trixie", "debian-trixie,"] {
        let images = home.images.clone();
        let (result, _) =
            reported(move |reporter| async move { images.ensure(images.want(slip).await?, &reporter).await })
                .await;
        let error = result.unwrap_err();
        let hint = error.hint().unwrap();
        assert!(
            error.code() == ErrorCode::NotFound && hint.starts_with("did you mean debian-trixie?"),
            "{slip}: {error:?}"
        );
    }
    assert_eq!(home.archive.fetched.load(Ordering::SeqCst), 0);
    assert_eq!(home.images.show("nope").await.unwrap_err().code(), ErrorCode::NotFound);
    assert_eq!(
        home.images.list(true).await.unwrap().len(),
        Catalog::builtin().entries(Kind::Image, &Reporter::unwatched()).await.len()
    );
}

fn row(id: &str) -> ImageRow {
    ImageRow {
        id: id.into(),
        name: format!("image-{id}"),
        source: "test".into(),
        size_bytes: 1,
        sha256: String::new(),
        created_at_unix_ms: 0,
        details: ImageDetails::default(),
    }
}
