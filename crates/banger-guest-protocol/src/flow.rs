//! What the guest's network and its gateway on the host say to each other: flows, not packets.
//!
//! They have a channel of their own, a virtio-serial port named [`PORT_NAME`], so that it lives without the
//! daemon. It begins as [`crate::preamble`] says, with [`FLUSH_LEN`] in the place of its length; then both
//! sides send frames:
//!
//! | bytes | |
//! |---|---|
//! | 0 | [`Kind`] |
//! | 1 | 0 |
//! | 2..4 | length of what follows the header, little-endian |
//! | 4..8 | the flow's number, little-endian; 0 where the frame belongs to none |
//!
//! The guest numbers its TCP connections and opens them with [`Kind::Open`]. The gateway answers with
//! [`Kind::Opened`] once the server has accepted, or with [`Kind::Refused`]. From then on both send
//! [`Kind::Data`], as many bytes as the other has granted ([`Kind::Credit`]): one flow whose reader stalls
//! holds up no other, and both sides know how much memory a flow can take. [`Kind::End`] says that no data
//! follows from its sender; the flow is over when both have said so, or when one says [`Kind::Reset`].
//!
//! Datagrams and echo requests belong to no flow and may be lost, as everywhere.
//!
//! A multiplexer off the shelf (yamux, HTTP/2) was no help: each grants every stream at least 64 KiB or
//! takes the grants of all from one pot, and datagrams fit neither (docs/decisions/0030).

use std::net::{Ipv4Addr, SocketAddrV4};

/// The name of the virtio-serial port.
pub const PORT_NAME: &str = "dev.banger.network";

/// The addresses of the network, of which the guest has one. The rest of 198.18.0.0/15, which nobody has on
/// the internet (RFC 2544), stands for names: the gateway gives each that is looked up one of its own.
pub mod addresses {
    use std::net::Ipv4Addr;

    pub const GUEST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
    /// The resolver, and where the default route leads.
    pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
    /// `host.vm`: services of the host's that the policy names.
    pub const HOST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 3);
    pub const PREFIX_LEN: u8 = 15;
    /// The first one that stands for a name.
    pub const FIRST_NAME: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 0);
    pub const LAST_NAME: Ipv4Addr = Ipv4Addr::new(198, 19, 255, 254);
}

/// Length of a frame's header, in bytes.
pub const HEADER_LEN: usize = 8;

/// Longest body of a frame: the largest datagram and its addresses fit.
pub const BODY_MAX_LEN: usize = u16::MAX as usize;

/// How many bytes of 0xFF end whatever frame the other side waits for.
pub const FLUSH_LEN: usize = HEADER_LEN + BODY_MAX_LEN + 1;

/// How many TCP connections a guest may have at once, those that are being opened included.
pub const FLOWS_MAX: usize = 1024;

/// Length of what stands before the data of a [`Datagram`] and an [`Echo`], in bytes.
pub const ADDRESSES_LEN: usize = 12;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// From the guest: an [`Open`].
    Open = 1,
    /// From the gateway: the server has accepted. Body: the credit that the guest has, as in
    /// [`Kind::Credit`].
    Opened = 2,
    /// From the gateway: there will be no such flow. Body: a [`Refusal`].
    Refused = 3,
    /// Bytes of the connection.
    Data = 4,
    /// So many more bytes may be sent: four bytes, little-endian.
    Credit = 5,
    /// No more data from here.
    End = 6,
    /// The flow is over, whatever was under way.
    Reset = 7,
    /// A [`Datagram`].
    Datagram = 8,
    /// From the gateway: nobody takes such datagrams. Body: the addresses of a [`Datagram`], without data.
    DatagramRefused = 9,
    // 10 is a line feed: a greeting begins with it.
    /// From the guest: an [`Echo`] to be sent on. From the gateway: the answer to it.
    Echo = 11,
    /// From the gateway: an [`Echo`] that it does not send on. Its data says why.
    EchoRefused = 12,
}

impl Kind {
    fn parse(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Open,
            2 => Self::Opened,
            3 => Self::Refused,
            4 => Self::Data,
            5 => Self::Credit,
            6 => Self::End,
            7 => Self::Reset,
            8 => Self::Datagram,
            9 => Self::DatagramRefused,
            11 => Self::Echo,
            12 => Self::EchoRefused,
            _ => return None,
        })
    }
}

/// What is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlowError {
    #[error("there is no frame of kind {0}")]
    Kind(u8),
    #[error("a frame that says {0:?} has {1} bytes")]
    Body(Kind, usize),
    #[error("a frame that says {0:?} belongs to flow {1}")]
    Flow(Kind, u32),
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub kind: Kind,
    pub len: usize,
    pub flow: u32,
}

impl Header {
    /// # Errors
    ///
    /// When it is none.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, FlowError> {
        let kind = Kind::parse(bytes[0]).filter(|_| bytes[1] == 0).ok_or(FlowError::Kind(bytes[0]))?;
        let len = usize::from(u16::from_le_bytes([bytes[2], bytes[3]]));
        Ok(Self { kind, len, flow: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) })
    }

    /// A body longer than [`BODY_MAX_LEN`] is the caller's fault, and cut.
    pub fn encode(kind: Kind, flow: u32, len: usize) -> [u8; HEADER_LEN] {
        debug_assert!(len <= BODY_MAX_LEN);
        let [low, high] = (len.min(BODY_MAX_LEN) as u16).to_le_bytes();
        let [a, b, c, d] = flow.to_le_bytes();
        [kind as u8, 0, low, high, a, b, c, d]
    }
}

/// A TCP connection that a guest asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    pub to: SocketAddrV4,
    /// How many bytes the gateway may send before it is granted more.
    pub credit: u32,
}

impl Open {
    pub fn encode(self) -> [u8; 10] {
        let mut bytes = [0; 10];
        bytes[..6].copy_from_slice(&address(self.to));
        bytes[6..].copy_from_slice(&self.credit.to_le_bytes());
        bytes
    }

    /// # Errors
    ///
    /// When it is none.
    pub fn parse(body: &[u8]) -> Result<Self, FlowError> {
        let (to, credit) = body.split_at_checked(6).ok_or(FlowError::Body(Kind::Open, body.len()))?;
        let credit = credit.try_into().map_err(|_| FlowError::Body(Kind::Open, body.len()))?;
        Ok(Self { to: parse_address(to), credit: u32::from_le_bytes(credit) })
    }
}

/// Why there will be no flow: what the guest's program is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    /// As if nobody listened there.
    Refused = 1,
    /// As if there were no way there.
    Unreachable = 2,
}

impl Refusal {
    /// # Errors
    ///
    /// When it is none.
    pub fn parse(body: &[u8]) -> Result<Self, FlowError> {
        match body {
            [1] => Ok(Self::Refused),
            [2] => Ok(Self::Unreachable),
            _ => Err(FlowError::Body(Kind::Refused, body.len())),
        }
    }
}

/// The number in a [`Kind::Credit`] or [`Kind::Opened`].
///
/// # Errors
///
/// When it is none.
pub fn parse_credit(kind: Kind, body: &[u8]) -> Result<u32, FlowError> {
    Ok(u32::from_le_bytes(body.try_into().map_err(|_| FlowError::Body(kind, body.len()))?))
}

/// A UDP datagram, on its way either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// The port of the guest's program, and the address that it has for itself.
    pub guest: SocketAddrV4,
    /// Whom it speaks to.
    pub peer: SocketAddrV4,
    pub data: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Longest data.
    pub const DATA_MAX_LEN: usize = u16::MAX as usize - 28;

    pub fn head(self) -> [u8; ADDRESSES_LEN] {
        let mut bytes = [0; ADDRESSES_LEN];
        bytes[..6].copy_from_slice(&address(self.guest));
        bytes[6..].copy_from_slice(&address(self.peer));
        bytes
    }

    /// # Errors
    ///
    /// When it is none.
    pub fn parse(body: &'a [u8]) -> Result<Self, FlowError> {
        let wrong = || FlowError::Body(Kind::Datagram, body.len());
        let (head, data) = body.split_at_checked(ADDRESSES_LEN).ok_or_else(wrong)?;
        if data.len() > Self::DATA_MAX_LEN {
            return Err(wrong());
        }
        Ok(Self { guest: parse_address(&head[..6]), peer: parse_address(&head[6..]), data })
    }
}

/// An ICMP echo request, or the answer to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo<'a> {
    /// The address that the guest has for itself.
    pub guest: Ipv4Addr,
    /// Whom it asks.
    pub peer: Ipv4Addr,
    pub ident: u16,
    pub sequence: u16,
    pub data: &'a [u8],
}

impl<'a> Echo<'a> {
    pub fn head(self) -> [u8; ADDRESSES_LEN] {
        let mut bytes = [0; ADDRESSES_LEN];
        bytes[..4].copy_from_slice(&self.guest.octets());
        bytes[4..8].copy_from_slice(&self.peer.octets());
        bytes[8..10].copy_from_slice(&self.ident.to_le_bytes());
        bytes[10..].copy_from_slice(&self.sequence.to_le_bytes());
        bytes
    }

    /// # Errors
    ///
    /// When it is none.
    pub fn parse(body: &'a [u8]) -> Result<Self, FlowError> {
        let wrong = || FlowError::Body(Kind::Echo, body.len());
        let (head, data) = body.split_at_checked(ADDRESSES_LEN).ok_or_else(wrong)?;
        if data.len() > Datagram::DATA_MAX_LEN {
            return Err(wrong());
        }
        let number = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let ip = |at: usize| Ipv4Addr::new(head[at], head[at + 1], head[at + 2], head[at + 3]);
        Ok(Self { guest: ip(0), peer: ip(4), ident: number(8), sequence: number(10), data })
    }
}

fn address(address: SocketAddrV4) -> [u8; 6] {
    let [a, b, c, d] = address.ip().octets();
    let [low, high] = address.port().to_le_bytes();
    [a, b, c, d, low, high]
}

fn parse_address(bytes: &[u8]) -> SocketAddrV4 {
    let ip = Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]);
    SocketAddrV4::new(ip, u16::from_le_bytes([bytes[4], bytes[5]]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_arrives_is_a_frame_or_an_error(bytes: [u8; HEADER_LEN], body: Vec<u8>) {
            if let Ok(header) = Header::parse(&bytes) {
                prop_assert_eq!(Header::encode(header.kind, header.flow, header.len), bytes);
            }
            if let Ok(open) = Open::parse(&body) {
                prop_assert_eq!(&open.encode()[..], &body);
            }
            if let Ok(datagram) = Datagram::parse(&body) {
                prop_assert_eq!([&datagram.head(), datagram.data].concat(), body.clone());
            }
            if let Ok(echo) = Echo::parse(&body) {
                prop_assert_eq!([&echo.head(), echo.data].concat(), body.clone());
            }
            if let Ok(refusal) = Refusal::parse(&body) {
                prop_assert_eq!(&[refusal as u8][..], &body);
            }
        }

        #[test]
        fn no_frame_begins_like_a_greeting_or_a_flush(kind: u8) {
            if Kind::parse(kind).is_some() {
                prop_assert!(!crate::preamble::starts_greeting(kind) && kind != 0xFF);
            }
        }
    }
}
