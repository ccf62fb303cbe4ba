use banger_api::doctor::Check;
use banger_host::command::find_program;

use super::{install, ok, warn};

const NAME: &str = "ssh";

/// Is there an SSH client? Without one VMs are reached by `exec` and `cp` all the same.
pub(super) fn check() -> Check {
    match find_program("ssh") {
        Ok(path) => ok(NAME, path.display().to_string()),
        Err(_) => warn(
            NAME,
            "there is no ssh: `banger ssh` will not work, `banger exec` does",
            Some(install("openssh-client")),
        ),
    }
}
