//! Layers that mean harm are refused, by name, and leave nothing.

use std::error::Error;

use super::fixture::{Layer, Meta, write_layers};
use super::{Ext4Error, build};

/// What building an image of these layers says.
fn refusal(layers: &[&Layer]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let layers: Vec<Vec<u8>> = layers.iter().map(|layer| layer.finish()).collect();
    let tars = write_layers(dir.path(), &layers);
    let image = dir.path().join("image");
    let error = build(&tars, &image).unwrap_err();
    assert!(!image.exists());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), layers.len());
    match &error {
        Ext4Error::Tar(source) => {
            assert!(error.source().is_some());
            source.to_string()
        }
        error => error.to_string(),
    }
}

fn file(path: impl AsRef<[u8]>) -> Layer {
    let mut layer = Layer::new();
    layer.file(path, &Meta::default(), b"x");
    layer
}

#[test]
fn names_that_no_system_has_are_refused() {
    assert!(refusal(&[&file("a\0b")]).contains("has a malformed name"));
    // A file whose name ends with a slash is a directory to every reader, so that one is not among them.
    for path in [".", "a/.."] {
        let said = refusal(&[&file(path)]);
        assert!(said.ends_with("below something that is no directory"), "{path}: {said}");
    }
    let said = refusal(&[&file("n".repeat(256))]);
    assert!(said.contains("longer name than Linux can hold"), "{said}");
}

#[test]
fn links_that_lead_nowhere_are_refused() {
    let mut layer = Layer::new();
    layer.link("link", "not-there");
    assert!(refusal(&[&layer]).ends_with("is not in the archive"));
    let mut removed = Layer::new();
    removed.link("link", "x").without("x");
    assert!(refusal(&[&file("x"), &removed]).ends_with("is not in the archive"));
    let mut too_long = Layer::new();
    too_long.symlink("link", "t".repeat(4096));
    assert!(refusal(&[&too_long]).contains(r#"entry "link" has a malformed link target"#));
}

#[test]
fn paths_through_symbolic_links_stay_in_the_image() {
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let mut layer = Layer::new();
    layer.symlink("out", outside.path().to_str().unwrap()).symlink("up", "../../../../../../tmp");
    layer.file("out/x", &Meta::default(), b"x").file("up/y", &Meta::default(), b"y");
    let image = dir.path().join("image");
    build(&write_layers(dir.path(), &[layer.finish()]), &image).unwrap();
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    let listing = super::listing::of_image(&image);
    assert!(listing.contains_key(&b"tmp/y"[..]));
    let mut looped = Layer::new();
    looped.symlink("a", "b").symlink("b", "a").file("a/x", &Meta::default(), b"");
    assert!(refusal(&[&looped]).ends_with("below something that is no directory"));
}

#[test]
fn what_ext4_cannot_hold_is_refused() {
    let mut layer = Layer::new();
    layer.file("d/f", &Meta::default().xattr("user.x", &[0; 5000]), b"");
    let said = refusal(&[&layer]);
    assert!(
        said.contains(r#""d/f" does not fit into an ext4 filesystem: its extended attributes"#),
        "{said}"
    );
    let mut layer = Layer::new();
    layer.file("f", &Meta::default(), b"");
    for index in 0..65_000 {
        layer.link(format!("{index}"), "f");
    }
    let said = refusal(&[&layer]);
    assert!(said.contains("it has more than 65000 names"), "{said}");
    let mut layer = Layer::new();
    layer.sparse("f", 17 << 40, &[]);
    let said = refusal(&[&layer]);
    assert!(said.contains("it is larger than 16 TiB"), "{said}");
}
