//! What the host's user has git ignore without the repository saying so.

use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use banger_guest_protocol::ByteString;
use banger_host::git::Git;

use super::WorkspaceError;

/// No list that somebody has written by hand is longer, in bytes.
const MAX_LEN: u64 = 256 << 10;

/// The patterns of `core.excludesFile` and of the repository's `info/exclude`, as one list: of two that match
/// the later one counts.
///
/// # Errors
///
/// When git cannot be asked, or a list cannot be read.
pub(super) async fn excludes(git: &Git) -> Result<ByteString, WorkspaceError> {
    let own = git.line(&["rev-parse", "--git-path", "info/exclude"]).await?;
    let files = [of_user(git).await?, own.map(|path| git.dir().join(path))];
    let mut patterns = Vec::new();
    for file in files.into_iter().flatten() {
        // Comments are the user's own, and stay.
        let content = read(&file)?;
        let lines = content.split(|byte| *byte == b'\n');
        for pattern in lines.filter(|line| !line.trim_ascii().is_empty() && !line.starts_with(b"#")) {
            patterns.extend([pattern, b"\n"].concat());
        }
    }
    Ok(patterns.into())
}

async fn of_user(git: &Git) -> Result<Option<PathBuf>, WorkspaceError> {
    let configured = git.line(&["config", "--type=path", "--get", "core.excludesFile"]).await?;
    if let Some(path) = configured {
        // An empty one says that there is none, not that it is the usual one.
        return Ok((!path.is_empty()).then(|| git.dir().join(path)));
    }
    let config = std::env::var_os("XDG_CONFIG_HOME").filter(|dir| dir.as_bytes().starts_with(b"/"));
    let config =
        config.map(PathBuf::from).or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".config")));
    Ok(config.map(|config| config.join("git/ignore")))
}

fn read(file: &Path) -> Result<Vec<u8>, WorkspaceError> {
    let failed = |source| WorkspaceError::Read { path: file.display().to_string(), source };
    // A pipe would be waited for.
    match file.metadata() {
        Ok(found) if found.is_file() => {}
        _ => return Ok(Vec::new()),
    }
    let mut patterns = Vec::new();
    let opened = match std::fs::File::open(file) {
        // git ignores what it may not read, too.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
            return Ok(patterns);
        }
        opened => opened.map_err(failed)?,
    };
    opened.take(MAX_LEN).read_to_end(&mut patterns).map_err(failed)?;
    if patterns.len() as u64 == MAX_LEN {
        tracing::warn!(file = %file.display(), "only its beginning is read");
        patterns.truncate(patterns.iter().rposition(|byte| *byte == b'\n').unwrap_or(0));
    }
    Ok(patterns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_empty_name_is_no_list() {
        let dir = tempfile::tempdir().unwrap();
        let git = Git::new(dir.path());
        git.output(&["init", "-q"]).await.unwrap();
        assert!(of_user(&git).await.unwrap().is_some());
        git.output(&["config", "core.excludesFile", ""]).await.unwrap();
        assert_eq!(of_user(&git).await.unwrap(), None);
    }

    #[tokio::test]
    async fn both_lists_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let git = Git::new(dir.path());
        git.output(&["init", "-q"]).await.unwrap();
        std::fs::create_dir_all(dir.path().join(".git/info")).unwrap();
        std::fs::write(dir.path().join("mine"), "*.log").unwrap();
        git.output(&["config", "core.excludesFile", "mine"]).await.unwrap();
        std::fs::write(dir.path().join(".git/info/exclude"), "# mine\n\n!keep.log\nout/\n").unwrap();
        assert_eq!(excludes(&git).await.unwrap().as_bytes(), b"*.log\n!keep.log\nout/\n");
        git.output(&["config", "core.excludesFile", "/dev/zero"]).await.unwrap();
        assert_eq!(excludes(&git).await.unwrap().as_bytes(), b"!keep.log\nout/\n");
    }
}
