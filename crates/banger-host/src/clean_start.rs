//! A daemon begins with nothing of whoever happened to start it: not his open files, his environment, his
//! limits, his umask, his signals. What it starts itself then inherits nothing of that either.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt as _;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files: a VM takes a few, and so does every connection.
const OPEN_FILES: u64 = 65_536;
/// Fewer than this are worth a word.
const FEW_OPEN_FILES: u64 = 1024;
const STACK_BYTES: u64 = 8 << 20;

/// What could not be shaken off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TakenOver {
    /// Limits of the starter's, in words: `file size: 1024 bytes`.
    pub limits: Vec<String>,
    /// The starter wants the process to live on when its terminal goes away (`nohup`).
    pub ignores_hangup: bool,
}

/// Starts over. To be called before there is a second thread; returns in the same process, which has then
/// only the variables that `keeps` names, closed all files but the standard ones, and is in no session of a
/// terminal (where it is no foreground job of a shell).
///
/// # Errors
///
/// When the process cannot change to `/`, or not read from `/dev/null`.
pub fn start_clean(keeps: impl Fn(&OsStr) -> bool) -> io::Result<TakenOver> {
    close_foreign_files()?;
    drop_foreign_variables(&keeps);
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    rustix::process::chdir("/")?;
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    // A shell's own job is a group leader, and stays in its session.
    let _ = rustix::process::setsid();
    // Else the daemon would go with a thread of its starter's.
    rustix::process::set_parent_process_death_signal(None)?;
    let ignores_hangup = usual_signals()?;
    let mut limits = usual_limits();
    limits.extend(usual_priority());
    Ok(TakenOver { limits, ignores_hangup })
}

fn close_foreign_files() -> io::Result<()> {
    #[allow(unsafe_code, reason = "rustix has no close_range")]
    // SAFETY: nothing in this process has opened a file yet; these are its starter's.
    let closed = unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    if closed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Executes this program anew without them: taken out of the process alone they would still be in `/proc`,
/// where a secret among them could be read for as long as the daemon lives.
fn drop_foreign_variables(keeps: &impl Fn(&OsStr) -> bool) {
    let (kept, foreign): (Vec<_>, Vec<_>) = std::env::vars_os().partition(|(name, _)| keeps(name));
    if foreign.is_empty() {
        return;
    }
    let mut args = std::env::args_os();
    let own_name = args.next().unwrap_or_else(|| "bangerd".into());
    if let Ok(program) = std::env::current_exe() {
        #[allow(clippy::disallowed_methods, reason = "starts nothing: this process becomes itself again")]
        let mut itself = std::process::Command::new(program);
        // Comes back only when it did not work, as when the program was just replaced by a newer one.
        let _ = itself.arg0(own_name).args(args).env_clear().envs(kept).exec();
    }
    for (name, _) in foreign {
        #[allow(unsafe_code, reason = "the environment is the process's own")]
        // SAFETY: there is one thread.
        unsafe {
            std::env::remove_var(name);
        }
    }
}

/// Signals do what they usually do, and none is blocked. Answers whether the terminal's hang-up was ignored.
fn usual_signals() -> io::Result<bool> {
    let mut ignores_hangup = false;
    #[allow(unsafe_code, reason = "neither the standard library nor rustix sets signals")]
    // SAFETY: plain system calls on memory of this function's own; a disposition of SIG_DFL refers to no
    // code.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        if libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        for signal in 1..=libc::SIGRTMAX() {
            let mut action: libc::sigaction = std::mem::zeroed();
            let known = libc::sigaction(signal, std::ptr::null(), &mut action) == 0;
            // Rust itself ignores SIGPIPE, and takes it back for what it starts.
            if !known || action.sa_sigaction != libc::SIG_IGN || signal == libc::SIGPIPE {
                continue;
            }
            ignores_hangup |= signal == libc::SIGHUP;
            action.sa_sigaction = libc::SIG_DFL;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
    Ok(ignores_hangup)
}

/// Raises the limits that the starter has lowered, as far as that can be done, and names the rest.
fn usual_limits() -> Vec<String> {
    let raised = [
        (Resource::Fsize, "file size", " bytes"),
        (Resource::As, "address space", " bytes"),
        (Resource::Data, "data", " bytes"),
        (Resource::Cpu, "CPU time", " s"),
        (Resource::Rttime, "real-time CPU time", " us"),
    ];
    let mut left = Vec::new();
    for (resource, name, unit) in raised {
        let Rlimit { maximum, .. } = getrlimit(resource);
        // Raising one's own soft limit to the hard one is always allowed.
        let _ = setrlimit(resource, Rlimit { current: maximum, maximum });
        left.extend(maximum.map(|maximum| format!("{name}: {maximum}{unit}")));
    }
    let files = at_most(Resource::Nofile, OPEN_FILES);
    left.extend((files < FEW_OPEN_FILES).then(|| format!("open files: {files}")));
    at_most(Resource::Stack, STACK_BYTES);
    at_most(Resource::Nproc, u64::MAX);
    at_most(Resource::Memlock, u64::MAX);
    // A dump of the daemon, or of a VMM, has secrets in it.
    at_most(Resource::Core, 0);
    left
}

/// Sets a limit to `wanted`, or to the most there is. Answers what that is.
fn at_most(resource: Resource, wanted: u64) -> u64 {
    let Rlimit { maximum, .. } = getrlimit(resource);
    let limit = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let current = if maximum.is_none() && wanted == u64::MAX { None } else { Some(limit) };
    // As above.
    let _ = setrlimit(resource, Rlimit { current, maximum });
    limit
}

/// Neither slower nor faster than others: `nice`, `ionice`, `chrt`.
fn usual_priority() -> Option<String> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    #[allow(unsafe_code, reason = "rustix has neither")]
    // SAFETY: system calls that take numbers, and one structure that outlives the call.
    unsafe {
        let plain = libc::sched_param { sched_priority: 0 };
        // Where this is refused, the niceness below is what counts.
        let _ = libc::sched_setscheduler(0, libc::SCHED_OTHER, &plain);
        // Not even refused where I/O has no priorities.
        let _ = libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, 0);
    }
    match rustix::process::getpriority_process(None) {
        Ok(0) | Err(_) => None,
        Ok(niceness) => {
            rustix::process::setpriority_process(None, 0).err().map(|_| format!("niceness: {niceness}"))
        }
    }
}
