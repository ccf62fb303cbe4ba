//! The system calls that a VMM has no use for, by what somebody else would use them for.

use libc::{c_long, c_ulong};

/// Denied whatever their arguments.
pub(super) const CALLS: &[c_long] = &[
    // Its sockets are handed to it.
    libc::SYS_bind,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    // Changing what is not open for writing: landlock does not look at modes, owners, times and attributes,
    // and at the length of files only since its third version.
    libc::SYS_chmod,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchmodat2,
    libc::SYS_chown,
    libc::SYS_fchown,
    libc::SYS_lchown,
    libc::SYS_fchownat,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_truncate,
    libc::SYS_creat,
    // Reading what landlock does not look at, and watching.
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_fgetxattr,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_flistxattr,
    libc::SYS_inotify_init,
    libc::SYS_inotify_init1,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    libc::SYS_syslog,
    // Names: it works with the files that it was given.
    libc::SYS_link,
    libc::SYS_linkat,
    libc::SYS_symlink,
    libc::SYS_symlinkat,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_mkdir,
    libc::SYS_mkdirat,
    libc::SYS_rmdir,
    libc::SYS_mknod,
    libc::SYS_mknodat,
    // Files past their names, and others' turn to use them.
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_flock,
    // Where it belongs: the daemon knows a VMM by its directory, and its session is its own.
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_chroot,
    libc::SYS_setsid,
    libc::SYS_setpgid,
    // Other processes.
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kcmp,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    // What processes of one user share without opening a file.
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semctl,
    libc::SYS_semtimedop,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    libc::SYS_socketpair,
    // Mounts and namespaces.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    STATMOUNT,
    LISTMOUNT,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    // A second way to make calls, which no filter sees, and the kernel's parts that most holes were in.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_modify_ldt,
];

const STATMOUNT: c_long = 457;
const LISTMOUNT: c_long = 458;

/// What calls get for an answer that this list does not know, the 32-bit ones of x32 (from 0x4000_0000)
/// included: as from a kernel that does not have them. A new one may do in one step what is denied here.
pub(super) const FIRST_UNKNOWN_CALL: u32 = 463;

/// Their arguments lie in memory, where no filter can look; C libraries do without them.
pub(super) const UNREADABLE_CALLS: &[c_long] = &[libc::SYS_clone3, libc::SYS_openat2];

/// Signals by way of a file's owner, leases on files that others open, notices of what happens in a
/// directory.
pub(super) const FCNTL_COMMANDS: &[libc::c_int] =
    &[F_SETOWN, F_SETSIG, F_SETOWN_EX, libc::F_SETLEASE, libc::F_NOTIFY];

const F_SETOWN: libc::c_int = 8;
const F_SETSIG: libc::c_int = 10;
const F_SETOWN_EX: libc::c_int = 15;

/// Typing on somebody's terminal, taking it over; a file's owner again.
pub(super) const IOCTLS: &[c_ulong] =
    &[libc::TIOCSTI, libc::TIOCLINUX, libc::TIOCSCTTY, libc::TIOCSETD, libc::TIOCCONS, FIOSETOWN, SIOCSPGRP];

const FIOSETOWN: c_ulong = 0x8901;
const SIOCSPGRP: c_ulong = 0x8902;

/// All of a kind: attributes, verity and encryption ('f', 'v', 'X'), and what btrfs, f2fs and bcachefs do to
/// files and subvolumes. Some need no more than a file or directory that is open for reading.
pub(super) const IOCTL_KINDS: &[u8] = b"fvX\x94\xf5\xbc";

/// Namespaces, and tracing from the first instruction. A thread needs none of them.
pub(super) const CLONE_FLAGS: &[libc::c_int] = &[
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_PTRACE,
];

/// A map of memory that lies to whoever reads `/proc`, and a share of others' CPUs.
pub(super) const PRCTL_OPTIONS: &[libc::c_int] = &[PR_SET_MM, PR_SCHED_CORE];

const PR_SET_MM: libc::c_int = 35;
const PR_SCHED_CORE: libc::c_int = 62;

/// TCP, UDP, and the ping of a gateway. Not those that come around landlock's rules about TCP.
pub(super) const PROTOCOLS: &[libc::c_int] =
    &[0, libc::IPPROTO_TCP, libc::IPPROTO_UDP, libc::IPPROTO_ICMP, libc::IPPROTO_ICMPV6];

/// Everything below the transport, and sockets that send without being connected to one peer for good.
pub(super) const SOCKET_TYPES: &[libc::c_int] =
    &[libc::SOCK_RAW, libc::SOCK_RDM, libc::SOCK_SEQPACKET, SOCK_DCCP, SOCK_PACKET];

const SOCK_DCCP: libc::c_int = 6;
const SOCK_PACKET: libc::c_int = 10;
