//! A pack of banger's in the host's repository. Until a ref needs it, a journal says that it can go.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use banger_host::command::CommandError;
use banger_host::files::{private_dir, write_atomic};
use banger_host::git::Git;
use serde::{Deserialize, Serialize};

use super::WorkspaceError;
use super::object::ObjectId;

/// What the name of such a journal ends with.
const EXTENSION: &str = "branch";

/// How git ends when it is asked for a commit that it does not have.
const NO_SUCH_COMMIT: i32 = 129;

/// A pack, and the journal that knows of it.
pub(super) struct BranchPack {
    contents: Contents,
    journal: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Contents {
    #[serde(with = "banger_host::path_bytes")]
    repository: PathBuf,
    /// The commit that it was made for.
    tip: String,
    /// Its files, as far as they were not there before: the pack first, the index last.
    #[serde(with = "banger_host::path_bytes::list")]
    files: Vec<PathBuf>,
    /// When the pack was written. git sets that anew when it finds in there what somebody wants to add.
    written: Option<(i64, i64)>,
}

impl BranchPack {
    /// Puts it there. The index comes last: without it git does not see the pack.
    ///
    /// # Errors
    ///
    /// When it cannot be written. Then nothing is left of it.
    pub(super) async fn put(
        host: &Git,
        pack: &Path,
        tip: ObjectId,
        journals: &Path,
    ) -> Result<Self, WorkspaceError> {
        let place = host.line(&["rev-parse", "--git-path", "objects/pack"]).await?;
        let place = host.dir().join(place.ok_or(WorkspaceError::HostGone)?);
        let (pack, repository, journals) = (pack.to_owned(), host.dir().to_owned(), journals.to_owned());
        let putting = tokio::task::spawn_blocking(move || {
            let name = pack.file_stem().unwrap_or_default().to_string_lossy().replacen("branch-", "pack-", 1);
            let files = ["pack", "rev", "idx"]
                .map(|suffix| (pack.with_extension(suffix), place.join(format!("{name}.{suffix}"))));
            // Not every git makes each of them.
            let (from, files): (Vec<_>, Vec<_>) =
                files.into_iter().filter(|(from, to)| from.exists() && !to.exists()).unzip();
            let journal = journals.join(format!("{tip}.{EXTENSION}"));
            let contents = Contents { repository, tip: tip.to_string(), files, written: None };
            private_dir(&journals)?;
            let mut put = Self { contents, journal };
            put.note()?;
            for (number, from) in from.iter().enumerate() {
                let to = &put.contents.files[number];
                if let Err(error) = copy(from, to) {
                    let said = format!("could not write {}: {error}", to.display());
                    put.undo();
                    return Err(WorkspaceError::BranchNotMade { said });
                }
                if put.contents.written.is_none() {
                    // Without it nothing can have come to rely on the pack: the index is not there yet.
                    put.contents.written = time_of(to).ok();
                    if let Err(error) = put.note() {
                        put.undo();
                        return Err(error);
                    }
                }
            }
            Ok(put)
        });
        putting.await.map_err(|_| WorkspaceError::Cut)?
    }

    /// A ref needs it.
    pub(super) fn keep(self) {
        remove(&self.journal);
    }

    /// Takes it away again, unless somebody relies on it.
    pub(super) fn undo(&self) {
        self.contents.remove();
        remove(&self.journal);
    }

    fn note(&self) -> Result<(), WorkspaceError> {
        let kept = |source| WorkspaceError::Patch { source };
        let bytes = serde_json::to_vec(&self.contents).map_err(io::Error::other).map_err(kept)?;
        Ok(write_atomic(&self.journal, &bytes, 0o600)?)
    }
}

impl Contents {
    fn remove(&self) {
        let Some(pack) = self.files.first() else { return };
        if time_of(pack).is_ok_and(|time| self.written.is_some_and(|written| written != time)) {
            tracing::info!(pack = %pack.display(), "git has found something in it since; it stays");
            return;
        }
        // The index first, as git does.
        self.files.iter().rev().for_each(|file| remove(file));
    }

    /// Does a ref lead to what it was made for?
    async fn is_needed(&self) -> Result<bool, CommandError> {
        let host = Git::new(&self.repository);
        match host.line(&["for-each-ref", "--count=1", "--contains", &self.tip]).await {
            Ok(found) => Ok(found.is_some_and(|name| !name.is_empty())),
            // There is no such commit. What else goes wrong says nothing of it.
            Err(CommandError::Failed { status, .. }) if status.code() == Some(NO_SUCH_COMMIT) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Takes away the packs that an earlier daemon put into repositories of the host's and made no branch of.
///
/// # Errors
///
/// When the journals cannot be listed.
pub async fn recover_branches(journals: &Path) -> io::Result<()> {
    let found = match fs::read_dir(journals) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    for entry in found {
        let journal = entry?.path();
        if journal.extension().is_none_or(|extension| extension != EXTENSION) {
            continue;
        }
        let read = fs::read(&journal).and_then(|bytes| Ok(serde_json::from_slice::<Contents>(&bytes)?));
        let contents = match read {
            Ok(contents) => contents,
            Err(error) => {
                tracing::warn!(%error, journal = %journal.display(), "a journal cannot be read");
                continue;
            }
        };
        match contents.is_needed().await {
            Ok(is_needed) => {
                tracing::info!(is_needed, journal = %journal.display(), "the making of a branch was cut off");
                BranchPack { contents, journal }.end(is_needed);
            }
            // The disk may be away, and come back.
            Err(error) => tracing::warn!(%error, journal = %journal.display(), "git cannot be asked"),
        }
    }
    Ok(())
}

impl BranchPack {
    fn end(self, is_needed: bool) {
        if is_needed { self.keep() } else { self.undo() }
    }
}

fn time_of(file: &Path) -> io::Result<(i64, i64)> {
    file.metadata().map(|found| (found.mtime(), found.mtime_nsec()))
}

fn remove(file: &Path) {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, file = %file.display(), "a file of no use was not removed");
        }
        _ => {}
    }
}

/// Under a name that git's own clean-up knows until it is whole.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let dir = to.parent().unwrap_or(Path::new("."));
    let read_only = fs::Permissions::from_mode(0o444);
    let mut temporary =
        tempfile::Builder::new().prefix("tmp_pack_").permissions(read_only).tempfile_in(dir)?;
    io::copy(&mut File::open(from)?, temporary.as_file_mut())?;
    temporary.as_file().sync_all()?;
    temporary.persist_noclobber(to)?;
    Ok(())
}
