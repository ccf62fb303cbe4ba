use std::convert::Infallible;
use std::io;

use banger_guest_protocol::import::{Begin, Begun, FinishEvent};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};
use tokio_util::io::StreamReader;

use super::client::CONFIGURE_LIMIT;
use super::outgoing::{DISK_LIMIT, Movement, Outgoing};
use super::{Guest, GuestError};

/// Longest line of an answer that is believed, in bytes.
const LINE_MAX_LEN: usize = 64 * 1024;

/// A repository on its way into the guest: see [`banger_guest_protocol::import`].
impl Guest {
    /// Makes the staging directory, and removes that of an import that broke off.
    pub async fn begin_import(&self, begin: &Begin) -> Result<Begun, GuestError> {
        // Removing what was left behind takes time.
        self.json(Method::POST, "begin import", "/v1/workspace/begin", begin, CONFIGURE_LIMIT).await
    }

    /// Sends the records that complete the repository, and waits until it is at its place. `on_written` is
    /// told how much of the pack there is.
    pub async fn finish_import(
        &self,
        records: impl Stream<Item = Bytes> + Send + 'static,
        mut on_written: impl FnMut(u64),
    ) -> Result<(), GuestError> {
        let request = "finish import";
        let movement = Movement::within(DISK_LIMIT);
        let (records, _until) = Outgoing::new(records.map(Ok::<_, Infallible>), movement.clone());
        let message = Request::post("/v1/workspace/finish")
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(StreamBody::new(records))
            .map_err(|source| GuestError::Message { request, source })?;
        let exchange = async {
            let mut lines = lines(self.submit(request, message).await?);
            while let Some(Ok(line)) = lines.next().await {
                let event = serde_json::from_str(&line);
                match event.map_err(|source| GuestError::Body { request, source })? {
                    FinishEvent::Written { bytes } => on_written(bytes),
                    FinishEvent::Done => return Ok(()),
                    FinishEvent::Failed(error) => return Err(error.into()),
                }
                movement.moved();
            }
            Err(GuestError::refused(format!("the answer to {request} broke off")))
        };
        tokio::select! {
            answer = exchange => answer,
            () = movement.stalled() => Err(GuestError::Stalled { request, limit: DISK_LIMIT }),
        }
    }
}

/// The lines of an answer, none of them longer than [`LINE_MAX_LEN`].
pub(super) fn lines(
    response: Response<Incoming>,
) -> impl Stream<Item = Result<String, LinesCodecError>> + Unpin {
    let pieces = response.into_body().into_data_stream().map_err(io::Error::other);
    FramedRead::new(StreamReader::new(pieces), LinesCodec::new_with_max_length(LINE_MAX_LEN))
}
