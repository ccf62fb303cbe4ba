use super::Timestamp;

/// The records of a PAX header, `LENGTH KEY=VALUE\n` each. Values are bytes, and may contain line ends. None
/// when they are not of that form.
pub(super) fn records(mut bytes: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ')?;
        let len: usize = number(&bytes[..space])?.try_into().ok()?;
        let record = bytes.get(space + 1..len)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        records.push((&record[..equals], &record[equals + 1..]));
        bytes = &bytes[len..];
    }
    Some(records)
}

pub(super) fn put_record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // The length counts its own digits.
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while rest + len.to_string().len() != len {
        len += 1;
    }
    out.extend_from_slice(len.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

pub(super) fn number(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    plain.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

/// Seconds with a fraction, perhaps before the epoch: `1700000000.25`.
pub(super) fn timestamp(text: &[u8]) -> Option<Timestamp> {
    let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &b""[..]),
    };
    let (negative, digits) = match whole.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, whole),
    };
    let seconds = i64::try_from(number(digits)?).ok()?;
    let mut nanoseconds: u32 = 0;
    for at in 0..9 {
        let digit = fraction.get(at).copied().unwrap_or(b'0');
        nanoseconds = nanoseconds * 10 + u32::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    Some(match (negative, nanoseconds) {
        (false, _) => Timestamp { seconds, nanoseconds },
        (true, 0) => Timestamp { seconds: -seconds, nanoseconds },
        (true, _) => Timestamp { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn records_survive(pairs in proptest::collection::vec(("[a-zA-Z.]{1,20}", any::<Vec<u8>>()), 0..4)) {
            let mut bytes = Vec::new();
            for (key, value) in &pairs {
                put_record(&mut bytes, key.as_bytes(), value);
            }
            let read = records(&bytes).unwrap();
            let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|(key, value)| (key.as_bytes(), &value[..])).collect();
            prop_assert_eq!(read, pairs);
        }

        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(
            prop_oneof![Just(b'1'), Just(b'2'), Just(b' '), Just(b'='), Just(b'\n'), any::<u8>()], 0..60)) {
            let _ = records(&bytes);
            let _ = timestamp(&bytes);
            let _ = timestamp(&[b"1.", &bytes[..]].concat());
        }
    }

    #[test]
    fn lengths_at_their_edges() {
        for len in [1, 3, 4, 5, 90, 91, 92, 93, 94, 989, 990, 991, 9985] {
            let (value, mut bytes) = (vec![b'v'; len], Vec::new());
            put_record(&mut bytes, b"key", &value);
            assert_eq!(records(&bytes), Some(vec![(&b"key"[..], &value[..])]), "{len}");
        }
        for bad in [&b"3"[..], b"0 a=b\n", b"2 a=b\n", b"99999999999999999999 a=b\n", b"7 a=bcd", b"6 abc\n"]
        {
            assert_eq!(records(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn times_have_fractions_and_signs() {
        let at = |seconds, nanoseconds| Some(Timestamp { seconds, nanoseconds });
        assert_eq!(timestamp(b"12.5"), at(12, 500_000_000));
        assert_eq!(timestamp(b"-1.25"), at(-2, 750_000_000));
        assert_eq!(timestamp(b"-3"), at(-3, 0));
        for bad in [&b""[..], b"x", b"1.x", b"1. ", b"1.+", b"--1", b"99999999999999999999"] {
            assert_eq!(timestamp(bad), None);
        }
    }
}
