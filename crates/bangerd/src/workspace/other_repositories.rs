//! Repositories of the host's inside the one that a patch is meant for: submodules, and such as nobody has
//! sent.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use banger_guest_protocol::ByteString;
use banger_host::git::Git;

use super::WorkspaceError;
use super::checkout::join;
use super::hidden::ignored;
use super::host_obeys::obeyed;
use super::patch::{FileChange, Obeyed, TreeEntry};

/// Adds what the git of each of them obeys, as far as the patch writes into it. `parts` are those that were
/// sent.
///
/// # Errors
///
/// When git cannot be asked.
pub(super) async fn add_others(
    host: &Git,
    changes: &[FileChange],
    tree: &[TreeEntry],
    parts: &[ByteString],
    obeys: &mut Obeyed,
) -> Result<(), WorkspaceError> {
    for dir in written_to(host.dir(), changes) {
        let inside = ByteString::from(dir.clone().into_os_string());
        if !parts.contains(&inside) {
            obeys.strangers.push(inside);
            continue;
        }
        let git = Git::new(host.dir().join(&dir));
        let tree: Vec<TreeEntry> = tree
            .iter()
            .filter_map(|entry| Some(TreeEntry { path: below(&dir, &entry.path)?, mode: entry.mode }))
            .collect();
        let changes: Vec<FileChange> = changes
            .iter()
            .filter_map(|change| {
                let path = below(&dir, &change.path)?;
                let renamed_from = change.renamed_from.as_ref().and_then(|from| below(&dir, from));
                Some(FileChange { path, renamed_from, ..change.clone() })
            })
            .collect();
        let Obeyed { configured, named, links, .. } = obeyed(&git, &tree).await?;
        let outside = |path: &ByteString| join(&inside, path.as_bytes());
        obeys.configured.extend(configured.iter().map(|(place, why)| (outside(place), why.clone())));
        obeys.named.extend(named.iter().map(|(place, why)| (outside(place), why.clone())));
        obeys.links.extend(links.iter().map(|(link, place)| (outside(link), outside(place))));
        obeys.ignored.extend(ignored(&git, &changes, &tree).await?.iter().map(outside));
    }
    Ok(())
}

/// The directories in which a repository begins, the patch's own aside.
fn written_to(root: &Path, changes: &[FileChange]) -> BTreeSet<PathBuf> {
    let paths = changes.iter().flat_map(|change| change.new_path().into_iter().chain(change.old_path()));
    let above = paths.flat_map(|path| Path::new(path.as_os_str()).ancestors().skip(1));
    let dirs: BTreeSet<&Path> = above.filter(|dir| !dir.as_os_str().is_empty()).collect();
    let is_one = |dir: &&Path| root.join(dir).join(".git").symlink_metadata().is_ok();
    dirs.into_iter().filter(is_one).map(Path::to_owned).collect()
}

fn below(dir: &Path, path: &ByteString) -> Option<ByteString> {
    let rest =
        Path::new(path.as_os_str()).strip_prefix(dir).ok().filter(|rest| !rest.as_os_str().is_empty())?;
    Some(rest.as_os_str().to_owned().into())
}
