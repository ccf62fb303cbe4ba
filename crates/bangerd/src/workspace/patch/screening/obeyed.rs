//! What the host obeys besides the names that everybody knows: what its git is set to run or read, where its
//! symlinks lead, what it does not show.

use std::collections::HashSet;

use banger_guest_protocol::ByteString;

use super::names::fold;
use super::{Finding, Rule};
use crate::workspace::patch::{FileChange, FileMode};

/// More names of one file than this are not looked at.
const MAX_ALIASES: usize = 64;

/// What was found out about the host's repository. Paths are relative to its working tree.
#[derive(Clone, Debug, Default)]
pub struct Obeyed {
    /// Files, and directories with all that is below, that its git runs or reads, each with what says so.
    pub configured: Vec<(ByteString, String)>,
    /// What files of the host's name that say what runs there unasked, each with the file that names it.
    pub named: Vec<(ByteString, String)>,
    /// Symlinks of the tree that stay in it: the link, and each place that it leads to or by way of.
    pub links: Vec<(ByteString, ByteString)>,
    /// Other repositories in the working tree that are no part of the workspace.
    pub strangers: Vec<ByteString>,
    /// Of the paths of the patch, those that git ignores there.
    pub ignored: HashSet<ByteString>,
}

/// A path that the host obeys, as forgiving file systems see it.
pub(super) struct Place<'o> {
    folded: Vec<u8>,
    rule: Rule,
    why: &'o str,
}

impl<'o> Place<'o> {
    fn new(path: &ByteString, rule: Rule, why: &'o str) -> Self {
        Self { folded: fold(path.as_bytes()), rule, why }
    }
}

impl Obeyed {
    /// The places that its git runs or reads, and those that are named elsewhere.
    pub(super) fn places(&self) -> Vec<Place<'_>> {
        let configured = self.configured.iter().map(|place| (Rule::HostConfigured, place));
        let named = self.named.iter().map(|place| (Rule::NamedUnasked, place));
        configured.chain(named).map(|(rule, (path, why))| Place::new(path, rule, why)).collect()
    }

    /// What follows from a file's place.
    pub(super) fn judge(&self, change: &FileChange, places: &[Place<'_>], findings: &mut Vec<Finding>) {
        let Some(path) = change.new_path() else { return };
        let folded = fold(path.as_bytes());
        let decides = |place: &[u8]| {
            is_at_or_below(&folded, place) || (redirects(change) && is_at_or_below(place, &folded))
        };
        if let Some(Place { rule, why, .. }) = places.iter().find(|place| decides(&place.folded)) {
            findings.push(Finding { rule: *rule, path: path.clone(), detail: Some((*why).into()) });
        }
        if self.strangers.iter().any(|dir| is_at_or_below(path.as_bytes(), dir.as_bytes())) {
            findings.push(Finding { rule: Rule::OtherRepository, path: path.clone(), detail: None });
        }
        if self.ignored.contains(path) {
            findings.push(Finding { rule: Rule::Ignored, path: path.clone(), detail: None });
        }
    }

    /// The other names that a path has by way of symlinks, and of symlinks to those.
    pub(super) fn aliases(&self, path: &ByteString) -> Vec<ByteString> {
        let mut found = vec![path.clone()];
        for at in 0..MAX_ALIASES {
            let Some(next) = found.get(at) else { break };
            let new: Vec<ByteString> = self.names(next).filter(|name| !found.contains(name)).collect();
            found.extend(new);
        }
        found.truncate(MAX_ALIASES);
        found.split_off(1)
    }

    /// The links of the host's that lead somewhere else when this path becomes a symlink.
    pub(super) fn redirected<'a>(&'a self, path: &'a ByteString) -> impl Iterator<Item = &'a ByteString> {
        let is_by_way =
            |(_, place): &&(ByteString, ByteString)| is_at_or_below(place.as_bytes(), path.as_bytes());
        self.links.iter().filter(is_by_way).map(|(link, _)| link)
    }

    fn names<'a>(&'a self, path: &'a ByteString) -> impl Iterator<Item = ByteString> + 'a {
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

/// Whether what is below this path is found elsewhere afterwards: a symlink, another repository, or what a
/// rename may be.
pub(super) fn redirects(change: &FileChange) -> bool {
    matches!(change.new_mode, None | Some(FileMode::Symlink | FileMode::Gitlink))
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
            links: vec![
                (".vscode".into(), "cfg".into()),
                ("all".into(), "".into()),
                ("file".into(), "cfg/a".into()),
            ],
            ..Obeyed::default()
        };
        let names = |path: &str| {
            let names = obeyed.aliases(&path.into());
            names.into_iter().map(|name| name.as_os_str().display().to_string()).collect::<Vec<_>>()
        };
        let found = names("cfg/a");
        for name in [".vscode/a", "all/cfg/a", "file", "all/.vscode/a"] {
            assert!(found.iter().any(|found| found == name), "{name}: {found:?}");
        }
        // A link to what is around it leads everywhere.
        assert_eq!(found.len(), MAX_ALIASES - 1);
        assert_eq!(names("cfgs/a")[0], "all/cfgs/a");
    }
}
