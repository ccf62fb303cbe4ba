//! A TCP connection on its way through a stream: `length: u16 little-endian`, then so many bytes; again and
//! again, both ways. A length of 0 says that this side sends nothing more. A stream that ends without it was
//! cut off: then so is the connection at the other end, and nobody takes half of what was sent for all of it.
//! (The multiplexer alone cannot tell the two apart.)
//!
//! Both ends do the same: [`carry`]. Nothing is read that cannot be passed on, so whoever stops reading stops
//! the one who writes, and nobody else.

use std::io;

use rustix::net::Shutdown;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;

const HEADER_LEN: usize = 2;

/// Largest piece that is sent with its header: what a virtio-serial port takes in one go.
const PIECE_MAX_LEN: usize = 31 * 1024;

/// Why a connection was cut off.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    #[error("the connection broke")]
    Connection(#[source] io::Error),
    #[error("the stream to the other end broke")]
    Stream(#[source] io::Error),
    #[error("the other end cut the connection off")]
    CutOff,
}

/// Carries a connection over `stream` until both sides have ended it.
///
/// # Errors
///
/// When either side was cut off. Then so is the other: the connection is reset, as its peer would have seen
/// it without a stream in between.
pub async fn carry<S: AsyncRead + AsyncWrite>(connection: &TcpStream, stream: S) -> Result<(), CarryError> {
    // Small writes are somebody's keystrokes. Without it they still arrive, only later.
    let _without_delay = connection.set_nodelay(true);
    let (from_stream, to_stream) = tokio::io::split(stream);
    let carried = tokio::select! {
        biased;
        both = async { tokio::try_join!(send(connection, to_stream), receive(from_stream, connection)) } => {
            both.map(|_| ())
        }
        error = broken(connection) => Err(CarryError::Connection(error)),
    };
    if carried.is_err() {
        reset(connection);
    }
    carried
}

/// Has the connection's peer see a reset, and no orderly end, once it is dropped.
pub fn reset(connection: &TcpStream) {
    // Where that fails its peer sees an end, and the connection is gone all the same.
    let _reset = connection.set_zero_linger();
}

/// Waits for a reset, which nobody would see who neither reads nor writes at the moment.
async fn broken(connection: &TcpStream) -> io::Error {
    match connection.ready(Interest::ERROR).await.and_then(|_| connection.take_error()) {
        Ok(Some(error)) | Err(error) => error,
        // Somebody else has taken it, who then has seen it.
        Ok(None) => io::ErrorKind::ConnectionReset.into(),
    }
}

/// Sends what the connection's peer says. The sending half is given back, for dropping it would end the other
/// one as well where the transport knows no halves.
async fn send<W: AsyncWrite + Unpin>(connection: &TcpStream, mut to_stream: W) -> Result<W, CarryError> {
    let mut piece = vec![0; PIECE_MAX_LEN];
    loop {
        let len = read(connection, &mut piece[HEADER_LEN..]).await.map_err(CarryError::Connection)?;
        // The buffer is no longer than that.
        piece[..HEADER_LEN].copy_from_slice(&(len as u16).to_le_bytes());
        let sent = async {
            to_stream.write_all(&piece[..HEADER_LEN + len]).await?;
            to_stream.flush().await
        };
        sent.await.map_err(CarryError::Stream)?;
        if len == 0 {
            return Ok(to_stream);
        }
    }
}

/// Passes on what comes over the stream.
async fn receive<R: AsyncRead + Unpin>(mut from_stream: R, connection: &TcpStream) -> Result<R, CarryError> {
    let mut pieces = Pieces::default();
    let mut buffer = vec![0; PIECE_MAX_LEN];
    loop {
        let len = from_stream.read(&mut buffer).await.map_err(CarryError::Stream)?;
        if len == 0 {
            return Err(CarryError::CutOff);
        }
        let mut bytes = &buffer[..len];
        while !bytes.is_empty() {
            match pieces.next(&mut bytes) {
                Piece::Bytes(bytes) => write(connection, bytes).await.map_err(CarryError::Connection)?,
                Piece::End => {
                    // Fails when the peer has gone meanwhile, which the other direction sees.
                    let _ended = rustix::net::shutdown(connection, Shutdown::Write);
                    return Ok(from_stream);
                }
                Piece::None => {}
            }
        }
    }
}

async fn read(connection: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        connection.readable().await?;
        match connection.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
}

async fn write(connection: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        connection.writable().await?;
        match connection.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Finds the pieces in bytes that come as they like. Keeps none of them.
#[derive(Debug, Default)]
struct Pieces {
    /// The first byte of a header that came alone.
    half: Option<u8>,
    /// What is still to come of a piece.
    left: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Bytes(&'a [u8]),
    End,
    /// There is nothing in it yet.
    None,
}

impl Pieces {
    /// Takes the next piece, or part of one, off `bytes`.
    fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Piece<'a> {
        if self.left == 0 {
            let Some((first, rest)) = bytes.split_first() else { return Piece::None };
            *bytes = rest;
            let Some(half) = self.half.take() else {
                self.half = Some(*first);
                return Piece::None;
            };
            self.left = usize::from(u16::from_le_bytes([half, *first]));
            if self.left == 0 {
                return Piece::End;
            }
        }
        let (piece, rest) = bytes.split_at(self.left.min(bytes.len()));
        *bytes = rest;
        self.left -= piece.len();
        if piece.is_empty() { Piece::None } else { Piece::Bytes(piece) }
    }
}

#[cfg(test)]
#[path = "forward_tests.rs"]
mod tests;
