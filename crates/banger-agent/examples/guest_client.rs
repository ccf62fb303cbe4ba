//! Drives a guest by hand over the socket of its virtio-serial port.
//!
//! `guest_client SOCKET hello | health | configure JSON-FILE | identity JSON-FILE | shutdown | reboot | exec
//! CMD... | tty CMD... | echo MIB | pour MIB | leave CMD...`

#[path = "../tests/host/mod.rs"]
mod host;

use std::io::Write;
use std::time::Instant;

use banger_guest_protocol::ByteString;
use banger_guest_protocol::frame::{ExecSpec, Frame, WindowSize};
use banger_guest_protocol::messages::{Configure, Shutdown};
use futures_util::StreamExt;
use host::{Error, Host};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [socket, command, rest @ ..] = &args[..] else { return Err("usage: see the source".into()) };
    let began = Instant::now();
    let host = Host::connect(tokio::net::UnixStream::connect(socket).await?).await?;
    let mut out = std::io::stdout();
    let argv = || rest.iter().map(|arg| ByteString::from(arg.as_str())).collect::<Vec<_>>();
    let print = |(status, body): (hyper::StatusCode, bytes::Bytes)| {
        writeln!(std::io::stdout(), "{status} {}", String::from_utf8_lossy(&body))
    };
    match command.as_str() {
        "hello" => writeln!(out, "{:?} after {} ms", host.hello, began.elapsed().as_millis())?,
        "health" => print(host.request("GET", "/v1/health", "").await?)?,
        "configure" => {
            let mut wanted: Configure = serde_json::from_slice(&std::fs::read(&rest[0])?)?;
            wanted.identity.clock_unix_ns = std::time::SystemTime::UNIX_EPOCH.elapsed()?.as_nanos() as u64;
            let asked = Instant::now();
            print(host.request("POST", "/v1/configure", serde_json::to_vec(&wanted)?).await?)?;
            writeln!(out, "took {} ms", asked.elapsed().as_millis())?;
        }
        "identity" => print(host.request("POST", "/v1/identity", std::fs::read(&rest[0])?).await?)?,
        "shutdown" | "reboot" => {
            let body = serde_json::to_vec(&Shutdown { reboot: command == "reboot", ..Shutdown::default() })?;
            print(host.request("POST", "/v1/shutdown", body).await?)?;
        }
        "exec" => {
            let stream = host.exec(ExecSpec { argv: argv(), ..ExecSpec::default() }).await?;
            let output = host::talk(stream, b"").await?;
            out.write_all(&output.stdout)?;
            std::io::stderr().write_all(&output.stderr)?;
            writeln!(out, "{:?} ({} ms)", output.exit, began.elapsed().as_millis())?;
        }
        "tty" => {
            let tty = Some(WindowSize { rows: 30, cols: 100 });
            let stream = host.exec(ExecSpec { argv: argv(), tty, ..ExecSpec::default() }).await?;
            let output = host::talk(stream, b"").await?;
            writeln!(out, "{:?} {:?}", String::from_utf8_lossy(&output.stdout), output.exit)?;
        }
        "echo" => {
            let mib: usize = rest[0].parse()?;
            let input: Vec<u8> =
                (0..mib << 20).map(|n| (n as u32).wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
            let stream = host.exec(ExecSpec { argv: vec!["cat".into()], ..ExecSpec::default() }).await?;
            let asked = Instant::now();
            let output = host::talk(stream, &input).await?;
            let rate = mib as f64 / asked.elapsed().as_secs_f64();
            writeln!(out, "identical: {}, {rate:.1} MiB/s each way", output.stdout == input)?;
        }
        "pour" => {
            let mib: usize = rest[0].parse()?;
            let argv = ["dd", "if=/dev/zero", "bs=64k", &format!("count={}", mib * 16)]
                .map(ByteString::from)
                .to_vec();
            let stream = host.exec(ExecSpec { argv, ..ExecSpec::default() }).await?;
            let asked = Instant::now();
            let output = host::talk(stream, b"").await?;
            let rate = mib as f64 / asked.elapsed().as_secs_f64();
            writeln!(out, "{} bytes, {rate:.1} MiB/s", output.stdout.len())?;
        }
        // Reads a little of the command's output, then hangs up in the middle.
        "leave" => {
            let mut stream = host.exec(ExecSpec { argv: argv(), ..ExecSpec::default() }).await?;
            for _ in 0..20 {
                if !matches!(stream.next().await, Some(Ok(Frame::Stdout(_)))) {
                    break;
                }
            }
        }
        other => return Err(format!("unknown command {other}").into()),
    }
    Ok(())
}
