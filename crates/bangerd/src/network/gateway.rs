use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use banger_gateway::config::{CONFIG, Config};
use banger_gateway::control::{self, Answer, Request};
use banger_gateway::{NETWORK_DIR, log};
use banger_host::files::{FileError, private_dir, write_atomic};
use banger_host::process::{
    DetachedSpec, ProcessHandle, Signal, find_by_cwd_and_arg, open_log, spawn_detached,
};
use banger_host::unix_socket::{connect_in, listen_in};

use super::NetworkError;
use crate::identity::VmId;
use crate::paths::VmDir;

/// The program, as it lies beside bangerd.
pub const PROGRAM: &str = "banger-gateway";

/// What it complains about, in the directory of the VM's network.
const LOG: &str = "gateway.log";

/// How long a gateway may take to end once its VM has, or once it was asked to.
const END_LIMIT: Duration = Duration::from_secs(2);

/// How long to wait before one that has ended is started again: at first, and at most.
const RESTART_FIRST: Duration = Duration::from_millis(50);
const RESTART_LAST: Duration = Duration::from_secs(5);
/// One that has lived for so long has not failed at once.
const RESTART_FORGET: Duration = Duration::from_secs(30);

/// How long one may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// What marks a process as the gateway of VM `id`.
pub fn marker(id: &VmId) -> String {
    format!("{MARKER_START}{id}")
}

const MARKER_START: &str = "gateway-of-";

/// Starts gateways, and finds those of earlier daemons.
#[derive(Clone, Debug)]
pub struct Gateways {
    program: PathBuf,
}

/// The gateway of a VM that runs: one process after the other, until the VM ends.
#[derive(Clone, Debug)]
pub struct Gateway {
    dir: PathBuf,
    process: Arc<Mutex<ProcessHandle>>,
    /// It is to end, and no other one to follow.
    over: Arc<AtomicBool>,
}

impl Gateways {
    /// The program lies beside `bangerd`, which is `daemon`. Whether it is there shows when it is needed.
    pub fn beside(daemon: &Path) -> Self {
        Self { program: daemon.with_file_name(PROGRAM) }
    }

    /// Starts the gateway of the VM `id`, which `vmm` runs in `dir`, and keeps one running for as long.
    ///
    /// # Errors
    ///
    /// When the first one cannot be started.
    pub fn start(
        &self,
        id: &VmId,
        dir: &VmDir,
        vmm: &ProcessHandle,
        config: &Config,
    ) -> Result<Gateway, NetworkError> {
        write_config(&dir.file(NETWORK_DIR), config)?;
        let process = self.spawn(id, dir)?;
        Ok(self.keep(id, dir, vmm, process))
    }

    /// Goes on with the gateway of a VM that was running before this daemon; starts one where it has lost it.
    /// None where it never had one.
    ///
    /// # Errors
    ///
    /// When it has none, and none can be started.
    pub fn adopt(
        &self,
        id: &VmId,
        dir: &VmDir,
        vmm: &ProcessHandle,
        mut found: Vec<ProcessHandle>,
    ) -> Result<Option<Gateway>, NetworkError> {
        // Of several the last one has the socket that the daemon speaks over.
        found.sort_by_key(|process| process.identity().start_time_ticks);
        let process = match found.pop() {
            Some(process) => {
                for other in found {
                    other.signal(Signal::KILL).map_err(NetworkError::Stop)?;
                }
                process
            }
            // Started by an earlier banger, whose network had no gateway.
            None if !dir.file(VmDir::NETWORK_SOCKET).exists() => return Ok(None),
            None => {
                tracing::warn!(%id, "the VM has no gateway; starting one");
                self.spawn(id, dir)?
            }
        };
        Ok(Some(self.keep(id, dir, vmm, process)))
    }

    /// The gateways that run in directories of VMs, each of which is directly in `vms`.
    ///
    /// # Errors
    ///
    /// When `/proc` cannot be read.
    pub fn find(&self, vms: &Path) -> Result<Vec<(VmId, ProcessHandle)>, NetworkError> {
        let mut all = Vec::new();
        for found in find_by_cwd_and_arg(vms, MARKER_START).map_err(NetworkError::Find)? {
            let id = found
                .argv
                .iter()
                .find_map(|arg| arg.to_str()?.strip_prefix(MARKER_START).and_then(VmId::parse));
            let process = ProcessHandle::open(found.identity).map_err(NetworkError::Find)?;
            // Without a process it has ended since.
            all.extend(id.zip(process));
        }
        Ok(all)
    }

    /// Waits for its end, and starts the next one, until the VM has ended.
    fn keep(&self, id: &VmId, dir: &VmDir, vmm: &ProcessHandle, process: ProcessHandle) -> Gateway {
        let current = Arc::new(Mutex::new(process));
        let over = Arc::new(AtomicBool::new(false));
        let gateway = Gateway { dir: dir.file(NETWORK_DIR), process: current.clone(), over: over.clone() };
        let (gateways, id, dir, vmm) = (self.clone(), id.clone(), dir.clone(), vmm.clone());
        tokio::spawn(async move {
            tokio::select! {
                _ = exit(&vmm) => {}
                () = gateways.restart_when_it_ends(&id, &dir, &current, &over) => {}
            }
            if let Err(error) = forget_config(&dir) {
                tracing::warn!(%id, causes = ?crate::causes::chain(&error), "a gateway's configuration is left");
            }
            let last = current.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Err(error) = end(&last).await {
                tracing::warn!(%id, causes = ?crate::causes::chain(&error), "a gateway is left");
            }
        });
        gateway
    }

    /// Comes back when there is to be none any more.
    async fn restart_when_it_ends(
        &self,
        id: &VmId,
        dir: &VmDir,
        current: &Mutex<ProcessHandle>,
        over: &AtomicBool,
    ) {
        let mut pause = RESTART_FIRST;
        loop {
            let process = current.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let since = std::time::Instant::now();
            let status = exit(&process).await;
            if since.elapsed() > RESTART_FORGET {
                pause = RESTART_FIRST;
            }
            // A VM that ends takes its gateway along: the VMM's end shows a moment later.
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RESTART_LAST);
            if over.load(Ordering::Relaxed) {
                return;
            }
            tracing::warn!(%id, ?status, "the VM's gateway has ended; starting another one");
            match self.spawn(id, dir) {
                Ok(process) => *current.lock().unwrap_or_else(PoisonError::into_inner) = process,
                Err(error) => {
                    tracing::error!(%id, causes = ?crate::causes::chain(&error), "the VM has no gateway");
                }
            }
        }
    }

    fn spawn(&self, id: &VmId, dir: &VmDir) -> Result<ProcessHandle, NetworkError> {
        let program = |source| NetworkError::Program { path: self.program.clone(), source };
        std::fs::metadata(&self.program).map_err(program)?;
        let network = dir.file(NETWORK_DIR);
        let control = listen(&network)?;
        let log = network.join(LOG);
        // Each has it to itself.
        remove(&log)?;
        let output = open_log(&log).map_err(NetworkError::Start)?;
        let errors = open_log(&log).map_err(NetworkError::Start)?;
        let args: Vec<OsString> =
            vec![marker(id).into(), VmDir::NETWORK_SOCKET.into(), control.as_raw_fd().to_string().into()];
        spawn_detached(DetachedSpec {
            program: self.program.clone(),
            args,
            cwd: dir.path().into(),
            env: environment(),
            stdin: None,
            stdout: output,
            stderr: errors,
            passed: vec![control],
        })
        .map_err(NetworkError::Start)
    }
}

impl Gateway {
    /// What the gateway is to go by: after [`Self::reload`], or when the next one starts.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn set_config(&self, config: &Config) -> Result<(), NetworkError> {
        write_config(&self.dir, config)
    }

    /// Has the gateway go by its configuration as it is now. Answers how many connections were cut that it no
    /// longer allows.
    ///
    /// # Errors
    ///
    /// When the gateway does not answer. The next one goes by it all the same.
    pub async fn reload(&self) -> Result<usize, NetworkError> {
        match self.ask(Request::Reload).await? {
            Answer::Reloaded { cut } => Ok(cut),
            other => Err(unexpected(other)),
        }
    }

    /// What it goes by.
    ///
    /// # Errors
    ///
    /// When that cannot be read.
    pub fn config(&self) -> Result<Config, NetworkError> {
        let path = self.dir.join(CONFIG);
        let read = std::fs::read(&path).and_then(|json| Ok(serde_json::from_slice(&json)?));
        Ok(read.map_err(|source| FileError::Io { action: "read", path, source })?)
    }

    /// What is under way.
    ///
    /// # Errors
    ///
    /// When the gateway does not answer.
    pub async fn flows(&self) -> Result<Vec<log::Attempt>, NetworkError> {
        match self.ask(Request::Flows).await? {
            Answer::Flows(flows) => Ok(flows),
            other => Err(unexpected(other)),
        }
    }

    async fn ask(&self, request: Request) -> Result<Answer, NetworkError> {
        let asked = async {
            let stream = connect_in(&self.dir, control::SOCKET).await?;
            control::ask(stream, request).await
        };
        let answer = tokio::time::timeout(ANSWER_LIMIT, asked).await.unwrap_or_else(|late| Err(late.into()));
        answer.map_err(NetworkError::Unreachable)
    }

    /// Ends it, before the VM.
    ///
    /// # Errors
    ///
    /// When it cannot be ended.
    pub async fn end(&self) -> Result<(), NetworkError> {
        self.over.store(true, Ordering::Relaxed);
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner).clone();
        end(&process).await
    }

    pub fn process(&self) -> ProcessHandle {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn unexpected(answer: Answer) -> NetworkError {
    match answer {
        Answer::Failed(why) => NetworkError::Gateway(why),
        other => NetworkError::Gateway(format!("its answer is to another question: {other:?}")),
    }
}

/// Waits for the end of a process. That it cannot be waited for now (no descriptors are left, say) is none.
async fn exit(process: &ProcessHandle) -> Option<ExitStatus> {
    loop {
        match process.wait_exit().await {
            Ok(status) => return status,
            Err(error) => {
                tracing::warn!(causes = ?crate::causes::chain(&error), "a process cannot be waited for now");
                tokio::time::sleep(RESTART_LAST).await;
            }
        }
    }
}

/// Removes what a gateway goes by: it may have a proxy's password in it, and is written anew at each start.
///
/// # Errors
///
/// When it cannot be removed.
pub fn forget_config(dir: &VmDir) -> Result<(), NetworkError> {
    remove(&dir.file(NETWORK_DIR).join(CONFIG))
}

/// Lets it write down what it has to, and ends it.
async fn end(process: &ProcessHandle) -> Result<(), NetworkError> {
    process.signal(Signal::TERM).map_err(NetworkError::Stop)?;
    if tokio::time::timeout(END_LIMIT, process.wait_exit()).await.is_err() {
        process.signal(Signal::KILL).map_err(NetworkError::Stop)?;
    }
    Ok(())
}

/// What a gateway goes by. Its proxies may have passwords: nobody else reads it.
fn write_config(network: &Path, config: &Config) -> Result<(), NetworkError> {
    private_dir(network)?;
    let json = serde_json::to_vec_pretty(config).expect("names and texts make JSON");
    Ok(write_atomic(&network.join(CONFIG), &json, 0o600)?)
}

fn listen(network: &Path) -> Result<OwnedFd, NetworkError> {
    let path = network.join(control::SOCKET);
    remove(&path)?;
    listen_in(network, control::SOCKET).map_err(|source| NetworkError::Listen { path, source })
}

fn remove(path: &Path) -> Result<(), NetworkError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(FileError::Io { action: "remove", path: path.into(), source }.into())
        }
        _ => Ok(()),
    }
}

/// The C library's resolver looks names up as they stand: search domains of the host's are not the guest's.
fn environment() -> Vec<(OsString, OsString)> {
    vec![(OsString::from("LOCALDOMAIN"), OsString::new())]
}
