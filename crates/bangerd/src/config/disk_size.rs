const UNITS: &[(&str, u64)] =
    &[("MiB", 1), ("M", 1), ("GiB", 1 << 10), ("G", 1 << 10), ("TiB", 1 << 20), ("T", 1 << 20)];

/// The size that `8GiB`, `8 G` or `512MiB` means, in MiB. None when it is no size.
pub(super) fn parse_disk_mib(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let (_, mib) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    number.parse::<u64>().ok()?.checked_mul(*mib)
}

/// As it would be written.
pub(super) fn format_disk_mib(mib: u64) -> String {
    if mib > 0 && mib.is_multiple_of(1 << 10) { format!("{}GiB", mib >> 10) } else { format!("{mib}MiB") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, mib) in [("8GiB", 8192), ("8 G", 8192), ("512mib", 512), ("1T", 1 << 20), ("0M", 0)] {
            assert_eq!(parse_disk_mib(text), Some(mib), "{text}");
        }
        for text in [
            "",
            "8",
            "GiB",
            "8GB",
            "-1G",
            "1.5G",
            "8 GiB x",
            "٣G",
            "99999999999999999999G",
            "18446744073709551615T",
        ] {
            assert_eq!(parse_disk_mib(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(mib in 0..=u64::MAX >> 10) {
            prop_assert_eq!(parse_disk_mib(&format_disk_mib(mib)), Some(mib));
        }

        #[test]
        fn no_text_breaks_it(text in ".*") {
            let _ = parse_disk_mib(&text);
        }
    }
}
