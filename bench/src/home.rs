use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use banger_api::vm::Vm;
use serde::de::DeserializeOwned;

use crate::error::BenchError;

const KERNEL: &str = "debian-6.12";

/// The same VM for every measurement.
const VM: &str = "[vm_defaults]\nvcpu = 1\nmemory_mib = 512\ndisk_size = \"256MiB\"\n";

/// banger's directories for the bench, with kernel and image in place. Its daemon is stopped when this is
/// dropped.
pub(crate) struct Home {
    root: PathBuf,
    programs: PathBuf,
    // Two benches at once would measure each other.
    _lock: File,
}

impl Home {
    pub(crate) fn open(image: &str) -> Result<Self, BenchError> {
        let programs = programs()?;
        let root = cache_dir()?.join("banger-bench");
        let config = root.join("config/banger");
        std::fs::create_dir_all(&config).map_err(BenchError::file("make", &config))?;
        let lock = File::create(root.join("lock")).map_err(BenchError::file("open", root.join("lock")))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|errno| BenchError::file("lock", root.join("lock"))(errno.into()))?;
        let config = config.join("config.toml");
        std::fs::write(&config, format!("default_image = \"{image}\"\n{VM}"))
            .map_err(BenchError::file("write", &config))?;
        let home = Self { root, programs, _lock: lock };
        home.banger(&["daemon", "stop"])?;
        home.forget_rows()?;
        eprintln!("bench: getting kernel and image ready");
        home.banger(&["kernel", "pull", "--quiet", KERNEL])?;
        home.banger(&["image", "pull", "--quiet", image])?;
        Ok(home)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.root.join("state/banger")
    }

    /// What may be removed at any time.
    pub(crate) fn cache(&self) -> PathBuf {
        self.root.join("cache/banger")
    }

    /// A directory for a process of our own.
    pub(crate) fn scratch(&self) -> Result<tempfile::TempDir, BenchError> {
        tempfile::tempdir_in(&self.root).map_err(BenchError::file("make a directory in", &self.root))
    }

    /// Runs banger to its end.
    pub(crate) fn banger(&self, args: &[&str]) -> Result<Output, BenchError> {
        self.banger_with_stdin(args, &[])
    }

    /// Runs banger to its end, with `input` on its stdin.
    pub(crate) fn banger_with_stdin(&self, args: &[&str], input: &[u8]) -> Result<Output, BenchError> {
        self.run(args, Stdio::piped(), input)
    }

    /// Runs banger to its end, with somebody else's output on its stdin.
    pub(crate) fn banger_reading(&self, args: &[&str], stdin: Stdio) -> Result<Output, BenchError> {
        self.run(args, stdin, &[])
    }

    fn run(&self, args: &[&str], stdin: Stdio, input: &[u8]) -> Result<Output, BenchError> {
        let line = format!("banger {}", args.join(" "));
        let spawn = |source| BenchError::Spawn { line: line.clone(), source };
        let mut command = command(&self.programs.join("banger"));
        for (name, dir) in [
            ("CONFIG_HOME", "config"),
            ("STATE_HOME", "state"),
            ("CACHE_HOME", "cache"),
            ("RUNTIME_DIR", "run"),
        ] {
            command.env(format!("XDG_{name}"), self.root.join(dir));
        }
        command.args(args).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(spawn)?;
        let stdin = child.stdin.take();
        let output = std::thread::scope(|scope| {
            if let Some(mut stdin) = stdin {
                // A program that does not read to the end is told by its output.
                scope.spawn(move || stdin.write_all(input));
            }
            child.wait_with_output()
        });
        let output = output.map_err(spawn)?;
        if output.status.success() {
            return Ok(output);
        }
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(BenchError::Failed { line, status: output.status, stderr })
    }

    /// How long banger takes for it.
    pub(crate) fn time(&self, args: &[&str]) -> Result<Duration, BenchError> {
        let start = Instant::now();
        self.banger(args)?;
        Ok(start.elapsed())
    }

    pub(crate) fn json<T: DeserializeOwned>(&self, args: &[&str]) -> Result<T, BenchError> {
        let output = self.banger(args)?;
        let line = format!("banger {}", args.join(" "));
        serde_json::from_slice(&output.stdout).map_err(|source| BenchError::Answer { line, source })
    }

    /// A running VM of that name, and its process; deleted when the result is dropped.
    pub(crate) fn boot(&self, name: &str) -> Result<RunningVm<'_>, BenchError> {
        self.boot_with(name, &[])
    }

    /// The same, with options of `vm create`.
    pub(crate) fn boot_with(&self, name: &str, options: &[&str]) -> Result<RunningVm<'_>, BenchError> {
        let create = ["vm", "create", "--quiet", "--start", "--name", name];
        self.banger(&[&create[..], options].concat())?;
        let running = RunningVm { home: self, name: name.into() };
        Ok(running)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let stopped = self.banger(&["daemon", "stop"]).and_then(|_| self.forget_rows());
        if let Err(error) = stopped {
            eprintln!("bench: could not tidy up {}: {error}", self.root.display());
        }
    }
}

pub(crate) struct RunningVm<'home> {
    home: &'home Home,
    name: String,
}

impl RunningVm<'_> {
    pub(crate) fn vmm_pid(&self) -> Result<u32, BenchError> {
        let vm: Vm = self.home.json(&["vm", "show", "--json", &self.name])?;
        vm.vmm_pid.ok_or(BenchError::NoProcess)
    }
}

impl Drop for RunningVm<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.home.banger(&["vm", "delete", "--force", &self.name]) {
            eprintln!("bench: could not delete {}: {error}", self.name);
        }
    }
}

/// The one place where the bench makes processes.
#[allow(clippy::disallowed_methods, reason = "it times whole programs from outside, as a user would")]
pub(crate) fn command(program: &Path) -> Command {
    Command::new(program)
}

/// `<target>/dist`, two levels beside our own `<target>/<profile>/bench`; `$BANGER_E2E_BIN_DIR` has the last
/// word.
fn programs() -> Result<PathBuf, BenchError> {
    let own = std::env::current_exe().map_err(BenchError::file("find", "/proc/self/exe"))?;
    let beside = own.ancestors().nth(2).unwrap_or(Path::new("target")).join("dist");
    let dir = std::env::var_os("BANGER_E2E_BIN_DIR").map_or(beside, PathBuf::from);
    let banger = dir.join("banger");
    if banger.is_file() { Ok(dir) } else { Err(BenchError::Program { path: banger }) }
}

fn cache_dir() -> Result<PathBuf, BenchError> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
    absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache"))).ok_or(BenchError::NoCache)
}
