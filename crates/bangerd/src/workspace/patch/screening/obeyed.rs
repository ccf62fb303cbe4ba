//! What the host obeys besides the names that everybody knows: what its git is set to run or read, where its symlinks lead, what it
//! does not show.

use std::collections::HashSet;

use banger_guest_protocol::ByteString;

use super::names::fold;
use super::{Finding, Rule};
use crate::workspace::patch::FileChange;

/// What was found out about the host's repository. Paths are relative to its working tree.
#[derive(Clone, Debug, Default)]
pub struct Obeyed {
    /// Files, and directories with all that is below, that its git runs or reads, each with what says so.
    pub configured: Vec<(ByteString, String)>,
    /// Symlinks of the tree to directories in it: the link, and where it leads.
    pub links: Vec<(ByteString, ByteString)>,
    /// Of the paths of the patch, those that git ignores there.
    pub ignored: HashSet<ByteString>,
}

impl Obeyed {
    /// What follows from a file's place.
    pub(super) fn judge(&self, change: &FileChange, findings: &mut Vec<Finding>) {
        let Some(path) = change.new_path() else { return };
        let folded = fold(path.as_bytes());
        if let Some((_, why)) = self.configured.iter().find(|(place, _)| is_at_or_below(&folded, &fold(place.as_bytes()))) {
            findings.push(Finding {
                rule: Rule::HostConfigured,
                path: path.clone(),
                detail: Some(why.as_str().into()),
            });
        }
        if self.ignored.contains(path) {
            findings.push(Finding { rule: Rule::Ignored, path: path.clone(), detail: None });
        }
    }

    /// The other names that a path has by way of symlinks.
    pub(super) fn aliases(&self, path: &ByteString) -> impl Iterator<Item = ByteString> {
        let below = |(link, target): &(ByteString, ByteString)| {
            let rest = match target.as_bytes() {
                b"" => [b"/", path.as_bytes()].concat(),
                target => path.as_bytes().strip_prefix(target)?.to_vec(),
            };
            matches!(rest.first(), None | Some(b'/')).then(|| [link.as_bytes(), &rest].concat().into())
        };
        self.links.iter().filter_map(below)
    }
}

fn is_at_or_below(path: &[u8], place: &[u8]) -> bool {
    path.strip_prefix(place).is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_the_names_that_lead_to_it() {
        let obeyed = Obeyed {
            links: vec![(".vscode".into(), "cfg".into()), ("all".into(), "".into()), ("file".into(), "cfg/a".into())],
            ..Obeyed::default()
        };
        let names = |path: &str| obeyed.aliases(&path.into()).collect::<Vec<ByteString>>();
        assert_eq!(names("cfg/a"), [".vscode/a".into(), "all/cfg/a".into(), "file".into()]);
        assert_eq!(names("cfgs/a"), ["all/cfgs/a".into()]);
    }
}
