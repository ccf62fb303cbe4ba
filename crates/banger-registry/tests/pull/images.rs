//! Images made of thin air, and a registry's usual answers about them.

use std::collections::HashMap;

use banger_registry::Digest;
use serde_json::{Value, json};

use crate::server::{Reply, Request};

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Bytes that look like nothing in particular and are the same each time.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

pub(crate) fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(bytes).to_string(), "size": bytes.len()})
}

/// What a registry holds for the repository `team/app`.
#[derive(Clone, Default)]
pub(crate) struct Content {
    documents: HashMap<String, (String, Vec<u8>)>,
}

impl Content {
    /// One image with these layers, under the tag `1`.
    pub(crate) fn image(layers: &[Vec<u8>]) -> Self {
        let mut content = Self::default();
        let manifest = content.add_image("amd64", layers);
        content.tag("1", OCI_MANIFEST, &manifest);
        content
    }

    pub(crate) fn add_blob(&mut self, bytes: &[u8]) {
        let path = format!("/v2/team/app/blobs/{}", Digest::of(bytes));
        self.documents.insert(path, ("application/octet-stream".to_owned(), bytes.to_vec()));
    }

    /// The configuration and layers of an image; gives its manifest.
    pub(crate) fn add_image(&mut self, architecture: &str, layers: &[Vec<u8>]) -> Vec<u8> {
        let diff_ids: Vec<String> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
        let config = json!({
            "architecture": architecture, "os": "linux",
            "config": {"Env": ["A=1"], "WorkingDir": "/srv"},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = config.to_string().into_bytes();
        self.add_blob(&config);
        for layer in layers {
            self.add_blob(layer);
        }
        let layers: Vec<Value> = layers.iter().map(|layer| descriptor(OCI_LAYER, layer)).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": descriptor(OCI_CONFIG, &config), "layers": layers,
        });
        manifest.to_string().into_bytes()
    }

    pub(crate) fn add_manifest(&mut self, media_type: &str, bytes: &[u8]) {
        self.tag(&Digest::of(bytes).to_string(), media_type, bytes);
    }

    pub(crate) fn tag(&mut self, tag: &str, media_type: &str, bytes: &[u8]) {
        self.documents
            .insert(format!("/v2/team/app/manifests/{tag}"), (media_type.to_owned(), bytes.to_vec()));
    }

    /// What an honest registry answers.
    pub(crate) fn reply(&self, request: &Request) -> Reply {
        if request.path == "/v2/" {
            return Reply::new(200, "{}");
        }
        match self.documents.get(&request.path) {
            Some((media_type, bytes)) => Reply::ranged(request, bytes).with("Content-Type", media_type),
            None => Reply::new(404, r#"{"errors":[{"code":"X","message":"nobody knows it"}]}"#),
        }
    }
}

/// Whether a request is for this content as a blob.
pub(crate) fn is_blob(request: &Request, bytes: &[u8]) -> bool {
    request.path.ends_with(&format!("/blobs/{}", Digest::of(bytes)))
}
