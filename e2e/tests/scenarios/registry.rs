use std::fs;
use std::path::Path;

use banger_api::image::Image;
use e2e::{Access, Home, LayerTar, OciLayer, OciLayout, Packing, Registry};
use serde_json::{Value, json};

/// busybox and nothing else.
pub(crate) fn bare_root() -> LayerTar {
    let tar = LayerTar::new().dir("bin/", 0o755).file("bin/busybox", 0o755, e2e::busybox());
    tar.symlink("bin/sh", "busybox")
}

/// A layer of that.
pub(crate) fn busybox(layout: &OciLayout, packing: Packing) -> OciLayer {
    layout.layer(&bare_root().finish(), packing)
}

fn layer(layout: &OciLayout, files: &[(&str, &str)], packing: Packing) -> OciLayer {
    let add = |tar: LayerTar, (path, content): &(&str, &str)| tar.file(path, 0o644, content);
    layout.layer(&files.iter().fold(LayerTar::new(), add).finish(), packing)
}

fn image(home: &Home, name: &str) -> Image {
    let shown = home.banger("image show --json").args([name]).ok();
    serde_json::from_slice(&shown.out).unwrap_or_else(|error| panic!("{error} in {shown}"))
}

fn layout(home: &Home) -> OciLayout {
    OciLayout::new(home.root().join("layout"))
}

fn registry(home: &Home) -> Registry {
    Registry::start(home.root().join("registry"), Access::Everybody)
}

/// What the home keeps of images: their directories, and unfinished ones.
fn artifacts(home: &Home) -> Vec<String> {
    names(&home.state().join("images"))
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A file of an image, without a VM.
fn content(home: &Home, name: &str, path: &str) -> String {
    let id = home.image_id(name);
    let file = home.state().join("images").join(id).join("rootfs.ext4").display().to_string();
    let (_, text) = e2e::tool(&["debugfs", "-R", &format!("cat {path}"), &file]).unwrap();
    text.lines().filter(|line| !line.starts_with("debugfs ")).collect::<Vec<_>>().join("\n")
}

#[test]
fn an_image_for_several_architectures_comes_by_tag_and_by_digest() {
    let home = Home::new();
    let (layout, registry) = (layout(&home), registry(&home));
    let base = busybox(&layout, Packing::Gzip);
    let ours = layer(&layout, &[("etc/which", "amd64\n")], Packing::Zstd);
    let foreign = layer(&layout, &[("etc/which", "arm64\n")], Packing::Plain);
    let config = json!({ "Env": ["GREETING=hello", "PATH=/bin"], "WorkingDir": "/srv", "Cmd": ["sh"] });
    let amd64 = layout.image(&[base.clone(), ours], config.clone(), "amd64");
    let arm64 = layout.image(&[base, foreign], config, "arm64");
    let index = layout.index(&[arm64.clone(), amd64.clone()]);
    layout.tag("both", &index);
    layout.tag("arm", &layout.index(&[arm64]));
    registry.push(&layout, "both", "app:1");
    registry.push(&layout, "arm", "app:arm");

    // Two at once do the work once.
    let reference = registry.reference("app:1");
    let pull = || home.banger("image pull").args([reference.as_str()]);
    let (first, second) = (pull().start(), pull().start());
    for pulled in [first, second] {
        assert_eq!(pulled.finish(std::time::Duration::from_secs(60)).text(), reference);
    }
    let mut downloads = registry.downloads();
    let all = downloads.len();
    downloads.sort();
    downloads.dedup();
    assert_eq!(downloads.len(), all, "a blob was downloaded twice: {downloads:?}");
    assert_eq!(content(&home, &reference, "/etc/which"), "amd64");

    // The second pull downloads nothing.
    pull().ok().says("is what the registry has");
    assert_eq!(registry.downloads().len(), all);
    let digest = index["digest"].as_str().unwrap();
    let pinned = registry.reference(&format!("app@{digest}"));
    home.banger("image pull").args([pinned.as_str(), "--name", "pinned"]).ok();
    assert_eq!(registry.downloads().len(), all);
    let shown = image(&home, "pinned");
    assert_eq!(shown.reference.as_deref(), Some(pinned.as_str()));
    assert_eq!(format!("sha256:{}", shown.sha256.unwrap()), amd64["digest"].as_str().unwrap());
    assert_eq!(shown.config.env, ["GREETING=hello", "PATH=/bin"]);

    let run = home.banger("run --rm --image pinned").args(["--", "sh", "-c", "echo $GREETING; pwd"]).ok();
    assert_eq!(run.text(), "hello\n/srv");

    let refused = home.banger("image pull").args([registry.reference("app:arm")]).fails_with(4);
    refused.says("linux/arm64");
    assert_eq!(artifacts(&home).len(), 3, "the seed's image and two of ours");
}

#[test]
fn a_private_registry_wants_credentials_and_nobody_else_learns_them() {
    let home = Home::new();
    let layout = layout(&home);
    let registry = Registry::start(home.root().join("registry"), Access::User);
    layout.tag("x", &layout.image(&[busybox(&layout, Packing::Gzip)], json!({}), "amd64"));
    registry.push(&layout, "x", "team/x:1");
    let reference = registry.reference("team/x:1");

    let denied = home.banger("image pull").args([reference.as_str()]).fails_with(1);
    denied.says("docker login");
    fs::create_dir(home.root().join(".docker")).unwrap();
    fs::write(home.root().join(".docker/config.json"), registry.docker_config()).unwrap();
    home.banger("image pull").args([reference.as_str()]).ok();
    let log = fs::read_to_string(home.state().join("bangerd.log")).unwrap();
    assert!(!log.contains("dXNlcjpwYXNzd29yZA") && !log.contains("user:password"), "{log}");
}

#[test]
fn a_certificate_must_be_vouched_for() {
    let home = Home::new();
    let layout = layout(&home);
    let registry = Registry::with_tls(home.root().join("registry"));
    layout.tag("x", &layout.image(&[busybox(&layout, Packing::Gzip)], json!({}), "amd64"));
    registry.push(&layout, "x", "x:1");
    let reference = registry.reference("x:1");

    home.banger("image pull").args([reference.as_str()]).fails_with(1).says("certificate");
    home.banger("image pull --insecure --name insecure").args([reference.as_str()]).ok();
    let pull = home.banger("image pull").args([reference.as_str()]);
    pull.env("SSL_CERT_FILE", registry.authority()).ok();
}

#[test]
fn the_network_is_that_of_the_shell_and_not_of_the_daemons() {
    let home = Home::new();
    let layout = layout(&home);
    let registry = Registry::start(home.root().join("registry"), Access::User);
    layout.tag("x", &layout.image(&[busybox(&layout, Packing::Gzip)], json!({}), "amd64"));
    registry.push(&layout, "x", "x:1");
    home.banger("daemon start").ok();
    let daemon = home.daemon().pid;

    // Nobody listens there.
    let pull = || home.banger("image pull registry.invalid/x");
    pull().env("HTTPS_PROXY", "http://127.0.0.1:1").fails_with(1).says("through the proxy 127.0.0.1:1");
    let direct = pull().fails_with(1);
    assert!(!direct.to_string().contains("the proxy 127"), "{direct}");
    pull().env("https_proxy", "ftp://x").fails_with(5).says("the proxy in `https_proxy` cannot be used");

    let pull = || home.banger("image pull").args([registry.reference("x:1")]);
    pull().fails_with(1).says("docker login");
    let elsewhere = home.root().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("config.json"), registry.docker_config()).unwrap();
    pull().env("DOCKER_CONFIG", &elsewhere).ok();
    // A VM's image comes the same way.
    home.banger("image delete").args([registry.reference("x:1")]).ok();
    let run = home.banger("run --rm --image").args([registry.reference("x:1")]);
    run.args(["--", "busybox", "true"]).env("DOCKER_CONFIG", &elsewhere).ok();
    assert_eq!(home.daemon().pid, daemon);
}

#[test]
fn a_tag_that_moved_replaces_the_image_but_not_under_a_vm() {
    let home = Home::new();
    let (layout, registry) = (layout(&home), registry(&home));
    let base = busybox(&layout, Packing::Gzip);
    for version in ["1", "2"] {
        let top = layer(&layout, &[("etc/version", &format!("{version}\n"))], Packing::Gzip);
        layout.tag(version, &layout.image(&[base.clone(), top], json!({}), "amd64"));
    }
    registry.push(&layout, "1", "app:latest");
    let name = registry.reference("app:latest");
    // Without its tag it is the same image.
    let bare = registry.reference("app");
    home.banger("run --name old --image").args([bare.as_str(), "--", "sh", "-c", "true"]).ok();
    registry.push(&layout, "2", "app:latest");
    home.banger("run --rm --image").args([bare.as_str(), "--", "sh", "-c", "grep 1 /etc/version"]).ok();

    home.banger("image pull").args([bare.as_str()]).ok();
    assert_eq!(content(&home, &name, "/etc/version"), "2");
    assert_eq!(home.sh("old", "cat /etc/version"), "1");
    home.banger("vm stop old").ok();
    home.banger("vm start old").ok();
    assert_eq!(home.sh("old", "cat /etc/version"), "1");

    let plan = home.banger("image prune --dry-run").ok().text();
    assert!(plan.contains(&format!("image {name} ")) && !plan.contains('@'), "{plan}");
    home.banger("vm delete --force old").ok();
    assert!(home.banger("image prune --dry-run").ok().text().contains(&format!("image {name}@")));
    home.banger("image prune").fails_with(2).says("--force");
    home.banger("image prune --force").ok();
    assert_eq!((artifacts(&home), names(&home.root().join("cache/banger/blobs/sha256"))), (vec![], vec![]));
}

#[test]
fn a_registry_that_lies_is_refused_and_leaves_nothing() {
    let home = Home::new();
    let (layout, registry) = (layout(&home), registry(&home));
    let before = artifacts(&home);
    let base = busybox(&layout, Packing::Gzip);
    layout.tag("x", &layout.image(std::slice::from_ref(&base), json!({}), "amd64"));
    for (name, spoil) in [
        ("digest", Box::new(|bytes: &mut Vec<u8>| bytes[1000] ^= 1) as Box<dyn Fn(&mut Vec<u8>)>),
        ("short", Box::new(|bytes: &mut Vec<u8>| bytes.truncate(5000))),
        ("long", Box::new(|bytes: &mut Vec<u8>| bytes.extend([0; 5000]))),
    ] {
        registry.push(&layout, "x", &format!("{name}:1"));
        let file = registry.blob_file(base.digest());
        let honest = fs::read(&file).unwrap();
        let mut bytes = honest.clone();
        spoil(&mut bytes);
        fs::write(&file, bytes).unwrap();
        let refused =
            home.banger("image pull").args([registry.reference(&format!("{name}:1"))]).fails_with(1);
        refused.says(base.digest());
        fs::write(&file, honest).unwrap();
        assert_eq!(artifacts(&home), before, "{name}");
        let cache = home.root().join("cache/banger");
        assert_eq!(names(&cache.join("partial")), [""; 0], "{name}");
        assert!(!cache.join("blobs").join(base.digest().replace(':', "/")).exists(), "{name}");
    }
    let pull = || home.banger("image pull --name x").args([registry.reference("digest:1")]);
    pull().ok();
    // A disk may lie as well.
    home.banger("image delete x").ok();
    let cached = home.root().join("cache/banger/blobs").join(base.digest().replace(':', "/"));
    let mut bytes = fs::read(&cached).unwrap();
    bytes[1000] ^= 1;
    fs::write(&cached, bytes).unwrap();
    pull().ok().says("downloaded again");
}

/// Images that mean harm: what they are, and a word of the refusal.
fn hostile(layout: &OciLayout) -> Vec<(&'static str, Value, &'static str)> {
    let of = |tar: LayerTar| {
        let layer = layout.layer(&tar.finish(), Packing::Gzip);
        layout.image(&[busybox(layout, Packing::Gzip), layer], json!({}), "amd64")
    };
    let bomb = LayerTar::new().file("zeros", 0o644, vec![0; 300 << 20]).finish();
    let bomb = layout.image(&[layout.layer(&bomb, Packing::Zstd)], json!({}), "amd64");
    let truncated = {
        let tar = LayerTar::new().file("file", 0o644, [7; 5000]).finish();
        layout.image(&[layout.layer(&tar[..3000], Packing::Gzip)], json!({}), "amd64")
    };
    vec![
        ("hardlink", of(LayerTar::new().hard_link("passwd", "../../etc/passwd")), "etc/passwd"),
        ("missing", of(LayerTar::new().hard_link("passwd", "etc/shadow")), "etc/shadow"),
        (
            "through",
            of(LayerTar::new().symlink("out", "../../tmp").hard_link("x", "out/banger-e2e-evil")),
            "banger-e2e-evil",
        ),
        ("bomb", bomb, "expands to more than"),
        ("truncated", truncated, "archive"),
    ]
}

/// Names that would lead out end at the image's root, as with umoci and Docker: what they are, and where the
/// file lies then.
const CONTAINED: &[(&str, &str, &str)] = &[
    ("absolute", "/etc/evil", "/etc/evil"),
    ("parent", "../../evil", "/evil"),
    ("hidden", "a/../../evil", "/evil"),
];

#[test]
fn hostile_images_are_refused_and_leave_nothing() {
    let home = Home::new();
    let (layout, registry) = (layout(&home), registry(&home));
    for (name, path, inside) in CONTAINED {
        let layer = layout.layer(&LayerTar::new().file(path, 0o644, "x").finish(), Packing::Gzip);
        layout.tag(name, &layout.image(&[busybox(&layout, Packing::Gzip), layer], json!({}), "amd64"));
        registry.push(&layout, name, &format!("{name}:1"));
        home.banger("image pull").args([&registry.reference(&format!("{name}:1")), "--name", name]).ok();
        let file = home.state().join("images").join(home.image_id(name)).join("rootfs.ext4");
        let (_, found) =
            e2e::tool(&["debugfs", "-R", &format!("stat {inside}"), file.to_str().unwrap()]).unwrap();
        assert!(found.contains("Type: regular"), "{name}: {found}");
        home.banger("image delete").args([name]).ok();
    }
    let before = artifacts(&home);
    for (name, image, word) in hostile(&layout) {
        layout.tag(name, &image);
        registry.push(&layout, name, &format!("{name}:1"));
        let refused =
            home.banger("image pull").args([registry.reference(&format!("{name}:1"))]).fails_with(1);
        refused.says(word);
        assert_eq!(artifacts(&home), before, "{name}");
    }
    // What is no image at all.
    let config = layout.blob("application/vnd.oci.empty.v1+json", b"{}");
    let artifact = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": [layout.blob("application/x-helm", b"chart")],
    });
    let artifact = layout.blob("application/vnd.oci.image.manifest.v1+json", artifact.to_string().as_bytes());
    layout.tag("artifact", &artifact);
    registry.push(&layout, "artifact", "artifact:1");
    home.banger("image pull")
        .args([registry.reference("artifact:1")])
        .fails_with(1)
        .says("not a container image");
    assert_eq!(artifacts(&home), before);
    // The host was not written to.
    assert!(!Path::new("/etc/evil").exists() && !Path::new("/tmp/banger-e2e-evil").exists());
}
