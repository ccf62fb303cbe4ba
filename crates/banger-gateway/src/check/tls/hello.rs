//! The server name in a ClientHello (RFC 8446, 4.1.2; RFC 6066, 3).

use crate::policy::{Name, NameProblem, Refusal, RefusalCode};

use super::malformed;

const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// The server name in the body of a hello. None if it has none, or an IP address, which is no name.
pub(super) fn server_name(body: &[u8]) -> Result<Option<Name>, Refusal> {
    let mut hello = Fields(body);
    let major = hello.take(2)?[0];
    if major != 3 {
        return Err(malformed("its version is unknown"));
    }
    hello.take(32)?;
    let session = hello.vector_u8()?;
    let ciphers = hello.vector_u16()?;
    let compressions = hello.vector_u8()?;
    if session.0.len() > 32 || ciphers.0.is_empty() || ciphers.0.len() % 2 != 0 || compressions.0.is_empty() {
        return Err(malformed("a field has a wrong length"));
    }
    if hello.0.is_empty() {
        return Ok(None);
    }
    let mut extensions = hello.vector_u16()?;
    hello.end()?;
    let mut name = None;
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let content = extensions.vector_u16()?;
        if kind == SERVER_NAME && name.replace(content).is_some() {
            return Err(malformed("it has the server name twice"));
        }
    }
    name.map_or(Ok(None), read_name)
}

/// One name of the type host name: the list could hold others, but no client has ever sent any.
fn read_name(mut extension: Fields<'_>) -> Result<Option<Name>, Refusal> {
    let mut list = extension.vector_u16()?;
    extension.end()?;
    let kind = list.take(1)?[0];
    let name = list.vector_u16()?;
    list.end()?;
    if kind != HOST_NAME {
        return Err(malformed("its server name is of an unknown type"));
    }
    match Name::from_bytes(name.0) {
        Ok(name) => Ok(Some(name)),
        Err(NameProblem::Number) => Ok(None),
        Err(problem) => Err(Refusal::new(
            RefusalCode::MalformedTls,
            format!("the server name in a TLS hello is no name: {problem}"),
        )),
    }
}

/// What is left to read of some bytes.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Refusal> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(|| malformed("a field is cut off"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, Refusal> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn vector_u8(&mut self) -> Result<Self, Refusal> {
        let length = self.take(1)?[0];
        self.take(length.into()).map(Self)
    }

    fn vector_u16(&mut self) -> Result<Self, Refusal> {
        let length = self.u16()?;
        self.take(length.into()).map(Self)
    }

    fn end(&self) -> Result<(), Refusal> {
        if self.0.is_empty() { Ok(()) } else { Err(malformed("bytes follow its end")) }
    }
}
