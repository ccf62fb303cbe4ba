use super::*;

fn paths(dir: &Path) -> Paths {
    Paths {
        config_file: dir.join("config.toml"),
        state: dir.join("state"),
        cache: dir.join("cache"),
        socket: dir.join("bangerd.sock"),
    }
}

fn find<'a>(report: &'a Report, name: &str) -> &'a Check {
    report.checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no {name} in {report:?}"))
}

#[tokio::test]
async fn a_fresh_home_is_fine_and_stays_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let report = run(&paths(dir.path())).await;
    for name in ["configuration", "state store", "default image", "default kernel", "leftovers"] {
        assert_eq!(find(&report, name).verdict, Verdict::Ok, "{:?}", find(&report, name));
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_bad_configuration_fails_with_its_place_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let paths = paths(dir.path());
    std::fs::write(&paths.config_file, "\nvmn = 1\n").unwrap();
    let report = run(&paths).await;
    let check = find(&report, "configuration");
    assert_eq!(check.verdict, Verdict::Fail);
    assert!(check.seen.ends_with("config.toml:2:1: unknown key `vmn`"), "{check:?}");
    assert_eq!(check.fix.as_deref(), Some("did you mean `vmm`?"));
    assert!(report.checks.len() > 8);
}

#[tokio::test]
async fn a_missing_qemu_names_its_package_and_a_wrong_setting_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = Host::look(&paths(dir.path()));
    host.config.qemu_bin.value = "/nonexistent/qemu-system-x86_64".into();
    let check = qemu::check(&host).await;
    assert_eq!(
        (check.verdict, check.fix.as_deref()),
        (Verdict::Fail, Some("sudo apt-get install qemu-system-x86"))
    );
    host.config.qemu_bin.origin = banger_api::config::Origin::Config;
    let check = qemu::check(&host).await;
    assert!(check.fix.unwrap().starts_with("correct `qemu_bin` in "));
}

#[tokio::test]
async fn a_broken_store_and_unknown_defaults_fail() {
    let dir = tempfile::tempdir().unwrap();
    let paths = paths(dir.path());
    std::fs::create_dir(&paths.state).unwrap();
    std::fs::write(paths.database(), "no database, but as long as one could be".repeat(100)).unwrap();
    std::fs::write(&paths.config_file, "default_image = \"debian-trixi\"\n").unwrap();
    let report = run(&paths).await;
    assert_eq!(find(&report, "state store").verdict, Verdict::Fail);
    assert_eq!(find(&report, "leftovers").verdict, Verdict::Warn);
    let image = find(&report, "default image");
    assert_eq!(image.verdict, Verdict::Fail);
    assert!(image.fix.as_ref().unwrap().contains("did you mean debian-trixie?"));
}

#[tokio::test]
async fn a_default_image_may_be_a_registrys() {
    let dir = tempfile::tempdir().unwrap();
    let paths = paths(dir.path());
    for has_store in [false, true] {
        if has_store {
            std::fs::create_dir(&paths.state).unwrap();
            drop(Store::open(&paths.database()).unwrap());
        }
        for (name, verdict, seen) in [
            (
                "alpine",
                Verdict::Ok,
                "alpine is not here yet; the first VM pulls it (docker.io/library/alpine:latest)",
            ),
            (
                "ghcr.io/o/app:2",
                Verdict::Ok,
                "ghcr.io/o/app:2 is not here yet; the first VM pulls it (ghcr.io/o/app:2)",
            ),
            (
                "debian-bookworm",
                Verdict::Ok,
                "debian-bookworm is not here yet; the first VM builds it (debian bookworm)",
            ),
            ("debian-trixi", Verdict::Fail, "there is no image \"debian-trixi\""),
        ] {
            std::fs::write(&paths.config_file, format!("default_image = {name:?}\n")).unwrap();
            let report = run(&paths).await;
            let image = find(&report, "default image");
            assert_eq!(image.verdict, verdict, "{image:?}");
            assert!(image.seen.starts_with(seen), "{image:?}");
        }
    }
}

#[tokio::test]
async fn directories_without_a_row_are_leftovers() {
    let dir = tempfile::tempdir().unwrap();
    let paths = paths(dir.path());
    std::fs::create_dir(&paths.state).unwrap();
    drop(Store::open(&paths.database()).unwrap());
    for path in
        [paths.vms().join("0123456789ab"), paths.images().join("ba9876543210"), paths.kernels().join("mine")]
    {
        std::fs::create_dir_all(path).unwrap();
    }
    let report = run(&paths).await;
    let check = find(&report, "leftovers");
    assert_eq!(check.verdict, Verdict::Warn);
    assert!(
        check.seen.contains("vms/0123456789ab") && check.seen.contains("images/ba9876543210"),
        "{check:?}"
    );
    assert!(!check.seen.contains("mine"));
    assert_eq!(find(&report, "state store").verdict, Verdict::Ok);
}

#[tokio::test]
async fn what_the_daemon_could_not_start_with_fails() {
    type Damage = fn(&Paths);
    let damages: [(Damage, &str, &str); 5] = [
        (
            |paths| std::os::unix::fs::symlink("/nowhere", paths.vms()).unwrap(),
            "directories",
            "vms is not a directory",
        ),
        (|paths| std::fs::create_dir(paths.log()).unwrap(), "directories", "bangerd.log is not a file"),
        (|paths| std::fs::write(paths.backups(), "").unwrap(), "directories", "backups is not a directory"),
        (
            |paths| std::os::unix::fs::symlink("/nowhere", paths.database()).unwrap(),
            "state store",
            "leads nowhere",
        ),
        (
            |paths| {
                rustix::fs::mknodat(
                    rustix::fs::CWD,
                    paths.database(),
                    rustix::fs::FileType::Fifo,
                    0o600.into(),
                    0,
                )
                .unwrap()
            },
            "state store",
            "FIFO",
        ),
    ];
    for (damage, check, words) in damages {
        let dir = tempfile::tempdir().unwrap();
        let paths = paths(dir.path());
        std::fs::create_dir(&paths.state).unwrap();
        damage(&paths);
        let report = run(&paths).await;
        let found = find(&report, check);
        assert!(found.verdict == Verdict::Fail && found.seen.contains(words), "{words}: {found:?}");
        assert!(found.fix.is_some(), "{found:?}");
    }
    // An empty file is a store that is yet to be made.
    let dir = tempfile::tempdir().unwrap();
    let paths = paths(dir.path());
    std::fs::create_dir(&paths.state).unwrap();
    std::fs::write(paths.database(), "").unwrap();
    assert_eq!(find(&run(&paths).await, "state store").verdict, Verdict::Ok);
}
