//! What of the guest's work would go with its copy of the repository.

use banger_guest_protocol::ByteString;
use banger_host::git::records;
use bytes::Bytes;

use super::WorkspaceError;
use super::base::COMMIT_REF;
use super::checkout::join;
use super::export::below;
use super::guest_git::GuestGit;
use super::kept::Kept;
use super::scratch::{LeftOut, PreparedPart, Scratch, Start, Trees};
use crate::guest::Guest;

const DETACHED: &str = "commits on a detached HEAD";

/// What has been made in the guest since the workspace was prepared, but for what git ignores.
#[derive(Clone, Debug, Default)]
pub struct Losses {
    pub files: Vec<ByteString>,
    /// Branches, stashes, worktrees, repositories inside, in words.
    pub others: Vec<String>,
    /// What the guest's HEAD is at: its commits hold what is exported with the files.
    pub checked_out: Vec<String>,
    /// The trees of all repositories of the workspace, as they are now.
    pub now: Vec<String>,
}

impl Losses {
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.others.is_empty()
    }
}

/// Looks for it.
///
/// # Errors
///
/// When the guest's git fails.
pub async fn losses(
    guest: &Guest,
    workspace: &ByteString,
    parts: &[PreparedPart],
) -> Result<Losses, WorkspaceError> {
    let mut losses = Losses::default();
    for (number, part) in parts.iter().enumerate() {
        let git = GuestGit::new(guest, join(workspace, part.inside.as_bytes()));
        let kept = Kept::of(workspace, number);
        let scratch = Scratch::make(&git, &kept, part.format(), &part.conversions, &part.excludes).await?;
        let outcome = async {
            let trees = scratch.trees(&Start::Tree(part.base), &below(parts, &part.inside)).await?;
            let Trees { base, now, left_out, index_unread, .. } = trees;
            let args = ["diff-tree", "-r", "-z", "--name-only", "--ignore-submodules=all", &base, &now];
            let changed = scratch.git.output(&args, Bytes::new()).await?;
            Ok::<_, WorkspaceError>((changed, now, left_out, index_unread))
        };
        let outcome = outcome.await;
        scratch.remove().await?;
        let (changed, now, left_out, index_unread) = outcome?;
        if index_unread {
            let added = "files that are ignored and were added, if there are any (the index cannot be read)";
            losses.others.push(added.into());
        }
        losses.now.push(now);
        let shown = |path: &[u8]| join(&part.inside, path).as_os_str().display().to_string();
        losses.files.extend(records(&changed).map(|name| join(&part.inside, name)));
        let LeftOut { nested, unsupported } = left_out;
        losses.others.extend(nested.iter().map(|path| format!("the repository {}", shown(path.as_bytes()))));
        // One in the place of a file that was sent is named as that.
        let new = unsupported.iter().filter(|path| !records(&changed).any(|name| name == path.as_bytes()));
        losses.others.extend(new.map(|path| shown(path.as_bytes())));
        match unsent(&git).await {
            Ok((found, checked_out)) => {
                losses.others.extend(found);
                losses.checked_out.extend(checked_out);
            }
            // What cannot be listed may be there.
            Err(WorkspaceError::GuestCommand { said, .. }) => {
                losses
                    .others
                    .push(format!("branches and stashes, if there are any (git cannot list them: {said})"));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(losses)
}

/// Commits that the guest has made, by what leads to them, and worktrees of their own; and what HEAD is at.
async fn unsent(git: &GuestGit<'_>) -> Result<(Vec<String>, Option<String>), WorkspaceError> {
    let sent = git.answer(&["rev-parse", "--verify", "--quiet", COMMIT_REF]).await?;
    let sent = sent.map(|id| String::from_utf8_lossy(id.trim_ascii()).into_owned());
    let mut list = vec!["for-each-ref".to_owned(), "--format=%(refname)".to_owned()];
    list.extend(sent.iter().map(|sent| format!("--no-merged={sent}")));
    let list: Vec<&str> = list.iter().map(String::as_str).collect();
    let refs = git.output(&list, Bytes::new()).await?;
    let mut found: Vec<String> = lines(&refs).filter_map(|name| named(&name)).collect();
    let worktrees = git.output(&["worktree", "list", "--porcelain"], Bytes::new()).await?;
    let (mut head, mut checked_out) = (None, None);
    for (index, block) in String::from_utf8_lossy(&worktrees).split("\n\n").enumerate() {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        match (index, field("worktree ")) {
            (0, _) if block.lines().any(|line| line == "detached") => head = field("HEAD "),
            (0, _) => checked_out = field("branch ").and_then(|name| named(&name)),
            (_, None) => {}
            (_, Some(path)) => found.push(format!("the worktree {path}")),
        }
    }
    if let (Some(head), Some(sent)) = (head, sent)
        && git.answer(&["merge-base", "--is-ancestor", &head, &sent]).await?.is_none()
    {
        found.push(DETACHED.into());
        checked_out = Some(DETACHED.into());
    }
    Ok((found, checked_out))
}

fn lines(output: &[u8]) -> impl Iterator<Item = String> {
    output
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| String::from_utf8_lossy(line).into_owned())
}

/// A ref of the guest's as one speaks of it; none for one of banger's or of git's own.
fn named(name: &str) -> Option<String> {
    match name.split_once('/')?.1.split_once('/') {
        Some(("heads", branch)) => Some(format!("the branch {branch}")),
        Some(("tags", tag)) => Some(format!("the tag {tag}")),
        Some(("banger" | "replace" | "bisect" | "remotes" | "prefetch", _)) => None,
        None if name == "refs/stash" => Some("a stash".into()),
        _ => Some(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refs_have_the_names_that_people_use() {
        for (name, said) in [
            ("refs/heads/feature/x", Some("the branch feature/x")),
            ("refs/tags/v1", Some("the tag v1")),
            ("refs/stash", Some("a stash")),
            ("refs/banger/prepared", None),
            ("refs/replace/0123", None),
            ("refs/own/thing", Some("refs/own/thing")),
            ("refs/notes/commits", Some("refs/notes/commits")),
        ] {
            assert_eq!(named(name).as_deref(), said, "{name}");
        }
    }
}
