use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use banger_api::daemon::DaemonStatus;

use crate::error::BenchError;
use crate::home::{Home, command};
use crate::noise::noise;
use crate::numbers::{Numbers, heading, verdict};
use crate::repository;

const FILES: usize = 20_000;
const FILE_BYTES: usize = 25_000;
const RATIO: f64 = 1.5;
const MEMORY_MIB: f64 = 60.0;
const VM: &str = "bench-workspace";

/// A repository of 20,000 files and 500 MB through `vm workspace prepare`, and its files through `tar` and
/// `vm exec -- tar`.
pub(crate) fn measure(home: &Home, rounds: usize) -> Result<(), BenchError> {
    let repository = home.scratch()?;
    eprintln!("bench: making a repository");
    let list = fill(repository.path())?;
    let vm = home.boot_with(VM, &["--memory", "1G", "--disk-size", "8G"])?;
    let (mut tar, mut prepare) = (Numbers::default(), Numbers::default());
    for round in 1..=rounds {
        eprintln!("bench: round {round} of {rounds}");
        home.banger(&[
            "exec",
            "--workdir",
            "/root",
            VM,
            "--",
            "sh",
            "-c",
            "rm -rf tree repo; mkdir tree; sync",
        ])?;
        tar.add(tar_through_exec(home, repository.path(), &list)?);
        home.banger(&["exec", "--workdir", "/root", VM, "--", "sh", "-c", "rm -rf tree; sync"])?;
        let path = repository.path().to_string_lossy().into_owned();
        prepare.add(home.time(&["vm", "workspace", "prepare", "--quiet", "--discard", VM, &path])?);
    }
    let peak = peak_mib(home)?;
    drop(vm);
    println!("{}", heading("20,000 files, 500 MB"));
    println!("{}", tar.line("tar | banger exec VM -- tar -x"));
    println!("{}", prepare.line("banger vm workspace prepare"));
    let ratio = prepare.median().as_secs_f64() / tar.median().as_secs_f64();
    println!("prepare takes {ratio:.2} times as long; at most {RATIO}: {}", verdict(ratio <= RATIO));
    println!(
        "the daemon's peak memory: {peak:.1} MiB; at most {MEMORY_MIB}: {}\n",
        verdict(peak <= MEMORY_MIB)
    );
    Ok(())
}

/// Half text, half bytes that nothing compresses. Answers a file with the names, each ended by a NUL.
fn fill(root: &Path) -> Result<tempfile::NamedTempFile, BenchError> {
    let mut random = noise();
    repository::make(root, FILES, |number| {
        let (mask, offset) = if number % 2 == 0 { (0xFF, 0) } else { (0x0F, b'a') };
        (0..FILE_BYTES).map(|_| (random() as u8 & mask).wrapping_add(offset)).collect()
    })?;
    let list = tempfile::NamedTempFile::new().map_err(BenchError::file("make", "a list of files"))?;
    let names = repository::git(root, &["ls-files", "-z"])?;
    std::fs::write(list.path(), names).map_err(BenchError::file("write", list.path()))?;
    Ok(list)
}

fn tar_through_exec(
    home: &Home,
    root: &Path,
    list: &tempfile::NamedTempFile,
) -> Result<Duration, BenchError> {
    let start = Instant::now();
    let line = "tar".to_owned();
    let mut tar = command(Path::new("tar"))
        .arg("-C")
        .arg(root)
        .args(["--null", "-c", "-T"])
        .arg(list.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|source| BenchError::Spawn { line: line.clone(), source })?;
    let args = ["exec", "--workdir", "/root/tree", VM, "--", "tar", "-x"];
    let archive: Stdio = tar.stdout.take().map_or_else(Stdio::null, Into::into);
    home.banger_reading(&args, archive)?;
    let status = tar.wait().map_err(|source| BenchError::Spawn { line: line.clone(), source })?;
    if !status.success() {
        return Err(BenchError::Failed { line, status, stderr: String::new() });
    }
    Ok(start.elapsed())
}

fn peak_mib(home: &Home) -> Result<f64, BenchError> {
    let status: DaemonStatus = home.json(&["daemon", "status", "--json"])?;
    crate::memory::of_process(status.pid, "VmHWM:")
}
