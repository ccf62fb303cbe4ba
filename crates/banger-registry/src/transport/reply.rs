//! An answer on its way in: bounded in size, and in how long it may stand still.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName};
use reqwest::{Response, StatusCode};
use tokio::time::{Instant, timeout};

use super::fault;
use crate::error::{Asked, RegistryError};

/// What must come within the stall time for a transfer to count as alive, in bytes.
const SIGN_OF_LIFE: u64 = 1024;

/// A small document may take this many times the stall time as a whole.
const SMALL_TIMES: u32 = 4;

/// A response whose head has arrived.
#[derive(Debug)]
pub(crate) struct Reply {
    asked: Asked,
    response: Response,
    /// Whether the host that was asked answered itself, and not one it sent us on to.
    pub(crate) first_hand: bool,
    stall: Duration,
    waited: Duration,
    came_bytes: u64,
}

impl Reply {
    pub(super) fn new(asked: Asked, response: Response, first_hand: bool, stall: Duration) -> Self {
        Self { asked, response, first_hand, stall, waited: Duration::ZERO, came_bytes: 0 }
    }

    pub(crate) fn asked(&self) -> &Asked {
        &self.asked
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// A header's text, if it has one.
    pub(crate) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.response.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// The length that the server announces.
    pub(crate) fn announced_bytes(&self) -> Option<u64> {
        self.header(&reqwest::header::CONTENT_LENGTH).and_then(|text| text.parse().ok())
    }

    /// The next bytes, or nothing at the end.
    ///
    /// # Errors
    /// Where the connection breaks, or next to nothing comes for the stall time. Time spent elsewhere does
    /// not count.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        let since = Instant::now();
        let left = self.stall.saturating_sub(self.waited);
        let chunk = timeout(left, self.response.chunk())
            .await
            .map_err(|_| fault::stalled(self.asked.clone(), self.stall))?
            .map_err(|source| fault::of_body(self.asked.clone(), source))?;
        self.waited += since.elapsed();
        self.came_bytes += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        if self.came_bytes >= SIGN_OF_LIFE {
            self.came_bytes = 0;
            self.waited = Duration::ZERO;
        }
        Ok(chunk)
    }

    /// The whole of a small answer.
    ///
    /// # Errors
    /// As [`Self::chunk`], and [`RegistryError::TooLarge`] past the limit.
    pub(crate) async fn bytes(mut self, limit_bytes: u64) -> Result<Vec<u8>, RegistryError> {
        let too_large = |asked: &Asked| RegistryError::TooLarge { what: asked.what.clone(), limit_bytes };
        if self.announced_bytes().is_some_and(|announced| announced > limit_bytes) {
            return Err(too_large(&self.asked));
        }
        let asked = self.asked.clone();
        let all = self.stall.saturating_mul(SMALL_TIMES);
        let reading = async {
            let mut body = Vec::new();
            while let Some(chunk) = self.chunk().await? {
                if (body.len() + chunk.len()) as u64 > limit_bytes {
                    return Err(too_large(&self.asked));
                }
                body.extend_from_slice(&chunk);
            }
            Ok(body)
        };
        timeout(all, reading).await.unwrap_or_else(|_| Err(fault::stalled(asked, all)))
    }

    /// The first bytes of an answer, whatever becomes of the rest.
    pub(crate) async fn beginning(mut self, limit_bytes: usize) -> Vec<u8> {
        let mut body = Vec::new();
        while body.len() < limit_bytes {
            match self.chunk().await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                _ => break,
            }
        }
        body.truncate(limit_bytes);
        body
    }
}
