//! What the daemon asks of a gateway that runs: a line of JSON, answered by one, over a socket in the
//! directory of the VM's network.

use std::io;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use crate::log::Attempt;

/// The socket.
pub const SOCKET: &str = "gateway.sock";

/// Longest line, in bytes.
const LINE_MAX_LEN: u64 = 4 << 20;

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Read the configuration again. Flows that it no longer allows are cut.
    Reload,
    /// What is under way.
    Flows,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The new configuration holds; so many flows were cut.
    Reloaded {
        cut: usize,
    },
    /// Those that last, as the log will have them when they end.
    Flows(Vec<Attempt>),
    Failed(String),
}

/// Asks the gateway behind `stream`.
///
/// # Errors
///
/// When it hangs up, or says what is no answer.
pub async fn ask(mut stream: UnixStream, request: Request) -> io::Result<Answer> {
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut answer = Vec::new();
    BufReader::new(stream).take(LINE_MAX_LEN).read_until(b'\n', &mut answer).await?;
    Ok(serde_json::from_slice(&answer)?)
}

/// Answers one question.
///
/// # Errors
///
/// When whoever asks hangs up, or asks what is no question.
pub(crate) async fn answer(mut stream: UnixStream, answer: impl FnOnce(Request) -> Answer) -> io::Result<()> {
    let mut line = Vec::new();
    BufReader::new(&mut stream).take(LINE_MAX_LEN).read_until(b'\n', &mut line).await?;
    let mut line = serde_json::to_vec(&answer(serde_json::from_slice(&line)?))?;
    line.push(b'\n');
    stream.write_all(&line).await
}
