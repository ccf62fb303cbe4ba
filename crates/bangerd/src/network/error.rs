use std::io;
use std::path::PathBuf;

use banger_host::files::FileError;
use banger_host::process::ProcessError;

/// Why a VM has no network, or nothing is known of it.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("the VM's gateway could not be started")]
    Start(#[source] ProcessError),
    #[error("the gateway's program {} cannot be used", path.display())]
    Program { path: PathBuf, source: io::Error },
    #[error("could not listen on {}", path.display())]
    Listen { path: PathBuf, source: io::Error },
    #[error("a file of the VM's network could not be handled")]
    File(#[from] FileError),
    #[error("the processes of gateways could not be looked for")]
    Find(#[source] ProcessError),
    #[error("the VM's gateway could not be stopped")]
    Stop(#[source] ProcessError),
    #[error("the VM's gateway does not answer")]
    Unreachable(#[source] io::Error),
    #[error("the VM's gateway could not do it: {0}")]
    Gateway(String),
}

impl NetworkError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Program { path, .. } => Some(format!(
                "{} belongs beside bangerd, into {}; `make build` puts both into target/dist",
                super::PROGRAM,
                path.parent().unwrap_or(path).display()
            )),
            Self::Unreachable(_) => {
                Some("it is started again when it has ended; `banger daemon logs` tells why it did".into())
            }
            _ => None,
        }
    }
}
