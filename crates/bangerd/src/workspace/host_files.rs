//! Files that a patch shows a part of, and the host has the whole of.

use std::path::Path;

use banger_guest_protocol::ByteString;

use super::patch::{self, Finding, PackageJson, Rule};

/// A larger file is not looked at, in bytes.
const MAX_LEN: u64 = 64 << 20;

/// Whether the host's lock file names these hosts already.
pub(super) fn is_known_host(root: &Path, finding: &Finding) -> bool {
    let hosts = match &finding.detail {
        Some(hosts) if finding.rule == Rule::LockedElsewhere => hosts,
        _ => return false,
    };
    // One that cannot be read names none.
    let content = read(root, &finding.path).unwrap_or_default();
    let known = patch::locked_hosts(&content);
    hosts.as_bytes().split(|byte| *byte == b' ').all(|host| known.contains(host))
}

/// Says of a `package.json` whether it gets scripts that run on their own, which its lines alone do not tell
/// for sure.
pub(super) fn judge_scripts(root: Option<&Path>, shown: &PackageJson, findings: &mut Vec<Finding>) {
    let old = match &shown.old_path {
        None => Some(Vec::new()),
        Some(path) => root.and_then(|root| read(root, path)),
    };
    let Some(is_changed) = old.and_then(|old| shown.changes_scripts(&old)) else { return };
    let rule = Rule::LifecycleScript;
    findings.retain(|finding| finding.rule != rule || finding.path != shown.path);
    if is_changed {
        findings.push(Finding { rule, path: shown.path.clone(), detail: None });
        findings.sort_by(|a, b| (a.severity(), a).cmp(&(b.severity(), b)));
    }
}

/// What is there, if it is a file that can be read.
fn read(root: &Path, path: &ByteString) -> Option<Vec<u8>> {
    let file = root.join(path.as_os_str());
    // Without it, the lines of the patch alone are judged.
    let found = file.symlink_metadata().ok()?;
    if !found.is_file() || found.len() > MAX_LEN {
        return None;
    }
    // As above.
    std::fs::read(file).ok()
}
