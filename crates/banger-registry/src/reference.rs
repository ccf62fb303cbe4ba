//! What a person calls an image, with Docker's familiar defaults.

use std::fmt;
use std::str::FromStr;

use crate::digest::{Digest, DigestError};
use crate::printable::printable;

/// The registry of references that name none.
const DOCKER_IO: &str = "docker.io";

/// Where Docker's official images lie; nobody types it.
const LIBRARY: &str = "library/";

/// Longest repository name, in bytes, together with its registry.
const MAX_NAME_LEN: usize = 255;

/// Longest tag, in bytes.
const MAX_TAG_LEN: usize = 128;

/// How much of a bad reference an error shows, in characters.
const SHOWN_CHARS: usize = 120;

/// An image in a registry: `alpine`, `debian:bookworm`, `ghcr.io/team/app@sha256:…`.
///
/// With a tag and a digest, the digest says which image is meant and the tag is only kept for show.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// What is wrong with a reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error("the image reference is empty")]
    Empty,
    #[error("`{0}` is a URL, not an image reference; write it without the part before the name, as in `{1}`")]
    Url(String, String),
    #[error("`{0}` names no registry: it must be a host name, with a port from 1 to 65535 if any")]
    Registry(String),
    #[error("`{0}` has upper-case letters, and repository names have none; write `{1}`")]
    UpperCase(String, String),
    #[error(
        "`{0}` is no repository name: each part between slashes is lower-case letters and digits, joined by single `.`, one or two `_`, or `-`"
    )]
    Repository(String),
    #[error("the name `{0}` is longer than {MAX_NAME_LEN} characters")]
    TooLong(String),
    #[error(
        "`{0}` is no tag: it is at most {MAX_TAG_LEN} letters, digits, `_`, `.` and `-`, and begins with none of the last two"
    )]
    Tag(String),
    #[error("the image reference ends in a digest that cannot be used")]
    Digest(#[source] DigestError),
}

impl Reference {
    /// The registry as people write it: `docker.io`, `localhost:5000`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository in the registry: `library/alpine`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if one was given or nothing else was.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if the reference is pinned to one.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same repository, pinned to this content.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// The host (and port) that answers for the registry.
    pub(crate) fn api_host(&self) -> &str {
        if self.registry == DOCKER_IO { "registry-1.docker.io" } else { &self.registry }
    }

    /// What a manifest is asked for by.
    pub(crate) fn selector(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// What people type: `alpine:latest`, `debian:bookworm`, `ghcr.io/team/app:1`.
    #[must_use]
    pub fn familiar(&self) -> String {
        let mut text = String::new();
        if self.registry == DOCKER_IO {
            let short = self.repository.strip_prefix(LIBRARY).filter(|rest| !rest.contains('/'));
            // `docker.io/a.b/c` without its registry would be `c` in the registry `a.b`.
            let first = self.repository.split('/').next().unwrap_or_default();
            match short {
                Some(short) => text.push_str(short),
                None if looks_like_a_host(first) => text = format!("{DOCKER_IO}/{}", self.repository),
                None => text.push_str(&self.repository),
            }
        } else {
            text = format!("{}/{}", self.registry, self.repository);
        }
        self.push_selectors(&mut text);
        text
    }

    fn push_selectors(&self, text: &mut String) {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
    }
}

impl fmt::Display for Reference {
    /// The canonical form, with nothing left to defaults: `docker.io/library/alpine:latest`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{}/{}", self.registry, self.repository);
        self.push_selectors(&mut text);
        f.write_str(&text)
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.trim().is_empty() {
            return Err(ReferenceError::Empty);
        }
        if let Some((_, rest)) = text.split_once("://") {
            return Err(ReferenceError::Url(
                printable(text, SHOWN_CHARS),
                printable(without_web_address(rest), SHOWN_CHARS),
            ));
        }
        let (text, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse().map_err(ReferenceError::Digest)?)),
            None => (text, None),
        };
        let (name, tag) = split_tag(text);
        let tag = tag.map(check_tag).transpose()?;
        let (registry, repository) = split_registry(name)?;
        check_repository(&repository)?;
        if registry.len() + 1 + repository.len() > MAX_NAME_LEN {
            return Err(ReferenceError::TooLong(printable(name, SHOWN_CHARS)));
        }
        let tag = if tag.is_none() && digest.is_none() { Some("latest".to_owned()) } else { tag };
        Ok(Self { registry, repository, tag, digest })
    }
}

/// What was probably meant by the address of Docker Hub's page about an image.
fn without_web_address(rest: &str) -> &str {
    ["hub.docker.com/_/", "hub.docker.com/r/"]
        .iter()
        .find_map(|page| rest.strip_prefix(page))
        .unwrap_or(rest)
        .trim_end_matches('/')
}

/// A colon in the last part begins a tag; before that it begins a port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    let last_part = text.rfind('/').map_or(0, |slash| slash + 1);
    match text[last_part..].find(':') {
        Some(colon) => (&text[..last_part + colon], Some(&text[last_part + colon + 1..])),
        None => (text, None),
    }
}

fn check_tag(tag: &str) -> Result<String, ReferenceError> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let good = tag.len() <= MAX_TAG_LEN
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'));
    if good { Ok(tag.to_owned()) } else { Err(ReferenceError::Tag(printable(tag, SHOWN_CHARS))) }
}

/// Tells `host/name` from `user/name`. Docker takes upper case for a sign of a host as well; in lower case,
/// as hosts are compared, it would then be a user.
fn looks_like_a_host(first: &str) -> bool {
    first.eq_ignore_ascii_case("localhost") || first.contains(['.', ':'])
}

fn split_registry(name: &str) -> Result<(String, String), ReferenceError> {
    let (registry, repository) = match name.split_once('/') {
        Some((first, rest)) if looks_like_a_host(first) => (check_registry(first)?, rest),
        _ => (DOCKER_IO.to_owned(), name),
    };
    let registry = match registry.as_str() {
        "index.docker.io" | "registry-1.docker.io" => DOCKER_IO.to_owned(),
        _ => registry,
    };
    let official = registry == DOCKER_IO && !repository.contains('/');
    let repository = if official { format!("{LIBRARY}{repository}") } else { repository.to_owned() };
    Ok((registry, repository))
}

/// A host name, an address or `[an IPv6 address]`, and perhaps a port; in lower case, as host names are
/// compared.
fn check_registry(registry: &str) -> Result<String, ReferenceError> {
    let wrong = || ReferenceError::Registry(printable(registry, SHOWN_CHARS));
    let (host, port) = match registry.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or_else(wrong)?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
            (None, if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or_else(wrong)?) })
        }
        None => match registry.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(registry), None),
        },
    };
    if let Some(port) = port {
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || port.parse::<u16>().map_or(true, |port| port == 0) {
            return Err(wrong());
        }
    }
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if host.is_some_and(|host| !host.split('.').all(label)) {
        return Err(wrong());
    }
    Ok(registry.to_ascii_lowercase())
}

fn check_repository(repository: &str) -> Result<(), ReferenceError> {
    let shown = repository.strip_prefix(LIBRARY).unwrap_or(repository);
    let shown = printable(shown, SHOWN_CHARS);
    if repository.split('/').all(is_path_component) {
        return Ok(());
    }
    let lower = repository.to_ascii_lowercase();
    if lower != repository && lower.split('/').all(is_path_component) {
        let lower = shown.to_ascii_lowercase();
        return Err(ReferenceError::UpperCase(shown, lower));
    }
    Err(ReferenceError::Repository(shown))
}

/// Runs of letters and digits with one separator between two of them.
fn is_path_component(component: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut separators = component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let bytes = component.as_bytes();
    bytes.first().copied().is_some_and(alphanumeric)
        && bytes.last().copied().is_some_and(alphanumeric)
        && separators.all(|separator| {
            matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
        })
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
