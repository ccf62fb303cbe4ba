//! Finding the user's credentials for a registry.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::credential::{Credential, Secret};
use super::docker_config::{DockerConfig, Source};
use crate::printable::printable;
use crate::settings::Lookup;

/// Largest file of credentials that is read.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// How long a helper may take: it may ask the user, but nobody waits for ever.
const HELPER_TIMEOUT: Duration = Duration::from_secs(60);

/// What the protocol of credential helpers says for "I have none", word by word.
const HELPER_HAS_NONE: &str = "credentials not found in native keychain";

/// Runs a program for the keychain; this crate starts none itself.
pub trait CredentialHelper: Send + Sync {
    /// Runs `program get`, with `key` and a newline on its standard input.
    fn get(&self, program: String, key: String) -> HelperFuture;
}

/// What [`CredentialHelper::get`] gives: an error only where the program could not be run.
pub type HelperFuture =
    Pin<Box<dyn Future<Output = Result<HelperOutput, Box<dyn std::error::Error + Send + Sync>>> + Send>>;

/// How a helper ended. Its output may be a password.
#[derive(Clone, PartialEq, Eq)]
pub struct HelperOutput {
    /// Whether it exited with 0.
    pub success: bool,
    pub stdout: Vec<u8>,
}

impl fmt::Debug for HelperOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HelperOutput").field("success", &self.success).finish_non_exhaustive()
    }
}

/// Why credentials that may exist were not used. The pull goes on without them, as far as it can.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeychainError {
    #[error("{} was not used: {problem}", .path.display())]
    File { path: PathBuf, problem: String },
    #[error("the credential helper {program} named in {} was of no use: {problem}", .path.display())]
    Helper { program: String, path: PathBuf, problem: String },
}

/// The user's files of credentials, as Docker and Podman keep them. They are read anew whenever they are
/// needed.
#[derive(Clone)]
pub struct Keychain {
    files: Vec<PathBuf>,
    helper: Option<Arc<dyn CredentialHelper>>,
}

impl fmt::Debug for Keychain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keychain").field("files", &self.files).finish_non_exhaustive()
    }
}

/// Credentials with the place that they are from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) credential: Credential,
    pub(crate) place: String,
}

impl Keychain {
    /// Looks into these files, in this order, and runs helpers with `helper`.
    #[must_use]
    pub fn new(files: Vec<PathBuf>, helper: Option<Arc<dyn CredentialHelper>>) -> Self {
        Self { files, helper }
    }

    /// Has no credentials.
    #[must_use]
    pub fn empty() -> Self {
        Self::new(Vec::new(), None)
    }

    /// The files of Docker (`DOCKER_CONFIG` or `~/.docker`), then of Podman (`REGISTRY_AUTH_FILE`, the
    /// runtime directory).
    #[must_use]
    pub fn from_environment(lookup: Lookup<'_>, helper: Option<Arc<dyn CredentialHelper>>) -> Self {
        let path = |name: &str| lookup(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let docker = path("DOCKER_CONFIG").or_else(|| path("HOME").map(|home| home.join(".docker")));
        let podman = path("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json"));
        let files = [docker.map(|dir| dir.join("config.json")), path("REGISTRY_AUTH_FILE"), podman];
        Self::new(files.into_iter().flatten().collect(), helper)
    }

    /// The first credentials for a repository, and what went wrong on the way to them.
    pub(crate) async fn find(&self, registry: &str, repository: &str) -> (Option<Found>, Vec<KeychainError>) {
        let mut problems = Vec::new();
        for path in &self.files {
            match self.find_in(path, registry, repository).await {
                Ok(Some(found)) => return (Some(found), problems),
                Ok(None) => {}
                Err(problem) => problems.push(problem),
            }
        }
        (None, problems)
    }

    async fn find_in(
        &self,
        path: &Path,
        registry: &str,
        repository: &str,
    ) -> Result<Option<Found>, KeychainError> {
        let file = |problem: String| KeychainError::File { path: path.to_owned(), problem };
        let Some(bytes) = read(path.to_owned()).await.map_err(|error| file(error.to_string()))? else {
            return Ok(None);
        };
        let config = DockerConfig::parse(&bytes).map_err(|problem| file(problem.to_string()))?;
        match config.source(registry, repository).map_err(|problem| file(problem.to_string()))? {
            None => Ok(None),
            Some(Source::Here(credential)) => {
                Ok(Some(Found { credential, place: path.display().to_string() }))
            }
            Some(Source::Helper { name, key }) => {
                let program = format!("docker-credential-{}", printable(&name, 60));
                let problem = |problem: String| KeychainError::Helper {
                    program: program.clone(),
                    path: path.to_owned(),
                    problem,
                };
                let credential = self.ask(&name, key).await.map_err(problem)?;
                Ok(credential.map(|credential| Found { credential, place: program.clone() }))
            }
        }
    }

    async fn ask(&self, name: &str, key: String) -> Result<Option<Credential>, String> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if !name.bytes().all(good) {
            return Err("it is no name of a helper".to_owned());
        }
        let helper = self.helper.as_ref().ok_or("helpers are not run here")?;
        let running = helper.get(format!("docker-credential-{name}"), key);
        let output = tokio::time::timeout(HELPER_TIMEOUT, running)
            .await
            .map_err(|_| format!("it took more than {} s", HELPER_TIMEOUT.as_secs()))?
            .map_err(|error| printable(&error.to_string(), 300))?;
        read_helper(&output)
    }
}

/// A file's bytes; nothing if there is no such file.
async fn read(path: PathBuf) -> io::Result<Option<Vec<u8>>> {
    let reading = tokio::task::spawn_blocking(move || {
        let meta = match std::fs::metadata(&path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            meta => meta?,
        };
        if !meta.is_file() || meta.len() > MAX_FILE_BYTES {
            return Err(io::Error::other("it is no file, or far too large"));
        }
        std::fs::read(path).map(Some)
    });
    reading.await.unwrap_or_else(|stopped| Err(io::Error::other(stopped)))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    #[serde(default)]
    username: String,
    secret: String,
}

/// What a helper says. Only after a failure may its words be shown: then they are a message.
fn read_helper(output: &HelperOutput) -> Result<Option<Credential>, String> {
    if !output.success {
        let words = String::from_utf8_lossy(&output.stdout);
        return match words.trim() {
            HELPER_HAS_NONE => Ok(None),
            "" => Err("it failed".to_owned()),
            words => Err(format!("it failed: {}", printable(words, 300))),
        };
    }
    let answer: HelperAnswer = serde_json::from_slice(&output.stdout)
        .map_err(|_| "its answer is not the JSON that helpers give".to_owned())?;
    let secret = Secret::new(answer.secret);
    Ok(match answer.username.as_str() {
        _ if secret.is_empty() => None,
        "<token>" => Some(Credential::IdentityToken(secret)),
        _ => Some(Credential::Password { user: answer.username, password: secret }),
    })
}

#[cfg(test)]
#[path = "keychain_tests.rs"]
mod tests;
