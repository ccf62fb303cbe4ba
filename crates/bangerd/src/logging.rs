//! The daemon's log: one JSON object a line, in a file.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use crate::config::LogLevel;

/// Overrules the configured level: `debug`, or per part of the program, like `info,bangerd::vm=trace`.
const VARIABLE: &str = "BANGER_LOG";

/// A file of this size is put aside when the daemon starts.
const MAX_BYTES: u64 = 10 << 20;

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    #[error("could not open the log {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("could not put the old log {} aside", path.display())]
    Rotate { path: PathBuf, source: io::Error },
    #[error("{VARIABLE} is no log level: {value:?}")]
    Level { value: String, source: ParseError },
    #[error("there is a log already")]
    Twice(#[from] TryInitError),
}

/// Sends all messages of this process, panics included, to the end of the file `path`. One that grew large is put aside as
/// `<path>.1` first.
///
/// # Errors
///
/// When the file cannot be written, or `BANGER_LOG` makes no sense.
pub fn init(path: &Path, level: LogLevel) -> Result<(), LoggingError> {
    let filter = match std::env::var(VARIABLE) {
        Ok(value) if !value.is_empty() => {
            value.parse().map_err(|source| LoggingError::Level { value, source })?
        }
        _ => Targets::new().with_default(filter(level)),
    };
    let file = open(path)?;
    let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(Arc::new(file));
    tracing_subscriber::registry().with(lines).with(filter).try_init()?;
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!(%panic, "a defect in bangerd");
        print(panic);
    }));
    Ok(())
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

fn open(path: &Path) -> Result<File, LoggingError> {
    if path.metadata().is_ok_and(|meta| meta.len() > MAX_BYTES) {
        let mut aside = path.as_os_str().to_owned();
        aside.push(".1");
        std::fs::rename(path, aside).map_err(|source| LoggingError::Rotate { path: path.into(), source })?;
    }
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    file.map_err(|source| LoggingError::Open { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_log_is_appended_to_private_and_put_aside_when_large() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bangerd.log");
        let mode = || path.metadata().unwrap().permissions().mode() & 0o777;
        for text in ["one\n", "two\n"] {
            io::Write::write_all(&mut open(&path).unwrap(), text.as_bytes()).unwrap();
        }
        assert_eq!((std::fs::read_to_string(&path).unwrap().as_str(), mode()), ("one\ntwo\n", 0o600));
        OpenOptions::new().write(true).open(&path).unwrap().set_len(MAX_BYTES + 1).unwrap();
        drop(open(&path).unwrap());
        assert_eq!((path.metadata().unwrap().len(), mode()), (0, 0o600));
        assert_eq!(dir.path().join("bangerd.log.1").metadata().unwrap().len(), MAX_BYTES + 1);
        assert!(matches!(open(&dir.path().join("none/x.log")), Err(LoggingError::Open { .. })));
    }

    #[test]
    fn messages_are_json_objects_one_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bangerd.log");
        init(&path, LogLevel::Info).unwrap();
        tracing::info!(vm = "brave-otter", "two\nlines");
        tracing::debug!("not logged");
        let text = std::fs::read_to_string(&path).unwrap();
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&line["message"], &line["vm"], &line["level"]),
            (&"two\nlines".into(), &"brave-otter".into(), &"INFO".into())
        );
        assert!(line["timestamp"].is_string());
        assert!(matches!(init(&path, LogLevel::Info), Err(LoggingError::Twice(_))));
    }
}
