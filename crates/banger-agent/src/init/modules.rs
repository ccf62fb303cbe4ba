//! Kernel modules from the initramfs.
//!
//! `DIR/early`, `DIR/vsock` and `DIR/late` list file names in load order, one per line; the files lie beside
//! the lists, decompressed. A leading `-` marks a module whose failure is only a warning. Empty lines and `#`
//! comments are skipped.

use std::io;
use std::path::Path;

use rustix::io::Errno;

/// Of `linux/module.h`: the kernel unpacks it.
const MODULE_INIT_COMPRESSED_FILE: i32 = 4;

/// One line of a module list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleEntry {
    /// Failure to load it is only a warning.
    pub optional: bool,
    /// A file name without directories.
    pub file: String,
}

/// Why modules could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    #[error("could not read the module list {path}")]
    List { path: String, source: io::Error },
    #[error("module list, line {line}: {text:?} is not a plain file name")]
    Entry { line: usize, text: String },
    #[error("could not load the kernel module {file}")]
    Load { file: String, source: io::Error },
}

/// Parses a module list.
///
/// # Errors
///
/// On the first line that is not a plain file name.
pub fn parse_list(text: &str) -> Result<Vec<ModuleEntry>, ModuleError> {
    let mut entries = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (optional, file) = match line.strip_prefix('-') {
            Some(rest) => (true, rest.trim_start()),
            None => (false, line),
        };
        if file.is_empty() || file == "." || file == ".." || file.contains(['/', '\0']) {
            return Err(ModuleError::Entry { line: index + 1, text: line.to_owned() });
        }
        entries.push(ModuleEntry { optional, file: file.to_owned() });
    }
    Ok(entries)
}

/// Loads what `dir/list` names, in order. A list that does not exist is empty. Returns warnings about
/// optional modules.
///
/// # Errors
///
/// The first required module that does not load; one that is loaded already is fine.
pub fn load_list(dir: &Path, list: &str) -> Result<Vec<String>, ModuleError> {
    let path = dir.join(list);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(ModuleError::List { path: path.display().to_string(), source }),
    };
    let mut warnings = Vec::new();
    for entry in parse_list(&text)? {
        match load(&dir.join(&entry.file)) {
            Ok(()) => {}
            Err(source) if entry.optional => {
                warnings.push(format!("optional kernel module {} did not load: {source}", entry.file));
            }
            Err(source) => return Err(ModuleError::Load { file: entry.file, source }),
        }
    }
    Ok(warnings)
}

fn load(path: &Path) -> io::Result<()> {
    load_with(path, 0)
}

/// Loads a module out of the directory of the kernel's modules below `root`, compressed or not: `file` is its
/// path there. For what an initramfs of an earlier banger lacks.
///
/// # Errors
///
/// When it is not there, or the kernel does not take it.
pub(crate) fn load_from_tree(root: &Path, file: &str) -> io::Result<()> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let path = |suffix: &str| root.join(format!("lib/modules/{release}/{file}{suffix}"));
    let compressed = ["", ".xz", ".zst", ".gz"].into_iter().find(|suffix| path(suffix).exists());
    let suffix = compressed.ok_or(io::ErrorKind::NotFound)?;
    load_with(&path(suffix), if suffix.is_empty() { 0 } else { MODULE_INIT_COMPRESSED_FILE })
}

fn load_with(path: &Path, flags: i32) -> io::Result<()> {
    let file = std::fs::File::open(path)?;
    match rustix::system::finit_module(&file, c"", flags) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn order_comments_and_optional_marks_are_kept() {
        let entries = parse_list("# boot\nvirtio_blk.ko\n\n-crc32c-intel.ko\n").unwrap();
        let expected = [(false, "virtio_blk.ko"), (true, "crc32c-intel.ko")]
            .map(|(optional, file)| ModuleEntry { optional, file: file.into() });
        assert_eq!(entries, expected);
    }

    #[test]
    fn paths_are_refused_with_their_line() {
        for text in ["ok.ko\n../x.ko", "ok.ko\n/x.ko", "ok.ko\n-", "a.ko\n.."] {
            assert!(matches!(parse_list(text), Err(ModuleError::Entry { line: 2, .. })), "{text:?}");
        }
    }

    #[test]
    fn a_missing_list_is_empty_and_a_missing_module_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert!(load_list(dir.path(), "early").unwrap().is_empty());
        std::fs::write(dir.path().join("early"), "-gone.ko\n").unwrap();
        assert!(load_list(dir.path(), "early").unwrap()[0].contains("gone.ko"));
        std::fs::write(dir.path().join("early"), "gone.ko\n").unwrap();
        let error = load_list(dir.path(), "early").unwrap_err();
        assert!(error.to_string().contains("gone.ko"), "{error}");
    }

    proptest! {
        #[test]
        fn no_entry_leaves_the_directory(text in "(-|\\.|/|a|#| |\n){0,40}") {
            for entry in parse_list(&text).unwrap_or_default() {
                prop_assert_eq!(Path::new(&entry.file).components().count(), 1);
                prop_assert!(!entry.file.contains('/') && entry.file != "..");
            }
        }
    }
}
