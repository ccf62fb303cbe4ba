//! The port to the gateway: finding a common start with it, and its frames.

use std::io;
use std::os::fd::OwnedFd;

use banger_guest_protocol::flow::{BODY_MAX_LEN, FLUSH_LEN, HEADER_LEN, Header};
use banger_guest_protocol::preamble::{self, GreetingScanner, Hello, SessionId};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};

use super::frame_queue::FrameQueue;
use crate::port::WRITE_MAX_LEN;

/// How much is read before packets have their turn again.
const READ_AT_ONCE: usize = 256 * 1024;

/// A page is what the kernel's port driver gives at most for one read.
const READ_LEN: usize = 4096;

/// Where bytes wait until a frame is whole, and some more.
const BUFFER_LEN: usize = 128 * 1024;
const _: () = assert!(BUFFER_LEN > HEADER_LEN + BODY_MAX_LEN + READ_LEN);

/// What the port has to say.
pub(super) enum Event<'a> {
    SessionBegan,
    SessionEnded,
    Frame(Header, &'a [u8]),
}

/// The port.
#[derive(Debug)]
pub(super) struct GatewayPort {
    fd: OwnedFd,
    state: State,
    buffer: Vec<u8>,
    /// How much of it is filled.
    filled: usize,
    /// What must go before any frame: an answer to a greeting, or what ends the host's session.
    unsent: Vec<u8>,
    host_away: bool,
}

#[derive(Debug)]
enum State {
    Searching(Scanner),
    InSession(SessionId),
}

#[derive(Default)]
struct Scanner(GreetingScanner);

impl std::fmt::Debug for Scanner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scanner")
    }
}

impl GatewayPort {
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        let state = State::Searching(Scanner::default());
        let buffer = vec![0; BUFFER_LEN];
        Ok(Self { fd, state, buffer, filled: 0, unsent: Vec::new(), host_away: true })
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// As of the last look.
    pub(super) fn is_host_away(&self) -> bool {
        self.host_away
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Reads what there is, within limits, and tells `handle` of it. An error is one of the port's; nonsense
    /// from the host ends the session.
    pub(super) fn receive(&mut self, mut handle: impl FnMut(Event<'_>)) -> io::Result<()> {
        let mut total = 0;
        while total < READ_AT_ONCE {
            let room = &mut self.buffer[self.filled..];
            let count = match retry_on_intr(|| rustix::io::read(&self.fd, &mut *room)) {
                // The host has gone, or has not come yet.
                Ok(0) => {
                    self.look_for_host(&mut handle)?;
                    break;
                }
                Ok(count) => count,
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            };
            total += count;
            self.filled += count;
            self.host_away = false;
            if self.buffer.len() - self.filled < READ_LEN {
                self.parse(&mut handle);
            }
            if count < READ_LEN {
                // That was all there was: it is not worth another call to be told so.
                break;
            }
        }
        self.parse(&mut handle);
        Ok(())
    }

    /// Nothing more to read: is it that the host has gone?
    fn look_for_host(&mut self, handle: &mut impl FnMut(Event<'_>)) -> io::Result<()> {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        retry_on_intr(|| poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })))?;
        self.host_away = fds[0].revents().contains(PollFlags::HUP);
        if self.host_away {
            // What it still sent belongs to the session that ends.
            self.parse(handle);
            self.filled = 0;
            self.search(handle);
        }
        Ok(())
    }

    fn search(&mut self, handle: &mut impl FnMut(Event<'_>)) {
        self.unsent.clear();
        if matches!(self.state, State::InSession(_)) {
            self.state = State::Searching(Scanner::default());
            handle(Event::SessionEnded);
        }
    }

    fn parse(&mut self, handle: &mut impl FnMut(Event<'_>)) {
        let buffer = std::mem::take(&mut self.buffer);
        let mut rest = &buffer[..self.filled];
        while let Some(used) = self.parse_one(rest, handle) {
            rest = &rest[used..];
        }
        let used = self.filled - rest.len();
        self.buffer = buffer;
        self.buffer.copy_within(used..self.filled, 0);
        self.filled -= used;
    }

    /// Handles what stands at the beginning, and says how long that was; none when there is too little.
    fn parse_one(&mut self, bytes: &[u8], handle: &mut impl FnMut(Event<'_>)) -> Option<usize> {
        let first = *bytes.first()?;
        match &mut self.state {
            State::Searching(Scanner(scanner)) => {
                if let Some(session) = scanner.push(first) {
                    self.begin(session, handle);
                }
                Some(1)
            }
            // The greeting of this session, once more, or of the next one.
            State::InSession(current) if preamble::starts_greeting(first) => {
                let greeting = bytes.get(..preamble::GREETING_LEN)?;
                let mut scanner = GreetingScanner::default();
                let session = greeting.iter().find_map(|byte| scanner.push(*byte));
                match session {
                    Some(session) if session == *current => {}
                    Some(session) => {
                        self.search(handle);
                        self.begin(session, handle);
                    }
                    None => self.give_up(handle),
                }
                Some(preamble::GREETING_LEN)
            }
            // The flush of the next one.
            State::InSession(_) if first == 0xFF => {
                self.search(handle);
                Some(1)
            }
            State::InSession(_) => {
                let header = bytes.first_chunk::<HEADER_LEN>()?;
                let Ok(header) = Header::parse(header) else {
                    self.give_up(handle);
                    return Some(1);
                };
                let body = bytes.get(HEADER_LEN..HEADER_LEN + header.len)?;
                handle(Event::Frame(header, body));
                Some(HEADER_LEN + header.len)
            }
        }
    }

    fn begin(&mut self, session: SessionId, handle: &mut impl FnMut(Event<'_>)) {
        let hello = Hello {
            protocol: banger_guest_protocol::PROTOCOL_VERSION,
            agent_build: crate::AGENT_BUILD.to_owned(),
            kernel_release: String::new(),
            uptime_ms: 0,
        };
        self.unsent = preamble::answer(&session, &hello);
        self.state = State::InSession(session);
        handle(Event::SessionBegan);
    }

    /// The host believes in a session that is none any more.
    fn give_up(&mut self, handle: &mut impl FnMut(Event<'_>)) {
        self.search(handle);
        self.unsent = vec![0xFF; FLUSH_LEN];
    }

    /// How many bytes the frame that has begun still lacks.
    pub(super) fn missing(&self) -> usize {
        let header = self.buffer[..self.filled].first_chunk::<HEADER_LEN>();
        let is_frame = matches!(self.state, State::InSession(_));
        // What is no header is found out when it is looked at.
        let header = header.filter(|_| is_frame).and_then(|header| Header::parse(header).ok());
        header.map_or(0, |header| (HEADER_LEN + header.len).saturating_sub(self.filled))
    }

    /// Writes what the port takes now.
    pub(super) fn send(&mut self, frames: &mut FrameQueue) -> io::Result<()> {
        while !self.unsent.is_empty() {
            let Some(count) = self.write(&self.unsent)? else { return Ok(()) };
            self.unsent.drain(..count);
        }
        if !matches!(self.state, State::InSession(_)) {
            frames.clear();
        }
        while !frames.waiting().is_empty() {
            let Some(count) = self.write(frames.waiting())? else { return Ok(()) };
            frames.consume(count);
        }
        Ok(())
    }

    /// None when the port takes nothing now.
    fn write(&self, bytes: &[u8]) -> io::Result<Option<usize>> {
        let bytes = &bytes[..bytes.len().min(WRITE_MAX_LEN)];
        match retry_on_intr(|| rustix::io::write(&self.fd, bytes)) {
            Ok(0) => Ok(None),
            Ok(count) => Ok(Some(count)),
            // Also while the host is away.
            Err(Errno::AGAIN | Errno::PIPE | Errno::NODEV) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
