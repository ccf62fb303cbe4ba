use std::error::Error;
use std::path::{Path, PathBuf};

use banger_host::command::CommandError;
use banger_host::debian::DebianError;
use futures_util::future::BoxFuture;

use crate::catalog::DebianSource;
use crate::download::Environment;

/// Why a tar could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("this host is not ready to build it")]
    NotReady {
        /// The command that mends it, where there is one.
        fix: Option<String>,
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("there is not enough disk space to build it")]
    NoSpace(#[source] Box<dyn Error + Send + Sync>),
    #[error("it could not be built")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
}

impl From<DebianError> for ArchiveError {
    fn from(error: DebianError) -> Self {
        let fix = match &error {
            DebianError::Tool(CommandError::NotFound { package: Some(package), .. }) => Some(*package),
            DebianError::Keyring => Some("debian-archive-keyring"),
            _ => None,
        };
        let fix = fix.map(|package| format!("sudo apt-get install {package}"));
        match error {
            DebianError::NoSpace { .. } => Self::NoSpace(error.into()),
            DebianError::Tool(_)
            | DebianError::Keyring
            | DebianError::SubIds { .. }
            | DebianError::UserNamespaces { .. } => Self::NotReady { fix, source: error.into() },
            _ => Self::Failed(error.into()),
        }
    }
}

/// Where tars of root filesystems come from.
pub trait Archive: Send + Sync {
    /// Looks whether the host has what [`Self::fetch`] needs. Changes nothing.
    ///
    /// # Errors
    ///
    /// Something to install or to permit.
    fn check(&self, source: &DebianSource) -> Result<(), ArchiveError>;

    /// Makes a tar somewhere in the directory `into` and answers its path; `environment` has the proxies.
    /// Dropping the future calls it off.
    fn fetch<'a>(
        &'a self,
        source: &'a DebianSource,
        into: &'a Path,
        environment: &'a Environment,
        on_line: &'a mut (dyn FnMut(&str) + Send),
    ) -> BoxFuture<'a, Result<PathBuf, ArchiveError>>;
}

/// The distribution's signed archive, by `mmdebstrap`.
#[derive(Clone, Copy, Debug, Default)]
pub struct DebianArchive;

impl Archive for DebianArchive {
    fn check(&self, source: &DebianSource) -> Result<(), ArchiveError> {
        Ok(source.build().check()?)
    }

    fn fetch<'a>(
        &'a self,
        source: &'a DebianSource,
        into: &'a Path,
        environment: &'a Environment,
        on_line: &'a mut (dyn FnMut(&str) + Send),
    ) -> BoxFuture<'a, Result<PathBuf, ArchiveError>> {
        Box::pin(async move {
            Ok(source.build().environment(environment.differences()).run(into, on_line).await?)
        })
    }
}
