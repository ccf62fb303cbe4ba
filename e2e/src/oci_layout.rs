use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// How a layer is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// An OCI image layout in a directory: images of any shape, put together by hand.
pub struct OciLayout {
    dir: PathBuf,
}

/// A layer that lies in the layout.
#[derive(Clone, Debug)]
pub struct OciLayer {
    descriptor: Value,
    diff_id: String,
}

impl OciLayer {
    /// `sha256:...` of its blob.
    pub fn digest(&self) -> &str {
        self.descriptor["digest"].as_str().unwrap_or_default()
    }
}

impl OciLayout {
    /// # Panics
    ///
    /// When the directory cannot be made.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        fs::create_dir_all(dir.join("blobs/sha256")).expect("a directory for blobs");
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("a layout file");
        fs::write(dir.join("index.json"), json!({ "schemaVersion": 2, "manifests": [] }).to_string())
            .expect("an index");
        Self { dir }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Stores bytes under their digest; answers a descriptor of them.
    ///
    /// # Panics
    ///
    /// When they cannot be written.
    pub fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let hex = hex::encode(Sha256::digest(bytes));
        fs::write(self.dir.join("blobs/sha256").join(&hex), bytes).expect("a blob");
        json!({ "mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len() })
    }

    /// A layer of a finished tar.
    ///
    /// # Panics
    ///
    /// When it cannot be compressed or written.
    pub fn layer(&self, tar: &[u8], packing: Packing) -> OciLayer {
        let diff_id = format!("sha256:{}", hex::encode(Sha256::digest(tar)));
        let descriptor = match packing {
            Packing::Plain => self.blob(LAYER, tar),
            Packing::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(tar).expect("gzip takes all");
                self.blob(&format!("{LAYER}+gzip"), &encoder.finish().expect("gzip ends"))
            }
            Packing::Zstd => {
                self.blob(&format!("{LAYER}+zstd"), &zstd::encode_all(tar, 3).expect("zstd takes all"))
            }
        };
        OciLayer { descriptor, diff_id }
    }

    /// An image for `architecture` of these layers, lowest first; `config` is what `docker inspect` shows as
    /// `Config`.
    pub fn image(&self, layers: &[OciLayer], config: Value, architecture: &str) -> Value {
        let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        let config = json!({
            "architecture": architecture, "os": "linux", "config": config,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = self.blob(CONFIG, config.to_string().as_bytes());
        let layers: Vec<&Value> = layers.iter().map(|layer| &layer.descriptor).collect();
        let zstd = format!("{LAYER}+zstd");
        let has_zstd = layers.iter().any(|layer| layer["mediaType"] == zstd.as_str());
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
        let mut descriptor = self.blob(MANIFEST, manifest.to_string().as_bytes());
        descriptor["platform"] = json!({ "architecture": architecture, "os": "linux" });
        if has_zstd {
            // Newer skopeos add it to an index that lacks it, which then is another index.
            descriptor["annotations"] = json!({ "io.github.containers.compression.zstd": "true" });
        }
        descriptor
    }

    /// An index of images for several architectures.
    pub fn index(&self, images: &[Value]) -> Value {
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": images });
        self.blob(INDEX, index.to_string().as_bytes())
    }

    /// Gives an image or index a name that `skopeo` finds it by.
    ///
    /// # Panics
    ///
    /// When the layout's own index cannot be rewritten.
    pub fn tag(&self, tag: &str, descriptor: &Value) {
        let path = self.dir.join("index.json");
        let mut index: Value =
            serde_json::from_slice(&fs::read(&path).expect("the index")).expect("it is JSON");
        let mut named = descriptor.clone();
        named["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        index["manifests"].as_array_mut().expect("a list").push(named);
        fs::write(path, index.to_string()).expect("the index anew");
    }
}

/// Files for a layer, in the order they are added.
pub struct LayerTar(tar::Builder<Vec<u8>>);

impl Default for LayerTar {
    fn default() -> Self {
        Self::new()
    }
}

impl LayerTar {
    pub fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// # Panics
    ///
    /// When the name does not fit into a tar.
    #[must_use]
    pub fn dir(self, path: &str, mode: u32) -> Self {
        self.entry(path, tar::EntryType::Directory, mode, &[], None)
    }

    #[must_use]
    pub fn file(self, path: &str, mode: u32, content: impl AsRef<[u8]>) -> Self {
        self.entry(path, tar::EntryType::Regular, mode, content.as_ref(), None)
    }

    #[must_use]
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(path, tar::EntryType::Symlink, 0o777, &[], Some(target))
    }

    #[must_use]
    pub fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(path, tar::EntryType::Link, 0o644, &[], Some(target))
    }

    /// # Panics
    ///
    /// When the name does not fit.
    fn entry(
        mut self,
        path: &str,
        kind: tar::EntryType,
        mode: u32,
        content: &[u8],
        target: Option<&str>,
    ) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        // By hand: names that no honest program writes are wanted too.
        let name = &mut header.as_gnu_mut().expect("a GNU header").name;
        name[..path.len()].copy_from_slice(path.as_bytes());
        if let Some(target) = target {
            header.as_gnu_mut().expect("a GNU header").linkname[..target.len()]
                .copy_from_slice(target.as_bytes());
        }
        header.set_cksum();
        self.0.append(&header, content).expect("a tar in memory");
        self
    }

    /// # Panics
    ///
    /// Never: it is written to memory.
    pub fn finish(self) -> Vec<u8> {
        self.0.into_inner().expect("a tar in memory")
    }
}
