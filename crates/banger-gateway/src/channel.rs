//! The channel to the guest's network: finding a common start, and the frames that arrive.

use std::time::Duration;

use banger_guest_protocol::flow::{FLUSH_LEN, FlowError, HEADER_LEN, Header};
use banger_guest_protocol::preamble::{AnswerError, AnswerScanner, Hello, SessionId, greeting};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;

/// How often the greeting is repeated until it is answered.
const GREETING_INTERVAL: Duration = Duration::from_millis(250);

/// How much is read at once: some frames full of data.
const BUFFER_LEN: usize = 64 * 1024;

/// Why there is no channel, or none any more.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    #[error("the VM is gone")]
    Closed,
    #[error("the guest answered with what is no hello")]
    Answer(#[from] AnswerError),
    #[error("the guest sent what is no frame")]
    Frame(#[from] FlowError),
    #[error("could not draw random bytes")]
    Random(#[source] std::io::Error),
}

/// Waits until the guest behind `stream` answers, however long that takes.
pub(crate) async fn shake_hands(mut stream: UnixStream) -> Result<(UnixStream, Hello), ChannelError> {
    let mut id = [0; 16];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| ChannelError::Random(error.into()))?;
    let session = SessionId::from_random(id);
    // Unbuffered until the answer is complete: what follows it is for others.
    stream.write_all(&[0xFF; FLUSH_LEN]).await.map_err(|_| ChannelError::Closed)?;
    let greeting = greeting(&session);
    let mut scanner = AnswerScanner::new(&session);
    let mut again = tokio::time::interval(GREETING_INTERVAL);
    again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            byte = stream.read_u8() => {
                let byte = byte.map_err(|_| ChannelError::Closed)?;
                if let Some(hello) = scanner.push(byte)? {
                    return Ok((stream, hello));
                }
            }
            _ = again.tick() => stream.write_all(&greeting).await.map_err(|_| ChannelError::Closed)?,
        }
    }
}

/// The frames that the guest sends.
pub(crate) struct Incoming {
    stream: BufReader<OwnedReadHalf>,
    body: Vec<u8>,
}

impl Incoming {
    pub(crate) fn new(stream: OwnedReadHalf) -> Self {
        Self { stream: BufReader::with_capacity(BUFFER_LEN, stream), body: Vec::new() }
    }

    /// The next one.
    ///
    /// # Errors
    ///
    /// When the VM is gone, or its agent has lost step.
    pub(crate) async fn next(&mut self) -> Result<(Header, &[u8]), ChannelError> {
        let mut header = [0; HEADER_LEN];
        self.stream.read_exact(&mut header).await.map_err(|_| ChannelError::Closed)?;
        let header = Header::parse(&header)?;
        self.body.resize(header.len, 0);
        self.stream.read_exact(&mut self.body).await.map_err(|_| ChannelError::Closed)?;
        Ok((header, &self.body))
    }
}
