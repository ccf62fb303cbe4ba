//! Real commands over the exec frames.
#![allow(clippy::unwrap_used, reason = "clippy sees tests only in functions marked as such")]

mod host;

use std::sync::Arc;
use std::time::{Duration, Instant};

use banger_agent::exec::{ExecSessions, serve};
use banger_guest_protocol::frame::{ExecSpec, Frame, FrameCodec, STDIN_WINDOW, Signal, WindowSize};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use host::{Output, talk};
use tokio::io::DuplexStream;
use tokio_util::codec::Framed;

const SIZE: Option<WindowSize> = Some(WindowSize { rows: 31, cols: 97 });

type Client = Framed<DuplexStream, FrameCodec>;

async fn start(spec: ExecSpec) -> (Client, Arc<ExecSessions>) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let sessions = Arc::new(ExecSessions::default());
    let counted = Arc::clone(&sessions);
    tokio::spawn(async move { serve(theirs, &counted, None).await });
    let mut client = Framed::new(ours, FrameCodec);
    client.send(Frame::Start(spec)).await.unwrap();
    (client, sessions)
}

fn shell(script: &str) -> ExecSpec {
    let argv = ["/bin/sh", "-c", script].map(Into::into).to_vec();
    ExecSpec { argv, workdir: Some("/".into()), ..ExecSpec::default() }
}

async fn run(spec: ExecSpec, input: &[u8]) -> Output {
    talk(start(spec).await.0, input).await.unwrap()
}

fn code(output: &Output) -> u8 {
    output.exit.as_ref().unwrap().code
}

/// Reads output until `text` was seen.
async fn expect(client: &mut Client, text: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(text) {
        match client.next().await.unwrap().unwrap() {
            Frame::Stdout(bytes) => seen += &String::from_utf8_lossy(&bytes),
            other => panic!("unexpected {other:?} after {seen:?}"),
        }
    }
    seen
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(8);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn streams_and_exit_code_are_kept_apart() {
    let output = run(shell("echo out; echo err >&2; exit 7"), b"").await;
    assert_eq!((&output.stdout[..], &output.stderr[..], code(&output)), (&b"out\n"[..], &b"err\n"[..], 7));
}

#[tokio::test]
async fn megabytes_come_back_identical() {
    let input: Vec<u8> = (0..20_000_003u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let output = run(shell("cat"), &input).await;
    assert!(output.stdout == input);
}

#[tokio::test]
async fn a_command_that_reads_nothing_keeps_nobody_waiting() {
    let output = run(shell("exec <&-; sleep 0.1; echo done"), &vec![1; 3_000_000]).await;
    assert_eq!(output.stdout, b"done\n");
}

#[tokio::test]
async fn signals_get_through_unread_input() {
    let (mut client, _) =
        start(shell("trap 'echo got; exit 3' INT; echo ready; while :; do sleep 0.05; done")).await;
    expect(&mut client, "ready").await;
    for _ in 0..4 {
        client.send(Frame::Stdin(Bytes::from(vec![0; STDIN_WINDOW / 4]))).await.unwrap();
    }
    client.send(Frame::Signal(Signal::Int)).await.unwrap();
    let output = talk(client, b"").await.unwrap();
    assert_eq!((&output.stdout[..], code(&output)), (&b"got\n"[..], 3));
}

#[tokio::test]
async fn more_input_than_allowed_ends_the_command() {
    let (mut client, _) = start(shell("echo $$; exec sleep 100")).await;
    let pid = expect(&mut client, "\n").await.trim().to_owned();
    // The pipe takes some of it, so more than the window alone.
    for _ in 0..200 {
        if client.send(Frame::Stdin(Bytes::from(vec![0; 64 * 1024]))).await.is_err() {
            break;
        }
    }
    eventually("the command is ended", || !alive(&pid)).await;
}

#[tokio::test]
async fn a_terminal_has_a_size_and_follows_resizes() {
    let (mut client, _) = start(ExecSpec {
        tty: SIZE,
        ..shell("stty size; read line; stty size; test -t 2 && echo tty; exit 4")
    })
    .await;
    expect(&mut client, "31 97").await;
    client.send(Frame::Resize(WindowSize { rows: 40, cols: 120 })).await.unwrap();
    client.send(Frame::Stdin(Bytes::from_static(b"\n"))).await.unwrap();
    let output = talk(client, b"").await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("40 120") && text.contains("tty"), "{text:?}");
    assert_eq!((code(&output), output.stderr.len()), (4, 0));
}

#[tokio::test]
async fn control_c_reaches_the_terminals_foreground() {
    let (mut client, _) = start(ExecSpec { tty: SIZE, ..shell("echo ready; exec sleep 100") }).await;
    expect(&mut client, "ready").await;
    client.send(Frame::Stdin(Bytes::from_static(b"\x03"))).await.unwrap();
    assert_eq!(code(&talk(client, b"").await.unwrap()), 130);
}

#[tokio::test]
async fn a_terminals_input_ends_for_everybody_who_reads_it() {
    for (script, input) in [
        ("cat; echo over", &b"line\n"[..]),
        ("cat; echo over", b"no line end"),
        ("cat; echo over", b""),
        ("cat; cat; read x; sleep 0.3; cat; echo over", b"two\nlines"),
        ("read a; read b; echo over", b"x"),
        ("sleep 0.5; cat; echo over", b"late"),
    ] {
        let output = run(ExecSpec { tty: SIZE, ..shell(script) }, input).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("over"), "{script}: {text:?}");
        assert!(text.contains(&*String::from_utf8_lossy(input).replace('\n', "\r\n")), "{script}: {text:?}");
    }
}

#[tokio::test]
async fn a_shell_that_reads_keys_ends_with_its_input() {
    let argv = ["/bin/bash", "--norc", "-i"].map(Into::into).to_vec();
    let spec = ExecSpec { argv, workdir: Some("/".into()), tty: SIZE, ..ExecSpec::default() };
    for input in ["echo $((40 + 2))\n", "echo $((40 + 2))", "echo one\nsleep 0.3; echo $((40 + 2))", ""] {
        let output = run(spec.clone(), input.as_bytes()).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(input.is_empty() || text.contains("42"), "{input:?}: {text}");
    }
}

#[tokio::test]
async fn a_program_that_knows_no_end_of_its_keys_is_hung_up_on_when_it_is_silent() {
    let script = "stty -icanon -echo; trap 'echo hung up; exit 7' HUP; for i in 1 2 3; do sleep 0.1; echo $i; done; cat";
    let output = run(ExecSpec { tty: SIZE, ..shell(script) }, b"half").await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(code(&output) == 7 && text.contains("half") && text.contains("hung up"), "{text}");
}

#[tokio::test]
async fn one_pipe_keeps_the_order_of_both_outputs() {
    let script = "for i in 1 2 3 4 5 6 7 8 9; do echo out $i; echo err $i >&2; done";
    let output = run(ExecSpec { merge_output: true, ..shell(script) }, b"").await;
    let expected: String = (1..10).map(|i| format!("out {i}\nerr {i}\n")).collect();
    assert_eq!((String::from_utf8_lossy(&output.stdout).into_owned(), output.stderr.len()), (expected, 0));
}

#[tokio::test]
async fn a_reader_that_went_away_is_the_commands_to_deal_with() {
    for (merge_output, closed) in
        [(false, Frame::Stdout as fn(Bytes) -> Frame), (true, Frame::Stdout), (false, Frame::Stderr)]
    {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("code");
        let to = if closed(Bytes::new()) == Frame::Stderr(Bytes::new()) { ">&2" } else { "" };
        let script = format!("read x; yes {to}; echo $? >{}; exit 3", file.display());
        let (mut client, _) = start(ExecSpec { merge_output, ..shell(&script) }).await;
        client.send(closed(Bytes::new())).await.unwrap();
        let output = talk(client, b"go\n").await.unwrap();
        assert_eq!(code(&output), 3);
        assert_eq!(std::fs::read_to_string(file).unwrap().trim(), "141");
    }
}

/// The process that a command left behind, and named on stderr.
fn leftover(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

fn kill(pid: &str) {
    let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_background_child_does_not_hold_the_exit_back() {
    for job in ["sleep 30", "yes", "setsid yes", "yes | cat"] {
        let began = Instant::now();
        let output = run(shell(&format!("{job} & echo $! >&2; echo said")), b"").await;
        assert!(began.elapsed() < Duration::from_secs(10), "{job}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("said"), "{job}");
        let pid = leftover(&output);
        assert!(alive(&pid), "{job}: it was started to stay");
        kill(&pid);
    }
}

#[tokio::test]
async fn what_is_left_behind_can_go_on_talking() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("told");
    let megabytes = "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2";
    for merge_output in [false, true] {
        let script = format!(
            "(sleep 0.4; {megabytes}; echo more && echo more >&2 && echo ok >>{0}) &",
            file.display()
        );
        run(ExecSpec { merge_output, ..shell(&script) }, b"").await;
    }
    let written = || std::fs::read_to_string(&file).unwrap_or_default();
    eventually("both said it all", || written() == "ok\nok\n").await;
}

#[tokio::test]
async fn what_helpers_write_at_once_still_comes() {
    let argv = ["/bin/bash", "-c", "seq 20000 > >(cat; echo last)"].map(Into::into).to_vec();
    let output = run(ExecSpec { argv, workdir: Some("/".into()), ..ExecSpec::default() }, b"").await;
    assert!(output.stdout.ends_with(b"20000\nlast\n"), "{} bytes", output.stdout.len());
}

#[tokio::test]
async fn a_command_that_is_ended_may_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tidy");
    let script = format!(
        "trap 'echo bye; echo bye >&2; echo tidy >{}; exit' HUP; echo $$; sleep 100 & wait",
        file.display()
    );
    let (mut client, _) = start(shell(&script)).await;
    expect(&mut client, "\n").await;
    drop(client);
    eventually("it tidied up", || std::fs::read_to_string(&file).is_ok_and(|text| text == "tidy\n")).await;
}

#[tokio::test]
async fn a_signal_is_answered() {
    let (mut client, _) = start(shell("trap '' TERM; echo ready; sleep 100")).await;
    expect(&mut client, "ready").await;
    client.send(Frame::Signal(Signal::Term)).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), Frame::Credit(0));
}

#[tokio::test]
async fn a_command_starts_with_clean_signals_and_usual_limits() {
    let output = run(shell("grep -E '^Sig(Blk|Ign):' /proc/self/status; ulimit -Sn"), b"").await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mask = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    };
    const PIPE: u64 = 1 << 12;
    assert_eq!((mask("SigBlk:"), mask("SigIgn:") & PIPE), (0, 0), "{text}");
    assert!(text.lines().last().unwrap().parse::<u64>().unwrap() <= 1024, "{text}");
}

#[tokio::test]
async fn late_output_of_a_slow_client_is_not_lost() {
    let (client, _) = start(shell("head -c 900000 /dev/zero")).await;
    // Longer than a command's helpers may still write.
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(talk(client, b"").await.unwrap().stdout.len(), 900_000);
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_command_along() {
    for tty in [None, SIZE] {
        // Deaf to all but SIGKILL, and with a child.
        let script = "trap '' HUP TERM; sleep 100 & echo $$ $! end; while :; do sleep 1; done";
        let (mut client, sessions) = start(ExecSpec { tty, ..shell(script) }).await;
        let seen = expect(&mut client, "end").await;
        let pids: Vec<&str> = seen.split_whitespace().take(2).collect();
        assert!(alive(pids[0]) && alive(pids[1]) && sessions.count() == 1);
        drop(client);
        eventually("both are gone", || !alive(pids[0]) && !alive(pids[1])).await;
        eventually("the session is over", || sessions.count() == 0).await;
    }
}

#[tokio::test]
async fn a_shutdown_ends_commands_and_says_how() {
    let (mut client, sessions) = start(shell("echo ready; exec sleep 100")).await;
    expect(&mut client, "ready").await;
    sessions.end_all();
    assert_eq!(code(&talk(client, b"").await.unwrap()), 128 + 1);
    assert_eq!(sessions.count(), 0);
}

#[tokio::test]
async fn what_cannot_be_started_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("script");
    std::fs::write(&script, "#!/bin/sh\r\necho hi\r\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let script = script.to_str().unwrap().to_owned();
    let argv = |name: &str| ExecSpec { argv: vec![name.into()], ..ExecSpec::default() };
    for (spec, expected, text) in [
        (argv("no-such-program"), 127, "no-such-program"),
        (argv("/etc/passwd"), 126, "not executable"),
        (argv(&script), 127, "Windows line ends"),
        (ExecSpec { workdir: Some("/no/dir".into()), ..argv("true") }, 126, "/no/dir"),
        (ExecSpec { env: vec![("A=B".into(), "".into())], ..argv("true") }, 126, "A=B"),
    ] {
        let exit = run(spec, b"").await.exit.unwrap();
        assert_eq!(exit.code, expected);
        assert!(exit.error.as_ref().unwrap().contains(text), "{exit:?}");
    }
}

#[tokio::test]
async fn the_environment_is_the_guests_own() {
    let spec = ExecSpec { env: vec![("EXTRA".into(), "1".into())], ..shell("env") };
    let output = run(spec, b"").await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in ["EXTRA=1", "USER=root", "LANG=C.UTF-8"] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    assert!(!text.contains("CARGO"), "{text}");
}
