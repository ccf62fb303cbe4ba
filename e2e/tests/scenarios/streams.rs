use std::time::Duration;

use e2e::{Home, until};
use rustix::process::Signal;

#[test]
fn run_keeps_streams_apart_and_passes_the_exit_code() {
    let home = Home::new();
    let run = home.banger("vm run --rm").sh("echo out; echo err >&2; exit 7").fails_with(7);
    assert_eq!(run.text(), "out", "{run}");
    assert!(run.err.lines().any(|line| line == "err"), "{run}");
    run.says("spec: 1 vcpu, 384 MiB, 256 MiB disk, debian-trixie-minimal, qemu");
    home.assert_no_residue();
}

#[test]
fn exec_behaves_like_a_local_command() {
    let home = Home::new();
    home.boot("x");
    let exec = || home.banger("exec x");

    assert_eq!(exec().sh("echo out; echo err >&2").ok().err, "err\n");
    exec().sh("kill -9 $$").fails_with(137);
    exec().sh("kill -TERM $$").fails_with(143);
    exec().args(["--", "no-such-command"]).fails_with(127).says("no-such-command");
    exec().args(["--", "/etc/passwd"]).fails_with(126).says("/etc/passwd");
    exec().args(["--", "false"]).fails_with(1);

    assert_eq!(exec().args(["--workdir", "/usr"]).sh("pwd").ok().text(), "/usr");
    exec().args(["--workdir", "/nowhere"]).sh("true").fails_with(126).says("/nowhere");
    let env = exec().args(["--env", "A=b c=d", "--env", "HERE"]).env("HERE", "value");
    assert_eq!(env.sh("echo \"$A|$HERE|$HOME|$USER\"").ok().text(), "b c=d|value|/root|root");

    assert_eq!(exec().sh("cat; echo end").ok().text(), "end", "no stdin is an empty one");
    let odd = b"a\0\xff\r\n\x03\x1b[2J".to_vec();
    assert_eq!(exec().args(["--", "cat"]).stdin(odd.clone()).ok().out, odd);
    exec().args(["--", "true"]).stdin(vec![0; 1 << 20]).ok();

    let many: Vec<_> = (0..8).map(|n| exec().sh(&format!("sleep 0.5; echo {n}")).start()).collect();
    for (n, running) in many.into_iter().enumerate() {
        assert_eq!(running.finish(Duration::from_secs(30)).text(), n.to_string());
    }
}

#[test]
fn a_hundred_megabytes_come_back_identical() {
    let home = Home::new();
    home.boot("x");
    let sent = noise(100_000_000);
    let back = home.banger("exec x -- cat").stdin(sent.clone()).ok();
    assert_eq!(back.out.len(), sent.len());
    assert!(back.out == sent, "the bytes differ");

    // A reader that has seen enough ends the command: in the guest, too.
    let mut pipe = home.program("/bin/sh");
    pipe = pipe.args(["-c", "$1 exec x -- cat /dev/zero | head -c 1000000 | wc -c", "sh"]);
    let pipe = pipe.args([home.programs().path("banger")]).ok();
    assert_eq!(pipe.text(), "1000000");
    until("cat has ended", Duration::from_secs(10), || !runs(&home, "cat"));
}

#[test]
fn a_lost_client_ends_its_command() {
    let home = Home::new();
    home.boot("x");
    let start = |script: &str| {
        let mut running = home.banger("exec x").sh(script).start();
        running.wait_for("started");
        running
    };

    let killed = start("echo started; sleep 1111; true");
    killed.signal(Signal::KILL);
    until("the command of a killed client has ended", Duration::from_secs(10), || !runs(&home, "sleep"));

    let busy = start("echo started; cat /dev/zero");
    busy.signal(Signal::KILL);
    until("the command of a killed client has ended", Duration::from_secs(10), || !runs(&home, "cat"));

    let trapping = start("trap 'echo caught; exit 3' INT; echo started; while :; do sleep 0.1; done");
    trapping.signal(Signal::INT);
    let trapped = trapping.finish(Duration::from_secs(20));
    assert_eq!((trapped.code, trapped.text().as_str()), (3, "started\ncaught"), "{trapped}");

    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129), (Signal::QUIT, 131)] {
        let running = start("echo started; exec sleep 1111");
        running.signal(signal);
        assert_eq!(running.finish(Duration::from_secs(20)).code, code, "{signal:?}");
    }
    assert_eq!(home.vm("x").state, banger_api::vm::VmState::Running);
}

/// Does a program of that name run in `x`?
fn runs(home: &Home, name: &str) -> bool {
    let script = format!(
        "for p in /proc/[0-9]*; do [ \"$(cat $p/comm)\" = {name} ] && [ $p != /proc/self ] && echo $p; done; true"
    );
    // The script's own `cat` may be among them: it is gone when it has been read.
    home.sh("x", &script)
        .lines()
        .any(|found| home.banger("exec x").sh(&format!("test -d {found}")).output().code == 0)
}

/// Bytes that look random, the same each time.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
