//! TLS: the server name in the hello.
//!
//! A hello may be split over records. A second one follows in clear if the server asks for it
//! (HelloRetryRequest), and servers take the name out of that, so it is compared as well: after the first
//! hello the guest's bytes wait for the first 43 of the server's. A client waits for those itself, but for
//! 0-RTT data, which then save no time.
//!
//! With Encrypted Client Hello the outer name is what is compared; the inner one cannot be seen.

mod hello;
mod records;

use crate::policy::{Agreement, Refusal, RefusalCode};

use super::{LIMIT, too_large};
use records::{Hello, ServerHello};

#[derive(Debug, Default)]
pub(super) struct Tls {
    held: Vec<u8>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    First(Hello),
    Answer(ServerHello),
    Second(Hello),
    Done,
}

impl Default for Phase {
    fn default() -> Self {
        Self::First(Hello::first())
    }
}

impl Tls {
    pub(super) fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Done)
    }

    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    pub(super) fn finish(&self) -> Result<(), Refusal> {
        match self.phase {
            Phase::First(_) => Err(malformed("it ends in the middle")),
            // An alert may be what ends the stream, but half a hello is not let go.
            Phase::Second(_) if !self.held.is_empty() => Err(malformed("it ends in the middle")),
            _ => Ok(()),
        }
    }

    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        onward: &mut Vec<u8>,
        agreement: &Agreement,
    ) -> Result<(), Refusal> {
        self.held.extend_from_slice(bytes);
        self.read(onward, agreement)?;
        if self.held.len() > LIMIT {
            return Err(too_large("a TLS hello or what was sent before the server answered it"));
        }
        Ok(())
    }

    pub(super) fn answered(
        &mut self,
        from_server: &[u8],
        onward: &mut Vec<u8>,
        agreement: &Agreement,
    ) -> Result<(), Refusal> {
        let Phase::Answer(server) = &mut self.phase else { return Ok(()) };
        match server.push(from_server) {
            None => return Ok(()),
            Some(true) => self.phase = Phase::Second(Hello::second()),
            Some(false) => self.phase = Phase::Done,
        }
        self.read(onward, agreement)
    }

    fn read(&mut self, onward: &mut Vec<u8>, agreement: &Agreement) -> Result<(), Refusal> {
        if let Phase::First(hello) | Phase::Second(hello) = &mut self.phase {
            let (end, message) = hello.read(&self.held)?;
            if let Some(message) = message {
                agreement.permits(hello::server_name(&message)?.as_ref(), "the server name of TLS")?;
                let is_first = matches!(self.phase, Phase::First(_));
                self.phase = if is_first { Phase::Answer(ServerHello::default()) } else { Phase::Done };
            }
            onward.extend(self.held.drain(..end));
        }
        if let Phase::Done = self.phase {
            onward.append(&mut self.held);
        }
        Ok(())
    }
}

fn malformed(why: &str) -> Refusal {
    Refusal::new(RefusalCode::MalformedTls, format!("a TLS hello cannot be read: {why}"))
}
