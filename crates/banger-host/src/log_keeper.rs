//! The process that writes a VM's logs (`bangerd vmm-log`): from pipes into [`BoundedLog`]s.
//!
//! A VMM writes to whatever it is given for as long as it likes, and outlives the daemon. So each has a
//! process of its own that does nothing but this, ends when the VMM's ends of the pipes are closed, and may
//! do nothing else.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, FromRawFd as _, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _,
};
use rustix::event::{PollFd, PollFlags, poll};

use crate::bounded_log::BoundedLog;

/// What a pipe holds.
const CHUNK_BYTES: usize = 64 * 1024;

/// A serial port writes byte by byte: who reads at once wakes up for each of them.
const PAUSE: Duration = Duration::from_millis(10);

/// Why logs are not kept.
#[derive(Debug, thiserror::Error)]
pub enum LogKeeperError {
    #[error("descriptor {pipe} is no pipe of this process's")]
    Pipe { pipe: RawFd, source: io::Error },
    #[error("could not open the log {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("could not confine this process to {}", dir.display())]
    Confine { dir: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("could not wait for what is to be logged")]
    Wait(#[source] io::Error),
}

/// Moves what comes out of each pipe, a descriptor that this process was started with, into the log beside
/// it, until all pipes are closed. The logs lie in `dir`, which is the only place that can be written to from
/// then on.
///
/// # Errors
///
/// When there is no such pipe, or a log cannot be opened. What cannot be written later (a full disk) is lost:
/// nobody is to wait for a log.
pub fn keep(dir: &Path, logs: Vec<(RawFd, PathBuf)>) -> Result<(), LogKeeperError> {
    let taken = logs.into_iter().map(|(pipe, path)| match take(pipe) {
        Ok(file) => Ok((file, path)),
        Err(source) => Err(LogKeeperError::Pipe { pipe, source }),
    });
    move_all(dir, taken.collect::<Result<_, _>>()?)
}

fn take(pipe: RawFd) -> io::Result<File> {
    // A number that is no descriptor, or one of the standard ones, is not ours to take.
    if pipe <= 2 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    #[allow(unsafe_code, reason = "a descriptor that was passed on has only its number")]
    // SAFETY: it is only looked at.
    let borrowed = unsafe { BorrowedFd::borrow_raw(pipe) };
    rustix::io::fcntl_getfd(borrowed)?;
    #[allow(unsafe_code, reason = "a descriptor that was passed on has only its number")]
    // SAFETY: it is open, and this process was started with it: nobody else here knows of it.
    Ok(unsafe { File::from_raw_fd(pipe) })
}

fn move_all(dir: &Path, logs: Vec<(File, PathBuf)>) -> Result<(), LogKeeperError> {
    let open = |(pipe, path): (File, PathBuf)| match BoundedLog::open(&path) {
        Ok(log) => Ok((pipe, log)),
        Err(source) => Err(LogKeeperError::Open { path, source }),
    };
    let mut open: Vec<(File, BoundedLog)> = logs.into_iter().map(open).collect::<Result<_, _>>()?;
    confine(dir).map_err(|error| LogKeeperError::Confine { dir: dir.to_owned(), source: error })?;
    let mut chunk = vec![0; CHUNK_BYTES];
    while !open.is_empty() {
        let ready = wait(open.iter().map(|(pipe, _)| pipe.as_fd())).map_err(LogKeeperError::Wait)?;
        let mut ready = ready.into_iter();
        open.retain_mut(|(pipe, log)| !ready.next().unwrap_or_default() || pass_on(pipe, log, &mut chunk));
        if !open.is_empty() {
            std::thread::sleep(PAUSE);
        }
    }
    Ok(())
}

/// False when the pipe has come to its end.
fn pass_on(pipe: &mut File, log: &mut BoundedLog, chunk: &mut [u8]) -> bool {
    match pipe.read(chunk) {
        Ok(0) => false,
        Ok(len) => {
            // There is nobody to tell, and the next piece may find room again.
            let _ = log.write_all(&chunk[..len]);
            true
        }
        Err(error) => matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock),
    }
}

/// Which of the pipes have something, or have come to their end.
fn wait<'a>(pipes: impl Iterator<Item = BorrowedFd<'a>>) -> io::Result<Vec<bool>> {
    let mut watched: Vec<PollFd<'_>> =
        pipes.map(|pipe| PollFd::from_borrowed_fd(pipe, PollFlags::IN)).collect();
    match poll(&mut watched, None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(watched.iter().map(|pipe| !pipe.revents().is_empty()).collect())
}

/// From here on: new files and other names in `dir`, nothing read, nothing executed. Where the kernel has no
/// landlock, the process goes on without; it looks at nothing of what it copies.
fn confine(dir: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let all = AccessFs::from_all(ABI::V5);
    let needed = AccessFs::MakeReg | AccessFs::RemoveFile | AccessFs::WriteFile;
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .create()?
        .add_rule(PathBeneath::new(PathFd::new(dir)?, needed))?
        .restrict_self()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe() -> (File, File) {
        let (read, write) = rustix::pipe::pipe().unwrap();
        (read.into(), write.into())
    }

    #[test]
    fn pipes_are_logged_until_they_close_and_the_disk_stays_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["a.log", "b.log"].map(|name| dir.path().join(name));
        let ((a, mut to_a), (b, mut to_b)) = (pipe(), pipe());
        let logs = vec![(a, names[0].clone()), (b, names[1].clone())];
        let place = dir.path().to_owned();
        // Confined is the thread, and a thread is all there is here.
        let keeper = std::thread::spawn(move || move_all(&place, logs));
        to_b.write_all(b"one").unwrap();
        drop(to_b);
        let line = [b'x'; 1 << 16];
        for _ in 0..(20 << 20) / line.len() {
            to_a.write_all(&line).unwrap();
        }
        to_a.write_all(b"the end").unwrap();
        drop(to_a);
        keeper.join().unwrap().unwrap();
        assert_eq!(std::fs::read_to_string(&names[1]).unwrap(), "one");
        let halves =
            [names[0].clone(), crate::bounded_log::older(&names[0])].map(|path| std::fs::read(path).unwrap());
        assert!(halves[0].ends_with(b"the end"));
        assert!(halves.iter().all(|half| half.len() <= 8 << 20), "{:?}", halves.map(|half| half.len()));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn what_it_keeps_is_all_it_may_touch() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (place, other) = (inside.path().to_owned(), outside.path().join("x"));
        std::fs::write(place.join("disk"), "disk").unwrap();
        let allowed = std::thread::spawn(move || {
            confine(&place).unwrap();
            let create = std::fs::OpenOptions::new().append(true).create(true).open(place.join("new"));
            [
                create.is_ok(),
                std::fs::rename(place.join("new"), place.join("new.1")).is_ok(),
                std::fs::read(place.join("disk")).is_ok(),
                std::fs::write(other, "x").is_ok(),
            ]
        });
        let allowed = allowed.join().unwrap();
        if allowed[3] {
            println!("skipped in part: this kernel has no landlock");
        } else {
            assert_eq!(allowed, [true, true, false, false]);
        }
    }
}
