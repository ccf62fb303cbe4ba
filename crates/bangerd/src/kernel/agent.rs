use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::checksum::sha256;

/// The guest's program, as it lies beside bangerd.
const AGENT: &str = "banger-agent";

/// Why the guest agent cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("could not find out where the running bangerd lies")]
    OwnPath(#[source] io::Error),
    #[error("could not read the guest agent {}", path.display())]
    Read { path: PathBuf, source: io::Error },
}

impl AgentError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::OwnPath(_) => None,
            Self::Read { path, .. } => Some(format!(
                "{AGENT} belongs beside bangerd, into {}; `make build` puts both into target/dist",
                path.parent().unwrap_or(path).display()
            )),
        }
    }
}

/// Where the agent belongs: beside the running bangerd. Whether it is there shows when it is needed.
///
/// # Errors
///
/// When the own program's path cannot be told.
pub fn agent_path() -> Result<PathBuf, AgentError> {
    // Replaced by an update, the program still lies in the same directory.
    Ok(std::env::current_exe().map_err(AgentError::OwnPath)?.with_file_name(AGENT))
}

/// The agent's file. Remembers its checksum as long as the file stays the same.
#[derive(Clone)]
pub(super) struct Agent {
    path: PathBuf,
    known: Arc<Mutex<Option<(Stamp, String)>>>,
}

/// Changes whenever the file does.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Agent {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, known: Arc::default() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The SHA-256 of the file, in hex.
    pub(super) fn sha256(&self) -> Result<String, AgentError> {
        let meta = self.path.metadata().map_err(|source| self.unreadable(source))?;
        let changed = (meta.ctime(), meta.ctime_nsec());
        let stamp = Stamp { inode: meta.ino(), size: meta.size(), changed };
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, sum)) = known.filter(|(of, _)| *of == stamp) {
            return Ok(sum);
        }
        let sum = sha256(&self.read()?);
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((stamp, sum.clone()));
        Ok(sum)
    }

    pub(super) fn read(&self) -> Result<Vec<u8>, AgentError> {
        std::fs::read(&self.path).map_err(|source| self.unreadable(source))
    }

    fn unreadable(&self, source: io::Error) -> AgentError {
        AgentError::Read { path: self.path.clone(), source }
    }
}
