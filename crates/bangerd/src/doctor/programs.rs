use std::path::Path;

use banger_api::doctor::Check;

use super::{fail, ok};

/// Is a program where bangerd looks for it?
pub(super) fn check(name: &str, path: &Path) -> Check {
    match path.metadata() {
        Ok(meta) if meta.is_file() => ok(name, format!("{} ({} KiB)", path.display(), meta.len() >> 10)),
        Ok(_) => fail(name, format!("{} is no file", path.display()), None),
        Err(error) => fail(
            name,
            format!("{}: {error}", path.display()),
            Some("make build, then use the programs in target/dist (or `make install`)".into()),
        ),
    }
}
