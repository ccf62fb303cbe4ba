//! What the user's SSH client is told of VMs.

use serde::{Deserialize, Serialize};

/// The user's SSH configuration, as far as it is banger's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshConfigView {
    /// Was the user's file changed just now?
    pub changed: bool,
    /// Has the user's file the line?
    pub installed: bool,
    /// `~/.ssh/config`.
    pub user_file: String,
    /// The line that is banger's in it.
    pub line: String,
    /// The file that the line includes.
    pub file: String,
    /// What is in that file.
    pub text: String,
}
