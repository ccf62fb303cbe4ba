//! Facts about the host.

use std::io;
use std::path::{Path, PathBuf};

/// Why a fact about the host could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    #[error("could not read the free space of {}", path.display())]
    FreeSpace { path: PathBuf, source: io::Error },
}

/// CPUs this process may use.
pub fn cpu_count() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| count.get() as u32)
}

/// The host's memory, in MiB.
pub fn total_memory_mib() -> u64 {
    let info = rustix::system::sysinfo();
    // The field is as wide as a C long.
    #[allow(clippy::unnecessary_cast, reason = "32-bit hosts")]
    let total = info.totalram as u64;
    (total * u64::from(info.mem_unit)) >> 20
}

/// Has the C library give large blocks back to the system as soon as they are freed, from now on.
///
/// glibc raises the size from which a block is a mapping of its own to that of the largest it has seen freed;
/// the next ones come from the heap of the thread, and [`release_free_memory`] does not reach the end of a
/// thread's heap.
#[cfg(target_env = "gnu")]
pub fn return_large_blocks() {
    // glibc's own first value; what matters is that one that is set stays.
    const MMAP_THRESHOLD_BYTES: libc::c_int = 128 << 10;
    // SAFETY: it sets a number, under malloc's own lock.
    #[allow(unsafe_code, reason = "the standard library has no such call")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES);
    }
}

/// Gives memory that is free back to the system: glibc keeps what large work has used, in case there is more
/// of it.
#[cfg(target_env = "gnu")]
pub fn release_free_memory() {
    // SAFETY: it touches nothing but what malloc itself knows to be free, under malloc's own locks.
    #[allow(unsafe_code, reason = "the standard library has no such call")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other C libraries give it back by themselves.
#[cfg(not(target_env = "gnu"))]
pub fn return_large_blocks() {}

/// Other C libraries give it back by themselves.
#[cfg(not(target_env = "gnu"))]
pub fn release_free_memory() {}

/// Bytes an ordinary user may still write to the filesystem that holds `path`.
///
/// # Errors
///
/// When the path does not exist or cannot be reached.
pub fn free_disk_bytes(path: &Path) -> Result<u64, SystemError> {
    let stat = rustix::fs::statvfs(path)
        .map_err(|source| SystemError::FreeSpace { path: path.to_owned(), source: source.into() })?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The user this process acts as.
pub fn uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

pub fn is_root() -> bool {
    uid() == 0
}

/// As `uname -r` prints it.
pub fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_agrees_with_proc() {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap();
        let kib: u64 = text.lines().next().unwrap().split_whitespace().nth(1).unwrap().parse().unwrap();
        assert_eq!(total_memory_mib(), kib >> 10);
    }

    #[test]
    fn free_space_of_a_missing_path_is_an_error_that_names_it() {
        let error = free_disk_bytes(Path::new("/nonexistent/x")).unwrap_err();
        assert_eq!(error.to_string(), "could not read the free space of /nonexistent/x");
        assert!(free_disk_bytes(Path::new("/tmp")).unwrap() > 0);
    }
}
