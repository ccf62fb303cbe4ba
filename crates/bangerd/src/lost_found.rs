//! `lost+found/`: what lies among banger's files and cannot be explained. It is moved there, told of, and
//! never removed but by the user.
//!
//! ```text
//! lost+found/<kind>-<name>-<ms>/   found.json   content (the file or directory as it was)
//! ```

use std::path::{Path, PathBuf};

use banger_host::files::{FileError, private_dir};
use serde::{Deserialize, Serialize};

use crate::clock::unix_ms;
use crate::record::{self, RecordError};

const RECORD: &str = "found.json";
const CONTENT: &str = "content";

/// The directory.
#[derive(Clone, Debug)]
pub struct LostFound(PathBuf);

/// What sort of thing it seems to be, by where it lay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LostKind {
    Vm,
    Image,
    Kernel,
    Store,
}

impl LostKind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Vm => "vm",
            Self::Image => "image",
            Self::Kernel => "kernel",
            Self::Store => "store",
        }
    }
}

/// One of the things found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Lost {
    pub kind: LostKind,
    /// Where it lay.
    pub from: PathBuf,
    /// Why it could not stay there.
    pub why: String,
    pub found_at_unix_ms: u64,
}

/// An entry's name, and what is known of it.
type NamedLost = (String, Result<Lost, RecordError>);

impl LostFound {
    pub fn new(dir: PathBuf) -> Self {
        Self(dir)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Moves `path` here, by a rename. Answers where it lies now.
    ///
    /// # Errors
    ///
    /// When it cannot be moved; it is then where it was.
    pub fn take(&self, path: &Path, kind: LostKind, why: &str) -> Result<PathBuf, FileError> {
        let now = unix_ms();
        let own = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let entry = self.0.join(format!("{}-{own}-{now}", kind.word()));
        private_dir(&self.0)?;
        private_dir(&entry)?;
        let why = why.lines().map(str::trim).collect::<Vec<_>>().join("; ");
        let lost = Lost { kind, from: path.into(), why: why.clone(), found_at_unix_ms: now };
        record::write(&entry.join(RECORD), &lost)?;
        let content = entry.join(CONTENT);
        std::fs::rename(path, &content).map_err(|source| FileError::Io {
            action: "move to lost+found",
            path: path.into(),
            source,
        })?;
        tracing::warn!(path = %path.display(), now = %content.display(), why, "moved to lost+found");
        Ok(content)
    }

    /// What is here: each with its name, and what is known of it.
    ///
    /// # Errors
    ///
    /// When the directory is there and cannot be read.
    pub fn list(&self) -> Result<Vec<NamedLost>, FileError> {
        let entries = banger_host::files::entries(&self.0)?.into_iter();
        // What begins with a dot is on its way out.
        let named = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| !name.starts_with('.'));
        let mut found: Vec<_> = named.map(|name| (name.clone(), self.read(&name))).collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    /// # Errors
    ///
    /// When there is no such entry.
    pub fn read(&self, name: &str) -> Result<Lost, RecordError> {
        record::read(&self.0.join(name).join(RECORD))
    }

    /// Where an entry lies; none for what is no entry's name.
    pub fn entry(&self, name: &str) -> Option<PathBuf> {
        let plain = !name.is_empty() && !name.contains('/') && !name.starts_with('.');
        plain.then(|| self.0.join(name)).filter(|path| path.symlink_metadata().is_ok())
    }

    /// Where the thing itself lies.
    pub fn content(&self, name: &str) -> Option<PathBuf> {
        Some(self.entry(name)?.join(CONTENT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_there_with_its_story() {
        let dir = tempfile::tempdir().unwrap();
        let lost_found = LostFound::new(dir.path().join("lost+found"));
        assert!(lost_found.list().unwrap().is_empty());
        let stray = dir.path().join("0123456789ab");
        std::fs::create_dir(&stray).unwrap();
        std::fs::write(stray.join("cow.img"), "disk").unwrap();
        let content = lost_found.take(&stray, LostKind::Vm, "nothing says what it is").unwrap();
        assert_eq!(std::fs::read_to_string(content.join("cow.img")).unwrap(), "disk");
        assert!(!stray.exists());
        let [(name, Ok(lost))] = &lost_found.list().unwrap()[..] else { panic!("not one entry") };
        assert!(name.starts_with("vm-0123456789ab-"), "{name}");
        assert_eq!((&lost.from, lost.kind), (&stray, LostKind::Vm));
        assert_eq!(lost_found.content(name), Some(content));
        for other in ["", "..", "a/b", ".", "nothing"] {
            assert_eq!(lost_found.entry(other), None, "{other:?}");
        }
        assert!(lost_found.take(&stray, LostKind::Vm, "gone").is_err());
    }
}
