use std::path::Path;

use crate::error::CommandError;

/// The path as the daemon can find it, which has a working directory of its own.
///
/// # Errors
///
/// When it is not UTF-8, or the working directory is gone.
pub(super) fn absolute(path: &Path) -> Result<String, CommandError> {
    let absolute = std::path::absolute(path)
        .map_err(|error| CommandError::io(format!("could not tell where {} is", path.display()), error))?;
    absolute.into_os_string().into_string().map_err(|path| {
        CommandError::usage(format!("the path {} is not UTF-8", path.display()))
            .with_hint("rename it, or name a link to it")
    })
}
