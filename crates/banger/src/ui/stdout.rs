//! This process's stdout as it was given: closed, on a full disk, behind a limit of file sizes.

use std::io::{self, Write as _};
use std::os::fd::IntoRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};

use super::print::output_error;
use crate::error::CommandError;

static MISSING: AtomicBool = AtomicBool::new(false);

/// The loader calls it before `main`: by then the standard library has put `/dev/null` where a stream was
/// closed (`>&-`), and all output would vanish there without an error.
#[used]
#[unsafe(link_section = ".init_array")]
#[allow(unsafe_code, reason = "nothing else runs before the standard library does")]
static BEFORE_MAIN: extern "C" fn() = note_missing;

extern "C" fn note_missing() {
    let missing = rustix::io::fcntl_getfd(rustix::stdio::stdout()).is_err();
    MISSING.store(missing, Ordering::Relaxed);
}

/// Was it closed when this process started?
pub(crate) fn is_stdout_missing() -> bool {
    MISSING.load(Ordering::Relaxed)
}

/// From now on a write beyond the limit of file sizes (`ulimit -f`) is an error, not this process's death. A
/// handler, for what is ignored would be so in our children, too.
pub(crate) fn survive_file_size_limit() {
    extern "C" fn nothing(_signal: libc::c_int) {}
    let handler: extern "C" fn(libc::c_int) = nothing;
    // SAFETY: the handler does nothing at all.
    #[allow(unsafe_code, reason = "rustix has no signal handlers")]
    unsafe {
        libc::signal(libc::SIGXFSZ, handler as libc::sighandler_t);
    }
}

/// Looks for errors that show only when a file is closed (on NFS, with quotas).
///
/// # Errors
///
/// When what was written to stdout did not get where it belongs.
pub(crate) fn finish() -> Result<(), CommandError> {
    io::stdout().flush().and_then(|()| close_a_copy()).map_err(output_error)
}

fn close_a_copy() -> io::Result<()> {
    if is_stdout_missing() {
        return Ok(());
    }
    let copy = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
    // SAFETY: the descriptor is ours alone and not used after this.
    #[allow(unsafe_code, reason = "no safe close tells its error")]
    let closed = unsafe { libc::close(copy.into_raw_fd()) };
    let error = io::Error::last_os_error();
    // Linux has closed it also when a signal came.
    if closed == 0 || error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) }
}
