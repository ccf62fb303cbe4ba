//! Layers and OCI images made for tests.

use std::io::Write;
use std::path::{Path, PathBuf};

use banger_host::command::Command;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

/// What an entry says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Meta {
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    /// As in a PAX header.
    pub(crate) mtime: String,
    pub(crate) xattrs: Vec<(&'static str, Vec<u8>)>,
}

impl Default for Meta {
    fn default() -> Self {
        Self { mode: 0o644, uid: 0, gid: 0, mtime: "1700000000.5".into(), xattrs: Vec::new() }
    }
}

impl Meta {
    pub(crate) fn mode(mode: u32) -> Self {
        Self { mode, ..Self::default() }
    }

    pub(crate) fn owner(self, uid: u64, gid: u64) -> Self {
        Self { uid, gid, ..self }
    }

    pub(crate) fn mtime(self, mtime: &str) -> Self {
        Self { mtime: mtime.into(), ..self }
    }

    pub(crate) fn xattr(mut self, name: &'static str, value: &[u8]) -> Self {
        self.xattrs.push((name, value.to_vec()));
        self
    }
}

/// A layer's tar file in the making. Everything unusual stands in PAX headers, so that names may be any
/// bytes.
#[derive(Default)]
pub(crate) struct Layer {
    bytes: Vec<u8>,
}

impl Layer {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
    }

    fn entry(
        &mut self,
        kind: EntryType,
        path: &[u8],
        meta: &Meta,
        records: &[(String, Vec<u8>)],
        content: &[u8],
    ) {
        let mut pax =
            vec![("path".to_owned(), path.to_vec()), ("mtime".to_owned(), meta.mtime.clone().into())];
        pax.extend(meta.xattrs.iter().map(|(name, value)| (format!("SCHILY.xattr.{name}"), value.clone())));
        pax.extend_from_slice(records);
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_pax_extensions(pax.iter().map(|(key, value)| (&key[..], &value[..]))).unwrap();
        // Without the end mark that the builder adds.
        let extension = builder.into_inner().unwrap();
        self.bytes.extend_from_slice(&extension[..extension.len() - 1024]);
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_path("short").unwrap();
        header.set_mode(meta.mode);
        header.set_uid(meta.uid);
        header.set_gid(meta.gid);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        if let Some((_, numbers)) = records.iter().find(|(key, _)| key == "device") {
            header.set_device_major(u32::from(numbers[0])).unwrap();
            header.set_device_minor(u32::from(numbers[1])).unwrap();
        }
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    pub(crate) fn dir(&mut self, path: impl AsRef<[u8]>, meta: &Meta) -> &mut Self {
        self.entry(EntryType::Directory, path.as_ref(), meta, &[], b"");
        self
    }

    pub(crate) fn file(&mut self, path: impl AsRef<[u8]>, meta: &Meta, content: &[u8]) -> &mut Self {
        self.entry(EntryType::Regular, path.as_ref(), meta, &[], content);
        self
    }

    pub(crate) fn symlink(&mut self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> &mut Self {
        let records = [("linkpath".to_owned(), target.as_ref().to_vec())];
        self.entry(EntryType::Symlink, path.as_ref(), &Meta::mode(0o777), &records, b"");
        self
    }

    pub(crate) fn link(&mut self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> &mut Self {
        let records = [("linkpath".to_owned(), target.as_ref().to_vec())];
        // What the entry says counts for nothing: there is one file.
        self.entry(EntryType::Link, path.as_ref(), &Meta::mode(0).owner(9, 9), &records, b"");
        self
    }

    pub(crate) fn special(&mut self, kind: EntryType, path: &str, meta: &Meta, device: [u8; 2]) -> &mut Self {
        let records = [("device".to_owned(), device.to_vec())];
        self.entry(kind, path.as_ref(), meta, &records, b"");
        self
    }

    /// Format 0.1: the map in the header, the pieces one after the other.
    pub(crate) fn sparse(&mut self, path: &str, size: u64, pieces: &[(u64, &[u8])]) -> &mut Self {
        // As GNU tar does it: the end is a piece as well.
        let pieces = [pieces, &[(size, b"")]].concat();
        let map: Vec<String> = pieces.iter().map(|(at, bytes)| format!("{at},{}", bytes.len())).collect();
        let records = [
            ("GNU.sparse.size".to_owned(), size.to_string().into_bytes()),
            ("GNU.sparse.numblocks".to_owned(), pieces.len().to_string().into_bytes()),
            ("GNU.sparse.map".to_owned(), map.join(",").into_bytes()),
            ("GNU.sparse.name".to_owned(), path.into()),
        ];
        let content: Vec<u8> = pieces.iter().flat_map(|(_, bytes)| bytes.to_vec()).collect();
        self.entry(EntryType::Regular, path.as_ref(), &Meta::default(), &records, &content);
        self
    }

    /// Removes what a layer below has.
    pub(crate) fn without(&mut self, path: &str) -> &mut Self {
        let (parent, name) = path.rsplit_once('/').map_or(("", path), |(parent, name)| (parent, name));
        let slash = if parent.is_empty() { "" } else { "/" };
        self.file(format!("{parent}{slash}.wh.{name}"), &Meta::mode(0), b"")
    }

    pub(crate) fn opaque(&mut self, directory: &str) -> &mut Self {
        self.file(format!("{directory}/.wh..wh..opq"), &Meta::mode(0), b"")
    }

    pub(crate) fn finish(&self) -> Vec<u8> {
        [&self.bytes[..], &[0; 1024]].concat()
    }
}

pub(crate) fn write_layers(dir: &Path, layers: &[Vec<u8>]) -> Vec<PathBuf> {
    let write = |(index, bytes): (usize, &Vec<u8>)| {
        let path = dir.join(format!("{index}.tar"));
        std::fs::write(&path, bytes).unwrap();
        path
    };
    layers.iter().enumerate().map(write).collect()
}

fn digest(bytes: &[u8]) -> String {
    let hex = hex::encode(Sha256::digest(bytes));
    format!("sha256:{hex}")
}

/// An image's layer as a registry would have it.
pub(crate) struct Blob {
    pub(crate) path: PathBuf,
    pub(crate) diff_id: String,
}

/// An OCI image layout of these layers, for skopeo and umoci.
pub(crate) fn write_image(layout: &Path, layers: &[Vec<u8>]) -> Vec<Blob> {
    let blobs = layout.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8], kind: &str| -> (PathBuf, Value) {
        let digest = digest(bytes);
        let path = blobs.join(&digest["sha256:".len()..]);
        std::fs::write(&path, bytes).unwrap();
        let descriptor = json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest, "size": bytes.len(),
        });
        (path, descriptor)
    };
    let (mut made, mut descriptors) = (Vec::new(), Vec::new());
    for layer in layers {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(layer).unwrap();
        let (path, descriptor) = put(&encoder.finish().unwrap(), "layer.v1.tar+gzip");
        made.push(Blob { path, diff_id: digest(layer) });
        descriptors.push(descriptor);
    }
    let diff_ids: Vec<&String> = made.iter().map(|blob| &blob.diff_id).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {}, "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let (_, config) = put(config.to_string().as_bytes(), "config.v1+json");
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": descriptors });
    let (_, mut manifest) = put(manifest.to_string().as_bytes(), "manifest.v1+json");
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "test" });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    std::fs::write(layout.join("index.json"), index.to_string()).unwrap();
    std::fs::write(layout.join("oci-layout"), json!({ "imageLayoutVersion": "1.0.0" }).to_string()).unwrap();
    made
}

/// What umoci makes of an image, as root.
pub(crate) async fn umoci_unpack(layout: &Path, bundle: &Path) -> PathBuf {
    let image = format!("{}:test", layout.display());
    Command::new("umoci").args(["unpack", "--image", &image]).arg(bundle).run().await.unwrap();
    bundle.join("rootfs")
}
