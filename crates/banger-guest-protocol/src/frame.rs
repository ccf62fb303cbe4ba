//! Frames of a running command: `length: u32 little-endian`, `channel: u8`, then `length` bytes of payload.
//!
//! The client's first frame is [`Frame::Start`]; the guest's last one is [`Frame::Exit`]. An empty `Stdin`,
//! `Stdout` or `Stderr` frame says end of file. The client may have at most [`STDIN_WINDOW`] bytes of stdin
//! under way; the guest answers every byte that reached the command with [`Frame::Credit`]. So a command that
//! does not read its input never keeps a signal or a resize from getting through.
//!
//! A client whose own reader went away sends an empty `Stdout` or `Stderr` frame: the command then meets a
//! closed pipe there, as it would without a guest in between. (A guest too old to know that takes it for a
//! client that left, and ends the command.) A guest that passed a signal on says so with a `Credit` of 0
//! bytes, which tells a command that takes its time from a guest that hangs; one that has more to say than
//! the client takes in leaves it out.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio_util::codec::{Decoder, Encoder};

use crate::ByteString;

/// Largest payload of a frame, in bytes (except `Start`, see [`START_MAX_LEN`]).
pub const PAYLOAD_MAX_LEN: usize = 64 * 1024;

/// Largest payload of a `Start` frame, in bytes: Linux itself allows 2 MiB of arguments and environment.
pub const START_MAX_LEN: usize = 4 * 1024 * 1024;

/// How many bytes of stdin a client may send ahead of the guest's credit.
pub const STDIN_WINDOW: usize = 256 * 1024;

const HEADER_LEN: usize = 5;

/// A command to run in the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecSpec {
    /// Program and arguments; empty means a shell: root's own, else one that the image has.
    pub argv: Vec<ByteString>,
    /// Added to (and winning over) the guest's default environment and the image's
    /// ([`CommandDefaults`](crate::messages::CommandDefaults)).
    #[serde(default)]
    pub env: Vec<(ByteString, ByteString)>,
    /// Absolute directory; when absent it is the image's working directory, else root's home.
    #[serde(default)]
    pub workdir: Option<ByteString>,
    /// Run it through `mise exec` where the guest has mise, so that the tools that a repository pins are
    /// found.
    #[serde(default)]
    pub mise: bool,
    /// Take nothing but `PATH` from the image's environment: for commands that are not the user's, which
    /// nobody but the host shall steer.
    #[serde(default)]
    pub ignore_image: bool,
    /// With a terminal of this size; stdout and stderr are then one stream (`Stdout`).
    #[serde(default)]
    pub tty: Option<WindowSize>,
    /// Stdout and stderr end in one file at the client: the command gets one pipe for both, so that their
    /// order is kept, and all of it comes as `Stdout`.
    #[serde(default)]
    pub merge_output: bool,
}

/// A terminal's size in character cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    pub rows: u16,
    pub cols: u16,
}

/// Signals a client may pass on to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    Hup,
    Int,
    Quit,
    Term,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// As a shell has it: the program's own code, 128+n for signal n, 127 not found, 126 not executable.
    pub code: u8,
    /// Why it could not be started, when it could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Start(ExecSpec),
    Stdin(Bytes),
    Stdout(Bytes),
    Stderr(Bytes),
    Resize(WindowSize),
    Signal(Signal),
    /// This many more bytes of stdin may be sent.
    Credit(u32),
    Exit(Exit),
}

/// What is wrong with a frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("frame on unknown channel {0}")]
    UnknownChannel(u8),
    #[error("frame of {len} bytes on channel {channel}, at most {max} are allowed")]
    TooLong { channel: u8, len: usize, max: usize },
    #[error("malformed payload on channel {channel}")]
    Payload { channel: u8, source: serde_json::Error },
    #[error("the stream broke")]
    Io(#[from] std::io::Error),
}

mod channel {
    pub(super) const START: u8 = 0;
    pub(super) const STDIN: u8 = 1;
    pub(super) const STDOUT: u8 = 2;
    pub(super) const STDERR: u8 = 3;
    pub(super) const RESIZE: u8 = 4;
    pub(super) const SIGNAL: u8 = 5;
    pub(super) const CREDIT: u8 = 6;
    pub(super) const EXIT: u8 = 7;
}

/// [`Decoder`] and [`Encoder`] of [`Frame`]s, for `tokio_util::codec`.
#[derive(Clone, Copy, Debug, Default)]
pub struct FrameCodec;

impl Decoder for FrameCodec {
    type Item = Frame;
    type Error = FrameError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some(header) = src.get(..HEADER_LEN) else { return Ok(None) };
        let len = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let channel = header[4];
        // Refused from the header alone: a peer must not be able to make us wait for, or hold, what we never
        // accept.
        let max = match channel {
            channel::START => START_MAX_LEN,
            channel::STDIN..=channel::EXIT => PAYLOAD_MAX_LEN,
            unknown => return Err(FrameError::UnknownChannel(unknown)),
        };
        if len > max {
            return Err(FrameError::TooLong { channel, len, max });
        }
        if src.len() < HEADER_LEN + len {
            src.reserve(HEADER_LEN + len - src.len());
            return Ok(None);
        }
        src.advance(HEADER_LEN);
        let payload = src.split_to(len).freeze();
        Ok(Some(match channel {
            channel::START => Frame::Start(parse(channel, &payload)?),
            channel::STDIN => Frame::Stdin(payload),
            channel::STDOUT => Frame::Stdout(payload),
            channel::STDERR => Frame::Stderr(payload),
            channel::RESIZE => Frame::Resize(parse(channel, &payload)?),
            channel::SIGNAL => Frame::Signal(parse(channel, &payload)?),
            channel::CREDIT => Frame::Credit(parse(channel, &payload)?),
            _ => Frame::Exit(parse(channel, &payload)?),
        }))
    }
}

fn parse<T: DeserializeOwned>(channel: u8, payload: &[u8]) -> Result<T, FrameError> {
    serde_json::from_slice(payload).map_err(|source| FrameError::Payload { channel, source })
}

impl Encoder<Frame> for FrameCodec {
    type Error = FrameError;

    fn encode(&mut self, frame: Frame, dst: &mut BytesMut) -> Result<(), FrameError> {
        match frame {
            Frame::Start(spec) => put_json(dst, channel::START, &spec),
            Frame::Stdin(bytes) => put(dst, channel::STDIN, &bytes),
            Frame::Stdout(bytes) => put(dst, channel::STDOUT, &bytes),
            Frame::Stderr(bytes) => put(dst, channel::STDERR, &bytes),
            Frame::Resize(size) => put_json(dst, channel::RESIZE, &size),
            Frame::Signal(signal) => put_json(dst, channel::SIGNAL, &signal),
            Frame::Credit(bytes) => put_json(dst, channel::CREDIT, &bytes),
            Frame::Exit(exit) => put_json(dst, channel::EXIT, &exit),
        }
    }
}

fn put_json<T: Serialize>(dst: &mut BytesMut, channel: u8, value: &T) -> Result<(), FrameError> {
    let payload = serde_json::to_vec(value).map_err(|source| FrameError::Payload { channel, source })?;
    put(dst, channel, &payload)
}

fn put(dst: &mut BytesMut, channel: u8, payload: &[u8]) -> Result<(), FrameError> {
    let max = if channel == channel::START { START_MAX_LEN } else { PAYLOAD_MAX_LEN };
    if payload.len() > max {
        return Err(FrameError::TooLong { channel, len: payload.len(), max });
    }
    dst.reserve(HEADER_LEN + payload.len());
    dst.put_u32_le(payload.len() as u32);
    dst.put_u8(channel);
    dst.put_slice(payload);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_frame() -> impl Strategy<Value = Frame> {
        let bytes = proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
        let word = || proptest::collection::vec(any::<u8>(), 0..20).prop_map(ByteString::from);
        prop_oneof![
            bytes.clone().prop_map(Frame::Stdin),
            bytes.clone().prop_map(Frame::Stdout),
            bytes.prop_map(Frame::Stderr),
            any::<(u16, u16)>().prop_map(|(rows, cols)| Frame::Resize(WindowSize { rows, cols })),
            any::<u32>().prop_map(Frame::Credit),
            any::<u8>().prop_map(|code| Frame::Exit(Exit { code, error: None })),
            Just(Frame::Signal(Signal::Quit)),
            (proptest::collection::vec(word(), 0..5), word()).prop_map(|(argv, dir)| Frame::Start(
                ExecSpec { argv, workdir: Some(dir), ..ExecSpec::default() }
            )),
        ]
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting(frames in proptest::collection::vec(any_frame(), 1..8), cut in 1usize..40) {
            let mut wire = BytesMut::new();
            for frame in &frames {
                FrameCodec.encode(frame.clone(), &mut wire).unwrap();
            }
            let (mut buffer, mut seen) = (BytesMut::new(), Vec::new());
            for piece in wire.chunks(cut) {
                buffer.extend_from_slice(piece);
                while let Some(frame) = FrameCodec.decode(&mut buffer).unwrap() {
                    seen.push(frame);
                }
            }
            prop_assert_eq!(seen, frames);
        }

        #[test]
        fn hostile_bytes_never_panic_nor_reserve_much(bytes: Vec<u8>) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = FrameCodec.decode(&mut buffer) {}
            prop_assert!(buffer.capacity() <= START_MAX_LEN + HEADER_LEN + bytes.len());
        }
    }

    #[test]
    fn an_oversized_frame_is_refused_by_its_header() {
        let mut buffer = BytesMut::from(&[0xFF, 0xFF, 0xFF, 0x7F, channel::STDIN][..]);
        assert!(matches!(FrameCodec.decode(&mut buffer), Err(FrameError::TooLong { .. })));
    }

    #[test]
    fn an_unknown_channel_is_refused() {
        let mut buffer = BytesMut::from(&[0, 0, 0, 0, 99][..]);
        assert!(matches!(FrameCodec.decode(&mut buffer), Err(FrameError::UnknownChannel(99))));
    }
}
