//! The file that `docker login` and `podman login` write. What it says is the user's; what is wrong with it
//! is told without quoting it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Deserializer};

use super::credential::{Credential, Secret};

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Under which name Docker files the credentials of its own registry.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// The parts of the file that are about credentials.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct DockerConfig {
    #[serde(deserialize_with = "null_is_default")]
    auths: BTreeMap<String, AuthEntry>,
    #[serde(deserialize_with = "null_is_default")]
    cred_helpers: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_is_default")]
    creds_store: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AuthEntry {
    #[serde(deserialize_with = "null_is_default")]
    auth: String,
    #[serde(deserialize_with = "null_is_default")]
    username: String,
    #[serde(deserialize_with = "null_is_default")]
    password: String,
    #[serde(deserialize_with = "null_is_default")]
    identitytoken: String,
    #[serde(deserialize_with = "null_is_default")]
    registrytoken: String,
}

fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Where the file says that a registry's credentials are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    Here(Credential),
    /// To be asked of `docker-credential-NAME`, under this key.
    Helper {
        name: String,
        key: String,
    },
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ConfigProblem {
    #[error("it is not the JSON that `docker login` writes (line {line}, column {column})")]
    Json { line: usize, column: usize },
    #[error("its entry for `{0}` is not `user:password` in base64")]
    Auth(String),
}

impl DockerConfig {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ConfigProblem> {
        serde_json::from_slice(bytes)
            .map_err(|error| ConfigProblem::Json { line: error.line(), column: error.column() })
    }

    /// What the file has for a repository of a registry. The most particular entry counts.
    pub(super) fn source(&self, registry: &str, repository: &str) -> Result<Option<Source>, ConfigProblem> {
        if let Some((key, name)) = best(&self.cred_helpers, registry, repository)
            && !name.is_empty()
        {
            let key = helper_key(registry, key);
            return Ok(Some(Source::Helper { name: name.clone(), key }));
        }
        if let Some((key, entry)) = best(&self.auths, registry, repository)
            && let Some(credential) = entry.credential(key)?
        {
            return Ok(Some(Source::Here(credential)));
        }
        if self.creds_store.is_empty() {
            return Ok(None);
        }
        let key = helper_key(registry, registry);
        Ok(Some(Source::Helper { name: self.creds_store.clone(), key }))
    }
}

/// Helpers know Docker's own registry by its old name only.
fn helper_key(registry: &str, key: &str) -> String {
    if registry == "docker.io" { DOCKER_HUB_KEY.to_owned() } else { key.to_owned() }
}

/// The entry whose key names the registry and the longest beginning of the repository.
fn best<'a, T>(
    entries: &'a BTreeMap<String, T>,
    registry: &str,
    repository: &str,
) -> Option<(&'a str, &'a T)> {
    let depths = entries.iter().filter_map(|(key, entry)| {
        let depth = match_depth(key, registry, repository)?;
        Some((depth, key.as_str(), entry))
    });
    depths.max_by_key(|(depth, ..)| *depth).map(|(_, key, entry)| (key, entry))
}

/// How much of the repository a key names; nothing if it is another registry's.
fn match_depth(key: &str, registry: &str, repository: &str) -> Option<usize> {
    let without_scheme = ["https://", "http://"].iter().find_map(|scheme| key.strip_prefix(scheme));
    let (host, path) = match without_scheme {
        // As a URL it names the whole registry, by its API's address.
        Some(url) => (url.split('/').next().unwrap_or_default(), ""),
        None => key.split_once('/').unwrap_or((key, "")),
    };
    let host = host.to_ascii_lowercase();
    let host = match host.as_str() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    };
    if host != registry {
        return None;
    }
    // The API's address without its scheme is one more old way to name the whole registry.
    let path = match path.trim_end_matches('/') {
        "v1" | "v2" => "",
        path => path,
    };
    let rest = repository.strip_prefix(path)?;
    let at_a_boundary = path.is_empty() || rest.is_empty() || rest.starts_with('/');
    if at_a_boundary { Some(path.len()) } else { None }
}

impl AuthEntry {
    fn credential(&self, key: &str) -> Result<Option<Credential>, ConfigProblem> {
        let text = |value: &String| (!value.is_empty()).then(|| Secret::new(value.as_str()));
        if let Some(token) = text(&self.identitytoken) {
            return Ok(Some(Credential::IdentityToken(token)));
        }
        if let Some(token) = text(&self.registrytoken) {
            return Ok(Some(Credential::RegistryToken(token)));
        }
        if !self.auth.is_empty() {
            let problem = || ConfigProblem::Auth(crate::printable::printable(key, 100));
            let bytes = LENIENT.decode(self.auth.trim()).map_err(|_| problem())?;
            let decoded = String::from_utf8(bytes).map_err(|_| problem())?;
            let (user, password) = decoded.split_once(':').ok_or_else(problem)?;
            // Docker pads the password with NUL characters.
            let password = Secret::new(password.trim_end_matches('\0'));
            return Ok(Some(Credential::Password { user: user.to_owned(), password }));
        }
        Ok(text(&self.password)
            .map(|password| Credential::Password { user: self.username.clone(), password }))
    }
}

#[cfg(test)]
#[path = "docker_config_tests.rs"]
mod tests;
