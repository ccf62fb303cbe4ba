use std::time::{Duration, Instant};

use super::*;
use crate::tool_output::LINE_MAX_LEN;

fn sh(script: &str) -> Command {
    Command::new("sh").arg("-c").arg(script)
}

#[tokio::test]
async fn streams_and_input_are_kept_apart() {
    let output = sh("cat; echo oops >&2").stdin(b"a\0b".to_vec()).run().await.unwrap();
    assert_eq!(output, Output { code: 0, stdout: b"a\0b".to_vec(), stderr: b"oops\n".to_vec() });
}

#[tokio::test]
async fn input_larger_than_a_pipe_does_not_deadlock() {
    let input = vec![b'x'; 3 << 20];
    let output = Command::new("cat").stdin(input.clone()).run().await.unwrap();
    assert_eq!(output.stdout, input);
}

#[tokio::test]
async fn a_failure_tells_argv_status_and_stderr() {
    let error = sh("echo 'no such thing' >&2; exit 3").run().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "`sh -c 'echo '\\''no such thing'\\'' >&2; exit 3'` failed (exit status: 3): no such thing"
    );
}

#[tokio::test]
async fn other_codes_can_be_success() {
    assert_eq!(sh("exit 1").ok_codes(&[0, 1]).run().await.unwrap().code, 1);
}

#[tokio::test]
async fn a_missing_tool_names_its_package() {
    let error = Command::new("/nonexistent/mke2fs").run().await.unwrap_err();
    assert_eq!(error.to_string(), "/nonexistent/mke2fs is not installed (Debian package e2fsprogs)");
}

#[tokio::test]
async fn lines_arrive_one_by_one() {
    let mut seen = Vec::new();
    let script = "printf 'one\\ntwo\\rthree'; printf 'x%.0s' $(seq 1 5000) >&2";
    sh(script).run_streaming(|stream, line| seen.push((stream, line.to_owned()))).await.unwrap();
    let stdout: Vec<_> =
        seen.iter().filter(|(s, _)| *s == OutputStream::Stdout).map(|(_, l)| l.as_str()).collect();
    assert_eq!(stdout, ["one", "two", "three"]);
    assert!(seen.contains(&(OutputStream::Stderr, "x".repeat(LINE_MAX_LEN))));
}

#[tokio::test]
async fn dropping_the_future_kills_the_whole_group() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let script = format!("sleep 600 & echo $! $$ > {p}.new; mv {p}.new {p}; wait", p = pids.display());
    let run = tokio::time::timeout(Duration::from_secs(20), async {
        let wait_for_pids = async {
            while !pids.exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! { _ = sh(&script).run() => panic!("ended by itself"), () = wait_for_pids => {} }
    });
    run.await.unwrap();
    let text = std::fs::read_to_string(&pids).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    for pid in text.split_whitespace() {
        // Gone, or a zombie that its new parent has yet to reap.
        let dead = || {
            std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
        };
        while !dead() {
            assert!(Instant::now() < deadline, "process {pid} survived");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn who_holds_the_output_of_an_ended_tool_does_not_hold_us() {
    let start = Instant::now();
    let error = sh("echo why >&2; sleep 600 & exit 3").run().await.unwrap_err();
    assert!(error.to_string().ends_with("(exit status: 3): why"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(60));
    // What it leaves behind may still finish what it has to say.
    let output = sh("(sleep 0.2; echo late) & echo early").run().await.unwrap();
    assert_eq!(output.stdout, b"early\nlate\n");
}
