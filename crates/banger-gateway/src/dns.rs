//! The guest's resolver: it answers each name that may be looked up with an address that stands for it.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::time::Instant;

use banger_guest_protocol::flow::{Datagram, Kind, addresses};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, PTR};
use hickory_proto::rr::{DNSClass, Name as DnsName, RData, Record, RecordType};

use crate::gateway::Gateway;
use crate::log::{Attempt, Protocol, Verdict, now};
use crate::policy::{Name, Refusal};
use crate::resolver::Resolved;

/// How long a guest may use an answer, in seconds. What it stands for is found out at each connection.
const TTL: u32 = 30;

/// How many new names a guest may look up, in a second and in a burst: names carry data as well.
const NAMES_PER_SECOND: f64 = 20.0;
const NAMES_BURST: f64 = 200.0;

/// How many questions may wait for the host's resolver.
pub(crate) const QUESTIONS_MAX: usize = 64;

/// Largest answer by datagram, in bytes (RFC 9715).
const UDP_PAYLOAD: u16 = 1232;

const DNS_PORT: u16 = 53;

/// How many new names may be looked up now.
#[derive(Debug)]
pub(crate) struct Allowance {
    left: Cell<f64>,
    filled: Cell<Instant>,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { left: Cell::new(NAMES_BURST), filled: Cell::new(Instant::now()) }
    }
}

impl Allowance {
    pub(crate) fn take(&self) -> bool {
        let earned = self.filled.replace(Instant::now()).elapsed().as_secs_f64() * NAMES_PER_SECOND;
        let left = (self.left.get() + earned).min(NAMES_BURST);
        let has_one = left >= 1.0;
        self.left.set(if has_one { left - 1.0 } else { left });
        has_one
    }
}

/// Answers a question that came as a datagram.
pub(crate) fn take(gateway: &Rc<Gateway>, guest: SocketAddrV4, question: &[u8]) {
    // One too many is lost, as datagrams are.
    let Ok(permit) = gateway.questions.clone().try_acquire_owned() else { return };
    let (gateway, question) = (gateway.clone(), question.to_vec());
    tokio::task::spawn_local(async move {
        if let Some(answer) = answer(&gateway, &question).await {
            let peer = SocketAddrV4::new(addresses::GATEWAY, DNS_PORT);
            let head = Datagram { guest, peer, data: &[] }.head();
            gateway.outbox.offer(Kind::Datagram, &[&head, &answer]);
        }
        drop(permit);
    });
}

/// The answer to a question; none to what is none.
pub(crate) async fn answer(gateway: &Gateway, question: &[u8]) -> Option<Vec<u8>> {
    let id = u16::from_be_bytes([*question.first()?, *question.get(1)?]);
    let Ok(message) = Message::from_vec(question) else {
        return encode(&Message::error_msg(id, OpCode::Query, ResponseCode::FormErr));
    };
    if message.metadata.message_type != MessageType::Query {
        return None;
    }
    let mut response = Message::response(id, message.metadata.op_code);
    response.metadata.recursion_desired = message.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    response.add_queries(message.queries.iter().cloned());
    if message.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_PAYLOAD);
        response.set_edns(edns);
    }
    let (code, records) = match (message.metadata.op_code, message.queries.as_slice()) {
        (OpCode::Query, [query]) => look_up(gateway, query).await,
        (OpCode::Query, _) => (ResponseCode::FormErr, Vec::new()),
        _ => (ResponseCode::NotImp, Vec::new()),
    };
    response.metadata.response_code = code;
    response.add_answers(records);
    encode(&response)
}

fn encode(message: &Message) -> Option<Vec<u8>> {
    // Our own messages are no longer than the question and one record.
    message.to_vec().ok()
}

type Found = (ResponseCode, Vec<Record>);

async fn look_up(gateway: &Gateway, query: &Query) -> Found {
    let nothing = |code| (code, Vec::new());
    if query.query_class() != DNSClass::IN {
        return nothing(ResponseCode::Refused);
    }
    let kind = query.query_type();
    if kind == RecordType::PTR {
        return reverse(gateway, query.name());
    }
    let Ok(name) = Name::from_labels(query.name().iter()) else { return nothing(ResponseCode::NXDomain) };
    let wants_address = matches!(kind, RecordType::A | RecordType::ANY);
    let found = match own_address(gateway, &name) {
        Some(found) => found,
        None => match gateway.policy().lookup(&name) {
            Ok(rule) => foreign_address(gateway, &name, rule).await,
            Err(refusal) => {
                refused(gateway, &name, &refusal);
                Err(ResponseCode::Refused)
            }
        },
    };
    match found {
        Ok(address) if wants_address => {
            (ResponseCode::NoError, vec![record(query.name(), RData::A(A(address)))])
        }
        // The name is there, and has no such record: IPv6 addresses would be no use, mail is nobody's here.
        Ok(_) => nothing(ResponseCode::NoError),
        Err(code) => nothing(code),
    }
}

fn record(name: &DnsName, data: RData) -> Record {
    Record::from_rdata(name.clone(), TTL, data)
}

/// The address of a name that is the VM's own, or the host's.
fn own_address(gateway: &Gateway, name: &Name) -> Option<Result<Ipv4Addr, ResponseCode>> {
    if name.is_host_vm() {
        return Some(Ok(addresses::HOST));
    }
    let hostname = &gateway.config.borrow().hostname;
    if name.as_str().strip_suffix(".vm").unwrap_or(name.as_str()) == hostname {
        return Some(Ok(addresses::GUEST));
    }
    // Other VMs are none of its business.
    (name.as_str() == "vm" || name.is_below("vm")).then_some(Err(ResponseCode::NXDomain))
}

/// The address that stands for a name of the world's.
async fn foreign_address(gateway: &Gateway, name: &Name, rule: String) -> Result<Ipv4Addr, ResponseCode> {
    let is_known = gateway.names.borrow().knows(name);
    if !is_known && !gateway.allowance.take() {
        write(gateway, name, Verdict::Refused, |attempt| {
            attempt.reason = Some("too-many-names".into());
            attempt.detail = Some(format!("more than {NAMES_PER_SECOND} new names a second were looked up"));
        });
        return Err(ResponseCode::Refused);
    }
    // A proxy may know names that the host's resolver does not.
    let has_proxy = matches!(gateway.proxies.borrow().of(name, 443), Ok(Some(_)));
    let code = match gateway.resolver.resolve(name).await {
        Resolved::Addresses(_) => None,
        Resolved::Nothing | Resolved::Failed if has_proxy => None,
        Resolved::Nothing => Some(ResponseCode::NXDomain),
        Resolved::Failed if is_known => None,
        Resolved::Busy | Resolved::Failed => Some(ResponseCode::ServFail),
    };
    if let Some(code) = code {
        write(gateway, name, Verdict::Failed, |attempt| {
            attempt.reason =
                Some(if code == ResponseCode::NXDomain { "no-such-name" } else { "resolver" }.into());
        });
        return Err(code);
    }
    if !is_known {
        write(gateway, name, Verdict::Allowed, |attempt| attempt.rule = Some(rule));
    }
    Ok(gateway.names.borrow_mut().address_of(name))
}

fn refused(gateway: &Gateway, name: &Name, refusal: &Refusal) {
    write(gateway, name, Verdict::Refused, |attempt| {
        attempt.reason = Some(refusal.code.as_str().into());
        attempt.detail = Some(refusal.to_string());
    });
}

fn write(gateway: &Gateway, name: &Name, verdict: Verdict, describe: impl FnOnce(&mut Attempt)) {
    let mut attempt = Attempt {
        time: now(),
        protocol: Protocol::Dns,
        name: Some(name.to_string()),
        verdict,
        count: 1,
        ..Attempt::default()
    };
    describe(&mut attempt);
    gateway.log.borrow_mut().write(attempt);
}

/// What an address stands for: only the gateway's own are known.
fn reverse(gateway: &Gateway, query: &DnsName) -> Found {
    let name = reversed(query).and_then(|address| gateway.names.borrow().name_of(address).cloned());
    // Every name in the table is one.
    match name.and_then(|name| DnsName::from_ascii(name.to_absolute()).ok()) {
        Some(name) => (ResponseCode::NoError, vec![record(query, RData::PTR(PTR(name)))]),
        None => (ResponseCode::NXDomain, Vec::new()),
    }
}

/// `4.3.2.1.in-addr.arpa`.
fn reversed(name: &DnsName) -> Option<Ipv4Addr> {
    let labels: Vec<&[u8]> = name.iter().collect();
    let [d, c, b, a, zone, top] = labels.as_slice() else { return None };
    if !zone.eq_ignore_ascii_case(b"in-addr") || !top.eq_ignore_ascii_case(b"arpa") {
        return None;
    }
    // What is no number is no address.
    let number = |label: &[u8]| std::str::from_utf8(label).ok()?.parse::<u8>().ok();
    Some(Ipv4Addr::new(number(a)?, number(b)?, number(c)?, number(d)?))
}
