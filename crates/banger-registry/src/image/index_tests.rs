use super::*;

fn entry(digest: &str, media_type: &str, platform: Option<(&str, &str, &str)>) -> Descriptor {
    let mut json = serde_json::json!({"mediaType": media_type, "digest": digest, "size": 2});
    if let Some((os, architecture, variant)) = platform {
        json["platform"] = serde_json::json!({"os": os, "architecture": architecture, "variant": variant});
    }
    serde_json::from_value(json).unwrap()
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn digest(n: u8) -> String {
    format!("sha256:{}", format!("{n:02x}").repeat(32))
}

fn image(n: u8, os: &str, architecture: &str, variant: &str) -> Descriptor {
    entry(&digest(n), MANIFEST, Some((os, architecture, variant)))
}

fn chosen(entries: Vec<Descriptor>) -> Vec<String> {
    let choice = choose(entries).unwrap();
    choice.candidates.iter().map(|entry| entry.digest().unwrap().to_string()).collect()
}

#[test]
fn the_entry_for_linux_amd64_is_found_among_others() {
    let others = || {
        vec![
            image(1, "linux", "arm64", "v8"),
            image(2, "windows", "amd64", ""),
            image(3, "unknown", "unknown", ""),
        ]
    };
    let mut with = others();
    with.push(image(4, "linux", "amd64", ""));
    assert_eq!(chosen(with), [digest(4)]);
    let choice = choose(others()).unwrap();
    assert_eq!(choice.candidates.len(), 0);
    assert_eq!(choice.offered, ["linux/arm64/v8", "windows/amd64"]);
}

#[test]
fn the_plainest_variant_is_taken() {
    let variants = |names: &[(u8, &str)]| names.iter().map(|(n, v)| image(*n, "linux", "amd64", v)).collect();
    assert_eq!(chosen(variants(&[(3, "v3"), (1, "v1"), (2, "v2")])), [digest(1)]);
    assert_eq!(chosen(variants(&[(3, "v3"), (9, "vX"), (2, "v2")])), [digest(2)]);
    assert_eq!(chosen(variants(&[(1, "v1"), (4, "")])), [digest(4)]);
}

#[test]
fn entries_that_do_not_say_are_looked_into_only_where_none_fits() {
    let bare = |n| entry(&digest(n), MANIFEST, None);
    assert_eq!(chosen(vec![bare(1), image(2, "linux", "x86_64", "")]), [digest(2)]);
    assert_eq!(chosen((1..=9).map(bare).collect()).len(), MAX_UNMARKED);
    let nested = entry(&digest(7), "application/vnd.docker.distribution.manifest.list.v2+json", None);
    assert_eq!(chosen(vec![nested]), [digest(7)]);
}

#[test]
fn an_index_without_images_is_refused() {
    assert!(matches!(choose(Vec::new()), Err(ImageError::EmptyIndex)));
    assert!(matches!(choose(vec![image(1, "unknown", "unknown", "")]), Err(ImageError::EmptyIndex)));
    let stranger = entry(&digest(1), "application/vnd.x\u{1b}", Some(("linux", "amd64", "")));
    let refused = choose(vec![stranger]).unwrap_err();
    assert!(matches!(&refused, ImageError::MediaType { .. }));
    assert!(!refused.to_string().contains('\u{1b}'));
}
