//! A program in QEMU's place: what somebody has who broke out of a guest. It tries what they would and prints
//! one line each: the attempt, then `open` or the name of the error. It needs nothing of banger but its own
//! path: `<home>/bin/vmm-probe`.
#![allow(clippy::print_stdout, reason = "what it prints lands in the VM's console.log")]
#![allow(unsafe_code, reason = "it makes the calls that no library would")]

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

fn main() {
    let own = PathBuf::from(std::env::args_os().next().unwrap_or_default());
    let home = own.ancestors().nth(2).unwrap_or(Path::new("/")).to_owned();
    // Landlock does not look at links: that is how the scenario tells whom to signal.
    let victim = std::fs::read_link(home.join("victim")).ok();
    let victim: i64 = victim.and_then(|pid| pid.to_str()?.parse().ok()).unwrap_or_default();
    itself();
    files(&home);
    names(&home);
    processes(victim);
    sockets(&home);
    kernel();
    // The last one: it ends the process.
    println!("32-bit system call: trying");
    let _ = io::stdout().flush();
    // SAFETY: getpid of i386; it does not come back.
    unsafe { std::arch::asm!("int 0x80", inlateout("eax") 20 => _) };
    println!("32-bit system call: open");
}

/// What it has and is.
fn itself() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for name in [
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
        "SigBlk",
        "SigIgn",
        "Umask",
    ] {
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        println!("own {name}: {}", value.unwrap_or("?").trim());
    }
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let core = limits.lines().find(|line| line.starts_with("Max core")).unwrap_or_default();
    println!("own core limit: {}", core.split_whitespace().nth(4).unwrap_or("?"));
    let mut fds: Vec<_> = (3..64).filter(|fd| call(libc::SYS_fcntl, [*fd, 1, 0, 0]).is_ok()).collect();
    fds.sort_unstable();
    println!("own descriptors: {fds:?}");
    let variables: Vec<_> = std::env::vars_os().map(|(name, _)| name).collect();
    println!("own environment: {variables:?}");
}

fn files(home: &Path) {
    let secret = home.join(".ssh/id");
    tell("read a secret", std::fs::read(&secret));
    tell("write a secret", OpenOptions::new().append(true).open(&secret));
    tell("list a directory", std::fs::read_dir(home));
    tell("read the handles", std::fs::read("handles.json"));
    tell("write the handles", OpenOptions::new().append(true).create(true).open("handles.json"));
    tell("make a file", OpenOptions::new().append(true).create(true).open("new"));
    tell("write the disk", OpenOptions::new().read(true).write(true).open("cow.img"));
    tell("empty the disk", OpenOptions::new().write(true).truncate(true).open("cow.img"));
    let path = c(&secret);
    let path = path.as_ptr() as i64;
    let at = i64::from(libc::AT_FDCWD);
    tell("chmod", call(libc::SYS_chmod, [path, 0o777, 0, 0]));
    tell("fchmodat", call(libc::SYS_fchmodat, [at, path, 0o777, 0]));
    tell("fchmodat2", call(libc::SYS_fchmodat2, [at, path, 0o777, 0]));
    tell("chown", call(libc::SYS_chown, [path, 0, 0, 0]));
    tell("fchownat", call(libc::SYS_fchownat, [at, path, 0, 0]));
    tell("utimensat", call(libc::SYS_utimensat, [at, path, 0, 0]));
    tell("setxattr", call(libc::SYS_setxattr, [path, c"user.x".as_ptr() as i64, path, 1]));
    tell("getxattr", call(libc::SYS_getxattr, [path, c"user.x".as_ptr() as i64, 0, 0]));
    tell("truncate", call(libc::SYS_truncate, [path, 0, 0, 0]));
    tell("inotify", call(libc::SYS_inotify_init, [0; 4]));
    tell("file handle", call(libc::SYS_open_by_handle_at, [at, 0, 0, 0]));
    // What it could reach by another way to its name.
    if let Ok(own) = std::fs::File::open("/proc/self/exe") {
        tell("fchmod", call(libc::SYS_fchmod, [i64::from(own.as_raw_fd()), 0o777, 0, 0]));
        tell("flock", call(libc::SYS_flock, [i64::from(own.as_raw_fd()), 2 | 4, 0, 0]));
    }
}

fn names(home: &Path) {
    let secret = home.join(".ssh/id");
    tell("link", std::fs::hard_link(&secret, "linked"));
    tell("symlink", std::os::unix::fs::symlink(&secret, "console.link"));
    tell("rename", std::fs::rename("cow.img", "gone.img"));
    tell("rename outside", std::fs::rename(&secret, home.join(".ssh/gone")));
    tell("unlink outside", std::fs::remove_file(&secret));
    tell("mkdir", std::fs::create_dir("dir"));
    tell("mkfifo", call(libc::SYS_mknod, [c"fifo".as_ptr() as i64, 0o010_600, 0, 0]));
    tell("mknod", call(libc::SYS_mknodat, [-100, c"node".as_ptr() as i64, 0o020_600, 0x103]));
    tell("chdir", std::env::set_current_dir("/"));
}

fn processes(victim: i64) {
    tell("kill", call(libc::SYS_kill, [victim, 9, 0, 0]));
    tell("tkill", call(libc::SYS_tkill, [victim, 9, 0, 0]));
    tell("tgkill", call(libc::SYS_tgkill, [victim, victim, 9, 0]));
    tell("sigqueue", call(libc::SYS_rt_sigqueueinfo, [victim, 9, 0, 0]));
    tell("pidfd_open", call(libc::SYS_pidfd_open, [victim, 0, 0, 0]));
    tell("pidfd_send_signal", call(libc::SYS_pidfd_send_signal, [0, 9, 0, 0]));
    tell("pidfd_getfd", call(libc::SYS_pidfd_getfd, [0; 4]));
    tell("ptrace", call(libc::SYS_ptrace, [16, victim, 0, 0]));
    tell("process_vm_readv", call(libc::SYS_process_vm_readv, [victim, 0, 0, 0]));
    tell("process_vm_writev", call(libc::SYS_process_vm_writev, [victim, 0, 0, 0]));
    for file in ["environ", "mem", "status", "cmdline", "maps"] {
        tell(&format!("another's {file}"), std::fs::read(format!("/proc/{victim}/{file}")));
    }
    let score = |pid: &str| OpenOptions::new().write(true).open(format!("/proc/{pid}/oom_score_adj"));
    tell("another's oom_score_adj", score(&victim.to_string()));
    tell("prlimit", call(libc::SYS_prlimit64, [victim, 7, 0, 0]));
    tell("setpriority", call(libc::SYS_setpriority, [0, victim, 19, 0]));
    tell("fork", call(libc::SYS_fork, [0; 4]));
    tell("clone", call(libc::SYS_clone, [17, 0, 0, 0]));
    tell("clone3", call(libc::SYS_clone3, [0; 4]));
    #[allow(clippy::disallowed_methods, reason = "that it cannot is the point")]
    let spawned = std::process::Command::new("/bin/true").spawn();
    tell("spawn", spawned);
    #[allow(clippy::disallowed_methods, reason = "that it cannot is the point")]
    let executed = std::os::unix::process::CommandExt::exec(&mut std::process::Command::new("/bin/true"));
    tell::<()>("exec", Err(executed));
    let memory = call(libc::SYS_memfd_create, [c"x".as_ptr() as i64, 0, 0, 0]).unwrap_or(-1);
    tell("exec from memory", call(libc::SYS_execveat, [memory, c"".as_ptr() as i64, 0, 0]));
    tell("a thread", std::thread::Builder::new().spawn(|| ()));
}

fn sockets(home: &Path) {
    tell("the daemon's API", answered(&home.join("run/banger/bangerd.sock")));
    tell("another daemon's API", answered(&home.join("other.sock")));
    tell("a Unix socket", UnixStream::connect(home.join("listener.sock")));
    let name = home.file_name().unwrap_or_default();
    let abstract_name = SocketAddr::from_abstract_name(name.as_bytes());
    tell("an abstract socket", abstract_name.and_then(|address| UnixStream::connect_addr(&address)));
    tell("a datagram socket", std::os::unix::net::UnixDatagram::unbound());
    tell("a socket pair", UnixStream::pair());
    tell("a socket outside", UnixListener::bind(home.join("new.sock")));
    tell("TCP in", std::net::TcpListener::bind("127.0.0.1:0"));
    let port = std::fs::read_link(home.join("port")).ok();
    let port = port.and_then(|port| port.to_str()?.parse::<u16>().ok()).unwrap_or_default();
    tell("TCP out", std::net::TcpStream::connect(("127.0.0.1", port)));
    tell("UDP", std::net::UdpSocket::bind("127.0.0.1:0"));
    for (name, family, kind, protocol) in [
        ("AF_NETLINK", libc::AF_NETLINK, libc::SOCK_RAW, 0),
        ("AF_PACKET", libc::AF_PACKET, libc::SOCK_RAW, 0),
        ("AF_VSOCK", libc::AF_VSOCK, libc::SOCK_STREAM, 0),
        ("AF_ALG", libc::AF_ALG, libc::SOCK_SEQPACKET, 0),
        ("raw IP", libc::AF_INET, libc::SOCK_RAW, 1),
        ("MPTCP", libc::AF_INET, libc::SOCK_STREAM, 262),
    ] {
        tell(name, call(libc::SYS_socket, [family.into(), kind.into(), protocol, 0]));
    }
}

fn kernel() {
    for (name, number) in [
        ("unshare", libc::SYS_unshare),
        ("setns", libc::SYS_setns),
        ("mount", libc::SYS_mount),
        ("chroot", libc::SYS_chroot),
        ("keyctl", libc::SYS_keyctl),
        ("bpf", libc::SYS_bpf),
        ("perf_event_open", libc::SYS_perf_event_open),
        ("userfaultfd", libc::SYS_userfaultfd),
        ("io_uring", libc::SYS_io_uring_setup),
        ("System V memory", libc::SYS_shmget),
        ("x32", libc::SYS_getpid | 0x4000_0000),
    ] {
        tell(name, call(number, [0; 4]));
    }
    tell("TIOCSTI", call(libc::SYS_ioctl, [0, libc::TIOCSTI as i64, 0, 0]));
    tell("TIOCSTI, high bits set", call(libc::SYS_ioctl, [0, libc::TIOCSTI as i64 | 1 << 32, 0, 0]));
    tell("/dev/kvm", OpenOptions::new().read(true).write(true).open("/dev/kvm"));
    tell("a disk of the host", std::fs::read_dir("/dev"));
    tell("the system's settings", OpenOptions::new().append(true).open("/proc/sys/kernel/core_pattern"));
}

/// Reaching the socket is one thing, being answered another.
fn answered(socket: &Path) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    let mut answer = Vec::new();
    let sent = stream.write_all(b"GET /v1/vms HTTP/1.1\r\nhost: banger\r\nconnection: close\r\n\r\n");
    match sent.and_then(|()| stream.read_to_end(&mut answer)) {
        Ok(_) if !answer.is_empty() => Ok(()),
        _ => Err(io::ErrorKind::ConnectionReset.into()),
    }
}

fn call(number: libc::c_long, [a, b, c, d]: [i64; 4]) -> io::Result<i64> {
    // SAFETY: the arguments are numbers, null, or point to what outlives the call.
    let result = unsafe { libc::syscall(number, a, b, c, d, 0, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn c(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}

fn tell<T>(attempt: &str, outcome: io::Result<T>) {
    let word = match outcome {
        Ok(_) => "open".to_owned(),
        Err(error) => match (error.raw_os_error(), error.kind()) {
            (Some(libc::EPERM), _) => "EPERM".into(),
            (Some(libc::EACCES), _) => "EACCES".into(),
            (Some(libc::ENOSYS), _) => "ENOSYS".into(),
            (Some(number), _) => format!("errno {number}"),
            (None, io::ErrorKind::ConnectionReset) => "refused".into(),
            (None, kind) => kind.to_string(),
        },
    };
    println!("{attempt}: {word}");
}
