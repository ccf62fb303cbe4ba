//! Asks the host's git what it runs and reads in the working tree.

use std::collections::{HashSet, VecDeque};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use banger_guest_protocol::ByteString;
use banger_host::command::CommandError;
use banger_host::git::{Git, path_of, records};

use super::WorkspaceError;
use super::patch::{FileChange, FileMode, Obeyed, TreeEntry, is_obeyed};

/// Symlinks that lead on to others are followed so far.
const MAX_LINKS: usize = 40;

/// What every path begins with that git is given.
const HERE: &[u8] = b"./";

/// So much of a hook is read.
const SCRIPT_BYTES: usize = 64 * 1024;

/// Looks at the host's repository. `tree` is what git knows of there.
///
/// # Errors
///
/// When git cannot be asked.
pub(super) async fn obeyed(
    host: &Git,
    changes: &[FileChange],
    tree: &[TreeEntry],
) -> Result<Obeyed, WorkspaceError> {
    let root = host.dir().canonicalize().map_err(|_| WorkspaceError::HostGone)?;
    let mut configured = settings(host, &root).await?;
    configured.extend(hooks(host, &root).await?);
    let links = tree.iter().filter(|entry| entry.mode == FileMode::Symlink);
    let links = links.filter_map(|entry| Some((entry.path.clone(), leads_to(&root, &entry.path)?))).collect();
    let paths: Vec<u8> = changes
        .iter()
        .filter_map(FileChange::new_path)
        .flat_map(|path| [HERE, path.as_bytes(), b"\0"].concat())
        .collect();
    Ok(Obeyed { configured, links, ignored: ignored(host, paths).await? })
}

/// Files that the configuration is in, and files that it names.
async fn settings(host: &Git, root: &Path) -> Result<Vec<(ByteString, String)>, WorkspaceError> {
    let listed = host.output(&["config", "--list", "--includes", "--show-origin", "-z"]).await?;
    let mut found = Vec::new();
    let mut records = listed.split(|byte| *byte == 0);
    while let (Some(origin), Some(setting)) = (records.next(), records.next()) {
        let file = origin.strip_prefix(b"file:").map(|file| root.join(path_of(file)));
        if let Some(inside) = file.as_deref().and_then(|file| inside(root, file)) {
            found.push((inside, "a file of git's configuration".to_owned()));
        }
        let end = setting.iter().position(|byte| *byte == b'\n').unwrap_or(setting.len());
        let (key, value) = (&setting[..end], setting.get(end + 1..).unwrap_or_default());
        let key = String::from_utf8_lossy(key).into_owned();
        // What is included is named from where it is included.
        let is_include = key.starts_with("include") && key.ends_with(".path");
        let from = file.as_deref().and_then(Path::parent).filter(|_| is_include).unwrap_or(root);
        let named = places(from, root, value, is_obeyed(&key));
        found.extend(named.into_iter().map(|place| (place, format!("git's {key}"))));
    }
    found.sort();
    found.dedup_by(|later, earlier| later.0 == earlier.0);
    Ok(found)
}

/// What a text names in the working tree, taken apart as a shell would. A word without a slash is a name only where a program is
/// run or a file read (`is_obeyed`): it may be any word otherwise.
fn places(dir: &Path, root: &Path, text: &[u8], is_obeyed: bool) -> Vec<ByteString> {
    let is_between = |byte: &u8| byte.is_ascii_whitespace() || b"\"'`;|&()<>=$!:,".contains(byte);
    let at = |word: &[u8]| match word.strip_prefix(b"~/") {
        Some(rest) => Some(PathBuf::from(std::env::var_os("HOME")?).join(path_of(rest))),
        None => Some(dir.join(path_of(word))),
    };
    let place = |word: &[u8]| {
        let path = at(word)?;
        // One with a slash need not be there yet. What follows a variable begins with one.
        let is_name = word.contains(&b'/') || (is_obeyed && path.is_file());
        let after_variable = || Some(root.join(path_of(word.strip_prefix(b"/")?))).filter(|_| !path.exists());
        let found = inside(root, &path).or_else(|| inside(root, &after_variable()?));
        found.filter(|_| is_name)
    };
    let whole = at(text).filter(|path| is_obeyed && path.exists()).and_then(|path| inside(root, &path));
    let words = text.split(|byte| is_between(byte)).filter(|word| !word.is_empty());
    let mut found: Vec<ByteString> = words.filter_map(place).chain(whole).collect();
    found.sort();
    found.dedup();
    found
}

/// The directory of hooks if it is in the working tree, and what the hooks in it lead to.
async fn hooks(host: &Git, root: &Path) -> Result<Vec<(ByteString, String)>, WorkspaceError> {
    let Some(dir) = host.line(&["rev-parse", "--git-path", "hooks"]).await? else { return Ok(Vec::new()) };
    let dir = host.dir().join(dir);
    let mut found = Vec::new();
    found.extend(inside(root, &dir).map(|place| (place, "git's hooks".to_owned())));
    // Without a directory there are no hooks.
    let Ok(entries) = std::fs::read_dir(&dir) else { return Ok(found) };
    for entry in entries.flatten() {
        let name = entry.file_name().display().to_string();
        if name.ends_with(".sample") {
            continue;
        }
        found.extend(inside(root, &entry.path()).map(|place| (place, format!("git's hook {name}"))));
        // A hook of one line that runs another script.
        if let Ok(script) = std::fs::read(entry.path()) {
            let named = places(root, root, &script[..script.len().min(SCRIPT_BYTES)], true);
            found.extend(named.into_iter().map(|place| (place, format!("git's hook {name}"))));
        }
    }
    Ok(found)
}

/// Of NUL-terminated paths that begin with [`HERE`], those that git ignores.
async fn ignored(host: &Git, paths: Vec<u8>) -> Result<HashSet<ByteString>, WorkspaceError> {
    if paths.is_empty() {
        return Ok(HashSet::new());
    }
    // It takes no literal pathspecs, and no path in it begins with magic.
    let command = host.command(["--no-literal-pathspecs", "check-ignore", "-z", "--stdin"]);
    let command = command.stdin(paths).ok_codes(&[0, 1]);
    match command.run().await {
        Ok(output) => {
            let path = |path: &[u8]| path.strip_prefix(HERE).unwrap_or(path).to_vec().into();
            Ok(records(&output.stdout).map(path).collect())
        }
        // A path beyond a symlink, say. What is said of it by its name stays.
        Err(CommandError::Failed { stderr, .. }) => {
            tracing::info!(stderr, "git does not say what it ignores");
            Ok(HashSet::new())
        }
        Err(error) => Err(error.into()),
    }
}

/// A path relative to the working tree if it leads there, with its symlinks resolved as far as it is there.
fn inside(root: &Path, path: &Path) -> Option<ByteString> {
    let resolved = resolve(path)?;
    let inside = resolved.strip_prefix(root).ok()?;
    let is_git = inside.components().next() == Some(Component::Normal(".git".as_ref()));
    let inside = inside.as_os_str().as_bytes();
    (!inside.is_empty() && !is_git).then(|| inside.to_vec().into())
}

fn leads_to(root: &Path, link: &ByteString) -> Option<ByteString> {
    let resolved = resolve(&root.join(link.as_os_str()))?;
    let inside = resolved.strip_prefix(root).ok()?;
    Some(inside.as_os_str().as_bytes().to_vec().into()).filter(|target| target != link)
}

/// Follows the symlinks of a path, the rest of which need not be there.
fn resolve(path: &Path) -> Option<PathBuf> {
    let mut resolved = PathBuf::from("/");
    let mut rest: VecDeque<std::ffi::OsString> = names(path);
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            resolved.pop();
            continue;
        }
        let next = resolved.join(&name);
        match std::fs::read_link(&next) {
            Ok(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return None;
                }
                if target.is_absolute() {
                    resolved = PathBuf::from("/");
                }
                for name in names(&target).into_iter().rev() {
                    rest.push_front(name);
                }
            }
            // No symlink, or nothing.
            Err(_) => resolved = next,
        }
    }
    Some(resolved)
}

fn names(path: &Path) -> VecDeque<std::ffi::OsString> {
    let named = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(std::ffi::OsString::from_vec(b"..".to_vec())),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(named).collect()
}

#[cfg(test)]
#[path = "host_obeys_tests.rs"]
mod tests;
