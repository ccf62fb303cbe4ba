use banger_api::doctor::Check;

use super::{Host, fail, ok};
use crate::causes::on_one_line;

const NAME: &str = "configuration";

/// Can the configuration file be used?
pub(super) fn check(host: &Host) -> Check {
    match &host.config_error {
        Some(error) => fail(NAME, on_one_line(error), error.hint()),
        None if host.config.exists => ok(NAME, host.config.path.display().to_string()),
        None => ok(NAME, format!("{} does not exist: defaults are used", host.config.path.display())),
    }
}
