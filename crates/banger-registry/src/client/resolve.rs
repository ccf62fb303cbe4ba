//! From a reference to an image that is known to the last byte.

use reqwest::header::{CONTENT_TYPE, HeaderName};

use super::Client;
use super::exchange::Question;
use crate::auth::KeychainError;
use crate::digest::Digest;
use crate::error::{RegistryError, Size};
use crate::image::manifest::ImageManifest;
use crate::image::search::{self, MAX_DOCUMENT_BYTES, NotFound};
use crate::image::{ACCEPTED_MANIFESTS, Descriptor, ImageError, Layer, Resolved, bare, config};
use crate::reference::Reference;
use crate::settings::Security;
use crate::store::BlobStore;
use crate::transport::{Endpoint, RetryPolicy};

const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// One resolution under way.
struct Search<'a> {
    client: &'a Client,
    store: &'a BlobStore,
    reference: &'a Reference,
    endpoint: Endpoint,
    /// What was read of the store, or written to it.
    documents: Vec<Digest>,
    warnings: Vec<KeychainError>,
}

/// A document's bytes, and what others said it is.
struct Document {
    bytes: Vec<u8>,
    digest: Digest,
    promised: Vec<String>,
}

/// A document as the registry answered it.
struct RegistryDocument {
    bytes: Vec<u8>,
    /// `Content-Type` without its parameters.
    media_type: String,
    /// `Docker-Content-Digest`, where it is one that can be checked.
    digest: Option<Digest>,
}

/// What is wanted by its digest.
struct Wanted<'a> {
    kind: &'static str,
    digest: Digest,
    /// What the descriptor says, if there is one.
    size_bytes: Option<u64>,
    media_type: &'a str,
}

impl Client {
    /// Finds the image for linux/amd64 that a reference names, and checks all that describes it.
    ///
    /// What is named by a digest is looked for in the store first and put there, so that a second pull asks
    /// only for what its tag names.
    ///
    /// # Errors
    /// Where the registry cannot be asked, says no, or says something that is not to be believed.
    pub async fn resolve(
        &self,
        store: &BlobStore,
        reference: &Reference,
        security: Security,
    ) -> Result<Resolved, RegistryError> {
        let endpoint = self.locate(reference, security).await?;
        let (documents, warnings) = (Vec::new(), Vec::new());
        Search { client: self, store, reference, endpoint, documents, warnings }.run().await
    }
}

impl Search<'_> {
    async fn run(mut self) -> Result<Resolved, RegistryError> {
        let mut document = self.top().await?;
        let mut search = search::Search::default();
        loop {
            let promised: Vec<&str> = document.promised.iter().map(String::as_str).collect();
            let image = search.take(&document.bytes, document.digest, &promised);
            if let Some(image) = image.map_err(|error| self.unusable(error))? {
                match self.image(image).await? {
                    Ok((config, layers)) => {
                        return Ok(Resolved {
                            reference: self.reference.clone(),
                            digest: document.digest,
                            index_digest: search.index_digest(),
                            config,
                            layers,
                            documents: self.documents,
                            warnings: self.warnings,
                            endpoint: self.endpoint,
                        });
                    }
                    Err(platform) => search.pass_over(platform),
                }
            }
            let Some(entry) = search.next() else { break };
            document = self.by_descriptor("manifest", &entry).await?;
        }
        Err(match search.end() {
            NotFound::WrongPlatform(offered) => {
                RegistryError::WrongPlatform { reference: self.reference.to_string(), offered }
            }
            NotFound::Unusable(error) => self.unusable(error),
        })
    }

    fn unusable(&self, source: ImageError) -> RegistryError {
        RegistryError::Image { reference: self.reference.to_string(), source: Box::new(source) }
    }

    /// The configuration and the layers of an image, or what other platform it is for.
    async fn image(
        &mut self,
        image: ImageManifest,
    ) -> Result<Result<(config::ImageConfig, Vec<Layer>), String>, RegistryError> {
        let blob = self.by_descriptor("configuration", &image.config).await?;
        let checked = config::read(&blob.bytes, image.layers.len()).map_err(|error| self.unusable(error))?;
        if let Some(platform) = checked.foreign {
            return Ok(Err(platform));
        }
        Ok(Ok((checked.config, image.layers(checked.diff_ids))))
    }

    /// What the reference itself names.
    async fn top(&mut self) -> Result<Document, RegistryError> {
        if let Some(digest) = self.reference.digest() {
            let wanted = Wanted { kind: "manifest", digest: *digest, size_bytes: None, media_type: "" };
            return self.by_digest(wanted).await;
        }
        let what = format!("the manifest of {}", self.reference);
        let path = format!("manifests/{}", self.reference.selector());
        let answer = self.get(path, &what, ACCEPTED_MANIFESTS).await?;
        let digest = Digest::of(&answer.bytes);
        if let Some(expected) = answer.digest.filter(|expected| *expected != digest) {
            return Err(RegistryError::WrongDigest { what, expected, found: digest });
        }
        self.keep(&answer.bytes).await?;
        self.documents.push(digest);
        Ok(Document { bytes: answer.bytes, digest, promised: vec![answer.media_type] })
    }

    async fn by_descriptor(
        &mut self,
        kind: &'static str,
        descriptor: &Descriptor,
    ) -> Result<Document, RegistryError> {
        let what = format!("the {kind}");
        let digest =
            descriptor.digest().map_err(|source| self.unusable(ImageError::Digest { what, source }))?;
        if descriptor.size > MAX_DOCUMENT_BYTES {
            return Err(self.unusable(ImageError::TooLarge {
                what: format!("the {kind}"),
                size_bytes: descriptor.size,
                limit_bytes: MAX_DOCUMENT_BYTES,
            }));
        }
        let size_bytes = Some(descriptor.size);
        self.by_digest(Wanted { kind, digest, size_bytes, media_type: &descriptor.media_type }).await
    }

    async fn by_digest(&mut self, wanted: Wanted<'_>) -> Result<Document, RegistryError> {
        let Wanted { kind, digest, size_bytes, media_type } = wanted;
        let what = format!("the {kind} {digest} of {}", self.reference);
        let is_manifest = kind == "manifest";
        let mut promised = vec![media_type.to_owned()];
        let bytes = match self.stored(digest).await {
            Some(bytes) => bytes,
            None => {
                let place = if is_manifest { "manifests" } else { "blobs" };
                let accept = if is_manifest { ACCEPTED_MANIFESTS } else { "*/*" };
                let answer = self.get(format!("{place}/{digest}"), &what, accept).await?;
                let found = Digest::of(&answer.bytes);
                if found != digest {
                    return Err(RegistryError::WrongDigest { what, expected: digest, found });
                }
                self.keep(&answer.bytes).await?;
                promised.push(answer.media_type);
                answer.bytes
            }
        };
        if let Some(expected) = size_bytes.filter(|expected| *expected != bytes.len() as u64) {
            let found = format!("{} bytes", bytes.len());
            return Err(RegistryError::WrongSize { what, expected: Size::Exactly(expected), found });
        }
        self.documents.push(digest);
        Ok(Document { bytes, digest, promised })
    }

    async fn stored(&self, digest: Digest) -> Option<Vec<u8>> {
        let store = self.store.clone();
        let reading = tokio::task::spawn_blocking(move || store.read_small(&digest, MAX_DOCUMENT_BYTES));
        // It is a cache: what cannot be read is fetched again. So in the store.
        reading.await.ok().flatten()
    }

    async fn keep(&self, bytes: &[u8]) -> Result<(), RegistryError> {
        let (store, bytes) = (self.store.clone(), bytes.to_owned());
        let writing = tokio::task::spawn_blocking(move || store.write_small(&bytes));
        writing.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    /// A small document, with retries.
    async fn get(
        &mut self,
        path: String,
        what: &str,
        accept: &'static str,
    ) -> Result<RegistryDocument, RegistryError> {
        let reference = self.reference;
        let question = Question {
            endpoint: &self.endpoint.clone(),
            repository: reference.repository(),
            path,
            what,
            accept: Some(accept),
            from_byte: 0,
        };
        let mut retries = RetryPolicy::at_first_contact(self.client.transport.retries);
        loop {
            match self.get_once(&question).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => retries.wait_out(failure).await?,
            }
        }
    }

    async fn get_once(&mut self, question: &Question<'_>) -> Result<RegistryDocument, RegistryError> {
        let answered = self.client.ask(question).await?;
        for problem in answered.problems {
            if !self.warnings.contains(&problem) {
                self.warnings.push(problem);
            }
        }
        let reply = answered.reply;
        let media_type = reply.header(&CONTENT_TYPE).unwrap_or_default();
        let media_type = bare(media_type).to_owned();
        let digest = reply.header(&DOCKER_CONTENT_DIGEST).and_then(|text| text.parse().ok());
        Ok(RegistryDocument { media_type, digest, bytes: reply.bytes(MAX_DOCUMENT_BYTES).await? })
    }
}
