//! Archives of container images on their way to images.

use std::path::{Path, PathBuf};

use banger_api::ErrorCode;
use serde_json::json;

use super::tests::{Home, home};
use super::{ImageError, ImportRequest};
use crate::artifact::fake::{Tar, reported};
use crate::checksum::sha256;
use crate::store::ImageRow;

async fn import(home: &Home, path: &Path, tag: Option<&str>) -> Result<ImageRow, ImageError> {
    let (images, tag) = (home.images.clone(), tag.map(str::to_owned));
    let (name, path) = ("mine".into(), path.to_owned());
    let request = ImportRequest { name, path, in_place: false, tag, size_mib: Some(64), kernel: None };
    reported(move |reporter| async move { images.import(&request, &reporter).await }).await.0
}

/// A tar file of these files; what begins with `->` is a symbolic link.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_mtime(0);
        if let Some(target) = content.strip_prefix(b"->") {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            let target = std::str::from_utf8(target).unwrap();
            builder.append_link(&mut header, name, target).unwrap();
        } else {
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, name, *content).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

fn config(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<_> = layers.iter().map(|layer| format!("sha256:{}", sha256(layer))).collect();
    json!({ "rootfs": { "diff_ids": diff_ids }, "config": { "WorkingDir": "/srv" } }).to_string().into_bytes()
}

fn manifest(layers: &[&str]) -> Vec<u8> {
    json!([{ "Config": "c.json", "RepoTags": ["app:1"], "Layers": layers }]).to_string().into_bytes()
}

fn write(home: &Home, bytes: &[u8]) -> PathBuf {
    let path = home.dir.path().join("archive.tar");
    std::fs::write(&path, bytes).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn what_docker_saved_becomes_an_image_with_its_configuration() {
    let home = home(Tar::Whole);
    let layer = tar(&[("app", b"program")]);
    let config = config(&[&layer, &layer, b""]);
    let manifest = manifest(&["a.tar", "b/layer.tar", "empty.tar"]);
    let files: [(&str, &[u8]); 5] = [
        ("manifest.json", &manifest),
        ("c.json", &config),
        ("a.tar", &layer),
        ("b/layer.tar", b"->../a.tar"),
        ("empty.tar", b""),
    ];
    let row = import(&home, &write(&home, &tar(&files)), None).await.unwrap();
    assert_eq!(row.sha256, sha256(&config));
    assert_eq!(row.details.config.working_dir.as_deref(), Some("/srv"));
    assert_eq!(row.details.archived_as.as_deref(), Some("docker.io/library/app:1"));
    // It is the user's own, whatever it is called.
    assert_eq!((row.details.reference, row.details.blobs), (None, Vec::new()));
    let shown = home.images.show("mine").await.unwrap();
    assert_eq!(shown.reference.as_deref(), Some("docker.io/library/app:1"));
    // The file, and the record of what it is.
    assert_eq!(std::fs::read_dir(home.dir.path().join("images").join(&row.id)).unwrap().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_that_lie_leave_nothing() {
    let home = home(Tar::Whole);
    let layer = tar(&[("app", b"program")]);
    let config = config(&[&layer]);
    let other = tar(&[("app", b"another")]);
    let cases: [(&str, &[u8], &str); 4] = [
        ("a.tar", &other, "and the image says it is"),
        ("../../../../etc/hostname", &layer, "is not in it"),
        ("loop.tar", b"->loop.tar", "links lead nowhere"),
        ("", &layer, "is not in it"),
    ];
    for (name, content, words) in cases {
        let manifest = manifest(&[name]);
        let mut files: Vec<(&str, &[u8])> = vec![("manifest.json", &manifest), ("c.json", &config)];
        let name = if name.contains("..") || name.is_empty() { "x.tar" } else { name };
        files.push((name, content));
        let error = import(&home, &write(&home, &tar(&files)), None).await.unwrap_err();
        let mut text = error.to_string();
        let mut cause: &dyn std::error::Error = &error;
        while let Some(source) = cause.source() {
            text = format!("{text}: {source}");
            cause = source;
        }
        assert!(text.contains(words), "{name}: {text}");
        assert_eq!(home.artifacts(), [""; 0], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_archive_of_images_becomes_a_root_filesystem() {
    let home = home(Tar::Whole);
    let hex = sha256(b"");
    let layer = format!("{hex}/layer.tar");
    for files in [
        &[("oci-layout", &b"{}"[..])][..],
        &[("manifest.json", b"[]"), ("x.tar", b"")],
        &[("manifest.json", b"[]")],
        &[("manifest.json", b"{"), ("repositories", b"{}")],
        &[(&layer, b"")],
        &[("repositories", b"{}"), (&layer, b"")],
    ] {
        let error = import(&home, &write(&home, &tar(files)), None).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Refused, "{files:?}");
    }
    let root = write(&home, &tar(&[("bin/sh", b""), ("manifest.json", b"[]"), ("x.tar", b"")]));
    assert_eq!(import(&home, &root, Some("x")).await.unwrap_err().code(), ErrorCode::Usage);
    import(&home, &root, None).await.unwrap();
}
