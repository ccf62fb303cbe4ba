//! One question to a registry, with the login that it takes.

use reqwest::header::HeaderValue;
use reqwest::{StatusCode, Url};

use super::Client;
use crate::answer;
use crate::auth::KeychainError;
use crate::error::{Answer, Asked, Identity, RegistryError};
use crate::reference::Reference;
use crate::settings::Security;
use crate::transport::{Call, Endpoint, Reply, is_loopback};

/// A question to a registry.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) repository: &'a str,
    /// What follows the repository in the address: `manifests/latest`.
    pub(super) path: String,
    /// What it is about, for messages.
    pub(super) what: &'a str,
    pub(super) accept: Option<&'static str>,
    pub(super) from_byte: u64,
}

/// An answer, and what was wrong with the user's credentials.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) reply: Reply,
    pub(super) problems: Vec<KeychainError>,
}

impl Client {
    /// Asks once, and once more with the login that the registry asks for.
    ///
    /// # Errors
    /// All answers but 200, 206 and 416.
    pub(super) async fn ask(&self, question: &Question<'_>) -> Result<Answered, RegistryError> {
        let Question { endpoint, repository, .. } = question;
        let remembered = self.authenticator.remembered(endpoint, repository);
        let (mut header, mut identity) = match remembered {
            Some((header, identity)) => (Some(header), identity),
            None => (None, Identity::Anonymous),
        };
        let mut problems = Vec::new();
        let mut reply = self.send(question, header.as_ref()).await?;
        if reply.status() == StatusCode::UNAUTHORIZED && reply.first_hand {
            let login = self.authenticator.answer(&self.transport, endpoint, repository, &reply).await?;
            identity = login.identity;
            problems = login.problems;
            if let Some((asked, answer)) = login.refusal {
                return Err(denied(Asked { host: endpoint.name.clone(), ..asked }, answer, identity));
            }
            if login.header.is_some() {
                header = login.header;
                reply = self.send(question, header.as_ref()).await?;
            }
        }
        if reply.status() == StatusCode::RANGE_NOT_SATISFIABLE && question.from_byte > 0 {
            return Ok(Answered { reply, problems });
        }
        match answer::successful(reply).await {
            Ok(reply) => Ok(Answered { reply, problems }),
            Err(RegistryError::Denied { asked, answer, .. }) => {
                let asked = Asked { host: endpoint.name.clone(), ..asked };
                Err(denied(asked, without_secret(answer, header.as_ref()), identity))
            }
            Err(other) => Err(other),
        }
    }

    async fn send(
        &self,
        question: &Question<'_>,
        header: Option<&HeaderValue>,
    ) -> Result<Reply, RegistryError> {
        let mut url = question.endpoint.base.clone();
        url.set_path(&format!("/v2/{}/{}", question.repository, question.path));
        let call = Call {
            accept: question.accept,
            authorization: header,
            from_byte: question.from_byte,
            ..Call::get(url, question.what)
        };
        self.transport.send(question.endpoint, call).await
    }

    /// Finds out how a registry is to be talked to.
    ///
    /// # Errors
    /// Where it cannot be reached in any permitted way.
    pub(super) async fn locate(
        &self,
        reference: &Reference,
        security: Security,
    ) -> Result<Endpoint, RegistryError> {
        let at = |scheme: &str| -> Result<Endpoint, RegistryError> {
            let address = format!("{scheme}://{}/", reference.api_host());
            // Such as 1.2.3.999, which looks like a name until a URL is made of it.
            let base = Url::parse(&address)
                .map_err(|_| RegistryError::Url { url: address, problem: "there can be no such host" })?;
            Ok(Endpoint { name: reference.registry().to_owned(), base, security })
        };
        let tls = at("https")?;
        if security == Security::Verified && !is_loopback(&tls.base) {
            return Ok(tls);
        }
        match self.knock(&tls).await {
            // It speaks TLS, and who it is cannot be proved.
            Err(failure @ RegistryError::Untrusted { .. }) => Err(failure),
            Err(_) => {
                let plain = at("http")?;
                self.knock(&plain).await.map(|()| plain)
            }
            Ok(()) => Ok(tls),
        }
    }

    /// Whether anything answers, with whatever status.
    async fn knock(&self, endpoint: &Endpoint) -> Result<(), RegistryError> {
        let mut url = endpoint.base.clone();
        url.set_path("/v2/");
        self.transport.send(endpoint, Call::get(url, "its registry")).await.map(|_| ())
    }
}

fn denied(asked: Asked, answer: Answer, identity: Identity) -> RegistryError {
    RegistryError::Denied { asked, answer, identity }
}

/// A server may say in its message what was sent to it.
fn without_secret(answer: Answer, header: Option<&HeaderValue>) -> Answer {
    let sent = header.and_then(|header| header.to_str().ok()).unwrap_or_default();
    let secret = sent.rsplit(' ').next().unwrap_or_default();
    let repeats = |message: &String| !secret.is_empty() && message.contains(secret);
    Answer { message: answer.message.filter(|message| !repeats(message)), ..answer }
}
