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
fn a_layers_media_type_does_not_matter_unless_it_is_none_of_a_tar() {
    for media_type in [
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd; charset=utf-8",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.container.image.rootfs.diff+x-gtar",
        "application/octet-stream",
        "",
    ] {
        let layer = layer(media_type).unwrap();
        assert_eq!((layer.is_foreign, layer.size_bytes, layer.digest.hex().as_str()), (false, 7, HEX));
    }
    for foreign in [
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    ] {
        assert!(layer(foreign).unwrap().is_foreign, "{foreign}");
    }
    let encrypted = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
    assert!(matches!(layer(encrypted), Err(ImageError::EncryptedLayer { .. })));
    for other in ["text/plain", "application/vnd.in-toto+json", "application/wasm"] {
        assert!(matches!(layer(other), Err(ImageError::UnknownLayer { .. })), "{other}");
    }
}

#[test]
fn whether_it_is_an_index_must_be_beyond_doubt_and_whose_kind_it_is_need_not() {
    let text = image_with(CONFIG, "application/vnd.oci.image.layer.v1.tar");
    let own = text.replacen('{', &format!("{{\"mediaType\":\"{OCI}\","), 1);
    let with_parameters = format!("{OCI}; charset=utf-8");
    let old = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    for good in [&text[..], &own] {
        let promises: [&[&str]; 9] = [
            &[OCI],
            &["application/json"],
            &["", "text/plain"],
            &[],
            &[OCI, OCI],
            &[OCI, DOCKER],
            &[DOCKER],
            &[&with_parameters],
            &[old],
        ];
        for promised in promises {
            assert!(matches!(read("it", good.as_bytes(), promised), Ok(Content::Image(_))), "{promised:?}");
        }
    }
    assert!(matches!(refusal(&own, &[LIST]), ImageError::MediaTypeDiffers { .. }));
    assert!(matches!(refusal(&text, &[LIST]), ImageError::Incomplete { field: "manifests", .. }));
    assert!(matches!(refusal(&text, &["application/vnd.cncf.helm"]), ImageError::MediaType { .. }));
}

#[test]
fn what_go_writes_for_nothing_is_nothing() {
    let config = format!(r#"{{"mediaType":"application/octet-stream","digest":"sha256:{HEX}","size":1}}"#);
    for layers in [r#","layers":null"#, r#","layers":[]"#, ""] {
        let text = format!(r#"{{"schemaVersion":2,"mediaType":"","config":{config}{layers}}}"#);
        let content = read("it", text.as_bytes(), &[]);
        assert!(matches!(content, Ok(Content::Image(image)) if image.layers.is_empty()), "{text}");
    }
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
