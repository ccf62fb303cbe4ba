//! From a query to an answer (pure).

use std::net::Ipv4Addr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

const ZONE: &str = "vm";

/// A name that is always there, by which one sees whether the host's resolver asks us. No VM can be called
/// so.
pub(super) const CHECK_NAME: &str = "_banger.vm";
const CHECK_LABEL: &str = "_banger";

/// VMs come and go, and a name may be another's the next moment.
const TTL_S: u32 = 5;
/// Whoever asked too early asks again.
const NEGATIVE_TTL_S: u32 = 1;

/// What we say we take over UDP: what gets through everywhere in one piece.
const PAYLOAD_MAX_LEN: u16 = 1232;

const HEADER_LEN: usize = 12;

/// Who has which address.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<Ipv4Addr>;

/// Answers a query; none where there is nothing to answer to.
///
/// No answer is longer than 512 bytes, so there is none that does not fit into a datagram.
pub(super) fn answer(packet: &[u8], lookup: Lookup<'_>) -> Option<Vec<u8>> {
    // Whoever answers answers could be made to talk to himself.
    if packet.len() < HEADER_LEN || packet[2] & 0x80 != 0 {
        return None;
    }
    let response = match Message::from_vec(packet) {
        Ok(query) => respond(&query, lookup),
        Err(_) => {
            let id = u16::from_be_bytes([packet[0], packet[1]]);
            Message::error_msg(id, OpCode::from_u8(packet[2] >> 3 & 0x0f), ResponseCode::FormErr)
        }
    };
    // One that cannot be written is one that nobody gets.
    response.to_vec().ok()
}

fn respond(message: &Message, lookup: Lookup<'_>) -> Message {
    let mut response = Message::response(message.metadata.id, message.metadata.op_code);
    response.metadata.recursion_desired = message.metadata.recursion_desired;
    if let Some(edns) = &message.edns {
        let mut own = Edns::new();
        own.set_max_payload(PAYLOAD_MAX_LEN);
        response.set_edns(own);
        if edns.version() > 0 {
            return refused(response, ResponseCode::BADVERS);
        }
    }
    if message.metadata.message_type != MessageType::Query || message.metadata.op_code != OpCode::Query {
        return refused(response, ResponseCode::NotImp);
    }
    let [query] = &message.queries[..] else { return refused(response, ResponseCode::FormErr) };
    response.add_query(query.clone());
    let transfer = matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR);
    match relative(query.name()).filter(|_| query.query_class() == DNSClass::IN && !transfer) {
        Some(labels) => authoritative(response, query, &labels, lookup),
        None => refused(response, ResponseCode::Refused),
    }
}

fn refused(mut response: Message, code: ResponseCode) -> Message {
    if let Some(edns) = &mut response.edns {
        edns.set_rcode_high(code.high());
    }
    response.metadata.response_code = code;
    response
}

/// The labels before the zone's, in lower case; none of a name in another zone.
fn relative(name: &Name) -> Option<Vec<String>> {
    let mut labels: Vec<String> =
        name.iter().map(|label| String::from_utf8_lossy(label).to_ascii_lowercase()).collect();
    (labels.pop()? == ZONE).then_some(labels)
}

fn authoritative(mut response: Message, query: &Query, labels: &[String], lookup: Lookup<'_>) -> Message {
    response.metadata.authoritative = true;
    let kind = query.query_type();
    let address = match labels {
        [] => None,
        [label] if label == CHECK_LABEL => Some(Ipv4Addr::LOCALHOST),
        [label] => lookup(label),
        _ => None,
    };
    if address.is_none() && !labels.is_empty() {
        response.metadata.response_code = ResponseCode::NXDomain;
    }
    match (address, labels) {
        // ANY may be answered with what there is (RFC 8482).
        (Some(address), _) if matches!(kind, RecordType::A | RecordType::ANY) => {
            // In the case in which it was asked for: some compare.
            response.add_answer(Record::from_rdata(query.name().clone(), TTL_S, RData::A(A(address))));
        }
        (None, []) if matches!(kind, RecordType::SOA | RecordType::ANY) => {
            response.add_answer(soa());
        }
        _ => {
            response.add_authority(soa());
        }
    }
    response
}

/// What says for how long a name may be taken for one that is not there.
fn soa() -> Record {
    let zone = Name::from_labels([ZONE]).unwrap_or_default();
    let start = SOA::new(zone.clone(), zone.clone(), 1, 3600, 600, 86400, NEGATIVE_TTL_S);
    Record::from_rdata(zone, NEGATIVE_TTL_S, RData::SOA(start))
}

#[cfg(test)]
#[path = "zone_tests.rs"]
mod tests;
