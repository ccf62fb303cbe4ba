use std::io::Write as _;
use std::os::fd::AsRawFd as _;

use super::*;

/// Landlock, capabilities and filters hold per thread, so a thread is enough to try them.
fn confined<T: Send + 'static>(
    sandbox: VmmSandbox,
    attempt: impl FnOnce() -> T + Send + 'static,
) -> (SandboxStatus, T) {
    let thread = std::thread::spawn(move || {
        let status = files::restrict_self(&sandbox, Path::new("/bin/true")).unwrap();
        process::drop_capabilities().unwrap();
        calls::restrict_self(&sandbox, &ExecKey::random().unwrap()).unwrap();
        (status, attempt())
    });
    thread.join().unwrap()
}

/// The error of a raw system call; 0 where it works.
fn errno(call: libc::c_long, args: [i64; 5]) -> i32 {
    let [a, b, c, d, e] = args;
    #[allow(unsafe_code, reason = "the point is to make calls that no library would")]
    // SAFETY: the arguments are numbers, null, or point to what outlives the call.
    let result = unsafe { libc::syscall(call, a, b, c, d, e) };
    if result < 0 { io::Error::last_os_error().raw_os_error().unwrap() } else { 0 }
}

struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("vm")).unwrap();
        for (name, text) in
            [("vm/disk", "disk"), ("vm/handles.json", "{}"), ("image", "image"), ("secret", "secret")]
        {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn sandbox(&self) -> VmmSandbox {
        VmmSandbox {
            vm_dir: self.path("vm"),
            read_only: vec![self.path("image")],
            read_write: vec![self.path("vm/disk")],
            ..VmmSandbox::default()
        }
    }
}

#[test]
fn only_what_was_given_can_be_reached() {
    let files = Files::new();
    let [disk, image, secret, handles, new] =
        ["vm/disk", "image", "secret", "vm/handles.json", "vm/new"].map(|name| files.path(name));
    let write = |path: &Path| std::fs::OpenOptions::new().append(true).open(path);
    let (status, allowed) = confined(files.sandbox(), move || {
        let appended = write(&disk).and_then(|mut file| file.write_all(b"x")).is_ok();
        let read = [std::fs::read(&disk).is_ok(), std::fs::read(&image).is_ok()];
        let held = [
            write(&image).is_ok(),
            std::fs::read(&secret).is_ok(),
            write(&handles).is_ok(),
            std::fs::read(&handles).is_ok(),
            std::fs::OpenOptions::new().append(true).create(true).open(&new).is_ok(),
            std::fs::remove_file(&handles).is_ok(),
        ];
        (appended && read == [true; 2], held)
    });
    assert!(allowed.0, "{allowed:?}");
    if status == SandboxStatus::Unsupported {
        println!("skipped in part: this kernel has no landlock");
        assert_eq!(allowed.1, [true, true, true, true, true, false]);
    } else {
        assert_eq!(allowed.1, [false; 6]);
    }
    assert_eq!(std::fs::read(files.path("vm/disk")).unwrap(), b"diskx");
}

#[test]
fn calls_that_concern_others_are_denied() {
    let parent = i64::from(rustix::process::getppid().unwrap().as_raw_nonzero().get());
    let own = i64::from(std::process::id());
    let files = Files::new();
    // Duplicated in the thread, so that fcntl and ioctl have something to work on.
    let open = std::fs::File::open(files.path("image")).unwrap();
    let fd = i64::from(open.as_raw_fd());
    let null = std::fs::File::open("/dev/null").unwrap();
    let null = i64::from(null.as_raw_fd());
    let (unix, inet) = (i64::from(libc::AF_UNIX), i64::from(libc::AF_INET));
    let attempts = [
        ("kill", libc::SYS_kill, [parent, 0, 0, 0, 0]),
        ("kill everybody", libc::SYS_kill, [-1, 0, 0, 0, 0]),
        ("kill the group", libc::SYS_kill, [0, 0, 0, 0, 0]),
        ("kill, high bits set", libc::SYS_kill, [parent | 1 << 32, 0, 0, 0, 0]),
        ("tgkill", libc::SYS_tgkill, [parent, parent, 0, 0, 0]),
        ("tkill", libc::SYS_tkill, [parent, 0, 0, 0, 0]),
        ("pidfd_open", libc::SYS_pidfd_open, [parent, 0, 0, 0, 0]),
        ("fcntl F_SETOWN", libc::SYS_fcntl, [fd, 8, parent, 0, 0]),
        ("ioctl FIOSETOWN", libc::SYS_ioctl, [fd, 0x8901, 0, 0, 0]),
        ("ioctl TIOCSTI", libc::SYS_ioctl, [null, 0x5412, 0, 0, 0]),
        ("ioctl TIOCSTI, high bits set", libc::SYS_ioctl, [null, 0x5412 | 1 << 32, 0, 0, 0]),
        ("ioctl FS_IOC_SETFLAGS", libc::SYS_ioctl, [fd, 0x4008_6602, 0, 0, 0]),
        ("ioctl FS_IOC_ENABLE_VERITY", libc::SYS_ioctl, [fd, 0x4080_6685, 0, 0, 0]),
        ("ioctl BTRFS_IOC_SUBVOL_CREATE", libc::SYS_ioctl, [fd, 0x5000_940e, 0, 0, 0]),
        ("fchmod", libc::SYS_fchmod, [fd, 0o777, 0, 0, 0]),
        ("fork", libc::SYS_fork, [0; 5]),
        ("clone", libc::SYS_clone, [i64::from(libc::SIGCHLD), 0, 0, 0, 0]),
        ("clone into a namespace", libc::SYS_clone, [i64::from(libc::CLONE_NEWUSER), 0, 0, 0, 0]),
        ("execve", libc::SYS_execve, [0; 5]),
        ("prlimit", libc::SYS_prlimit64, [parent, 0, 0, 0, 0]),
        ("setpriority", libc::SYS_setpriority, [0, parent, 19, 0, 0]),
        ("sched_setaffinity", libc::SYS_sched_setaffinity, [parent, 0, 0, 0, 0]),
        ("socket AF_UNIX", libc::SYS_socket, [unix, 1, 0, 0, 0]),
        ("socket AF_INET", libc::SYS_socket, [inet, 1, 0, 0, 0]),
        ("socketpair", libc::SYS_socketpair, [unix, 1, 0, 0, 0]),
        ("bind", libc::SYS_bind, [fd, 0, 0, 0, 0]),
        ("connect", libc::SYS_connect, [fd, 0, 0, 0, 0]),
        ("personality", libc::SYS_personality, [0x0004_0000, 0, 0, 0, 0]),
        ("prctl PR_SET_MM", libc::SYS_prctl, [35, 0, 0, 0, 0]),
        ("io_uring_setup", libc::SYS_io_uring_setup, [1, 0, 0, 0, 0]),
    ];
    let missing = [
        ("clone3", libc::SYS_clone3, [0; 5]),
        ("openat2", libc::SYS_openat2, [0; 5]),
        ("setxattrat", 463, [0; 5]),
        ("one of the next kernel", 600, [0; 5]),
        ("kill of x32", libc::SYS_kill | 0x4000_0000, [own, 0, 0, 0, 0]),
    ];
    let expected = attempts.map(|(name, ..)| (name, libc::EPERM)).into_iter();
    let expected: Vec<_> = expected.chain(missing.map(|(name, ..)| (name, libc::ENOSYS))).collect();
    let abi = inspect::landlock_abi();
    let (_, found) = confined(files.sandbox(), move || {
        let tried = |(name, call, args): &(&'static str, _, _)| (*name, errno(*call, *args));
        attempts.iter().chain(&missing).map(tried).collect::<Vec<_>>()
    });
    assert_eq!(found, expected, "landlock {abi}");
    let denied: Vec<i64> = denied::CALLS.to_vec();
    let (_, found) = confined(files.sandbox(), {
        let denied = denied.clone();
        move || denied.into_iter().map(|call| errno(call, [0; 5])).collect::<Vec<_>>()
    });
    assert_eq!(found, vec![libc::EPERM; denied.len()]);
}

/// Emptying an image takes no right to write it, where landlock is old.
#[test]
fn nothing_is_opened_to_be_emptied() {
    let files = Files::new();
    let path = std::ffi::CString::new(files.path("vm/disk").as_os_str().as_encoded_bytes()).unwrap();
    let (_, found) = confined(files.sandbox(), move || {
        let path = path.as_ptr() as i64;
        let flags = i64::from(libc::O_TRUNC);
        [
            errno(libc::SYS_openat, [-100, path, flags | 2, 0, 0]),
            errno(libc::SYS_open, [path, flags, 0, 0, 0]),
            errno(libc::SYS_openat, [-100, path, 2, 0, 0]),
        ]
    });
    assert_eq!(found, [libc::EPERM, libc::EPERM, 0]);
}

#[test]
fn the_network_is_tcp_udp_and_ping_out_where_it_was_given() {
    let sandbox = VmmSandbox { network: true, ..Files::new().sandbox() };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let sandbox = VmmSandbox { read_only: Vec::new(), read_write: Vec::new(), ..sandbox };
    let (_, (connected, refused)) = confined(sandbox, move || {
        let connected = std::net::TcpStream::connect(address).is_ok();
        let socket = |family, kind, protocol| errno(libc::SYS_socket, [family, kind, protocol, 0, 0]);
        let refused = [
            socket(2, 3, 1),             // raw ICMP
            socket(2, 10, 0),            // packets the old way
            socket(17, 2, 0),            // AF_PACKET
            socket(2, 1, 262),           // MPTCP, which landlock takes for something else than TCP
            socket(2, 5, 132),           // SCTP
            socket(16, 3, 0),            // AF_NETLINK
            socket(40, 1, 0),            // AF_VSOCK
            socket(38, 5, 0),            // AF_ALG
            socket(1, 1, 0),             // AF_UNIX
            socket(1, 2 | 0o2000000, 0), // the same, close on exec
            errno(libc::SYS_bind, [0; 5]),
        ];
        (connected, refused)
    });
    assert!(connected);
    assert_eq!(refused, [libc::EPERM; 11]);
}

#[test]
fn what_vmms_do_still_works() {
    let own = i64::from(std::process::id());
    let files = Files::new();
    let disk = files.path("vm/disk");
    let (_, (thread, errors)) = confined(files.sandbox(), move || {
        let thread = std::thread::spawn(|| 7).join().ok();
        let file = std::fs::OpenOptions::new().read(true).write(true).open(disk).unwrap();
        let fd = i64::from(file.as_raw_fd());
        let errors = [
            errno(libc::SYS_kill, [own, 0, 0, 0, 0]),
            errno(libc::SYS_tgkill, [own, own, 0, 0, 0]),
            errno(libc::SYS_fcntl, [fd, 3, 0, 0, 0]),
            errno(libc::SYS_ftruncate, [fd, 4, 0, 0, 0]),
            errno(libc::SYS_prlimit64, [0, 0, 0, 0, 0]),
            errno(libc::SYS_personality, [0xffff_ffff, 0, 0, 0, 0]),
            errno(libc::SYS_eventfd2, [0; 5]),
        ];
        (thread, errors)
    });
    assert_eq!(thread, Some(7));
    // The right to change the length was not given, where landlock knows of it.
    let truncated = if inspect::landlock_abi() >= 3 { libc::EACCES } else { 0 };
    assert_eq!(errors, [0, 0, 0, truncated, 0, 0, 0]);
}

#[test]
fn a_path_that_is_missing_is_named() {
    let sandbox = VmmSandbox { read_only: vec!["/nonexistent/image".into()], ..VmmSandbox::default() };
    let error = launch(&sandbox, Path::new("/bin/true"), &[]);
    assert_eq!(error.to_string(), "could not open /nonexistent/image for the sandbox");
}

#[test]
fn a_program_that_is_missing_or_a_script_is_named() {
    let files = Files::new();
    let error = launch(&files.sandbox(), Path::new("/nonexistent/vmm"), &[]);
    assert_eq!(error.to_string(), "could not execute /nonexistent/vmm");
    let script = files.path("qemu");
    std::fs::write(&script, "#!/bin/sh\nexec qemu-system-x86_64 \"$@\"\n").unwrap();
    let error = launch(&files.sandbox(), &script, &[]);
    assert!(matches!(error, SandboxError::Script { .. }), "{error}");
}
