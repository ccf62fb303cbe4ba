//! A DNS name in the one form in which names are compared.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

const MAX_LABEL: usize = 63;
const MAX_NAME: usize = 253;

/// A DNS name: lower case, A-labels, no trailing dot. It is never an IP address, in any notation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Cow<str>", into = "String")]
pub struct Name(Box<str>);

/// Why a text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameProblem {
    #[error("a name has at least one letter")]
    Empty,
    #[error("two dots stand together, or one stands first")]
    EmptyLabel,
    #[error("a part between two dots has more than {MAX_LABEL} bytes")]
    LabelTooLong,
    #[error("a name has at most {MAX_NAME} bytes")]
    TooLong,
    #[error("a name has letters, digits, `-`, `_` and dots, but not {0:?}")]
    Character(char),
    #[error("a name whose last part is a number is taken for an IP address")]
    Number,
    #[error("it is no valid internationalised name")]
    Idn,
}

impl Name {
    /// A name as a user writes it: Unicode becomes A-labels.
    pub fn from_user(text: &str) -> Result<Self, NameProblem> {
        if text.is_ascii() {
            return Self::from_bytes(text.as_bytes());
        }
        let ascii = idna::domain_to_ascii(text).map_err(|_| NameProblem::Idn)?;
        Self::from_bytes(ascii.as_bytes())
    }

    /// A name as a guest sends it: it is checked and made lower case, nothing else. One trailing dot is
    /// ignored.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NameProblem> {
        let bytes = bytes.strip_suffix(b".").unwrap_or(bytes);
        if bytes.is_empty() {
            return Err(NameProblem::Empty);
        }
        Self::from_labels(bytes.split(|byte| *byte == b'.'))
    }

    /// A name out of the labels of a DNS message, without the root's empty one. A dot inside a label is
    /// refused.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, NameProblem> {
        let mut name = String::new();
        for label in labels {
            check_label(label)?;
            if name.len() + label.len() > MAX_NAME {
                return Err(NameProblem::TooLong);
            }
            if !name.is_empty() {
                name.push('.');
            }
            name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
        }
        match name.rsplit('.').next() {
            None | Some("") => Err(NameProblem::Empty),
            _ if name.len() > MAX_NAME => Err(NameProblem::TooLong),
            Some(last) if is_number(last) => Err(NameProblem::Number),
            Some(_) => Ok(Self(name.into())),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// With its trailing dot: a resolver then adds no search domain.
    pub fn to_absolute(&self) -> String {
        format!("{}.", self.0)
    }

    /// Whether the name is a subdomain of `suffix`, at any depth. A name is none of its own.
    pub fn is_below(&self, suffix: &str) -> bool {
        self.0.strip_suffix(suffix).is_some_and(|front| front.len() > 1 && front.ends_with('.'))
    }

    /// `host.vm`, by which a guest knows the host that it runs on.
    pub fn is_host_vm(&self) -> bool {
        &*self.0 == "host.vm"
    }

    /// `localhost` and all below it, which are loopback wherever they are asked for (RFC 6761).
    pub fn is_localhost(&self) -> bool {
        &*self.0 == "localhost" || self.is_below("localhost")
    }
}

fn check_label(label: &[u8]) -> Result<(), NameProblem> {
    if label.is_empty() {
        return Err(NameProblem::EmptyLabel);
    }
    if let Some(byte) =
        label.iter().find(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')))
    {
        return Err(NameProblem::Character(char::from(*byte)));
    }
    if label.len() > MAX_LABEL { Err(NameProblem::LabelTooLong) } else { Ok(()) }
}

/// WHATWG's "ends in a number": `getaddrinfo` takes `0x7f000001`, `017700000001` and `10.1` for addresses.
fn is_number(label: &str) -> bool {
    match label.strip_prefix("0x") {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl TryFrom<Cow<'_, str>> for Name {
    type Error = NameProblem;

    fn try_from(text: Cow<'_, str>) -> Result<Self, NameProblem> {
        Self::from_user(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Result<String, NameProblem> {
        Name::from_user(text).map(String::from)
    }

    #[test]
    fn case_and_one_trailing_dot_make_no_difference() {
        assert_eq!(name("GitHub.COM."), name("github.com"));
        assert_eq!(name("github.com.."), Err(NameProblem::EmptyLabel));
        assert_eq!(name(".github.com"), Err(NameProblem::EmptyLabel));
        assert_eq!(name("."), Err(NameProblem::Empty));
    }

    #[test]
    fn idn_becomes_a_labels() {
        assert_eq!(name("Bücher.example").unwrap(), "xn--bcher-kva.example");
        assert_eq!(name("xn--bcher-kva.example").unwrap(), "xn--bcher-kva.example");
        assert_eq!(name("例え。jp").unwrap(), "xn--r8jz45g.jp");
        // What looks like digits and dots becomes an address, and that is no name.
        assert_eq!(name("１２７.0.0.1"), Err(NameProblem::Number));
    }

    #[test]
    fn addresses_in_every_notation_are_no_names() {
        for text in
            ["127.0.0.1", "2130706433", "0x7f000001", "0X7F.1", "017700000001", "127.1", "a.0x", "x.09"]
        {
            assert_eq!(name(text), Err(NameProblem::Number), "{text}");
        }
        for text in ["1.example", "0x1.example", "1e", "0xg", "x-1", "deadbeef"] {
            assert!(name(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_a_guest_sends_is_not_mapped() {
        assert_eq!(Name::from_bytes("bücher.example".as_bytes()), Err(NameProblem::Character('Ã')));
        assert_eq!(Name::from_bytes(b"a\0b"), Err(NameProblem::Character('\0')));
        let dotted: [&[u8]; 2] = [b"evil.com", b"github"];
        assert_eq!(Name::from_labels(dotted), Err(NameProblem::Character('.')));
    }

    #[test]
    fn lengths_are_bounded() {
        let label = "a".repeat(63);
        assert!(name(&label).is_ok());
        assert_eq!(name(&format!("{label}a")), Err(NameProblem::LabelTooLong));
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert_eq!(name(&longest).unwrap().len(), 253);
        assert_eq!(name(&format!("{longest}a")), Err(NameProblem::TooLong));
        assert_eq!(Name::from_labels(std::iter::repeat_n(&b"a"[..], 1000)), Err(NameProblem::TooLong));
    }

    #[test]
    fn a_name_is_below_its_suffix_only_at_a_dot() {
        let name = Name::from_user("a.b.example.com").unwrap();
        assert!(name.is_below("example.com") && name.is_below("b.example.com"));
        for suffix in ["a.b.example.com", "ample.com", "b.example.org"] {
            assert!(!name.is_below(suffix), "{suffix}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_name_in_normal_form_or_none(bytes: Vec<u8>) {
            if let Ok(name) = Name::from_bytes(&bytes) {
                prop_assert_eq!(Name::from_user(name.as_str()).unwrap(), name.clone());
                prop_assert!(name.as_str().parse::<std::net::IpAddr>().is_err());
            }
        }

        #[test]
        fn any_text_is_a_name_in_normal_form_or_none(text in "\\PC{0,40}") {
            if let Ok(name) = Name::from_user(&text) {
                prop_assert_eq!(Name::from_bytes(name.as_str().as_bytes()).unwrap(), name);
            }
        }
    }
}
