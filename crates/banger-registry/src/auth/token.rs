//! Access tokens: asking a token server for one.

use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderValue;
use serde::Deserialize;

use super::credential::{Credential, Secret, basic, bearer};
use crate::answer;
use crate::error::{Answer, Asked, RegistryError};
use crate::transport::{Call, Endpoint, Reply, Transport, authority};

/// Largest answer of a token server.
const MAX_ANSWER_BYTES: u64 = 1 << 20;

/// How long a token is good for where the server does not say; the specification's number.
const DEFAULT_LIFE: Duration = Duration::from_secs(60);

/// A token is not used in its last seconds: it would run out on the way.
const MARGIN: Duration = Duration::from_secs(5);

/// Where and for what to ask.
#[derive(Debug)]
pub(super) struct Realm<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) address: &'a str,
    pub(super) service: Option<&'a str>,
    pub(super) scope: &'a str,
}

/// A token as a header.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) header: HeaderValue,
    /// How long it may be used.
    pub(super) life: Duration,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Grant {
    Given(Token),
    /// The token server knows us not, or not for this.
    Refused(Asked, Answer),
}

impl Realm<'_> {
    /// Asks the token server, as the owner of the credential if there is one.
    pub(super) async fn token(
        &self,
        transport: &Transport,
        credential: Option<&Credential>,
    ) -> Result<Grant, RegistryError> {
        let realm = self.checked_address()?;
        let what = format!("a token for {}", self.endpoint.name);
        let asked = Asked { host: authority(&realm), what: what.clone() };
        let mut call = Call::get(realm, &what);
        let mut header = None;
        match credential {
            Some(Credential::IdentityToken(token)) => call.form = Some(self.refresh_form(token)),
            Some(Credential::Password { user, password }) => {
                header = Some(basic(user, password).ok_or_else(|| self.unusable(&asked))?);
                self.add_query(&mut call.url, Some(user));
            }
            Some(Credential::RegistryToken(_)) | None => self.add_query(&mut call.url, None),
        }
        call.authorization = header.as_ref();
        let reply = transport.send(self.endpoint, call).await?;
        read_token(reply, &asked).await
    }

    /// The realm's address, if credentials may be sent there.
    fn checked_address(&self) -> Result<Url, RegistryError> {
        let wrong = |problem: String| RegistryError::Login {
            asked: Asked { host: self.endpoint.name.clone(), what: "a token".to_owned() },
            problem,
        };
        let realm: Url = self
            .address
            .parse()
            .map_err(|_| wrong("the registry names a token server that is no address".to_owned()))?;
        self.endpoint
            .permits(&realm)
            .map_err(|problem| wrong(format!("the registry's token server is not trusted: {problem}")))?;
        Ok(realm)
    }

    fn unusable(&self, asked: &Asked) -> RegistryError {
        RegistryError::Login {
            asked: asked.clone(),
            problem: "the stored user name or password cannot be sent".to_owned(),
        }
    }

    fn add_query(&self, url: &mut Url, account: Option<&str>) {
        let mut query = url.query_pairs_mut();
        if let Some(service) = self.service {
            query.append_pair("service", service);
        }
        query.append_pair("scope", self.scope);
        if let Some(account) = account {
            query.append_pair("account", account);
        }
    }

    fn refresh_form(&self, token: &Secret) -> String {
        // The same encoding as that of a query.
        let mut form = Url::parse("form:?").expect("a constant that is a URL");
        form.query_pairs_mut()
            .append_pair("grant_type", "refresh_token")
            .append_pair("service", self.service.unwrap_or_default())
            .append_pair("scope", self.scope)
            .append_pair("client_id", "banger")
            .append_pair("refresh_token", token.reveal());
        form.query().unwrap_or_default().to_owned()
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<f64>,
}

async fn read_token(reply: Reply, asked: &Asked) -> Result<Grant, RegistryError> {
    let status = reply.status().as_u16();
    if matches!(status, 400 | 401 | 403 | 404) {
        return Ok(Grant::Refused(asked.clone(), answer::read(reply).await));
    }
    let reply = answer::successful(reply).await?;
    let body = reply.bytes(MAX_ANSWER_BYTES).await?;
    let wrong = |problem: &str| RegistryError::Login { asked: asked.clone(), problem: problem.to_owned() };
    // The parser's own words could quote the token.
    let answer: TokenAnswer =
        serde_json::from_slice(&body).map_err(|_| wrong("its answer is not the JSON of a token server"))?;
    let token = [answer.token, answer.access_token].into_iter().flatten().find(|token| !token.is_empty());
    let token = token.ok_or_else(|| wrong("its answer has no token in it"))?;
    let header =
        bearer(&Secret::new(token)).ok_or_else(|| wrong("its token has characters that cannot be sent"))?;
    let life = answer.expires_in.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    Ok(Grant::Given(Token { header, life: life.unwrap_or(DEFAULT_LIFE).saturating_sub(MARGIN) }))
}
