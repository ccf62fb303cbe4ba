//! The gateway of one VM: a process beside its VMM, in its directory, which `bangerd` starts.

use std::error::Error;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

use banger_gateway::{GatewayError, NETWORK_DIR};
use rustix::fs::{Mode, OFlags};

/// More than lookups at once; a thread does nothing else.
const THREADS_MAX: usize = 16;
/// What the C library's resolver needs, several times over.
const STACK_LEN: usize = 512 * 1024;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    // The first one names the VM, for whoever looks for this process.
    let (Some(_), Some(socket), Some(control)) = (arguments.next(), arguments.next(), arguments.next())
    else {
        return usage();
    };
    let Ok(control) = control.parse::<RawFd>() else { return usage() };
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    match run(&socket, control) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error, "the gateway ends");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stderr, reason = "the only word to whoever starts it by hand")]
fn usage() -> ExitCode {
    eprintln!("bangerd starts this program, one for each virtual machine; it does nothing by itself");
    ExitCode::from(2)
}

fn run(socket: &str, control: RawFd) -> Result<(), Box<dyn Error>> {
    if control <= 2 {
        return Err("the descriptor to listen on is none".into());
    }
    rustix::io::fcntl_getfd(unsafe_borrow(control))?;
    #[allow(unsafe_code, reason = "the descriptor is handed over by its number")]
    // SAFETY: it is open, and nobody else in this process knows of it.
    let control = unsafe { OwnedFd::from_raw_fd(control) };
    // Before the sandbox, in which newer kernels allow no other socket either.
    let port = UnixStream::connect(socket)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(NETWORK_DIR, flags, Mode::empty())?;
    let status = banger_host::sandbox::gateway::confine(Path::new(NETWORK_DIR))?;
    tracing::info!(?status, "confined");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(THREADS_MAX)
        .thread_stack_size(STACK_LEN)
        .build()?;
    let local = tokio::task::LocalSet::new();
    let served = banger_gateway::serve(port.into(), dir, control);
    match local.block_on(&runtime, served) {
        // The VM has ended.
        Err(GatewayError::Channel(banger_gateway::ChannelError::Closed)) => Ok(()),
        other => Ok(other?),
    }
}

fn unsafe_borrow(fd: RawFd) -> rustix::fd::BorrowedFd<'static> {
    #[allow(unsafe_code, reason = "only asks whether it is open")]
    // SAFETY: the kernel says EBADF of one that is not.
    unsafe {
        rustix::fd::BorrowedFd::borrow_raw(fd)
    }
}
