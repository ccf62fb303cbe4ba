//! OCI layouts: blobs by their digest, and an index that names the images among them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::super::manifest::ImageManifest;
use super::super::search::{MAX_DOCUMENT_BYTES, Search};
use super::super::wire::{self, Descriptor};
use super::super::{ImageError, Layer, config, printable};
use super::tags::{Named, choose, reference};
use super::{ArchiveError, ArchivedImage, ArchivedLayer, Files};
use crate::digest::Digest;

/// What containerd and Docker write: the reference in full.
pub(super) const FULL_NAME: &str = "io.containerd.image.name";
/// What OCI has: mostly a tag alone.
pub(super) const NAME: &str = "org.opencontainers.image.ref.name";

/// `index.json`.
#[derive(Debug, Deserialize)]
struct TopIndex {
    #[serde(default, deserialize_with = "wire::null_is_default")]
    manifests: Vec<Descriptor>,
}

/// An image, or an index of one, by its names.
#[derive(Debug)]
struct Entry {
    /// More than one where the index holds one image for several machines without an index of its own.
    descriptors: Vec<Descriptor>,
    names: Vec<String>,
    digest: Digest,
}

impl Named for Entry {
    fn names(&self) -> &[String] {
        &self.names
    }

    fn digest(&self) -> String {
        self.digest.to_string()
    }
}

/// Where blobs lie.
#[derive(Clone, Copy, Debug)]
enum Layout {
    Blobs,
    /// In skopeo's directories.
    Flat,
}

impl Layout {
    fn blob(self, digest: &Digest) -> String {
        match self {
            Self::Blobs => format!("blobs/sha256/{}", digest.hex()),
            Self::Flat => digest.hex(),
        }
    }

    fn manifest(self, digest: &Digest) -> String {
        match self {
            Self::Blobs => self.blob(digest),
            Self::Flat => format!("{}.manifest.json", digest.hex()),
        }
    }
}

/// In an archive with this `index.json`.
pub(super) fn find(
    files: &Files<'_>,
    index: &[u8],
    tag: Option<&str>,
) -> Result<ArchivedImage, ArchiveError> {
    let index: TopIndex = wire::parse("its index.json", index)?;
    let mut search = Search::default();
    let reference = match choose(entries(index.manifests, tag)?, tag) {
        Ok(entry) => {
            search.offer(entry.descriptors)?;
            reference(&entry.names)
        }
        // One below an index, which has no name.
        Err(error @ ArchiveError::NoSuchTag { .. }) => {
            let digest = tag.and_then(|tag| tag.parse::<Digest>().ok());
            let Some(digest) = digest else { return Err(error) };
            let Some(bytes) = files.read(&Layout::Blobs.manifest(&digest), "its manifest")? else {
                return Err(error);
            };
            search.offer(vec![Descriptor::of(&digest, bytes.len() as u64)])?;
            None
        }
        Err(error) => return Err(error),
    };
    walk(files, Layout::Blobs, search, reference)
}

/// In a directory of skopeo's, whose `manifest.json` is the manifest or an index.
pub(super) fn find_flat(
    files: &Files<'_>,
    manifest: Vec<u8>,
    tag: Option<&str>,
) -> Result<ArchivedImage, ArchiveError> {
    let digest = Digest::of(&manifest);
    if let Some(tag) = tag.filter(|tag| *tag != digest.to_string()) {
        return Err(ArchiveError::NoSuchTag { tag: printable(tag, 200), images: vec![digest.to_string()] });
    }
    let mut search = Search::default();
    if let Some(image) = search.take(&manifest, digest, &[])? {
        let found = read_image(files, Layout::Flat, image, digest, None)?;
        return found.map_err(|platform| ArchiveError::WrongPlatform { offered: vec![platform] });
    }
    walk(files, Layout::Flat, search, None)
}

/// Reads what is offered until an image is among it.
fn walk(
    files: &Files<'_>,
    layout: Layout,
    mut search: Search,
    reference: Option<String>,
) -> Result<ArchivedImage, ArchiveError> {
    while let Some(descriptor) = search.next() {
        let (bytes, digest) = document(files, "its manifest", &descriptor, |digest| layout.manifest(digest))?;
        let Some(image) = search.take(&bytes, digest, &[&descriptor.media_type])? else { continue };
        match read_image(files, layout, image, digest, reference.clone())? {
            Ok(image) => return Ok(image),
            Err(platform) => search.pass_over(platform),
        }
    }
    Err(search.end().into())
}

/// The image, or what other platform it is for.
fn read_image(
    files: &Files<'_>,
    layout: Layout,
    image: ImageManifest,
    digest: Digest,
    reference: Option<String>,
) -> Result<Result<ArchivedImage, String>, ArchiveError> {
    let (bytes, _) = document(files, "its configuration", &image.config, |digest| layout.blob(digest))?;
    let checked = config::read(&bytes, image.layers.len())?;
    if let Some(platform) = checked.foreign {
        return Ok(Err(platform));
    }
    let layer = |Layer { digest, size_bytes, diff_id, .. }| ArchivedLayer {
        file: layout.blob(&digest),
        digest: Some(digest),
        size_bytes: Some(size_bytes),
        diff_id,
    };
    let layers = image.layers(checked.diff_ids).into_iter().map(layer).collect();
    Ok(Ok(ArchivedImage { digest, reference, config: checked.config, layers }))
}

/// A small blob that is what its descriptor says.
fn document(
    files: &Files<'_>,
    kind: &str,
    descriptor: &Descriptor,
    file: impl Fn(&Digest) -> String,
) -> Result<(Vec<u8>, Digest), ArchiveError> {
    let digest =
        descriptor.digest().map_err(|source| ImageError::Digest { what: kind.to_owned(), source })?;
    let what = format!("{kind} {digest}");
    let (size_bytes, limit_bytes) = (descriptor.size, MAX_DOCUMENT_BYTES);
    if size_bytes > limit_bytes {
        return Err(ImageError::TooLarge { what, size_bytes, limit_bytes }.into());
    }
    let bytes = files.checked(&file(&digest), what.clone(), digest)?;
    match bytes.len() as u64 {
        found if found != size_bytes => Err(ArchiveError::WrongSize { what, expected: size_bytes, found }),
        _ => Ok((bytes, digest)),
    }
}

/// What an index of a whole layout lists, by name. Several of one name are one image for several machines if
/// each says for which.
fn entries(descriptors: Vec<Descriptor>, tag: Option<&str>) -> Result<Vec<Entry>, ArchiveError> {
    let mut by_digest: BTreeMap<String, (Descriptor, Vec<String>)> = BTreeMap::new();
    for descriptor in descriptors.into_iter().filter(Descriptor::may_be_an_image) {
        let digest = descriptor
            .digest()
            .map_err(|source| ImageError::Digest { what: "its index.json".to_owned(), source })?;
        let names = names(&descriptor);
        let (_, known) = by_digest.entry(digest.to_string()).or_insert_with(|| (descriptor, Vec::new()));
        known.extend(names);
        known.sort();
        known.dedup();
    }
    let mut by_name: BTreeMap<Vec<String>, Vec<Descriptor>> = BTreeMap::new();
    for (descriptor, names) in by_digest.into_values() {
        by_name.entry(names).or_default().push(descriptor);
    }
    let mut entries = Vec::new();
    for (names, descriptors) in by_name {
        let alone = if are_one(&descriptors) { vec![descriptors] } else { singly(descriptors) };
        for descriptors in alone {
            let digest = descriptors[0]
                .digest()
                .map_err(|source| ImageError::Digest { what: "its index.json".to_owned(), source })?;
            entries.push(Entry { descriptors, names: names.clone(), digest });
        }
    }
    // Nobody can mean what cannot run.
    let may_run = |entry: &Entry| entry.descriptors.iter().any(|one| !one.is_foreign());
    if tag.is_none() && entries.iter().any(may_run) {
        entries.retain(may_run);
    }
    Ok(entries)
}

fn singly(descriptors: Vec<Descriptor>) -> Vec<Vec<Descriptor>> {
    descriptors.into_iter().map(|one| vec![one]).collect()
}

/// Is each for another platform?
fn are_one(descriptors: &[Descriptor]) -> bool {
    let platforms: BTreeSet<_> = descriptors.iter().filter_map(Descriptor::platform_words).collect();
    platforms.len() == descriptors.len()
}

/// What a layout calls an image: in full, and by its tag where that is not the end of the former.
fn names(descriptor: &Descriptor) -> Vec<String> {
    let annotation = |key| descriptor.annotations.get(key).filter(|name| !name.is_empty()).cloned();
    let (full, name) = (annotation(FULL_NAME), annotation(NAME));
    let is_told = |name: &String| full.as_ref().is_some_and(|full| full.ends_with(&format!(":{name}")));
    let name = name.filter(|name| !is_told(name));
    full.into_iter().chain(name).collect()
}
