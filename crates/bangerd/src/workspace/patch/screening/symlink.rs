//! Where symlinks lead.

use super::names::{fold, is_git_directory};
use super::{Rule, names};

/// What is wrong with a symlink at `path` to `target`.
///
/// A `..` after a named part counts as leaving the tree: the part may be a symlink itself, and then nobody
/// can say from the text where its parent is.
pub(super) fn judge(path: &[u8], target: &[u8]) -> Option<Rule> {
    let folded = fold(target);
    let is_absolute = folded.starts_with(b"/") || folded.get(1) == Some(&b':');
    let mut depth_left = names::directories(path).count();
    let mut has_gone_down = false;
    let mut escapes = is_absolute;
    let mut enters_git = false;
    for component in folded.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." if has_gone_down || depth_left == 0 => escapes = true,
            b".." => depth_left -= 1,
            _ => {
                has_gone_down = true;
                enters_git |= is_git_directory(component);
            }
        }
    }
    match (escapes, enters_git) {
        (true, _) => Some(Rule::SymlinkEscapes),
        (false, true) => Some(Rule::SymlinkIntoGit),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judges_targets() {
        for (path, target, rule) in [
            ("link", "file", None),
            ("link", "dir/./file", None),
            ("a/link", "../file", None),
            ("a/b/link", "../../c", None),
            ("a/link", "..", None),
            ("a/link", "...", None),
            ("link", "/etc/passwd", Some(Rule::SymlinkEscapes)),
            ("link", "C:\\x", Some(Rule::SymlinkEscapes)),
            ("link", "..\\x", Some(Rule::SymlinkEscapes)),
            ("link", "..", Some(Rule::SymlinkEscapes)),
            ("a/link", "../../x", Some(Rule::SymlinkEscapes)),
            ("a/link", "./.././../x", Some(Rule::SymlinkEscapes)),
            ("a/link", "b/../../x", Some(Rule::SymlinkEscapes)),
            ("a/link", "b/../c", Some(Rule::SymlinkEscapes)),
            ("link", ".git/config", Some(Rule::SymlinkIntoGit)),
            ("a/link", "../.GIT", Some(Rule::SymlinkIntoGit)),
            ("link", "sub/.git/hooks", Some(Rule::SymlinkIntoGit)),
        ] {
            assert_eq!(judge(path.as_bytes(), target.as_bytes()), rule, "{path} -> {target}");
        }
    }
}
