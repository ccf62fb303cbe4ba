//! Container images in files: as `docker save`, `podman save`, skopeo and umoci write them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use banger_api::image::Image;
use e2e::{Home, LayerTar, OciLayout, Packing};
use serde_json::{Value, json};

use super::registry::busybox;

fn skopeo(from: &str, to: &str) {
    let argv = ["skopeo", "--insecure-policy", "copy", "--quiet", from, to];
    let (copied, said) = e2e::tool(&argv).expect("skopeo is installed (scripts/setup test)");
    assert!(copied, "{argv:?}: {said}");
}

fn image(home: &Home, name: &str) -> Image {
    let shown = home.banger("image show --json").args([name]).ok();
    serde_json::from_slice(&shown.out).unwrap_or_else(|error| panic!("{error} in {shown}"))
}

fn is_there(home: &Home, name: &str, path: &str) -> bool {
    let file = home.state().join("images").join(home.image_id(name)).join("rootfs.ext4");
    let (_, text) = e2e::tool(&["debugfs", "-R", &format!("stat {path}"), file.to_str().unwrap()]).unwrap();
    text.contains("Type: regular")
}

fn artifacts(home: &Home) -> usize {
    fs::read_dir(home.state().join("images")).unwrap().count()
}

fn pack(directory: &Path, file: &Path) {
    let (directory, file) = (directory.to_str().unwrap(), file.to_str().unwrap());
    assert!(e2e::tool(&["tar", "-C", directory, "-cf", file, "."]).unwrap().0);
}

/// A layout with an image of two layers by the tag `app`, whose names are as `ko` writes them.
fn layout(home: &Home) -> OciLayout {
    let layout = OciLayout::new(home.root().join("layout"));
    let program = "#!/bin/sh\necho $GREETING from $PWD\n";
    let app = LayerTar::new().dir("/ko-app", 0o755).file("/ko-app/app", 0o755, program);
    let layers = [busybox(&layout, Packing::Gzip), layout.layer(&app.finish(), Packing::Gzip)];
    let config = json!({ "Env": ["GREETING=hello", "PATH=/bin"], "WorkingDir": "/srv", "Cmd": ["sh"] });
    layout.tag("app", &layout.image(&layers, config, "amd64"));
    layout
}

#[test]
fn archives_of_every_form_become_images_and_one_boots() {
    let home = Home::new();
    let layout = layout(&home);
    let root = home.root().to_owned();
    let file = |name: &str| root.join(name).display().to_string();
    let from = format!("oci:{}:app", layout.dir().display());
    skopeo(&from, &format!("docker-archive:{}:team/app:1", file("docker.tar")));
    skopeo(&from, &format!("oci-archive:{}:app", file("oci.tar")));
    skopeo(&from, &format!("dir:{}", file("dir")));
    skopeo(&from, &format!("oci:{}:app", file("copied")));
    assert!(e2e::tool(&["tar", "-C", &file(""), "-cf", &file("wrapped.tar"), "copied"]).unwrap().0);
    for (tool, from) in [("gzip", "docker.tar"), ("zstd", "oci.tar"), ("xz", "docker.tar")] {
        assert!(e2e::tool(&[tool, "-k", &file(from)]).unwrap().0, "{tool}");
    }
    let tars = ["docker.tar", "oci.tar", "wrapped.tar", "docker.tar.gz", "oci.tar.zst", "docker.tar.xz"];
    let forms = tars.into_iter().chain(["dir", "copied"]);
    for form in forms.clone() {
        let name = form.replace('.', "-");
        home.banger("image import").args([&name, &file(form)]).ok();
        let shown = image(&home, &name);
        assert_eq!(shown.config.env, ["GREETING=hello", "PATH=/bin"], "{form}");
        assert_eq!(shown.source, file(form));
        assert!(is_there(&home, &name, "/ko-app/app") && is_there(&home, &name, "/bin/busybox"), "{form}");
    }
    assert_eq!(image(&home, "docker-tar").reference.as_deref(), Some("docker.io/team/app:1"));
    // One image by whatever way.
    assert_eq!(image(&home, "copied").sha256, image(&home, "oci-tar").sha256);

    let run = home.banger("run --rm --image docker-tar -- /ko-app/app").ok();
    assert_eq!(run.text(), "hello from /srv");
    for form in ["copied", "oci.tar"] {
        home.banger("image import --in-place x").args([file(form)]).fails_with(2).says("in place");
    }
    assert_eq!(artifacts(&home), forms.count() + 1);
}

#[test]
fn of_several_images_one_is_chosen_and_damaged_archives_leave_nothing() {
    let home = Home::new();
    let layout = layout(&home);
    let other = layout.layer(&LayerTar::new().file("other", 0o644, "x").finish(), Packing::Plain);
    layout.tag("other", &layout.image(std::slice::from_ref(&other), json!({}), "amd64"));
    layout.tag("arm", &layout.image(std::slice::from_ref(&other), json!({ "Cmd": ["x"] }), "arm64"));
    let directory = layout.dir().display().to_string();
    let several = home.banger("image import x").args([&directory]).fails_with(2);
    several.says("several images: ");
    several.says("other");
    several.says("--tag");
    home.banger("image import x --tag third").args([&directory]).fails_with(2).says("other");
    home.banger("image import x --tag arm").args([&directory]).fails_with(4).says("linux/arm64");
    home.banger("image import other --tag other").args([&directory]).ok();
    assert!(is_there(&home, "other", "/other"));
    let before = artifacts(&home);

    let tar = home.root().join("damaged.tar");
    let refuses = |words: &str| {
        pack(layout.dir(), &tar);
        for from in [tar.display().to_string(), directory.clone()] {
            let refused = home.banger("image import x --tag other").args([&from]).fails_with(4);
            refused.says(words);
        }
        assert_eq!(artifacts(&home), before);
    };
    let blob = layout.dir().join("blobs/sha256").join(other.digest().trim_start_matches("sha256:"));
    let whole = fs::read(&blob).unwrap();
    fs::remove_file(&blob).unwrap();
    refuses(other.digest());
    fs::write(&blob, &whole[1..]).unwrap();
    refuses("bytes");
    fs::remove_file(&blob).unwrap();
    assert!(e2e::tool(&["mkfifo", blob.to_str().unwrap()]).unwrap().0);
    refuses("not a file");
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, whole).unwrap();
    fs::remove_file(layout.dir().join("index.json")).unwrap();
    refuses("index.json");
    assert_eq!(home.banger("image list --quiet").ok().text().lines().count(), 2);
}

/// An import that is cut off at any instant leaves nothing, and can be done again.
#[test]
fn a_killed_daemon_leaves_nothing_of_an_archive() {
    let home = Home::new();
    let layout = OciLayout::new(home.root().join("layout"));
    let noise: Vec<u8> = (0..20_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let tar = LayerTar::new().file("noise", 0o644, &noise).finish();
    let layers = [busybox(&layout, Packing::Gzip), layout.layer(&tar, Packing::Zstd)];
    layout.tag("x", &layout.image(&layers, json!({}), "amd64"));
    let archive: PathBuf = home.root().join("archive.tar");
    pack(layout.dir(), &archive);
    let path = archive.to_str().unwrap();
    let before = artifacts(&home);
    for delay_ms in [0, 5, 15, 40, 90, 160, 260] {
        home.banger("daemon start").ok();
        let import = home.banger("image import x").args([path]).start();
        std::thread::sleep(Duration::from_millis(delay_ms));
        home.kill_daemon();
        import.finish(Duration::from_secs(20));
        let listed = home.banger("image list --json").ok();
        let images: Vec<Value> = serde_json::from_slice(&listed.out).unwrap();
        assert_eq!(artifacts(&home), images.len());
        if images.len() > before {
            home.banger("image delete x").ok();
        }
    }
    home.banger("image import x").args([path]).ok();
    assert!(is_there(&home, "x", "/noise"));
}
