use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use banger_api::ErrorCode;

use super::*;
use crate::artifact::fake::{FakeArchive, Tar, cancelled, reported, vm};
use crate::catalog::Catalog;
use crate::download::fake::FakeWeb;
use crate::paths::Paths;
use crate::record;
use crate::store::{KernelRow, Store};

impl KernelError {
    /// What a client is told that it is.
    pub(super) fn code(&self) -> ErrorCode {
        crate::server::kernel_code(self)
    }
}

const ID: &str = "aaaaaaaaaaaa";
const OTHER_ID: &str = "bbbbbbbbbbbb";

/// A daemon's home with two kernels in it.
struct Home {
    dir: tempfile::TempDir,
    store: Store,
    archive: Arc<FakeArchive>,
    kernels: KernelService,
}

fn row(id: &str) -> KernelRow {
    KernelRow {
        unreadable: false,
        id: id.into(),
        name: format!("kernel-{id}"),
        source: "test".into(),
        release: "6.12.0".into(),
        sha256: String::new(),
        created_at_unix_ms: 0,
    }
}

fn home() -> Home {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths {
        config_file: dir.path().join("config.toml"),
        state: dir.path().to_owned(),
        cache: dir.path().join("cache"),
        socket: dir.path().join("s"),
    };
    let store = Store::open(&paths.database()).unwrap();
    for id in [ID, OTHER_ID] {
        let kernel = paths.kernels().join(id);
        fs::create_dir_all(&kernel).unwrap();
        for file in ["vmlinux", "modules.cpio", "modules.ext4"] {
            fs::write(kernel.join(file), format!("{file} of {id}")).unwrap();
        }
        store.insert_kernel(&row(id)).unwrap();
    }
    let agent = dir.path().join("banger-agent");
    fs::write(&agent, "first agent").unwrap();
    let archive = Arc::new(FakeArchive::new(Tar::Whole));
    let kernels = KernelService::with_archive(
        store.clone(),
        &paths,
        Catalog::builtin(),
        Arc::new(FakeWeb::default()),
        agent,
        archive.clone(),
    );
    Home { dir, store, archive, kernels }
}

impl Home {
    fn agent(&self) -> PathBuf {
        self.dir.path().join("banger-agent")
    }

    fn cached(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir.path().join("cache/initramfs")).into_iter().flatten();
        let mut cached: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        cached.sort();
        cached
    }
}

#[tokio::test]
async fn an_initramfs_is_the_agent_and_the_modules_made_once() {
    let home = home();
    let path = home.kernels.initramfs(&row(ID)).await.unwrap();
    let bytes = fs::read(&path).unwrap();
    let modules = format!("modules.cpio of {ID}");
    assert!(bytes.starts_with(b"070701"));
    assert!(bytes.windows(11).any(|part| part == b"first agent"));
    // The kernel wants the next archive at a multiple of four bytes.
    let at = bytes.windows(modules.len()).position(|part| part == modules.as_bytes()).unwrap();
    assert_eq!(at % 4, 0);
    // The last page of the guest's memory is the firmware's.
    assert_eq!(bytes.len() % 4096, 0);
    assert!(bytes[at + modules.len()..].iter().all(|byte| *byte == 0));

    let made = path.metadata().unwrap().modified().unwrap();
    assert_eq!(home.kernels.initramfs(&row(ID)).await.unwrap(), path);
    assert_eq!(path.metadata().unwrap().modified().unwrap(), made);
    fs::remove_dir_all(home.dir.path().join("cache")).unwrap();
    assert_eq!(home.kernels.initramfs(&row(ID)).await.unwrap(), path);
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

/// A VMM is confined to the file that was there when it was started.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn vms_that_start_at_once_share_one_initramfs_file() {
    let home = home();
    let starts = (0..64).map(|_| {
        let kernels = home.kernels.clone();
        tokio::spawn(async move {
            let path = kernels.initramfs(&row(ID)).await.unwrap();
            path.metadata().unwrap().ino()
        })
    });
    let mut inodes = Vec::new();
    for start in starts.collect::<Vec<_>>() {
        inodes.push(start.await.unwrap());
    }
    inodes.dedup();
    assert_eq!(inodes.len(), 1, "{inodes:?}");
}

#[tokio::test]
async fn another_agent_makes_another_initramfs_and_the_old_one_goes() {
    let home = home();
    let old = home.kernels.initramfs(&row(ID)).await.unwrap();
    let other = home.kernels.initramfs(&row(OTHER_ID)).await.unwrap();
    fs::write(home.agent(), "other agent").unwrap();
    let new = home.kernels.initramfs(&row(ID)).await.unwrap();
    assert_ne!(new, old);
    assert!(fs::read(&new).unwrap().windows(11).any(|part| part == b"other agent"));
    let mut left = [new, other];
    left.sort();
    assert_eq!(home.cached(), left);
}

#[tokio::test]
async fn a_missing_agent_and_a_missing_file_say_where_they_belong() {
    let home = home();
    fs::remove_file(home.agent()).unwrap();
    let error = home.kernels.initramfs(&row(ID)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::HostNotReady);
    assert!(std::error::Error::source(&error).unwrap().to_string().ends_with("/banger-agent"));
    fs::remove_file(home.kernels.modules_disk(&row(ID))).unwrap();
    let error = home.kernels.initramfs(&row(ID)).await.unwrap_err();
    assert!(
        error.to_string().ends_with(&format!("kernels/{ID}/modules.ext4 is gone or cannot be read")),
        "{error}"
    );
    assert!(!home.kernels.show(&row(ID).name).await.unwrap().local);
    assert!(home.kernels.show(&row(OTHER_ID).name).await.unwrap().local);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_imported_kernel_with_a_name_of_the_catalogs_is_not_replaced() {
    let home = home();
    home.store.insert_kernel(&KernelRow { name: "debian-6.1".into(), ..row("cccccccccccc") }).unwrap();
    let kernels = home.kernels.clone();
    let (result, _) =
        reported(move |reporter| async move { kernels.ensure("debian-6.1", &reporter).await }).await;
    let lost = result.unwrap_err();
    assert!(matches!(lost, KernelError::Lost { .. }), "{lost:?}");
    assert_eq!(home.store.kernels().unwrap().len(), 3);
}

#[tokio::test]
async fn a_used_kernel_stays_and_an_unused_one_goes_with_its_initramfs() {
    let home = home();
    home.kernels.initramfs(&row(ID)).await.unwrap();
    let user = vm("0123456789ab", "brave-otter", None, Some(ID));
    home.store.insert_vm(&user).unwrap();
    let error = home.kernels.delete(&row(ID).name).await.unwrap_err();
    assert_eq!(error.to_string(), format!("kernel kernel-{ID} is in use by brave-otter"));
    home.store.delete_vm(&user.id).unwrap();
    home.kernels.delete(&row(ID).name).await.unwrap();
    assert!(!home.dir.path().join("kernels").join(ID).exists());
    assert_eq!(home.cached(), Vec::<PathBuf>::new());
    assert_eq!(home.kernels.list(false).await.unwrap().len(), 1);
}

#[tokio::test]
async fn recovery_keeps_what_no_row_names() {
    let home = home();
    let kept = home.kernels.initramfs(&row(ID)).await.unwrap();
    let cache = home.dir.path().join("cache/initramfs");
    fs::write(cache.join("cccccccccccc-0123456789abcdef.cpio"), "x").unwrap();
    fs::write(cache.join(".staging-x"), "x").unwrap();
    let kernels = home.dir.path().join("kernels");
    for dir in ["cccccccccccc", "dddddddddddd", ".staging-x"] {
        fs::create_dir(kernels.join(dir)).unwrap();
    }
    record::write(&kernels.join("dddddddddddd/kernel.json"), &row("dddddddddddd")).unwrap();
    assert_eq!(home.kernels.recover().await.unwrap(), [kernels.join(".staging-x")]);
    assert_eq!(home.cached(), [kept]);
    assert_eq!(home.store.kernel_by_id("dddddddddddd").unwrap(), Some(row("dddddddddddd")));
    assert!(!kernels.join("cccccccccccc").exists());
    assert_eq!(home.kernels.lost_found.list().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tar_without_a_kernel_is_refused_and_leaves_nothing() {
    let home = home();
    for tar in [Tar::Whole, Tar::Garbage, Tar::Fails, Tar::Cancels] {
        home.archive.set(tar);
        let kernels = home.kernels.clone();
        let (result, _) =
            cancelled(
                &home.archive,
                move |reporter| async move { kernels.ensure("debian-6.1", &reporter).await },
            )
            .await;
        assert!(result.is_err(), "{tar:?}");
        assert_eq!(fs::read_dir(home.dir.path().join("kernels")).unwrap().count(), 2, "{tar:?}");
    }
    assert!(!home.kernels.show("debian-6.1").await.unwrap().local);
    assert_eq!(home.store.kernels().unwrap().len(), 2);
}
