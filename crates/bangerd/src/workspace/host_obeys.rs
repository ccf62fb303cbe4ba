//! Asks the host's git what it runs and reads in the working tree.

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use banger_guest_protocol::ByteString;
use banger_host::git::{Git, path_of, records};

use super::WorkspaceError;
use super::patch::{FileChange, FileMode, Obeyed, TreeEntry, is_obeyed};

/// Symlinks that lead on to others are followed so far.
const MAX_LINKS: usize = 40;

/// What every path begins with that git is given.
const HERE: &[u8] = b"./";

/// Settings whose value is a directory.
const DIRECTORY_KEYS: [&str; 3] = ["hookspath", "templatedir", ".worktree"];

/// So much of a hook is read.
const SCRIPT_BYTES: usize = 64 * 1024;

/// Looks at the host's repository. `tree` is what git knows of there. What is ignored depends on the patch ([`ignored`]).
///
/// # Errors
///
/// When git cannot be asked.
pub(super) async fn obeyed(host: &Git, tree: &[TreeEntry]) -> Result<Obeyed, WorkspaceError> {
    let root = host.dir().canonicalize().map_err(|_| WorkspaceError::HostGone)?;
    let mut configured = settings(host, &root).await?;
    configured.extend(hooks(host, &root).await?);
    let tracked = tree.iter().filter(|entry| entry.mode == FileMode::Symlink).map(|entry| entry.path.clone());
    let links = tracked.chain(untracked_links(&root, tree));
    let links = links.filter_map(|link| Some((link.clone(), leads_to(&root, &link)?))).collect();
    Ok(Obeyed { configured, links, ignored: HashSet::new() })
}

/// Symlinks in the root of the working tree that git does not know of: `.vscode` is often one.
fn untracked_links(root: &Path, tree: &[TreeEntry]) -> Vec<ByteString> {
    let known: HashSet<&[u8]> = tree.iter().map(|entry| entry.path.as_bytes()).collect();
    // A root that cannot be listed has none that anybody could follow.
    let Ok(entries) = std::fs::read_dir(root) else { return Vec::new() };
    let links = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
    let names = links.map(|entry| entry.file_name().into_vec());
    names.filter(|name| !known.contains(name.as_slice())).map(ByteString::from).collect()
}

/// Files that the configuration is in, and files that it names.
async fn settings(host: &Git, root: &Path) -> Result<Vec<(ByteString, String)>, WorkspaceError> {
    let listed = host.output(&["config", "--list", "--includes", "--show-origin", "-z"]).await?;
    let mut found = Vec::new();
    let mut records = listed.split(|byte| *byte == 0);
    while let (Some(origin), Some(setting)) = (records.next(), records.next()) {
        // What banger itself says.
        if origin.starts_with(b"command line:") {
            continue;
        }
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
        if !is_obeyed(&key) && !is_include {
            continue;
        }
        let mut named = places(from, root, value);
        if is_include || DIRECTORY_KEYS.iter().any(|directory| key.ends_with(directory)) {
            named.extend(inside(root, &expand(from, value)));
        }
        found.extend(named.into_iter().map(|place| (place, format!("git's {key}"))));
    }
    found.sort();
    found.dedup_by(|later, earlier| later.0 == earlier.0);
    Ok(found)
}

/// The files that a command names in the working tree, taken apart as a shell would.
fn places(dir: &Path, root: &Path, text: &[u8]) -> Vec<ByteString> {
    let is_between = |byte: &u8| byte.is_ascii_whitespace() || b"\"'`;|&()<>=!:,".contains(byte);
    let words = text.split(is_between).filter(|word| !word.is_empty());
    let mut found: Vec<ByteString> = words.flat_map(|word| place(dir, root, word)).collect();
    // A name with spaces and the like.
    let whole = expand(dir, text);
    found.extend(inside(root, &whole).filter(|_| whole.is_file()));
    found.sort();
    found.dedup();
    found
}

/// A word without a slash is a file if there is one; one with a slash need not be there yet. What begins with a variable, or leads out
/// of a directory that is not known (`$(dirname "$0")/../../x`), is looked for from the root.
fn place(dir: &Path, root: &Path, word: &[u8]) -> Vec<ByteString> {
    let path = expand(dir, word);
    if !word.contains(&b'/') {
        return inside(root, &path).filter(|_| path.is_file()).into_iter().collect();
    }
    let is_known = !word.starts_with(b"$") && (!word.starts_with(b"/") || path.exists());
    let rest: Vec<&[u8]> = word
        .split(|byte| *byte == b'/')
        .skip(1)
        .skip_while(|part| matches!(*part, b"" | b"." | b".."))
        .collect();
    let from_root = root.join(path_of(&rest.join(&b'/')));
    let guessed = inside(root, &from_root).filter(|_| !is_known && !rest.is_empty());
    let named = inside(root, &path).filter(|_| !word.starts_with(b"$"));
    named.into_iter().chain(guessed).collect()
}

fn expand(dir: &Path, word: &[u8]) -> PathBuf {
    let home = word.strip_prefix(b"~/").zip(std::env::var_os("HOME"));
    home.map_or_else(|| dir.join(path_of(word)), |(rest, home)| Path::new(&home).join(path_of(rest)))
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
            let named = places(root, root, &script[..script.len().min(SCRIPT_BYTES)]);
            found.extend(named.into_iter().map(|place| (place, format!("git's hook {name}"))));
        }
    }
    Ok(found)
}

/// Of the paths that a patch makes, those that git ignores on the host. What lies beyond a symlink or in a submodule git does not
/// say, and it counts by its name alone.
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
    let path = |path: &[u8]| path.strip_prefix(HERE).unwrap_or(path).to_vec().into();
    Ok(records(&output.stdout).map(path).collect())
}

/// A symlink, or another repository.
fn is_other(dir: &Path) -> bool {
    dir.is_symlink() || dir.join(".git").symlink_metadata().is_ok()
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

#[cfg(test)]
#[path = "alias_property_tests.rs"]
mod alias_property_tests;
