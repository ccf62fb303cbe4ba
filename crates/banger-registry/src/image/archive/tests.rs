use std::cell::RefCell;
use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An archive in memory.
#[derive(Default)]
struct Archive(HashMap<String, Vec<u8>>);

impl Archive {
    fn put(&mut self, name: &str, content: impl ToString) {
        self.0.insert(name.into(), content.to_string().into_bytes());
    }

    fn blob(&mut self, media_type: &str, content: impl ToString) -> Value {
        let content = content.to_string();
        let digest = Digest::of(content.as_bytes());
        self.put(&format!("blobs/sha256/{}", digest.hex()), &content);
        json!({ "mediaType": media_type, "digest": digest.to_string(), "size": content.len() })
    }

    /// An image of one layer, as a layout has it.
    fn image(&mut self, layer: &str, architecture: &str) -> Value {
        let config = self.blob("application/vnd.oci.image.config.v1+json", config(&[layer], architecture));
        let layer = self.blob("application/vnd.oci.image.layer.v1.tar", layer);
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [layer] });
        let mut descriptor = self.blob(MANIFEST, manifest);
        descriptor["platform"] = json!({ "os": "linux", "architecture": architecture });
        descriptor
    }

    fn index(&mut self, entries: &[Value]) -> &mut Self {
        self.put("index.json", json!({ "schemaVersion": 2, "manifests": entries }));
        self
    }

    fn find(&self, tag: Option<&str>) -> Result<ArchivedImage, ArchiveError> {
        find_archived(&|name, _| Ok(self.0.get(name).cloned()), tag)
    }

    fn layer(&self, tag: Option<&str>) -> String {
        let image = self.find(tag).unwrap();
        String::from_utf8(self.0[&image.layers[0].file].clone()).unwrap()
    }

    fn refusal(&self, tag: Option<&str>) -> ArchiveError {
        self.find(tag).unwrap_err()
    }
}

fn config(layers: &[&str], architecture: &str) -> Value {
    let diff_ids: Vec<_> = layers.iter().map(|layer| Digest::of(layer.as_bytes()).to_string()).collect();
    json!({ "os": "linux", "architecture": architecture, "rootfs": { "diff_ids": diff_ids }, "config": { "Env": ["A=b"] } })
}

fn named(mut descriptor: Value, full: &str, name: &str) -> Value {
    descriptor.as_object_mut().unwrap().remove("platform");
    descriptor["annotations"] = json!({ oci::NAME: name });
    if !full.is_empty() {
        descriptor["annotations"][oci::FULL_NAME] = full.into();
    }
    descriptor
}

#[test]
fn a_layouts_only_image_needs_no_tag() {
    let mut archive = Archive::default();
    let image = archive.image("layer", "amd64");
    archive.index(std::slice::from_ref(&image));
    let found = archive.find(None).unwrap();
    assert_eq!((found.digest.to_string(), found.reference), (image["digest"].as_str().unwrap().into(), None));
    assert_eq!(found.config.env, ["A=b"]);
    assert_eq!(found.layers[0].size_bytes, Some(5));
    // What an index lists beside its images.
    let mut attestation = image.clone();
    attestation["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
    attestation["digest"] = Digest::of(b"lost").to_string().into();
    let mut signature = attestation.clone();
    signature.as_object_mut().unwrap().remove("platform");
    signature["artifactType"] = "application/vnd.dev.sigstore".into();
    archive.index(&[attestation, signature, image]);
    assert_eq!(archive.layer(None), "layer");
}

#[test]
fn of_several_one_is_chosen_by_any_of_its_names() {
    let mut archive = Archive::default();
    let (one, two) = (archive.image("one", "amd64"), archive.image("two", "amd64"));
    let digest = two["digest"].as_str().unwrap().to_owned();
    let entries = [
        named(one.clone(), "docker.io/library/app:1", "1"),
        named(one, "docker.io/library/app:first", "first"),
        named(two, "registry.example/team/app:2", "2"),
    ];
    archive.index(&entries);
    let error = archive.refusal(None).to_string();
    assert!(error.contains("docker.io/library/app:1 = docker.io/library/app:first, registry"), "{error}");
    for tag in ["1", "first", "app:1", "docker.io/library/app:first"] {
        assert_eq!(archive.layer(Some(tag)), "one", "{tag}");
    }
    for tag in ["2", "registry.example/team/app:2", &digest, &digest[7..]] {
        assert_eq!(archive.layer(Some(tag)), "two", "{tag}");
    }
    let reference = archive.find(Some("2")).unwrap().reference;
    assert_eq!(reference.as_deref(), Some("registry.example/team/app:2"));
    for tag in ["3", "app", "", "team/app:2", "sha256:"] {
        assert!(matches!(archive.refusal(Some(tag)), ArchiveError::NoSuchTag { .. }), "{tag}");
    }
}

#[test]
fn an_image_for_several_machines_is_one_image_and_may_lack_the_others() {
    let mut archive = Archive::default();
    let (ours, theirs) = (archive.image("ours", "amd64"), archive.image("theirs", "arm64"));
    let lost = json!({ "mediaType": MANIFEST, "digest": Digest::of(b"lost").to_string(), "size": 4,
        "platform": { "os": "linux", "architecture": "s390x" } });
    // Flat, and in an index of its own.
    archive.index(&[theirs.clone(), lost.clone(), ours.clone()]);
    assert_eq!(archive.layer(None), "ours");
    let inner = archive.blob(INDEX, json!({ "manifests": [theirs.clone(), lost, ours.clone()] }));
    archive.index(&[named(inner, "docker.io/library/app:1", "1")]);
    assert_eq!(archive.layer(Some("app:1")), "ours");
    assert_eq!(archive.layer(ours["digest"].as_str()), "ours");
    let hex = ours["digest"].as_str().unwrap().replace("sha256:", "blobs/sha256/");
    archive.0.remove(&hex);
    let error = archive.refusal(None);
    assert!(matches!(&error, ArchiveError::Missing { file, .. } if *file == hex), "{error}");
    archive.index(&[theirs]);
    let error = archive.refusal(None);
    assert!(
        matches!(&error, ArchiveError::WrongPlatform { offered } if offered == &["linux/arm64"]),
        "{error}"
    );
}

#[test]
fn what_is_not_what_its_digest_says_is_refused() {
    let mut archive = Archive::default();
    let image = archive.image("layer", "amd64");
    archive.index(std::slice::from_ref(&image));
    let file = image["digest"].as_str().unwrap().replace("sha256:", "blobs/sha256/");
    archive.0.get_mut(&file).unwrap().push(b' ');
    assert!(matches!(archive.refusal(None), ArchiveError::WrongDigest { .. }));
    let mut longer = Archive::default();
    let mut image = longer.image("layer", "amd64");
    image["size"] = 9.into();
    longer.index(&[image]);
    assert!(matches!(longer.refusal(None), ArchiveError::WrongSize { expected: 9, .. }));
}

#[test]
fn docker_s_form_is_read_with_all_its_oddities() {
    let mut archive = Archive::default();
    archive.put("sha256:c", config(&["layer"], "amd64"));
    archive.put("0/layer.tar", "layer");
    for tags in [json!(["app:1", "app:2"]), json!("app:1"), json!(null)] {
        archive.put(
            "manifest.json",
            json!([{ "Config": "sha256:c", "RepoTags": tags, "Layers": ["0/layer.tar"] }]),
        );
        assert_eq!(archive.layer(None), "layer");
    }
    archive.put(
        "manifest.json",
        json!([
            { "Config": "sha256:c", "RepoTags": ["app:1"], "Layers": ["0/layer.tar"] },
            { "Config": "none.json", "RepoTags": ["app:2"], "Layers": [] },
        ]),
    );
    assert_eq!(archive.find(Some("1")).unwrap().reference.as_deref(), Some("docker.io/library/app:1"));
    assert!(matches!(archive.refusal(None), ArchiveError::Several { .. }));
    assert!(matches!(archive.refusal(Some("2")), ArchiveError::Missing { .. }));
    let many = vec!["0/layer.tar"; 10_000];
    archive.put("manifest.json", json!([{ "Config": "sha256:c", "Layers": many }]));
    assert!(matches!(archive.refusal(None), ArchiveError::Image(ImageError::TooManyLayers { .. })));
    archive.put("manifest.json", json!([{ "Config": "sha256:c", "Layers": [] }]));
    assert!(matches!(archive.refusal(None), ArchiveError::Image(ImageError::LayerCount { .. })));
    // What Docker saves since version 25 has both, and builders of old an index with nothing in it.
    archive.put("index.json", json!({ "manifests": null }));
    archive.put("manifest.json", json!([{ "Config": "sha256:c", "Layers": ["0/layer.tar"] }]));
    assert_eq!(archive.layer(None), "layer");
}

#[test]
fn a_directory_of_skopeos_is_a_manifest_and_its_blobs() {
    let mut archive = Archive::default();
    let image = archive.image("layer", "amd64");
    let blobs: Vec<_> = archive.0.iter().map(|(name, bytes)| (name.clone(), bytes.clone())).collect();
    for (name, bytes) in blobs {
        archive.0.insert(name.replace("blobs/sha256/", ""), bytes);
    }
    let hex = image["digest"].as_str().unwrap().replace("sha256:", "");
    archive.0.insert("manifest.json".into(), archive.0[&hex].clone());
    archive.0.retain(|name, _| !name.starts_with("blobs/"));
    assert_eq!(archive.layer(None), "layer");
    assert!(matches!(archive.refusal(Some("x")), ArchiveError::NoSuchTag { .. }));
}

#[test]
fn damaged_archives_are_named_for_what_they_are() {
    let mut archive = Archive::default();
    assert!(matches!(archive.refusal(None), ArchiveError::Incomplete(_)));
    archive.put("repositories", "{}");
    assert!(matches!(archive.refusal(None), ArchiveError::Outdated));
    archive.put("oci-layout", "{}");
    assert!(matches!(archive.refusal(None), ArchiveError::Incomplete("index.json")));
    archive.put("index.json", "{");
    assert!(matches!(archive.refusal(None), ArchiveError::Image(ImageError::Json { .. })));
    archive.put("index.json", r#"{"manifests":[]}"#);
    assert!(matches!(archive.refusal(None), ArchiveError::Empty));
    let unreadable = |_: &str, _| Err("a device".into());
    assert!(matches!(find_archived(&unreadable, None), Err(ArchiveError::File { .. })));
}

proptest! {
    #[test]
    fn no_bytes_panic_nor_go_on_for_ever(bytes: Vec<u8>, text in "[\\[\\]{}\":,a-zA-Z0-9]{0,80}", tag in "\\PC{0,12}") {
        let reads = RefCell::new(0);
        for content in [&bytes[..], text.as_bytes()] {
            let read = |_: &str, _| {
                *reads.borrow_mut() += 1;
                Ok(Some(content.to_vec()))
            };
            let _ = find_archived(&read, Some(&tag));
            let _ = find_archived(&read, None);
        }
        prop_assert!(*reads.borrow() < 100);
    }
}
