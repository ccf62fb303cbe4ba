//! One failed system call, told so that a person knows what it was for.

use std::fmt::Display;
use std::io;

/// A system call that failed: what was to be done, and to what.
#[derive(Debug, thiserror::Error)]
#[error("could not {action} {object}")]
pub struct SystemError {
    action: &'static str,
    object: String,
    pub(crate) source: io::Error,
}

impl SystemError {
    pub fn new(action: &'static str, object: impl Display, source: impl Into<io::Error>) -> Self {
        Self { action, object: object.to_string(), source: source.into() }
    }
}

/// Gives a bare I/O error its context.
pub trait Context<T> {
    /// # Errors
    ///
    /// The same error, as "could not ACTION OBJECT".
    fn context(self, action: &'static str, object: impl Display) -> Result<T, SystemError>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn context(self, action: &'static str, object: impl Display) -> Result<T, SystemError> {
        self.map_err(|source| SystemError::new(action, object, source))
    }
}
