use proptest::prelude::*;

use super::*;

const OTTER: Ipv4Addr = Ipv4Addr::new(127, 93, 1, 2);

fn otter(name: &str) -> Option<Ipv4Addr> {
    (name == "brave-otter").then_some(OTTER)
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn told(message: &Message) -> Message {
    let answer = answer(&message.to_vec().unwrap(), &otter).unwrap();
    assert!(answer.len() <= 512, "{} bytes", answer.len());
    Message::from_vec(&answer).unwrap()
}

fn asked(name: &str, kind: RecordType) -> Message {
    told(&query(name, kind))
}

#[test]
fn a_vm_that_runs_has_its_address_in_whatever_case() {
    for name in ["brave-otter.vm.", "Brave-OTTER.Vm."] {
        let response = asked(name, RecordType::A);
        assert_eq!(response.metadata.response_code, ResponseCode::NoError);
        assert!(response.metadata.authoritative && response.metadata.recursion_desired);
        assert!(!response.metadata.recursion_available && response.edns.is_none());
        let [record] = &response.answers[..] else { panic!("{response:?}") };
        assert_eq!(record.name.to_ascii(), name);
        assert_eq!((&record.data, record.ttl), (&RData::A(A(OTTER)), TTL_S));
        assert_eq!(response.queries[0].name().to_ascii(), name);
        assert_eq!(response.metadata.id, 7);
    }
    assert_eq!(asked("brave-otter.vm.", RecordType::ANY).answers.len(), 1);
    assert_eq!(asked("_BANGER.vm.", RecordType::A).answers[0].data, RData::A(A(Ipv4Addr::LOCALHOST)));
}

#[test]
fn other_kinds_of_records_are_none_and_no_error() {
    for kind in [RecordType::AAAA, RecordType::TXT, RecordType::HTTPS, RecordType::NS, RecordType::SOA] {
        let response = asked("brave-otter.vm.", kind);
        assert_eq!(response.metadata.response_code, ResponseCode::NoError, "{kind}");
        assert!(response.answers.is_empty() && response.authorities[0].record_type() == RecordType::SOA);
    }
    assert_eq!(asked("vm.", RecordType::SOA).answers[0].record_type(), RecordType::SOA);
    assert!(asked("vm.", RecordType::A).answers.is_empty());
}

#[test]
fn unknown_names_are_none_for_a_short_while() {
    for name in ["calm-otter.vm.", "www.brave-otter.vm.", "brave-otter.vm.vm."] {
        for kind in [RecordType::A, RecordType::AAAA, RecordType::ANY] {
            let response = asked(name, kind);
            assert_eq!(response.metadata.response_code, ResponseCode::NXDomain, "{name}");
            let [record] = &response.authorities[..] else { panic!("{response:?}") };
            assert_eq!((record.record_type(), record.ttl), (RecordType::SOA, NEGATIVE_TTL_S));
        }
    }
}

#[test]
fn what_is_not_ours_is_refused() {
    let code = |message: &Message| told(message).metadata.response_code;
    for name in ["example.org.", ".", "vm.example.", "brave-otter.", "xvm."] {
        assert_eq!(code(&query(name, RecordType::A)), ResponseCode::Refused, "{name}");
    }
    assert_eq!(code(&query("vm.", RecordType::AXFR)), ResponseCode::Refused);
    let mut chaos = query("brave-otter.vm.", RecordType::A);
    chaos.queries[0].query_class = DNSClass::CH;
    assert_eq!(code(&chaos), ResponseCode::Refused);
    for op_code in [OpCode::Update, OpCode::Notify, OpCode::Status] {
        let mut other = query("brave-otter.vm.", RecordType::A);
        other.metadata.op_code = op_code;
        assert_eq!(code(&other), ResponseCode::NotImp, "{op_code:?}");
    }
    let mut two = query("brave-otter.vm.", RecordType::A);
    two.add_query(two.queries[0].clone());
    assert_eq!(code(&two), ResponseCode::FormErr);
}

#[test]
fn extensions_are_answered_by_extensions() {
    let mut message = query("brave-otter.vm.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    message.set_edns(edns.clone());
    let response = told(&message);
    assert_eq!(response.answers.len(), 1);
    assert_eq!(response.edns.as_ref().map(Edns::max_payload), Some(PAYLOAD_MAX_LEN));
    edns.set_version(1);
    message.set_edns(edns);
    let response = told(&message);
    // The number has two names.
    assert_eq!(u16::from(response.metadata.response_code), u16::from(ResponseCode::BADVERS));
    assert!(response.answers.is_empty() && response.edns.is_some());
}

#[test]
fn answers_and_scraps_are_not_answered() {
    let mut response = query("brave-otter.vm.", RecordType::A);
    response.metadata.message_type = MessageType::Response;
    assert_eq!(answer(&response.to_vec().unwrap(), &otter), None);
    assert_eq!(answer(&[0; 11], &otter), None);
    let cut = &query("brave-otter.vm.", RecordType::A).to_vec().unwrap()[..20];
    let response = Message::from_vec(&answer(cut, &otter).unwrap()).unwrap();
    assert_eq!((response.metadata.id, response.metadata.response_code), (7, ResponseCode::FormErr));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_packet_is_survived_and_no_answer_is_long(packet: Vec<u8>) {
        let answered = answer(&packet, &otter);
        prop_assert!(answered.is_none_or(|answer| answer.len() <= 512));
    }

    #[test]
    fn a_query_that_was_tampered_with_is_survived(
        at in 0_usize..40, byte: u8, cut in 0_usize..60, kind: u16, edns: bool, label in "[a-zA-Z0-9]{1,30}[a-z0-9]{1,30}",
    ) {
        let mut message = query(&format!("{label}.vm."), RecordType::from(kind));
        if edns {
            message.set_edns(Edns::new());
        }
        let mut packet = message.to_vec().unwrap();
        let answered = answer(&packet, &otter);
        prop_assert!(answered.is_some_and(|answer| answer.len() <= 512));
        if let Some(place) = packet.get_mut(at) {
            *place = byte;
        }
        packet.truncate(packet.len().saturating_sub(cut));
        let answered = answer(&packet, &otter);
        prop_assert!(answered.is_none_or(|answer| answer.len() <= 512));
    }

    #[test]
    fn the_longest_names_are_answered(labels in proptest::collection::vec("[a-z]{50,61}", 1..4)) {
        let response = asked(&format!("{}.vm.", labels.join(".")), RecordType::ANY);
        prop_assert_eq!(response.metadata.response_code, ResponseCode::NXDomain);
    }
}
