use banger_api::doctor::Check;

use super::{fail, ok, warn};
use crate::artifact::{Archive as _, ArchiveError, DebianArchive};
use crate::catalog::{Catalog, DEFAULT_IMAGE, Kind, Source};
use crate::causes::on_one_line;
use crate::operation::Reporter;

const NAME: &str = "image build";

/// Can images and kernels be built? Nobody needs that on a host that is `complete`.
pub(super) async fn check(catalog: &Catalog, complete: bool) -> Check {
    let default = catalog.find(Kind::Image, DEFAULT_IMAGE, &Reporter::unwatched()).await;
    let checked = match default.map(|entry| entry.source) {
        Some(Source::Debian(source)) => DebianArchive.check(&source),
        _ => Ok(()),
    };
    let (seen, fix) = match checked {
        Ok(()) => return ok(NAME, "mmdebstrap and what it needs are there"),
        Err(ArchiveError::NotReady { fix, source }) => (on_one_line(source.as_ref()), fix),
        Err(error) => (on_one_line(&error), None),
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
