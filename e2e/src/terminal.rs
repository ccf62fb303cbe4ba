use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::home::Home;

const LIMIT: Duration = Duration::from_secs(60);

/// `banger` on a pseudo-terminal of its own.
pub struct Terminal {
    master: Option<File>,
    /// Holds the terminal open as well, until `closed`.
    reader: Option<JoinHandle<()>>,
    closed: Arc<AtomicBool>,
    child: Child,
    shown: Arc<Mutex<Vec<u8>>>,
    /// How much of it has been looked at.
    seen: usize,
}

impl Terminal {
    /// Starts `banger ARGS` on a terminal of `rows` x `cols`.
    ///
    /// # Panics
    ///
    /// When there is no terminal to be had.
    #[track_caller]
    pub fn open(home: &Home, rows: u16, cols: u16, args: &[&str]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("a pseudo-terminal");
        grantpt(&master).expect("the pseudo-terminal is ours");
        unlockpt(&master).expect("the pseudo-terminal opens");
        let name = ptsname(&master, Vec::new()).expect("the pseudo-terminal has a name");
        tcsetwinsize(&master, size(rows, cols)).expect("the pseudo-terminal takes a size");
        let path = name.to_str().expect("its name is a path");
        let slave = File::options().read(true).write(true).open(path).expect("the other end");
        let end = || slave.try_clone().expect("another descriptor");

        let mut command = crate::spawn::command(home.programs().path("banger"));
        home.environment(&mut command);
        command.args(args).env("TERM", "xterm-256color").stdin(end()).stdout(end()).stderr(end());
        take_terminal(&mut command);
        let child = command.spawn().expect("banger starts");
        // Only banger holds the other end now, so that its end is seen here.
        drop((command, slave));

        let master = File::from(master);
        let shown = Arc::<Mutex<Vec<u8>>>::default();
        let closed = Arc::<AtomicBool>::default();
        let reader = master.try_clone().expect("another descriptor");
        let (sink, until) = (shown.clone(), closed.clone());
        let reader = std::thread::spawn(move || read_until(reader, &sink, &until));
        Self { master: Some(master), reader: Some(reader), closed, child, shown, seen: 0 }
    }

    /// Types.
    pub fn send(&mut self, keys: &str) {
        if let Some(master) = &mut self.master {
            master.write_all(keys.as_bytes()).expect("the terminal takes keys");
        }
    }

    /// Waits until something new on the screen contains `text`, and looks past it. Answers what came up to
    /// there.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let deadline = Instant::now() + LIMIT;
        loop {
            let shown = self.shown.lock().expect("readers do not panic").clone();
            let new = &shown[self.seen..];
            if let Some(at) = new.windows(text.len()).position(|window| window == text.as_bytes()) {
                let before = String::from_utf8_lossy(&new[..at + text.len()]).into_owned();
                self.seen += at + text.len();
                return before;
            }
            assert!(Instant::now() < deadline, "no {text:?} in {:?}", String::from_utf8_lossy(new));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn resize(&mut self, rows: u16, cols: u16) {
        if let Some(master) = &self.master {
            tcsetwinsize(master, size(rows, cols)).expect("the terminal takes a size");
        }
    }

    /// Closes the window, as it were: the kernel sends SIGHUP, and the terminal is dead.
    pub fn hang_up(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        self.master = None;
        if let Some(reader) = self.reader.take() {
            reader.join().expect("readers do not panic");
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for banger's end; its exit code.
    #[track_caller]
    pub fn wait(&mut self) -> i32 {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                return status.code().unwrap_or(128 + status.signal().unwrap_or(0));
            }
            let shown = self.shown.lock().expect("readers do not panic").clone();
            assert!(Instant::now() < deadline, "banger does not end: {:?}", String::from_utf8_lossy(&shown));
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Takes in what is shown, until the terminal ends or `closed` is set.
fn read_until(mut terminal: File, sink: &Mutex<Vec<u8>>, closed: &AtomicBool) {
    let mut buffer = [0; 4096];
    let interval = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    while !closed.load(Ordering::Relaxed) {
        let mut ready = [PollFd::new(&terminal, PollFlags::IN)];
        if !matches!(poll(&mut ready, Some(&interval)), Ok(1..)) {
            continue;
        }
        let Ok(count @ 1..) = terminal.read(&mut buffer) else { return };
        sink.lock().expect("readers do not panic").extend_from_slice(&buffer[..count]);
    }
}

fn size(rows: u16, cols: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 }
}

#[allow(unsafe_code, reason = "the standard library has no way to give a program a controlling terminal")]
fn take_terminal(command: &mut Command) {
    let take = || {
        rustix::process::setsid()?;
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes two system calls and allocates nothing.
    unsafe { command.pre_exec(take) };
}
