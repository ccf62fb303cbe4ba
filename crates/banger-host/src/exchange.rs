//! Many files of a working tree change together: all of them, or none.
//!
//! What is new lies in a stage beside the tree first, on the same file system; what was there is moved aside
//! into it. Each step is one rename, so that whoever finds an exchange half-done can tell what has been done,
//! and undo it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, RenameFlags, chmodat, mkdirat, renameat_with, unlinkat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::acl;
use crate::movable::{movable, removable};
use crate::worktree::Worktree;

/// Why an exchange cannot be made, or undone.
#[derive(Debug, thiserror::Error)]
#[error("could not {action} {}", path.display())]
pub struct ExchangeError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl ExchangeError {
    fn is_absence(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
    }
}

fn cannot<'a, E: Into<io::Error>>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(E) -> ExchangeError + 'a {
    move |source| ExchangeError { action, path: path.to_owned(), source: source.into() }
}

/// What is to change. It can be written down, and carried out or undone by another process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exchange {
    #[serde(with = "crate::path_bytes")]
    root: PathBuf,
    #[serde(with = "crate::path_bytes")]
    stage: PathBuf,
    /// Files that leave, each for `old/<index>` of the stage.
    taken: Vec<Stamped>,
    /// Files that come, each from `new/<index>` of the stage.
    put: Vec<Stamped>,
    /// Directories that have nothing in them then, the deepest first.
    emptied: Vec<Directory>,
    /// Directories that are needed, the outermost first.
    #[serde(with = "crate::path_bytes::list")]
    made: Vec<PathBuf>,
    /// The mode of those.
    dir_mode: u32,
}

/// A file as it is expected to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stamped {
    #[serde(with = "crate::path_bytes")]
    path: PathBuf,
    stamp: Stamp,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Directory {
    #[serde(with = "crate::path_bytes")]
    path: PathBuf,
    mode: u32,
}

/// By this a file is known not to have been written to since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    inode: u64,
    len: u64,
    mtime: (i64, i64),
}

impl Stamp {
    /// Of a file or symlink, as it is now.
    ///
    /// # Errors
    ///
    /// When it cannot be looked at.
    pub fn of(path: &Path) -> io::Result<Self> {
        let found = path.symlink_metadata()?;
        Ok(Self { inode: found.ino(), len: found.len(), mtime: (found.mtime(), found.mtime_nsec()) })
    }
}

impl Exchange {
    /// Plans to take the files `taken` out of the tree at `root`, if they are still what their stamps say,
    /// and to put there what lies in `stage/new`, numbered in the order of `put`. Paths are relative to
    /// `root`; `dir_mode` is for directories that are new.
    ///
    /// # Errors
    ///
    /// When the tree or the stage cannot be read.
    pub fn plan(
        root: &Path,
        stage: &Path,
        taken: Vec<(PathBuf, Stamp)>,
        put: Vec<PathBuf>,
        dir_mode: u32,
    ) -> Result<Self, ExchangeError> {
        let stamped = put.iter().enumerate().map(|(index, path)| {
            let staged = stage.join("new").join(index.to_string());
            let stamp = Stamp::of(&staged).map_err(cannot("read", &staged))?;
            Ok(Stamped { path: path.clone(), stamp })
        });
        let stamped: Vec<Stamped> = stamped.collect::<Result<_, ExchangeError>>()?;
        let paths: Vec<PathBuf> = taken.iter().map(|(path, _)| path.clone()).collect();
        let emptied = emptied(root, &paths, &put)?;
        let made = missing(root, &paths, &put);
        let taken = taken.into_iter().map(|(path, stamp)| Stamped { path, stamp }).collect();
        Ok(Self { root: root.into(), stage: stage.into(), taken, put: stamped, emptied, made, dir_mode })
    }

    pub fn stage(&self) -> &Path {
        &self.stage
    }

    /// Says what would stop it, as far as that can be known before: directories that cannot be written to or
    /// lie on another file system, and files that nobody may move. Blocks.
    ///
    /// # Errors
    ///
    /// When there is such a thing.
    pub fn check(&self) -> Result<(), ExchangeError> {
        let here = mount_of(&self.stage).map_err(cannot("read", &self.stage))?;
        let made: BTreeSet<&Path> = self.made.iter().map(PathBuf::as_path).collect();
        let files = self.taken.iter().chain(&self.put).map(|file| file.path.as_path());
        let dirs = self.emptied.iter().map(|dir| dir.path.as_path()).chain(made.iter().copied());
        let above: BTreeSet<&Path> = files.chain(dirs).filter_map(Path::parent).collect();
        for dir in above.into_iter().filter(|dir| !made.contains(dir)) {
            let dir = self.root.join(dir);
            movable(&dir).map_err(cannot("change files in", &dir))?;
            if mount_of(&dir).map_err(cannot("read", &dir))? != here {
                return Err(cannot("move files to another file system at", &dir)(Errno::XDEV));
            }
            let wanted = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
            rustix::fs::accessat(CWD, &dir, wanted, AtFlags::EACCESS)
                .map_err(cannot("change files in", &dir))?;
        }
        for file in &self.taken {
            let file = self.root.join(&file.path);
            movable(&file).and_then(|()| removable(&file)).map_err(cannot("replace or remove", &file))?;
            if mount_of(&file).map_err(cannot("read", &file))? != here {
                return Err(cannot("replace or remove", &file)(Errno::BUSY));
            }
        }
        Ok(())
    }

    /// Does it. After an error some of it may have been done: [`Self::undo`] is for that.
    ///
    /// # Errors
    ///
    /// When a file cannot be moved or has been written to, or something has come into its place.
    pub fn carry_out(&self) -> Result<(), ExchangeError> {
        let places = self.places()?;
        let is_take = |step: &Step<'_>| matches!(step, Step::Take(..));
        self.steps().take_while(is_take).try_for_each(|step| self.take_step(&places, &step))?;
        // Who has a file open may still write to it; who opens it from here on finds none, or the new one.
        for (index, taken) in self.taken.iter().enumerate() {
            let stamp = Stamp::of(&self.stage.join("old").join(index.to_string()));
            if stamp.map_err(cannot("read", &taken.path))? != taken.stamp {
                let written = io::Error::other("somebody has just written to it");
                return Err(cannot("replace or remove", &taken.path)(written));
            }
        }
        self.steps().skip_while(is_take).try_for_each(|step| self.take_step(&places, &step))
    }

    fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        let taken = self.taken.iter().enumerate().map(|(index, taken)| Step::Take(index, &taken.path));
        let emptied = self.emptied.iter().map(|dir| Step::Empty(&dir.path));
        let made = self.made.iter().map(|dir| Step::Make(dir));
        let put = self.put.iter().enumerate().map(|(index, put)| Step::Put(index, &put.path));
        taken.chain(emptied).chain(made).chain(put)
    }

    fn take_step(&self, places: &Places, step: &Step<'_>) -> Result<(), ExchangeError> {
        let (action, path) = match step {
            Step::Take(_, path) => ("move away", path),
            Step::Empty(path) => ("remove", path),
            Step::Make(path) => ("make", path),
            Step::Put(_, path) => ("put in place", path),
        };
        let (dir, name) = parent(&places.tree, path)?;
        let done = match step {
            Step::Take(index, _) => rename(&dir, name, &places.old, index.to_string()),
            Step::Empty(_) => unlinkat(&dir, name, AtFlags::REMOVEDIR),
            Step::Make(_) => make_new_dir(&dir, name, self.dir_mode),
            Step::Put(index, _) => rename(&places.new, index.to_string(), &dir, name),
        };
        done.map_err(cannot(action, path))
    }

    /// Brings the tree back to what it was, however much has been done. Answers the files that somebody has
    /// written to since they were put there: they stay, and what was there before is in the stage, which must
    /// be kept.
    ///
    /// # Errors
    ///
    /// When something has come into the place of a file that was taken. All else is undone.
    pub fn undo(&self) -> Result<Vec<PathBuf>, ExchangeError> {
        let Places { tree, old, new } = self.places()?;
        let mut outcome = Ok(());
        let mut written = Vec::new();
        for (index, put) in self.put.iter().enumerate() {
            let staged = self.stage.join("new").join(index.to_string());
            if staged.symlink_metadata().is_ok() {
                continue;
            }
            if Stamp::of(&self.root.join(&put.path)).is_ok_and(|stamp| stamp != put.stamp) {
                written.push(put.path.clone());
                continue;
            }
            match parent(&tree, &put.path).and_then(|(dir, name)| {
                rename(&dir, name, &new, index.to_string()).map_err(cannot("take back", &put.path))
            }) {
                Ok(()) => {}
                // It had not been put yet, or somebody has removed it.
                Err(error) if error.is_absence() => {}
                Err(error) => outcome = Err(error),
            }
        }
        for dir in self.made.iter().rev() {
            // It may not have been made, and may have come into use.
            let _ = parent(&tree, dir).map(|(above, name)| unlinkat(&above, name, AtFlags::REMOVEDIR));
        }
        for dir in self.emptied.iter().rev() {
            let again = parent(&tree, &dir.path).and_then(|(above, name)| {
                let made = make_dir(&above, name, dir.mode);
                made.or_else(|error| if error == Errno::EXIST { Ok(()) } else { Err(error) })
                    .map_err(cannot("make", &dir.path))
            });
            if let Err(error) = again {
                outcome = Err(error);
            }
        }
        for (index, Stamped { path, .. }) in self.taken.iter().enumerate() {
            let name = index.to_string();
            let is_here = self.stage.join("old").join(&name).symlink_metadata().is_ok();
            if !is_here || written.contains(path) {
                continue;
            }
            let back = parent(&tree, path)
                .and_then(|(dir, to)| rename(&old, &name, &dir, to).map_err(cannot("bring back", path)));
            if let Err(error) = back {
                outcome = Err(error);
            }
        }
        outcome.map(|()| written)
    }

    /// Where in the stage a file lies that was taken and is not back.
    pub fn kept_of(&self, path: &Path) -> Option<PathBuf> {
        let index = self.taken.iter().position(|taken| taken.path == path)?;
        Some(Path::new("old").join(index.to_string()))
    }

    fn places(&self) -> Result<Places, ExchangeError> {
        let open = |name: &str| {
            let path = self.stage.join(name);
            fs::File::open(&path).map(OwnedFd::from).map_err(cannot("read", &path))
        };
        let tree =
            Worktree::open(&self.root).map_err(io::Error::other).map_err(cannot("read", &self.root))?;
        Ok(Places { tree, old: open("old")?, new: open("new")? })
    }
}

/// What the files move between.
struct Places {
    tree: Worktree,
    old: OwnedFd,
    new: OwnedFd,
}

/// In the order in which they are taken.
enum Step<'e> {
    Take(usize, &'e Path),
    Empty(&'e Path),
    Make(&'e Path),
    Put(usize, &'e Path),
}

/// A directory as the one above gives it to whoever makes one: where that has an access list for it, it
/// stands for the umask.
fn make_new_dir(above: &OwnedFd, name: &OsStr, mode: u32) -> Result<(), Errno> {
    let path = PathBuf::from(format!("/proc/self/fd/{}", above.as_raw_fd()));
    match acl::is_inherited(&path) {
        Ok(true) => mkdirat(above, name, Mode::from_raw_mode(0o777)),
        _ => make_dir(above, name, mode),
    }
}

fn make_dir(above: &OwnedFd, name: &OsStr, mode: u32) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(mode);
    mkdirat(above, name, mode)?;
    // In a directory of a group's, the new one is the group's as well.
    let of_group = Mode::from_raw_mode(rustix::fs::fstat(above)?.st_mode) & Mode::SGID;
    // The umask of this process is nobody's wish.
    chmodat(above, name, mode | of_group, AtFlags::empty())
}

/// Two places between which files can be renamed have the same: a file system can be mounted twice.
///
/// # Errors
///
/// When there is no such place.
pub fn mount_of(path: &Path) -> io::Result<(u64, u64)> {
    use rustix::fs::{StatxFlags, statx};
    let found = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE | StatxFlags::MNT_ID)?;
    Ok((rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_mnt_id))
}

/// The directory of a file, reached without following a symlink, and the file's name in it.
fn parent<'p>(tree: &Worktree, path: &'p Path) -> Result<(OwnedFd, &'p OsStr), ExchangeError> {
    let name = path.file_name().ok_or(Errno::INVAL).map_err(cannot("change", path))?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((tree.directory(dir).map_err(cannot("change", path))?, name))
}

/// Moves a file to where nothing is.
fn rename(
    from: &OwnedFd,
    name: impl AsRef<OsStr>,
    to: &OwnedFd,
    new_name: impl AsRef<OsStr>,
) -> Result<(), Errno> {
    renameat_with(from, name.as_ref(), to, new_name.as_ref(), RenameFlags::NOREPLACE)
}

/// Directories that have nothing in them when the files are taken and put, the deepest first: git keeps none.
/// One that is empty already, and in the place of a file, is one of them.
fn emptied(root: &Path, taken: &[PathBuf], put: &[PathBuf]) -> Result<Vec<Directory>, ExchangeError> {
    let needed: BTreeSet<&Path> = put.iter().flat_map(|path| path.ancestors().skip(1)).collect();
    let mut gone: BTreeSet<PathBuf> = taken.iter().cloned().collect();
    let is_dir = |path: &&PathBuf| root.join(path).symlink_metadata().is_ok_and(|found| found.is_dir());
    let in_the_way = put.iter().filter(is_dir).map(PathBuf::as_path);
    let mut candidates: Vec<&Path> =
        taken.iter().flat_map(|path| path.ancestors().skip(1)).chain(in_the_way).collect();
    candidates.retain(|dir| !dir.as_os_str().is_empty() && !needed.contains(dir));
    candidates.sort_by_key(|dir| (usize::MAX - dir.components().count(), *dir));
    candidates.dedup();
    let mut emptied = Vec::new();
    for dir in candidates {
        let path = root.join(dir);
        let mut stays = false;
        for entry in fs::read_dir(&path).map_err(cannot("read", &path))? {
            stays |= !gone.contains(&dir.join(entry.map_err(cannot("read", &path))?.file_name()));
        }
        if !stays {
            let mode = path.symlink_metadata().map_err(cannot("read", &path))?.mode() & 0o7777;
            gone.insert(dir.to_owned());
            emptied.push(Directory { path: dir.to_owned(), mode });
        }
    }
    Ok(emptied)
}

/// Directories that the files to put need and that are not there, the outermost first.
fn missing(root: &Path, taken: &[PathBuf], put: &[PathBuf]) -> Vec<PathBuf> {
    let leaving: BTreeSet<&Path> = taken.iter().map(PathBuf::as_path).collect();
    let above =
        put.iter().flat_map(|path| path.ancestors().skip(1)).filter(|dir| !dir.as_os_str().is_empty());
    let missing: BTreeSet<&Path> =
        above.filter(|dir| leaving.contains(dir) || !root.join(dir).is_dir()).collect();
    // A directory sorts before what is in it.
    missing.into_iter().map(Path::to_owned).collect()
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
