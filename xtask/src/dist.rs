//! `cargo xtask dist`: the four programs beside each other, as `bangerd` expects its agent.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::cargo::{Cargo, CargoError};
use crate::elf::{self, ElfError};

const AGENT: &str = "banger-agent";
const AGENT_TARGET: &str = "x86_64-unknown-linux-gnu";
const AGENT_MAX_BYTES: u64 = 3_000_000;

/// How the host's programs are built. The agent has its own profile.
#[derive(Clone, Copy)]
pub(crate) enum HostProfile {
    Release,
    Dev,
}

#[derive(Debug, Error)]
pub(crate) enum DistError {
    #[error(transparent)]
    Cargo(#[from] CargoError),
    #[error("cannot tell the target directory from this program's own path {0}")]
    TargetDir(PathBuf),
    #[error("cannot {action} {path}")]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{path} is no static program")]
    NotStatic { path: PathBuf, source: ElfError },
    #[error("{path} has {bytes} bytes; the agent travels in every initramfs and may have {AGENT_MAX_BYTES}")]
    AgentTooLarge { path: PathBuf, bytes: u64 },
}

/// Builds the four programs into `<target>/dist/` and checks the agent.
pub(crate) fn build(profile: HostProfile) -> Result<(), DistError> {
    let target_dir = target_dir()?;
    let host_dir = build_host(profile, &target_dir)?;
    let agent_dir = build_agent(&target_dir)?;
    let agent_bytes = check_agent(&agent_dir.join(AGENT))?;

    let dist_dir = target_dir.join("dist");
    fs::create_dir_all(&dist_dir).map_err(file("create", &dist_dir))?;
    for (built_in, program) in
        [(&host_dir, "banger"), (&host_dir, "bangerd"), (&host_dir, "banger-gateway"), (&agent_dir, AGENT)]
    {
        publish(built_in, program, &dist_dir)?;
    }
    println!(
        "{}: banger, bangerd, banger-gateway, banger-agent ({} KiB)",
        dist_dir.display(),
        agent_bytes / 1024
    );
    Ok(())
}

fn build_host(profile: HostProfile, target_dir: &Path) -> Result<PathBuf, DistError> {
    let packages = ["build", "--package", "banger", "--package", "bangerd", "--package", "banger-gateway"];
    match profile {
        HostProfile::Release => {
            Cargo::new(&[&packages[..], &["--release"]].concat()).run()?;
            Ok(target_dir.join("release"))
        }
        HostProfile::Dev => {
            Cargo::new(&packages).run()?;
            Ok(target_dir.join("debug"))
        }
    }
}

/// The agent has a target directory of its own: its flags would make cargo rebuild everything else in the
/// shared one.
fn build_agent(target_dir: &Path) -> Result<PathBuf, DistError> {
    let agent_dir = target_dir.join("agent");
    let agent_dir_argument = agent_dir.to_string_lossy();
    Cargo::new(&["build", "--package", AGENT, "--profile", "agent"])
        .with(&["--target", AGENT_TARGET, "--target-dir", &agent_dir_argument])
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .run()?;
    Ok(agent_dir.join(AGENT_TARGET).join("agent"))
}

fn check_agent(path: &Path) -> Result<u64, DistError> {
    let content = fs::read(path).map_err(file("read", path))?;
    elf::require_static(&content).map_err(|source| DistError::NotStatic { path: path.to_owned(), source })?;
    let bytes = content.len() as u64;
    if bytes > AGENT_MAX_BYTES {
        return Err(DistError::AgentTooLarge { path: path.to_owned(), bytes });
    }
    Ok(bytes)
}

/// Copies by way of a rename: the old file may be a program that runs.
fn publish(built_in: &Path, program: &str, dist_dir: &Path) -> Result<(), DistError> {
    let built = built_in.join(program);
    let staged = dist_dir.join(format!("{program}.new"));
    let published = dist_dir.join(program);
    fs::copy(&built, &staged).map_err(file("copy", &built))?;
    fs::rename(&staged, &published).map_err(file("replace", &published))
}

/// Two levels above our own program: cargo put us into `<target>/<profile>/`, wherever its configuration has
/// that.
fn target_dir() -> Result<PathBuf, DistError> {
    let own_path = std::env::current_exe().map_err(file("find", Path::new("/proc/self/exe")))?;
    match own_path.ancestors().nth(2) {
        Some(dir) => Ok(dir.to_owned()),
        None => Err(DistError::TargetDir(own_path)),
    }
}

fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DistError {
    let path = path.to_owned();
    move |source| DistError::File { action, path, source }
}
