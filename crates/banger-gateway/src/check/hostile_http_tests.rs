//! Requests for another name, and requests that are smuggled past a check.

use super::fixture::*;
use super::{Check, LIMIT};
use crate::policy::RefusalCode::{self, *};

const GOOD: &str = "GET / HTTP/1.1\r\nHost: allowed.example\r\n\r\n";
const EVIL: &str = "GET / HTTP/1.1\r\nHost: another.example\r\n\r\n";

fn passes(bytes: &str) {
    assert_eq!(send(&same(), bytes.as_bytes()).as_deref(), Ok(bytes.as_bytes()), "{bytes:?}");
}

/// On a fresh connection, and behind a good request on a kept one.
fn refused(bytes: &str, code: RefusalCode) {
    assert_eq!(send(&same(), bytes.as_bytes()), Err(code), "{bytes:?}");
    let kept = format!("{GOOD}{bytes}");
    assert_eq!(send(&same(), kept.as_bytes()), Err(code), "{kept:?}");
}

fn with(lines: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: allowed.example\r\n{lines}\r\n\r\n")
}

#[test]
fn requests_for_the_same_name_go_on() {
    passes(GOOD);
    passes(&GOOD.repeat(5));
    passes("GET / HTTP/1.0\r\nHOST:\tAllowed.Example.:8080 \r\n\r\n");
    passes("OPTIONS * HTTP/1.1\r\nHost: allowed.example\r\n\r\n");
    passes("GET http://allowed.example:80/x?y HTTP/1.1\r\nHost: allowed.example\r\n\r\n");
    passes(&format!("\r\n\r\n{GOOD}\r\n{GOOD}"));
    passes(&format!("{}hello{GOOD}", with("Content-Length: 5")));
    passes(&format!(
        "{}5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n{GOOD}",
        with("Transfer-Encoding: Chunked")
    ));
    passes(&format!("{}0\r\nDigest: x\r\nA: b\r\n\r\n{GOOD}", with("Transfer-Encoding: chunked")));
    passes(&format!("{}{GOOD}", with("Content-Length: 0")));
    passes(&format!("{}\x00\n\rGET / HTTP/1.1\r\n", with("Content-Length: 19")));
}

#[test]
fn another_name_is_refused_wherever_it_stands() {
    refused(EVIL, NameMismatch);
    refused("GET / HTTP/1.1\r\nHost: a.allowed.example\r\n\r\n", NameMismatch);
    refused("GET / HTTP/1.1\r\n\r\n", NameMissing);
    refused("GET / HTTP/1.0\r\n\r\n", NameMissing);
    refused("GET / HTTP/1.1\r\nHost:\r\n\r\n", NameMissing);
    refused("GET / HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n", NameMissing);
    refused("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", NameMissing);
    refused("GET http://another.example/ HTTP/1.1\r\nHost: allowed.example\r\n\r\n", NameMismatch);
    refused("GET http://allowed.example/ HTTP/1.1\r\nHost: another.example\r\n\r\n", NameMismatch);
    refused("CONNECT another.example:443 HTTP/1.1\r\nHost: allowed.example\r\n\r\n", NameMismatch);
    refused("GET http:///x HTTP/1.1\r\nHost: allowed.example\r\n\r\n", NameMissing);
}

#[test]
fn a_kept_connection_cannot_change_its_name() {
    for first in [
        GOOD.to_owned(),
        format!("{}hello", with("Content-Length: 5")),
        format!("{}5\r\nhello\r\n0\r\n\r\n", with("Transfer-Encoding: chunked")),
        format!("{}0\r\nA: b\r\n\r\n", with("Transfer-Encoding: chunked")),
        with("Connection: close"),
        with("Expect: 100-continue"),
        format!("{GOOD}\r\n"),
    ] {
        let both = format!("{first}{EVIL}");
        assert_eq!(send(&same(), both.as_bytes()), Err(NameMismatch), "{both:?}");
        let mut check = Check::new(same());
        let mut onward = Vec::new();
        check.push(first.as_bytes(), &mut onward).unwrap();
        assert_eq!(onward, first.as_bytes());
        check.answered(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", &mut onward).unwrap();
        assert_eq!(check.push(EVIL.as_bytes(), &mut onward).unwrap_err().code, NameMismatch);
        assert_eq!(onward, first.as_bytes());
        assert_eq!(check.push(GOOD.as_bytes(), &mut onward).unwrap_err().code, NameMismatch);
    }
}

#[test]
fn lengths_with_two_readings_are_refused() {
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\ncontent-length: 5",
        "Content-Length: 5, 6",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length:",
        "Content-Length: 99999999999999999999",
        "Content_Length: 5",
        "Transfer_Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding:",
        "Transfer-Encoding : chunked",
        " Transfer-Encoding: chunked",
        "X: a\r\n Transfer-Encoding: chunked",
        "X: a\r\n\tb",
        "X: a\nTransfer-Encoding: chunked",
        "X: a\rTransfer-Encoding: chunked",
        "X: a\0b",
        "X\0: b",
        "X: a\n",
        "Host: allowed.example",
        "Host: another.example",
        "X a",
        ": a",
        "X\u{e4}: a",
    ] {
        refused(&with(lines), MalformedHttp);
    }
    refused("POST / HTTP/1.0\r\nHost: allowed.example\r\nTransfer-Encoding: chunked\r\n\r\n", MalformedHttp);
}

#[test]
fn chunks_with_two_readings_are_refused() {
    for body in [
        "5;x=y\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "0000000000000005\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello",
        "0\r\nA: b\n\r\n",
        "0\r\nA: b\rC\r\n\r\n",
        "0\r\nA: b\r\n c\r\n\r\n",
        "0\r\nA: \0\r\n\r\n",
        "-1\r\n\r\n",
    ] {
        refused(&format!("{}{body}", with("Transfer-Encoding: chunked")), MalformedHttp);
    }
}

#[test]
fn odd_starts_that_some_server_takes_for_a_request() {
    for start in [
        "get / HTTP/1.1\n",
        "GET\t/\tHTTP/1.1\r\n",
        "GET  / HTTP/1.1\r\n",
        " GET / HTTP/1.1\r\n",
        "\x0bGET / HTTP/1.1\r\n",
        "\u{a0}GET / HTTP/1.1\r\n",
        "\rGET / HTTP/1.1\r\n",
        "GET / http/1.1\r\n",
        "GET / HTTP/1.2\r\n",
        "GET / HTTP/2.0\r\n",
        "GET / HTTP/1.1 \r\n",
        "GET /a b HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\r\n",
        "G\0T / HTTP/1.1\r\n",
        "x\rGET / HTTP/1.1\r\n",
        "GET another.example HTTP/1.1\r\n",
        "GET ://another.example/ HTTP/1.1\r\n",
        "GET http://a@allowed.example/ HTTP/1.1\r\n",
        "GET http://allowed.example:x/ HTTP/1.1\r\n",
        "GET http:/another.example/ HTTP/1.1\r\n",
        "CONNECT allowed.example:80/ HTTP/1.1\r\n",
        "GET /\r\n",
        "GET http://another.example/\r\n",
    ] {
        let text = format!("{start}Host: allowed.example\r\n\r\n");
        assert_eq!(send(&same(), text.as_bytes()), Err(MalformedHttp), "{text:?}");
        let blank = format!("\r\n \t\n\n{text}");
        assert_eq!(send(&same(), blank.as_bytes()), Err(MalformedHttp), "{blank:?}");
    }
    assert_eq!(send(&same(), b"\xa0GET / HTTP/1.1\r\n\r\n"), Err(MalformedHttp));
    assert_eq!(send(&same(), b"\x80\x85\xa0\x80\x80 HTTP/1.1\r\n\r\n"), Err(MalformedHttp));
    refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", CleartextHttp2);
    // Any method, of any length.
    let long = format!("{} / HTTP/1.1\r\nHost: another.example\r\n\r\n", "M".repeat(1000));
    refused(&long, NameMismatch);
    let longer = format!("{} / HTTP/1.1\r\nHost: another.example\r\n\r\n", "M".repeat(LIMIT + 9));
    assert_eq!(talk(same(), &[Sent::Guest(longer.as_bytes())]), Err(MalformedHttp));
    let blank = format!("{}{EVIL}", " ".repeat(LIMIT + 9));
    assert_eq!(talk(same(), &[Sent::Guest(blank.as_bytes())]), Err(MalformedHttp));
}

#[test]
fn what_ends_early_reaches_no_server() {
    for text in
        ["GET / HTTP/1.1\r\nHost: another.example\r\n", "GET http://another.example/ HTTP/1.1", "GET /x"]
    {
        let mut check = Check::new(same());
        let mut onward = Vec::new();
        check.push(text.as_bytes(), &mut onward).unwrap();
        assert!(!String::from_utf8_lossy(&onward).contains("GET "), "{text:?}: {onward:?}");
        assert_eq!(check.finish().unwrap_err().code, MalformedHttp, "{text:?}");
    }
    let mut check = Check::new(same());
    check.push(with("Content-Length: 5").as_bytes(), &mut Vec::new()).unwrap();
    check.finish().unwrap();
}

#[test]
fn a_head_has_at_most_64_kib() {
    let head =
        |size: usize| format!("GET / HTTP/1.1\r\nHost: allowed.example\r\nX: {}\r\n\r\n", "x".repeat(size));
    passes(&head(60_000));
    assert_eq!(talk(same(), &[Sent::Guest(head(70_000).as_bytes())]), Err(TooLarge));
    let many = format!("GET / HTTP/1.1\r\nHost: allowed.example\r\n{}\r\n", "X: y\r\n".repeat(200));
    refused(&many, TooLarge);
    let mut check = Check::new(same());
    let mut onward = Vec::new();
    let endless = format!("GET / HTTP/1.1\r\n{}", "X: y\r\n".repeat(100_000));
    let result = endless.as_bytes().chunks(1000).try_for_each(|part| {
        let result = check.push(part, &mut onward);
        assert!(check.held() <= LIMIT);
        result
    });
    assert_eq!(result.unwrap_err().code, TooLarge);
    let trailer = format!("{}0\r\n{}\r\n", with("Transfer-Encoding: chunked"), "X: y\r\n".repeat(20_000));
    assert_eq!(talk(same(), &[Sent::Guest(trailer.as_bytes())]), Err(TooLarge));
}

#[test]
fn what_is_no_http_is_not_looked_at() {
    for text in [
        "SSH-2.0-OpenSSH_9.9\r\n\x00\x00\x01",
        "0032git-upload-pack /x.git\0host=allowed.example\0",
        "EHLO me\r\nMAIL FROM:<a@b>\r\nDATA\r\nGET / HTTP/1.1\r\nHost: another.example\r\n\r\n",
        "*2\r\n$3\r\nGET\r\n$1\r\nx\r\n",
        "get key\r\n",
        "HELLO",
        "\x00\x00\x00\x08\x04\x52\x16\x2f",
        "RTSP / RTSP/1.0\r\n\r\n",
    ] {
        passes(text);
    }
    for bytes in
        [&[0x80, 1][..], &[0x81, 0x85, 1, 2, 3, 4], &[0xff; 100], b"\xa0\n\x16\x03", b"\n\x16\x03\x01"]
    {
        assert_eq!(send(&same(), bytes).as_deref(), Ok(bytes));
    }
    let mut check = Check::new(same());
    check.push(b"SSH-2.0-x\r\n", &mut Vec::new()).unwrap();
    assert!(check.is_done());
}

const UPGRADE: &str =
    "GET /ws HTTP/1.1\r\nHost: allowed.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const AGREED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";

#[test]
fn after_an_upgrade_that_the_server_agreed_to_nothing_is_looked_at() {
    let connect = "CONNECT allowed.example:443 HTTP/1.1\r\nHost: allowed.example\r\n\r\n";
    for (request, answer) in [
        (UPGRADE, AGREED),
        (UPGRADE, b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHTTP/1.1 101 x\r\n"),
        (connect, b"HTTP/1.1 200 OK\r\n\r\n"),
    ] {
        let conversation =
            [Sent::Guest(request.as_bytes()), Sent::Guest(b"\x81\x05hello"), Sent::Server(answer)];
        let expected = Ok([request.as_bytes(), b"\x81\x05hello"].concat());
        assert_eq!(talk(same(), &conversation), expected);
        assert_eq!(talk_slowly(same(), &conversation), expected);
        // Nothing of it before the answer.
        assert_eq!(talk(same(), &conversation[..2]), Ok(request.as_bytes().to_vec()));
    }
    let flood = [Sent::Guest(UPGRADE.as_bytes()), Sent::Guest(&[0; LIMIT + 1])];
    assert_eq!(talk(same(), &flood), Err(TooLarge));
}

#[test]
fn an_upgrade_that_was_not_agreed_to_changes_nothing() {
    let refused_answer: &[u8] = b"HTTP/1.1 200 OK\r\nX: HTTP/1.1 101 x\r\n\r\nHTTP/1.1 101 x\r\n";
    for answer in [refused_answer, b"HTTP/1.1 426 x\r\n\r\n", b"garbage\r\nHTTP/1.1 101 x\r\n\r\n"] {
        let good = [Sent::Guest(UPGRADE.as_bytes()), Sent::Guest(GOOD.as_bytes()), Sent::Server(answer)];
        assert_eq!(talk_slowly(same(), &good), Ok([UPGRADE, GOOD].concat().into_bytes()));
        let evil = [Sent::Guest(UPGRADE.as_bytes()), Sent::Guest(EVIL.as_bytes()), Sent::Server(answer)];
        assert_eq!(talk(same(), &evil), Err(NameMismatch));
        let later = [Sent::Guest(UPGRADE.as_bytes()), Sent::Server(answer), Sent::Guest(EVIL.as_bytes())];
        assert_eq!(talk_slowly(same(), &later), Err(NameMismatch));
    }
}

#[test]
fn an_answer_that_may_be_another_requests_is_not_believed() {
    let evil = Sent::Guest(EVIL.as_bytes());
    let pipelined = format!("{GOOD}{UPGRADE}");
    assert_eq!(
        talk(same(), &[Sent::Guest(pipelined.as_bytes()), Sent::Server(AGREED), evil]),
        Err(NameMismatch)
    );
    let evil = Sent::Guest(EVIL.as_bytes());
    let spoke = [Sent::Server(b"hi"), Sent::Guest(UPGRADE.as_bytes()), Sent::Server(AGREED), evil];
    assert_eq!(talk_slowly(same(), &spoke), Err(NameMismatch));
    let (half, rest) = UPGRADE.as_bytes().split_at(30);
    let spoke = [
        Sent::Guest(half),
        Sent::Server(b"hi"),
        Sent::Guest(rest),
        Sent::Server(AGREED),
        Sent::Guest(EVIL.as_bytes()),
    ];
    assert_eq!(talk(same(), &spoke), Err(NameMismatch));
}

#[test]
fn an_upgrade_to_what_hides_names_is_refused() {
    let h2c = UPGRADE.replace("websocket", "h2c");
    let ignored =
        [Sent::Guest(h2c.as_bytes()), Sent::Server(b"HTTP/1.1 200 OK\r\n"), Sent::Guest(GOOD.as_bytes())];
    assert_eq!(talk(same(), &ignored), Ok([h2c.as_bytes(), GOOD.as_bytes()].concat()));
    assert_eq!(talk(same(), &[Sent::Guest(h2c.as_bytes()), Sent::Server(AGREED)]), Err(CleartextHttp2));
    refused(&UPGRADE.replace("websocket", "foo, TLS/1.0"), MalformedHttp);
    // Behind the body of the request, too.
    let body = h2c.replace("\r\n\r\n", "\r\nContent-Length: 2\r\n\r\n");
    let late = [Sent::Guest(body.as_bytes()), Sent::Server(AGREED), Sent::Guest(b"ab")];
    assert_eq!(talk_slowly(same(), &late), Err(CleartextHttp2));
}

#[test]
fn where_only_denials_are_compared_a_missing_name_is_no_reason() {
    for text in [GOOD, EVIL, "GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n"] {
        assert_eq!(send(&none_of(), text.as_bytes()).as_deref(), Ok(text.as_bytes()));
        let kept = format!("{text}GET / HTTP/1.1\r\nHost: DENIED.example.\r\n\r\n");
        assert_eq!(send(&none_of(), kept.as_bytes()), Err(Denied));
    }
    let target = "GET http://denied.example/ HTTP/1.1\r\nHost: other.example\r\n\r\n";
    assert_eq!(send(&none_of(), target.as_bytes()), Err(Denied));
}
