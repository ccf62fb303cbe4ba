//! A git directory of this daemon's own: what is made here is seen by nobody, and no setting or attribute of
//! anybody's has a say in it.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use banger_host::command::Command;
use banger_host::git::{Git, ObjectReader};

use super::WorkspaceError;
use super::scratch::ENVIRONMENT;

pub(super) struct ObjectSpace<'h> {
    dir: tempfile::TempDir,
    /// The host's repository.
    pub(super) host: &'h Git,
}

impl<'h> ObjectSpace<'h> {
    /// Makes one in `scratch`. It has no objects of the host's repository, for git touches those that it
    /// would have made again.
    ///
    /// # Errors
    ///
    /// When git fails, or the disk is full.
    pub(super) async fn new(host: &'h Git, scratch: &Path) -> Result<Self, WorkspaceError> {
        let format = host.line(&["rev-parse", "--show-object-format"]).await?;
        let extensions = match format.as_deref().map(OsStrExt::as_bytes) {
            Some(b"sha256") => "\trepositoryformatversion = 1\n[extensions]\n\tobjectformat = sha256\n",
            _ => "\trepositoryformatversion = 0\n",
        };
        let kept = |source| WorkspaceError::Patch { source };
        let dir = tempfile::Builder::new().prefix("objects-").tempdir_in(scratch).map_err(kept)?;
        let write = |name: &str, content: &[u8]| std::fs::write(dir.path().join(name), content).map_err(kept);
        for name in ["objects", "refs"] {
            std::fs::create_dir(dir.path().join(name)).map_err(kept)?;
        }
        write("HEAD", b"ref: refs/heads/none\n")?;
        write("config", format!("[core]\n\tattributesFile = /dev/null\n{extensions}").as_bytes())?;
        Ok(Self { dir, host })
    }

    /// Has the objects of the host's repository found here as well.
    ///
    /// # Errors
    ///
    /// When git does not say where they are, or the disk is full.
    pub(super) async fn borrow_host_objects(&self) -> Result<(), WorkspaceError> {
        let place = self.host.line(&["rev-parse", "--git-path", "objects"]).await?;
        let place = self.host.dir().join(place.ok_or(WorkspaceError::HostGone)?);
        let kept = |source| WorkspaceError::Patch { source };
        let place = place.canonicalize().map_err(kept)?;
        let info = self.objects().join("info");
        std::fs::create_dir(&info).map_err(kept)?;
        std::fs::write(info.join("alternates"), quoted(place.as_os_str().as_bytes())).map_err(kept)?;
        // Where the history of a shallow clone ends.
        let shallow = self.host.line(&["rev-parse", "--git-path", "shallow"]).await?.unwrap_or_default();
        match std::fs::copy(self.host.dir().join(shallow), self.dir.path().join("shallow")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(kept(error)),
            _ => Ok(()),
        }
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn objects(&self) -> PathBuf {
        self.dir.path().join("objects")
    }

    /// The git that works here.
    pub(super) fn git(&self) -> Git {
        Git::new(self.dir.path()).with_git_dir(self.dir.path())
    }

    pub(super) fn command(&self, git: &Git, args: &[&str]) -> Command {
        let command = git.command(args).env("GIT_WORK_TREE", self.dir.path());
        ENVIRONMENT.iter().fold(command, |command, (name, value)| command.env(name, value))
    }

    /// A reader of what is here.
    pub(super) fn reader(&self) -> Result<ObjectReader, WorkspaceError> {
        Ok(self.git().objects()?)
    }
}

/// A path on a line of its own, as git reads it.
pub(super) fn quoted(path: &[u8]) -> Vec<u8> {
    let is_plain = !path.contains(&b'\n') && !path.ends_with(b"\r");
    if is_plain && !path.starts_with(b"\"") && !path.starts_with(b"#") {
        return [path, b"\n"].concat();
    }
    let escaped = path.iter().flat_map(|byte| match byte {
        b'\n' => b"\\n".to_vec(),
        b'\r' => b"\\r".to_vec(),
        b'"' | b'\\' => vec![b'\\', *byte],
        byte => vec![*byte],
    });
    b"\"".iter().copied().chain(escaped).chain(*b"\"\n").collect()
}
