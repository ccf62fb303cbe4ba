use std::io;
use std::path::PathBuf;

use banger_guest_protocol::preamble::AnswerError;

/// Why something could not be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error("{} is missing: build it with `cargo xtask dist`", path.display())]
    Program { path: PathBuf },
    #[error("neither $XDG_CACHE_HOME nor $HOME says where to keep images")]
    NoCache,
    #[error("could not {action} {}", path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error("could not start `{line}`")]
    Spawn { line: String, source: io::Error },
    #[error("`{line}` ended with {status}: {stderr}")]
    Failed { line: String, status: std::process::ExitStatus, stderr: String },
    #[error("what `{line}` printed is not understood")]
    Answer { line: String, source: serde_json::Error },
    #[error("could not use the state store")]
    Store(#[from] rusqlite::Error),
    #[error("the soak found {0} faults")]
    Soak(usize),
    #[error(
        "`banger vm list` answers too slowly beside work: its p99 is {p99:.1} ms, the limit {limit:.0} ms"
    )]
    Slow { p99: f64, limit: f64 },
    #[error("{phase}: only {answers} answers, too few to say anything; take more --files")]
    TooFewAnswers { phase: String, answers: usize },
    #[error("{changed} of {files} files were changed by the export: something else was measured")]
    NotApplied { changed: usize, files: usize },
    #[error("the VM has no process")]
    NoProcess,
    #[error("this must be run as root: {what}")]
    NeedsRoot { what: &'static str },
    #[error("bare QEMU's guest did not say hello: {what}")]
    NoHello { what: String },
    #[error("bare QEMU's guest said something else than hello")]
    Hello(#[from] AnswerError),
    #[error("{sent} bytes went in and {back} other bytes came back")]
    Differs { sent: usize, back: usize },
}

impl BenchError {
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
