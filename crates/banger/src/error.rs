//! What can go wrong in a command, and the exit code it ends with.

use banger_api::{ApiError, ClientError, ErrorCode};

use crate::daemon::ProgramError;

/// Exit code of `run` and `exec` when banger itself failed; every other code there is the command's own.
pub(crate) const SESSION_FAILED: u8 = 125;

/// What a shell reports for a program whose reader went away (128 + SIGPIPE).
pub(crate) const OUTPUT_CLOSED: u8 = 141;

/// Why a command did not end well.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// To be shown to the user.
    Shown(ApiError),
    /// Everything worth saying has been said.
    Quiet { exit_code: u8 },
}

impl CommandError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::Shown(ApiError::new(code, message))
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Usage, message)
    }

    /// Something of this machine, such as a terminal or a file, did not work.
    pub(crate) fn io(message: impl Into<String>, source: impl std::fmt::Display) -> Self {
        Self::Shown(ApiError::new(ErrorCode::Failed, message).because(source.to_string()))
    }

    #[must_use]
    pub(crate) fn with_cause(self, cause: impl Into<String>) -> Self {
        match self {
            Self::Shown(error) => Self::Shown(error.because(cause)),
            quiet @ Self::Quiet { .. } => quiet,
        }
    }

    #[must_use]
    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Self {
        match self {
            Self::Shown(error) => Self::Shown(error.with_hint(hint)),
            quiet @ Self::Quiet { .. } => quiet,
        }
    }
}

impl From<ApiError> for CommandError {
    fn from(error: ApiError) -> Self {
        Self::Shown(error)
    }
}

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> Self {
        Self::Shown(api_error(error))
    }
}

impl From<ProgramError> for CommandError {
    fn from(error: ProgramError) -> Self {
        Self::Shown(match error {
            ProgramError::Reported(api) => api,
            ProgramError::Missing { .. } => ApiError::from_error(ErrorCode::HostNotReady, &error)
                .with_hint("install bangerd beside banger (`make install` does)"),
            _ => ApiError::from_error(ErrorCode::Failed, &error),
        })
    }
}

/// The daemon's own words where it had any, else the client's.
pub(crate) fn api_error(error: ClientError) -> ApiError {
    match error {
        ClientError::Api(api) => api,
        ClientError::Silent { .. } => ApiError::from_error(ErrorCode::HostNotReady, &error)
            .because("it is stopped or hung; its VMs run on without it")
            .with_hint("see what it was at: banger daemon logs\nend it, the next command starts another one: banger daemon stop --force"),
        ClientError::NoHome | ClientError::Foreign { .. } | ClientError::Connect { .. } => ApiError::from_error(ErrorCode::HostNotReady, &error),
        ClientError::Broken(_) | ClientError::Truncated { .. } => {
            ApiError::from_error(ErrorCode::Failed, &error).with_hint("see why: banger daemon logs")
        }
        _ => ApiError::from_error(ErrorCode::Failed, &error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_comes_from_the_chain_once() {
        let source = std::io::Error::other("no such device");
        let error = ClientError::Connect { socket: "/run/x.sock".into(), source };
        let error = api_error(error);
        assert_eq!(error.message, "could not connect to bangerd at /run/x.sock");
        assert_eq!(error.causes, ["no such device"]);
        assert_eq!(error.code.exit_code(), 5);
    }
}
