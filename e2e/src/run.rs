use std::ffi::{OsStr, OsString};
use std::io::{Read, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::home::Home;
use crate::owned::send;
use crate::spawn::command;
use crate::wait::BUSY_FACTOR;

/// More than any command of a scenario takes on a busy machine, but for builds.
const USUAL_LIMIT: Duration = Duration::from_secs(120);

/// One program to run in a home.
pub struct Run<'home> {
    home: &'home Home,
    program: PathBuf,
    wrapper: Vec<OsString>,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    stdin: Vec<u8>,
    limit: Duration,
}

impl<'home> Run<'home> {
    pub(crate) fn new(home: &'home Home, program: PathBuf) -> Self {
        let (wrapper, args, env, stdin) = (home.wrapper(), Vec::new(), Vec::new(), Vec::new());
        Self { home, program, wrapper, args, env, stdin, limit: USUAL_LIMIT }
    }

    #[must_use]
    pub fn args<S: Into<OsString>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// `-- sh -c SCRIPT`, for the guest's shell.
    #[must_use]
    pub fn sh(self, script: &str) -> Self {
        self.args(["--", "sh", "-c", script])
    }

    #[must_use]
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.into(), value.as_ref().into()));
        self
    }

    /// What it reads; nothing unless said otherwise.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// A program that starts it: `unshare --mount ...`.
    #[must_use]
    pub fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper.extend(wrapper.iter().map(OsString::from));
        self
    }

    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it to its end, whatever that is.
    #[track_caller]
    pub fn output(self) -> Finished {
        let (limit, input) = (self.limit, self.stdin.clone());
        let mut running = self.start();
        let mut stdin = running.stdin.take().expect("stdin is a pipe");
        let writer = std::thread::spawn(move || {
            // A program need not read to the end.
            let _ = stdin.write_all(&input);
        });
        let finished = running.finish(limit);
        writer.join().expect("the writer does not panic");
        finished
    }

    /// Runs it and insists on success.
    #[track_caller]
    pub fn ok(self) -> Finished {
        self.fails_with(0)
    }

    /// Runs it and insists on an exit code.
    #[track_caller]
    pub fn fails_with(self, code: i32) -> Finished {
        let finished = self.output();
        assert_eq!(finished.code, code, "unexpected exit code of {finished}");
        finished
    }

    /// Starts it and leaves it running, with its stdin open.
    #[track_caller]
    pub fn start(self) -> Running {
        let line = self.line();
        let mut argv: Vec<OsString> = self.wrapper.clone();
        argv.push(self.program.clone().into());
        argv.extend(self.args.iter().cloned());
        let mut command = command(&argv[0]);
        self.home.environment(&mut command);
        command.args(&argv[1..]).envs(self.env.iter().map(|(key, value)| (key, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        let (out, err) = (Gathered::of(child.stdout.take()), Gathered::of(child.stderr.take()));
        Running { stdin: child.stdin.take(), child, out, err, started, line }
    }

    fn line(&self) -> String {
        let name = self.program.file_name().unwrap_or_default();
        let words = std::iter::once(name).chain(self.args.iter().map(OsString::as_os_str));
        words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }
}

/// What a stream has yielded so far.
struct Gathered {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Gathered {
    fn of(stream: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::<Mutex<Vec<u8>>>::default();
        let mut stream = stream.expect("the stream is a pipe");
        let sink = bytes.clone();
        let reader = std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                sink.lock().expect("readers do not panic").extend_from_slice(&buffer[..count]);
            }
        });
        Self { bytes, reader: Some(reader) }
    }

    fn so_far(&self) -> Vec<u8> {
        self.bytes.lock().expect("readers do not panic").clone()
    }

    /// Everything, once the writers have closed their ends; what there is, should one of them hold on to it.
    fn all(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.reader.as_ref().is_some_and(|reader| !reader.is_finished()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.so_far()
    }
}

/// A program under way. Killed when dropped.
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    out: Gathered,
    err: Gathered,
    started: Instant,
    line: String,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// Writes to its stdin; what it no longer reads is lost.
    pub fn write(&mut self, bytes: &[u8]) {
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(bytes);
        }
    }

    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits until it has printed `text` on stdout.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        self.wait_until_said(text, |running| running.out.so_far());
    }

    /// Waits until it has printed `text` on stderr.
    #[track_caller]
    pub fn wait_for_stderr(&mut self, text: &str) {
        self.wait_until_said(text, |running| running.err.so_far());
    }

    #[track_caller]
    fn wait_until_said(&mut self, text: &str, so_far: impl Fn(&Self) -> Vec<u8>) {
        let said = |running: &Self| String::from_utf8_lossy(&so_far(running)).contains(text);
        let deadline = Instant::now() + USUAL_LIMIT;
        while !said(self) {
            let ended = self.child.try_wait().ok().flatten();
            if ended.is_some() || Instant::now() > deadline {
                let finished = self.finished(ended);
                // Its last words may have come while it was looked at.
                assert!(said(self), "no {text:?} from {finished}");
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What it has printed on stdout so far.
    pub fn out_text(&self) -> String {
        String::from_utf8_lossy(&self.out.so_far()).into_owned()
    }

    /// How many bytes it has printed on stdout.
    pub fn out_len(&self) -> usize {
        self.out.bytes.lock().expect("readers do not panic").len()
    }

    /// Has it ended?
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// When it still runs after `limit`, with room for a busy machine.
    #[track_caller]
    pub fn finish(mut self, limit: Duration) -> Finished {
        let limit = limit * BUSY_FACTOR;
        let deadline = self.started + limit;
        loop {
            let status = self.child.try_wait().unwrap_or_else(|error| panic!("{}: {error}", self.line));
            if status.is_some() {
                return self.finished(status);
            }
            if Instant::now() > deadline {
                panic!("after {limit:?} there is no end to {}", self.finished(None));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn finished(&mut self, status: Option<ExitStatus>) -> Finished {
        let took = self.started.elapsed();
        let code = status.map_or(-1, |status| status.code().unwrap_or(128 + status.signal().unwrap_or(0)));
        let (out, err) = match status {
            Some(_) => (self.out.all(), self.err.all()),
            None => (self.out.so_far(), self.err.so_far()),
        };
        let err = String::from_utf8_lossy(&err).into_owned();
        Finished { line: self.line.clone(), code, out, err, took }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that has ended. Displays as everything there is to know about it.
#[derive(Debug)]
pub struct Finished {
    line: String,
    /// 128 + n when signal n ended it.
    pub code: i32,
    pub out: Vec<u8>,
    pub err: String,
    pub took: Duration,
}

impl Finished {
    /// Its stdout without the white space around it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).trim().to_owned()
    }

    /// Insists on words in what it printed on stderr.
    #[track_caller]
    pub fn says(&self, words: &str) -> &Self {
        assert!(self.err.contains(words), "{words:?} is not said by {self}");
        self
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "`{}` (exit code {}, after {:?})", self.line, self.code, self.took)?;
        let out = String::from_utf8_lossy(&self.out[..self.out.len().min(4000)]);
        write!(f, "--- stdout ({} bytes)\n{out}\n--- stderr\n{}", self.out.len(), self.err)
    }
}
