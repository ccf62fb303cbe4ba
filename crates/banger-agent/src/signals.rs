//! Signals that the safe libraries do not cover.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Sends a signal to every process but PID 1, the caller and kernel threads.
pub(crate) fn broadcast(signal: i32) {
    // SAFETY: kill takes two integers and touches no memory of ours.
    #[allow(unsafe_code, reason = "rustix has no kill(-1)")]
    unsafe {
        libc::kill(-1, signal);
    }
}

/// Sends PID 1 a signal.
pub(crate) fn tell_init(signal: i32) {
    // SAFETY: kill takes two integers and touches no memory of ours.
    #[allow(unsafe_code, reason = "rustix names no real-time signals of glibc's")]
    unsafe {
        libc::kill(1, signal);
    }
}

/// From now on SIGTERM does not end this process, but sets what is answered.
pub(crate) fn note_termination() -> &'static AtomicBool {
    static NOTED: AtomicBool = AtomicBool::new(false);
    extern "C" fn note(_signal: libc::c_int) {
        NOTED.store(true, Ordering::Relaxed);
    }
    let handler: extern "C" fn(libc::c_int) = note;
    // SAFETY: the handler does nothing but an atomic store.
    #[allow(unsafe_code, reason = "rustix has no signal handlers")]
    unsafe {
        libc::signal(libc::SIGTERM, handler as libc::sighandler_t);
    }
    &NOTED
}

/// Blocks SIGCHLD and returns a descriptor that becomes readable when a child ended.
pub(crate) fn child_events() -> io::Result<OwnedFd> {
    // SAFETY: the set is a plain integer array that sigemptyset initialises; the descriptor is ours alone.
    #[allow(unsafe_code, reason = "rustix has no signalfd")]
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Unblocks every signal, as a new program expects it.
pub(crate) fn unblock_all() {
    // SAFETY: the set is a plain integer array that sigemptyset initialises.
    #[allow(unsafe_code, reason = "rustix has no signal masks")]
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}
