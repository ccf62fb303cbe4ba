//! QEMU as the daemon starts it, without the daemon and without disks: the floor under every boot time.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use banger_guest_protocol::preamble::{AnswerScanner, SessionId, greeting};

use crate::error::BenchError;
use crate::home::{Home, command};

/// As often as the daemon does.
const GREETING_INTERVAL: Duration = Duration::from_millis(250);
const LIMIT: Duration = Duration::from_secs(60);

/// The command line of a VM that runs, minus its disks.
pub(crate) struct BareQemu {
    program: PathBuf,
    args: Vec<OsString>,
}

impl BareQemu {
    /// Takes it from the process `pid`.
    pub(crate) fn like(pid: u32) -> Result<Self, BenchError> {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let program =
            std::fs::read_link(proc.join("exe")).map_err(BenchError::file("read", proc.join("exe")))?;
        let line =
            std::fs::read(proc.join("cmdline")).map_err(BenchError::file("read", proc.join("cmdline")))?;
        let args =
            line.split(|byte| *byte == 0).skip(1).map(|arg| OsString::from_vec(arg.to_vec())).collect();
        let cwd = proc.join("cwd");
        let dir = std::fs::read_link(&cwd).map_err(BenchError::file("read", cwd))?;
        let args = where_it_leads(without_disks(args), &dir)?;
        Ok(Self { program, args: args.into_iter().map(with_own_socket).collect() })
    }

    /// Boots once; how long it took until the agent said hello.
    pub(crate) fn boot(&self, home: &Home) -> Result<Duration, BenchError> {
        let dir = home.scratch()?;
        let start = Instant::now();
        let line = self.program.display().to_string();
        let mut command = command(&self.program);
        command
            .args(&self.args)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut qemu = command.spawn().map(Killed).map_err(|source| BenchError::Spawn { line, source })?;
        let mut channel = loop {
            match UnixStream::connect(dir.path().join("agent.sock")) {
                Ok(channel) => break channel,
                Err(_) if qemu.ended() => return Err(BenchError::NoHello { what: qemu.complaint() }),
                Err(_) if start.elapsed() > LIMIT => {
                    return Err(BenchError::NoHello { what: "no channel".into() });
                }
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        wait_for_hello(&mut channel, start)?;
        Ok(start.elapsed())
    }
}

fn wait_for_hello(channel: &mut UnixStream, start: Instant) -> Result<(), BenchError> {
    let broken = |source: std::io::Error| BenchError::NoHello { what: source.to_string() };
    let session = SessionId::from_random(*b"bench's session.");
    let mut scanner = AnswerScanner::new(&session);
    channel.set_read_timeout(Some(GREETING_INTERVAL)).map_err(broken)?;
    while start.elapsed() < LIMIT {
        channel.write_all(&greeting(&session)).map_err(broken)?;
        let mut buffer = [0; 512];
        match channel.read(&mut buffer) {
            Ok(0) => return Err(BenchError::NoHello { what: "it hung up".into() }),
            Ok(count) => {
                for byte in &buffer[..count] {
                    if scanner.push(*byte)?.is_some() {
                        return Ok(());
                    }
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(broken(error)),
        }
    }
    Err(BenchError::NoHello { what: "it takes too long".into() })
}

/// Drops `-drive X` and `-device virtio-blk-device,...`.
fn without_disks(args: Vec<OsString>) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut args = args.into_iter().filter(|arg| !arg.is_empty());
    while let Some(option) = args.next() {
        let takes_value = !matches!(option.to_str(), Some("-nodefaults" | "-no-user-config" | "-no-reboot"));
        let value = if takes_value { args.next() } else { None };
        let is_disk = option == "-drive"
            || value.as_ref().is_some_and(|value| value.to_string_lossy().starts_with("virtio-blk"));
        if !is_disk {
            kept.push(option);
            kept.extend(value);
        }
    }
    kept
}

/// A VMM names kernel and initramfs as they are in its directory, where they are links.
fn where_it_leads(mut args: Vec<OsString>, dir: &Path) -> Result<Vec<OsString>, BenchError> {
    for index in 1..args.len() {
        if matches!(args[index - 1].to_str(), Some("-kernel" | "-initrd")) {
            let file = dir.join(&args[index]);
            args[index] = file.canonicalize().map_err(BenchError::file("find", file))?.into();
        }
    }
    Ok(args)
}

/// The daemon hands its VMM sockets that listen already; this one makes them itself: `id=agent,fd=7` is
/// `agent.sock`.
fn with_own_socket(arg: OsString) -> OsString {
    let Some(rest) = arg.to_str().and_then(|text| text.strip_prefix("socket,id=")) else { return arg };
    let mut parts = rest.split(',');
    let id = parts.next().unwrap_or_default();
    let rest: String = parts.filter(|part| !part.starts_with("fd=")).map(|part| format!(",{part}")).collect();
    format!("socket,id={id},path={id}.sock{rest}").into()
}

/// A process that does not outlive its measurement.
struct Killed(Child);

impl Killed {
    fn ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }

    fn complaint(&mut self) -> String {
        let mut text = String::new();
        if let Some(stderr) = &mut self.0.stderr {
            // What could be read is better than nothing.
            let _ = stderr.read_to_string(&mut text);
        }
        text.trim().to_owned()
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        // Only reaps it.
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_left_out_and_nothing_else() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let line = "-nodefaults -M microvm -drive if=none,file=x -device virtio-blk-device,drive=x -device virtio-net-device -m 1M";
        assert_eq!(
            without_disks(words(line)),
            words("-nodefaults -M microvm -device virtio-net-device -m 1M")
        );
    }

    #[test]
    fn sockets_that_are_handed_down_get_a_path() {
        let own = |arg: &str| with_own_socket(arg.into());
        assert_eq!(own("socket,id=agent,fd=7,server=on"), "socket,id=agent,path=agent.sock,server=on");
        assert_eq!(own("stdio,id=console"), "stdio,id=console");
    }
}
