//! HTTP/1: every request on a connection, one after the other.
//!
//! The requests of a connection are found by their lengths, so the lengths must have one reading only: this
//! is how requests are smuggled past checks. Refused are both Content-Length and Transfer-Encoding, either of
//! them twice, any coding but `chunked`, bare CR and LF, folded headers, NUL, and names that a gateway
//! interface turns into another (`Content_Length`).
//!
//! After an `Upgrade` or a `CONNECT` the connection may become another protocol. It is let go only if that
//! was its first request and the server agreed (101, or 2xx to CONNECT): then the first answer of the server
//! must be the answer to it. On a connection that was used before, the next bytes must be HTTP/1 still.

mod answer;
mod body;
mod request;

use crate::policy::{Agreement, Refusal, RefusalCode};

use super::{LIMIT, too_large};
use answer::Answer;
use body::Body;
use request::Switch;

#[derive(Debug)]
pub(super) struct Http {
    part: Part,
    /// The request that may turn the connection into something else, until that is known.
    switch: Option<(Switch, Answer)>,
    /// Whether the server's first answer is still to come, and nothing was said before.
    is_first: bool,
}

#[derive(Debug)]
enum Part {
    /// `gone` bytes of the head went on before it was known to be one.
    Head {
        bytes: Vec<u8>,
        gone: usize,
    },
    Body(Body),
    /// What was sent after a request that may switch, before the answer to it.
    Waiting(Vec<u8>),
    Switched,
}

impl Http {
    /// `line` is the start of the first request, which has gone on already. Without `may_switch` the server
    /// has said something that was no answer.
    pub(super) fn new(line: Vec<u8>, may_switch: bool) -> Self {
        let gone = line.len();
        Self { part: Part::Head { bytes: line, gone }, switch: None, is_first: may_switch }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.part, Part::Switched)
    }

    pub(super) fn held(&self) -> usize {
        match &self.part {
            Part::Head { bytes, gone } => bytes.len() - gone,
            Part::Waiting(bytes) => bytes.len(),
            Part::Body(_) | Part::Switched => 0,
        }
    }

    pub(super) fn finish(&self) -> Result<(), Refusal> {
        match &self.part {
            Part::Head { bytes, .. } if !bytes.is_empty() => {
                Err(malformed("it ends in the middle of its head"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn push(
        &mut self,
        mut rest: &[u8],
        onward: &mut Vec<u8>,
        agreement: &Agreement,
    ) -> Result<(), Refusal> {
        while !rest.is_empty() {
            match &mut self.part {
                Part::Head { .. } => self.push_head(&mut rest, onward, agreement)?,
                Part::Body(body) => {
                    let (taken, is_whole) = body.push(rest)?;
                    onward.extend_from_slice(&rest[..taken]);
                    rest = &rest[taken..];
                    if is_whole {
                        self.after_body(onward)?;
                    }
                }
                Part::Waiting(bytes) => {
                    bytes.extend_from_slice(rest);
                    if bytes.len() > LIMIT {
                        return Err(too_large("what was sent before the server agreed to switch protocols"));
                    }
                    return Ok(());
                }
                Part::Switched => {
                    onward.extend_from_slice(rest);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn push_head(
        &mut self,
        rest: &mut &[u8],
        onward: &mut Vec<u8>,
        agreement: &Agreement,
    ) -> Result<(), Refusal> {
        let Part::Head { bytes, gone } = &mut self.part else { return Ok(()) };
        while let Some((byte, after)) = rest.split_first() {
            *rest = after;
            request::check_byte(bytes, *byte)?;
            bytes.push(*byte);
            if bytes == b"\r\n" {
                // Servers skip empty lines before a request.
                onward.extend_from_slice(&bytes[*gone..]);
                bytes.clear();
                *gone = 0;
            } else if bytes.ends_with(b"\r\n\r\n") {
                let request = request::read(bytes, agreement)?;
                onward.extend_from_slice(&bytes[*gone..]);
                if self.is_first {
                    self.switch = request.switch.map(|switch| (switch, Answer::default()));
                }
                self.is_first = false;
                self.part = Part::Body(request.body);
                return self.after_body(onward);
            } else if bytes.len() > LIMIT {
                return Err(too_large("the head of an HTTP request"));
            }
        }
        Ok(())
    }

    /// Goes on to the next request, if the body of this one is whole.
    fn after_body(&mut self, onward: &mut Vec<u8>) -> Result<(), Refusal> {
        if let Part::Body(body) = &self.part
            && body.is_whole()
        {
            self.part = match self.switch {
                Some(_) => Part::Waiting(Vec::new()),
                None => Part::Head { bytes: Vec::new(), gone: 0 },
            };
        }
        self.decide(onward).map(|_| ())
    }

    pub(super) fn answered(
        &mut self,
        from_server: &[u8],
        onward: &mut Vec<u8>,
        agreement: &Agreement,
    ) -> Result<(), Refusal> {
        let Some((_, answer)) = &mut self.switch else {
            // What is said before the first head is whole is no answer to it.
            self.is_first &= from_server.is_empty();
            return Ok(());
        };
        answer.push(from_server);
        match self.decide(onward)? {
            Some(held) => self.push(&held, onward, agreement),
            None => Ok(()),
        }
    }

    /// Follows the server's answer, once it is there and the request is whole. What is returned was held
    /// back, and is to be read as requests.
    fn decide(&mut self, onward: &mut Vec<u8>) -> Result<Option<Vec<u8>>, Refusal> {
        let (Part::Waiting(held), Some((switch, answer))) = (&mut self.part, &self.switch) else {
            return Ok(None);
        };
        let Some(status) = answer.status() else { return Ok(None) };
        let held = std::mem::take(held);
        let switched = switch.is_agreed_by(status);
        if switched && *switch == Switch::Http2 {
            return Err(request::cleartext_http2());
        }
        self.switch = None;
        if switched {
            onward.extend_from_slice(&held);
            self.part = Part::Switched;
            return Ok(None);
        }
        self.part = Part::Head { bytes: Vec::new(), gone: 0 };
        Ok(Some(held))
    }
}

fn malformed(why: &str) -> Refusal {
    Refusal::new(RefusalCode::MalformedHttp, format!("an HTTP request cannot be read in only one way: {why}"))
}
