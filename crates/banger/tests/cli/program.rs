//! Runs the real `banger` in a world of its own.

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::fake::Daemon;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finished {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) struct Call(Command);

pub(crate) struct Running {
    pub(crate) child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Arc<Mutex<Vec<u8>>>,
    stderr_reader: JoinHandle<()>,
}

pub(crate) fn banger(daemon: &Daemon, args: &[&str]) -> Call {
    program(env!("CARGO_BIN_EXE_banger").as_ref(), daemon.runtime_dir.path(), args)
}

pub(crate) fn program(banger: &Path, runtime_dir: &Path, args: &[&str]) -> Call {
    #[allow(clippy::disallowed_methods, reason = "the program under test")]
    let mut command = Command::new(banger);
    command.args(args).env_clear().env("XDG_RUNTIME_DIR", runtime_dir).env("HOME", runtime_dir);
    command.env("PATH", "/usr/bin:/bin").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Call(command)
}

impl Call {
    pub(crate) fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(key, value);
        self
    }

    pub(crate) fn start(mut self) -> Running {
        let mut child = self.0.spawn().unwrap();
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let (mut pipe, kept) = (child.stderr.take().unwrap(), stderr.clone());
        let stderr_reader = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut piece) {
                kept.lock().unwrap().extend_from_slice(&piece[..count]);
            }
        });
        Running { child, stdout: None, stderr, stderr_reader }
    }

    pub(crate) fn finish(self) -> Finished {
        self.start().finish()
    }

    /// Feeds it `input` and answers its stdout.
    pub(crate) fn pipe(mut self, input: Vec<u8>) -> Vec<u8> {
        self.0.stdin(Stdio::piped());
        let mut running = self.start();
        let mut stdin = running.child.stdin.take().unwrap();
        let feeding = std::thread::spawn(move || stdin.write_all(&input).unwrap());
        let mut output = Vec::new();
        running.child.stdout.take().unwrap().read_to_end(&mut output).unwrap();
        feeding.join().unwrap();
        assert!(running.child.wait().unwrap().success());
        output
    }
}

impl Running {
    /// Reads a little of its stdout, then no more.
    pub(crate) fn close_stdout(mut self) -> Self {
        let mut stdout = self.child.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 10]).unwrap();
        drop(stdout);
        self.stdout = Some(std::thread::spawn(Vec::new));
        self
    }

    pub(crate) fn wait_for_stderr(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !String::from_utf8_lossy(&self.stderr.lock().unwrap()).contains(text) {
            assert!(Instant::now() < deadline, "no {text:?} on stderr");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn finish(mut self) -> Finished {
        let stdout = self.stdout.take().unwrap_or_else(|| {
            let mut pipe = self.child.stdout.take().unwrap();
            std::thread::spawn(move || {
                let mut all = Vec::new();
                pipe.read_to_end(&mut all).unwrap();
                all
            })
        });
        let deadline = Instant::now() + Duration::from_secs(30);
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    self.child.kill().unwrap();
                    panic!("it did not end");
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let stdout = String::from_utf8(stdout.join().unwrap()).unwrap();
        self.stderr_reader.join().unwrap();
        let stderr = String::from_utf8(self.stderr.lock().unwrap().clone()).unwrap();
        Finished { code: status.code().unwrap_or(-1), stdout, stderr }
    }
}

pub(crate) fn signal(running: &Running, number: i32) {
    let pid = rustix::process::Pid::from_child(&running.child);
    let signal = rustix::process::Signal::from_named_raw(number).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}
