//! How fast the daemon answers while it has much to do.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::BenchError;
use crate::home::Home;
use crate::numbers::{Numbers, spread_heading, verdict};
use crate::repository;

/// Nobody notices a wait that is shorter.
const LIMIT: Duration = Duration::from_millis(50);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(20);
/// A guest goes on booting for a while when its agent is there; that is not what is measured.
const SETTLE: Duration = Duration::from_secs(8);
const IDLE: Duration = Duration::from_secs(4);
/// Of fewer answers a percentile says nothing.
const ANSWERS_MIN: usize = 20;
const VM: &str = "bench-responsiveness";
const GUEST_PATH: &str = "/root/repo";

/// `vm list` beside nothing, a `prepare` of so many files, and an export of a change to each of them: with
/// `--check`, and with `--apply`.
pub(crate) fn measure(home: &Home, files: usize) -> Result<(), BenchError> {
    let repository = home.scratch()?;
    eprintln!("bench: making a repository");
    // Small and text: a patch of all of them is to stay below what an export takes.
    repository::make(repository.path(), files, |number| format!("{number}\n").repeat(20).into_bytes())?;
    let _vm = home.boot_with(VM, &["--memory", "1G", "--disk-size", "8G"])?;
    std::thread::sleep(SETTLE);
    println!("{}", spread_heading(&format!("banger vm list --json, {files} files")));
    phase(home, "beside nothing", || {
        std::thread::sleep(IDLE);
        Ok(())
    })?;
    let beside = |work: &str, args: &[&str]| phase(home, work, || home.banger(args).map(drop));
    let path = repository.path().to_string_lossy();
    let prepare = ["vm", "workspace", "prepare", "--quiet", "--guest-path", GUEST_PATH, VM, &path];
    let export = |how| ["vm", "workspace", "export", "--quiet", how, VM];
    let prepared = beside("beside workspace prepare", &prepare)?;
    change_all(home)?;
    let checked = beside("beside workspace export --check", &export("--check"))?;
    let applied = beside("beside workspace export --apply", &export("--apply"))?;
    see_applied(repository.path(), files)?;
    judge(prepared.max(checked).max(applied))
}

/// Appends a line to each file in the guest.
fn change_all(home: &Home) -> Result<(), BenchError> {
    eprintln!("bench: changing each file");
    let script = "for file in */*; do echo more >> \"$file\"; done";
    home.banger(&["exec", "--workdir", GUEST_PATH, VM, "--", "sh", "-ec", script]).map(drop)
}

/// An export of nothing is quick, and says nothing of one that has work to do.
fn see_applied(repository: &Path, files: usize) -> Result<(), BenchError> {
    let names = repository::git(repository, &["diff", "--name-only", "-z"])?;
    let changed = names.iter().filter(|byte| **byte == 0).count();
    if changed == files { Ok(()) } else { Err(BenchError::NotApplied { changed, files }) }
}

/// Asks again and again while `work` runs; prints how long the answers took. Answers the p99.
fn phase(
    home: &Home,
    name: &str,
    work: impl FnOnce() -> Result<(), BenchError> + Send,
) -> Result<Duration, BenchError> {
    eprintln!("bench: {name}");
    let start = Instant::now();
    let mut answers = Numbers::default();
    std::thread::scope(|scope| {
        let work = scope.spawn(work);
        while !work.is_finished() {
            answers.add(home.time(&["vm", "list", "--json"])?);
            std::thread::sleep(PAUSE);
        }
        work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    if answers.len() < ANSWERS_MIN {
        return Err(BenchError::TooFewAnswers { phase: name.to_owned(), answers: answers.len() });
    }
    let name = format!("{name} ({:.1} s)", start.elapsed().as_secs_f64());
    println!("{}", answers.spread_line(&name));
    Ok(answers.percentile(99))
}

fn judge(p99: Duration) -> Result<(), BenchError> {
    let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
    let (p99, limit) = (ms(p99), ms(LIMIT));
    let met = p99 < limit;
    println!("the highest p99 beside work: {p99:.1} ms; below {limit:.0} ms: {}\n", verdict(met));
    if met { Ok(()) } else { Err(BenchError::Slow { p99, limit }) }
}
