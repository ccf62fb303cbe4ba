//! Which system calls a VMM may make. What is denied answers EPERM; calls of another architecture end the
//! process.

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen as Width, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter, sock_filter,
};

use super::{SandboxError, VmmSandbox, denied, inspect};

/// What an exec must show, once: where the kernel looks for nothing, in the arguments after its own. The next
/// program does not know it, so it can start no other.
pub(super) struct ExecKey([u64; 3]);

impl ExecKey {
    pub(super) fn random() -> Result<Self, SandboxError> {
        let mut bytes = [0; 24];
        // So few are never short.
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
            .map_err(|error| SandboxError::Process { action: "draw random bytes", source: error.into() })?;
        let mut words =
            bytes.chunks(8).map(|chunk| chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
        Ok(Self(std::array::from_fn(|_| words.next().unwrap_or_default())))
    }
}

/// Filters this thread's calls, and those of what it executes, for good.
pub(super) fn restrict_self(sandbox: &VmmSandbox, key: &ExecKey) -> Result<(), SandboxError> {
    let rules = rules(sandbox, key, inspect::landlock_abi())?;
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM as u32),
        TargetArch::x86_64,
    )?;
    let program = BpfProgram::try_from(filter)?;
    apply_filter(&unknown_calls())?;
    Ok(apply_filter(&program)?)
}

/// Becomes `program`. Returns only when that failed.
pub(super) fn exec(program: &Path, args: &[OsString], key: &ExecKey) -> io::Error {
    let text = |bytes: Vec<u8>| CString::new(bytes).map_err(io::Error::from);
    let words = std::iter::once(program.as_os_str().as_bytes().to_vec());
    let words = words.chain(args.iter().map(|arg| arg.as_bytes().to_vec())).map(text);
    let variables = std::env::vars_os().map(|(name, value)| {
        let mut variable = name.into_vec();
        variable.push(b'=');
        variable.extend(value.into_vec());
        text(variable)
    });
    let (argv, envp) =
        match (words.collect::<io::Result<Vec<_>>>(), variables.collect::<io::Result<Vec<_>>>()) {
            (Ok(argv), Ok(envp)) => (argv, envp),
            (Err(error), _) | (_, Err(error)) => return error,
        };
    let ended = |strings: &[CString]| -> Vec<_> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (words, variables) = (ended(&argv), ended(&envp));
    #[allow(unsafe_code, reason = "the C library's exec passes three arguments on, the key is in three more")]
    // SAFETY: both lists end with a null pointer, and live as long as the strings they point to: until after
    // the call.
    unsafe {
        libc::syscall(
            libc::SYS_execve,
            argv[0].as_ptr(),
            words.as_ptr(),
            variables.as_ptr(),
            key.0[0],
            key.0[1],
            key.0[2],
        );
    }
    io::Error::last_os_error()
}

pub(super) type Rules = BTreeMap<i64, Vec<SeccompRule>>;
pub(super) type Condition = Result<SeccompCondition, BackendError>;

/// A call with one of these is denied; one with an empty list always.
pub(super) fn rules(sandbox: &VmmSandbox, key: &ExecKey, landlock_abi: u32) -> Result<Rules, BackendError> {
    let mut rules: Rules = denied::CALLS.iter().map(|call| (*call, Vec::new())).collect();
    if !sandbox.network {
        rules.insert(libc::SYS_connect, Vec::new());
    }
    rules.insert(libc::SYS_socket, sockets(sandbox)?);
    signals(&mut rules, landlock_abi)?;
    processes(&mut rules, key)?;
    files(&mut rules)?;
    Ok(rules)
}

/// Streams and datagrams of the internet's families where there is a network, and none of another.
fn sockets(sandbox: &VmmSandbox) -> Result<Vec<SeccompRule>, BackendError> {
    if !sandbox.network {
        return Ok(Vec::new());
    }
    let mut rules = vec![
        rule([libc::AF_INET, libc::AF_INET6].map(|family| number(0, Op::Ne, family)))?,
        rule(denied::PROTOCOLS.iter().map(|protocol| number(2, Op::Ne, *protocol)))?,
    ];
    for kind in denied::SOCKET_TYPES {
        rules.push(rule([socket_type(*kind)])?);
    }
    Ok(rules)
}

/// The type shares its word with flags.
pub(super) fn socket_type(kind: libc::c_int) -> Condition {
    number(1, Op::MaskedEq(0xf), kind)
}

/// To itself only: exec does not change the process id.
fn signals(rules: &mut Rules, landlock_abi: u32) -> Result<(), BackendError> {
    let own = std::process::id() as i32;
    for call in [libc::SYS_kill, libc::SYS_tgkill, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo] {
        rules.insert(call, vec![rule([number(0, Op::Ne, own)])?]);
    }
    // It names a thread without its process. musl signals its own threads so, where landlock keeps it to
    // them.
    if landlock_abi < inspect::SIGNAL_SCOPE_ABI {
        rules.insert(libc::SYS_tkill, Vec::new());
    }
    Ok(())
}

/// Threads, and nothing that concerns others.
fn processes(rules: &mut Rules, ExecKey(key): &ExecKey) -> Result<(), BackendError> {
    let own = std::process::id() as i32;
    let mut clone = vec![rule([number(0, Op::MaskedEq(libc::CLONE_THREAD as u64), 0)])?];
    for flag in denied::CLONE_FLAGS {
        clone.push(rule([number(0, Op::MaskedEq(*flag as u32 as u64), *flag)])?);
    }
    rules.insert(libc::SYS_clone, clone);
    let wrong = |(index, word): (u8, &u64)| {
        SeccompCondition::new(index, Width::Qword, Op::Ne, *word).and_then(|it| rule([Ok(it)]))
    };
    rules.insert(libc::SYS_execve, (3..).zip(key).map(wrong).collect::<Result<_, _>>()?);
    rules.insert(libc::SYS_prlimit64, vec![rule([number(0, Op::Ne, 0), number(0, Op::Ne, own)])?]);
    for call in [
        libc::SYS_sched_setparam,
        libc::SYS_sched_setscheduler,
        libc::SYS_sched_setattr,
        libc::SYS_sched_setaffinity,
    ] {
        rules.insert(call, vec![rule([number(0, Op::Ne, 0)])?]);
    }
    // The first argument says of what kind the second is: a process, a group, a user.
    let itself = |kind: i32| Ok(vec![rule([number(0, Op::Ne, kind)])?, rule([number(1, Op::Ne, 0)])?]);
    rules.insert(libc::SYS_setpriority, itself(libc::PRIO_PROCESS as i32)?);
    rules.insert(libc::SYS_ioprio_set, itself(1)?);
    let options = denied::PRCTL_OPTIONS.iter().map(|option| rule([number(0, Op::Eq, *option)]));
    rules.insert(libc::SYS_prctl, options.collect::<Result<_, _>>()?);
    // All ones only ask.
    rules.insert(libc::SYS_personality, vec![rule([number(0, Op::Ne, -1)])?]);
    Ok(())
}

/// Emptying a file takes no more than the right to read it, as far as old landlocks go.
fn files(rules: &mut Rules) -> Result<(), BackendError> {
    for (call, flags) in [(libc::SYS_open, 1), (libc::SYS_openat, 2)] {
        rules.insert(call, vec![rule([number(flags, Op::MaskedEq(libc::O_TRUNC as u64), libc::O_TRUNC)])?]);
    }
    let commands = denied::FCNTL_COMMANDS.iter().map(|command| rule([number(1, Op::Eq, *command)]));
    rules.insert(libc::SYS_fcntl, commands.collect::<Result<_, _>>()?);
    let single = denied::IOCTLS.iter().map(|request| number(1, Op::Eq, *request as i32));
    let kinds = denied::IOCTL_KINDS.iter().map(|kind| number(1, Op::MaskedEq(0xff00), i32::from(*kind) << 8));
    let ioctls = single.chain(kinds).map(|condition| rule([condition]));
    rules.insert(libc::SYS_ioctl, ioctls.collect::<Result<_, _>>()?);
    Ok(())
}

/// All of these at once.
pub(super) fn rule(conditions: impl IntoIterator<Item = Condition>) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.into_iter().collect::<Result<_, _>>()?)
}

/// The kernel takes these arguments for 32 bits wide. Whoever compared all 64 could be lied to in the rest.
pub(super) fn number(argument: u8, operator: Op, value: i32) -> Condition {
    SeccompCondition::new(argument, Width::Dword, operator, u64::from(value as u32))
}

/// What seccompiler has no words for: ranges of calls, and another answer to some.
pub(super) fn unknown_calls() -> BpfProgram {
    let statement = |code: u32, k: u32| sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let jump = |code: u32, k: u32, jt: u8| sock_filter {
        code: (libc::BPF_JMP | code | libc::BPF_K) as u16,
        jt,
        jf: 0,
        k,
    };
    let mut jumps = vec![(libc::BPF_JGE, denied::FIRST_UNKNOWN_CALL)];
    jumps.extend(denied::UNREADABLE_CALLS.iter().map(|call| (libc::BPF_JEQ, *call as u32)));
    // The call's number is the first word of what a filter sees.
    let mut program = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0)];
    let count = jumps.len();
    program.extend(
        jumps.into_iter().enumerate().map(|(index, (code, call))| jump(code, call, (count - index) as u8)),
    );
    program.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW));
    program.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32));
    program
}
