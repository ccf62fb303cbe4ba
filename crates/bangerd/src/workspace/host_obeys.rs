//! Asks the host's git what it runs and reads in the working tree.

use std::collections::{HashSet, VecDeque};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use banger_guest_protocol::ByteString;
use banger_host::git::{Git, path_of};

use super::WorkspaceError;
use super::host_scripts::{expand, follow, places, read_script};
use super::off_the_workers::off_the_workers;
use super::patch::{FileMode, Obeyed, TreeEntry, is_obeyed, names_what_runs_unasked};

/// Symlinks that lead on to others are followed so far.
const MAX_LINKS: usize = 40;

/// More files than this are not included on a condition.
const MAX_INCLUDED: usize = 64;

/// Settings whose value is a directory.
const DIRECTORY_KEYS: [&str; 3] = ["hookspath", "templatedir", ".worktree"];

/// Looks at the host's repository. `tree` is what git knows of there. What is ignored depends on the patch.
///
/// # Errors
///
/// When git cannot be asked.
pub(super) async fn obeyed(host: &Git, tree: &[TreeEntry]) -> Result<Obeyed, WorkspaceError> {
    let (host, tree) = (host.clone(), tree.to_vec());
    off_the_workers(async move { look(&host, &tree).await }).await
}

async fn look(host: &Git, tree: &[TreeEntry]) -> Result<Obeyed, WorkspaceError> {
    let root = host.dir().canonicalize().map_err(|_| WorkspaceError::HostGone)?;
    let mut configured = settings(host, &root).await?;
    configured.extend(hooks(host, &root).await?);
    follow(&root, &mut configured);
    let named = named_unasked(&root, tree);
    let tracked = tree.iter().filter(|entry| entry.mode == FileMode::Symlink).map(|entry| entry.path.clone());
    let links = tracked.chain(untracked_links(&root, tree));
    let links = links
        .flat_map(|link| leads_to(&root, &link).into_iter().map(move |place| (link.clone(), place)))
        .collect();
    Ok(Obeyed { configured, named, links, ..Obeyed::default() })
}

/// What the files name by which the host runs things unasked: `.envrc`, a hook manager's configuration, an
/// agent's. Whether git knows of them or not.
fn named_unasked(root: &Path, tree: &[TreeEntry]) -> Vec<(ByteString, String)> {
    let mut files: Vec<ByteString> = tree.iter().map(|entry| entry.path.clone()).collect();
    // A directory that cannot be listed has no file that a program of the user's could read.
    let listed = |dir: &Path| std::fs::read_dir(root.join(dir)).into_iter().flatten().flatten();
    let hidden = listed(Path::new("")).map(|entry| PathBuf::from(entry.file_name()));
    let hidden = hidden.filter(|name| name.as_os_str().as_bytes().starts_with(b"."));
    for dir in hidden.chain([PathBuf::new()]).filter(|dir| !dir.starts_with(".git")) {
        files
            .extend(listed(&dir).map(|entry| dir.join(entry.file_name()).into_os_string().into_vec().into()));
    }
    files.retain(|file| names_what_runs_unasked(file.as_bytes()));
    files.sort();
    files.dedup();
    let named = |file: ByteString| (file.clone(), file.as_os_str().display().to_string());
    let mut found: Vec<(ByteString, String)> = files.into_iter().map(named).collect();
    let known = found.len();
    follow(root, &mut found);
    found.split_off(known)
}

/// Symlinks that git does not know of, in the directories in which it knows of something: `.vscode` is often
/// one.
fn untracked_links(root: &Path, tree: &[TreeEntry]) -> Vec<ByteString> {
    let known: HashSet<&[u8]> = tree.iter().map(|entry| entry.path.as_bytes()).collect();
    let above = tree.iter().flat_map(|entry| Path::new(entry.path.as_os_str()).ancestors().skip(1));
    let dirs: HashSet<&Path> = above.chain([Path::new("")]).collect();
    let mut found = Vec::new();
    for dir in dirs {
        // One that cannot be listed has none that anybody could follow.
        let Ok(entries) = std::fs::read_dir(root.join(dir)) else { continue };
        let links = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
        let paths = links.map(|entry| dir.join(entry.file_name()).into_os_string().into_vec());
        found.extend(paths.filter(|path| !known.contains(path.as_slice())).map(ByteString::from));
    }
    found
}

/// Files that the configuration is in, and files that it names; also in files that are included on a
/// condition which does not hold now (`includeIf "onbranch:x"`).
async fn settings(host: &Git, root: &Path) -> Result<Vec<(ByteString, String)>, WorkspaceError> {
    let (mut found, mut included) = (Vec::new(), Vec::new());
    let listed = host.output(&["config", "--list", "--includes", "--show-origin", "-z"]).await?;
    settings_of(root, &listed, &mut found, &mut included);
    let mut at = 0;
    while at < included.len().min(MAX_INCLUDED) {
        let file: &PathBuf = &included[at];
        at += 1;
        let command = host.command(["config", "--list", "--show-origin", "-z", "--file"]).arg(file);
        // One that git cannot read is not obeyed either.
        if let Ok(output) = command.run().await {
            settings_of(root, &output.stdout, &mut found, &mut included);
        }
    }
    found.sort();
    found.dedup_by(|later, earlier| later.0 == earlier.0);
    Ok(found)
}

/// What a list of settings comes to. Files that they include on a condition are added to `included`.
fn settings_of(
    root: &Path,
    listed: &[u8],
    found: &mut Vec<(ByteString, String)>,
    included: &mut Vec<PathBuf>,
) {
    let mut records = listed.split(|byte| *byte == 0);
    while let (Some(origin), Some(setting)) = (records.next(), records.next()) {
        // What banger itself says.
        if origin.starts_with(b"command line:") {
            continue;
        }
        let file = origin.strip_prefix(b"file:").map(|file| root.join(path_of(file)));
        let places_of_file = file.as_deref().map(|file| inside(root, file)).unwrap_or_default();
        let why = || "a file of git's configuration".to_owned();
        found.extend(places_of_file.into_iter().map(|place| (place, why())));
        let end = setting.iter().position(|byte| *byte == b'\n').unwrap_or(setting.len());
        let (key, value) = (&setting[..end], setting.get(end + 1..).unwrap_or_default());
        let key = String::from_utf8_lossy(key).into_owned();
        // What is included is named from where it is included.
        let is_include = key.starts_with("include") && key.ends_with(".path");
        let from = file.as_deref().and_then(Path::parent).filter(|_| is_include).unwrap_or(root);
        if !is_obeyed(&key) && !is_include {
            continue;
        }
        let whole = expand(from, value);
        if key.starts_with("includeif.") && whole.is_file() && !included.contains(&whole) {
            included.push(whole.clone());
        }
        let mut named = places(&[from], root, value);
        if is_include || DIRECTORY_KEYS.iter().any(|directory| key.ends_with(directory)) {
            named.extend(inside(root, &whole));
        }
        found.extend(named.into_iter().map(|place| (place, format!("git's {key}"))));
    }
}

/// The directory of hooks if it is in the working tree, and what the hooks in it lead to.
async fn hooks(host: &Git, root: &Path) -> Result<Vec<(ByteString, String)>, WorkspaceError> {
    let Some(dir) = host.line(&["rev-parse", "--git-path", "hooks"]).await? else { return Ok(Vec::new()) };
    let dir = host.dir().join(dir);
    let mut found = Vec::new();
    found.extend(inside(root, &dir).into_iter().map(|place| (place, "git's hooks".to_owned())));
    // Without a directory there are no hooks.
    let Ok(entries) = std::fs::read_dir(&dir) else { return Ok(found) };
    for entry in entries.flatten() {
        let name = entry.file_name().display().to_string();
        if name.ends_with(".sample") {
            continue;
        }
        found.extend(
            inside(root, &entry.path()).into_iter().map(|place| (place, format!("git's hook {name}"))),
        );
        // A hook that runs another script.
        let named = places(&[root], root, &read_script(&entry.path()));
        found.extend(named.into_iter().map(|place| (place, format!("git's hook {name}"))));
    }
    Ok(found)
}

/// Where a path leads in the working tree, with its symlinks resolved as far as it is there, and each symlink
/// in the tree by way of which it leads there: who changes one of those changes what is found.
pub(super) fn inside(root: &Path, path: &Path) -> Vec<ByteString> {
    let Some((mut places, end)) = resolve(path) else { return Vec::new() };
    places.push(end);
    let is_git = |inside: &Path| inside.components().next() == Some(Component::Normal(".git".as_ref()));
    let inside = places.iter().filter_map(|place| place.strip_prefix(root).ok());
    let inside = inside.filter(|inside| !inside.as_os_str().is_empty() && !is_git(inside));
    inside.map(|inside| inside.as_os_str().as_bytes().to_vec().into()).collect()
}

/// The places in the tree that a link leads to, or by way of.
fn leads_to(root: &Path, link: &ByteString) -> Vec<ByteString> {
    let Some((mut places, end)) = resolve(&root.join(link.as_os_str())) else { return Vec::new() };
    // One that leaves the tree leads to nothing that a patch can change.
    if !end.starts_with(root) {
        return Vec::new();
    }
    places.push(end);
    let inside = places.iter().filter_map(|place| place.strip_prefix(root).ok());
    let inside = inside.map(|inside| ByteString::from(inside.as_os_str().as_bytes().to_vec()));
    inside.filter(|target| target != link).collect()
}

/// Follows the symlinks of a path, the rest of which need not be there. Answers the symlinks, and where it
/// ends.
fn resolve(path: &Path) -> Option<(Vec<PathBuf>, PathBuf)> {
    let mut resolved = PathBuf::from("/");
    let mut rest: VecDeque<std::ffi::OsString> = names(path);
    let mut links = Vec::new();
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            resolved.pop();
            continue;
        }
        let next = resolved.join(&name);
        match std::fs::read_link(&next) {
            Ok(target) => {
                links.push(next);
                if links.len() > MAX_LINKS {
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
    Some((links, resolved))
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
