//! Releases of kernels: which names they can have, and which of two is newer.

use std::cmp::Ordering;

/// How long a release can be: `struct new_utsname` has 65 bytes for it.
pub(crate) const RELEASE_MAX_LEN: usize = 64;

/// Can it be what `uname -r` prints, and a directory's name?
pub fn is_release(text: &str) -> bool {
    (1..=RELEASE_MAX_LEN).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._+~-".contains(c))
}

/// Compares releases as people number them: `6.10` is newer than `6.9`, `6.1.0-13` than `6.1.0-9`, and
/// `6.12.0` than `6.12.0-rc7`.
pub fn compare_releases(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (parts(a), parts(b));
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (a, b) => rank(a).cmp(&rank(b)).then_with(|| compare_parts(a, b)),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// What comes before the release is less than its end, and everything else is more.
fn rank(part: Option<&str>) -> u8 {
    match part {
        Some(part) if part.starts_with('~') || part.trim_start_matches(['-', '.']) == "rc" => 0,
        None => 1,
        // Numbers after words: `6.1-1` is newer than `6.1-cloud`.
        Some(part) if !part.starts_with(|c: char| c.is_ascii_digit()) => 2,
        Some(_) => 3,
    }
}

fn compare_parts(a: Option<&str>, b: Option<&str>) -> Ordering {
    let (Some(a), Some(b)) = (a, b) else { return Ordering::Equal };
    // Numbers of any length: without leading zeros the longer one is greater.
    let (a, b) = match a.starts_with(|c: char| c.is_ascii_digit()) {
        true => (a.trim_start_matches('0'), b.trim_start_matches('0')),
        false => return a.cmp(b),
    };
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// Runs of digits and runs of anything else, in turn.
fn parts(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let is_digit = text.starts_with(|c: char| c.is_ascii_digit());
        let end = text.find(|c: char| c.is_ascii_digit() != is_digit).unwrap_or(text.len());
        let (part, rest) = text.split_at(end);
        text = rest;
        (!part.is_empty()).then_some(part)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn newer_releases_are_greater() {
        for (old, new) in [
            ("6.9", "6.10"),
            ("6.1.0-9-amd64", "6.1.0-13-amd64"),
            ("6.12.0-rc7", "6.12.0"),
            ("6.12.0-rc7-amd64", "6.12.0-amd64"),
            ("6.12.0-rc2", "6.12.0-rc10"),
            ("5.15.0-101-generic", "6.1.0-1-generic"),
            ("6.12.9+deb13-cloud-amd64", "6.12.117+deb13-cloud-amd64"),
            ("6.1", "6.1.1"),
            ("6.12~rc1", "6.12"),
            ("0-rescue-0123456789abcdef", "6.8.5-301.fc40.x86_64"),
            ("6.1.99999999999999999999999998", "6.1.99999999999999999999999999"),
            ("", "1"),
        ] {
            assert_eq!(compare_releases(old, new), Ordering::Less, "{old} {new}");
            assert_eq!(compare_releases(new, old), Ordering::Greater, "{new} {old}");
        }
        assert_eq!(compare_releases("6.01", "6.1"), Ordering::Equal);
    }

    #[test]
    fn releases_are_names() {
        for good in ["6.12.117+deb13-cloud-amd64", "6.1.0-rc1", "5.10", "6.12~exp"] {
            assert!(is_release(good), "{good}");
        }
        for bad in ["", ".", "..", "../x", "a/b", "6.1 x", "-x", "6\n"] {
            assert!(!is_release(bad), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn it_is_an_order(texts in prop::collection::vec("[0-9a-z.~+-]{0,8}|6\\.1(-rc)?[0-9]?", 3)) {
            let [a, b, c] = &texts[..] else { unreachable!() };
            prop_assert_eq!(compare_releases(a, b), compare_releases(b, a).reverse());
            prop_assert_eq!(compare_releases(a, a), Ordering::Equal);
            if compare_releases(a, b).is_le() && compare_releases(b, c).is_le() {
                prop_assert!(compare_releases(a, c).is_le());
            }
        }
    }
}
