//! What a foreground tool prints: kept, and handed on line by line.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// How much of what a streamed tool prints is kept, in bytes.
const TAIL_LEN: usize = 16 * 1024;

/// Longest line handed to a callback, in bytes; longer ones are cut there.
pub(crate) const LINE_MAX_LEN: usize = 4096;

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputStream {
    Stdout,
    Stderr,
}

pub(crate) type LineCallback<'a> = &'a mut (dyn FnMut(OutputStream, &str) + Send);

/// Reads both streams to their ends.
pub(crate) async fn pump(
    mut stdout: impl AsyncRead + Unpin,
    mut stderr: impl AsyncRead + Unpin,
    mut on_line: Option<LineCallback<'_>>,
    captured: &mut Captured,
) -> io::Result<()> {
    let Captured { stdout: out, stderr: err } = captured;
    let (mut out_chunk, mut err_chunk) = (vec![0; 64 * 1024], vec![0; 8 * 1024]);
    while !(out.ended && err.ended) {
        tokio::select! {
            len = stdout.read(&mut out_chunk), if !out.ended => {
                out.take(&out_chunk[..len?], OutputStream::Stdout, &mut on_line);
            }
            len = stderr.read(&mut err_chunk), if !err.ended => {
                err.take(&err_chunk[..len?], OutputStream::Stderr, &mut on_line);
            }
        }
    }
    Ok(())
}

/// What was read of both streams.
pub(crate) struct Captured {
    pub(crate) stdout: Capture,
    pub(crate) stderr: Capture,
}

impl Captured {
    pub(crate) fn new(tail_only: bool) -> Self {
        Self { stdout: Capture::new(tail_only), stderr: Capture::new(tail_only) }
    }
}

/// What was read of one stream.
pub(crate) struct Capture {
    pub(crate) kept: Vec<u8>,
    tail_only: bool,
    line: Vec<u8>,
    ended: bool,
}

impl Capture {
    fn new(tail_only: bool) -> Self {
        Self { kept: Vec::new(), tail_only, line: Vec::new(), ended: false }
    }

    /// An empty chunk is the end of the stream.
    fn take(&mut self, chunk: &[u8], stream: OutputStream, on_line: &mut Option<LineCallback<'_>>) {
        self.kept.extend_from_slice(chunk);
        if self.tail_only && self.kept.len() > 2 * TAIL_LEN {
            self.kept.drain(..self.kept.len() - TAIL_LEN);
        }
        self.ended = chunk.is_empty();
        let Some(on_line) = on_line else { return };
        for byte in chunk {
            if matches!(byte, b'\n' | b'\r') {
                emit(&mut self.line, stream, on_line);
            } else if self.line.len() < LINE_MAX_LEN {
                self.line.push(*byte);
            }
        }
        if self.ended {
            emit(&mut self.line, stream, on_line);
        }
    }
}

fn emit(line: &mut Vec<u8>, stream: OutputStream, on_line: &mut LineCallback<'_>) {
    let text = String::from_utf8_lossy(line);
    if !text.trim().is_empty() {
        on_line(stream, text.trim_end());
    }
    line.clear();
}
