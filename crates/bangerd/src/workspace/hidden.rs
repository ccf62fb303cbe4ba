//! What of a patch `git status` would not show on the host.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use banger_guest_protocol::ByteString;
use banger_host::git::{Git, records};

use super::WorkspaceError;
use super::patch::{FileChange, TreeEntry};

/// What every path begins with that git is given.
const HERE: &[u8] = b"./";

/// More patterns than this nobody writes, in bytes: then all new files count as hidden.
const MAX_PATTERNS_LEN: usize = 1 << 20;

/// Of the paths that a patch makes, those that git ignores on the host. What lies beyond a symlink or in a
/// submodule git does not say, and it counts by its name alone.
///
/// # Errors
///
/// When git cannot be asked.
pub(super) async fn ignored(
    host: &Git,
    changes: &[FileChange],
    tree: &[TreeEntry],
) -> Result<HashSet<ByteString>, WorkspaceError> {
    let known: HashSet<&[u8]> = tree.iter().map(|entry| entry.path.as_bytes()).collect();
    let mut beyond: HashMap<PathBuf, bool> = HashMap::new();
    let paths = changes.iter().filter_map(FileChange::new_path);
    // What git tracks it shows, ignored or not.
    let paths = paths.filter(|path| !known.contains(path.as_bytes()));
    let paths: Vec<u8> = paths
        .filter(|path| {
            let above = Path::new(path.as_os_str()).ancestors().skip(1);
            !above
                .filter(|dir| !dir.as_os_str().is_empty())
                .any(|dir| *beyond.entry(dir.to_owned()).or_insert_with(|| is_other(&host.dir().join(dir))))
        })
        .flat_map(|path| [HERE, path.as_bytes(), b"\0"].concat())
        .collect();
    if paths.is_empty() {
        return Ok(HashSet::new());
    }
    // It takes no literal pathspecs, and no path in it begins with magic.
    let command = host.command(["--no-literal-pathspecs", "check-ignore", "-z", "--stdin"]);
    let output = command.stdin(paths).ok_codes(&[0, 1]).run().await?;
    Ok(named(&output.stdout))
}

/// A symlink, or another repository.
fn is_other(dir: &Path) -> bool {
    dir.is_symlink() || dir.join(".git").symlink_metadata().is_ok()
}

/// Of the paths that a patch makes, those that the `.gitignore` files of the same patch hide. They are laid
/// out in `beside`.
///
/// # Errors
///
/// When the disk is full, or git fails.
pub(super) async fn hidden(
    beside: &Path,
    changes: &[FileChange],
    git_ignore: Vec<(ByteString, Vec<u8>)>,
) -> Result<HashSet<ByteString>, WorkspaceError> {
    let new = changes.iter().filter(|change| change.old_path() != change.new_path());
    let new: HashSet<ByteString> = new.filter_map(FileChange::new_path).cloned().collect();
    let has_patterns = |file: &&(ByteString, Vec<u8>)| !file.1.trim_ascii().is_empty();
    let git_ignore: Vec<_> = git_ignore.iter().filter(has_patterns).collect();
    if new.is_empty() || git_ignore.is_empty() {
        return Ok(HashSet::new());
    }
    let len = |file: &&(ByteString, Vec<u8>)| file.0.as_bytes().len() + file.1.len();
    if git_ignore.iter().map(len).sum::<usize>() > MAX_PATTERNS_LEN {
        return Ok(new);
    }
    let kept = |source| WorkspaceError::Patch { source };
    let dir = tempfile::Builder::new().prefix("ignore-").tempdir_in(beside).map_err(kept)?;
    let tree = dir.path().join("tree");
    for (path, patterns) in git_ignore {
        let file = tree.join(path.as_os_str());
        fs::create_dir_all(file.parent().unwrap_or(&tree)).map_err(kept)?;
        fs::write(file, patterns).map_err(kept)?;
    }
    let git = Git::new(&tree);
    let alone = |args: &[&str]| {
        let command = git.command(args).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.env("HOME", "/nonexistent").env("XDG_CONFIG_HOME", "/nonexistent")
    };
    alone(&["init", "--quiet", "--template="]).run().await?;
    let paths: Vec<u8> = new.iter().flat_map(|path| [HERE, path.as_bytes(), b"\0"].concat()).collect();
    let asked = alone(&["--no-literal-pathspecs", "check-ignore", "--no-index", "-z", "--stdin"]);
    let output = asked.stdin(paths).ok_codes(&[0, 1]).run().await?.stdout;
    Ok(named(&output))
}

fn named(output: &[u8]) -> HashSet<ByteString> {
    records(output).map(|path| path.strip_prefix(HERE).unwrap_or(path).to_vec().into()).collect()
}
