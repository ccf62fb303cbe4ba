use banger_api::doctor::Check;

use super::{Host, chain, fail, ok};

const NAME: &str = "state store";

/// Can the state store be read, and does it hang together?
pub(super) fn check(host: &Host) -> Check {
    let path = host.paths.database();
    match &host.store {
        Ok(Some(_)) => ok(NAME, path.display().to_string()),
        Ok(None) => ok(NAME, "none yet; the daemon makes it when it starts"),
        Err(error) => {
            let fix = format!(
                "banger daemon stop; mv {0} {0}.broken   # VMs, images and kernels are forgotten",
                path.display()
            );
            fail(NAME, chain(error), Some(fix))
        }
    }
}
