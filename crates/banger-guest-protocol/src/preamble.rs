//! Finding the start of a session on a channel that outlives sessions.
//!
//! A virtio-serial port is one endless byte pipe. When bangerd dies in the middle of a session, bytes of that
//! session are still on their way in both directions, and nothing in the pipe marks where the next one
//! begins. So:
//!
//! - The **host** opens with [`FLUSH_LEN`] bytes of 0xFF. They push whatever half frame the guest's
//!   multiplexer was still waiting for over its end, and no valid frame begins with 0xFF, so the old session
//!   in the guest dies of a clear error. Then it sends a [`greeting`] with a fresh session id, again every
//!   250 ms until it is answered.
//! - The **guest** skips bytes until a complete greeting, answers with [`answer`] (the id it saw, and its
//!   [`Hello`]), and the multiplexer starts on the very next byte.
//! - The host skips bytes until the answer with its own id. Repeated greetings that were still under way are
//!   [`GREETING_LEN`] bytes each; the guest drops those that directly follow the first one (see
//!   [`GreetingScanner`]).
//! - A guest that looks for a greeting and gets multiplexer frames has lost a session that the host still
//!   believes in (a port's hang-up and its data reach the guest by different ways). It sends [`FLUSH_LEN`]
//!   bytes of 0xFF once, of which the host's session dies as clearly as the guest's would.
//!
//! A greeting has a fixed length, an answer is one line.

use serde::{Deserialize, Serialize};

const GREETING_MAGIC: &[u8] = b"\nBANGER-HOST ";
const ANSWER_MAGIC: &[u8] = b"\nBANGER-GUEST ";

/// How many bytes of 0xFF end the other side's session: more than the body of the largest multiplexer frame
/// that either side ever sends.
pub const FLUSH_LEN: usize = 32 * 1024;

/// Length of a greeting in bytes.
pub const GREETING_LEN: usize = GREETING_MAGIC.len() + SESSION_ID_LEN + 1;

/// Longest answer a host accepts, in bytes.
pub const ANSWER_MAX_LEN: usize = 4096;

const SESSION_ID_LEN: usize = 32;

/// 128 random bits in lower-case hex: tells this session's answer from an older one's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionId(String);

impl SessionId {
    /// Makes an id from random bytes.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(hex::encode(bytes))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let hex =
            bytes.len() == SESSION_ID_LEN && bytes.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        hex.then(|| Self(String::from_utf8_lossy(bytes).into_owned()))
    }
}

/// The guest's first words: who is there, before any disk or network driver is loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The agent's [`crate::PROTOCOL_VERSION`].
    pub protocol: u32,
    /// The agent's build, for people: `0.1.0 (0123abcd)`.
    pub agent_build: String,
    /// The guest kernel's release, as `uname -r` prints it.
    pub kernel_release: String,
    /// Time since the guest's kernel started, in milliseconds.
    pub uptime_ms: u64,
}

/// What the host sends to begin a session.
pub fn greeting(session: &SessionId) -> Vec<u8> {
    [GREETING_MAGIC, session.0.as_bytes(), b"\n"].concat()
}

/// What the guest answers.
pub fn answer(session: &SessionId, hello: &Hello) -> Vec<u8> {
    let hello = serde_json::to_string(hello).unwrap_or_default();
    [ANSWER_MAGIC, session.0.as_bytes(), b" ", hello.as_bytes(), b"\n"].concat()
}

/// The guest's search for a greeting. Feed it what the port yields, byte by byte.
#[derive(Default)]
pub struct GreetingScanner {
    window: Vec<u8>,
}

impl GreetingScanner {
    /// Takes one byte; answers the session id when it completes a greeting.
    pub fn push(&mut self, byte: u8) -> Option<SessionId> {
        // A line feed ends a greeting and begins one, and stands nowhere else in it. So nothing has to be
        // looked at twice.
        if byte == b'\n' {
            let id = self.window.strip_prefix(GREETING_MAGIC).and_then(SessionId::parse);
            self.window.clear();
            self.window.push(byte);
            return id;
        }
        if !self.window.is_empty() {
            self.window.push(byte);
            let magic_len = self.window.len().min(GREETING_MAGIC.len());
            if self.window.len() >= GREETING_LEN || self.window[..magic_len] != GREETING_MAGIC[..magic_len] {
                self.window.clear();
            }
        }
        None
    }
}

/// Is this the beginning of a (repeated) greeting? A multiplexer frame never is: it begins with a zero byte.
pub fn starts_greeting(byte: u8) -> bool {
    byte == GREETING_MAGIC[0]
}

/// Is this the beginning of a multiplexer frame? In a greeting and in a flush it never stands.
pub fn starts_frame(byte: u8) -> bool {
    byte == 0
}

/// Why the host did not get an answer out of what the guest sent.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    #[error("the guest's hello is not valid")]
    Hello(#[from] serde_json::Error),
    #[error("the guest's hello is longer than {ANSWER_MAX_LEN} bytes")]
    TooLong,
}

/// The host's search for the answer to its own greeting.
pub struct AnswerScanner {
    start: Vec<u8>,
    window: Vec<u8>,
    in_hello: bool,
}

impl AnswerScanner {
    pub fn new(session: &SessionId) -> Self {
        let start = [ANSWER_MAGIC, session.0.as_bytes(), b" "].concat();
        Self { start, window: Vec::new(), in_hello: false }
    }

    /// Takes one byte; answers the hello when it completes one.
    ///
    /// # Errors
    ///
    /// When the guest answered this session with something that is no hello.
    pub fn push(&mut self, byte: u8) -> Result<Option<Hello>, AnswerError> {
        if self.in_hello {
            if byte == b'\n' {
                return Ok(Some(serde_json::from_slice(&self.window)?));
            }
            if self.window.len() >= ANSWER_MAX_LEN {
                return Err(AnswerError::TooLong);
            }
            self.window.push(byte);
            return Ok(None);
        }
        self.window.push(byte);
        if self.window.len() > self.start.len() {
            self.window.remove(0);
        }
        if self.window == self.start {
            self.window.clear();
            self.in_hello = true;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello() -> Hello {
        Hello {
            protocol: crate::PROTOCOL_VERSION,
            agent_build: "0.1.0 (test)".into(),
            kernel_release: "6.12.1".into(),
            uptime_ms: 1234,
        }
    }

    fn scan_greeting(bytes: &[u8]) -> Option<(SessionId, usize)> {
        let mut scanner = GreetingScanner::default();
        bytes.iter().enumerate().find_map(|(at, byte)| Some((scanner.push(*byte)?, at + 1)))
    }

    proptest! {
        #[test]
        fn a_greeting_is_found_behind_any_left_overs(junk: Vec<u8>, id: [u8; 16]) {
            let session = SessionId::from_random(id);
            let bytes = [&junk[..], &[0xFF; 64], &greeting(&session)].concat();
            prop_assert_eq!(scan_greeting(&bytes), Some((session, bytes.len())));
        }

        #[test]
        fn an_answer_to_another_session_is_skipped(junk: Vec<u8>, old: [u8; 16], new: [u8; 16]) {
            prop_assume!(old != new);
            let (old, new) = (SessionId::from_random(old), SessionId::from_random(new));
            let bytes = [&junk[..], &answer(&old, &hello()), &junk, &answer(&new, &hello())].concat();
            let mut scanner = AnswerScanner::new(&new);
            let found = bytes.iter().find_map(|byte| scanner.push(*byte).unwrap());
            prop_assert_eq!(found, Some(hello()));
        }
    }

    #[test]
    fn an_endless_hello_is_refused() {
        let session = SessionId::from_random([7; 16]);
        let mut scanner = AnswerScanner::new(&session);
        let start = [ANSWER_MAGIC, session.0.as_bytes(), b" "].concat();
        let endless = start.into_iter().chain(std::iter::repeat_n(b'x', ANSWER_MAX_LEN + 1));
        let result = endless.map(|byte| scanner.push(byte)).find(Result::is_err);
        assert!(matches!(result, Some(Err(AnswerError::TooLong))));
    }
}
