//! From a reference to an image, with registries that are right, wrong, or up to something.

use banger_registry::{Digest, ImageError, RegistryError};
use serde_json::{Value, json};

use crate::bench::{Bench, app, shown};
use crate::images::{Content, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, descriptor, noise};
use crate::server::{Reply, Server};

fn entry(manifest: &[u8], os: &str, architecture: &str) -> Value {
    let mut entry = descriptor(OCI_MANIFEST, manifest);
    entry["platform"] = json!({"os": os, "architecture": architecture});
    entry
}

fn index(entries: &[Value]) -> Vec<u8> {
    json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).to_string().into_bytes()
}

async fn serving(content: Content) -> Server {
    Server::start(move |request| content.reply(request)).await
}

async fn refusal(content: Content) -> String {
    let server = serving(content).await;
    shown(&Bench::new().resolve(&app(&server)).await.unwrap_err())
}

/// The tag `1` is this document.
async fn tagged(media_type: &str, text: &[u8]) -> String {
    let mut content = Content::default();
    content.tag("1", media_type, text);
    refusal(content).await
}

#[tokio::test]
async fn an_index_leads_to_the_image_for_this_machine() {
    let mut content = Content::default();
    let (ours, theirs) =
        (content.add_image("amd64", &[noise(1, 100)]), content.add_image("arm64", &[noise(2, 100)]));
    content.add_manifest(OCI_MANIFEST, &ours);
    content.add_manifest(OCI_MANIFEST, &theirs);
    let list = index(&[
        entry(&theirs, "linux", "arm64"),
        entry(&noise(3, 10), "unknown", "unknown"),
        entry(&ours, "linux", "amd64"),
    ]);
    content.tag("1", OCI_INDEX, &list);
    let nested = index(&[descriptor(OCI_INDEX, &list)]);
    content.add_manifest(OCI_INDEX, &list);
    content.tag("nested", OCI_INDEX, &nested);
    content.tag(
        "arm",
        OCI_INDEX,
        &index(&[entry(&theirs, "linux", "arm64"), entry(&theirs, "linux", "s390x")]),
    );
    content.tag("lie", OCI_INDEX, &index(&[entry(&theirs, "linux", "amd64")]));
    content.tag("direct", OCI_MANIFEST, &theirs);
    let server = serving(content).await;

    let bench = Bench::new();
    let image = bench.resolve(&app(&server)).await.unwrap();
    assert_eq!((image.digest, image.index_digest), (Digest::of(&ours), Some(Digest::of(&list))));
    assert_eq!(
        (image.layers[0].digest, image.layers[0].diff_id),
        (Digest::of(&noise(1, 100)), Digest::of(&noise(1, 100)))
    );
    let at = |rest: &str| format!("{}/team/app{rest}", server.address);
    let by_digest = bench.resolve(&at(&format!("@{}", Digest::of(&list)))).await.unwrap();
    assert_eq!(by_digest.digest, image.digest);
    let pinned = bench.resolve(&at(&format!(":wrong@{}", image.digest))).await.unwrap();
    assert_eq!((pinned.digest, pinned.index_digest), (image.digest, None));
    let nested = bench.resolve(&at(":nested")).await.unwrap();
    assert_eq!(nested.digest, image.digest);

    for (tag, offered) in [
        (":arm", "it is for linux/arm64, linux/s390x"),
        (":lie", "it is for linux/arm64"),
        (":direct", "it is for linux/arm64"),
    ] {
        let error = bench.resolve(&at(tag)).await.unwrap_err();
        assert!(matches!(error, RegistryError::WrongPlatform { .. }), "{}", shown(&error));
        assert!(shown(&error).contains(offered), "{}", shown(&error));
    }
}

#[tokio::test]
async fn indexes_in_indexes_come_to_an_end() {
    let mut content = Content::default();
    let mut inner = index(&[]);
    for _ in 0..6 {
        content.add_manifest(OCI_INDEX, &inner);
        inner = index(&[descriptor(OCI_INDEX, &inner)]);
    }
    content.tag("1", OCI_INDEX, &inner);
    assert!(refusal(content).await.contains("nested more than 3 deep"));

    let mut wide = Content::default();
    let mut level = vec![index(&[])];
    for depth in 0..2 {
        let entries: Vec<Value> = level.iter().map(|inner| descriptor(OCI_INDEX, inner)).collect();
        for inner in &level {
            wide.add_manifest(OCI_INDEX, inner);
        }
        level = (0..4)
            .map(|n| {
                json!({"manifests": entries, "annotations": {"n": format!("{depth}.{n}")}})
                    .to_string()
                    .into_bytes()
            })
            .collect();
    }
    wide.tag("1", OCI_INDEX, &level[0]);
    let server = serving(wide).await;
    assert!(Bench::new().resolve(&app(&server)).await.is_err());
    assert!(server.requests().len() < 20, "{}", server.requests().len());
}

#[tokio::test]
async fn content_must_be_what_its_name_says() {
    let manifest = Content::default().add_image("amd64", &[noise(1, 9)]);
    let named = Digest::of(b"something else");
    let mut content = Content::default();
    content.tag(&named.to_string(), OCI_MANIFEST, &manifest);
    let server = serving(content).await;
    let bench = Bench::new();
    let error = bench.resolve(&format!("{}/team/app@{named}", server.address)).await.unwrap_err();
    assert!(matches!(error, RegistryError::WrongDigest { .. }), "{}", shown(&error));

    let lying = manifest.clone();
    let server = Server::start(move |_| {
        let reply = Reply::new(200, lying.clone()).with("Content-Type", OCI_MANIFEST);
        reply.with("Docker-Content-Digest", &named.to_string())
    })
    .await;
    let error = bench.resolve(&app(&server)).await.unwrap_err();
    assert!(matches!(error, RegistryError::WrongDigest { .. }), "{}", shown(&error));

    let mut content = Content::default();
    content.add_manifest(OCI_MANIFEST, &manifest);
    let mut bigger = entry(&manifest, "linux", "amd64");
    bigger["size"] = json!(manifest.len() + 1);
    content.tag("1", OCI_INDEX, &index(&[bigger]));
    let server = serving(content).await;
    let error = bench.resolve(&app(&server)).await.unwrap_err();
    assert!(matches!(error, RegistryError::WrongSize { .. }), "{}", shown(&error));
    assert_eq!(bench.files("partial"), [] as [std::path::PathBuf; 0]);
}

#[tokio::test]
async fn documents_are_bounded() {
    let huge = vec![b' '; 5 << 20];
    assert!(tagged(OCI_MANIFEST, &huge).await.contains("larger than the 4194304 bytes"));
    let endless = Server::start(|request| match request.path.as_str() {
        "/v2/" => Reply::new(200, ""),
        _ => Reply::new(200, vec![b' '; 1 << 20]).endless(),
    })
    .await;
    let error = Bench::new().resolve(&app(&endless)).await.unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{}", shown(&error));
    assert!(endless.served_bytes() < 32 << 20);
    let config = json!({"mediaType": OCI_CONFIG, "digest": Digest::of(b"").to_string(), "size": 1u64 << 40});
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": []}).to_string();
    assert!(tagged(OCI_MANIFEST, manifest.as_bytes()).await.contains("1099511627776 bytes, more than"));
}

#[tokio::test]
async fn what_is_no_image_is_refused_by_name() {
    for (media_type, text, said) in [
        ("text/html", "<html>", "not the JSON that it should be (line 1, column 1)"),
        (OCI_MANIFEST, "{}", "has no `config`"),
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", "{}", "schema 1"),
        ("application/vnd.oci.artifact.manifest.v1+json", "{}", "is none of an image"),
        (OCI_INDEX, r#"{"manifests":[]}"#, "lists no image at all"),
        (
            OCI_MANIFEST,
            r#"{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#,
            "says itself",
        ),
    ] {
        let text = tagged(media_type, text.as_bytes()).await;
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[tokio::test]
async fn a_configuration_must_fit_its_layers() {
    let mut content = Content::image(&[noise(1, 9)]);
    let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": []}}).to_string();
    content.add_blob(config.as_bytes());
    let manifest = json!({
        "config": descriptor(OCI_CONFIG, config.as_bytes()), "layers": [descriptor(OCI_LAYER, b"x")],
    });
    content.tag("1", OCI_MANIFEST, manifest.to_string().as_bytes());
    let server = serving(content).await;
    match Bench::new().resolve(&app(&server)).await.unwrap_err() {
        RegistryError::Image { source, .. } => {
            assert!(matches!(*source, ImageError::LayerCount { layers: 1, diff_ids: 0 }));
        }
        other => panic!("{}", shown(&other)),
    }
}

#[tokio::test]
async fn an_unknown_name_says_who_was_asked_for_what() {
    let server = serving(Content::default()).await;
    let error = Bench::new().resolve(&app(&server)).await.unwrap_err();
    let expected = format!(
        "asked {0} for the manifest of {0}/team/app:1, and it is not there (HTTP status 404: nobody knows it)",
        server.address
    );
    assert_eq!(error.to_string(), expected);
    assert_eq!(error.hint().as_deref(), Some("check the name and the tag"));
}

#[tokio::test]
async fn nobody_at_home_is_told_at_once() {
    let address = Server::start(|_| Reply::new(200, "")).await.address;
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let error = Bench::new().resolve(&format!("{address}/x")).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{}", shown(&error));
    assert!(shown(&error).contains("refused"), "{}", shown(&error));
}

#[tokio::test]
async fn an_impossible_host_is_told_as_such() {
    let error = Bench::new().resolve("1.2.3.999/x").await.unwrap_err();
    assert!(error.to_string().contains("there can be no such host"), "{}", shown(&error));
}
