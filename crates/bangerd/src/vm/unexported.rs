//! What goes with a VM that is deleted.

use std::time::Duration;

use super::VmError;
use super::mailbox::VmHandle;
use super::registry::Vms;
use super::workspace::parts_of;
use crate::operation::Reporter;
use crate::workspace::{self, Losses, WorkspaceError};

/// How long the guest may take to say what it holds: nobody deletes a VM to wait for it.
const LIMIT: Duration = Duration::from_secs(10);

/// What is said of a workspace that nobody has looked at.
const UNASKED: &str = "gone with it: its workspace, in which nobody looked for work that was not exported";
const UNASKED_SINCE: &str =
    "gone with it: its workspace, in which nobody looked for work done after the last export";

impl Vms {
    /// Says in one line what work in a running VM's workspace has not been exported. Nobody is kept from
    /// deleting it.
    pub(super) async fn tell_unexported(&self, handle: &VmHandle, reporter: &Reporter) {
        let slot = handle.workspace.clone();
        let Some(current) = slot.current().filter(|current| current.complete && slot.is_free()) else {
            return;
        };
        let looking = async {
            let guest = self.running_guest(handle)?;
            let parts = parts_of(&current)?;
            let losses = workspace::losses(&guest, &current.guest_path, &parts);
            let timeout = VmError::Workspace(WorkspaceError::Timeout { limit: LIMIT });
            Ok(tokio::time::timeout(LIMIT, losses).await.map_err(|_| timeout)??)
        };
        match handle.while_running(reporter, looking).await {
            Ok(mut losses) => {
                if slot.was_exported(&losses.now) {
                    losses.files.clear();
                    let Losses { others, checked_out, .. } = &mut losses;
                    others.retain(|other| !checked_out.contains(other));
                }
                if losses.is_empty() {
                    return;
                }
                reporter.notice(format!("not exported, and gone with it: {}", describe(&losses)));
            }
            Err(VmError::Cancelled) => {}
            Err(VmError::NotRunning { .. }) => tell_unasked(handle, reporter),
            // It has no git.
            Err(VmError::Workspace(WorkspaceError::GuestCommand { code: 127, .. })) => {
                tell_unasked(handle, reporter);
            }
            Err(error) => {
                tracing::info!(%error, vm = %handle.view().row.name, "it does not say what it holds");
                reporter.notice("the VM does not say whether there is work that was not exported");
            }
        }
    }
}

/// Says that a VM's workspace goes without a look at it: a VM that does not run cannot be asked, and one that
/// is killed is not.
pub(super) fn tell_unasked(handle: &VmHandle, reporter: &Reporter) {
    if handle.workspace.current().is_some_and(|current| current.complete) {
        let exported = handle.workspace.is_exported();
        reporter.notice(if exported { UNASKED_SINCE } else { UNASKED });
    }
}

fn describe(losses: &Losses) -> String {
    let files = match losses.files.len() {
        0 => None,
        1 => Some("1 changed file".to_owned()),
        count => Some(format!("{count} changed files")),
    };
    files.into_iter().chain(losses.others.iter().cloned()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_told_in_one_line() {
        let losses = |files: usize, others: &[&str]| Losses {
            files: vec!["f".into(); files],
            others: others.iter().map(|&other| other.into()).collect(),
            checked_out: Vec::new(),
            now: Vec::new(),
        };
        assert_eq!(describe(&losses(1, &[])), "1 changed file");
        assert_eq!(describe(&losses(3, &["a stash"])), "3 changed files, a stash");
        assert_eq!(describe(&losses(0, &["the branch x", "a stash"])), "the branch x, a stash");
    }
}
