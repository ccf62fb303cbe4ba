//! Lines of git configuration files. A file of the tree becomes configuration when the user's own includes
//! it, or when its directory passes for a repository.

use super::names::file_name;

/// Last parts of the settings through which git runs programs, finds configuration or takes objects from
/// elsewhere.
const KEYS: &[&str] = &[
    "allow",
    "alternaterefscommand",
    "askpass",
    "attributesfile",
    "authorsprog",
    "cccmd",
    "clean",
    "cmd",
    "command",
    "defaultkeycommand",
    "difffilter",
    "driver",
    "editor",
    "external",
    "fsmonitor",
    "gitproxy",
    "headercmd",
    "helper",
    "hookspath",
    "httpd",
    "insteadof",
    "packobjectshook",
    "pager",
    "path",
    "process",
    "program",
    "pushinsteadof",
    "receivepack",
    "recentobjectshook",
    "sendmailcmd",
    "smtpserver",
    "smudge",
    "sshcommand",
    "templatedir",
    "textconv",
    "tocmd",
    "tunnel",
    "update",
    "uploadpack",
    "url",
    "vcs",
    "worktree",
];

/// Settings that no other program has, and that need no section to be known by.
const UNMISTAKABLE_KEYS: &[&str] = &["hookspath", "fsmonitor", "sshcommand"];

/// Sections by which a file that is only called `config` shows that it is one of git.
const SECTIONS: &[&str] = &[
    "alias",
    "branch",
    "browser",
    "core",
    "credential",
    "diff",
    "difftool",
    "extensions",
    "filter",
    "gpg",
    "hook",
    "include",
    "includeif",
    "init",
    "instaweb",
    "interactive",
    "man",
    "merge",
    "mergetool",
    "pager",
    "protocol",
    "receive",
    "remote",
    "sendemail",
    "sequence",
    "submodule",
    "trailer",
    "uploadpack",
    "url",
    "web",
];

/// Whether git runs a program, or reads a file, by this setting: `filter.x.clean`, as git lists it.
pub fn is_obeyed(key: &str) -> bool {
    let first = key.split('.').next().unwrap_or_default();
    let last = key.rsplit('.').next().unwrap_or_default();
    matches!(first, "alias" | "pager")
        || matches!(last, "excludesfile" | "template")
        || (first, last) == ("lfs", "args")
        || KEYS.contains(&last)
}

/// How sure it is that a file is git configuration.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Likeness {
    /// By its name.
    Named,
    /// It may be, if its lines look so.
    Possible,
}

pub(super) fn likeness(folded_path: &[u8]) -> Option<Likeness> {
    let name = file_name(folded_path);
    let is_named = name.ends_with(b"gitconfig")
        || name.starts_with(b".gitconfig")
        || name == b"config.worktree"
        || folded_path.ends_with(b".config/git/config");
    let is_possible = name == b"config" || name.starts_with(b"gitconfig");
    match (is_named, is_possible) {
        (true, _) => Some(Likeness::Named),
        (false, true) => Some(Likeness::Possible),
        (false, false) => None,
    }
}

/// What the lines of one file have shown so far.
#[derive(Default)]
pub(super) struct Shape {
    has_section: bool,
    has_key: bool,
    has_unmistakable_key: bool,
}

impl Shape {
    /// Sections count on every line that the new file has, settings on added lines only.
    pub(super) fn see(&mut self, line: &[u8], is_added: bool) {
        self.has_section |= begins_section(line);
        if is_added {
            self.has_key |= sets(line, KEYS) || sets_shell_command(line);
            self.has_unmistakable_key |= sets(line, UNMISTAKABLE_KEYS);
        }
    }

    pub(super) fn runs_programs(&self, likeness: Likeness) -> bool {
        match likeness {
            Likeness::Named => self.has_key,
            Likeness::Possible => self.has_unmistakable_key || (self.has_section && self.has_key),
        }
    }
}

/// Whether the line is a setting that only git has, whatever the file is called: the user's configuration may
/// include any.
pub(super) fn is_unmistakable_setting(line: &[u8]) -> bool {
    let line = line.trim_ascii_start();
    let line = after(line, "[core]").unwrap_or(line);
    UNMISTAKABLE_KEYS.iter().any(|key| after(line, key).is_some_and(|rest| rest.starts_with(b"=")))
}

/// What comes after a word, in whatever case it is, and the white space behind it.
fn after<'a>(line: &'a [u8], word: &str) -> Option<&'a [u8]> {
    let (start, rest) = line.split_at_checked(word.len())?;
    start.eq_ignore_ascii_case(word.as_bytes()).then(|| rest.trim_ascii_start())
}

fn begins_section(line: &[u8]) -> bool {
    let Some(rest) = line.trim_ascii_start().strip_prefix(b"[") else { return false };
    let name = rest.split(|byte| !byte.is_ascii_alphanumeric()).next().unwrap_or_default();
    SECTIONS.iter().any(|section| name.eq_ignore_ascii_case(section.as_bytes()))
}

/// Whether one of `keys` stands before any `=` of the line. More than git would take for a setting, never
/// less: a section may stand on the same line, and so may another one.
fn sets(line: &[u8], keys: &[&str]) -> bool {
    let equals = line.iter().enumerate().filter(|(_, byte)| **byte == b'=');
    equals.map(|(place, _)| last_word(&line[..place])).any(|word| {
        let is_word = |key: &&str| word.eq_ignore_ascii_case(key.as_bytes());
        !word.is_empty() && keys.iter().any(is_word)
    })
}

fn last_word(text: &[u8]) -> &[u8] {
    let text = text.trim_ascii_end();
    let is_inside = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    let length = text.iter().rev().take_while(|byte| is_inside(byte)).count();
    &text[text.len() - length..]
}

/// A value that begins with `!` goes to the shell: an alias, a credential helper.
fn sets_shell_command(line: &[u8]) -> bool {
    let mut parts = line.split(|byte| *byte == b'=');
    parts.next();
    parts.any(|value| {
        let value = value.trim_ascii_start();
        value.strip_prefix(b"\"").unwrap_or(value).starts_with(b"!")
    })
}
