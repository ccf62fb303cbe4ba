use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::str::FromStr as _;

use banger_guest_protocol::flow::addresses;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name as DnsName, RData, RecordType};
use proptest::prelude::*;

use crate::config::{CONFIG, Config};
use crate::dns::{Allowance, answer};
use crate::gateway::Gateway;
use crate::policy::Policy;

/// A gateway of the VM `box`, and the directory that it lives in.
fn gateway(egress: &str) -> (Gateway, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let egress = egress.parse::<Policy>().unwrap();
    let config = Config { hostname: "box".into(), egress, proxy: Default::default() };
    std::fs::write(dir.path().join(CONFIG), serde_json::to_vec(&config).unwrap()).unwrap();
    let opened = OwnedFd::from(std::fs::File::open(dir.path()).unwrap());
    (Gateway::open(opened).unwrap(), dir)
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let mut name = DnsName::from_str(name).unwrap();
    name.set_fqdn(true);
    message.add_query(Query::query(name, kind));
    message
}

async fn ask(gateway: &Gateway, question: &Message) -> Message {
    let answer = answer(gateway, &question.to_vec().unwrap()).await.unwrap();
    let answer = Message::from_vec(&answer).unwrap();
    assert_eq!((answer.metadata.id, answer.metadata.message_type), (7, MessageType::Response));
    assert!(answer.metadata.recursion_desired && answer.metadata.recursion_available);
    assert_eq!(answer.queries, question.queries);
    answer
}

async fn address(gateway: &Gateway, name: &str) -> Result<Ipv4Addr, ResponseCode> {
    let answer = ask(gateway, &question(name, RecordType::A)).await;
    match answer.answers.first().map(|record| &record.data) {
        Some(RData::A(address)) => Ok(address.0),
        _ => Err(answer.metadata.response_code),
    }
}

#[tokio::test]
async fn the_vm_and_its_host_have_names_whatever_the_policy() {
    for egress in ["none", "internet"] {
        let (gateway, _dir) = gateway(egress);
        for own in ["box", "box.vm", "BOX.vm."] {
            assert_eq!(address(&gateway, own).await, Ok(addresses::GUEST), "{own}");
        }
        assert_eq!(address(&gateway, "host.vm").await, Ok(addresses::HOST));
        assert_eq!(address(&gateway, "other.vm").await, Err(ResponseCode::NXDomain));
    }
}

#[tokio::test]
async fn what_the_policy_refuses_is_refused_and_written_down() {
    let (gateway, dir) = gateway("example.org");
    assert_eq!(address(&gateway, "example.com").await, Err(ResponseCode::Refused));
    assert_eq!(address(&gateway, "localhost").await, Err(ResponseCode::Refused));
    assert_eq!(address(&gateway, "2130706433").await, Err(ResponseCode::NXDomain));
    let log = std::fs::read_to_string(dir.path().join(crate::log::LOG)).unwrap();
    assert!(log.lines().count() == 2 && log.contains(r#""name":"example.com""#), "{log}");
}

#[tokio::test]
async fn a_name_has_one_address_that_leads_back_to_it() {
    let (gateway, _dir) = gateway("internet");
    // What the host's resolver says is not asked for a name that is known: it may have no network.
    let name = crate::policy::Name::from_user("known.example").unwrap();
    let stands_for_it = gateway.names.borrow_mut().address_of(&name);
    let [a, b, c, d] = stands_for_it.octets();
    let reverse = question(&format!("{d}.{c}.{b}.{a}.in-addr.arpa."), RecordType::PTR);
    let answer = ask(&gateway, &reverse).await;
    assert_eq!(answer.answers[0].data.to_string(), "known.example.");
    for unknown in ["1.0.0.127.in-addr.arpa.", "1.0.in-addr.arpa.", "x.y.z.w.in-addr.arpa."] {
        let answer = ask(&gateway, &question(unknown, RecordType::PTR)).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain, "{unknown}");
    }
}

#[tokio::test]
async fn other_records_and_odd_questions_have_an_answer() {
    let (gateway, _dir) = gateway("internet");
    for kind in [RecordType::AAAA, RecordType::MX, RecordType::TXT, RecordType::HTTPS] {
        let answer = ask(&gateway, &question("host.vm.", kind)).await;
        assert_eq!(
            (answer.metadata.response_code, answer.answers.len()),
            (ResponseCode::NoError, 0),
            "{kind}"
        );
    }
    let mut extended = question("host.vm.", RecordType::A);
    extended.set_edns(Edns::new());
    assert!(ask(&gateway, &extended).await.edns.is_some());
    let mut two = question("host.vm.", RecordType::A);
    two.add_query(Query::query(DnsName::root(), RecordType::A));
    assert_eq!(ask(&gateway, &two).await.metadata.response_code, ResponseCode::FormErr);
    let mut update = question("host.vm.", RecordType::A);
    update.metadata.op_code = OpCode::Notify;
    assert_eq!(ask(&gateway, &update).await.metadata.response_code, ResponseCode::NotImp);
    let mut response = question("host.vm.", RecordType::A);
    response.metadata.message_type = MessageType::Response;
    assert_eq!(answer(&gateway, &response.to_vec().unwrap()).await, None);
}

#[test]
fn a_burst_of_new_names_is_let_through_and_a_flood_is_not() {
    let allowance = Allowance::default();
    let taken = (0..1000).filter(|_| allowance.take()).count();
    assert!((200..260).contains(&taken), "{taken}");
}

proptest! {
    #[test]
    fn any_bytes_have_an_answer_or_none(bytes: Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (gateway, _dir) = gateway("none");
        if let Some(answer) = runtime.block_on(answer(&gateway, &bytes)) {
            prop_assert_eq!(&answer[..2], &bytes[..2]);
        }
    }
}
