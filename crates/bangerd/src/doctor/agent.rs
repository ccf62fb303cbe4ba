use std::path::Path;

use banger_api::doctor::Check;

use super::{fail, ok};

const NAME: &str = "guest agent";

/// Is the guest agent where bangerd looks for it?
pub(super) fn check(path: &Path) -> Check {
    match path.metadata() {
        Ok(meta) if meta.is_file() => ok(NAME, format!("{} ({} KiB)", path.display(), meta.len() >> 10)),
        Ok(_) => fail(NAME, format!("{} is no file", path.display()), None),
        Err(error) => fail(
            NAME,
            format!("{}: {error}", path.display()),
            Some("make build, then use the programs in target/dist (or `make install`)".into()),
        ),
    }
}
