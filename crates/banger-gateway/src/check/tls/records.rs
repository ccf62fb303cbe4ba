//! TLS records, as far as a hello lies in them.

use crate::check::{LIMIT, too_large};
use crate::policy::Refusal;

use super::malformed;

const HEADER: usize = 5;
const MAX_FRAGMENT: usize = 1 << 14;
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;

/// SHA-256 of "HelloRetryRequest", which a server sends as its random to ask for another hello (RFC 8446,
/// 4.1.3).
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
    0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// Finds a ClientHello in the records that a guest sends.
#[derive(Debug)]
pub(super) struct Hello {
    /// Between the two hellos there may be records that belong to neither (early data).
    skips_others: bool,
    /// Up to here the bytes have been read as whole records.
    at: usize,
    /// How much of the message they have, with its first four bytes.
    have: usize,
    start: [u8; 4],
}

impl Hello {
    pub(super) fn first() -> Self {
        Self { skips_others: false, at: 0, have: 0, start: [0; 4] }
    }

    pub(super) fn second() -> Self {
        Self { skips_others: true, ..Self::first() }
    }

    /// Reads on in what is held, which starts where it started before, unless bytes of it were let go.
    /// Returns how much may go on, and the body of the hello if it is whole.
    pub(super) fn read(&mut self, held: &[u8]) -> Result<(usize, Option<Vec<u8>>), Refusal> {
        let mut free = 0;
        while let Some((kind, fragment)) = record(&held[self.at..])? {
            let is_other = self.skips_others && matches!(kind, CHANGE_CIPHER_SPEC | ALERT | APPLICATION_DATA);
            if kind != HANDSHAKE && !(is_other && self.have == 0) {
                return Err(malformed("another record than one of the handshake stands before its end"));
            }
            self.at += HEADER + fragment.len();
            if is_other {
                free = self.at;
                continue;
            }
            if self.add(fragment)? {
                let message = self.assemble(&held[free..self.at]);
                return Ok((self.at, Some(message)));
            }
        }
        self.at -= free;
        Ok((free, None))
    }

    /// Counts a fragment; true if the message is whole with it.
    fn add(&mut self, fragment: &[u8]) -> Result<bool, Refusal> {
        if fragment.is_empty() {
            return Err(malformed("a record is empty"));
        }
        let missing = self.start.len().saturating_sub(self.have).min(fragment.len());
        self.start[self.have.min(4)..][..missing].copy_from_slice(&fragment[..missing]);
        self.have += fragment.len();
        let [kind, length @ ..] = self.start;
        if kind != CLIENT_HELLO {
            return Err(malformed("the handshake starts with another message"));
        }
        if self.have < 4 {
            return Ok(false);
        }
        let needed = 4 + u32::from_be_bytes([0, length[0], length[1], length[2]]) as usize;
        if needed > LIMIT {
            return Err(too_large("a TLS hello"));
        }
        if self.have > needed {
            return Err(malformed("another message follows it in the same record"));
        }
        Ok(self.have == needed)
    }

    /// The message's body, out of whole records of the handshake.
    fn assemble(&self, mut records: &[u8]) -> Vec<u8> {
        let mut message = Vec::with_capacity(self.have);
        while let Ok(Some((_, fragment))) = record(records) {
            message.extend_from_slice(fragment);
            records = &records[HEADER + fragment.len()..];
        }
        message.drain(..4);
        message
    }
}

/// The first record's type and fragment, once it is whole. A wrong header is seen as soon as it is there.
fn record(bytes: &[u8]) -> Result<Option<(u8, &[u8])>, Refusal> {
    if bytes.first().is_some_and(|kind| !(CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(kind)) {
        return Err(malformed("a record has an unknown type"));
    }
    if bytes.get(1).is_some_and(|major| *major != 3) {
        return Err(malformed("a record has an unknown version"));
    }
    let [kind, _, _, high, low, rest @ ..] = bytes else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    // Ciphertext may be a little longer; a hello is none.
    if length > MAX_FRAGMENT + if *kind == HANDSHAKE { 0 } else { 256 } {
        return Err(malformed("a record is too long"));
    }
    Ok(rest.get(..length).map(|fragment| (*kind, fragment)))
}

/// Reads the start of what a server answers to a hello.
#[derive(Debug, Default)]
pub(super) struct ServerHello {
    header: Vec<u8>,
    /// What is left of the record that is being read.
    left: usize,
    message: Vec<u8>,
}

impl ServerHello {
    /// Whether the server asks for another hello, once that is known. What is no ServerHello asks for
    /// nothing.
    pub(super) fn push(&mut self, from_server: &[u8]) -> Option<bool> {
        // Type, length and version before the random.
        const BEFORE: usize = 6;
        for byte in from_server {
            if self.left == 0 {
                self.header.push(*byte);
                let [kind, major, _, high, low] = self.header[..] else { continue };
                if kind != HANDSHAKE || major != 3 {
                    return Some(false);
                }
                self.left = usize::from(u16::from_be_bytes([high, low]));
                self.header.clear();
                continue;
            }
            self.left -= 1;
            self.message.push(*byte);
            if self.message[0] != SERVER_HELLO {
                return Some(false);
            }
            if let Some(random) = self.message.get(BEFORE..BEFORE + RETRY.len()) {
                return Some(random == RETRY);
            }
        }
        None
    }
}
