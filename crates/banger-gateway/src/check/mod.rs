//! Compares the names inside a connection with the name that was dialled. No I/O.
//!
//! A server at an allowed name's address may serve other names too. So what a guest sends is read as far as
//! it says which name it wants: the server name in TLS's hello, the Host of each HTTP/1 request. [`Check`] is
//! fed with both directions and says which bytes may go on to the server:
//!
//! ```text
//!             ┌─ 0x16 ───────────> TLS: hello ──> the server's answer ──> done
//!  opening ───┼─ "... HTTP/" ────> HTTP: head ──> body ──> head ──> ...
//!             │                                    └─> the server's answer ──> done, or head
//!             └─ another line ───> done
//! ```
//!
//! What has a name in it is held back whole until it was compared: a TLS hello, a request's head. Not even
//! half of it goes on, because some servers act on half a head when the connection ends (python's
//! `http.server`), and no client waits for an answer to half of one. Everything else goes on as it comes, so
//! protocols in which the server speaks first, or that are no HTTP, never notice.
//!
//! What is read is read strictly. Where two readings are possible (two lengths, a bare line feed, a folded
//! header) the server's may be another than ours, so it is refused; see `http` and `tls`.
//!
//! **Memory.** A check holds at most [`LIMIT`] bytes of a connection (in a buffer that may have twice the
//! room), whatever the guest sends, and nothing once it is done or between two requests.

mod http;
mod opening;
mod tls;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod hostile_http_tests;
#[cfg(test)]
mod hostile_tls_tests;
#[cfg(test)]
mod split_tests;

use crate::policy::{Agreement, Refusal, RefusalCode};

use http::Http;
use opening::{Opened, Opening};
use tls::Tls;

/// How many bytes of a connection are held back at most: a head, a hello, or what is sent before an answer.
pub const LIMIT: usize = 64 * 1024;

/// The check of one TCP connection.
#[derive(Debug)]
pub struct Check {
    agreement: Agreement,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Opening(Opening),
    Tls(Tls),
    Http(Http),
    Done,
    Refused(Refusal),
}

impl Check {
    pub fn new(agreement: Agreement) -> Self {
        let stage = if agreement.is_needed() { Stage::Opening(Opening::default()) } else { Stage::Done };
        Self { agreement, stage }
    }

    /// Takes what the guest sent, and appends to `onward` what may go on to the server: always the next bytes
    /// of what was pushed so far. After a refusal nothing goes on, what this call appended included; the
    /// connection to the server is to be reset, not closed, because some servers act on half a request at its
    /// end.
    pub fn push(&mut self, from_guest: &[u8], onward: &mut Vec<u8>) -> Result<(), Refusal> {
        let result = self.step(from_guest, onward);
        self.remember(result)
    }

    /// Takes what the server sent, before it goes on to the guest (all of it may). It is read only as far as
    /// it says how the guest's next bytes are to be read; `onward` gets what waited for that.
    pub fn answered(&mut self, from_server: &[u8], onward: &mut Vec<u8>) -> Result<(), Refusal> {
        let result = match &mut self.stage {
            Stage::Opening(opening) => {
                opening.answered(from_server);
                Ok(())
            }
            Stage::Tls(tls) => tls.answered(from_server, onward, &self.agreement),
            Stage::Http(http) => http.answered(from_server, onward, &self.agreement),
            Stage::Done => Ok(()),
            Stage::Refused(refusal) => Err(refusal.clone()),
        };
        self.settle();
        self.remember(result)
    }

    /// To be asked when the guest has sent all it will: a head or hello that was never completed is refused.
    /// With `Ok` and bytes still [held](Self::held), the end of the stream waits for [`Self::answered`] like
    /// them.
    pub fn finish(&mut self) -> Result<(), Refusal> {
        let result = match &self.stage {
            Stage::Tls(tls) => tls.finish(),
            Stage::Http(http) => http.finish(),
            Stage::Refused(refusal) => Err(refusal.clone()),
            Stage::Opening(_) | Stage::Done => Ok(()),
        };
        self.remember(result)
    }

    /// Whether nothing is read any more: bytes may be copied past the check in both directions.
    pub fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// How many bytes of the guest's are held back.
    pub fn held(&self) -> usize {
        match &self.stage {
            Stage::Tls(tls) => tls.held(),
            Stage::Http(http) => http.held(),
            Stage::Opening(_) | Stage::Done | Stage::Refused(_) => 0,
        }
    }

    fn step(&mut self, from_guest: &[u8], onward: &mut Vec<u8>) -> Result<(), Refusal> {
        let mut rest = from_guest;
        if let Stage::Opening(opening) = &mut self.stage {
            match opening.push(&mut rest, onward)? {
                Opened::NotYet => return Ok(()),
                Opened::Tls => self.stage = Stage::Tls(Tls::default()),
                Opened::Http { line, server_spoke } => {
                    self.stage = Stage::Http(Http::new(line, !server_spoke))
                }
                Opened::Other => self.stage = Stage::Done,
            }
        }
        match &mut self.stage {
            Stage::Tls(tls) => tls.push(rest, onward, &self.agreement)?,
            Stage::Http(http) => http.push(rest, onward, &self.agreement)?,
            Stage::Refused(refusal) => return Err(refusal.clone()),
            Stage::Opening(_) | Stage::Done => onward.extend_from_slice(rest),
        }
        self.settle();
        Ok(())
    }

    fn settle(&mut self) {
        let is_done = match &self.stage {
            Stage::Tls(tls) => tls.is_done(),
            Stage::Http(http) => http.is_done(),
            _ => false,
        };
        if is_done {
            self.stage = Stage::Done;
        }
    }

    fn remember(&mut self, result: Result<(), Refusal>) -> Result<(), Refusal> {
        if let Err(refusal) = &result {
            self.stage = Stage::Refused(refusal.clone());
        }
        result
    }
}

fn too_large(what: &str) -> Refusal {
    Refusal::new(RefusalCode::TooLarge, format!("{what} has more than {} KiB", LIMIT / 1024))
}
