use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Why the configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("could not read the configuration file {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is no configuration file: it has more than {limit_kib} KiB", path.display())]
    TooLarge { path: PathBuf, limit_kib: u64 },
    #[error("{mistake}")]
    Invalid { mistake: Box<Mistake> },
}

impl ConfigError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { .. } => Some("make it readable, or remove it: without it, defaults are used".into()),
            Self::TooLarge { .. } => None,
            Self::Invalid { mistake } => mistake.hint.clone(),
        }
    }
}

/// Something in the file that is not as it should be. Displays as `FILE:LINE:COLUMN: MESSAGE`.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    pub path: PathBuf,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    pub message: String,
    pub hint: Option<String>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.path.display(), self.line, self.column, self.message)
    }
}

/// A file's text, to say where in it something is wrong.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

impl Text<'_> {
    pub(super) fn mistake(
        self,
        span: Range<usize>,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> ConfigError {
        let (line, column) = self.position(span.start);
        let path = self.path.to_owned();
        ConfigError::Invalid {
            mistake: Box::new(Mistake { path, line, column, message: message.into(), hint }),
        }
    }

    fn position(self, offset: usize) -> (usize, usize) {
        // A place within a character or behind the end is no place to cut.
        let end = (0..=offset.min(self.text.len())).rev().find(|end| self.text.is_char_boundary(*end));
        let before = &self.text[..end.unwrap_or(0)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }
}
