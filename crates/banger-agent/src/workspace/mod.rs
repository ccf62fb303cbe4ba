//! A git repository that the host puts into the guest: see [`banger_guest_protocol::import`] for how it
//! comes.
//!
//! Nobody sees it half made: everything happens in a staging directory beside the place where it is to be,
//! which is moved there at the very end. What an import that broke off has left behind goes when the next one
//! begins.

mod finish;
mod index;
mod pack;
mod staging;

pub use staging::begin;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use banger_guest_protocol::import::{FinishEvent, RecordError};
use banger_guest_protocol::messages::{GuestError, GuestErrorKind};
use bytes::Bytes;
use hyper::body::Body;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::console::causes;
use crate::files::{QUEUED_CHUNKS, feed};
use crate::system_error::SystemError;

/// How often the host hears how much has been written.
const REPORT_INTERVAL: Duration = Duration::from_millis(250);

/// Why a repository could not be put into the guest.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    #[error("{} is not an absolute path of a directory that could be made", path.display())]
    Path { path: PathBuf },
    #[error("{} exists already, and is not an empty directory", path.display())]
    Occupied { path: PathBuf },
    #[error("the host's description of the repository cannot be read")]
    Record(#[from] RecordError),
    #[error("the host's description of the repository {what}")]
    Order { what: &'static str },
    #[error("{} has {found} bytes, and had {wanted} when it was sent", path.display())]
    Changed { path: PathBuf, found: u64, wanted: u64 },
    #[error(transparent)]
    System(#[from] SystemError),
    #[error("a thread of the agent's broke")]
    Thread(#[source] tokio::task::JoinError),
}

impl WorkspaceError {
    /// As the host is told.
    pub fn to_guest_error(&self) -> GuestError {
        let kind = match self {
            Self::Occupied { .. } | Self::Path { .. } => GuestErrorKind::Refused,
            _ => GuestErrorKind::Failed,
        };
        GuestError { message: self.to_string(), causes: causes(self), kind }
    }
}

/// Does what the records in `body` say. The events end with the work.
pub fn finish<B>(body: B) -> mpsc::Receiver<FinishEvent>
where
    B: Body<Data = Bytes, Error: Send> + Send + Unpin + 'static,
{
    let (records, inbox) = mpsc::channel(QUEUED_CHUNKS);
    let (events, reports) = mpsc::channel(1);
    tokio::spawn(feed(body, records));
    tokio::spawn(async move {
        let written = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&written);
        let mut work = spawn_blocking(move || finish::run(inbox, &counter));
        let mut ticks = tokio::time::interval(REPORT_INTERVAL);
        let mut reported = 0;
        let last = loop {
            tokio::select! {
                outcome = &mut work => break outcome,
                _ = ticks.tick() => {}
            }
            let bytes = written.load(Ordering::Relaxed);
            if bytes != reported {
                reported = bytes;
                // When nobody listens, nobody sends either, and the work ends for want of records.
                let _listening = events.send(FinishEvent::Written { bytes }).await;
            }
        };
        let last = match last {
            Ok(Ok(())) => FinishEvent::Done,
            Ok(Err(error)) => FinishEvent::Failed(error.to_guest_error()),
            Err(error) => FinishEvent::Failed(WorkspaceError::Thread(error).to_guest_error()),
        };
        // As above: a host that hung up needs no last word.
        let _listening = events.send(last).await;
    });
    reports
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use banger_guest_protocol::import::{Finish, ObjectFormat, Record, RecordCodec};
    use bytes::BytesMut;
    use futures_util::StreamExt as _;
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use tokio_util::codec::Encoder as _;

    use super::*;

    #[tokio::test]
    async fn the_host_hears_how_it_goes_while_it_sends() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| dir.path().join(name).into_os_string().into();
        let (records, inbox) = mpsc::unbounded_channel::<Bytes>();
        let inbox = futures_util::stream::unfold(inbox, async |mut inbox| Some((inbox.recv().await?, inbox)));
        let body = inbox.map(|chunk| Ok::<_, Infallible>(Frame::data(chunk)));
        let mut events = finish(StreamBody::new(Box::pin(body)));
        let send = |record| {
            let mut bytes = BytesMut::new();
            RecordCodec.encode(&record, &mut bytes).unwrap();
            records.send(bytes.freeze()).unwrap();
        };
        send(Record::Finish(Finish {
            staging: place("staging"),
            path: place("repo"),
            replace: false,
            inside: Default::default(),
            pack: Some("abcd".into()),
            object_format: ObjectFormat::Sha1,
            publish: true,
        }));
        send(Record::Pack(Bytes::from_static(b"four")));
        assert_eq!(events.recv().await, Some(FinishEvent::Written { bytes: 4 }));
        // Without an end the host broke off.
        drop(records);
        let last = events.recv().await;
        assert!(
            matches!(&last, Some(FinishEvent::Failed(error)) if error.message.ends_with("broke off")),
            "{last:?}"
        );
        assert_eq!(events.recv().await, None);
        assert!(!dir.path().join("repo").exists());
    }
}
