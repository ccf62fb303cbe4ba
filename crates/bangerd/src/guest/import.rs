use std::convert::Infallible;

use banger_guest_protocol::import::{Begin, Begun};
use bytes::Bytes;
use futures_util::Stream;
use http::{Method, Request, header};
use http_body_util::StreamBody;

use super::client::{CONFIGURE_LIMIT, read_json};
use super::outgoing::{Movement, Outgoing, SILENCE_LIMIT};
use super::{Guest, GuestError};

/// A repository on its way into the guest: see [`banger_guest_protocol::import`].
impl Guest {
    /// Makes the staging directory, and removes that of an import that broke off.
    pub async fn begin_import(&self, begin: &Begin) -> Result<Begun, GuestError> {
        // Removing what was left behind takes time.
        self.json(Method::POST, "begin import", "/v1/workspace/begin", begin, CONFIGURE_LIMIT).await
    }

    /// Sends the records that complete the repository, and waits until it is at its place.
    pub async fn finish_import(
        &self,
        records: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<(), GuestError> {
        use futures_util::StreamExt as _;
        let request = "finish import";
        let movement = Movement::within(SILENCE_LIMIT);
        let (records, _until) = Outgoing::new(records.map(Ok::<_, Infallible>), movement.clone());
        let message = Request::post("/v1/workspace/finish")
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(StreamBody::new(records))
            .map_err(|source| GuestError::Message { request, source })?;
        let exchange = async { read_json(request, self.submit(request, message).await?).await };
        tokio::select! {
            answer = exchange => answer,
            () = movement.stalled() => Err(GuestError::Stalled { request, limit: SILENCE_LIMIT }),
        }
    }
}
