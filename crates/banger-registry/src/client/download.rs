//! One file from a server that may break off, begin anew, or lie.

use reqwest::StatusCode;
use reqwest::header::CONTENT_RANGE;

use super::Client;
use super::exchange::Question;
use super::progress::Share;
use crate::answer;
use crate::digest::Digest;
use crate::error::{Answer, RegistryError, Size};
use crate::store::Sink;
use crate::transport::{Call, Endpoint, Reply, RetryPolicy};

/// So much more than before shows that trying again helps, in bytes.
const PROGRESS_BYTES: u64 = 64 << 10;

/// Where the bytes are.
#[derive(Debug)]
pub(super) enum Source<'a> {
    Blob { endpoint: &'a Endpoint, repository: &'a str, digest: Digest },
    File { endpoint: &'a Endpoint, url: &'a reqwest::Url },
}

/// What is to come of it.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    /// For messages.
    pub(super) what: &'a str,
    pub(super) digest: Digest,
    pub(super) size: Size,
}

/// How an attempt ended that did not fail.
enum Ended {
    Whole,
    /// The server closed in good order, and too soon.
    Short,
}

impl Client {
    /// Fills a file with exactly what is wanted, from where it stopped before. It is flushed to the disk in
    /// the end.
    ///
    /// # Errors
    /// What has arrived is kept for another time where that may help, and removed where it was a lie.
    pub(super) async fn download(
        &self,
        source: &Source<'_>,
        wanted: &Wanted<'_>,
        sink: &mut Sink,
        share: &mut Share<'_>,
    ) -> Result<(), RegistryError> {
        let reused = sink.len();
        share.set(reused, reused);
        // A file of unknown length may be whole already.
        let whole_already = reused > 0 && wanted.size.allows(reused) && sink.digest() == wanted.digest;
        if !whole_already && let Err(error) = self.fill(source, wanted, sink, share).await {
            if matches!(error, RegistryError::WrongSize { .. } | RegistryError::WrongDigest { .. }) {
                sink.discard();
            }
            return Err(error);
        }
        sink.make_durable().await
    }

    /// Transfers until the digest is right. If the file is of several pieces and wrong, one more try begins
    /// at the first byte: the pieces may have been of different files, what comes in one piece is the
    /// server's own word.
    async fn fill(
        &self,
        source: &Source<'_>,
        wanted: &Wanted<'_>,
        sink: &mut Sink,
        share: &mut Share<'_>,
    ) -> Result<(), RegistryError> {
        let mut resumed = sink.len() > 0;
        let mut restarted = false;
        loop {
            self.transfer(source, wanted, sink, share, &mut resumed).await?;
            let found = sink.digest();
            if found == wanted.digest {
                return Ok(());
            }
            if !resumed || restarted {
                let what = wanted.what.to_owned();
                return Err(RegistryError::WrongDigest { what, expected: wanted.digest, found });
            }
            restarted = true;
            resumed = false;
            sink.restart().await?;
            share.set(0, 0);
        }
    }

    /// Transfers until the end, over as many attempts as bring something new. Says whether the file is of
    /// more than one.
    async fn transfer(
        &self,
        source: &Source<'_>,
        wanted: &Wanted<'_>,
        sink: &mut Sink,
        share: &mut Share<'_>,
        resumed: &mut bool,
    ) -> Result<(), RegistryError> {
        let mut retries = RetryPolicy::new(self.transport.retries);
        loop {
            if wanted.size == Size::Exactly(sink.len()) {
                return sink.flush().await;
            }
            let before = sink.len();
            *resumed |= before > 0;
            let failure = match self.attempt(source, wanted, sink, share, resumed).await {
                Ok(Ended::Whole) => return Ok(()),
                Ok(Ended::Short) => None,
                Err(failure) => Some(failure),
            };
            if sink.len() >= before + PROGRESS_BYTES {
                retries.renew();
            }
            match failure {
                Some(failure) => retries.wait_out(failure).await?,
                None if retries.wait().await => {}
                None => return Err(wrong_size(wanted, format!("only {} bytes", sink.len()))),
            }
        }
    }

    async fn attempt(
        &self,
        source: &Source<'_>,
        wanted: &Wanted<'_>,
        sink: &mut Sink,
        share: &mut Share<'_>,
        resumed: &mut bool,
    ) -> Result<Ended, RegistryError> {
        let mut reply = self.open(source, wanted.what, sink.len()).await?;
        if !continues(&reply, wanted, sink.len())? {
            sink.restart().await?;
            *resumed = false;
            share.set(0, 0);
            if reply.status() == StatusCode::RANGE_NOT_SATISFIABLE {
                reply = self.open(source, wanted.what, 0).await?;
                continues(&reply, wanted, 0)?;
            }
        }
        let reused = share.reused_bytes();
        if let Some(announced) = reply.announced_bytes() {
            let whole = sink.len().saturating_add(announced);
            if !wanted.size.allows(whole) {
                return Err(wrong_size(wanted, format!("{whole} bytes")));
            }
        }
        let received = loop {
            match reply.chunk().await {
                Ok(Some(chunk))
                    if chunk.len() as u64 > wanted.size.limit_bytes().saturating_sub(sink.len()) =>
                {
                    break Err(wrong_size(wanted, "more".to_owned()));
                }
                Ok(Some(chunk)) => {
                    sink.push(chunk).await?;
                    share.set(sink.len(), reused);
                }
                Ok(None) => break Ok(()),
                Err(failure) => break Err(failure),
            }
        };
        sink.flush().await?;
        received?;
        Ok(if wanted.size.allows(sink.len()) { Ended::Whole } else { Ended::Short })
    }

    async fn open(&self, source: &Source<'_>, what: &str, from_byte: u64) -> Result<Reply, RegistryError> {
        match source {
            Source::Blob { endpoint, repository, digest } => {
                let path = format!("blobs/{digest}");
                let question = Question { endpoint, repository, path, what, accept: None, from_byte };
                Ok(self.ask(&question).await?.reply)
            }
            Source::File { endpoint, url } => {
                let call = Call { from_byte, ..Call::get((*url).clone(), what) };
                let reply = self.transport.send(endpoint, call).await?;
                if reply.status() == StatusCode::RANGE_NOT_SATISFIABLE && from_byte > 0 {
                    return Ok(reply);
                }
                answer::successful(reply).await
            }
        }
    }
}

/// Whether the reply goes on from this byte; if not, it begins at the first or is no content at all.
fn continues(reply: &Reply, wanted: &Wanted<'_>, from_byte: u64) -> Result<bool, RegistryError> {
    if reply.status() != StatusCode::PARTIAL_CONTENT {
        return Ok(from_byte == 0 && reply.status() == StatusCode::OK);
    }
    let range = reply.header(&CONTENT_RANGE).and_then(parse_range);
    match range {
        Some((_, Some(total))) if !wanted.size.allows(total) => {
            Err(wrong_size(wanted, format!("{total} bytes")))
        }
        Some((first, _)) if first == from_byte && from_byte > 0 => Ok(true),
        _ => {
            let message = Some("a part of the file that was not asked for".to_owned());
            let answer = Answer { status: 206, message };
            Err(RegistryError::Unexpected { asked: reply.asked().clone(), answer })
        }
    }
}

/// `bytes FIRST-LAST/TOTAL`: the first byte and the total, where it is told.
fn parse_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    (first <= last).then_some((first, total))
}

fn wrong_size(wanted: &Wanted<'_>, found: String) -> RegistryError {
    RegistryError::WrongSize { what: wanted.what.to_owned(), expected: wanted.size, found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_or_refused() {
        assert_eq!(parse_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(parse_range("bytes 0-0/*"), Some((0, None)));
        for text in ["", "bytes", "bytes */10", "bytes 9-5/10", "bytes -5/10", "lines 1-2/3", "bytes 1-2/x"] {
            assert_eq!(parse_range(text), None, "{text}");
        }
    }
}
