use std::fmt;

use banger_registry::{Reference, ReferenceError};
use serde::{Deserialize, Serialize};

/// What an image is called by whoever wants it: the name that it has on this host or in a catalog, or an OCI
/// reference. Which of them it is, `image` finds out. One that was read from the store was checked by the
/// build that wrote it, if at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ImageRef(String);

impl ImageRef {
    /// One word is a reference whatever is in it: it may be a slip of a name's, and whoever looks for it says
    /// which.
    ///
    /// # Errors
    ///
    /// When no image can be called so, here or in a registry. The error is about the registry's rules: those
    /// for names here are wider.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let reference = Self(text.to_owned());
        let is_word = reference.is_one_word() && !text.trim().is_empty();
        if !is_word && check_image_name(text).is_err() {
            reference.in_registry()?;
        }
        Ok(reference)
    }

    /// A name that an image has in the store, whoever let it through.
    pub(crate) fn stored(name: String) -> Self {
        Self(name)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Is it one word, as names are, with nothing that only references have?
    pub(crate) fn is_one_word(&self) -> bool {
        !self.0.contains(['/', ':', '@', '.'])
    }

    /// What a registry calls it.
    ///
    /// # Errors
    ///
    /// When no registry could have it.
    pub(crate) fn in_registry(&self) -> Result<Reference, ReferenceError> {
        self.0.parse()
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Longest name of an image, in bytes: a reference with a digest fits.
const NAME_MAX_LEN: usize = 255;

/// Why an image cannot have a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageNameError {
    #[error("it is empty")]
    Empty,
    #[error("it is longer than {NAME_MAX_LEN} bytes")]
    TooLong,
    #[error("it begins with {0:?}")]
    Start(char),
    #[error("it has {0:?} in it")]
    Character(char),
}

/// Checks a name that somebody wants an image to have: what OCI references are made of is allowed, so `web:2`
/// and `team/base` are.
///
/// # Errors
///
/// When it has other characters in it.
pub(crate) fn check_image_name(name: &str) -> Result<(), ImageNameError> {
    let first = name.chars().next().ok_or(ImageNameError::Empty)?;
    if name.len() > NAME_MAX_LEN {
        return Err(ImageNameError::TooLong);
    }
    if !first.is_ascii_alphanumeric() {
        return Err(ImageNameError::Start(first));
    }
    let strange = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '/' | '@'));
    match name.chars().find(strange) {
        Some(c) => Err(ImageNameError::Character(c)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_what_references_are() {
        for good in ["base", "web:2", "team/base:2.1", "alpine@sha256:00ff", "0"] {
            assert_eq!(check_image_name(good), Ok(()), "{good}");
            assert_eq!(ImageRef::parse(good).unwrap().as_str(), good);
        }
        assert_eq!(check_image_name(""), Err(ImageNameError::Empty));
        assert_eq!(check_image_name("-x"), Err(ImageNameError::Start('-')));
        assert_eq!(check_image_name("a b"), Err(ImageNameError::Character(' ')));
        assert_eq!(check_image_name("ümlaut"), Err(ImageNameError::Start('ü')));
        assert_eq!(check_image_name(&"a".repeat(256)), Err(ImageNameError::TooLong));
    }

    #[test]
    fn what_no_image_is_called_is_no_reference() {
        for bad in ["", " ", "./x.tar", "~/x", "ghcr.io/a b", "ümlaut:1"] {
            assert!(ImageRef::parse(bad).is_err(), "{bad:?}");
        }
        assert!(ImageRef::parse("debian trixie").is_ok(), "a slip of debian-trixie");
        let long = format!("ghcr.io/{}:{}", "a".repeat(200), "t".repeat(100));
        assert!(ImageRef::parse(&long).is_ok(), "a registry may have it, under whatever name it gets here");
    }

    #[test]
    fn it_is_stored_as_its_text() {
        let stored = serde_json::to_string(&ImageRef::parse("web:2").unwrap()).unwrap();
        assert_eq!(stored, r#""web:2""#);
    }
}
