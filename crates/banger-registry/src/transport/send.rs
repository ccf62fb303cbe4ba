//! One request and what it is sent on to.

use std::sync::Arc;

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderValue, LOCATION, RANGE};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use tokio::time::timeout;

use super::connector::Connector;
use super::endpoint::{Endpoint, authority};
use super::{Reply, fault};
use crate::error::{Asked, RegistryError};
use crate::settings::{Retries, Settings, Timeouts};

/// Most redirects that are followed.
const MAX_HOPS: usize = 8;

/// Sends requests.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    connector: Arc<Connector>,
    timeouts: Timeouts,
    pub(crate) retries: Retries,
}

/// A request. Not `Debug`: its form may hold a secret.
pub(crate) struct Call<'a> {
    pub(crate) url: Url,
    /// What it is about, for messages.
    pub(crate) what: &'a str,
    pub(crate) accept: Option<&'static str>,
    /// Goes to the host of `url` only.
    pub(crate) authorization: Option<&'a HeaderValue>,
    /// Where to begin.
    pub(crate) from_byte: u64,
    /// Sent as a form. Such a request is not sent on: the form may hold a secret.
    pub(crate) form: Option<String>,
}

impl<'a> Call<'a> {
    pub(crate) fn get(url: Url, what: &'a str) -> Self {
        Self { url, what, accept: None, authorization: None, from_byte: 0, form: None }
    }
}

impl Transport {
    pub(crate) fn new(settings: &Settings) -> Result<Self, RegistryError> {
        Ok(Self {
            connector: Arc::new(Connector::new(settings)?),
            timeouts: settings.timeouts,
            retries: settings.retries,
        })
    }

    /// Sends a request on behalf of an endpoint, and follows where it leads. Every status is an answer.
    ///
    /// # Errors
    /// Where no answer comes, or where it leads to is not permitted.
    pub(crate) async fn send(&self, endpoint: &Endpoint, call: Call<'_>) -> Result<Reply, RegistryError> {
        let origin = call.url.origin();
        let mut url = call.url.clone();
        let mut authorization = call.authorization;
        for _ in 0..=MAX_HOPS {
            let asked = Asked { host: authority(&url), what: call.what.to_owned() };
            let refused =
                |problem: &str| RegistryError::Redirect { asked: asked.clone(), problem: problem.to_owned() };
            let leave = endpoint.permits(&url).map_err(refused)?;
            let client = self
                .connector
                .client(&url, leave.verify)
                .await
                .map_err(|source| fault::of_request(asked.clone(), None, source))?;
            let request = match &call.form {
                Some(form) => client
                    .post(url.clone())
                    .header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(form.clone()),
                None => client.get(url.clone()),
            };
            let request = with_headers(request, &call, authorization);
            let response = self.answer(request, &asked, &url).await?;
            let Some(next) = next_hop(&response, &url) else {
                return Ok(Reply::new(asked, response, url.origin() == origin, self.timeouts.stall));
            };
            let next = next.map_err(refused)?;
            if call.form.is_some() {
                return Err(refused("a login is not sent on"));
            }
            // Once elsewhere, it does not come back, even if the way does.
            if next.origin() != origin {
                authorization = None;
            }
            url = next;
        }
        let asked = Asked { host: authority(&call.url), what: call.what.to_owned() };
        Err(RegistryError::Redirect { asked, problem: format!("more than {MAX_HOPS} times") })
    }

    async fn answer(
        &self,
        request: RequestBuilder,
        asked: &Asked,
        url: &Url,
    ) -> Result<Response, RegistryError> {
        let patience = self.timeouts.connect + self.timeouts.stall;
        timeout(patience, request.send())
            .await
            .map_err(|_| fault::stalled(asked.clone(), patience))?
            .map_err(|source| fault::of_request(asked.clone(), self.connector.proxy_to(url), source))
    }
}

fn with_headers(
    mut request: RequestBuilder,
    call: &Call<'_>,
    authorization: Option<&HeaderValue>,
) -> RequestBuilder {
    // What is named by the digest of its bytes is wanted as it is.
    request = request.header(ACCEPT_ENCODING, "identity");
    if let Some(accept) = call.accept {
        request = request.header(ACCEPT, accept);
    }
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    if call.from_byte > 0 {
        request = request.header(RANGE, format!("bytes={}-", call.from_byte));
    }
    request
}

/// Where a redirect leads; nothing if it is none.
fn next_hop(response: &Response, url: &Url) -> Option<Result<Url, &'static str>> {
    let redirects = [
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::FOUND,
        StatusCode::SEE_OTHER,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ];
    if !redirects.contains(&response.status()) {
        return None;
    }
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    Some(match location.map(|location| url.join(location)) {
        Some(Ok(next)) => Ok(next),
        Some(Err(_)) => Err("to something that is no address"),
        None => Err("without saying where to"),
    })
}
