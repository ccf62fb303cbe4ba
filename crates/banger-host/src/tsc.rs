//! The frequency of the host's time stamp counter.
//!
//! Under emulation the guest reads the host's counter. Told its frequency (`tsc_early_khz=`), the guest need
//! not calibrate it against an emulated timer, which goes wrong when the host is busy.

/// The counter's frequency in kHz, measured against the monotonic clock; takes about 20 ms. None when the
/// counter does not run at a constant rate, or there is none.
pub fn host_tsc_khz() -> Option<u64> {
    #[cfg(target_arch = "x86_64")]
    return measure::tsc_khz();
    #[cfg(not(target_arch = "x86_64"))]
    return None;
}

#[cfg(target_arch = "x86_64")]
mod measure {
    use std::time::Duration;

    use rustix::time::{ClockId, clock_gettime};

    const ROUNDS: usize = 3;
    const ROUND_LEN: Duration = Duration::from_millis(6);
    const SAMPLES: usize = 64;

    pub(super) fn tsc_khz() -> Option<u64> {
        // Unknown is no: the guest measures its clock itself.
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").ok()?;
        let flags = cpuinfo.lines().find(|line| line.starts_with("flags"))?;
        if !flags.split_whitespace().any(|flag| flag == "constant_tsc") {
            return None;
        }
        let mut rounds: Vec<u64> = (0..ROUNDS).filter_map(|_| one_round()).collect();
        rounds.sort_unstable();
        rounds.get(rounds.len() / 2).copied()
    }

    fn one_round() -> Option<u64> {
        let (start_tsc, start_ns) = sample();
        std::thread::sleep(ROUND_LEN);
        let (end_tsc, end_ns) = sample();
        let ticks = u128::from(end_tsc.checked_sub(start_tsc)?);
        let elapsed_ns = u128::from(end_ns.checked_sub(start_ns)?);
        u64::try_from((ticks * 1_000_000).checked_div(elapsed_ns)?).ok().filter(|khz| *khz > 0)
    }

    /// The counter and the clock at one instant: the tightest of many pairs, so that one that was interrupted
    /// does not count.
    fn sample() -> (u64, u64) {
        let pair = || {
            let before = rdtsc();
            let now = clock_gettime(ClockId::MonotonicRaw);
            let gap = rdtsc().wrapping_sub(before);
            (gap, before.wrapping_add(gap / 2), now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
        };
        let first = pair();
        let (_, tsc, ns) =
            (1..SAMPLES).map(|_| pair()).fold(first, |best, next| if next.0 < best.0 { next } else { best });
        (tsc, ns)
    }

    #[allow(unsafe_code, reason = "an instruction, not a library call")]
    fn rdtsc() -> u64 {
        // SAFETY: every x86-64 CPU has it, and the kernel lets user space execute it unless asked not to
        // (PR_SET_TSC).
        unsafe { core::arch::x86_64::_rdtsc() }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn two_measurements_agree() {
        let (Some(one), Some(two)) = (host_tsc_khz(), host_tsc_khz()) else {
            println!("skipped: this CPU's time stamp counter is not constant");
            return;
        };
        assert!(one > 100_000, "{one} kHz is no CPU of this century");
        assert!(one.abs_diff(two) * 1000 < one, "{one} and {two} kHz differ by more than 0.1 %");
    }
}
