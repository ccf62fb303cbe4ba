use banger_api::workspace::{Branch, Change, ChangedFile, Export, Finding};

use crate::error::CommandError;
use crate::ui::{self, BAD, DIM, GOOD, WARN, paint};

/// More files than this are counted, not listed.
const LISTED_FILES: usize = 200;

/// Nor more of one kind of finding.
const LISTED_OF_A_KIND: usize = 50;

/// What an export comes to, for people: on stderr, for stdout may be the patch's.
pub(super) fn tell(export: &Export) {
    for file in export.files.iter().take(LISTED_FILES) {
        ui::say(changed(file));
    }
    let rest = export.files.len().saturating_sub(LISTED_FILES);
    if rest > 0 {
        ui::say(format_args!("  and {rest} more"));
    }
    ui::say(summary(&export.files));
    tell_rest(export);
}

/// What is not part of the patch, and what was found in it.
fn tell_rest(export: &Export) {
    for nested in export.nested.iter().take(LISTED_OF_A_KIND) {
        let name = ui::file_name(nested.as_os_str());
        ui::note(format_args!("{name} is a repository or submodule of its own and not part of the patch"));
    }
    more(export.nested.len(), "repositories and submodules");
    for of_a_kind in export.findings.chunk_by(|a, b| (a.risky, &a.reason) == (b.risky, &b.reason)) {
        of_a_kind.iter().take(LISTED_OF_A_KIND).for_each(|found| ui::say(finding(found)));
        more(of_a_kind.len(), "of this kind");
    }
}

/// Says how many are not listed, so that one of another kind is not lost among them.
fn more(all: usize, what: &str) {
    if let Some(rest) = all.checked_sub(LISTED_OF_A_KIND).filter(|rest| *rest > 0) {
        ui::say(format_args!("  and {rest} more {what}"));
    }
}

/// The changed files and their sum as a result: on stdout, all of them. What else is to be said goes to
/// stderr.
///
/// # Errors
///
/// When stdout takes it no more.
pub(super) fn print(export: &Export) -> Result<(), CommandError> {
    for file in &export.files {
        ui::line(changed(file))?;
    }
    ui::line(summary(&export.files))?;
    tell_rest(export);
    Ok(())
}

/// A branch that was made, and how to look at it.
pub(super) fn branch(branch: &Branch) {
    let Branch { name, commit, commits } = branch;
    let commits = if *commits == 1 { "1 new commit".into() } else { format!("{commits} new commits") };
    let short = &commit[..commit.len().min(12)];
    ui::note(format_args!("the branch {} is made, at {short}, with {commits}", ui::clean(name)));
    ui::hint("look", format_args!("git log -p HEAD..{}", ui::clean(name)));
    ui::hint("take", format_args!("git merge {}", ui::clean(name)));
}

fn changed(file: &ChangedFile) -> String {
    let letter = match file.change {
        Change::Added => paint(GOOD, "A"),
        Change::Deleted => paint(BAD, "D"),
        Change::Modified => paint(WARN, "M"),
        Change::Renamed => paint(WARN, "R"),
    };
    let name = ui::file_name(file.path.as_os_str());
    let name = match &file.renamed_from {
        Some(from) => format!("{} -> {name}", ui::file_name(from.as_os_str())),
        None => name,
    };
    let counts = match (file.added, file.removed) {
        (Some(added), Some(removed)) => {
            format!("{} {}", paint(GOOD, format_args!("+{added}")), paint(BAD, format_args!("-{removed}")))
        }
        _ => "binary".into(),
    };
    format!("{letter} {name}  {counts}")
}

pub(super) fn summary(files: &[ChangedFile]) -> String {
    let sum = |lines: fn(&ChangedFile) -> Option<u64>| files.iter().filter_map(lines).sum::<u64>();
    let (added, removed) = (sum(|file| file.added), sum(|file| file.removed));
    match files.len() {
        0 => "no changes".into(),
        1 => format!("1 file changed, +{added} -{removed}"),
        count => format!("{count} files changed, +{added} -{removed}"),
    }
}

fn finding(found: &Finding) -> String {
    let label = if found.risky { paint(BAD, "risky:") } else { paint(DIM, "notice:") };
    let detail = found.detail.as_ref();
    let detail = detail.map(|detail| format!(" ({})", ui::file_name(detail.as_os_str()))).unwrap_or_default();
    format!("{label} {} {}{detail}", ui::file_name(found.path.as_os_str()), found.reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, change: Change, counts: Option<(u64, u64)>) -> ChangedFile {
        ChangedFile {
            path: path.into(),
            renamed_from: (change == Change::Renamed).then(|| "old name".into()),
            change,
            added: counts.map(|(added, _)| added),
            removed: counts.map(|(_, removed)| removed),
        }
    }

    #[test]
    fn files_are_told_with_their_counts() {
        let files = [
            file("new\n", Change::Added, Some((3, 0))),
            file("picture", Change::Modified, None),
            file("name", Change::Renamed, Some((1, 2))),
        ];
        let text: String =
            files.iter().map(|file| format!("{}\n", anstream::adapter::strip_str(&changed(file)))).collect();
        insta::assert_snapshot!(text + &summary(&files), @r"
        A new\n  +3 -0
        M picture  binary
        R old name -> name  +1 -2
        3 files changed, +4 -2
        ");
    }
}
