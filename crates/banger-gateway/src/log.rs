//! What the VM contacted and what it was refused: a line of JSON for each attempt, in a file that stays
//! small.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{Mode, OFlags, openat, renameat};
use serde::{Deserialize, Serialize};

/// The file, in the directory of the VM's network. The one before it has `.1` behind its name.
pub const LOG: &str = "egress.ndjson";
pub const FORMER_LOG: &str = "egress.ndjson.1";

/// How large each of the two may become, in bytes.
const FILE_MAX_LEN: u64 = 4 << 20;

/// Refusals that are the same as one within this time are counted and not written out.
const REPEAT_WINDOW: Duration = Duration::from_secs(10);
/// How many different refusals are counted at once.
const REPEATS_MAX: usize = 256;

/// How many lines a second may be written for long, and in a burst.
const LINES_PER_SECOND: f64 = 50.0;
const LINES_BURST: f64 = 2000.0;

/// An attempt of the guest's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it began: UTC, as RFC 3339 has it.
    pub time: String,
    pub protocol: Protocol,
    /// The name that the guest looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The address that was dialled, or that the guest asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    pub verdict: Verdict,
    /// The rule of the policy that allowed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Why it was refused, or what went wrong: a word for programs and a sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Bytes from the guest, and to it.
    #[serde(default)]
    pub sent: u64,
    #[serde(default)]
    pub received: u64,
    /// How long it lasted, in milliseconds.
    #[serde(default)]
    pub duration_ms: u64,
    /// How many attempts this line stands for.
    #[serde(default = "one")]
    pub count: u64,
}

fn one() -> u64 {
    1
}

/// What was attempted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Icmp,
    /// A name was looked up.
    Dns,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    #[default]
    Allowed,
    Refused,
    /// The policy had nothing against it, but it did not come about.
    Failed,
}

/// What makes two refusals the same.
type Repeat = (Protocol, Option<String>, Option<IpAddr>, Option<u16>, Option<String>);

/// The reason of an attempt of which it is not known yet what comes of it.
pub(crate) const UNDECIDED: &str = "undecided";

/// The file.
#[derive(Debug)]
pub(crate) struct Log {
    dir: OwnedFd,
    file: File,
    len: u64,
    repeats: HashMap<Repeat, (Instant, Attempt)>,
    lines_left: f64,
    refilled: Instant,
    omitted: u64,
}

impl Log {
    /// # Errors
    ///
    /// When the file cannot be opened.
    pub(crate) fn open(dir: OwnedFd) -> io::Result<Self> {
        let file = open_log(&dir)?;
        let len = file.metadata()?.len();
        let now = Instant::now();
        Ok(Self {
            dir,
            file,
            len,
            repeats: HashMap::new(),
            lines_left: LINES_BURST,
            refilled: now,
            omitted: 0,
        })
    }

    /// Writes an attempt, unless it is one of many that are the same.
    pub(crate) fn write(&mut self, attempt: Attempt) {
        let now = Instant::now();
        self.flush_repeats(now);
        if attempt.verdict == Verdict::Allowed {
            return self.write_line(&attempt, now);
        }
        let key =
            (attempt.protocol, attempt.name.clone(), attempt.address, attempt.port, attempt.reason.clone());
        if let Some((_, counted)) = self.repeats.get_mut(&key) {
            counted.count += attempt.count;
            counted.sent += attempt.sent;
            return;
        }
        self.write_line(&attempt, now);
        if self.repeats.len() < REPEATS_MAX {
            self.repeats.insert(key, (now, Attempt { count: 0, sent: 0, ..attempt }));
        }
    }

    /// Writes what was counted long enough.
    fn flush_repeats(&mut self, now: Instant) {
        let mut over = Vec::new();
        self.repeats.retain(|_, (since, attempt)| {
            let stays = now.duration_since(*since) < REPEAT_WINDOW;
            if !stays && attempt.count > 0 {
                over.push(attempt.clone());
            }
            stays
        });
        over.iter().for_each(|attempt| self.write_line(attempt, now));
    }

    /// Writes what was counted so far: this is the end.
    pub(crate) fn finish(&mut self) {
        for (_, (_, attempt)) in std::mem::take(&mut self.repeats) {
            if attempt.count > 0 {
                self.write_line(&attempt, Instant::now());
            }
        }
        self.write_omitted(now());
    }

    fn write_omitted(&mut self, time: String) {
        if self.omitted == 0 {
            return;
        }
        let omitted = std::mem::take(&mut self.omitted);
        let detail = Some(format!("{omitted} attempts that came faster than they are written down"));
        let (verdict, reason) = (Verdict::Refused, Some("omitted".to_owned()));
        self.append(&Attempt { time, verdict, reason, detail, count: omitted, ..Attempt::default() });
    }

    fn write_line(&mut self, attempt: &Attempt, now: Instant) {
        let earned = now.duration_since(self.refilled).as_secs_f64() * LINES_PER_SECOND;
        self.lines_left = (self.lines_left + earned).min(LINES_BURST);
        self.refilled = now;
        if self.lines_left < 1.0 {
            self.omitted += attempt.count;
            return;
        }
        self.lines_left -= 1.0;
        self.write_omitted(attempt.time.clone());
        self.append(attempt);
    }

    fn append(&mut self, attempt: &Attempt) {
        if let Err(error) = self.try_append(attempt) {
            tracing::warn!(%error, "could not write to the log of attempts");
        }
    }

    fn try_append(&mut self, attempt: &Attempt) -> io::Result<()> {
        let mut line = serde_json::to_vec(attempt)?;
        line.push(b'\n');
        if self.len + line.len() as u64 > FILE_MAX_LEN {
            renameat(&self.dir, LOG, &self.dir, FORMER_LOG)?;
            self.file = open_log(&self.dir)?;
            self.len = 0;
        }
        self.file.write_all(&line)?;
        self.len += line.len() as u64;
        Ok(())
    }
}

fn open_log(dir: &OwnedFd) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(openat(dir, LOG, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// Now, as [`Attempt::time`] has it.
pub(crate) fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> (Log, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let opened = OwnedFd::from(File::open(dir.path()).unwrap());
        (Log::open(opened).unwrap(), dir)
    }

    fn attempt(port: u16, verdict: Verdict) -> Attempt {
        Attempt { time: now(), port: Some(port), verdict, count: 1, ..Attempt::default() }
    }

    fn lines(dir: &tempfile::TempDir, name: &str) -> Vec<Attempt> {
        let text = std::fs::read_to_string(dir.path().join(name)).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn refusals_that_repeat_are_one_line_more_and_what_was_allowed_is_a_line_each() {
        let (mut log, dir) = log();
        for _ in 0..500 {
            log.write(attempt(22, Verdict::Refused));
            log.write(attempt(443, Verdict::Allowed));
        }
        log.finish();
        let lines = lines(&dir, LOG);
        let refused: Vec<u64> =
            lines.iter().filter(|line| line.port == Some(22)).map(|line| line.count).collect();
        assert_eq!(refused, [1, 499]);
        assert_eq!(lines.iter().filter(|line| line.port == Some(443)).count(), 500);
    }

    #[test]
    fn a_flood_leaves_files_of_a_bounded_size_and_says_how_much_is_missing() {
        let (mut log, dir) = log();
        for number in 0..30_000_u32 {
            log.write(attempt(number as u16, Verdict::Allowed));
        }
        log.lines_left = LINES_BURST;
        log.write(attempt(1, Verdict::Allowed));
        let lines = lines(&dir, LOG);
        assert!(lines.len() < 5_000, "{}", lines.len());
        let omitted = lines.iter().find(|line| line.reason.as_deref() == Some("omitted")).unwrap();
        assert!(omitted.count > 20_000);
        for name in [LOG, FORMER_LOG] {
            let len = dir.path().join(name).metadata().map_or(0, |meta| meta.len());
            assert!(len <= FILE_MAX_LEN, "{name}: {len}");
        }
    }

    #[test]
    fn a_full_file_becomes_the_former_one() {
        let (mut log, dir) = log();
        let long = Attempt { detail: Some("x".repeat(100_000)), ..attempt(1, Verdict::Allowed) };
        (0..100).for_each(|_| log.write(long.clone()));
        assert!(lines(&dir, FORMER_LOG).len() > 30 && !lines(&dir, LOG).is_empty());
        assert!(dir.path().join(LOG).metadata().unwrap().len() <= FILE_MAX_LEN);
    }
}
