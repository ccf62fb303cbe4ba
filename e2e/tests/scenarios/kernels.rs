//! Kernels that are not the catalog's: imported, bundled, and had from a catalog of the user's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use banger_api::kernel::Kernel;
use e2e::{Home, seed, tool};

const LONG: Duration = Duration::from_secs(600);

/// The seed's kernel as a distribution would have it on its disk: `boot/vmlinuz-*` and `lib/modules`.
struct Root {
    dir: PathBuf,
    release: String,
}

impl Root {
    fn new(home: &Home) -> Self {
        let release = kernel(home, seed::KERNEL).release.expect("a release");
        let files = kernel_dir(home);
        let dir = home.root().join("distribution");
        let modules = dir.join("lib/modules");
        std::fs::create_dir_all(&modules).unwrap();
        std::fs::create_dir_all(dir.join("boot")).unwrap();
        std::fs::copy(files.join("vmlinux"), dir.join(format!("boot/vmlinuz-{release}"))).unwrap();
        let dump = format!("rdump /{release} {}", modules.display());
        let image = files.join("modules.ext4");
        let (dumped, said) =
            tool(&["/usr/sbin/debugfs", "-R", &dump, image.to_str().unwrap()]).expect("debugfs");
        assert!(dumped && modules.join(&release).join("modules.dep").is_file(), "{said}");
        Self { dir, release }
    }
}

fn kernel(home: &Home, name: &str) -> Kernel {
    let shown = home.banger("kernel show --json").args([name]).ok();
    serde_json::from_slice(&shown.out).unwrap_or_else(|error| panic!("{error} in {shown}"))
}

/// The directory of the only kernel.
fn kernel_dir(home: &Home) -> PathBuf {
    let entries = std::fs::read_dir(home.state().join("kernels")).unwrap().flatten();
    entries.map(|entry| entry.path()).next().expect("a kernel")
}

fn uname(home: &Home, kernel: &str, image: &str) -> String {
    // A module that is not in the initramfs shows that the modules' disk is the kernel's own.
    let script = "uname -r; modprobe loop && grep -c ^loop /proc/modules";
    home.banger("run --rm --kernel").args([kernel, "--image", image]).sh(script).limit(LONG).ok().text()
}

/// A catalog with the kernel `theirs` and the image `root`.
fn write_catalog(path: &Path, kernel_sha256: &str, image_sha256: &str) {
    let entry = |name: &str, file: &str, sha256: &str| {
        let source = format!(r#"{{"kind": "bundle", "path": "{file}", "sha256": "{sha256}"}}"#);
        format!(r#"[{{"name": "{name}", "description": "a team's", "source": {source}}}]"#)
    };
    let kernels = entry("theirs", "mine.tar.zst", kernel_sha256);
    let images = entry("root", "root.tar.zst", image_sha256);
    std::fs::write(path, format!(r#"{{"kernels": {kernels}, "images": {images}}}"#)).unwrap();
}

/// Writes a bundle; its checksum.
fn bundle(home: &Home, what: &str, file: &str) -> String {
    let text = home.banger(&format!("{what} -o {file}")).limit(LONG).ok().text();
    let path = home.root().join(file);
    let sha256 = text.split_whitespace().next().unwrap().to_owned();
    assert_eq!(text, format!("{sha256}  {}", path.display()));
    let (works, said) = tool(&["sha256sum", path.to_str().unwrap()]).unwrap();
    assert!(works && said.starts_with(&sha256), "{said}");
    sha256
}

#[test]
fn an_imported_kernel_boots_and_travels_as_a_bundle() {
    let home = Home::new();
    let root = Root::new(&home);
    let from = root.dir.join("boot");
    home.banger("kernel import mine --from").args([&from]).limit(LONG).ok();
    let mine = kernel(&home, "mine");
    assert_eq!(mine.release.as_ref(), Some(&root.release));
    assert_eq!(mine.sha256, kernel(&home, seed::KERNEL).sha256);
    assert_eq!(uname(&home, "mine", seed::MINIMAL), format!("{}\n1", root.release));

    // What is in the way is told.
    home.banger("kernel import mine --from")
        .args([&from])
        .fails_with(4)
        .says("there is a kernel mine already");
    home.banger("kernel import other --from").args([home.root()]).fails_with(4).says("there is no kernel in");

    let sha256 = bundle(&home, "kernel bundle mine", "mine.tar.zst");
    let image_sha256 = bundle(&home, &format!("image bundle {}", seed::MINIMAL), "root.tar.zst");
    // By its data: the image has 8 GiB.
    assert!(home.root().join("root.tar.zst").metadata().unwrap().len() < 256 << 20);
    home.banger("kernel bundle mine -o mine.tar.zst").fails_with(4).says("--force replaces it");
    home.banger("kernel delete mine").ok();

    // A colleague's catalog.
    let catalog = home.root().join("catalog.json");
    let zero = "0".repeat(64);
    write_catalog(&catalog, &zero, &zero);
    let config = std::fs::read_to_string(home.root().join("config/banger/config.toml")).unwrap();
    home.configure(&format!(
        "{config}\n[[catalog]]\npath = {catalog:?}\n[[catalog]]\npath = \"/nonexistent.json\"\n"
    ));
    home.banger("daemon stop").ok();
    let available = home.banger("kernel list --available").ok();
    assert!(available.text().contains("theirs"), "{available}");
    available.says("catalog /nonexistent.json");
    home.banger("kernel pull theirs")
        .fails_with(4)
        .says(&format!("it has the SHA-256 {sha256}, and the catalog says 0000"));
    home.banger("image pull root")
        .fails_with(4)
        .says(&format!("it has the SHA-256 {image_sha256}, and the catalog says 0000"));
    assert_eq!(home.banger("kernel list -q").ok().text(), seed::KERNEL);
    assert_eq!(home.banger("image list -q").ok().text(), seed::MINIMAL);
    home.assert_no_residue();
    write_catalog(&catalog, &sha256, &image_sha256);
    // Had on the way, as any kernel of the catalog is.
    assert_eq!(uname(&home, "theirs", "root"), format!("{}\n1", root.release));
    let theirs = kernel(&home, "theirs");
    assert_eq!(
        (theirs.sha256, theirs.source),
        (mine.sha256, format!("bundle {}", home.root().join("mine.tar.zst").display()))
    );
    home.assert_no_residue();
}

#[test]
fn a_daemon_killed_during_an_import_or_a_bundle_leaves_nothing() {
    let home = Home::new();
    let root = Root::new(&home);
    home.banger("kernel import mine --from").args([&root.dir]).limit(LONG).ok();
    for (pause_ms, words) in
        [(30, "import other --from distribution"), (200, "import other --from distribution")]
            .into_iter()
            .chain([(60, "bundle mine -o out.tar.zst"), (400, "bundle mine -o out.tar.zst")])
    {
        let pid = home.daemon().pid;
        let running = home.banger(&format!("kernel {words}")).start();
        std::thread::sleep(Duration::from_millis(pause_ms));
        assert!(e2e::is_alive(pid));
        home.kill_daemon();
        let cut = running.finish(LONG);
        home.assert_no_residue();
        if cut.code == 0 {
            // Done before the kill, and whole then.
            match words.starts_with("import") {
                true => drop(home.banger("kernel delete other").ok()),
                false => std::fs::remove_file(home.root().join("out.tar.zst")).unwrap(),
            }
        }
        let listed = home.banger("kernel list -q").ok().text();
        assert_eq!(listed.lines().collect::<Vec<_>>(), [seed::KERNEL, "mine"], "{words}");
        let left: Vec<_> = std::fs::read_dir(home.root()).unwrap().flatten().map(|e| e.file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().contains("tar.zst")), "{left:?}");
        assert!(!left.iter().any(|name| name.to_string_lossy().contains("staging")), "{left:?}");
    }
}
