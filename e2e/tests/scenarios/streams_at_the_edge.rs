use std::time::Duration;

use e2e::{Home, until};
use rustix::process::Signal;

/// `banger exec x -- sh -c COMMAND` in a shell script of the host's that knows it as `"$@"`.
fn on_host(home: &Home, script: &str, flags: &str, command: &str) -> e2e::Finished {
    let banger = home.programs().path("banger");
    let run = home.program("/bin/sh").args(["-c", script, "sh"]).args([banger]).args(["exec"]);
    run.args(flags.split_whitespace()).args(["x", "--", "sh", "-c", command]).output()
}

#[test]
fn commands_end_cleanly_whatever_is_around_them() {
    let home = Home::new();
    home.boot("x");

    leftovers_go_on(&home);

    let last_words = |input: &str, script: &str| {
        let done = home.banger("exec -t x").sh(script).stdin(input).ok();
        assert!(done.text().contains("over"), "{done}");
    };
    last_words("no line end", "cat; echo over");
    last_words("one", "cat; cat; echo over");

    let both = "for i in 1 2 3 4 5; do echo out $i; echo err $i >&2; done";
    let in_order: Vec<String> = (1..6).flat_map(|i| [format!("out {i}"), format!("err {i}")]).collect();
    let merged = on_host(&home, "\"$@\" 2>&1", "", both);
    assert_eq!(merged.text().lines().collect::<Vec<_>>(), in_order, "{merged}");

    let lines = on_host(&home, "printf 'a\\nb\\n' | while read l; do echo $l; \"$@\"; done", "-n", "cat");
    assert_eq!(lines.text(), "a\nb", "{lines}");

    let full = on_host(&home, "\"$@\" >/dev/full", "", "cat /dev/zero");
    assert_eq!(full.code, 125, "{full}");
    full.says("could not write to stdout").says("No space left on device");
    let seen_enough = on_host(&home, "{ \"$@\"; echo $? >&2; } | head -1", "", "yes; exit 3");
    assert_eq!((seen_enough.text().as_str(), seen_enough.err.trim()), ("y", "3"), "{seen_enough}");

    home.sh("x", "printf '#!/bin/sh\\r\\necho hi\\r\\n' >/tmp/script; chmod +x /tmp/script");
    home.banger("exec x -- /tmp/script").fails_with(127).says("/bin/sh\\r").says("Windows line ends");

    // `nohup` and a shell's `&` ignore signals; a command in the guest shall not.
    let signals = "grep -E '^Sig(Ign|Blk)' /proc/self/status; ulimit -Sn";
    let ignoring = on_host(&home, "trap '' HUP INT QUIT TERM PIPE; \"$@\"", "", signals);
    let text = ignoring.text();
    let masks = text.lines().filter_map(|line| line.split_once('\t'));
    let masks: Vec<u64> = masks.map(|(_, mask)| u64::from_str_radix(mask, 16).unwrap()).collect();
    // The C library keeps signals 32 and 33 to itself.
    assert_eq!(masks.iter().map(|mask| mask & 0x7FFF_FFFF).collect::<Vec<_>>(), [0, 0], "{ignoring}");
    assert_eq!(text.lines().last(), Some("1024"), "{ignoring}");

    signals_end_it_in_a_frozen_guest(&home);
}

fn leftovers_go_on(home: &Home) {
    for job in ["yes", "while :; do echo tick; sleep 0.1; done", "setsid yes"] {
        let done = home.banger("exec x").sh(&format!("({job}) & echo $!; echo said")).ok();
        assert!(done.text().ends_with("said") || done.text().contains("\nsaid\n"), "{job}: {done}");
        let pid = done.text().lines().next().unwrap().to_owned();
        home.sh("x", &format!("sleep 0.5; kill -0 {pid} && pkill -9 yes; kill -9 {pid} || true"));
    }
    home.sh("x", "(sleep 1; head -c 3000000 /dev/zero; echo x && echo alive >/tmp/alive) & true");
    let alive = || home.banger("exec x -- cat /tmp/alive").output().text() == "alive";
    until("the leftover has written on", Duration::from_secs(20), alive);
}

fn signals_end_it_in_a_frozen_guest(home: &Home) {
    let vmm = home.processes("qemu");
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)] {
        let mut running = home.banger("exec x").sh("echo started; exec sleep 1111").start();
        running.wait_for("started");
        vmm.iter().for_each(|process| process.signal(Signal::STOP));
        running.signal(signal);
        let ended = running.finish(Duration::from_secs(10));
        vmm.iter().for_each(|process| process.signal(Signal::CONT));
        assert_eq!(ended.code, code, "{ended}");
    }
    // What a frozen guest missed reaches it when it thaws.
    let gone = || home.sh("x", "ps -e -o comm= 2>/dev/null || cat /proc/[0-9]*/comm").contains("sleep");
    until("the commands have ended", Duration::from_secs(20), || !gone());
}
