//! The guest's connections, and which of them has something to do.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use banger_guest_protocol::flow::{
    Datagram, Echo, FLOWS_MAX, FlowError, Header, Kind, Open, Refusal, parse_credit,
};

use super::connection::{BUFFER_LEN, Connection, PacketSink, clock};
use super::frame_queue::FrameQueue;
use super::packet::{Addresses, Packet};
use super::reply;
use crate::console;

/// For how long the guest's programs are kept waiting when the gateway is away: it may be on its way back.
const ABSENCE_EXCUSED: Duration = Duration::from_secs(5);

/// The gateway is granted more when this much is free again.
const CREDIT_STEP: usize = BUFFER_LEN / 4;

/// A timer that has run out already would keep the loop from sleeping.
const TIMER_MIN: Duration = Duration::from_millis(1);

/// How many connections are kept for the next ones.
const SPARE_MAX: usize = 8;

/// All flows.
pub(super) struct Stack {
    began: Instant,
    flows: HashMap<u32, Flow>,
    ids: HashMap<Addresses, u32>,
    last_id: u32,
    /// Flows that may have something to send, either way.
    busy: BTreeSet<u32>,
    timers: BTreeSet<(Instant, u32)>,
    frames: FrameQueue,
    /// Connections that are over, for the next ones: to make one takes longer than all the rest.
    #[allow(clippy::vec_box, reason = "they come out of boxes and go back into them")]
    spare: Vec<Box<Connection>>,
    /// Since when there is no gateway.
    absent_since: Option<Instant>,
}

struct Flow {
    addresses: Addresses,
    state: State,
    /// How many bytes the gateway takes from us.
    credit: usize,
    /// How many it may still send.
    granted: usize,
    /// The guest's program sends nothing more, and the gateway knows.
    ended: bool,
    /// The server sends nothing more.
    gateway_ended: bool,
    timer: Option<Instant>,
}

enum State {
    /// The gateway is asked; this is the packet that it began with.
    Opening(Vec<u8>),
    Open(Box<Connection>),
}

impl Stack {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began: now,
            flows: HashMap::new(),
            ids: HashMap::new(),
            last_id: 0,
            busy: BTreeSet::new(),
            timers: BTreeSet::new(),
            frames: FrameQueue::default(),
            spare: Vec::new(),
            absent_since: Some(now),
        }
    }

    pub(super) fn frames(&mut self) -> &mut FrameQueue {
        &mut self.frames
    }

    pub(super) fn has_frames(&self) -> bool {
        self.frames.len() > 0
    }

    pub(super) fn takes_packets(&self) -> bool {
        !self.frames.is_full()
    }

    /// When [`Self::settle`] is to be called at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    pub(super) fn gateway_came(&mut self, now: Instant, sink: &mut dyn PacketSink) {
        self.gateway_went(now, sink);
        self.absent_since = None;
    }

    /// Nothing of what was under way comes to an end any more.
    pub(super) fn gateway_went(&mut self, now: Instant, sink: &mut dyn PacketSink) {
        let clock = clock(self.began, now);
        for (_, flow) in self.flows.drain() {
            match flow.state {
                State::Opening(syn) => reply::refuse_tcp(&syn, Refusal::Refused, sink),
                State::Open(mut connection) => {
                    connection.reset();
                    connection.send(clock, sink);
                }
            }
        }
        self.ids.clear();
        self.busy.clear();
        self.timers.clear();
        self.frames.clear();
        self.absent_since.get_or_insert(now);
    }

    /// Takes a packet from the guest's kernel.
    pub(super) fn packet(&mut self, bytes: &[u8], now: Instant, sink: &mut dyn PacketSink) {
        let packet = Packet::parse(bytes);
        match self.absent_since {
            Some(since) if now - since < ABSENCE_EXCUSED => return,
            Some(_) => return self.refuse(packet, bytes, sink),
            None => {}
        }
        match packet {
            Packet::Tcp { addresses, is_syn, is_reset } => match self.ids.get(&addresses) {
                Some(id) => self.segment(*id, bytes, (is_syn, is_reset), now, sink),
                None if is_syn => self.open(addresses, bytes, sink),
                None if is_reset => {}
                None => reply::reset_tcp(bytes, sink),
            },
            Packet::Udp { addresses: Addresses { guest, peer }, data } => {
                let datagram = Datagram { guest, peer, data };
                if !self.frames.is_full() && data.len() <= Datagram::DATA_MAX_LEN {
                    self.frames.push(Kind::Datagram, 0, &[&datagram.head(), data]);
                }
            }
            Packet::EchoRequest { guest, peer, ident, sequence, data } => {
                let echo = Echo { guest, peer, ident, sequence, data };
                if !self.frames.is_full() && data.len() <= Datagram::DATA_MAX_LEN {
                    self.frames.push(Kind::Echo, 0, &[&echo.head(), data]);
                }
            }
            other => self.refuse(other, bytes, sink),
        }
    }

    /// There is nobody for it.
    fn refuse(&self, packet: Packet<'_>, bytes: &[u8], sink: &mut dyn PacketSink) {
        match packet {
            Packet::Tcp { is_reset: false, .. } => reply::reset_tcp(bytes, sink),
            Packet::Udp { addresses, .. } => reply::refuse_udp(addresses, sink),
            Packet::EchoRequest { guest, peer, ident, sequence, data } => {
                reply::refuse_echo(Echo { guest, peer, ident, sequence, data }, sink);
            }
            Packet::Foreign => reply::refuse_protocol(bytes, sink),
            Packet::Ipv6 => reply::refuse_ipv6(bytes, sink),
            Packet::Tcp { .. } | Packet::Nothing => {}
        }
    }

    /// Asks the gateway for a new flow.
    fn open(&mut self, addresses: Addresses, syn: &[u8], sink: &mut dyn PacketSink) {
        if self.flows.len() >= FLOWS_MAX {
            return reply::reset_tcp(syn, sink);
        }
        let id = self.next_id();
        let open = Open { to: addresses.peer, credit: BUFFER_LEN as u32 };
        self.frames.push(Kind::Open, id, &[&open.encode()]);
        let state = State::Opening(syn.to_vec());
        let flow = Flow {
            addresses,
            state,
            credit: 0,
            granted: BUFFER_LEN,
            ended: false,
            gateway_ended: false,
            timer: None,
        };
        self.flows.insert(id, flow);
        self.ids.insert(addresses, id);
    }

    fn next_id(&mut self) -> u32 {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if self.last_id != 0 && !self.flows.contains_key(&self.last_id) {
                return self.last_id;
            }
        }
    }

    /// A packet of a flow that there is.
    fn segment(
        &mut self,
        id: u32,
        bytes: &[u8],
        (is_syn, is_reset): (bool, bool),
        now: Instant,
        sink: &mut dyn PacketSink,
    ) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        match &mut flow.state {
            State::Opening(_) if is_reset => self.close(id, Some(Kind::Reset)),
            // Asked again: maybe for another connection, after the program had given up the first.
            State::Opening(syn) if is_syn => *syn = bytes.to_vec(),
            State::Opening(_) => {}
            State::Open(connection) => {
                connection.packet(bytes, clock(self.began, now), sink);
                self.busy.insert(id);
            }
        }
    }

    /// Takes a frame from the gateway.
    pub(super) fn frame(&mut self, header: Header, body: &[u8], now: Instant, sink: &mut dyn PacketSink) {
        if let Err(error) = self.try_frame(header, body, now, sink) {
            // The host is trusted: this is a fault of ours.
            console::say(format_args!("the gateway sent what makes no sense: {error}"));
        }
    }

    fn try_frame(
        &mut self,
        Header { kind, flow: id, .. }: Header,
        body: &[u8],
        now: Instant,
        sink: &mut dyn PacketSink,
    ) -> Result<(), FlowError> {
        match kind {
            Kind::Datagram => reply::datagram(Datagram::parse(body)?, sink),
            Kind::DatagramRefused => {
                let Datagram { guest, peer, .. } = Datagram::parse(body)?;
                reply::refuse_udp(Addresses { guest, peer }, sink);
            }
            Kind::Echo => reply::echo_reply(Echo::parse(body)?, sink),
            Kind::EchoRefused => reply::refuse_echo(Echo::parse(body)?, sink),
            // A frame of a flow that has just ended here.
            _ if !self.flows.contains_key(&id) => {}
            Kind::Opened => self.opened(id, parse_credit(kind, body)?, now, sink)?,
            Kind::Refused => self.refused(id, Refusal::parse(body)?, sink),
            Kind::Reset => self.reset(id, now, sink),
            Kind::Data => self.data(id, body)?,
            Kind::Credit => {
                let credit = parse_credit(kind, body)?;
                let flow = self.flow(kind, id)?;
                flow.credit = flow.credit.saturating_add(credit as usize);
                self.busy.insert(id);
            }
            Kind::End => {
                let flow = self.flow(kind, id)?;
                let State::Open(connection) = &mut flow.state else { return Err(FlowError::Flow(kind, id)) };
                connection.end();
                flow.gateway_ended = true;
                self.busy.insert(id);
            }
            Kind::Open => return Err(FlowError::Flow(kind, id)),
        }
        Ok(())
    }

    fn flow(&mut self, kind: Kind, id: u32) -> Result<&mut Flow, FlowError> {
        self.flows.get_mut(&id).ok_or(FlowError::Flow(kind, id))
    }

    fn opened(
        &mut self,
        id: u32,
        credit: u32,
        now: Instant,
        sink: &mut dyn PacketSink,
    ) -> Result<(), FlowError> {
        let clock = clock(self.began, now);
        let flow = self.flows.get_mut(&id).ok_or(FlowError::Flow(Kind::Opened, id))?;
        let State::Opening(syn) = &flow.state else { return Err(FlowError::Flow(Kind::Opened, id)) };
        let mut connection = self.spare.pop().unwrap_or_else(|| Box::new(Connection::unused(clock, sink)));
        if !connection.accept(flow.addresses, syn, clock, sink) {
            self.close(id, Some(Kind::Reset));
            return Ok(());
        }
        flow.state = State::Open(connection);
        flow.credit = credit as usize;
        self.busy.insert(id);
        Ok(())
    }

    fn refused(&mut self, id: u32, refusal: Refusal, sink: &mut dyn PacketSink) {
        if let Some(Flow { state: State::Opening(syn), .. }) = self.flows.get(&id) {
            reply::refuse_tcp(syn, refusal, sink);
            self.close(id, None);
        }
    }

    fn reset(&mut self, id: u32, now: Instant, sink: &mut dyn PacketSink) {
        let clock = clock(self.began, now);
        match self.flows.get_mut(&id).map(|flow| &mut flow.state) {
            Some(State::Open(connection)) => {
                connection.reset();
                connection.send(clock, sink);
            }
            Some(State::Opening(syn)) => reply::refuse_tcp(syn, Refusal::Refused, sink),
            None => {}
        }
        self.close(id, None);
    }

    fn data(&mut self, id: u32, body: &[u8]) -> Result<(), FlowError> {
        let flow = self.flow(Kind::Data, id)?;
        let State::Open(connection) = &mut flow.state else { return Err(FlowError::Flow(Kind::Data, id)) };
        let granted = flow.granted.checked_sub(body.len()).ok_or(FlowError::Body(Kind::Data, body.len()))?;
        flow.granted = granted;
        connection.push(body);
        self.busy.insert(id);
        Ok(())
    }

    /// Sends whatever can be sent, either way.
    pub(super) fn settle(&mut self, now: Instant, sink: &mut dyn PacketSink) {
        while let Some((at, id)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, id));
            self.busy.insert(id);
        }
        for id in std::mem::take(&mut self.busy) {
            self.settle_one(id, now, sink);
        }
    }

    fn settle_one(&mut self, id: u32, now: Instant, sink: &mut dyn PacketSink) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        let State::Open(connection) = &mut flow.state else { return };
        let frames = &mut self.frames;
        let credit = &mut flow.credit;
        connection.take_received(|bytes| {
            if *credit == 0 || frames.is_full() {
                return 0;
            }
            let taken = frames.push_data(id, bytes, *credit);
            *credit -= taken;
            taken
        });
        let again = connection.send(clock(self.began, now), sink);
        let is_open = connection.is_open();
        if !flow.ended && connection.is_received() && (is_open || flow.gateway_ended) {
            flow.ended = true;
            frames.push(Kind::End, id, &[]);
        }
        if !is_open && (flow.ended || !flow.gateway_ended) {
            // Over, or reset by the guest's program.
            let word = (!flow.ended || !flow.gateway_ended).then_some(Kind::Reset);
            return self.close(id, word);
        }
        let free = connection.room().saturating_sub(flow.granted);
        if free >= CREDIT_STEP {
            flow.granted += free;
            frames.push(Kind::Credit, id, &[&(free as u32).to_le_bytes()]);
        }
        if flow.credit > 0 && self.frames.is_full() {
            self.busy.insert(id);
        }
        let at = again.map(|at| self.began + Duration::from_micros(at.total_micros().max(0) as u64));
        self.set_timer(id, at.map(|at| at.max(now + TIMER_MIN)));
    }

    fn set_timer(&mut self, id: u32, at: Option<Instant>) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        if flow.timer == at {
            if let Some(at) = at {
                self.timers.insert((at, id));
            }
            return;
        }
        if let Some(old) = flow.timer {
            self.timers.remove(&(old, id));
        }
        flow.timer = at;
        self.timers.extend(at.map(|at| (at, id)));
    }

    /// Forgets a flow, and tells the gateway so unless it knows.
    fn close(&mut self, id: u32, word: Option<Kind>) {
        let Some(flow) = self.flows.remove(&id) else { return };
        self.ids.remove(&flow.addresses);
        self.busy.remove(&id);
        if let State::Open(connection) = flow.state
            && self.spare.len() < SPARE_MAX
        {
            self.spare.push(connection);
        }
        if let Some(at) = flow.timer {
            self.timers.remove(&(at, id));
        }
        if let Some(word) = word {
            self.frames.push(word, id, &[]);
        }
    }
}
