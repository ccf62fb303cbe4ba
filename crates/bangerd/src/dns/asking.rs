use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::net::UdpSocket;

use super::zone::CHECK_NAME;

/// It is on this host.
const LIMIT: Duration = Duration::from_millis(500);

/// Does our name server answer at this address? None: nobody does. False: somebody else has the port.
pub async fn is_answering(address: SocketAddr) -> Option<bool> {
    match tokio::time::timeout(LIMIT, ask(address)).await {
        Ok(Ok(ours)) => Some(ours),
        // Refused: nobody is there. It may also be that nobody is allowed to ask.
        Ok(Err(_)) => None,
        // Whoever has the port does not speak DNS.
        Err(_) => Some(false),
    }
}

async fn ask(address: SocketAddr) -> std::io::Result<bool> {
    let anywhere = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(anywhere).await?;
    socket.connect(address).await?;
    let mut query = Message::new(1, MessageType::Query, OpCode::Query);
    let name = Name::from_ascii(CHECK_NAME).map_err(std::io::Error::other)?;
    query.add_query(Query::query(name, RecordType::A));
    socket.send(&query.to_vec().map_err(std::io::Error::other)?).await?;
    let mut answer = [0; 512];
    let len = socket.recv(&mut answer).await?;
    let answer = Message::from_vec(&answer[..len]);
    Ok(answer
        .is_ok_and(|answer| answer.answers.iter().any(|one| one.data == RData::A(A(Ipv4Addr::LOCALHOST)))))
}
