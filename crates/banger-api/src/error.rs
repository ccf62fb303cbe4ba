use banger_guest_protocol::causes::causes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What kind of failure it was; decides the HTTP status and the CLI's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request makes no sense, whatever the state: a bad name, no vCPU.
    Usage,
    /// There is no such VM, image or kernel.
    NotFound,
    /// Not possible in the present state: the name is taken, the image is in use, the VM is not running.
    Refused,
    /// The host lacks something: a program, disk space, permission. `banger doctor` tells.
    HostNotReady,
    /// CLI and daemon are of different builds.
    VersionMismatch,
    /// It was called off: by the client, or by a later request such as `kill`.
    Cancelled,
    /// It was tried and did not work.
    Failed,
}

impl ErrorCode {
    /// The exit code of a command that ends with it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failed | Self::Cancelled => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Refused | Self::VersionMismatch => 4,
            Self::HostNotReady => 5,
        }
    }

    /// The HTTP status that carries this code.
    pub fn http_status(self) -> u16 {
        match self {
            Self::Usage => 400,
            Self::NotFound => 404,
            Self::Refused => 409,
            Self::HostNotReady => 503,
            Self::VersionMismatch => 426,
            Self::Cancelled => 499,
            Self::Failed => 500,
        }
    }
}

/// An error as a person needs it: what failed, why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiError {
    pub code: ErrorCode,
    /// What failed.
    pub message: String,
    /// Why, outermost cause first; none repeats another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl ApiError {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), causes: Vec::new(), hint: None }
    }

    /// Takes the message from `error` and the causes from its chain of sources.
    pub fn from_error(code: ErrorCode, error: &dyn std::error::Error) -> Self {
        let causes = causes(error).into_iter().map(without_errno).collect();
        Self { code, message: error.to_string(), causes, hint: None }
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }
}

/// The words of a system error without its number, which says nothing more to a person.
fn without_errno(mut text: String) -> String {
    if let Some((words, number)) = text.rsplit_once(" (os error ")
        && number.strip_suffix(')').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
    {
        text.truncate(words.len());
    }
    text
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_in_words() {
        #[derive(Debug, thiserror::Error)]
        #[error("could not reach it")]
        struct Unreachable(#[source] std::io::Error);

        let refused = Unreachable(std::io::Error::from_raw_os_error(111));
        let api_error = ApiError::from_error(ErrorCode::Failed, &refused);
        assert_eq!(
            (api_error.message.as_str(), &api_error.causes[..]),
            ("could not reach it", &["Connection refused".into()][..])
        );
        assert_eq!(without_errno("x (os error y)".into()), "x (os error y)");
    }
}
