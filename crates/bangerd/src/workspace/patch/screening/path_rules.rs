//! Which rules a path falls under by its name alone.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::Rule;
use super::names::{directories, file_name, fold, is_git_directory};
use super::path_table::table;

/// Directories in which a file with the name of a hook is one. `hooks` alone is a common name for other
/// things.
const HOOK_DIRECTORIES: &[&[u8]] = &[b"hooks", b".hooks"];

/// All of `githooks(5)`.
const HOOKS: &[&[u8]] = &[
    b"applypatch-msg",
    b"pre-applypatch",
    b"post-applypatch",
    b"pre-commit",
    b"pre-merge-commit",
    b"prepare-commit-msg",
    b"commit-msg",
    b"post-commit",
    b"pre-rebase",
    b"post-checkout",
    b"post-merge",
    b"pre-push",
    b"pre-receive",
    b"update",
    b"proc-receive",
    b"post-receive",
    b"post-update",
    b"reference-transaction",
    b"push-to-checkout",
    b"pre-auto-gc",
    b"post-rewrite",
    b"sendemail-validate",
    b"fsmonitor-watchman",
    b"fsmonitor-watchmanv2",
    b"p4-changelist",
    b"p4-prepare-changelist",
    b"p4-post-changelist",
    b"p4-pre-submit",
    b"post-index-change",
];

/// One entry of the table, taken apart.
struct Pattern {
    rule: Rule,
    components: Vec<&'static [u8]>,
    /// It ends with `**`.
    is_below: bool,
}

/// The table, so arranged that a path meets few patterns: there may be a million paths.
struct Patterns {
    all: Vec<Pattern>,
    /// Those that end with `**`, by their first component, which has no star.
    below: HashMap<&'static [u8], Vec<usize>>,
    /// The others, by their last component.
    named: HashMap<&'static [u8], Vec<usize>>,
    /// The others whose last component has a star.
    starred: Vec<usize>,
}

static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    let all: Vec<Pattern> = table().map(|(rule, pattern)| Pattern::new(rule, pattern)).collect();
    let (mut below, mut named, mut starred) = (HashMap::new(), HashMap::new(), Vec::new());
    for (index, pattern) in all.iter().enumerate() {
        let last = pattern.components[pattern.components.len() - 1];
        if pattern.is_below {
            below.entry(pattern.components[0]).or_insert_with(Vec::new).push(index);
        } else if last.contains(&b'*') {
            starred.push(index);
        } else {
            named.entry(last).or_insert_with(Vec::new).push(index);
        }
    }
    Patterns { all, below, named, starred }
});

impl Pattern {
    fn new(rule: Rule, pattern: &'static str) -> Self {
        let (text, is_below) = match pattern.strip_suffix("/**") {
            Some(directory) => (directory, true),
            None => (pattern, false),
        };
        Self { rule, components: text.split('/').map(str::as_bytes).collect(), is_below }
    }

    /// Whether the whole pattern matches, with its first component at `start`.
    fn is_at(&self, path: &[&[u8]], start: usize) -> bool {
        path.get(start..start + self.components.len()).is_some_and(|part| self.begins_with(part))
    }

    /// Whether the pattern matches at the end of a path.
    fn is_at_end(&self, path: &[&[u8]]) -> bool {
        path.len().checked_sub(self.components.len()).is_some_and(|start| self.is_at(path, start))
    }

    /// Whether the path ends with the whole pattern, or with a beginning of it.
    fn is_led_up_to(&self, path: &[&[u8]]) -> bool {
        (path.len().saturating_sub(self.components.len())..path.len())
            .any(|start| self.begins_with(&path[start..]))
    }

    fn begins_with(&self, part: &[&[u8]]) -> bool {
        self.components.iter().zip(part).all(|(wanted, component)| component_matches(wanted, component))
    }
}

/// By these names a file is configuration: an agent's directory has instructions as well, which speak of all
/// sorts of files.
const CONFIGURATION: [&[u8]; 4] = [b".json", b".toml", b".yaml", b".yml"];

/// Whether a file of this name says what is run on the host without anybody asking for it: at a commit, in a
/// shell, by an agent. What an editor's task or a container's build names runs when somebody starts that.
pub fn names_what_runs_unasked(path: &[u8]) -> bool {
    let folded = fold(path);
    let is_configuration = CONFIGURATION.iter().any(|ending| folded.ends_with(ending));
    matching(&folded, false).iter().any(|rule| match rule {
        Rule::GitHook | Rule::HookManager | Rule::ShellEnvironment => true,
        Rule::AgentConfig => is_configuration,
        _ => false,
    })
}

/// The rules that a path falls under. `folded` is the path as [`super::names::fold`] makes it. In the place
/// of a symlink or a submodule a whole directory appears, so what leads up to a pattern matches there, too.
pub(super) fn matching(folded: &[u8], stands_for_directory: bool) -> Vec<Rule> {
    let path: Vec<&[u8]> = folded.split(|byte| *byte == b'/').collect();
    let mut rules = Vec::new();
    if path.iter().any(|component| is_git_directory(component)) {
        rules.push(Rule::GitDirectory);
    }
    if is_hook(folded, stands_for_directory) {
        rules.push(Rule::GitHook);
    }
    let mut find = |pattern: &Pattern| {
        if !rules.contains(&pattern.rule) {
            rules.push(pattern.rule);
        }
    };
    let patterns = &*PATTERNS;
    let of = |indices: Option<&'static Vec<usize>>| {
        indices.into_iter().flatten().map(|index| &patterns.all[*index])
    };
    for (start, component) in path.iter().enumerate() {
        let starting_here = of(patterns.below.get(*component));
        let has_more = |pattern: &&Pattern| start + pattern.components.len() < path.len();
        starting_here.filter(has_more).filter(|pattern| pattern.is_at(&path, start)).for_each(&mut find);
    }
    let ending_here = of(patterns.named.get(file_name(folded))).chain(of(Some(&patterns.starred)));
    ending_here.filter(|pattern| pattern.is_at_end(&path)).for_each(&mut find);
    if stands_for_directory {
        patterns.all.iter().filter(|pattern| pattern.is_led_up_to(&path)).for_each(find);
    }
    rules
}

fn is_hook(folded: &[u8], stands_for_directory: bool) -> bool {
    let name = file_name(folded);
    if stands_for_directory && HOOK_DIRECTORIES.contains(&name) {
        return true;
    }
    let name = name.strip_suffix(b".exe").unwrap_or(name);
    HOOKS.contains(&name) && directories(folded).any(|dir| HOOK_DIRECTORIES.contains(&file_name(dir)))
}

/// Each part between stars is looked for once, from the left: no component takes longer than it is long.
fn component_matches(pattern: &[u8], component: &[u8]) -> bool {
    let mut parts = pattern.split(|byte| *byte == b'*');
    let start = parts.next().unwrap_or_default();
    let Some(mut rest) = component.strip_prefix(start) else { return false };
    let Some(end) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(place) = rest.windows(part.len().max(1)).position(|window| window == part) else {
            return false;
        };
        rest = &rest[place + part.len()..];
    }
    rest.ends_with(end)
}
