use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A stretch of time in its two largest units: `41s`, `3m 12s`, `2h 5m`, `4d 1h`.
pub(crate) fn duration(time_ms: u64) -> String {
    let seconds = time_ms / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86400, seconds / 3600 % 24),
    }
}

/// How long a stage took: `0.4s`, `41.2s`, `2m 05s`.
pub(super) fn elapsed(time: Duration) -> String {
    let tenths = (time.as_millis() + 50) / 100;
    match tenths {
        0..600 => format!("{}.{}s", tenths / 10, tenths % 10),
        _ => format!("{}m {:02}s", tenths / 600, tenths / 10 % 60),
    }
}

/// A round trip: `640 µs`, `1.2 ms`.
pub(crate) fn round_trip(time_us: u64) -> String {
    if time_us < 1000 { format!("{time_us} µs") } else { format!("{:.1} ms", time_us as f64 / 1000.0) }
}

/// When something happened, seen from now: `3m 12s ago`.
pub(crate) fn ago(unix_ms: u64) -> String {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64);
    format!("{} ago", duration(now_ms.saturating_sub(unix_ms)))
}

/// The clock part of an RFC 3339 time stamp, as logs have it; what is no time stamp stays as it is.
pub(crate) fn clock(timestamp: &str) -> &str {
    let time = timestamp.split_once('T').map_or(timestamp, |(_, time)| time);
    time.get(..12).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let shown: Vec<String> =
            [0, 59_999, 192_000, 7_500_000, 350_000_000].into_iter().map(duration).collect();
        assert_eq!(shown, ["0s", "59s", "3m 12s", "2h 5m", "4d 1h"]);
        let shown: Vec<String> = [0, 49, 2149, 59_949, 59_951, 125_000]
            .into_iter()
            .map(|ms| elapsed(Duration::from_millis(ms)))
            .collect();
        assert_eq!(shown, ["0.0s", "0.0s", "2.1s", "59.9s", "1m 00s", "2m 05s"]);
        assert_eq!([round_trip(640), round_trip(1234)], ["640 µs", "1.2 ms"]);
    }
}
