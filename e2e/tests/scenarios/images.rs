use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use banger_api::image::Image;
use e2e::{Access, Home, LayerTar, OciLayout, Packing, Registry};
use serde_json::json;

use super::registry::{bare_root, busybox};

/// A root filesystem of busybox alone, as a tarball.
fn tarball(home: &Home) -> PathBuf {
    let path = home.root().join("rootfs.tar");
    fs::write(&path, bare_root().finish()).unwrap();
    path
}

fn images(home: &Home) -> Vec<Image> {
    let listed = home.banger("image list --json").ok();
    serde_json::from_slice(&listed.out).unwrap_or_else(|error| panic!("{error} in {listed}"))
}

#[test]
fn a_tarball_of_any_compression_becomes_an_image() {
    let home = Home::new();
    let tar = tarball(&home);
    let path = tar.to_str().unwrap();
    home.banger("image import plain").args([path]).ok();
    for (tool, extension) in [("gzip", "gz"), ("zstd", "zst"), ("xz", "xz")] {
        let packed = format!("{path}.{extension}");
        assert!(e2e::tool(&[tool, "-k", path]).is_some_and(|(packed, _)| packed), "{tool}");
        home.banger("image import").args([tool, &packed]).ok();
        let whole = fs::read(&packed).unwrap();
        fs::write(&packed, &whole[..whole.len() / 2]).unwrap();
        home.banger("image import").args(["cut", &packed]).fails_with(1).says("cut off or damaged");
    }
    let digests: Vec<_> = images(&home).into_iter().map(|image| image.name).collect();
    assert_eq!(digests, ["debian-trixie-minimal", "gzip", "plain", "xz", "zstd"]);
    let run = home.banger("run --rm --image xz -- sh -c").args(["echo $((6 * 7))"]).ok();
    assert_eq!(run.text(), "42");
    home.banger("image import plain").args([path]).fails_with(4).says("already");
}

#[test]
fn an_ext4_file_is_copied_or_used_where_it_lies() {
    let home = Home::new();
    let tree = home.root().join("tree/bin");
    fs::create_dir_all(&tree).unwrap();
    fs::write(tree.join("busybox"), e2e::busybox()).unwrap();
    fs::set_permissions(tree.join("busybox"), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("busybox", tree.join("sh")).unwrap();
    let file = home.root().join("user.ext4").display().to_string();
    let source = home.root().join("tree").display().to_string();
    assert!(e2e::tool(&["mke2fs", "-q", "-t", "ext4", "-d", &source, &file, "64M"]).unwrap().0);

    home.banger("image import --in-place theirs").args([&file]).ok();
    home.banger("vm create --start --name x --image theirs").ok();
    home.sh("x", "echo kept > /file; sync");
    home.banger("vm stop x").ok();
    let digest = e2e::tool(&["sha256sum", &file]).unwrap().1;

    home.banger("image promote theirs").ok();
    assert_eq!(images(&home).iter().find(|image| image.name == "theirs").unwrap().in_place, None);
    fs::remove_file(&file).unwrap();
    home.banger("vm start x").ok();
    assert_eq!(home.sh("x", "cat /file"), "kept");
    let shown = home.banger("image show theirs").ok().text();
    assert!(shown.contains(digest.split(' ').next().unwrap()), "{shown}");
    home.banger("image delete theirs").fails_with(4).says("in use by x");
    home.banger("vm delete --force x").ok();
    home.banger("image delete theirs").ok();
}

#[test]
fn a_file_that_is_used_in_place_must_stay_as_it_was() {
    let home = Home::new();
    let file = home.root().join("user.ext4");
    let path = file.display().to_string();
    assert!(e2e::tool(&["mke2fs", "-q", "-t", "ext4", &path, "64M"]).unwrap().0);
    home.banger("image import --in-place theirs").args([&path]).ok();
    let later = std::time::SystemTime::now() + Duration::from_secs(3);
    fs::File::options().write(true).open(&file).unwrap().set_modified(later).unwrap();
    home.banger("run --rm --image theirs -- true").fails_with(125).says("not what it was");
    home.banger("image prune --force").ok();
    assert!(file.exists());
    home.banger("image delete theirs").ok();
    assert!(file.exists());
}

/// What the home keeps, and whether each image is whole.
fn is_sound(home: &Home) {
    let images = images(home);
    // Beside the directories lie the records of images that are used in place.
    let artifacts =
        fs::read_dir(home.state().join("images")).unwrap().flatten().filter(|entry| entry.path().is_dir());
    let artifacts: Vec<_> = artifacts.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let managed = images.iter().filter(|image| image.in_place.is_none()).count();
    assert!(images.iter().all(|image| image.local), "{images:?}");
    assert_eq!(artifacts.len(), managed, "{artifacts:?} for {images:?}");
}

/// Kills the daemon at many instants of each kind of work. Afterwards there is what was there before or what
/// was to come, and nothing else; and the same work can be done again.
#[test]
fn a_killed_daemon_leaves_the_old_or_the_new() {
    let home = Home::new();
    let layout = OciLayout::new(home.root().join("layout"));
    let registry = Registry::start(home.root().join("registry"), Access::Everybody);
    let noise: Vec<u8> = (0..20_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let tar = LayerTar::new().file("noise", 0o644, &noise).finish();
    let layers = [busybox(&layout, Packing::Gzip), layout.layer(&tar, Packing::Zstd)];
    layout.tag("x", &layout.image(&layers, json!({}), "amd64"));
    registry.push(&layout, "x", "x:1");
    let file = home.root().join("user.ext4");
    let path = file.display().to_string();
    assert!(e2e::tool(&["mke2fs", "-q", "-t", "ext4", &path, "64M"]).unwrap().0);
    let reference = registry.reference("x:1");
    let mine = home.root().join("mine.ext4").display().to_string();
    fs::copy(&file, &mine).unwrap();

    home.banger("image import --in-place mine").args([&mine]).ok();
    for (words, more) in [
        ("image pull --name pulled", Some(&reference)),
        ("image import imported", Some(&path)),
        ("image promote mine", None),
        ("image delete imported", None),
        ("image prune --force", None),
    ] {
        for delay_ms in [0, 5, 15, 40, 90, 160, 260] {
            // It is known to run.
            home.daemon();
            let work = home.banger(words).args(more).start();
            std::thread::sleep(Duration::from_millis(delay_ms));
            home.kill_daemon();
            work.finish(Duration::from_secs(20));
            is_sound(&home);
        }
        // A second time it may have been done already.
        home.banger(words).args(more).output();
        is_sound(&home);
        if words.starts_with("image pull") {
            home.banger("run --rm --image pulled -- sh -c true").ok();
        }
    }
    assert_eq!(images(&home).iter().map(|image| image.name.as_str()).collect::<Vec<_>>(), [""; 0]);
    assert!(file.exists(), "the user's own file");
}
