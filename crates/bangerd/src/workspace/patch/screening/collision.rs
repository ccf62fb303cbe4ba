//! Files that are one and the same where names ignore case: the later one is written through the earlier, or
//! into what it points to.

use banger_guest_protocol::ByteString;

use super::names::fold;
use super::{Finding, Rule};
use crate::workspace::patch::{ChangeKind, FileChange};

/// The paths that a patch makes, to be held against the rest of the tree.
///
/// They are sorted by their folded names with nothing before `/`, so that what lies below a path comes right
/// after it. Looking at the neighbours finds a collision if there is one (not all of them, if there are
/// several with one path), and costs no more for the deep paths of somebody who means harm.
pub(super) struct NewNames<'a> {
    sorted: Vec<(Vec<u8>, &'a ByteString)>,
    findings: Vec<Finding>,
}

impl<'a> NewNames<'a> {
    /// Finds the collisions within the patch.
    pub(super) fn new(changes: &'a [FileChange]) -> Self {
        let is_new = |change: &&FileChange| matches!(change.kind, ChangeKind::Added | ChangeKind::Renamed);
        let paths = changes.iter().filter(is_new).map(|change| &change.path);
        let mut sorted: Vec<_> = paths.map(|path| (sort_key(path.as_bytes()), path)).collect();
        sorted.sort();
        let pairs = sorted.windows(2).filter(|pair| is_at_or_below(&pair[1].0, &pair[0].0));
        let findings = pairs.map(|pair| finding(pair[0].1, pair[1].1.as_bytes())).collect();
        Self { sorted, findings }
    }

    /// Holds a path that stays in the tree against the new ones.
    pub(super) fn compare(&mut self, other: &[u8]) {
        if self.sorted.is_empty() {
            return;
        }
        let key = sort_key(other);
        let place = self.sorted.partition_point(|(new, _)| *new < key);
        let below = self.sorted.get(place).filter(|(new, _)| is_at_or_below(new, &key));
        let above = place.checked_sub(1).map(|before| &self.sorted[before]);
        let above = above.filter(|(new, _)| is_at_or_below(&key, new));
        for (_, path) in below.into_iter().chain(above).filter(|(_, path)| path.as_bytes() != other) {
            self.findings.push(finding(path, other));
        }
    }

    pub(super) fn findings(self) -> Vec<Finding> {
        self.findings
    }
}

fn sort_key(path: &[u8]) -> Vec<u8> {
    let mut key = fold(path);
    key.iter_mut().filter(|byte| **byte == b'/').for_each(|byte| *byte = 0);
    key
}

fn is_at_or_below(key: &[u8], upper: &[u8]) -> bool {
    key.strip_prefix(upper).is_some_and(|rest| matches!(rest, [] | [0, ..]))
}

fn finding(path: &ByteString, other: &[u8]) -> Finding {
    Finding { rule: Rule::Collision, path: path.clone(), detail: Some(other.to_vec().into()) }
}
