use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use banger_api::{ErrorCode, Event};

use super::*;
use crate::artifact::fake::{FakeArchive, Tar, reported};
use crate::catalog::{Catalog, CatalogPlace};
use crate::checksum::sha256;
use crate::download::Web;
use crate::download::fake::FakeWeb;
use crate::paths::Paths;
use crate::store::{KernelRow, Store};

const RELEASE: &str = "6.12.9-test";
const URL: &str = "https://h.example/kernels/mine.tar.zst";

/// A daemon's home, and a directory with a kernel in it.
struct Home {
    dir: tempfile::TempDir,
    store: Store,
    web: Arc<FakeWeb>,
}

/// The least that passes for a kernel: a loadable segment and a banner.
fn vmlinux() -> Vec<u8> {
    let mut elf = vec![0; 64 + 56 + 16];
    elf[..6].copy_from_slice(b"\x7FELF\x02\x01");
    elf[16] = 2;
    elf[18] = 62;
    elf[32] = 64;
    elf[54] = 56;
    elf[56] = 1;
    elf[64] = 1;
    elf[64 + 8] = 120;
    elf[64 + 32] = 16;
    [elf, format!("Linux version {RELEASE} (x@y) #1").into_bytes()].concat()
}

fn boot_tree(dir: &Path) {
    let modules = dir.join("lib/modules").join(RELEASE);
    fs::create_dir_all(modules.join("kernel")).unwrap();
    fs::create_dir_all(dir.join("boot")).unwrap();
    fs::write(dir.join("boot/vmlinuz-6.12.9-test"), vmlinux()).unwrap();
    let mut dep = String::new();
    for driver in banger_host::initramfs::required_drivers() {
        dep.push_str(&format!("kernel/{driver}.ko:\n"));
        let signed = format!("\x7FELF {driver}~Module signature appended~\n");
        fs::write(modules.join(format!("kernel/{driver}.ko")), signed).unwrap();
    }
    fs::write(modules.join("modules.dep"), dep).unwrap();
    fs::write(modules.join("modules.builtin"), "").unwrap();
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        boot_tree(&dir.path().join("root"));
        fs::create_dir_all(dir.path().join("kernels")).unwrap();
        let store = Store::open(&dir.path().join("banger.db")).unwrap();
        Self { dir, store, web: Arc::default() }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn output(&self) -> PathBuf {
        self.dir.path().join("mine.tar.zst")
    }

    /// As the daemon has them, with the catalog `c.json` of this home.
    fn kernels(&self) -> KernelService {
        let state = self.dir.path().to_owned();
        let paths = Paths {
            config_file: state.join("x"),
            cache: state.join("cache"),
            socket: state.join("s"),
            state,
        };
        let web: Arc<dyn Web> = self.web.clone();
        let places = [CatalogPlace::File(self.dir.path().join("c.json"))];
        let catalog = Catalog::with(&places, &paths.catalogs(), &web);
        let archive = Arc::new(FakeArchive::new(Tar::Fails));
        let agent = self.dir.path().join("agent");
        KernelService::with_archive(self.store.clone(), &paths, catalog, web, agent, archive)
    }

    fn catalog(&self, place: &str, sum: &str) {
        let source = format!(r#"{{"kind": "bundle", {place}, "sha256": "{sum}"}}"#);
        let text = format!(r#"{{"kernels": [{{"name": "theirs", "source": {source}}}]}}"#);
        fs::write(self.dir.path().join("c.json"), text).unwrap();
    }

    async fn import(&self, name: &'static str, from: &Path) -> (Result<KernelRow, KernelError>, Vec<Event>) {
        let (kernels, from) = (self.kernels(), from.to_owned());
        reported(move |reporter| async move { kernels.import(name, &from, &reporter).await }).await
    }

    async fn pull(&self) -> Result<KernelRow, KernelError> {
        let kernels = self.kernels();
        reported(move |reporter| async move { kernels.pull("theirs", &reporter).await }).await.0
    }

    async fn bundle(&self, replace: bool) -> Result<banger_api::bundle::Bundle, KernelError> {
        let (kernels, output) = (self.kernels(), self.output());
        reported(move |reporter| async move { kernels.bundle("mine", &output, replace, &reporter).await })
            .await
            .0
    }

    /// What the directory of all kernels and that of downloads hold.
    fn files(&self) -> Vec<String> {
        let dirs = ["kernels", "cache/downloads"].map(|dir| self.dir.path().join(dir));
        let entries = dirs.iter().flat_map(|dir| fs::read_dir(dir).into_iter().flatten());
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn content(&self, row: &KernelRow) -> Vec<Vec<u8>> {
        let dir = self.dir.path().join("kernels").join(&row.id);
        // The three, and the record of what they are.
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 4);
        ["vmlinux", "modules.cpio", "modules.ext4"].map(|name| fs::read(dir.join(name)).unwrap()).into()
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", causes(source)),
        None => error.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kernel_goes_from_a_directory_to_a_bundle_to_another_name() {
    let home = Home::new();
    let (imported, _) = home.import("mine", &home.root()).await;
    let mine = imported.unwrap();
    assert_eq!((mine.release.as_str(), mine.sha256.clone()), (RELEASE, sha256(&vmlinux())));
    assert!(mine.source.ends_with("/root/boot/vmlinuz-6.12.9-test"), "{}", mine.source);
    let initramfs = &home.content(&mine)[1];
    // A foreign kernel may insist on them.
    assert!(initramfs.windows(17).any(|part| part == b"signature appende"));

    let bundle = home.bundle(false).await.unwrap();
    let bytes = fs::read(home.output()).unwrap();
    assert_eq!((bundle.sha256.clone(), bundle.size_bytes), (sha256(&bytes), bytes.len() as u64));
    let exists = home.bundle(false).await.unwrap_err();
    assert_eq!((exists.code(), exists.hint().unwrap()), (ErrorCode::Refused, "--force replaces it".into()));
    assert_eq!(home.bundle(true).await.unwrap(), bundle);

    let other = home.import("other", &home.output()).await.0.unwrap();
    home.catalog(r#""path": "mine.tar.zst", "size_bytes": 7"#, &bundle.sha256);
    assert!(causes(&home.pull().await.unwrap_err()).contains("and the catalog says 7"));
    home.catalog(r#""path": "mine.tar.zst""#, &bundle.sha256);
    let theirs = home.pull().await.unwrap();
    assert_eq!(theirs.source, format!("bundle {}", home.output().display()));
    for row in [&other, &theirs] {
        assert!(home.content(row) == home.content(&mine));
        assert_eq!((&row.release, &row.sha256), (&mine.release, &mine.sha256));
    }
    assert_eq!(home.files().len(), 3);
    assert!(home.kernels().recover().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_is_not_the_catalogs_is_refused_and_leaves_nothing() {
    let home = Home::new();
    home.import("mine", &home.root()).await.0.unwrap();
    let bundle = home.bundle(false).await.unwrap();
    home.kernels().delete("mine").await.unwrap();
    home.web.put(URL, fs::read(home.output()).unwrap());
    let url = format!(r#""url": "{URL}""#);
    let zero = "0".repeat(64);
    for place in [r#""path": "mine.tar.zst""#, &url] {
        home.catalog(place, &zero);
        let error = home.pull().await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Refused);
        assert!(causes(&error).contains(&format!("and the catalog says {zero}")), "{}", causes(&error));
        assert_eq!((home.files(), home.store.kernels().unwrap()), (vec![], vec![]), "{place}");
    }
    home.catalog(&url, &bundle.sha256);
    home.web.put(URL, "<html>");
    assert_eq!(home.pull().await.unwrap_err().code(), ErrorCode::Refused);
    home.web.remove(URL);
    assert!(causes(&home.pull().await.unwrap_err()).contains("no network"));
    home.catalog(r#""path": "none.tar.zst""#, &bundle.sha256);
    assert_eq!(home.pull().await.unwrap_err().code(), ErrorCode::NotFound);
    assert_eq!((home.files(), home.store.kernels().unwrap()), (vec![], vec![]));

    home.web.put(URL, fs::read(home.output()).unwrap());
    home.catalog(&url, &bundle.sha256);
    let row = home.pull().await.unwrap();
    assert_eq!(row.source, format!("bundle {URL}"));
    assert_eq!(home.files(), [row.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_imported_leaves_nothing() {
    let home = Home::new();
    let at = |name: &str| home.dir.path().join(name);
    fs::create_dir(at("empty")).unwrap();
    fs::write(at("vmlinuz"), vmlinux()).unwrap();
    fs::create_dir(at("bare")).unwrap();
    fs::write(at("bare/vmlinuz"), vmlinux()).unwrap();
    boot_tree(&at("lacking"));
    let dep = at("lacking/lib/modules/6.12.9-test/modules.dep");
    fs::write(&dep, fs::read_to_string(&dep).unwrap().replace("virtio_blk", "virtio_bulk")).unwrap();
    for (from, code, expected) in [
        ("none", ErrorCode::NotFound, "could not find"),
        ("empty", ErrorCode::Refused, "there is no kernel in"),
        ("vmlinuz", ErrorCode::Refused, "neither a directory nor a bundle"),
        ("bare", ErrorCode::Refused, "nothing says what is built into it"),
        ("lacking", ErrorCode::Failed, "lacks drivers, neither loadable nor built in: virtio_blk"),
    ] {
        let error = home.import("mine", &at(from)).await.0.unwrap_err();
        assert!(causes(&error).contains(expected), "{from}: {}", causes(&error));
        assert_eq!(error.code(), code, "{from}");
        assert_eq!((home.files(), home.store.kernels().unwrap()), (vec![], vec![]), "{from}");
    }
    for bad in ["", "-x", "a/b", "../x", "a b"] {
        let error = home.import(bad, &home.root()).await.0.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Usage, "{bad}");
    }
    home.import("mine", &home.root()).await.0.unwrap();
    let taken = home.import("mine", &home.root()).await.0.unwrap_err();
    assert_eq!(taken.code(), ErrorCode::Refused);
    assert!(taken.hint().unwrap().contains("banger kernel delete mine"));
    assert_eq!(home.files().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_the_catalog_can_be_taken_and_two_at_once_take_it_once() {
    let home = Home::new();
    let root = home.root();
    let (first, second) = tokio::join!(home.import("debian-6.12", &root), home.import("debian-6.12", &root));
    let results = [first, second];
    assert_eq!(results.iter().filter(|(result, _)| result.is_ok()).count(), 1);
    let is_notice =
        |event: &Event| matches!(event, Event::Notice { text } if text.contains("not the catalog's"));
    assert!(results.iter().any(|(_, events)| events.iter().any(is_notice)));
    assert_eq!(home.files().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_whole_kernels_go_into_a_bundle() {
    let home = Home::new();
    assert_eq!(home.bundle(false).await.unwrap_err().code(), ErrorCode::NotFound);
    let row = home.import("mine", &home.root()).await.0.unwrap();
    fs::remove_file(home.dir.path().join("kernels").join(&row.id).join("modules.ext4")).unwrap();
    assert!(matches!(home.bundle(false).await.unwrap_err(), KernelError::Lost { .. }));
    assert!(!home.output().exists());
}
