//! What a process brings along besides its files: capabilities, limits, signals.
//!
//! Not here: open files (they close on exec, see [`crate::process`]); a limit on processes, which counts all
//! of the user's (forks are denied in `calls`); `PR_SET_DUMPABLE`, which exec sets anew.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{SandboxError, VmmSandbox};

/// When memory runs out, a VM goes before its daemon.
const OOM_SCORE_MORE: i32 = 100;
const OOM_SCORE_MAX: i32 = 1000;

/// What a log may grow to, where no disk is larger.
const FILE_BYTES_MIN: u64 = 64 << 20;

/// From linux/securebits.h, each with its lock: root is a user like others, and no capability comes back.
const SECURE_BITS: libc::c_ulong = 0b1110_1111;

/// Gives up everything that is not needed to open files.
pub(super) fn shed(sandbox: &VmmSandbox) -> Result<(), SandboxError> {
    let failed = |action| move |source: io::Error| SandboxError::Process { action, source };
    default_signals().map_err(failed("reset the signals"))?;
    rustix::process::umask(0o077.into());
    limit(Resource::Core, 0).map_err(failed("turn off core dumps"))?;
    limit(Resource::Fsize, largest(sandbox)).map_err(failed("limit the size of files"))?;
    raise_oom_score();
    rustix::thread::set_no_new_privs(true)
        .map_err(|error| failed("give up the way to more privileges")(error.into()))
}

/// No way leads back up, neither by a program's owner nor by its file capabilities. Root keeps its own files.
pub(super) fn drop_capabilities() -> Result<(), SandboxError> {
    // The bounding set and the bits are root's to change; nobody else has anything to gain from them.
    let _ = prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong);
    for capability in 0..64 {
        if prctl(libc::PR_CAPBSET_DROP, capability).is_err() {
            break;
        }
    }
    // As above: refused to whoever has no use for it.
    let _ = prctl(libc::PR_SET_SECUREBITS, SECURE_BITS);
    let header = [0x2008_0522_u32, 0];
    let none = [0_u32; 6];
    #[allow(unsafe_code, reason = "this thread's own, and no word about those that are not known yet")]
    // SAFETY: version 3 of the call reads a header of two words and two triples.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    match result {
        0 => Ok(()),
        _ => {
            let source = io::Error::last_os_error();
            Err(SandboxError::Process { action: "give up all capabilities", source })
        }
    }
}

fn prctl(option: libc::c_int, argument: libc::c_ulong) -> io::Result<()> {
    #[allow(unsafe_code, reason = "these options take numbers only")]
    // SAFETY: no pointer is passed.
    let result = unsafe { libc::prctl(option, argument, 0_u64, 0_u64, 0_u64) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whoever started the daemon may have ignored or blocked some, and Rust itself ignores SIGPIPE.
fn default_signals() -> io::Result<()> {
    #[allow(unsafe_code, reason = "the standard library resets one of them only")]
    // SAFETY: no handler is installed, and the set is filled before it is read.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            // Some can have no other, and two are the C library's.
            libc::signal(signal, libc::SIG_DFL);
        }
        // A file that reaches its limit is an error of that file's, not the end of the VM.
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        match libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut()) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

fn limit(resource: Resource, value: u64) -> io::Result<()> {
    let hard = getrlimit(resource).maximum.map_or(value, |hard| hard.min(value));
    Ok(setrlimit(resource, Rlimit { current: Some(hard), maximum: Some(hard) })?)
}

/// Its disks are as large as they will ever be.
fn largest(sandbox: &VmmSandbox) -> u64 {
    // What is missing has no size; QEMU says so when it opens it.
    let sizes = sandbox.read_write.iter().filter_map(|path| std::fs::metadata(path).ok());
    sizes.map(|meta| meta.len()).max().unwrap_or_default().max(FILE_BYTES_MIN)
}

/// Best effort: a container may hide the file, and the VM is none the worse for it.
fn raise_oom_score() {
    const FILE: &str = "/proc/self/oom_score_adj";
    // See above.
    let now = std::fs::read_to_string(FILE).ok().and_then(|text| text.trim().parse::<i32>().ok());
    if let Some(now) = now {
        // See above.
        let _ = std::fs::write(FILE, (now + OOM_SCORE_MORE).min(OOM_SCORE_MAX).to_string());
    }
}
