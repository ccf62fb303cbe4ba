//! Sizes of memory and disks, as people write them: on the command line and in the configuration alike.

/// Why a size is not one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    #[error("not a size: write it like 512M, 2G or 1.5GiB (a bare number means MiB)")]
    Form,
    #[error("not a unit of size: use M (MiB), G (GiB) or T (TiB)")]
    Unit,
    #[error("not a whole number of MiB")]
    Fraction,
    #[error("larger than any machine")]
    TooLarge,
}

/// Reads a size in MiB: `512`, `4096M`, `2G`, `1.5GiB`. Units are powers of 1024, as memory and disks of VMs
/// have them.
pub fn parse_mib(text: &str) -> Result<u64, SizeError> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let mib_per_unit: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "m" | "mb" | "mib" => 1,
        "g" | "gb" | "gib" => 1024,
        "t" | "tb" | "tib" => 1024 * 1024,
        _ if number.is_empty() => return Err(SizeError::Form),
        _ => return Err(SizeError::Unit),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || number.ends_with('.') || fraction.len() > 9 {
        return Err(SizeError::Form);
    }
    let scale = 10u128.pow(fraction.len() as u32);
    let scaled: u128 = format!("{whole}{fraction}").parse().map_err(|_| SizeError::TooLarge)?;
    let scaled_mib = scaled.checked_mul(mib_per_unit.into()).ok_or(SizeError::TooLarge)?;
    if !scaled_mib.is_multiple_of(scale) {
        return Err(SizeError::Fraction);
    }
    // A tebi-MiB is a machine nobody has, and keeps what the daemon computes with it far from overflow.
    u64::try_from(scaled_mib / scale).ok().filter(|mib| *mib < 1 << 40).ok_or(SizeError::TooLarge)
}

/// MiB as a configuration file has them: `512MiB`, `2GiB`.
pub fn written(mib: u64) -> String {
    memory(mib).replace(' ', "")
}

/// MiB as people say it: `512 MiB`, `2 GiB`, `1.5 GiB`.
pub fn memory(mib: u64) -> String {
    match mib {
        0..1024 => format!("{mib} MiB"),
        _ if mib.is_multiple_of(1024) => format!("{} GiB", mib / 1024),
        _ if mib.is_multiple_of(512) => format!("{:.1} GiB", mib as f64 / 1024.0),
        _ => format!("{mib} MiB"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_usual_spellings() {
        for (text, mib) in [
            ("512", 512),
            ("2G", 2048),
            ("1.5GiB", 1536),
            ("4096M", 4096),
            ("1 g", 1024),
            ("0", 0),
            ("2tb", 2 << 20),
            ("8GB", 8192),
            ("8 G", 8192),
        ] {
            assert_eq!(parse_mib(text), Ok(mib), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_says_why() {
        for (text, error) in [
            ("", SizeError::Form),
            ("lots", SizeError::Form),
            ("-1", SizeError::Form),
            ("1.", SizeError::Form),
            ("1.2.3G", SizeError::Form),
            ("12k", SizeError::Unit),
            ("1.5", SizeError::Fraction),
            ("99999999999999999999T", SizeError::TooLarge),
            ("99999999999999999999999999999999999999999999", SizeError::TooLarge),
        ] {
            assert_eq!(parse_mib(text), Err(error), "{text}");
        }
    }

    #[test]
    fn sizes_read_well() {
        let shown: Vec<String> = [512, 1024, 1536, 2048, 2100].into_iter().map(memory).collect();
        assert_eq!(shown, ["512 MiB", "1 GiB", "1.5 GiB", "2 GiB", "2100 MiB"]);
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text: String) {
            let _ = parse_mib(&text);
        }

        #[test]
        fn what_is_shown_is_understood(mib in 0u64..1 << 30) {
            prop_assert_eq!(parse_mib(&memory(mib)), Ok(mib));
            prop_assert_eq!(parse_mib(&written(mib)), Ok(mib));
        }
    }
}
