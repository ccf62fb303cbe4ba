//! What banger does with the streams it was given, whatever they are.

use std::time::{Duration, Instant};

use crate::commands::two_vms;
use crate::fake::Daemon;
use crate::program::{Finished, banger, program, signal};

/// Runs `banger ARGS` in a script that knows it as `"$@"`.
fn script(daemon: &Daemon, script: &str, args: &[&str]) -> Finished {
    let words = [&["-c", script, "sh", env!("CARGO_BIN_EXE_banger")], args].concat();
    program("/bin/sh".as_ref(), daemon.runtime_dir.path(), &words).finish()
}

#[test]
fn output_that_cannot_be_written_is_told() {
    let daemon = Daemon::start(two_vms());
    for (redirection, why) in [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")] {
        for (args, code) in [
            (&["version"][..], 1),
            (&["version", "--json"], 1),
            (&["--version"], 1),
            (&["--help"], 1),
            (&["completion", "bash"], 1),
            (&["ps"], 1),
            (&["vm", "list", "--json"], 1),
            (&["vm", "logs", "one"], 1),
            (&["exec", "--help"], 125),
            (&["exec", "one", "--", "both"], 125),
            (&["exec", "one", "--", "yes"], 125),
            (&["run", "--rm", "--", "both"], 125),
        ] {
            let done = script(&daemon, &format!("\"$@\" {redirection}"), args);
            assert_eq!(done.code, code, "{args:?} {redirection}: {done:?}");
            assert!(done.stderr.contains("could not write to stdout\n"), "{args:?} {redirection}: {done:?}");
            assert!(done.stderr.contains(why), "{args:?} {redirection}: {done:?}");
        }
    }
    let done = script(&daemon, "\"$@\" 2>/dev/full", &["exec", "one", "--", "both"]);
    assert_eq!((done.code, done.stdout.as_str()), (125, "out\n"));
    let done = script(&daemon, "\"$@\" 2>&-", &["exec", "one", "--", "both"]);
    assert_eq!((done.code, done.stdout.as_str()), (7, "out\n"), "who closed stderr wants to hear nothing");
    let done = script(&daemon, "\"$@\" >&-", &["vm", "logs", "none"]);
    assert_eq!((done.code, done.stdout.as_str()), (3, ""));
}

#[test]
fn a_limit_of_file_sizes_is_an_error_like_others() {
    let daemon = Daemon::start(two_vms());
    let limited = "ulimit -f 4; \"$@\" >\"$HOME/file\"";
    for (args, code) in [(&["exec", "one", "--", "yes"][..], 125), (&["completion", "bash"], 1)] {
        let done = script(&daemon, limited, args);
        assert_eq!(done.code, code, "{done:?}");
        assert!(done.stderr.contains("File too large"), "{done:?}");
    }
}

#[test]
fn readers_that_saw_enough_are_no_error() {
    let daemon = Daemon::start(two_vms());
    let done = script(&daemon, "{ \"$@\"; echo $? >&2; } | true", &["exec", "one", "--", "yes"]);
    assert_eq!(done.stderr, "3\n");
    let done = script(&daemon, "{ sleep 0.3; \"$@\"; echo $? >&2; } | true", &["ps"]);
    assert_eq!(done.stderr, "141\n");
}

#[test]
fn one_file_for_both_outputs_is_one_pipe_for_the_command() {
    let daemon = Daemon::start(two_vms());
    let merged = |redirection: &str| {
        let done = script(&daemon, &format!("\"$@\" {redirection}"), &["exec", "one", "--", "merged"]);
        done.stdout
    };
    assert_eq!(merged(""), "false\n");
    assert_eq!(merged("2>&1"), "true\n");
    assert_eq!(merged("2>/dev/null"), "false\n");
    assert_eq!(merged(">$HOME/both 2>&1; cat $HOME/both"), "true\n");
}

#[test]
fn stdin_is_read_left_alone_or_told() {
    let daemon = Daemon::start(two_vms());
    let in_loop = |flag: &str| {
        let loop_of_two = "printf '1\\n2\\n' | while read n; do echo $n; \"$@\"; done";
        script(&daemon, loop_of_two, &["exec", flag, "one", "--", "cat"]).stdout
    };
    assert_eq!(in_loop("--no-tty"), "1\n2\n", "cat has the rest");
    let counted = "printf '1\\n2\\n' | while read n; do echo $n; \"$@\" | wc -c; done";
    let of = |flag| script(&daemon, counted, &["exec", flag, "one", "--", "cat"]).stdout.replace(' ', "");
    assert_eq!(of("--no-tty"), "1\n2\n", "the loop has lost its second line");
    assert_eq!(of("-n"), "1\n0\n2\n0\n");

    let done = script(&daemon, "\"$@\" </", &["exec", "one", "--", "cat"]);
    assert_eq!(done.code, 125);
    assert!(done.stderr.contains("could not read stdin\n") && done.stderr.contains("directory"), "{done:?}");
    // What cannot be read at all is what `nohup` gives its commands.
    assert_eq!(script(&daemon, "\"$@\" 0>/dev/null", &["exec", "one", "--", "cat"]).code, 0);
}

#[test]
fn a_signal_ends_it_though_the_guest_gives_no_sign_of_life() {
    let daemon = Daemon::start(two_vms());
    for number in [1, 2, 3, 15] {
        daemon.world.lock().unwrap().log.clear();
        let running = banger(&daemon, &["exec", "one", "--", "deaf"]).start();
        daemon.wait_for("the command", |world| world.log.iter().any(|line| line == "deaf ready"));
        let began = Instant::now();
        signal(&running, number);
        assert_eq!(running.finish().code, 128 + number);
        assert!(began.elapsed() >= Duration::from_secs(1), "the command had no time for it");
    }
}
