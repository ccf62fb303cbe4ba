use std::collections::{HashMap, HashSet};

use banger_guest_protocol::ByteString;

use super::collision::NewNames;
use super::content::{Content, Found};
use super::names::{fold, hides_itself};
use super::nested_repository::Candidates;
use super::package_json::PackageJson;
use super::{Finding, Obeyed, Rule, names, path_rules};
use crate::workspace::patch::{ChangeKind, FileChange, FileMode, LineKind, PatchEvents};

/// A file of the tree that the patch applies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    pub path: ByteString,
    pub mode: FileMode,
}

/// Hears a patch being read, then says what in it is risky.
#[derive(Default)]
pub struct Screening {
    findings: Vec<Finding>,
    current: Option<Content>,
    package_json: Vec<PackageJson>,
    git_ignore: Vec<(ByteString, Vec<u8>)>,
}

impl Screening {
    pub fn new() -> Self {
        Self::default()
    }

    /// What was seen of each `package.json`. With the host's, it can be told what it becomes.
    pub fn take_package_json(&mut self) -> Vec<PackageJson> {
        std::mem::take(&mut self.package_json)
    }

    /// What the patch shows of each `.gitignore`.
    pub fn take_git_ignore(&mut self) -> Vec<(ByteString, Vec<u8>)> {
        std::mem::take(&mut self.git_ignore)
    }

    /// Completes the screening when the patch was read to its end: `changes` is what came of that, `tree` all
    /// files of the tree that the patch applies to, before it, and `obeyed` what its repository is set to.
    /// The findings come sorted: risky ones first, then by rule and path.
    pub fn finish(
        self,
        changes: &[FileChange],
        tree: impl IntoIterator<Item = TreeEntry>,
        obeyed: &Obeyed,
    ) -> Vec<Finding> {
        let mut findings = self.findings;
        let gone: HashSet<&ByteString> = changes.iter().filter_map(removed_path).collect();
        let mut moved: HashMap<&ByteString, &FileChange> = changes
            .iter()
            .filter(|change| change.new_mode.is_none())
            .filter_map(|change| Some((change.renamed_from.as_ref()?, change)))
            .collect();
        let mut names = NewNames::new(changes);
        let mut repositories = Candidates::new(changes);
        for entry in tree {
            if let Some(change) = moved.remove(&entry.path) {
                judge_path(change, Some(entry.mode), obeyed, &mut findings);
            }
            if !gone.contains(&entry.path) {
                names.compare(entry.path.as_bytes());
                repositories.complete(entry.path.as_bytes());
            }
        }
        // The tree should have had them. Without it nothing is known of them, and the worst has to be
        // thought.
        for change in moved.into_values() {
            judge_path(change, Some(FileMode::Symlink), obeyed, &mut findings);
        }
        for change in changes.iter().filter(|change| change.new_mode.is_some()) {
            judge_path(change, change.new_mode, obeyed, &mut findings);
        }
        let places = obeyed.places();
        changes.iter().for_each(|change| obeyed.judge(change, &places, &mut findings));
        findings.extend(names.findings());
        findings.extend(repositories.findings());
        findings.sort_by(|a, b| (a.severity(), a).cmp(&(b.severity(), b)));
        findings.dedup_by(|later, earlier| later.rule == earlier.rule && later.path == earlier.path);
        findings
    }
}

impl PatchEvents for Screening {
    fn file(&mut self, change: &FileChange) {
        self.current = (change.kind != ChangeKind::Deleted).then(|| Content::new(change));
    }

    fn hunk(&mut self, new_start: u64) {
        if let Some(content) = &mut self.current {
            content.hunk(new_start);
        }
    }

    fn line(&mut self, kind: LineKind, text: &[u8], is_cut: bool) {
        if let Some(content) = &mut self.current {
            content.line(kind, text, is_cut);
        }
    }

    fn text_in_binary(&mut self) {
        if let Some(content) = &mut self.current {
            content.find(Rule::TextAsBinary);
        }
    }

    fn no_newline(&mut self, kind: LineKind) {
        if let Some(content) = &mut self.current {
            content.no_newline(kind);
        }
    }

    fn end(&mut self, change: &FileChange) {
        let Some(found) = self.current.take().map(Content::finish) else { return };
        let Found { rules, detail: target, package_json, git_ignore } = found;
        self.package_json.extend(package_json);
        self.git_ignore.extend(git_ignore.map(|patterns| (change.path.clone(), patterns)));
        for rule in rules {
            let points = matches!(rule, Rule::SymlinkEscapes | Rule::SymlinkIntoGit | Rule::LockedElsewhere);
            let detail = target.clone().filter(|_| points).map(Into::into);
            self.findings.push(Finding { rule, path: change.path.clone(), detail });
        }
    }
}

/// What the tree no longer has under this name afterwards.
fn removed_path(change: &FileChange) -> Option<&ByteString> {
    match change.kind {
        ChangeKind::Deleted => Some(&change.path),
        ChangeKind::Renamed => change.renamed_from.as_ref(),
        ChangeKind::Added | ChangeKind::Modified => None,
    }
}

/// What follows from a file's name and mode.
fn judge_path(change: &FileChange, mode: Option<FileMode>, obeyed: &Obeyed, findings: &mut Vec<Finding>) {
    let Some(path) = change.new_path() else { return };
    let stands_for_directory = matches!(mode, Some(FileMode::Symlink | FileMode::Gitlink));
    let mut rules = path_rules::matching(&fold(path.as_bytes()), stands_for_directory);
    let mut aliases = obeyed.aliases(path);
    if stands_for_directory {
        aliases.extend(obeyed.redirected(path).cloned());
    }
    for alias in aliases {
        let by_alias = path_rules::matching(&fold(alias.as_bytes()), stands_for_directory);
        let by_alias = by_alias.into_iter().filter(|rule| !rules.contains(rule));
        let found = |rule| Finding { rule, path: path.clone(), detail: Some(alias.clone()) };
        findings.extend(by_alias.map(found));
    }
    if hides_itself(path.as_bytes()) {
        rules.push(Rule::HiddenName);
    }
    match (change.kind, mode) {
        (_, Some(FileMode::Gitlink)) => rules.push(Rule::Gitlink),
        (ChangeKind::Renamed, Some(FileMode::Symlink))
            if change.new_id.is_none() && changes_directory(change) =>
        {
            rules.push(Rule::MovedSymlink);
        }
        (ChangeKind::Added, Some(FileMode::Executable)) => rules.push(Rule::NewExecutable),
        _ => {}
    }
    if change.old_mode == Some(FileMode::Regular) && change.new_mode == Some(FileMode::Executable) {
        rules.push(Rule::NewExecutableBit);
    }
    findings.extend(rules.into_iter().map(|rule| Finding { rule, path: path.clone(), detail: None }));
}

/// A symlink is read from the directory it is in, and keeps its meaning only there.
fn changes_directory(change: &FileChange) -> bool {
    let directory = |path: &ByteString| names::directories(path.as_bytes()).last().map(<[u8]>::to_vec);
    change.renamed_from.as_ref().map(directory) != Some(directory(&change.path))
}
