//! Hellos that say another name, none, or cannot be read in only one way.

use super::fixture::*;
use super::{Check, LIMIT};
use crate::policy::RefusalCode::{self, *};

fn refused(cases: &[(&str, Vec<u8>, RefusalCode)]) {
    for (what, bytes, code) in cases {
        assert_eq!(send(&same(), bytes), Err(*code), "{what}");
    }
}

#[test]
fn a_hello_for_the_same_name_goes_on() {
    for name in ["allowed.example", "ALLOWED.Example", "allowed.example."] {
        let bytes = hello(&server_name(name.as_bytes()));
        assert_eq!(send(&same(), &bytes).as_ref(), Ok(&bytes), "{name}");
    }
    let real = hex(openssl::HELLO);
    assert_eq!(send(&same(), &real), Ok(real));
}

#[test]
fn a_hello_is_held_back_until_it_is_whole() {
    let bytes = hello(&server_name(b"allowed.example"));
    let mut check = Check::new(same());
    let mut onward = Vec::new();
    check.push(&bytes[..bytes.len() - 1], &mut onward).unwrap();
    assert_eq!((onward.len(), check.held()), (0, bytes.len() - 1));
    check.push(&bytes[bytes.len() - 1..], &mut onward).unwrap();
    assert_eq!((onward.as_slice(), check.held()), (&bytes[..], 0));
}

#[test]
fn a_hello_split_over_records_is_read_whole() {
    let message = message(1, &hello_body(&server_name(b"allowed.example")));
    let other = super::fixture::message(1, &hello_body(&server_name(b"another.example")));
    for size in [1, 3, 4, 5, 50] {
        let split =
            |message: &[u8]| -> Vec<u8> { message.chunks(size).flat_map(|part| record(22, part)).collect() };
        assert_eq!(send(&same(), &split(&message)), Ok(split(&message)), "{size}");
        assert_eq!(send(&same(), &split(&other)), Err(NameMismatch), "{size}");
    }
}

#[test]
fn names_that_are_not_the_same() {
    refused(&[
        ("another name", hello(&server_name(b"another.example")), NameMismatch),
        ("a name below", hello(&server_name(b"a.allowed.example")), NameMismatch),
        ("a name above", hello(&server_name(b"example")), NameMismatch),
        ("no name", hello(&extension(10, &[0, 2, 0, 29])), NameMissing),
        ("no extension", hello(&[]), NameMissing),
        ("no extensions at all", record(22, &message(1, &hello_body(&[])[..41])), NameMissing),
        ("an address", hello(&server_name(b"93.184.216.34")), NameMissing),
        ("an address in hex", hello(&server_name(b"0x7f000001")), NameMissing),
        ("an empty name", hello(&server_name(b"")), MalformedTls),
        ("a name with a NUL", hello(&server_name(b"allowed.example\0")), MalformedTls),
        ("a name with two final dots", hello(&server_name(b"allowed.example..")), MalformedTls),
        ("a name with a space", hello(&server_name(b" allowed.example")), MalformedTls),
        ("an IPv6 address", hello(&server_name(b"::1")), MalformedTls),
        (
            "ECH: the outer name counts",
            {
                let ech = extension(0xfe0d, &[0; 64]);
                hello(&[server_name(b"front.example"), ech].concat())
            },
            NameMismatch,
        ),
    ]);
}

#[test]
fn hellos_that_can_be_read_in_two_ways() {
    let name = server_name(b"allowed.example");
    let two = [host_name(0, b"allowed.example"), host_name(0, b"another.example")].concat();
    let body = hello_body(&name);
    refused(&[
        (
            "the extension twice",
            hello(&[name.clone(), server_name(b"another.example")].concat()),
            MalformedTls,
        ),
        ("two names", hello(&server_names(&two)), MalformedTls),
        ("an unknown type of name", hello(&server_names(&host_name(1, b"allowed.example"))), MalformedTls),
        ("an empty list", hello(&server_names(&[])), MalformedTls),
        ("bytes after the list", hello(&extension(0, &[&name[4..], &[0]].concat())), MalformedTls),
        ("bytes after the extensions", record(22, &message(1, &[&body[..], &[0]].concat())), MalformedTls),
        ("extensions cut off", record(22, &message(1, &body[..body.len() - 1])), MalformedTls),
        ("a short random", record(22, &message(1, &body[..20])), MalformedTls),
        ("an unknown version inside", record(22, &message(1, &[&[4, 0], &body[2..]].concat())), MalformedTls),
        ("an unknown version outside", [&[22, 4][..], &hello(&name)[2..]].concat(), MalformedTls),
        ("an empty record", [record(22, &[]), hello(&name)].concat(), MalformedTls),
        ("another message first", record(22, &message(2, &body)), MalformedTls),
        (
            "another message behind",
            record(22, &[message(1, &body), message(1, &body)].concat()),
            MalformedTls,
        ),
        (
            "another record within",
            {
                let whole = message(1, &body);
                [record(22, &whole[..9]), record(23, b"x"), record(22, &whole[9..])].concat()
            },
            MalformedTls,
        ),
        ("a record that is too long", [&[22, 3, 1, 0x40, 1][..], &[1; 100]].concat(), MalformedTls),
        ("an unknown record", [record(22, &message(1, &body)[..9]), vec![99]].concat(), MalformedTls),
        ("half a hello", hello(&name)[..60].to_vec(), MalformedTls),
        ("a message of 16 MiB", record(22, &[1, 0xff, 0xff, 0xff, 3, 3]), TooLarge),
        ("the format of SSL 2", [&[0x80, 0x2e, 1, 3, 1][..], &[0; 41]].concat(), MalformedTls),
        ("SSL 2 itself", [&[0x81, 0x0a, 1, 0, 2][..], &[0; 41]].concat(), MalformedTls),
    ]);
}

#[test]
fn a_hello_has_at_most_64_kib() {
    let body = hello_body(&[extension(21, &[0; 50_000]), server_name(b"allowed.example")].concat());
    let split = |message: &[u8], size| -> Vec<u8> {
        message.chunks(size).flat_map(|part| record(22, part)).collect()
    };
    let whole = split(&message(1, &body), 1 << 14);
    assert_eq!(talk(same(), &[Sent::Guest(&whole)]), Ok(whole));
    // The same in records of one byte is six times as long.
    let bytes = split(&message(1, &body), 1);
    let mut check = Check::new(same());
    let mut onward = Vec::new();
    let result = bytes.chunks(1000).try_for_each(|part| {
        let result = check.push(part, &mut onward);
        assert!(check.held() <= LIMIT && onward.is_empty());
        result
    });
    assert_eq!(result.map_err(|refusal| refusal.code), Err(TooLarge));
}

#[test]
fn after_the_hello_everything_goes_on() {
    let (hello, answer) = (hex(openssl::HELLO), hex(openssl::SERVER_HELLO));
    let conversation = [Sent::Guest(&hello), Sent::Server(&answer), Sent::Guest(b"\x16\x03\x03anything")];
    let expected = [&hello[..], b"\x16\x03\x03anything"].concat();
    assert_eq!(talk(same(), &conversation), Ok(expected.clone()));
    assert_eq!(talk_slowly(same(), &conversation), Ok(expected));
    let mut check = Check::new(same());
    check.push(&hello, &mut Vec::new()).unwrap();
    assert!(!check.is_done());
    check.answered(&answer, &mut Vec::new()).unwrap();
    assert!(check.is_done());
}

#[test]
fn what_a_guest_sends_before_the_answer_waits_for_it() {
    let (hello, answer) = (hex(openssl::HELLO), hex(openssl::SERVER_HELLO));
    let early = record(23, b"early data");
    let conversation = [Sent::Guest(&hello), Sent::Guest(&early), Sent::Server(&answer)];
    assert_eq!(talk_slowly(same(), &conversation), Ok([hello.clone(), early.clone()].concat()));
    for answer in [&record(21, &[2, 40])[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-x\r\n"] {
        let conversation = [Sent::Guest(&hello), Sent::Guest(&early), Sent::Server(answer)];
        assert_eq!(talk(same(), &conversation), Ok([hello.clone(), early.clone()].concat()));
    }
    let flood = record(23, &[0; 10_000]).repeat(7);
    assert_eq!(talk(same(), &[Sent::Guest(&hello), Sent::Guest(&flood)]), Err(TooLarge));
}

/// OpenSSL takes the name of the second hello, when the first one made it ask for another.
#[test]
fn a_second_hello_is_compared_too() {
    let (first, retry, second) =
        (hex(openssl::RETRIED_HELLO), hex(openssl::RETRY_REQUEST), hex(openssl::SECOND_HELLO));
    let conversation =
        [Sent::Guest(&first), Sent::Server(&retry), Sent::Guest(&second), Sent::Guest(b"rest")];
    let expected = [&first[..], &second, b"rest"].concat();
    assert_eq!(talk(same(), &conversation), Ok(expected.clone()));
    assert_eq!(talk_slowly(same(), &conversation), Ok(expected));

    let at = second.windows(7).position(|window| window == b"allowed").unwrap();
    let mut forged = second.clone();
    forged[at..at + 7].copy_from_slice(b"another");
    let waits = [Sent::Guest(&first), Sent::Server(&retry), Sent::Guest(&forged)];
    let hurries = [Sent::Guest(&first), Sent::Guest(&forged), Sent::Server(&retry)];
    let early = record(23, b"early data");
    let behind_data = [Sent::Guest(&first), Sent::Guest(&early), Sent::Guest(&forged), Sent::Server(&retry)];
    for conversation in [&waits[..], &hurries, &behind_data] {
        assert_eq!(talk(same(), conversation), Err(NameMismatch));
        assert_eq!(talk_slowly(same(), conversation), Err(NameMismatch));
    }
    // The answer may be split over records as well.
    let split: Vec<u8> = retry[5..].chunks(7).flat_map(|part| record(22, part)).collect();
    assert_eq!(
        talk(same(), &[Sent::Guest(&first), Sent::Server(&split), Sent::Guest(&forged)]),
        Err(NameMismatch)
    );
}

#[test]
fn where_only_denials_are_compared_a_missing_name_is_no_reason() {
    for bytes in [hello(&[]), hello(&server_name(b"10.1.2.3")), hello(&server_name(b"other.example"))] {
        assert_eq!(send(&none_of(), &bytes).as_ref(), Ok(&bytes));
    }
    assert_eq!(send(&none_of(), &hello(&server_name(b"Denied.example."))), Err(Denied));
    let twice = [server_name(b"other.example"), server_name(b"denied.example")].concat();
    assert_eq!(send(&none_of(), &hello(&twice)), Err(MalformedTls));
}
