//! Conversations with a guest at the other end of a pipe in memory.

use tokio::io::DuplexStream;
use tokio::sync::mpsc::error::TryRecvError;
use tokio_util::codec::Framed;

use super::*;

struct Client {
    stdin: mpsc::Sender<Bytes>,
    control: mpsc::Sender<Control>,
    stdout: mpsc::Receiver<Bytes>,
    stderr: mpsc::Receiver<Bytes>,
}

type Guest = Framed<DuplexStream, FrameCodec>;

/// Runs `play` against a conversation until both are over, with a stream that holds at most `buffer` bytes.
fn play<P: Future<Output = ()>>(
    buffer: usize,
    play: impl FnOnce(Guest, Client) -> P,
) -> Result<Ending, SessionError> {
    play_with(ExecSpec::default(), buffer, play)
}

fn play_with<P: Future<Output = ()>>(
    spec: ExecSpec,
    buffer: usize,
    play: impl FnOnce(Guest, Client) -> P,
) -> Result<Ending, SessionError> {
    let (ours, theirs) = tokio::io::duplex(buffer);
    let (stdin, stdin_port) = mpsc::channel(1);
    let (control, control_port) = mpsc::channel(4);
    let (stdout_port, stdout) = mpsc::channel(4);
    let (stderr_port, stderr) = mpsc::channel(4);
    let ports = Ports { stdin: stdin_port, control: control_port, stdout: stdout_port, stderr: stderr_port };
    let guest = play(Framed::new(theirs, FrameCodec), Client { stdin, control, stdout, stderr });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let heard = Heard::default();
    let conversation = converse(ours, spec, ports, &heard);
    let both = async { tokio::join!(conversation, guest).0 };
    runtime.block_on(async { tokio::time::timeout(std::time::Duration::from_secs(20), both).await }).unwrap()
}

async fn frame(guest: &mut Guest) -> Frame {
    guest.next().await.unwrap().unwrap()
}

async fn exit(guest: &mut Guest, code: u8) {
    guest.send(Frame::Exit(Exit { code, error: None })).await.unwrap();
}

#[test]
fn streams_stay_apart_and_the_code_comes_through() {
    let ending = play(1 << 16, |mut guest, mut client| async move {
        assert_eq!(frame(&mut guest).await, Frame::Start(ExecSpec::default()));
        guest.send(Frame::Stdout("out".into())).await.unwrap();
        guest.send(Frame::Stderr("err".into())).await.unwrap();
        exit(&mut guest, 7).await;
        assert_eq!(client.stdout.recv().await.unwrap(), "out");
        assert_eq!(client.stderr.recv().await.unwrap(), "err");
    });
    assert_eq!(ending.unwrap(), Ending::Exit(Exit { code: 7, error: None }));
}

#[test]
fn a_command_that_reads_nothing_is_sent_one_window_and_still_gets_signals() {
    let ending = play(1 << 20, |mut guest, client| async move {
        frame(&mut guest).await;
        let feeding = async { while client.stdin.send(Bytes::from(vec![1; 50_000])).await.is_ok() {} };
        let checking = async {
            let mut sent = 0;
            while sent < STDIN_WINDOW {
                let Frame::Stdin(bytes) = frame(&mut guest).await else { panic!("not stdin") };
                sent += bytes.len();
            }
            assert_eq!(sent, STDIN_WINDOW);
            client.control.send(Control::Signal(Signal::Int)).await.unwrap();
            assert_eq!(frame(&mut guest).await, Frame::Signal(Signal::Int));
            guest.send(Frame::Credit(3)).await.unwrap();
            assert!(matches!(frame(&mut guest).await, Frame::Stdin(bytes) if bytes.len() == 3));
            exit(&mut guest, 0).await;
        };
        tokio::join!(feeding, checking);
    });
    assert!(ending.is_ok());
}

#[test]
fn an_echo_larger_than_every_buffer_does_not_lock_up() {
    const TOTAL: usize = 8 << 20;
    let ending = play(1000, |mut guest, mut client| async move {
        frame(&mut guest).await;
        let feeding = async {
            for round in 0..TOTAL / PAYLOAD_MAX_LEN {
                client.stdin.send(Bytes::from(vec![round as u8; PAYLOAD_MAX_LEN])).await.unwrap();
            }
            client.stdin.send(Bytes::new()).await.unwrap();
        };
        let echoing = async {
            loop {
                match frame(&mut guest).await {
                    Frame::Stdin(bytes) if bytes.is_empty() => break,
                    Frame::Stdin(bytes) => {
                        guest.send(Frame::Credit(bytes.len() as u32)).await.unwrap();
                        guest.send(Frame::Stdout(bytes)).await.unwrap();
                    }
                    other => panic!("{other:?}"),
                }
            }
            exit(&mut guest, 0).await;
        };
        let reading = async {
            let mut at = 0;
            while let Some(bytes) = client.stdout.recv().await {
                for byte in bytes {
                    assert_eq!(byte, (at / PAYLOAD_MAX_LEN) as u8);
                    at += 1;
                }
            }
            at
        };
        assert_eq!(tokio::join!(feeding, echoing, reading).2, TOTAL);
    });
    assert!(ending.is_ok());
}

#[test]
fn closed_channels_mean_end_of_input_and_no_more() {
    let ending = play(1 << 16, |mut guest, client| async move {
        let Client { stdin, control, stdout: _stdout, mut stderr } = client;
        drop((stdin, control));
        frame(&mut guest).await;
        assert_eq!(frame(&mut guest).await, Frame::Stdin(Bytes::new()));
        assert_eq!(stderr.try_recv(), Err(TryRecvError::Empty));
        exit(&mut guest, 0).await;
    });
    assert!(ending.is_ok());
}

#[test]
fn credit_beyond_what_was_sent_buys_nothing() {
    let ending = play(1 << 20, |mut guest, client| async move {
        frame(&mut guest).await;
        for _ in 0..3 {
            guest.send(Frame::Credit(u32::MAX)).await.unwrap();
        }
        guest.send(Frame::Stderr("heard".into())).await.unwrap();
        let mut client = client;
        client.stderr.recv().await.unwrap();
        let feeding =
            async { while client.stdin.send(Bytes::from(vec![1; PAYLOAD_MAX_LEN])).await.is_ok() {} };
        let checking = async {
            let mut sent = 0;
            while let Ok(Some(Ok(Frame::Stdin(bytes)))) =
                tokio::time::timeout(std::time::Duration::from_millis(200), guest.next()).await
            {
                sent += bytes.len();
            }
            assert_eq!(sent, STDIN_WINDOW);
            exit(&mut guest, 0).await;
        };
        tokio::join!(feeding, checking);
    });
    assert!(ending.is_ok());
}

/// Says something that nobody reads, and answers what the client says to that.
async fn say_to_nobody(mut guest: Guest, client: Client, says: fn(Bytes) -> Frame) -> (Guest, Frame) {
    let Client { stdin: _stdin, control: _control, stdout, stderr } = client;
    drop((stdout, stderr));
    frame(&mut guest).await;
    for _ in 0..3 {
        guest.send(says("x".into())).await.unwrap();
    }
    let outcome = loop {
        match frame(&mut guest).await {
            Frame::Stdin(end) => assert!(end.is_empty()),
            outcome => break outcome,
        }
    };
    (guest, outcome)
}

#[test]
fn a_command_learns_that_nobody_reads_it_and_ends_as_it_likes() {
    for says in [Frame::Stdout as fn(Bytes) -> Frame, Frame::Stderr] {
        let ending = play(1 << 16, |guest, client| async move {
            let (mut guest, outcome) = say_to_nobody(guest, client, says).await;
            assert_eq!(outcome, says(Bytes::new()));
            guest.send(says("still there".into())).await.unwrap();
            exit(&mut guest, 3).await;
        });
        assert_eq!(ending.unwrap(), Ending::Exit(Exit { code: 3, error: None }));
    }
}

#[test]
fn a_guest_that_ends_a_command_that_nobody_reads_is_no_error() {
    let ending = play(1 << 16, |guest, client| async move {
        drop(say_to_nobody(guest, client, Frame::Stdout).await);
    });
    assert_eq!(ending.unwrap(), Ending::OutputClosed);
}

#[test]
fn a_terminal_that_nobody_looks_at_is_hung_up_on() {
    let spec = ExecSpec { tty: Some(WindowSize { rows: 1, cols: 1 }), ..ExecSpec::default() };
    let ending = play_with(spec, 1 << 16, |mut guest, client| async move {
        let Client { stdin: _stdin, control: _control, stdout, stderr: _stderr } = client;
        drop(stdout);
        frame(&mut guest).await;
        guest.send(Frame::Stdout("x".into())).await.unwrap();
    });
    assert_eq!(ending.unwrap(), Ending::OutputClosed);
}

#[test]
fn a_lost_guest_and_a_babbling_one_are_errors() {
    let lost = play(1 << 16, |mut guest, client| async move {
        frame(&mut guest).await;
        drop((guest, client));
    });
    assert!(matches!(lost, Err(SessionError::Ended | SessionError::Stream(_))), "{lost:?}");
    let babbling = play(1 << 16, |mut guest, _client| async move {
        frame(&mut guest).await;
        guest.send(Frame::Signal(Signal::Hup)).await.unwrap();
    });
    assert!(matches!(babbling, Err(SessionError::Unexpected)), "{babbling:?}");
}
