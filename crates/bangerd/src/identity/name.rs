use std::fmt;

/// A VM's name, which is its host name in the guest as well: a DNS label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VmName(String);

/// Why a text is no name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum VmNameError {
    #[error("it is empty")]
    Empty,
    #[error("it has {0} characters, at most 63 are allowed")]
    TooLong(usize),
    #[error("{0:?} is not allowed in it")]
    Character(char),
    #[error("it begins or ends with a hyphen")]
    Hyphen,
}

impl VmName {
    /// # Errors
    ///
    /// When `text` is not a DNS label of lower-case letters, digits and hyphens.
    pub fn parse(text: &str) -> Result<Self, VmNameError> {
        if let Some(other) = text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
            return Err(VmNameError::Character(other));
        }
        if text.is_empty() {
            return Err(VmNameError::Empty);
        }
        if text.len() > 63 {
            return Err(VmNameError::TooLong(text.len()));
        }
        if text.starts_with('-') || text.ends_with('-') {
            return Err(VmNameError::Hyphen);
        }
        Ok(Self(text.to_owned()))
    }

    /// Makes up a friendly one: `brave-otter`.
    pub fn random() -> Self {
        petname::petname(2, "-")
            .and_then(|name| Self::parse(&name).ok())
            // The word lists are plain ASCII words; an id is a valid label should they ever not be.
            .unwrap_or_else(|| Self::of_id(&super::VmId::random()))
    }

    /// For a VM whose own name is not known: an id with letters before it is a DNS label.
    pub fn of_id(id: &super::VmId) -> Self {
        Self(format!("vm-{id}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dns_labels_are_names() {
        for good in ["a", "brave-otter", "0", &"x".repeat(63)] {
            assert!(VmName::parse(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("", VmNameError::Empty),
            ("Otter", VmNameError::Character('O')),
            ("a.b", VmNameError::Character('.')),
            ("../x", VmNameError::Character('.')),
            ("-a", VmNameError::Hyphen),
            ("a-", VmNameError::Hyphen),
            (&"x".repeat(64), VmNameError::TooLong(64)),
        ] {
            assert_eq!(VmName::parse(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn made_up_names_are_names() {
        for _ in 0..100 {
            assert!(VmName::parse(VmName::random().as_str()).is_ok());
        }
    }
}
