use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn spec(dir: &Path, script: &str) -> DetachedSpec {
    DetachedSpec {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into(), "banger-test-marker".into()],
        cwd: dir.to_owned(),
        env: vec![("ONLY".into(), "this".into())],
        stdin: None,
        stdout: open_log(&dir.join("out.log")).unwrap(),
        stderr: open_log(&dir.join("err.log")).unwrap(),
        passed: Vec::new(),
    }
}

#[tokio::test]
async fn a_detached_process_is_a_session_leader_with_nothing_of_ours() {
    let dir = tempfile::tempdir().unwrap();
    let script =
        "ls /proc/$$/fd; env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD=; cut -d' ' -f1,6 /proc/$$/stat";
    let handle = spawn_detached(spec(dir.path(), script)).unwrap();
    let status = handle.wait_exit().await.unwrap().unwrap();
    assert!(status.success());
    let pid = handle.identity().pid;
    // One more descriptor at most: the shell keeps its own copy of what it runs from.
    let out = std::fs::read_to_string(dir.path().join("out.log")).unwrap();
    assert_eq!(out, format!("0\n1\n2\nONLY=this\n{pid} {pid}\n"));
}

#[tokio::test]
async fn what_is_passed_on_keeps_its_number_and_no_core_is_dumped() {
    let dir = tempfile::tempdir().unwrap();
    let (read, write) = output_pipe().unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&write);
    let script = format!("echo passed > /proc/self/fd/{number}; ulimit -c");
    let passing = DetachedSpec { passed: vec![write], ..spec(dir.path(), &script) };
    assert!(spawn_detached(passing).unwrap().wait_exit().await.unwrap().unwrap().success());
    // Ours is closed, so this comes to an end.
    assert_eq!(io::read_to_string(std::fs::File::from(read)).unwrap(), "passed\n");
    assert_eq!(std::fs::read_to_string(dir.path().join("out.log")).unwrap(), "0\n");
}

#[tokio::test]
async fn a_process_is_found_by_its_directory_even_when_that_is_deleted() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("vm 1");
    std::fs::create_dir(&dir).unwrap();
    // No shell: a child of its would for a moment have the same arguments.
    let sleep = DetachedSpec {
        program: "/bin/sleep".into(),
        args: vec!["600".into(), "600.111".into()],
        ..spec(&dir, "")
    };
    let handle = spawn_detached(sleep).unwrap();
    assert!(handle.works_in(&dir) && !handle.works_in(parent.path()));
    let find = |marker| find_by_cwd_and_arg(parent.path(), marker).unwrap();
    // Its arguments are this test's until exec is through.
    let found = loop {
        let found = find("600.111");
        if !found.is_empty() {
            break found;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].identity, &found[0].cwd, found[0].cwd_deleted), (handle.identity(), &dir, false));
    assert_eq!(found[0].argv, ["/bin/sleep", "600", "600.111"]);
    assert!(find("another-marker").is_empty());
    std::fs::remove_dir_all(&dir).unwrap();
    let found = find("600.111");
    assert_eq!((&found[0].cwd, found[0].cwd_deleted), (&dir, true));
    assert!(handle.signal(Signal::KILL).unwrap());
    handle.wait_exit().await.unwrap();
}

#[tokio::test]
async fn several_can_wait_for_a_process_that_is_not_their_child() {
    let dir = tempfile::tempdir().unwrap();
    let mut own = spec(dir.path(), "");
    own.program = "/bin/sleep".into();
    own.args = vec!["600".into()];
    let own = spawn_detached(own).unwrap();
    let other = ProcessHandle::open(own.identity()).unwrap().unwrap();
    assert!(other.is_alive());
    assert!(other.usage().unwrap().is_some());
    let waiting = async { tokio::join!(other.wait_exit(), other.wait_exit()) };
    let kill = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(other.signal(Signal::TERM).unwrap());
    };
    let ((one, two), ()) = tokio::join!(waiting, kill);
    assert_eq!((one.unwrap(), two.unwrap()), (None, None));
    assert!(!other.is_alive());
    own.wait_exit().await.unwrap().unwrap();
    assert!(!other.signal(Signal::TERM).unwrap());
    assert!(ProcessHandle::open(own.identity()).unwrap().is_none());
    assert_eq!(other.usage().unwrap(), None);
}

#[test]
fn usage_grows_with_use() {
    let pid = std::process::id() as i32;
    let start_time_ticks = Stat::read(pid).unwrap().start_time_ticks;
    let own = ProcessHandle::open(ProcessIdentity { pid, start_time_ticks }).unwrap().unwrap();
    let before = own.usage().unwrap().unwrap();
    let memory = std::hint::black_box(vec![1_u8; 64 << 20]);
    let started = std::time::Instant::now();
    while started.elapsed() < Duration::from_millis(100) {}
    let after = own.usage().unwrap().unwrap();
    assert!(after.rss_bytes > before.rss_bytes + memory.len() as u64 / 2);
    assert!(after.cpu_time_ms > before.cpu_time_ms);
}

#[tokio::test]
async fn a_recycled_pid_is_not_taken_for_the_process() {
    let own = Stat::read(std::process::id() as i32).unwrap();
    let identity =
        ProcessIdentity { pid: std::process::id() as i32, start_time_ticks: own.start_time_ticks + 1 };
    assert!(ProcessHandle::open(identity).unwrap().is_none());
}

#[test]
fn a_missing_program_is_an_error_that_names_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _context = runtime.enter();
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec(dir.path(), "");
    spec.program = "/nonexistent/vmm".into();
    let error = spawn_detached(spec).unwrap_err();
    assert!(error.to_string().starts_with("could not start /nonexistent/vmm in "));
}

#[test]
fn a_name_with_parentheses_does_not_shift_the_fields() {
    let line =
        b"42 (a) b (c) S 1 42 42 0 -1 4194304 1 0 0 0 7 8 0 0 20 0 1 0 9999 1000 25 18446744073709551615";
    let stat = Stat::parse(line).unwrap();
    assert_eq!((stat.start_time_ticks, stat.cpu_time_ticks, stat.rss_pages), (9999, 15, 25));
}

proptest! {
    #[test]
    fn any_stat_line_is_parsed_or_refused(bytes: Vec<u8>) {
        let _ = Stat::parse(&bytes);
    }

    #[test]
    fn arguments_survive(argv in proptest::collection::vec("[^\0]{0,8}", 1..5)) {
        let bytes = format!("{}\0", argv.join("\0"));
        // A single empty argument cannot be told from no argument.
        prop_assume!(bytes != "\0");
        let expected: Vec<OsString> = argv.iter().map(OsString::from).collect();
        prop_assert_eq!(parse_cmdline(bytes.as_bytes()), expected);
    }
}
