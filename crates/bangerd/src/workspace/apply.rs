//! A patch meets the host's repository.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use banger_guest_protocol::ByteString;
use banger_guest_protocol::import::ObjectFormat;
use banger_host::command::Command;
use banger_host::git::{Git, records};
use banger_host::worktree::{Entry, Worktree};

use super::WorkspaceError;
use super::hidden::{hidden, ignored};
use super::host_files::{is_known_host, judge_scripts};
use super::host_obeys::obeyed;
use super::inspect::parse_tracked;
use super::object::{Hasher, ObjectId, blob_id};
use super::off_the_workers::off_the_workers;
use super::other_repositories::add_others;
use super::patch::{self, BlobId, FileChange, FileMode, Finding, Obeyed, Screening, Severity, TreeEntry};

/// A patch that was read, and what is to be said of it.
pub struct Reviewed {
    pub changes: Vec<FileChange>,
    pub findings: Vec<Finding>,
}

impl Reviewed {
    /// Is there anything that could act on the host by itself?
    pub fn is_risky(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity() == Severity::Risky)
    }

    /// Adds what was found elsewhere, risky things first.
    pub fn add_findings(&mut self, findings: Vec<Finding>) {
        self.findings.extend(findings);
        self.findings.sort_by(|a, b| (a.severity(), a).cmp(&(b.severity(), b)));
        self.findings.dedup();
    }
}

/// Reads patches, and screens them for what could act on the host by itself. What the host's repository is
/// set to is asked once.
#[derive(Default)]
pub struct Reviewer {
    host: Option<Host>,
}

struct Host {
    git: Git,
    tree: Vec<TreeEntry>,
    obeyed: Obeyed,
}

impl Reviewer {
    /// For patches that are meant for the repository `host`, as far as there is one.
    ///
    /// # Errors
    ///
    /// When git cannot be asked.
    pub async fn new(host: Option<&Git>) -> Result<Self, WorkspaceError> {
        let Some(git) = host else { return Ok(Self::default()) };
        let tree = tree_of(git).await?;
        let obeyed = obeyed(git, &tree).await?;
        Ok(Self { host: Some(Host { git: git.clone(), tree, obeyed }) })
    }

    /// Reviews a patch that the guest has made. `parts` are the repositories in the workspace, as places in
    /// it, in the order of the patch.
    ///
    /// # Errors
    ///
    /// When it is not a patch that git would make, or git on this host reads it otherwise than we do.
    pub async fn review(&self, file: &Path, parts: &[ByteString]) -> Result<Reviewed, WorkspaceError> {
        let (changes, screening) = read(file).await?;
        in_order(&changes, parts)?;
        agree(file, &changes).await?;
        self.finish(file, changes, parts, screening).await
    }

    /// Reviews a patch that the host's git has made, and that nobody will apply.
    ///
    /// # Errors
    ///
    /// As [`Self::review`].
    pub async fn review_own(&self, file: &Path) -> Result<Reviewed, WorkspaceError> {
        let (changes, screening) = read(file).await?;
        self.finish(file, changes, &[], screening).await
    }

    async fn finish(
        &self,
        file: &Path,
        changes: Vec<FileChange>,
        parts: &[ByteString],
        mut screening: Screening,
    ) -> Result<Reviewed, WorkspaceError> {
        let (tree, obeyed) = match &self.host {
            Some(host) => {
                let mut obeyed = host.obeyed.clone();
                obeyed.ignored = ignored(&host.git, &changes, &host.tree).await?;
                add_others(&host.git, &changes, &host.tree, parts, &mut obeyed).await?;
                let beside = file.parent().unwrap_or(Path::new("/"));
                obeyed.ignored.extend(hidden(beside, &changes, screening.take_git_ignore()).await?);
                (host.tree.clone(), obeyed)
            }
            None => Default::default(),
        };
        let root = self.host.as_ref().map(|host| host.git.dir().to_owned());
        let finishing = tokio::task::spawn_blocking(move || {
            let shown = screening.take_package_json();
            let mut findings = screening.finish(&changes, tree, &obeyed);
            shown.iter().for_each(|shown| judge_scripts(root.as_deref(), shown, &mut findings));
            findings.retain(|finding| !root.as_ref().is_some_and(|root| is_known_host(root, finding)));
            Reviewed { changes, findings }
        });
        finishing.await.map_err(|_| WorkspaceError::Cut)
    }
}

/// How much memory a git may take that reads a patch: git holds all of it, packed and unpacked.
pub(super) const APPLY_BYTES: u64 = 6 << 30;

async fn read(file: &Path) -> Result<(Vec<FileChange>, Screening), WorkspaceError> {
    let path = file.to_owned();
    let reading = tokio::task::spawn_blocking(move || {
        let file = File::open(&path).map_err(|source| WorkspaceError::Patch { source })?;
        let mut screening = Screening::new();
        let changes = patch::read(BufReader::with_capacity(256 * 1024, file), &mut screening);
        let changes = changes.map_err(|error| match error {
            patch::PatchError::UnpacksTooFar { limit_bytes } => WorkspaceError::PatchUnpacks { limit_bytes },
            error => error.into(),
        })?;
        Ok((changes, screening))
    });
    reading.await.map_err(|_| WorkspaceError::Cut)?
}

/// git has one order of paths. In another one, an early file may decide what becomes of a later one.
fn in_order(changes: &[FileChange], parts: &[ByteString]) -> Result<(), WorkspaceError> {
    let part_of = |path: &[u8]| {
        let is_in = |part: &[u8]| {
            part.is_empty() || path.strip_prefix(part).is_some_and(|rest| rest.starts_with(b"/"))
        };
        let found = parts.iter().enumerate().filter(|(_, part)| is_in(part.as_bytes()));
        found.max_by_key(|(_, part)| part.as_bytes().len()).map(|(index, _)| index)
    };
    let places = changes.iter().map(|change| (part_of(change.path.as_bytes()), &change.path));
    let places: Vec<_> = places.collect();
    // A file that becomes a symlink goes first, and then comes.
    match places.windows(2).find(|pair| pair[0] > pair[1]) {
        Some(pair) => Err(patch::PatchError::OutOfOrder { path: pair[1].1.clone() }.into()),
        None => Ok(()),
    }
}

/// `git apply` will act on its own reading of the patch: it must be ours.
async fn agree(file: &Path, changes: &[FileChange]) -> Result<(), WorkspaceError> {
    if changes.is_empty() {
        return Ok(());
    }
    let parent = file.parent().unwrap_or(Path::new("/"));
    let command = Git::new(parent).command(["apply", "--numstat", "-z", "--whitespace=nowarn"]).arg(file);
    // Paths would be taken relative to a repository that the cache happens to lie in.
    let ceiling = parent.parent().unwrap_or(parent);
    let output = command.env("GIT_CEILING_DIRECTORIES", ceiling).memory_limit(APPLY_BYTES).run().await?;
    let mut theirs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut fields = output.stdout.split(|byte| *byte == 0);
    while let Some(field) = fields.next().filter(|field| !field.is_empty()) {
        let mut parts = field.splitn(3, |byte| *byte == b'\t');
        let counts = [parts.next().unwrap_or_default(), parts.next().unwrap_or_default()].join(&b' ');
        theirs.push((counts, parts.next().unwrap_or_default().to_vec()));
    }
    let counts = |change: &FileChange| match change.binary {
        true => b"- -".to_vec(),
        false => format!("{} {}", change.added, change.removed).into_bytes(),
    };
    let ours: Vec<(Vec<u8>, Vec<u8>)> =
        changes.iter().map(|change| (counts(change), change.path.as_bytes().to_vec())).collect();
    if theirs == ours { Ok(()) } else { Err(WorkspaceError::Disagreement) }
}

/// The files that git knows of in the host's repository.
pub(super) async fn tree_of(host: &Git) -> Result<Vec<TreeEntry>, WorkspaceError> {
    let listed = host.output(&["ls-files", "--recurse-submodules", "-z", "-s", "-t"]).await?;
    let entries = parse_tracked(&listed)?;
    let entry = |path: ByteString, mode: u32| {
        // What is left of a submodule is one that is not checked out: an empty directory.
        let mode =
            FileMode::parse(format!("{mode:o}").as_bytes()).filter(|mode| *mode != FileMode::Gitlink)?;
        Some(TreeEntry { path, mode })
    };
    Ok(entries.into_iter().filter_map(|tracked| entry(tracked.path, tracked.mode)).collect())
}

/// How git gets at the content of the host's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filters {
    /// Through the filter drivers that the host has configured (git-lfs and the like): a commit has what they
    /// make of it.
    On,
    /// As they lie there, which is how the guest got them.
    Off,
}

/// Has a command look at the host's files through filters, or not.
pub(super) async fn with_filters(
    host: &Git,
    command: Command,
    filters: Filters,
) -> Result<Command, WorkspaceError> {
    if filters == Filters::On {
        return Ok(command);
    }
    let listed = ["config", "-z", "--name-only", "--get-regexp", r"^filter\."];
    let listed = host.command(listed).ok_codes(&[0, 1]).run().await?.stdout;
    let driver = |name: &[u8]| Some(name[..name.iter().rposition(|byte| *byte == b'.')?].to_vec());
    let drivers: BTreeSet<Vec<u8>> = records(&listed).filter_map(driver).collect();
    let off = drivers.iter().flat_map(|driver| {
        // A driver without a program leaves everything as it is.
        [(".clean", ""), (".smudge", ""), (".process", ""), (".required", "false")]
            .map(|(key, value)| (OsString::from_vec([driver, key.as_bytes()].concat()), value))
    });
    let command = command.env("GIT_CONFIG_COUNT", (4 * drivers.len()).to_string());
    Ok(off.enumerate().fold(command, |command, (n, (key, value))| {
        command.env(format!("GIT_CONFIG_KEY_{n}"), key).env(format!("GIT_CONFIG_VALUE_{n}"), value)
    }))
}

/// How many files a refusal names.
const NAMED_FILES: usize = 5;

/// Why the patch should not be applied although git would: files that it touches are not, on the host, what
/// it starts from.
///
/// # Errors
///
/// When the host's files cannot be read.
pub async fn dirty_overlap(
    host: &Git,
    changes: &[FileChange],
    filters: Filters,
) -> Result<Option<String>, WorkspaceError> {
    let (host, changes) = (host.clone(), changes.to_vec());
    off_the_workers(async move { find_overlap(&host, &changes, filters).await }).await
}

async fn find_overlap(
    host: &Git,
    changes: &[FileChange],
    filters: Filters,
) -> Result<Option<String>, WorkspaceError> {
    let is_sha256 = |change: &FileChange| matches!(change.old_id.or(change.new_id), Some(BlobId::Sha256(_)));
    let format = match changes.iter().any(is_sha256) {
        true => ObjectFormat::Sha256,
        false => ObjectFormat::Sha1,
    };
    let worktree = Worktree::open(host.dir())?;
    let leaving: HashSet<&ByteString> = changes
        .iter()
        .filter(|change| change.new_path() != change.old_path())
        .filter_map(FileChange::old_path)
        .collect();
    let mut dirty: Vec<String> = Vec::new();
    for change in changes {
        let is_same = match (change.old_path(), change.old_id) {
            (Some(path), Some(id)) => {
                is_blob(host, filters, &worktree, format, path, &id.to_string()).await?
            }
            // A pure rename or change of mode does not say what it starts from; git compares nothing either.
            (Some(path), None) => !matches!(entry(&worktree, path)?, Entry::Absent),
            (None, _) => true,
        };
        if let Some(path) = change.new_path().filter(|path| change.old_path() != Some(*path))
            && let Some(found) = in_the_way(&worktree, host.dir(), path, &leaving)?
        {
            dirty.push(found.display().to_string());
        }
        if !is_same {
            dirty.push(change.old_path().unwrap_or(&change.path).as_os_str().display().to_string());
        }
    }
    let rest = dirty.len().saturating_sub(NAMED_FILES);
    dirty.truncate(NAMED_FILES);
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    let said = || format!("not what the patch starts from, on the host: {}{more}", dirty.join(", "));
    Ok((!dirty.is_empty()).then(said))
}

/// What `path` cannot be made for: git finds that out when it has already changed half of the files. What the
/// patch takes away is in nobody's way.
fn in_the_way(
    worktree: &Worktree,
    root: &Path,
    path: &ByteString,
    leaving: &HashSet<&ByteString>,
) -> Result<Option<PathBuf>, WorkspaceError> {
    let leaves = |path: &Path| leaving.contains(&ByteString::from(path.as_os_str().to_owned()));
    let path = Path::new(path.as_os_str());
    let above = path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty());
    for above in above {
        match worktree.entry(above)? {
            Entry::File(_) | Entry::Symlink { .. } if !leaves(above) => return Ok(Some(above.to_owned())),
            _ => {}
        }
    }
    match worktree.entry(path)? {
        Entry::Absent => Ok(None),
        Entry::File(_) | Entry::Symlink { .. } => Ok((!leaves(path)).then(|| path.to_owned())),
        Entry::Other => stays_inside(root, path, &leaves),
    }
}

/// Something in a directory that the patch does not take away.
fn stays_inside(
    root: &Path,
    dir: &Path,
    leaves: &impl Fn(&Path) -> bool,
) -> Result<Option<PathBuf>, WorkspaceError> {
    let failed = |source| WorkspaceError::Read { path: dir.display().to_string(), source };
    for found in std::fs::read_dir(root.join(dir)).map_err(failed)? {
        let found = found.map_err(failed)?;
        let path = dir.join(found.file_name());
        if found.file_type().map_err(failed)?.is_dir() {
            let is_empty = std::fs::read_dir(found.path()).map_err(failed)?.next().is_none();
            if is_empty {
                return Ok(Some(path));
            }
            if let Some(inside) = stays_inside(root, &path, leaves)? {
                return Ok(Some(inside));
            }
        } else if !leaves(&path) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn entry(worktree: &Worktree, path: &ByteString) -> Result<Entry, WorkspaceError> {
    Ok(worktree.entry(Path::new(path.as_os_str()))?)
}

async fn is_blob(
    host: &Git,
    filters: Filters,
    worktree: &Worktree,
    format: ObjectFormat,
    path: &ByteString,
    wanted: &str,
) -> Result<bool, WorkspaceError> {
    let Some(wanted) = ObjectId::parse(wanted.as_bytes()) else { return Ok(false) };
    let mut file = match entry(worktree, path)? {
        Entry::Symlink { target, .. } => return Ok(blob_id(format, target.as_bytes()) == wanted),
        Entry::File(file) => file,
        Entry::Other | Entry::Absent => return Ok(false),
    };
    let mut hasher = Hasher::of_blob(format, file.len);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let len = file.file.read(&mut buffer).map_err(|source| WorkspaceError::Read {
            path: path.as_os_str().display().to_string(),
            source,
        })?;
        if len == 0 {
            break;
        }
        hasher.update(&buffer[..len]);
    }
    if hasher.finish() == wanted {
        return Ok(true);
    }
    // Line ends and filters may make another blob of the same file.
    let command = host.command(["hash-object", "--"]).arg(path.as_os_str());
    let command = with_filters(host, command, filters).await?;
    Ok(ObjectId::parse(command.run().await?.stdout.trim_ascii_end()) == Some(wanted))
}
