//! The daemon's log: one JSON object a line, in a file.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use banger_host::bounded_log::BoundedLog;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use crate::config::LogLevel;

/// Overrules the configured level: `debug`, or per part of the program, like `info,bangerd::vm=trace`.
const VARIABLE: &str = "BANGER_LOG";

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    #[error("could not open the log {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("{VARIABLE} is no log level: {value:?}")]
    Level { value: String, source: ParseError },
    #[error("there is a log already")]
    Twice(#[from] TryInitError),
}

/// Sends all messages of this process, panics included, to the [`BoundedLog`] `path`: guests can make a
/// daemon talk.
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
    let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(Mutex::new(file));
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

fn open(path: &Path) -> Result<BoundedLog, LoggingError> {
    BoundedLog::open(path).map_err(|source| LoggingError::Open { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_log_is_appended_to_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bangerd.log");
        let mode = || path.metadata().unwrap().permissions().mode() & 0o777;
        for text in ["one\n", "two\n"] {
            io::Write::write_all(&mut open(&path).unwrap(), text.as_bytes()).unwrap();
        }
        assert_eq!((std::fs::read_to_string(&path).unwrap().as_str(), mode()), ("one\ntwo\n", 0o600));
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
