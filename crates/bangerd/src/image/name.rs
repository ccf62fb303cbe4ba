/// Longest name, in bytes: a reference with a digest fits.
const MAX_LEN: usize = 255;

/// Why an image cannot have a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageNameError {
    #[error("it is empty")]
    Empty,
    #[error("it is longer than {MAX_LEN} bytes")]
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
pub(super) fn check(name: &str) -> Result<(), ImageNameError> {
    let first = name.chars().next().ok_or(ImageNameError::Empty)?;
    if name.len() > MAX_LEN {
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
            assert_eq!(check(good), Ok(()), "{good}");
        }
        assert_eq!(check(""), Err(ImageNameError::Empty));
        assert_eq!(check("-x"), Err(ImageNameError::Start('-')));
        assert_eq!(check("a b"), Err(ImageNameError::Character(' ')));
        assert_eq!(check("ümlaut"), Err(ImageNameError::Start('ü')));
        assert_eq!(check(&"a".repeat(256)), Err(ImageNameError::TooLong));
    }
}
