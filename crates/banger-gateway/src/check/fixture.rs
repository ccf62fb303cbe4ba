//! Connections for the tests: who sends what, hellos made by hand, and hellos as OpenSSL 3.0 sends them.

use super::Check;
use crate::policy::{Agreement, Entry, Name, RefusalCode};

/// A piece of a conversation.
pub(super) enum Sent<'a> {
    Guest(&'a [u8]),
    Server(&'a [u8]),
}

/// The check under a list, for a connection to `allowed.example`.
pub(super) fn same() -> Agreement {
    Agreement::Same(Name::from_user("allowed.example").unwrap())
}

/// The check under `internet,!denied.example`.
pub(super) fn none_of() -> Agreement {
    Agreement::NoneOf([Entry::parse("denied.example").unwrap()].into())
}

/// What reaches the server, or the code of the refusal, once the guest has closed its side.
pub(super) fn talk(agreement: Agreement, conversation: &[Sent<'_>]) -> Result<Vec<u8>, RefusalCode> {
    let mut check = Check::new(agreement);
    let mut onward = Vec::new();
    for sent in conversation {
        match sent {
            Sent::Guest(bytes) => check.push(bytes, &mut onward),
            Sent::Server(bytes) => check.answered(bytes, &mut onward),
        }
        .map_err(|refusal| refusal.code)?;
    }
    check.finish().map_err(|refusal| refusal.code)?;
    Ok(onward)
}

/// The same, with the guest's bytes one at a time.
pub(super) fn talk_slowly(agreement: Agreement, conversation: &[Sent<'_>]) -> Result<Vec<u8>, RefusalCode> {
    let slow: Vec<_> = conversation
        .iter()
        .flat_map(|sent| match sent {
            Sent::Guest(bytes) => bytes.chunks(1).map(Sent::Guest).collect::<Vec<_>>(),
            Sent::Server(bytes) => bytes.chunks(1).map(Sent::Server).collect(),
        })
        .collect();
    talk(agreement, &slow)
}

/// Sent at once by a guest that waits for nothing; in one piece and in single bytes it comes to the same.
pub(super) fn send(agreement: &Agreement, bytes: &[u8]) -> Result<Vec<u8>, RefusalCode> {
    let at_once = talk(agreement.clone(), &[Sent::Guest(bytes)]);
    let slowly = talk_slowly(agreement.clone(), &[Sent::Guest(bytes)]);
    assert_eq!(at_once, slowly, "{}", String::from_utf8_lossy(bytes));
    at_once
}

pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

/// What a server and a client of OpenSSL 3.0 sent for `allowed.example`.
pub(super) mod openssl {
    pub(in crate::check) const HELLO: &str = include_str!("fixtures/hello.hex");
    pub(in crate::check) const SERVER_HELLO: &str = include_str!("fixtures/server_hello.hex");
    pub(in crate::check) const RETRIED_HELLO: &str = include_str!("fixtures/retried_hello.hex");
    pub(in crate::check) const RETRY_REQUEST: &str = include_str!("fixtures/retry_request.hex");
    /// With the record for middle boxes before it.
    pub(in crate::check) const SECOND_HELLO: &str = include_str!("fixtures/second_hello.hex");
}

fn with_u16_length(bytes: &[u8]) -> Vec<u8> {
    let mut all = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    all.extend_from_slice(bytes);
    all
}

pub(super) fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    let mut all = kind.to_be_bytes().to_vec();
    all.extend(with_u16_length(content));
    all
}

pub(super) fn host_name(kind: u8, name: &[u8]) -> Vec<u8> {
    let mut all = vec![kind];
    all.extend(with_u16_length(name));
    all
}

pub(super) fn server_name(name: &[u8]) -> Vec<u8> {
    extension(0, &with_u16_length(&host_name(0, name)))
}

pub(super) fn server_names(list: &[u8]) -> Vec<u8> {
    extension(0, &with_u16_length(list))
}

/// The body of a hello with these extensions.
pub(super) fn hello_body(extensions: &[u8]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    body.extend(with_u16_length(extensions));
    body
}

/// A handshake message of this type.
pub(super) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind, length[1], length[2], length[3]], body].concat()
}

pub(super) fn record(kind: u8, fragment: &[u8]) -> Vec<u8> {
    [&[kind, 3, 1][..], &with_u16_length(fragment)].concat()
}

/// A hello in one record.
pub(super) fn hello(extensions: &[u8]) -> Vec<u8> {
    record(22, &message(1, &hello_body(extensions)))
}
