//! Whatever a guest sends, and in whatever pieces: the same verdict, and only the bytes that were sent.

use proptest::prelude::*;

use super::fixture::*;
use super::{Check, LIMIT};
use crate::policy::{Agreement, RefusalCode};

/// Pieces of conversations, most of them meaningful.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let text = prop::sample::select(
        &[
            "GET / HTTP/1.1\r\nHost: allowed.example\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: another.example\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: allowed.example\r\nContent-Length: 7\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: allowed.example\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: allowed.example\r\nUpgrade: x\r\n\r\n",
            "5\r\nhello\r\n",
            "0\r\n\r\n",
            "\r\n",
            "\n",
            "GET ",
            " HTTP/1.1",
            "Host: allowed.example\r\n",
            "SSH-2.0-x\r\n",
            "PRI * HTTP/2.0\r\n\r\n",
        ][..],
    );
    prop_oneof![
        6 => text.prop_map(|text| text.as_bytes().to_vec()),
        1 => Just(hex(openssl::HELLO)),
        1 => Just(hex(openssl::SECOND_HELLO)),
        1 => Just(hello(&server_name(b"another.example"))),
        1 => Just(record(22, &message(1, &hello_body(&server_name(b"allowed.example")))[..30])),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ]
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(piece(), 0..6).prop_map(|pieces| pieces.concat())
}

fn answers() -> impl Strategy<Value = Vec<u8>> {
    let answers = [
        hex(openssl::SERVER_HELLO),
        hex(openssl::RETRY_REQUEST),
        b"HTTP/1.1 101 x\r\n\r\n".to_vec(),
        b"HTTP/1.1 100 x\r\n\r\nHTTP/1.1 200 x\r\n\r\n".to_vec(),
        Vec::new(),
    ];
    prop_oneof![4 => prop::sample::select(answers.to_vec()), 1 => prop::collection::vec(any::<u8>(), 0..60)]
}

fn agreement() -> impl Strategy<Value = Agreement> {
    prop::sample::select(vec![same(), none_of(), Agreement::Anything])
}

/// Pushes all in pieces of these sizes, then the server's answer in such pieces.
fn run(
    agreement: Agreement,
    stream: &[u8],
    answer: &[u8],
    sizes: &[usize],
) -> (Vec<u8>, Result<(), RefusalCode>) {
    let mut check = Check::new(agreement);
    let mut onward = Vec::new();
    let mut released = Vec::new();
    for (bytes, is_guest) in [(stream, true), (answer, false)] {
        let mut rest = bytes;
        let mut sizes = sizes.iter().cycle();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(sizes.next().copied().unwrap_or(1).min(rest.len()));
            rest = after;
            let result =
                if is_guest { check.push(piece, &mut onward) } else { check.answered(piece, &mut onward) };
            if let Err(refusal) = result {
                // It stays refused, whatever comes.
                assert!(check.push(b"x", &mut onward).is_err() && check.answered(b"x", &mut onward).is_err());
                assert!(check.finish().is_err());
                return (released, Err(refusal.code));
            }
            released.clone_from(&onward);
            assert!(check.held() <= LIMIT);
            assert!(!check.is_done() || check.held() == 0);
            if is_guest {
                assert_eq!(onward.len() + check.held(), bytes.len() - rest.len(), "bytes were lost");
            }
        }
    }
    let verdict = check.finish().map_err(|refusal| refusal.code);
    (released, verdict)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn pieces_make_no_difference(
        agreement in agreement(),
        stream in stream(),
        answer in answers(),
        sizes in prop::collection::vec(1..40_usize, 1..5),
    ) {
        let (whole, verdict) = run(agreement.clone(), &stream, &answer, &[usize::MAX]);
        let (pieces, verdict_of_pieces) = run(agreement.clone(), &stream, &answer, &sizes);
        let (bytes, verdict_of_bytes) = run(agreement, &stream, &answer, &[1]);
        prop_assert_eq!(verdict, verdict_of_pieces);
        prop_assert_eq!(verdict, verdict_of_bytes);
        prop_assert!(stream.starts_with(&bytes) && bytes.starts_with(&pieces) && bytes.starts_with(&whole));
        if verdict.is_ok() {
            prop_assert_eq!(&whole, &bytes);
            prop_assert_eq!(&pieces, &bytes);
        }
    }

    /// With one request or hello that asks for another name, what comes before it is all that ever goes on.
    #[test]
    fn no_split_lets_another_name_through(
        before in 0..4_usize,
        sizes in prop::collection::vec(1..60_usize, 1..5),
    ) {
        let good = b"PUT / HTTP/1.1\r\nHost: allowed.example\r\nContent-Length: 5\r\n\r\nhello".repeat(before);
        let evil = b"GET / HTTP/1.1\r\nHost: another.example\r\n\r\n";
        let stream = [&good[..], evil].concat();
        let (released, verdict) = run(same(), &stream, b"", &sizes);
        prop_assert_eq!(verdict, Err(RefusalCode::NameMismatch));
        // The first line may have begun to go on before it looked like a request.
        prop_assert!(released.len() <= good.len() + 3);
    }

    #[test]
    fn a_changed_hello_is_read_or_refused(at in 0..517_usize, to: u8) {
        let mut bytes = hex(openssl::HELLO);
        bytes[at] = to;
        if let Ok(onward) = send(&same(), &bytes) {
            prop_assert_eq!(onward, bytes);
        }
    }
}
