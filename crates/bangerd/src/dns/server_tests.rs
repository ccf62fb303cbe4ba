use std::time::Instant;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

use super::*;

const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const OTTER: Ipv4Addr = Ipv4Addr::new(127, 93, 1, 2);

fn start() -> SocketAddr {
    let server = serve(Some(ANYWHERE), |name| (name == "brave-otter").then_some(OTTER));
    let DnsStatus::Listening(address) = server.status() else { panic!("{:?}", server.status()) };
    address
}

fn query(id: u16, name: &str) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    message.to_vec().unwrap()
}

async fn client(of: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(ANYWHERE).await.unwrap();
    socket.connect(of).await.unwrap();
    socket
}

async fn answered(socket: &UdpSocket) -> Message {
    let mut packet = [0; 2048];
    let len = timeout(Duration::from_secs(10), socket.recv(&mut packet)).await.unwrap().unwrap();
    Message::from_vec(&packet[..len]).unwrap()
}

#[tokio::test]
async fn both_ways_of_asking_are_answered() {
    let address = start();
    let udp = client(address).await;
    udp.send(&query(1, "brave-otter.vm.")).await.unwrap();
    let answer = answered(&udp).await;
    assert_eq!((answer.metadata.id, &answer.answers[0].data), (1, &RData::A(OTTER.into())));

    let mut tcp = TcpStream::connect(address).await.unwrap();
    for (id, name, code) in
        [(2, "brave-otter.vm.", ResponseCode::NoError), (3, "x.vm.", ResponseCode::NXDomain)]
    {
        let query = query(id, name);
        tcp.write_u16(query.len() as u16).await.unwrap();
        tcp.write_all(&query).await.unwrap();
        let answer = read_query(&mut tcp).await.unwrap();
        let answer = Message::from_vec(&answer).unwrap();
        assert_eq!((answer.metadata.id, answer.metadata.response_code), (id, code));
    }
    // A query that is too long ends the connection, and only that.
    tcp.write_u16(u16::MAX).await.unwrap();
    assert!(read_query(&mut tcp).await.is_err());
    udp.send(&query(4, "brave-otter.vm.")).await.unwrap();
    assert_eq!(answered(&udp).await.metadata.id, 4);
}

/// xorshift: the same packets each time.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_malformed_packets_change_nothing() {
    let address = start();
    let udp = client(address).await;
    let mut state = 0x9e37_79b9_7f4a_7c15;
    for round in 0..10_000 {
        let len = random(&mut state) as usize % 200;
        let mut packet: Vec<u8> = (0..len).map(|_| random(&mut state) as u8).collect();
        if round % 2 == 0 {
            packet = query(round as u16, "brave-otter.vm.");
            let at = random(&mut state) as usize % packet.len();
            packet[at] = random(&mut state) as u8;
            packet.truncate(random(&mut state) as usize % packet.len() + 1);
        }
        udp.send(&packet).await.unwrap();
    }
    let silent: Vec<_> = futures_util::future::join_all((0..100).map(|_| TcpStream::connect(address))).await;
    let other = client(address).await;
    for id in 0..5 {
        other.send(&query(id, "brave-otter.vm.")).await.unwrap();
        if let Ok(answer) = timeout(Duration::from_secs(2), answered(&other)).await {
            assert_eq!(answer.answers[0].data, RData::A(OTTER.into()));
            drop(silent);
            return;
        }
    }
    panic!("no answer any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_queries_a_second_are_answered() {
    let udp = client(start()).await;
    let start = Instant::now();
    // In tens: the kernel keeps no more than some hundred for us.
    for round in 0..400_u16 {
        for id in 0..10 {
            udp.send(&query(10 * round + id, "brave-otter.vm.")).await.unwrap();
        }
        for _ in 0..10 {
            assert_eq!(answered(&udp).await.answers.len(), 1);
        }
    }
    let took = start.elapsed();
    println!("4000 queries took {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_and_tried_again() {
    let taken = std::net::UdpSocket::bind(ANYWHERE).unwrap();
    let address = taken.local_addr().unwrap();
    let server = serve_and_retry(Some(address), Duration::from_millis(50), Arc::new(|_: &str| None));
    assert!(matches!(server.status(), DnsStatus::Unavailable { .. }), "{:?}", server.status());
    drop(taken);
    let mut status = server.status.clone();
    let listening = status.wait_for(|status| matches!(status, DnsStatus::Listening(_))).await;
    assert_eq!(listening, Some(DnsStatus::Listening(address)));
    assert_eq!(serve(None, |_| None).status(), DnsStatus::Off);
}
