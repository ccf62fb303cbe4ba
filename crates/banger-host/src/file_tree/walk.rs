//! Paths resolved inside a tree.

use super::arena::{Arena, NodeId, NodeKind, ROOT};
use crate::tar_source::{TarError, printable};

/// How many symbolic links a path may lead through, as in Linux.
const LINKS_MAX: usize = 40;

/// How many names a path may have once its symbolic links are followed: a bound on time.
const STEPS_MAX: usize = 10_000;

/// Where a path led: to the last directory that is there, and the names below it that are not.
struct Way {
    trail: Vec<NodeId>,
    missing: Vec<Vec<u8>>,
}

impl Arena {
    /// The directory at `path`, if there is one.
    pub(super) fn lookup(&self, path: &[u8]) -> Option<NodeId> {
        let way = self.walk(path)?;
        if way.missing.is_empty() { way.trail.last().copied() } else { None }
    }

    /// The directory at `path`, made if it is missing; `name` is what needs it.
    pub(super) fn make_directory(&mut self, path: &[u8], name: &[u8]) -> Result<NodeId, TarError> {
        let not_directory = || TarError::NotDirectory { name: printable(name) };
        let way = self.walk(path).ok_or_else(not_directory)?;
        let mut here = way.trail.last().copied().ok_or_else(not_directory)?;
        for part in &way.missing {
            let id = self.add(self.nodes[here.index()].implied_subdirectory(), name)?;
            self.set_child(here, part, id, name)?;
            here = id;
        }
        Ok(here)
    }

    /// Follows symbolic links, which cannot lead out: above the root is the root. None when something on the
    /// way is no directory.
    fn walk(&self, path: &[u8]) -> Option<Way> {
        let mut todo: Vec<&[u8]> = path.rsplit(|byte| *byte == b'/').collect();
        let mut way = Way { trail: vec![ROOT], missing: Vec::new() };
        let (mut links, mut steps) = (0, 0);
        while let Some(part) = todo.pop() {
            steps += 1;
            if steps > STEPS_MAX {
                return None;
            }
            match part {
                b"" | b"." => continue,
                b".." => {
                    if way.missing.pop().is_none() && way.trail.len() > 1 {
                        way.trail.pop();
                    }
                    continue;
                }
                _ => {}
            }
            let next = match way.trail.last() {
                Some(here) if way.missing.is_empty() => self.names.get(*here, part),
                _ => None,
            };
            let Some(next) = next else {
                way.missing.push(part.to_vec());
                continue;
            };
            match &self.nodes[next.index()].kind {
                NodeKind::Directory => way.trail.push(next),
                NodeKind::Symlink(target) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return None;
                    }
                    let target = target.of(&self.texts);
                    if target.starts_with(b"/") {
                        way.trail.truncate(1);
                    }
                    todo.extend(target.rsplit(|byte| *byte == b'/'));
                }
                _ => return None,
            }
        }
        Some(way)
    }
}
