use proptest::prelude::*;

use super::*;

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn image_with(config: &str, layer: &str) -> String {
    let descriptor = |kind: &str| format!(r#"{{"mediaType":"{kind}","digest":"sha256:{HEX}","size":7}}"#);
    format!(r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#, descriptor(config), descriptor(layer))
}

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

fn layer(media_type: &str) -> Result<LayerBlob, ImageError> {
    match read("it", image_with(CONFIG, media_type).as_bytes(), &[OCI])? {
        Content::Image(mut image) => Ok(image.layers.remove(0)),
        Content::Index(_) => panic!("an index"),
    }
}

fn refusal(text: &str, promised: &[&str]) -> ImageError {
    match read("it", text.as_bytes(), promised) {
        Ok(content) => panic!("{text} was taken for {content:?}"),
        Err(error) => error,
    }
}

#[test]
fn layers_are_known_by_their_media_type() {
    for (media_type, compression) in [
        ("application/vnd.oci.image.layer.v1.tar", Compression::None),
        ("application/vnd.oci.image.layer.v1.tar+gzip", Compression::Gzip),
        ("application/vnd.oci.image.layer.v1.tar+zstd", Compression::Zstd),
        ("application/vnd.docker.image.rootfs.diff.tar", Compression::None),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", Compression::Gzip),
        ("application/vnd.docker.image.rootfs.diff.tar.zstd", Compression::Zstd),
    ] {
        let layer = layer(media_type).unwrap();
        assert_eq!((layer.compression, layer.size_bytes, layer.digest.hex().as_str()), (compression, 7, HEX));
    }
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    assert!(matches!(layer(foreign), Err(ImageError::ForeignLayer { number: 1, .. })));
    let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    assert!(matches!(layer(foreign), Err(ImageError::ForeignLayer { .. })));
    let encrypted = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
    assert!(matches!(layer(encrypted), Err(ImageError::EncryptedLayer { .. })));
    assert!(matches!(layer("text/plain"), Err(ImageError::UnknownLayer { .. })));
}

#[test]
fn what_others_say_and_what_it_says_must_agree() {
    let text = image_with(CONFIG, "application/vnd.oci.image.layer.v1.tar");
    let own = text.replacen('{', &format!("{{\"mediaType\":\"{OCI}\","), 1);
    for good in [&text[..], &own] {
        for promised in [&[OCI][..], &["application/json"], &["", "text/plain"], &[], &[OCI, OCI]] {
            assert!(matches!(read("it", good.as_bytes(), promised), Ok(Content::Image(_))), "{promised:?}");
        }
    }
    assert!(matches!(refusal(&own, &[DOCKER]), ImageError::MediaTypeDiffers { .. }));
    assert!(matches!(refusal(&text, &[OCI, DOCKER]), ImageError::MediaTypeDiffers { .. }));
    assert!(matches!(refusal(&text, &[LIST]), ImageError::Incomplete { field: "manifests", .. }));
    assert!(matches!(refusal(&text, &["application/vnd.cncf.helm"]), ImageError::MediaType { .. }));
}

#[test]
fn an_index_is_known_by_its_type_or_its_form() {
    let list = r#"{"schemaVersion":2,"manifests":[]}"#;
    assert!(matches!(read("it", list.as_bytes(), &[LIST]), Ok(Content::Index(_))));
    assert!(matches!(read("it", list.as_bytes(), &["application/json"]), Ok(Content::Index(_))));
    assert!(matches!(refusal(list, &[OCI]), ImageError::Incomplete { field: "config", .. }));
}

#[test]
fn what_is_no_image_is_refused() {
    let both = image_with(CONFIG, "x").replacen('{', "{\"manifests\":[],", 1);
    assert!(matches!(refusal(&both, &[OCI]), ImageError::Ambiguous));
    let old = r#"{"schemaVersion":1,"fsLayers":[],"history":[]}"#;
    assert!(matches!(refusal(old, &[]), ImageError::SchemaOne));
    assert!(matches!(refusal(r#"{"fsLayers":[{}]}"#, &[]), ImageError::SchemaOne));
    let pretty = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    assert!(matches!(refusal("{}", &[pretty]), ImageError::SchemaOne));
    let chart = image_with("application/vnd.cncf.helm.config.v1+json", "x");
    assert!(matches!(refusal(&chart, &[OCI]), ImageError::Artifact(kind) if kind.contains("helm")));
    let sha512 = image_with(CONFIG, "application/vnd.oci.image.layer.v1.tar")
        .replace(&format!("sha256:{HEX}"), &format!("sha512:{HEX}{HEX}"));
    assert!(matches!(refusal(&sha512, &[OCI]), ImageError::Digest { .. }));
    for text in ["", "{", "[]", "null", "{}", "<html>", r#"{"layers":7}"#] {
        let error = refusal(text, &[OCI]);
        assert!(matches!(error, ImageError::Json { .. } | ImageError::Incomplete { .. }), "{text}: {error}");
    }
    let negative = image_with(CONFIG, "x").replace(":7}", ":-7}");
    assert!(matches!(refusal(&negative, &[OCI]), ImageError::Json { .. }));
}

#[test]
fn the_number_of_layers_is_bounded() {
    let one = r#"{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"x","size":1}"#;
    let many = vec![one; MAX_LAYERS + 1].join(",");
    let text = format!(r#"{{"config":{{"mediaType":"{CONFIG}","digest":"x","size":1}},"layers":[{many}]}}"#);
    assert!(matches!(refusal(&text, &[OCI]), ImageError::TooManyLayers { .. }));
    let deep = "[".repeat(100_000);
    assert!(matches!(refusal(&format!("{{\"layers\":{deep}"), &[OCI]), ImageError::Json { .. }));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, text in "[\\[\\]{}\":,a-z0-9]{0,80}", kind in "\\PC{0,30}") {
        let _ = read("it", &bytes, &[&kind]);
        let _ = read("it", text.as_bytes(), &[OCI]);
        let _ = layer(&kind.replace(['"', '\\'], ""));
    }
}
