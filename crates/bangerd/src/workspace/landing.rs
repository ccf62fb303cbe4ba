//! A patch becomes files: all of them, or none.
//!
//! They are made of objects, beside the working tree, and then change places with what is there
//! ([`Exchange`]). A journal says what is under way, so that a daemon that died in the middle is followed by
//! one that undoes it.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use banger_guest_protocol::ByteString;
use banger_host::exchange::{Exchange, ExchangeError, mount_of};
use banger_host::files::{private_dir, write_atomic};
use banger_host::git::{Git, ObjectReader};
use banger_host::system::free_disk_bytes;
use serde::{Deserialize, Serialize};

use super::WorkspaceError;
use super::apply::{Filters, with_filters};
use super::object::ObjectId;
use super::object_space::ObjectSpace;
use super::patch::FileChange;
use super::patched::{New, Patched, hash};
use super::permissions::permit;
use crate::causes::on_one_line;

/// What a stage is called.
const STAGE: &str = ".banger-apply-";

/// A patch as files, beside the working tree.
pub struct Landing {
    host: Git,
    stage: Stage,
    exchange: Exchange,
    /// Files that git has converted for the working tree, with what they were made of.
    converted: Vec<(ByteString, ObjectId)>,
    filters: Filters,
}

/// What is under way.
#[derive(Serialize, Deserialize)]
struct Journal {
    exchange: Exchange,
    /// Nothing of it is left to be undone; only the stage is still there.
    done: bool,
}

/// The directory where the files wait, and the journal that knows of it. Both go when this is dropped, unless
/// the only copy of a file of the user's may be there.
struct Stage {
    dir: PathBuf,
    journal: PathBuf,
    is_needed: bool,
}

impl Stage {
    /// On the file system of the working tree: among the journals, in the git directory, or else in the
    /// working tree itself.
    async fn new(host: &Git, journals: &Path) -> Result<Self, WorkspaceError> {
        private_dir(journals)?;
        let git_dir =
            host.line(&["rev-parse", "--absolute-git-dir"]).await?.ok_or(WorkspaceError::HostGone)?;
        // One that cannot be looked at is not near.
        let mount = |path: &Path| mount_of(path).ok();
        let (git_dir, root) = (PathBuf::from(git_dir), host.dir());
        let near =
            [journals, &git_dir].into_iter().find(|dir| mount(dir).is_some() && mount(dir) == mount(root));
        let kept = |source| WorkspaceError::Patch { source };
        let made = tempfile::Builder::new().prefix(STAGE).tempdir_in(near.unwrap_or(root)).map_err(kept)?;
        let mut name = made.path().file_name().unwrap_or_default().to_owned();
        name.push(".json");
        let journal = journals.join(name);
        let nothing = Exchange::plan(root, made.path(), Vec::new(), Vec::new(), 0).map_err(not_put)?;
        note(&journal, &Journal { exchange: nothing, done: true })?;
        let stage = Self { dir: made.keep(), journal, is_needed: false };
        for dir in ["new", "old"] {
            fs::create_dir(stage.dir.join(dir)).map_err(kept)?;
        }
        Ok(stage)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.is_needed {
            clear(&self.journal, &self.dir);
        }
    }
}

impl Landing {
    /// Makes the files. Nothing of the user's is touched: this is also how one finds out whether a patch
    /// applies.
    ///
    /// # Errors
    ///
    /// When the patch does not apply, or the files could not be put in place.
    pub async fn prepare(
        host: &Git,
        file: &Path,
        changes: &[FileChange],
        (filters, check_out): (Filters, Filters),
        umask: u32,
        (scratch, journals): (&Path, &Path),
    ) -> Result<Self, WorkspaceError> {
        let space = ObjectSpace::new(host, scratch).await?;
        let patched = space.apply(file, changes, filters).await?;
        let stage = Stage::new(host, journals).await?;
        let ids = changes.iter().filter_map(FileChange::new_path).filter_map(|path| patched.files.get(path));
        has_room(&stage.dir, space.size(ids.map(|new| new.id)).await?)?;
        let checked_out = stage.dir.join("checked-out");
        let converted: Vec<(&ByteString, New)> = converted(changes, &patched);
        space.check_out(&converted, &checked_out, check_out, umask).await?;
        let of = converted.iter().map(|(path, new)| ((*path).clone(), new.id)).collect();
        let maker = Maker {
            root: host.dir().to_owned(),
            stage: stage.dir.clone(),
            changes: changes.to_vec(),
            converted: converted.into_iter().map(|(path, _)| path.clone()).collect(),
            patched,
            umask,
        };
        let reader = space.reader()?;
        let making = tokio::task::spawn_blocking(move || maker.make(reader));
        let exchange = making.await.map_err(|_| WorkspaceError::Cut)??;
        let checking = tokio::task::spawn_blocking(move || exchange.check().map(|()| exchange));
        let exchange = checking.await.map_err(|_| WorkspaceError::Cut)?;
        let exchange =
            exchange.map_err(|error| WorkspaceError::DoesNotApply { said: on_one_line(&error) })?;
        Ok(Self { host: host.clone(), stage, exchange, converted: of, filters: check_out })
    }

    /// Puts the files in place, and notes in the journal that it goes on.
    ///
    /// # Errors
    ///
    /// When one cannot be put in place, or is not there what the patch says. All others are then as they
    /// were.
    pub async fn carry_out(self) -> Result<(), WorkspaceError> {
        let runtime = tokio::runtime::Handle::current();
        // In a thread of its own, which nobody calls off.
        let carrying = tokio::task::spawn_blocking(move || self.put_in_place(&runtime));
        carrying.await.map_err(|_| WorkspaceError::Cut)?
    }

    fn put_in_place(mut self, runtime: &tokio::runtime::Handle) -> Result<(), WorkspaceError> {
        let journal = |done| note(&self.stage.journal, &Journal { exchange: self.exchange.clone(), done });
        journal(false)?;
        self.stage.is_needed = true;
        let carried = self.exchange.carry_out().map_err(not_put);
        let carried = carried.and_then(|()| runtime.block_on(self.check_converted()));
        let carried = carried.and_then(|()| journal(true));
        let Err(error) = carried else {
            self.stage.is_needed = false;
            return Ok(());
        };
        match finish(&self.stage.journal) {
            Ok(()) => Err(error),
            Err(left) => {
                let (stage, source) = (self.stage.dir.clone(), Box::new(error));
                Err(WorkspaceError::NotUndone { stage, left, source })
            }
        }
    }

    /// Conversions may make anything of a file. Read back, it must be what was looked at.
    async fn check_converted(&self) -> Result<(), WorkspaceError> {
        let command = self.host.command(["hash-object", "--stdin-paths"]);
        let command = with_filters(&self.host, command, self.filters).await?;
        let ids = hash(command, self.converted.iter().map(|(path, _)| path)).await?;
        match self.converted.iter().zip(ids).find(|((_, id), read)| id != read) {
            Some(((path, _), _)) => Err(WorkspaceError::Converted { path: PathBuf::from(path.as_os_str()) }),
            None => Ok(()),
        }
    }
}

/// Files that do not fit are not begun.
fn has_room(stage: &Path, needed: u64) -> Result<(), WorkspaceError> {
    match free_disk_bytes(stage) {
        Ok(free) if free < needed => Err(WorkspaceError::NoSpace { place: stage.to_owned(), needed, free }),
        Ok(_) => Ok(()),
        Err(error) => Err(WorkspaceError::Patch { source: io::Error::other(error) }),
    }
}

fn not_made(path: &ByteString, error: &io::Error) -> WorkspaceError {
    WorkspaceError::NotMade { said: format!("{}: {error}", path.as_os_str().display()) }
}

fn not_put(source: ExchangeError) -> WorkspaceError {
    WorkspaceError::NotPutInPlace { source }
}

/// Undoes what an earlier daemon left half-done.
///
/// # Errors
///
/// When the journals cannot be listed.
pub fn recover(journals: &Path) -> io::Result<()> {
    let found = match fs::read_dir(journals) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    for entry in found {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let is_undone = finish(&path).is_ok();
            tracing::info!(is_undone, journal = %path.display(), "an apply was cut off");
        }
    }
    Ok(())
}

/// Brings an exchange to its end: undone, unless all of it was done. Answers what could not be, in words.
fn finish(journal: &Path) -> Result<(), String> {
    let read = fs::read(journal).map_err(io::Error::other);
    let Journal { exchange, done } =
        match read.and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::other)) {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(%error, journal = %journal.display(), "a journal cannot be read");
                return Err(format!("{} cannot be read: {error}", journal.display()));
            }
        };
    if done {
        clear(journal, exchange.stage());
        return Ok(());
    }
    let stage = exchange.stage();
    match exchange.undo() {
        Ok(written) if written.is_empty() => {
            // Who dies while it clears up must not be undone once more. Without room for the note that is all
            // there is to lose.
            let _ = note(journal, &Journal { exchange: exchange.clone(), done: true });
            clear(journal, stage);
            Ok(())
        }
        Ok(written) => {
            let kept = written.iter().map(|path| match exchange.kept_of(path) {
                Some(old) => format!("{} (before: {})", path.display(), old.display()),
                None => format!("{} (new)", path.display()),
            });
            let kept = kept.collect::<Vec<_>>().join(", ");
            let stage = stage.display();
            tracing::warn!(kept, %stage, "undone, but for files that were written to meanwhile; what was there before is kept");
            remove(journal);
            Err(format!("written to meanwhile: {kept}"))
        }
        // The disk may be away, and come back.
        Err(error) => {
            let error = on_one_line(&error);
            tracing::warn!(error, stage = %stage.display(), "not undone");
            Err(format!("{error}; the next start of the daemon tries again"))
        }
    }
}

fn clear(journal: &Path, stage: &Path) {
    match fs::remove_dir_all(stage) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, stage = %stage.display(), "a stage was not removed");
        }
        _ => remove(journal),
    }
}

fn remove(journal: &Path) {
    if let Err(error) = fs::remove_file(journal) {
        tracing::warn!(%error, journal = %journal.display(), "a journal was not removed");
    }
}

fn note(path: &Path, journal: &Journal) -> Result<(), WorkspaceError> {
    let kept = |source| WorkspaceError::Patch { source };
    let bytes = serde_json::to_vec(journal).map_err(io::Error::other).map_err(kept)?;
    Ok(write_atomic(path, &bytes, 0o600)?)
}

/// Files that git has to convert: new ones, and those that were conversions before.
fn converted<'c>(changes: &'c [FileChange], patched: &Patched) -> Vec<(&'c ByteString, New)> {
    let raw: HashSet<&ByteString> = patched.raw.iter().collect();
    let was_raw = |change: &FileChange| change.old_path().is_some_and(|path| raw.contains(path));
    let is_attributes =
        |path: &ByteString| path.as_bytes().rsplit(|byte| *byte == b'/').next() == Some(b".gitattributes");
    let new = changes.iter().filter(|change| !is_as_before(change) && !was_raw(change));
    new.filter_map(|change| change.new_path())
        .filter(|path| !is_attributes(path))
        .filter_map(|path| Some((path, *patched.files.get(path)?)))
        .filter(|(_, new)| !new.is_symlink)
        .collect()
}

/// Its content stays what it is.
fn is_as_before(change: &FileChange) -> bool {
    change.old_path().is_some() && change.old_id == change.new_id
}

/// Lays the files out in the stage, numbered.
struct Maker {
    root: PathBuf,
    stage: PathBuf,
    changes: Vec<FileChange>,
    patched: Patched,
    /// Those that lie in `checked-out` already.
    converted: HashSet<ByteString>,
    umask: u32,
}

impl Maker {
    fn make(&self, mut reader: ObjectReader) -> Result<Exchange, WorkspaceError> {
        let mut put = Vec::new();
        for change in &self.changes {
            let Some(path) = change.new_path() else { continue };
            let staged = self.stage.join("new").join(put.len().to_string());
            self.file(change, path, &staged, &mut reader)?;
            let permitted = permit(&self.root, self.umask, change, path, &staged);
            permitted.map_err(|error| not_made(path, &error))?;
            put.push(PathBuf::from(path.as_os_str()));
        }
        let stamped = |path: &ByteString| {
            let stamp = self.patched.stamps.get(path).ok_or(WorkspaceError::Disagreement)?;
            Ok((PathBuf::from(path.as_os_str()), *stamp))
        };
        let taken = self.changes.iter().filter_map(FileChange::old_path).map(stamped);
        let taken = taken.collect::<Result<_, WorkspaceError>>()?;
        let planned = Exchange::plan(&self.root, &self.stage, taken, put, 0o777 & !self.umask);
        planned.map_err(not_put)
    }

    fn file(
        &self,
        change: &FileChange,
        path: &ByteString,
        staged: &Path,
        reader: &mut ObjectReader,
    ) -> Result<(), WorkspaceError> {
        let failed = |source| not_made(path, &source);
        if self.converted.contains(path) {
            return fs::rename(self.stage.join("checked-out").join(path.as_os_str()), staged).map_err(failed);
        }
        let new = self.patched.files.get(path).ok_or(WorkspaceError::Disagreement)?;
        if let Some(old) = change.old_path().filter(|_| is_as_before(change) && !new.is_symlink) {
            return fs::copy(self.root.join(old.as_os_str()), staged).map(drop).map_err(failed);
        }
        let (_, _, mut content) = reader.read(&new.id.to_string())?;
        let mut buffer = vec![0; 256 * 1024];
        if new.is_symlink {
            let mut target = Vec::new();
            while let Some(piece) = content.piece(&mut buffer)? {
                target.extend_from_slice(piece);
            }
            return symlink(std::ffi::OsStr::from_bytes(&target), staged).map_err(failed);
        }
        let mut file = File::create_new(staged).map_err(failed)?;
        while let Some(piece) = content.piece(&mut buffer)? {
            file.write_all(piece).map_err(failed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "landing_tests.rs"]
mod tests;
