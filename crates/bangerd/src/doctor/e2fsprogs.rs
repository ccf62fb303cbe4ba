use banger_api::doctor::Check;
use banger_host::command::find_program;

use super::{fail, install, ok};
use crate::causes::on_one_line;

const NAME: &str = "e2fsprogs";

/// Can work disks be made?
pub(super) fn check() -> Check {
    match find_program("mke2fs") {
        Ok(path) => ok(NAME, path.display().to_string()),
        Err(error) => fail(NAME, on_one_line(&error), Some(install("e2fsprogs"))),
    }
}
