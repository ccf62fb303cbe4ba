//! Answers challenges, and remembers what was good enough.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::{HeaderValue, WWW_AUTHENTICATE};

use super::challenge::{self, Challenge};
use super::credential::{Credential, basic, bearer};
use super::keychain::{Found, Keychain, KeychainError};
use super::token::{Grant, Realm, Token};
use crate::error::{Answer, Asked, Identity, RegistryError};
use crate::settings::Security;
use crate::transport::{Endpoint, Reply, Transport};

/// How long a password that was good is used without a look into the files.
const PASSWORD_LIFE: Duration = Duration::from_secs(300);

/// Longest time for which any header is used.
const LONGEST_LIFE: Duration = Duration::from_secs(3600);

/// Most repositories whose headers are remembered.
const MAX_HEADERS: usize = 256;

/// Longest scope of a challenge that is passed on, in bytes.
const MAX_SCOPE_LEN: usize = 1024;

/// Who we are to registries.
#[derive(Debug)]
pub(crate) struct Authenticator {
    keychain: Keychain,
    headers: Mutex<HashMap<Scope, Header>>,
}

/// What one header is good for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Scope {
    base: String,
    security: Security,
    repository: String,
}

#[derive(Debug, Clone)]
struct Header {
    value: HeaderValue,
    identity: Identity,
    good_until: Instant,
}

/// The answer to a challenge.
#[derive(Debug)]
pub(crate) struct Login {
    /// Nothing where there is no way to satisfy the registry.
    pub(crate) header: Option<HeaderValue>,
    pub(crate) identity: Identity,
    /// What the token server said when it refused.
    pub(crate) refusal: Option<(Asked, Answer)>,
    pub(crate) problems: Vec<KeychainError>,
}

impl Authenticator {
    pub(crate) fn new(keychain: Keychain) -> Self {
        Self { keychain, headers: Mutex::default() }
    }

    /// A header that was good lately.
    pub(crate) fn remembered(
        &self,
        endpoint: &Endpoint,
        repository: &str,
    ) -> Option<(HeaderValue, Identity)> {
        let headers = self.headers.lock().unwrap_or_else(PoisonError::into_inner);
        let header = headers.get(&scope(endpoint, repository))?;
        (header.good_until > Instant::now()).then(|| (header.value.clone(), header.identity.clone()))
    }

    /// Answers the challenge in a reply with status 401.
    ///
    /// # Errors
    /// Where a token server does not answer, or may not be asked.
    pub(crate) async fn answer(
        &self,
        transport: &Transport,
        endpoint: &Endpoint,
        repository: &str,
        reply: &Reply,
    ) -> Result<Login, RegistryError> {
        self.forget(endpoint, repository);
        let headers = reply.headers().get_all(WWW_AUTHENTICATE);
        let challenges: Vec<Challenge> =
            headers.iter().filter_map(|header| header.to_str().ok()).flat_map(challenge::parse).collect();
        let (found, problems) = self.keychain.find(&endpoint.name, repository).await;
        let identity = identity(found.as_ref(), &problems);
        let mut login = Login { header: None, identity, refusal: None, problems };
        let life = match best(&challenges, found.as_ref().map(|found| &found.credential)) {
            Some(Answering::With(header)) => {
                login.header = Some(header);
                PASSWORD_LIFE
            }
            Some(Answering::Token { realm, service, scope }) => {
                let default_scope = format!("repository:{repository}:pull");
                let scope = scope.filter(|scope| scope.len() <= MAX_SCOPE_LEN).unwrap_or(&default_scope);
                let realm = Realm { endpoint, address: realm, service, scope };
                match realm.token(transport, found.as_ref().map(|found| &found.credential)).await? {
                    Grant::Given(Token { header, life }) => {
                        login.header = Some(header);
                        life
                    }
                    Grant::Refused(asked, answer) => {
                        login.refusal = Some((asked, answer));
                        return Ok(login);
                    }
                }
            }
            None => return Ok(login),
        };
        if let Some(value) = login.header.clone() {
            self.remember(endpoint, repository, value, login.identity.clone(), life);
        }
        Ok(login)
    }

    fn forget(&self, endpoint: &Endpoint, repository: &str) {
        let mut headers = self.headers.lock().unwrap_or_else(PoisonError::into_inner);
        headers.remove(&scope(endpoint, repository));
    }

    fn remember(
        &self,
        endpoint: &Endpoint,
        repository: &str,
        value: HeaderValue,
        identity: Identity,
        life: Duration,
    ) {
        let now = Instant::now();
        let mut headers = self.headers.lock().unwrap_or_else(PoisonError::into_inner);
        headers.retain(|_, header| header.good_until > now);
        if headers.len() >= MAX_HEADERS {
            headers.clear();
        }
        let good_until = now + life.min(LONGEST_LIFE);
        headers.insert(scope(endpoint, repository), Header { value, identity, good_until });
    }
}

fn scope(endpoint: &Endpoint, repository: &str) -> Scope {
    Scope { base: endpoint.base.to_string(), security: endpoint.security, repository: repository.to_owned() }
}

fn identity(found: Option<&Found>, problems: &[KeychainError]) -> Identity {
    match (found, problems.first()) {
        (Some(found), _) => Identity::From(found.place.clone()),
        (None, Some(problem)) => Identity::Unreadable(problem.to_string()),
        (None, None) => Identity::Anonymous,
    }
}

/// How a challenge is met.
enum Answering<'a> {
    With(HeaderValue),
    Token { realm: &'a str, service: Option<&'a str>, scope: Option<&'a str> },
}

/// The way that fits the credentials: a token can be had without any, a password is only sent where asked
/// for.
fn best<'a>(challenges: &'a [Challenge], credential: Option<&Credential>) -> Option<Answering<'a>> {
    if let Some(Credential::RegistryToken(token)) = credential {
        return bearer(token).map(Answering::With);
    }
    let tokens = challenges.iter().find_map(|challenge| match challenge {
        Challenge::Bearer { realm, service, scope } => {
            Some(Answering::Token { realm, service: service.as_deref(), scope: scope.as_deref() })
        }
        Challenge::Basic => None,
    });
    match credential {
        _ if tokens.is_some() => tokens,
        Some(Credential::Password { user, password }) if challenges.contains(&Challenge::Basic) => {
            basic(user, password).map(Answering::With)
        }
        _ => None,
    }
}
