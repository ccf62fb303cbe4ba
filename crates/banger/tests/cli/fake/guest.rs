//! The commands that the fake guest knows.

use banger_api::stream::{ExecSpec, Exit, Frame, FrameCodec};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::codec::Framed;

use super::Shared;

pub(crate) async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, world: Shared) {
    let mut frames = Framed::new(stream, FrameCodec);
    let Some(Ok(Frame::Start(spec))) = frames.next().await else { return };
    let words: Vec<String> =
        spec.argv.iter().map(|word| word.as_os_str().to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let exit = match words[..] {
        ["cat"] => cat(&mut frames).await,
        ["both"] => {
            let _ = frames.send(Frame::Stdout("out\n".into())).await;
            let _ = frames.send(Frame::Stderr("err\n".into())).await;
            code(7)
        }
        ["spec"] => {
            let _ = frames.send(Frame::Stdout(describe(&spec).into())).await;
            code(0)
        }
        ["merged"] => {
            let _ = frames.send(Frame::Stdout(format!("{}\n", spec.merge_output).into())).await;
            code(0)
        }
        ["yes"] => return yes(frames, &world, true).await,
        ["old-yes"] => return yes(frames, &world, false).await,
        ["deaf"] => {
            world.lock().unwrap().log.push("deaf ready".into());
            std::future::pending().await
        }
        ["trap"] => trap(&mut frames, &world).await,
        ["crash"] => return,
        _ => Exit { code: 127, error: Some("no such file or directory".into()) },
    };
    let _ = frames.send(Frame::Exit(exit)).await;
}

fn code(code: u8) -> Exit {
    Exit { code, error: None }
}

/// Goes on until it learns that nobody reads it, if it knows how that is told.
async fn yes(frames: Framed<impl AsyncRead + AsyncWrite, FrameCodec>, world: &Shared, knows: bool) {
    let (mut sink, mut stream) = frames.split();
    let received = async {
        loop {
            match stream.next().await {
                Some(Ok(Frame::Stdin(_))) => {}
                Some(Ok(Frame::Stdout(bytes))) => return knows && bytes.is_empty(),
                _ => return false,
            }
        }
    };
    let talking =
        async { while sink.send(Frame::Stdout(Bytes::from_static(&[b'y'; 4096]))).await.is_ok() {} };
    let received = tokio::select! { received = received => received, () = talking => false };
    if received {
        let _ = sink.send(Frame::Exit(code(3))).await;
    } else {
        world.lock().unwrap().log.push("command hung up on".into());
    }
}

fn describe(spec: &ExecSpec) -> String {
    format!("tty={} env={:?} workdir={:?}\n", spec.tty.is_some(), spec.env, spec.workdir)
}

async fn cat<S: AsyncRead + AsyncWrite + Unpin>(frames: &mut Framed<S, FrameCodec>) -> Exit {
    while let Some(Ok(frame)) = frames.next().await {
        match frame {
            Frame::Stdin(bytes) if bytes.is_empty() => return code(0),
            Frame::Stdin(bytes) => {
                let _ = frames.feed(Frame::Credit(bytes.len() as u32)).await;
                let _ = frames.send(Frame::Stdout(bytes)).await;
            }
            _ => {}
        }
    }
    code(1)
}

/// Says that it is ready, then goes on through every signal but TERM.
async fn trap<S: AsyncRead + AsyncWrite + Unpin>(frames: &mut Framed<S, FrameCodec>, world: &Shared) -> Exit {
    let _ = frames.send(Frame::Stdout("ready\n".into())).await;
    world.lock().unwrap().log.push("trap ready".into());
    while let Some(Ok(frame)) = frames.next().await {
        if let Frame::Signal(signal) = frame {
            world.lock().unwrap().signals.push(format!("{signal:?}"));
            if signal == banger_api::stream::Signal::Term {
                return code(42);
            }
        }
    }
    world.lock().unwrap().log.push("command hung up on".into());
    code(1)
}
