//! The wall clock and the entropy pool, both from the host.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use rustix::time::{ClockId, Timespec, clock_settime};

use crate::system_error::{Context, SystemError};

const NS_PER_S: u64 = 1_000_000_000;

/// `RNDADDENTROPY`: `_IOW('R', 0x03, int[2])`.
const RNDADDENTROPY: libc::Ioctl = 0x4008_5203u32 as libc::Ioctl;

/// `RNDRESEEDCRNG`: `_IO('R', 0x07)`.
const RNDRESEEDCRNG: libc::Ioctl = 0x5207;

/// Sets the clock to nanoseconds since the Unix epoch.
pub(super) fn set_clock(unix_ns: u64) -> Result<(), SystemError> {
    // Both fit: a u64 of nanoseconds ends in the year 2554.
    let time = Timespec { tv_sec: (unix_ns / NS_PER_S) as i64, tv_nsec: (unix_ns % NS_PER_S) as i64 };
    clock_settime(ClockId::Realtime, time).context("set the clock to", format_args!("{} s", time.tv_sec))
}

/// Adds a seed to the kernel's pool, credits all its bits, and has the generator draw from it now: by itself
/// it does so minutes later.
pub(super) fn add_entropy(seed: &[u8]) -> Result<(), SystemError> {
    if seed.is_empty() {
        return Ok(());
    }
    add(seed).context("add entropy to", "/dev/urandom")
}

fn add(seed: &[u8]) -> io::Result<()> {
    let pool = File::options().write(true).open("/dev/urandom")?;
    let len = i32::try_from(seed.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let bits = len.saturating_mul(8);
    // struct rand_pool_info: bits, bytes, then the bytes.
    let request = [&bits.to_ne_bytes()[..], &len.to_ne_bytes(), seed].concat();
    // SAFETY: the kernel reads the 8-byte head and then the `len` bytes behind it, all of which `request`
    // holds. It copies from user space byte-wise, so alignment does not matter.
    #[allow(unsafe_code, reason = "there is no safe wrapper of RNDADDENTROPY")]
    let result = unsafe { libc::ioctl(pool.as_raw_fd(), RNDADDENTROPY, request.as_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: this request takes no argument.
    #[allow(unsafe_code, reason = "there is no safe wrapper of RNDRESEEDCRNG")]
    let result = unsafe { libc::ioctl(pool.as_raw_fd(), RNDRESEEDCRNG) };
    let error = io::Error::last_os_error();
    // A generator that a short seed has not made ready yet: the seed counts all the same.
    if result == 0 || error.raw_os_error() == Some(libc::ENODATA) { Ok(()) } else { Err(error) }
}
