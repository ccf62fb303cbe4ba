//! Moving bytes between the guest's end of a flow and the server's.

use std::io;
use std::time::Duration;

use banger_guest_protocol::flow::Kind;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::check::Check;
use crate::credit::{WINDOW_MIN, Window};
use crate::dial::Reached;
use crate::flow::{FlowState, RelayError};
use crate::gateway::Gateway;
use crate::policy::{Refusal, RefusalCode};

/// Largest body of a data frame, in bytes.
const DATA_MAX_LEN: usize = 32 * 1024;

/// The guest is told that it may send more when it is this much.
const CREDIT_STEP: usize = WINDOW_MIN / 2;

/// How often a connection reads before others have their turn.
const READS_AT_ONCE: usize = 8;

/// After the server's side has ended, how long the guest may say nothing before the connection is forgotten.
const HALF_CLOSED_LIMIT: Duration = Duration::from_secs(15 * 60);

/// A connection that stands.
pub(crate) struct Relay<'a> {
    gateway: &'a Gateway,
    id: u32,
    state: &'a FlowState,
    stream: TcpStream,
    window: Window,
    check: Check,
    /// What may go on to the server.
    onward: Vec<u8>,
    /// How many more bytes the guest may send than it has been told.
    owed: usize,
    server_ended: bool,
    /// The server knows that the guest's side has ended.
    end_told: bool,
}

impl<'a> Relay<'a> {
    pub(crate) fn new(gateway: &'a Gateway, id: u32, state: &'a FlowState, reached: Reached) -> Self {
        let Reached { stream, agreement } = reached;
        let window = Window::new(&gateway.budget);
        state.said.borrow_mut().granted = WINDOW_MIN;
        gateway.outbox.push(Kind::Opened, id, &[&(WINDOW_MIN as u32).to_le_bytes()]);
        Self {
            gateway,
            id,
            state,
            stream,
            window,
            check: Check::new(agreement),
            onward: Vec::new(),
            owed: 0,
            server_ended: false,
            end_told: false,
        }
    }

    /// Moves bytes both ways until both sides have ended.
    ///
    /// # Errors
    ///
    /// When either side breaks off, or says what it may not.
    pub(crate) async fn run(mut self) -> Result<(), RelayError> {
        let outcome = self.relay().await;
        let broken_off = outcome.is_err() || self.state.said.borrow().reset || self.state.said.borrow().cut;
        if broken_off {
            // The server is to see that it was: some act on half a request at its end.
            let _at_worst_an_end =
                rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO));
        }
        outcome
    }

    async fn relay(&mut self) -> Result<(), RelayError> {
        loop {
            self.look_at_what_was_said()?;
            if self.state.said.borrow().reset || self.state.said.borrow().cut {
                return Ok(());
            }
            self.tell_end()?;
            if self.server_ended && self.end_told {
                return Ok(());
            }
            self.wait().await?;
        }
    }

    /// Waits until there is something to do, and does it.
    async fn wait(&mut self) -> Result<(), RelayError> {
        let may_read = !self.server_ended && self.state.said.borrow().credit > 0;
        let has_room = self.gateway.outbox.has_room();
        let may_write = !self.onward.is_empty();
        let interest = match (may_read && has_room, may_write) {
            (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
            (true, false) => Some(Interest::READABLE),
            (false, true) => Some(Interest::WRITABLE),
            (false, false) => None,
        };
        tokio::select! {
            () = self.state.changed.notified() => {}
            ready = self.stream.ready(interest.unwrap_or(Interest::READABLE)), if interest.is_some() => {
                let ready = ready?;
                if ready.is_readable() && may_read {
                    self.read()?;
                }
                if ready.is_writable() && may_write {
                    self.write()?;
                }
            }
            () = self.gateway.outbox.room(), if may_read && !has_room => {}
            () = tokio::time::sleep(HALF_CLOSED_LIMIT), if self.server_ended => {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
        }
        Ok(())
    }

    /// Puts what the guest has sent onward, as far as that is allowed.
    fn look_at_what_was_said(&mut self) -> Result<(), RelayError> {
        let data = std::mem::take(&mut self.state.said.borrow_mut().data);
        if !data.is_empty() {
            if !self.check.is_done() {
                self.check.push(&data, &mut self.onward)?;
            } else if self.onward.is_empty() {
                self.onward = data;
            } else {
                self.onward.extend_from_slice(&data);
            }
        }
        self.grant_for_held()?;
        if self.state.said.borrow().ended && !self.end_told {
            self.check.finish()?;
        }
        Ok(())
    }

    /// What is held back uses up what the guest may send, and what would complete it could not come.
    fn grant_for_held(&mut self) -> Result<(), RelayError> {
        let mut said = self.state.said.borrow_mut();
        if self.check.held() == 0 || said.granted > 0 || said.ended || !self.onward.is_empty() {
            return Ok(());
        }
        let Some(more) = self.window.extend() else {
            let sentence = "too many connections at once have not said yet which server they want";
            return Err(Refusal::new(RefusalCode::TooLarge, sentence).into());
        };
        said.granted += more;
        self.gateway.outbox.push(Kind::Credit, self.id, &[&(more as u32).to_le_bytes()]);
        Ok(())
    }

    fn tell_end(&mut self) -> Result<(), RelayError> {
        let all_sent = self.onward.is_empty() && self.check.held() == 0;
        if self.state.said.borrow().ended && all_sent && !self.end_told {
            self.end_told = true;
            match rustix::net::shutdown(&self.stream, rustix::net::Shutdown::Write) {
                // The server has gone: what it said last is still to be read.
                Ok(()) | Err(rustix::io::Errno::NOTCONN) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
        Ok(())
    }

    /// From the server to the guest.
    fn read(&mut self) -> Result<(), RelayError> {
        let mut buffer = self.gateway.scratch.borrow_mut();
        for _ in 0..READS_AT_ONCE {
            let credit = self.state.said.borrow().credit;
            if credit == 0 || !self.gateway.outbox.has_room() {
                break;
            }
            match self.stream.try_read(&mut buffer[..credit.min(DATA_MAX_LEN)]) {
                Ok(0) => {
                    self.server_ended = true;
                    self.gateway.outbox.push(Kind::End, self.id, &[]);
                    break;
                }
                Ok(count) => {
                    let data = &buffer[..count];
                    if !self.check.is_done() {
                        self.check.answered(data, &mut self.onward)?;
                    }
                    self.state.said.borrow_mut().credit -= count;
                    self.state.attempt.borrow_mut().received += count as u64;
                    self.gateway.outbox.push(Kind::Data, self.id, &[data]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// From the guest to the server.
    fn write(&mut self) -> Result<(), RelayError> {
        let count = match self.stream.try_write(&self.onward) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        self.state.attempt.borrow_mut().sent += count as u64;
        if count == self.onward.len() {
            // Nothing is kept for an idle connection.
            self.onward = Vec::new();
        } else {
            self.onward.drain(..count);
        }
        self.owed += self.window.consumed(count);
        let mut said = self.state.said.borrow_mut();
        // Small requests need no answer to each: the guest would wake up for it.
        if self.owed >= CREDIT_STEP && !said.ended {
            let more = std::mem::take(&mut self.owed);
            said.granted += more;
            self.gateway.outbox.push(Kind::Credit, self.id, &[&(more as u32).to_le_bytes()]);
        }
        Ok(())
    }
}
