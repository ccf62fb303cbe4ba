//! The way from what a name leads to, through indexes, to the image for linux/amd64. It reads nothing itself:
//! it says what is to be read next.

use std::collections::BTreeSet;

use super::manifest::{self, Content, ImageManifest};
use super::{Descriptor, ImageError, index};
use crate::digest::Digest;

/// Largest manifest, index or configuration that is read, in bytes.
pub(crate) const MAX_DOCUMENT_BYTES: u64 = 4 << 20;

/// Most documents that are read to find one image.
const MAX_DOCUMENTS: usize = 16;

/// One search under way.
#[derive(Debug, Default)]
pub(crate) struct Search {
    /// Of the document that is read next.
    depth: usize,
    index_digest: Option<Digest>,
    /// What other platforms there were.
    offered: BTreeSet<String>,
    waiting: Vec<(Descriptor, usize)>,
    read: usize,
    /// What an index lists that is no image: a signature, a list of what is in one.
    passed_over: Option<ImageError>,
}

/// Why a search found nothing.
#[derive(Debug)]
pub(crate) enum NotFound {
    /// All there is, is for these.
    WrongPlatform(Vec<String>),
    Unusable(ImageError),
}

impl Search {
    /// Takes a document that was read: the manifest of an image, or none and more to be read.
    pub(crate) fn take(
        &mut self,
        bytes: &[u8],
        digest: Digest,
        promised: &[&str],
    ) -> Result<Option<ImageManifest>, ImageError> {
        match manifest::read("its manifest", bytes, promised) {
            Ok(Content::Index(_)) if self.depth >= index::MAX_DEPTH => {
                Err(ImageError::TooDeep(index::MAX_DEPTH))
            }
            Ok(Content::Index(entries)) => {
                self.index_digest.get_or_insert(digest);
                self.offer_at(entries, self.depth + 1)?;
                Ok(None)
            }
            Ok(Content::Image(image)) => Ok(Some(image)),
            Err(error @ ImageError::Artifact(_)) if self.depth > 0 => {
                self.passed_over.get_or_insert(error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Begins with these instead of a document.
    pub(crate) fn offer(&mut self, entries: Vec<Descriptor>) -> Result<(), ImageError> {
        self.offer_at(entries, 0)
    }

    fn offer_at(&mut self, entries: Vec<Descriptor>, depth: usize) -> Result<(), ImageError> {
        let choice = index::choose(entries)?;
        self.offered.extend(choice.offered);
        self.waiting.extend(choice.candidates.into_iter().rev().map(|entry| (entry, depth)));
        Ok(())
    }

    /// The image that was found last is for another machine.
    pub(crate) fn pass_over(&mut self, platform: String) {
        self.offered.insert(platform);
    }

    /// What is to be read next, if anything is left.
    pub(crate) fn next(&mut self) -> Option<Descriptor> {
        self.read += 1;
        if self.read >= MAX_DOCUMENTS {
            return None;
        }
        let (entry, depth) = self.waiting.pop()?;
        self.depth = depth;
        Some(entry)
    }

    /// The index that the name led to, if it was one.
    pub(crate) fn index_digest(&self) -> Option<Digest> {
        self.index_digest
    }

    /// Nothing is left to be read.
    pub(crate) fn end(self) -> NotFound {
        match self.passed_over {
            Some(error) if self.offered.is_empty() => NotFound::Unusable(error),
            _ => NotFound::WrongPlatform(self.offered.into_iter().collect()),
        }
    }
}
