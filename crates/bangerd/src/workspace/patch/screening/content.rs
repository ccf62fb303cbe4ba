//! What the lines of one file say, looked at while they go by.

use super::git_config::{Likeness, Shape, is_unmistakable_setting, likeness};
use super::lock_file::{Hosts, is_lock_file};
use super::names::{file_name, fold};
use super::package_json::PackageJson;
use super::{Rule, attributes, symlink};
use crate::workspace::patch::{ChangeKind, FileChange, FileMode, LineKind};

/// The longest target that Linux takes.
const MAX_TARGET_BYTES: usize = 4095;

/// Settings that a script or a README may set with `git config`.
const MENTIONS: &[&[u8]] = &[b"hookspath", b"fsmonitor", b"sshcommand"];

/// What a file is to those who read it.
enum Role {
    Plain,
    GitConfig(Likeness, Shape),
    GitAttributes,
    PackageJson(PackageJson),
    LockFile(Hosts),
    /// What it has, as far as the patch shows it.
    GitIgnore(Vec<u8>),
    Symlink(Target),
}

/// The target of a symlink, of which a patch shows every line that changes.
#[derive(Default)]
struct Target {
    text: Vec<u8>,
    /// Anything but one whole line without a newline: then the lines do not tell the target.
    is_odd: bool,
    is_complete: bool,
}

/// One file of the patch.
pub(super) struct Content {
    path: Vec<u8>,
    role: Role,
    rules: Vec<Rule>,
    target: Option<Vec<u8>>,
}

/// What was found in it.
pub(super) struct Found {
    pub(super) rules: Vec<Rule>,
    pub(super) detail: Option<Vec<u8>>,
    pub(super) package_json: Option<PackageJson>,
    pub(super) git_ignore: Option<Vec<u8>>,
}

impl Content {
    pub(super) fn new(change: &FileChange) -> Self {
        let path = change.path.as_bytes();
        let folded = fold(path);
        let likeness = likeness(&folded);
        let is_attributes = file_name(&folded) == b".gitattributes";
        let is_symlink = change.new_mode == Some(FileMode::Symlink);
        let role = match likeness {
            _ if is_symlink && change.new_id.is_some() => Role::Symlink(Target::default()),
            Some(likeness) => Role::GitConfig(likeness, Shape::default()),
            None if is_attributes => Role::GitAttributes,
            None if file_name(&folded) == b"package.json" => Role::PackageJson(PackageJson::new(change)),
            None if file_name(&folded) == b".gitignore" => Role::GitIgnore(Vec::new()),
            None if is_lock_file(&folded) && change.kind != ChangeKind::Added => {
                Role::LockFile(Hosts::default())
            }
            None => Role::Plain,
        };
        let mut content = Self { path: path.to_vec(), role, rules: Vec::new(), target: None };
        // A symlink has its content elsewhere, and a file that was there under another name has it from
        // before.
        let is_elsewhere = is_symlink || change.kind == ChangeKind::Renamed;
        let is_obeyed = is_attributes || likeness == Some(Likeness::Named);
        if (is_obeyed && is_elsewhere) || ((is_obeyed || likeness.is_some()) && change.binary) {
            content.find(Rule::UnseenContent);
        }
        content
    }

    pub(super) fn find(&mut self, rule: Rule) {
        if !self.rules.contains(&rule) {
            self.rules.push(rule);
        }
    }

    pub(super) fn hunk(&mut self, new_start: u64) {
        match &mut self.role {
            Role::Symlink(target) => target.is_odd |= new_start != 1,
            Role::PackageJson(shown) => shown.hunk(new_start),
            _ => {}
        }
    }

    pub(super) fn line(&mut self, kind: LineKind, text: &[u8], is_cut: bool) {
        if let Role::LockFile(hosts) = &mut self.role {
            hosts.see(text, kind == LineKind::Added);
        }
        if let Role::PackageJson(shown) = &mut self.role
            && shown.see(kind, text, is_cut)
        {
            self.find(Rule::LifecycleScript);
        }
        if kind == LineKind::Removed {
            return;
        }
        if let Role::GitIgnore(patterns) = &mut self.role {
            patterns.extend([text, b"\n"].concat());
        }
        let is_added = kind == LineKind::Added;
        let mut found = None;
        match &mut self.role {
            Role::Plain | Role::LockFile(_) | Role::PackageJson(_) | Role::GitIgnore(_) => {}
            Role::GitConfig(_, shape) => {
                shape.see(text, is_added);
                found = (is_added && is_cut).then_some(Rule::UnseenContent);
            }
            Role::GitAttributes if is_added && is_cut => found = Some(Rule::UnseenContent),
            Role::GitAttributes => {
                found = (is_added && attributes::is_risky(text)).then_some(Rule::GitAttributes);
                if is_added && attributes::hides_changes(text) && !self.rules.contains(&Rule::HidesChanges) {
                    self.rules.push(Rule::HidesChanges);
                }
            }
            Role::Symlink(target) => {
                target.is_odd |= !is_added || is_cut || target.is_complete || !target.text.is_empty();
                target.text = text[..text.len().min(MAX_TARGET_BYTES + 1)].to_vec();
            }
        }
        if let Some(rule) = found {
            self.find(rule);
        }
        if is_added {
            self.scan(text);
        }
    }

    pub(super) fn no_newline(&mut self, kind: LineKind) {
        if let Role::Symlink(target) = &mut self.role
            && kind == LineKind::Added
        {
            target.is_complete = true;
        }
    }

    pub(super) fn finish(mut self) -> Found {
        let (mut package_json, mut git_ignore) = (None, None);
        match std::mem::replace(&mut self.role, Role::Plain) {
            Role::GitConfig(likeness, shape) if shape.runs_programs(likeness) => self.find(Rule::GitConfig),
            Role::Symlink(target) => self.judge(target),
            Role::LockFile(hosts) => {
                let new = hosts.added();
                if !new.is_empty() {
                    self.find(Rule::LockedElsewhere);
                    self.target = Some(new.join(&b' '));
                }
            }
            Role::PackageJson(shown) => package_json = Some(shown),
            Role::GitIgnore(patterns) => git_ignore = Some(patterns),
            _ => {}
        }
        Found { rules: self.rules, detail: self.target, package_json, git_ignore }
    }

    fn judge(&mut self, target: Target) {
        let is_known = target.is_complete
            && !target.is_odd
            && !target.text.contains(&0)
            && (1..=MAX_TARGET_BYTES).contains(&target.text.len());
        if !is_known {
            self.find(Rule::UnseenContent);
        } else if let Some(rule) = symlink::judge(&self.path, &target.text) {
            self.find(rule);
            self.target = Some(target.text);
        }
    }

    /// Looks for what matters in any file, in one pass because every added line comes here.
    fn scan(&mut self, text: &[u8]) {
        if matches!(self.role, Role::Plain) && is_unmistakable_setting(text) {
            self.find(Rule::HooksPathMention);
        }
        for (place, byte) in text.iter().enumerate() {
            match byte {
                b'.' if mentions_setting(&text[..place], &text[place + 1..]) => {
                    self.find(Rule::HooksPathMention)
                }
                // U+202A to U+202E and U+2066 to U+2069.
                0xe2 if matches!(text[place + 1..], [0x80, 0xaa..=0xae, ..] | [0x81, 0xa6..=0xa9, ..]) => {
                    self.find(Rule::BidiText);
                }
                _ => {}
            }
        }
    }
}

fn mentions_setting(before: &[u8], after: &[u8]) -> bool {
    let is_core = before.last_chunk::<4>().is_some_and(|word| word.eq_ignore_ascii_case(b"core"));
    is_core
        && MENTIONS
            .iter()
            .any(|key| after.get(..key.len()).is_some_and(|word| word.eq_ignore_ascii_case(key)))
}
