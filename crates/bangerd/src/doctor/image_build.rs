use banger_api::doctor::Check;

use super::{chain, fail, ok, warn};
use crate::artifact::{Archive as _, ArchiveError, DebianArchive};
use crate::catalog;

const NAME: &str = "image build";

/// Can images and kernels be built? Nobody needs that on a host that is `complete`.
pub(super) fn check(complete: bool) -> Check {
    let default = catalog::find(catalog::images(), catalog::DEFAULT_IMAGE);
    let (seen, fix) = match default.map(|entry| DebianArchive.check(&entry.source)) {
        None | Some(Ok(())) => return ok(NAME, "mmdebstrap and what it needs are there"),
        Some(Err(ArchiveError::NotReady { fix, source })) => (chain(source.as_ref()), fix),
        Some(Err(error)) => (chain(&error), None),
    };
    if complete {
        return warn(
            NAME,
            format!("{seen}; only other images and kernels than the default ones need it"),
            fix,
        );
    }
    fail(NAME, seen, fix)
}
