use std::convert::Infallible;

use banger_guest_protocol::ByteString;
use banger_guest_protocol::archive::{Entry, EntryKind, Timestamp, put_end, put_entry, put_padding};
use banger_guest_protocol::messages::{FileAt, FileStat, Pack, Unpack, Unpacked};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;

use super::client::{ANSWER_LIMIT, read_json, with_limit};
use super::outgoing::{DISK_LIMIT, Movement, Outgoing, SILENCE_LIMIT};
use super::{Guest, GuestError};
use crate::clock::unix_ms;

/// A path below a directory, and what it contains; none for a directory.
pub type SmallFile = (Vec<u8>, Option<Vec<u8>>);

/// Files in and out: tar streams, passed through unread. A copy takes as long as it takes, but not one that
/// the guest has stopped taking part in.
impl Guest {
    /// Unpacks `archive` in the guest. It is read no faster than the guest writes. An error in it, and
    /// dropping the future, cuts the copy off; what was written by then stays, but for a directory that was
    /// made for it and a half-written file.
    pub async fn unpack<E>(
        &self,
        what: &Unpack,
        archive: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    ) -> Result<Unpacked, GuestError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        let request = "unpack";
        let movement = Movement::within(SILENCE_LIMIT);
        // When the answer comes before the archive's end, it is a failure, and the rest must not be sent.
        let (archive, _until) = Outgoing::new(archive, movement.clone());
        let message = Request::post(format!("/v1/files/unpack?{}", what.to_query()))
            .header(header::CONTENT_TYPE, "application/x-tar")
            .body(StreamBody::new(archive))
            .map_err(|source| GuestError::Message { request, source })?;
        let exchange = async { read_json(request, self.submit(request, message).await?).await };
        tokio::select! {
            answer = exchange => answer,
            () = movement.stalled() => Err(GuestError::Stalled { request, limit: SILENCE_LIMIT }),
        }
    }

    /// Writes small files in a directory.
    pub async fn put_files(&self, dir: ByteString, files: &[SmallFile]) -> Result<(), GuestError> {
        let mut archive = BytesMut::new();
        let mtime = Timestamp { seconds: (unix_ms() / 1000) as i64, nanoseconds: 0 };
        for (path, content) in files {
            let (kind, mode) = match content {
                Some(content) => (EntryKind::File { size: content.len() as u64 }, 0o644),
                None => (EntryKind::Directory, 0o755),
            };
            put_entry(&mut archive, &Entry { path: path.clone(), kind, mode, mtime });
            if let Some(content) = content {
                archive.extend_from_slice(content);
                put_padding(&mut archive, content.len() as u64);
            }
        }
        put_end(&mut archive);
        let pieces = stream::iter([Ok::<_, Infallible>(archive.freeze())]);
        self.unpack(&Unpack { dir, create: false }, pieces).await?;
        Ok(())
    }

    /// Packs a file or tree of the guest's into an archive. An archive that breaks off ends with an error.
    pub async fn pack(
        &self,
        what: &Pack,
    ) -> Result<impl Stream<Item = Result<Bytes, GuestError>> + Send + Unpin + use<>, GuestError> {
        let request = "pack";
        let path = format!("/v1/files/pack?{}", what.to_query());
        let response = self.send(Method::GET, request, &path, &(), None);
        let body = with_limit(request, ANSWER_LIMIT, response).await?.into_body();
        Ok(Box::pin(stream::try_unfold(body, move |body| next_piece(request, body))))
    }

    /// What is at a path in the guest.
    pub async fn file_stat(&self, what: &FileAt) -> Result<FileStat, GuestError> {
        let path = format!("/v1/files/stat?{}", what.to_query());
        self.json(Method::GET, "stat", &path, &(), ANSWER_LIMIT).await
    }

    /// Has the file system of a path written to its disk, so that it is still there when the VM is killed.
    pub async fn sync(&self, what: &FileAt) -> Result<(), GuestError> {
        let path = format!("/v1/files/sync?{}", what.to_query());
        self.json(Method::POST, "sync", &path, &(), DISK_LIMIT).await
    }
}

/// The next piece of an answer, and the rest. Time counts only while somebody waits for it.
async fn next_piece(
    request: &'static str,
    mut body: Incoming,
) -> Result<Option<(Bytes, Incoming)>, GuestError> {
    loop {
        let frame = tokio::time::timeout(SILENCE_LIMIT, body.frame()).await;
        match frame.map_err(|_| GuestError::Stalled { request, limit: SILENCE_LIMIT })? {
            None => return Ok(None),
            Some(Err(source)) => return Err(GuestError::Http { request, source }),
            Some(Ok(frame)) => {
                if let Ok(piece) = frame.into_data() {
                    return Ok(Some((piece, body)));
                }
            }
        }
    }
}
