//! What the lines of one file say, looked at while they go by.

use super::git_config::{Likeness, Shape, is_unmistakable_setting, likeness};
use super::lock_file::{Hosts, is_lock_file};
use super::names::{file_name, fold};
use super::{Rule, attributes, symlink};
use crate::workspace::patch::{ChangeKind, FileChange, FileMode, LineKind};

/// The longest target that Linux takes.
const MAX_TARGET_BYTES: usize = 4095;

/// Settings that a script or a README may set with `git config`.
const MENTIONS: &[&[u8]] = &[b"hookspath", b"fsmonitor", b"sshcommand"];

/// Keys of `scripts` in `package.json` that npm, pnpm or yarn run on their own.
const LIFECYCLE_SCRIPTS: &[&str] = &[
    "preinstall",
    "install",
    "postinstall",
    "preprepare",
    "prepare",
    "postprepare",
    "prepublish",
    "prepublishOnly",
    "publish",
    "postpublish",
    "prepack",
    "postpack",
    "preuninstall",
    "uninstall",
    "postuninstall",
    "dependencies",
    "pnpm:devPreinstall",
];

/// What a file is to those who read it.
enum Role {
    Plain,
    GitConfig(Likeness, Shape),
    GitAttributes,
    /// Whether the line before ends with a key, so that its value is to come.
    PackageJson {
        awaits_value: bool,
    },
    LockFile(Hosts),
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
            None if file_name(&folded) == b"package.json" => Role::PackageJson { awaits_value: false },
            None if is_lock_file(&folded) && change.kind != ChangeKind::Added => {
                Role::LockFile(Hosts::default())
            }
            None => Role::Plain,
        };
        let mut content = Self { path: path.to_vec(), role, rules: Vec::new(), target: None };
        // A symlink has its content elsewhere, and a file that was there under another name has it from before.
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
        if let Role::Symlink(target) = &mut self.role {
            target.is_odd |= new_start != 1;
        }
    }

    pub(super) fn line(&mut self, kind: LineKind, text: &[u8], is_cut: bool) {
        if let Role::LockFile(hosts) = &mut self.role {
            hosts.see(text, kind == LineKind::Added);
        }
        if kind == LineKind::Removed {
            return;
        }
        let is_added = kind == LineKind::Added;
        let mut found = None;
        match &mut self.role {
            Role::Plain | Role::LockFile(_) => {}
            Role::GitConfig(_, shape) => {
                shape.see(text, is_added);
                found = (is_added && is_cut).then_some(Rule::UnseenContent);
            }
            Role::GitAttributes if is_added && is_cut => found = Some(Rule::UnseenContent),
            Role::GitAttributes => {
                found = (is_added && attributes::is_risky(text)).then_some(Rule::GitAttributes);
            }
            Role::PackageJson { awaits_value } => {
                let ends_with_key = ends_with_key(text);
                let is_script = has_lifecycle_script(text) || ends_with_key || *awaits_value;
                let is_hidden = is_cut || text.windows(2).any(|pair| pair == b"\\u");
                found = (is_added && (is_script || is_hidden)).then_some(Rule::LifecycleScript);
                *awaits_value = ends_with_key;
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

    /// What was found, and with a rule on symlinks the target.
    pub(super) fn finish(mut self) -> (Vec<Rule>, Option<Vec<u8>>) {
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
            _ => {}
        }
        (self.rules, self.target)
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

/// Whether the line ends with one of the keys, with or without its colon: JSON can put the value on the next line.
fn ends_with_key(line: &[u8]) -> bool {
    let line = line.trim_ascii_end();
    let line = line.strip_suffix(b":").unwrap_or(line).trim_ascii_end();
    let Some(rest) = line.strip_suffix(b"\"") else { return false };
    let Some(start) = rest.iter().rposition(|byte| *byte == b'"') else { return false };
    // After a colon it is a value.
    let is_key = matches!(rest[..start].trim_ascii_end().last(), None | Some(b'{' | b','));
    is_key && LIFECYCLE_SCRIPTS.iter().any(|script| &rest[start + 1..] == script.as_bytes())
}

/// Whether the line gives one of the keys a text. `dependencies` is the name of an object, too.
fn has_lifecycle_script(line: &[u8]) -> bool {
    let mut quotes = line.iter().enumerate().filter(|(_, byte)| **byte == b'"').map(|(place, _)| place + 1);
    quotes.any(|start| {
        let rest = &line[start..];
        let Some(end) = rest.iter().position(|byte| *byte == b'"') else { return false };
        let is_key = LIFECYCLE_SCRIPTS.iter().any(|script| &rest[..end] == script.as_bytes());
        let value = rest[end + 1..].trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        is_key && value.is_some_and(|value| value.is_empty() || value.starts_with(b"\""))
    })
}
