//! Extended headers of the PAX format: records of the form `LENGTH KEY=VALUE\n`.

/// Key and value. The value may contain any bytes, line ends as well.
pub type Record<'a> = (&'a [u8], &'a [u8]);

/// The records, in order. An item is none where the bytes are not of that form; it is the last one.
pub fn records(mut bytes: &[u8]) -> impl Iterator<Item = Option<Record<'_>>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let first = record(bytes);
        bytes = first.map_or(&[], |(_, rest)| rest);
        Some(first.map(|(record, _)| record))
    })
}

/// The first record, and what follows it.
fn record(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let blank = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let len = usize::try_from(decimal(&bytes[..blank])?).ok()?;
    let (record, rest) = bytes.split_at_checked(len)?;
    let pair = record.get(blank + 1..)?.strip_suffix(b"\n")?;
    let equals = pair.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
    Some(((&pair[..equals], &pair[equals + 1..]), rest))
}

/// Appends a record.
pub fn put_record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
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

/// Digits and nothing else.
pub fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, byte| match byte {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// Seconds since the Unix epoch, and nanoseconds: `1700000000.25`, maybe negative. Digits beyond nanoseconds
/// are cut.
pub fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = digits.fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
    match (negative, nanoseconds) {
        (false, _) => Some((seconds, nanoseconds)),
        (true, 0) => Some((-seconds, 0)),
        (true, _) => Some((-seconds - 1, 1_000_000_000 - nanoseconds)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8]) -> Option<Vec<Record<'_>>> {
        records(bytes).collect()
    }

    proptest! {
        #[test]
        fn records_survive(pairs in proptest::collection::vec(("[a-zA-Z.]{1,20}", any::<Vec<u8>>()), 0..4)) {
            let mut bytes = Vec::new();
            for (key, value) in &pairs {
                put_record(&mut bytes, key.as_bytes(), value);
            }
            let read = all(&bytes).unwrap();
            let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|(key, value)| (key.as_bytes(), &value[..])).collect();
            prop_assert_eq!(read, pairs);
        }

        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(
            prop_oneof![Just(b'1'), Just(b'2'), Just(b' '), Just(b'='), Just(b'\n'), any::<u8>()], 0..60)) {
            let _ = all(&bytes);
            let _ = time(&bytes);
            let _ = time(&[b"1.", &bytes[..]].concat());
        }
    }

    #[test]
    fn lengths_at_their_edges() {
        for len in [1, 3, 4, 5, 90, 91, 92, 93, 94, 989, 990, 991, 9985] {
            let (value, mut bytes) = (vec![b'v'; len], Vec::new());
            put_record(&mut bytes, b"key", &value);
            assert_eq!(all(&bytes), Some(vec![(&b"key"[..], &value[..])]), "{len}");
        }
        for bad in [&b"3"[..], b"0 a=b\n", b"2 a=b\n", b"99999999999999999999 a=b\n", b"7 a=bcd", b"6 abc\n"]
        {
            assert_eq!(all(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn records_hold_any_bytes_but_lengths_must_be_right() {
        let mut two = records(b"9 a=b\n=\n\nrest");
        assert_eq!(two.next(), Some(Some((&b"a"[..], &b"b\n=\n"[..]))));
        assert_eq!((two.next(), two.next()), (Some(None), None));
        for wrong in [&b"5 a=b\n"[..], b"99 a=b\n", b"0 a=b\n", b"6 a-b\n", b"5 =b\n", b"a=b\n", b"6a=bc\n"] {
            assert_eq!(all(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn times_of_every_form() {
        for (text, expected) in [
            (&b"5"[..], (5, 0)),
            (b"5.", (5, 0)),
            (b"5.000000001999", (5, 1)),
            (b"12.5", (12, 500_000_000)),
            (b"-0.5", (-1, 500_000_000)),
            (b"-1.25", (-2, 750_000_000)),
            (b"-7", (-7, 0)),
        ] {
            assert_eq!(time(text), Some(expected), "{text:?}");
        }
        for wrong in [&b""[..], b"x", b"-", b"--1", b"1.x", b"1. ", b"1.+", b"1e3", b"99999999999999999999"] {
            assert_eq!(time(wrong), None, "{wrong:?}");
        }
    }
}
