use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{DuplexStream, duplex};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

/// Everything in `bytes` that comes before an end, and whether there is one.
fn taken(pieces: &mut Pieces, mut bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        match pieces.next(&mut bytes) {
            Piece::Bytes(piece) => all.extend_from_slice(piece),
            Piece::End => return (all, true),
            Piece::None => {}
        }
    }
    (all, false)
}

proptest! {
    #[test]
    fn pieces_come_through_however_they_are_cut(
        sent in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 0..8),
        cut in 1_usize..50,
    ) {
        let mut stream = Vec::new();
        for piece in &sent {
            stream.extend_from_slice(&(piece.len() as u16).to_le_bytes());
            stream.extend_from_slice(piece);
        }
        stream.extend_from_slice(&[0, 0]);
        let (mut pieces, mut all, mut ended) = (Pieces::default(), Vec::new(), false);
        for part in stream.chunks(cut) {
            prop_assert!(!ended);
            let (bytes, end) = taken(&mut pieces, part);
            all.extend(bytes);
            ended = end;
        }
        prop_assert!(ended);
        prop_assert_eq!(all, sent.concat());
    }

    #[test]
    fn anything_at_all_is_taken(bytes: Vec<u8>) {
        taken(&mut Pieces::default(), &bytes);
    }
}

/// The two ends of a TCP connection.
async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

type Carried = JoinHandle<Result<(), CarryError>>;

fn carried(connection: TcpStream, stream: DuplexStream) -> Carried {
    tokio::spawn(async move { carry(&connection, stream).await })
}

/// A client and a server with everything in between, over a pipe of `capacity` bytes.
async fn pair(capacity: usize) -> (TcpStream, TcpStream, Carried, Carried) {
    let (client, near) = connection().await;
    let (server, far) = connection().await;
    let (one, other): (DuplexStream, DuplexStream) = duplex(capacity);
    (client, server, carried(near, one), carried(far, other))
}

#[tokio::test]
async fn halves_close_one_after_the_other() {
    let (mut client, mut server, near, far) = pair(64 * 1024).await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut said = Vec::new();
    server.read_to_end(&mut said).await.unwrap();
    assert_eq!(said, b"question");
    server.write_all(b"answer").await.unwrap();
    drop(server);
    let mut said = Vec::new();
    client.read_to_end(&mut said).await.unwrap();
    assert_eq!(said, b"answer");
    near.await.unwrap().unwrap();
    far.await.unwrap().unwrap();
}

#[tokio::test]
async fn much_goes_both_ways_at_once_and_stays_what_it_is() {
    const LEN: usize = 4 << 20;
    let (client, server, near, far) = pair(10_000).await;
    let both = |peer: TcpStream, own: u8, others: u8| async move {
        let (mut from, mut to) = peer.into_split();
        let sending = tokio::spawn(async move {
            to.write_all(&vec![own; LEN]).await.unwrap();
            to.shutdown().await.unwrap();
        });
        let mut all = Vec::new();
        from.read_to_end(&mut all).await.unwrap();
        sending.await.unwrap();
        assert!(all.len() == LEN && all.iter().all(|byte| *byte == others));
    };
    tokio::join!(both(client, 1, 2), both(server, 2, 1));
    near.await.unwrap().unwrap();
    far.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_reset_is_a_reset_at_the_other_end() {
    let (client, mut server, near, far) = pair(64 * 1024).await;
    client.set_zero_linger().unwrap();
    drop(client);
    let seen = server.read(&mut [0; 1]).await;
    assert!(seen.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset), "{seen:?}");
    assert!(near.await.unwrap().is_err() && far.await.unwrap().is_err());
}

/// The stream is full, so nothing is read of the client and nothing written to it.
#[tokio::test]
async fn a_reset_is_seen_behind_a_reader_that_stalls() {
    let (mut client, _server, near, _far) = pair(1000).await;
    let chunk = vec![0; 64 * 1024];
    while tokio::time::timeout(Duration::from_millis(300), client.write_all(&chunk)).await.is_ok() {}
    client.set_zero_linger().unwrap();
    drop(client);
    let ended = tokio::time::timeout(Duration::from_secs(5), near).await;
    assert!(ended.unwrap().unwrap().is_err());
}

#[tokio::test]
async fn a_stream_that_breaks_is_no_end() {
    let (mut client, near) = connection().await;
    let (one, mut other) = duplex(100);
    let ended = carried(near, one);
    other.write_all(&[3, 0, b'h', b'a', b'l']).await.unwrap();
    let mut said = [0; 3];
    client.read_exact(&mut said).await.unwrap();
    drop(other);
    let seen = client.read(&mut [0; 1]).await;
    assert!(seen.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset), "{seen:?}");
    assert!(ended.await.unwrap().is_err());
}
