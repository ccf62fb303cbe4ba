//! A patch becomes objects: git applies it to an index, where no file, setting or attribute has a say.

use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use banger_guest_protocol::ByteString;
use banger_host::command::{Command, CommandError};
use banger_host::exchange::Stamp;
use banger_host::git::{Git, records};
use banger_host::worktree::{Entry, Worktree};

use super::WorkspaceError;
use super::apply::{APPLY_BYTES, Filters, with_filters};
use super::object::ObjectId;
use super::object_space::{ObjectSpace, quoted};
use super::patch::{BlobId, FileChange, FileMode};

/// What a file system gives out at once.
const BLOCK_BYTES: u64 = 4096;

/// A file of the host's that the patch starts from.
#[derive(Clone, Copy, Debug)]
struct Old {
    id: ObjectId,
    /// It lies there byte for byte as git has it, without conversion of line ends and the like.
    is_raw: bool,
    mode: u32,
}

/// A file as the patch makes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct New {
    pub(super) id: ObjectId,
    pub(super) is_symlink: bool,
}

/// What the patch makes of the host's files.
pub(super) struct Patched {
    pub(super) files: HashMap<ByteString, New>,
    /// Files of the host's that lie there byte for byte as git has them.
    pub(super) raw: Vec<ByteString>,
    /// What the files of the host's were when they were read.
    pub(super) stamps: HashMap<ByteString, Stamp>,
}

impl ObjectSpace<'_> {
    /// Applies the patch to the host's files, in objects alone.
    ///
    /// # Errors
    ///
    /// When it does not apply, or what comes out is not what it says.
    pub(super) async fn apply(
        &self,
        file: &Path,
        changes: &[FileChange],
        filters: Filters,
    ) -> Result<Patched, WorkspaceError> {
        let stamps = self.stamps(changes)?;
        let old = self.take_in(changes, filters).await?;
        let index: Vec<u8> = old
            .iter()
            .flat_map(|(path, old)| {
                [format!("{:o} {}\t", old.mode, old.id).as_bytes(), path.as_bytes(), b"\0"].concat()
            })
            .collect();
        let git = self.git();
        self.command(&git, &["update-index", "-z", "--index-info"]).stdin(index).run().await?;
        let args = ["apply", "--cached", "--binary", "--whitespace=nowarn"];
        match self.command(&git, &args).arg(file).memory_limit(APPLY_BYTES).run().await {
            Ok(_) => {}
            Err(CommandError::Failed { stderr, .. }) => {
                return Err(WorkspaceError::DoesNotApply { said: stderr });
            }
            Err(error) => return Err(error.into()),
        }
        let files = self.files().await?;
        agree(changes, &files)?;
        let raw = old.into_iter().filter(|(_, old)| old.is_raw).map(|(path, _)| path).collect();
        Ok(Patched { files, raw, stamps })
    }

    /// Before they are read: whoever writes to one from here on is found out.
    fn stamps(&self, changes: &[FileChange]) -> Result<HashMap<ByteString, Stamp>, WorkspaceError> {
        let stamp = |path: &ByteString| match Stamp::of(&self.host.dir().join(path.as_os_str())) {
            Ok(stamp) => Ok((path.clone(), stamp)),
            Err(_) => Err(not_the_same(path)),
        };
        changes.iter().filter_map(FileChange::old_path).map(stamp).collect()
    }

    /// Makes objects of the host's files that the patch starts from.
    async fn take_in(
        &self,
        changes: &[FileChange],
        filters: Filters,
    ) -> Result<HashMap<ByteString, Old>, WorkspaceError> {
        let tree = Worktree::open(self.host.dir())?;
        let (mut old, mut files) = (HashMap::new(), Vec::new());
        for change in changes {
            let Some(path) = change.old_path() else { continue };
            match tree.entry(Path::new(path.as_os_str()))? {
                Entry::Symlink { target, .. } => {
                    let command = self.command(&self.git(), &["hash-object", "-w", "--stdin"]);
                    let id = command.stdin(target.as_bytes().to_vec()).run().await?.stdout;
                    let id = ObjectId::parse(id.trim_ascii_end()).ok_or_else(|| not_the_same(path))?;
                    old.insert(path.clone(), Old { id, is_raw: true, mode: 0o120_000 });
                }
                Entry::File(file) => {
                    let mode = if file.executable { 0o100_755 } else { 0o100_644 };
                    files.push((path, change.old_id, mode));
                }
                Entry::Other | Entry::Absent => return Err(not_the_same(path)),
            }
        }
        let raw = Git::new(self.host.dir()).with_git_dir(self.dir());
        let raw = self.command(&raw, &["hash-object", "-w", "--no-filters", "--stdin-paths"]);
        let ids = hash(raw, files.iter().map(|(path, ..)| *path)).await?;
        let encoded = self.encoded(files.iter().map(|(path, ..)| *path)).await?;
        let mut converted = Vec::new();
        for ((path, wanted, mode), id) in files.into_iter().zip(ids) {
            let is_raw = wanted.is_none_or(|wanted| is_same(wanted, id));
            if is_raw {
                old.insert(path.clone(), Old { id, is_raw, mode });
            }
            if let Some(wanted) = wanted.filter(|_| !is_raw || encoded.contains(path)) {
                converted.push((path, wanted, mode));
            }
        }
        // Line ends and filters may make another blob of the same file.
        let command = self.host.command(["hash-object", "-w", "--stdin-paths"]);
        let command = command.env("GIT_OBJECT_DIRECTORY", self.objects());
        let command = with_filters(self.host, command, filters).await?;
        let ids = hash(command, converted.iter().map(|(path, ..)| *path)).await?;
        for ((path, wanted, mode), id) in converted.into_iter().zip(ids) {
            if is_same(wanted, id) {
                old.insert(path.clone(), Old { id, is_raw: false, mode });
            } else if !old.contains_key(path) {
                return Err(not_the_same(path));
            }
        }
        Ok(old)
    }

    /// The files that the host has in another encoding than git. As long as they are ASCII, that cannot be
    /// told from the files.
    async fn encoded(
        &self,
        paths: impl Iterator<Item = &ByteString>,
    ) -> Result<HashSet<ByteString>, WorkspaceError> {
        let list: Vec<u8> = paths.flat_map(|path| [path.as_bytes(), b"\0"].concat()).collect();
        let asked = self.host.command(["check-attr", "-z", "--stdin", "working-tree-encoding"]).stdin(list);
        let answers = asked.run().await?.stdout;
        let mut fields = answers.split(|byte| *byte == 0);
        let mut found = HashSet::new();
        while let (Some(path), Some(_), Some(value)) = (fields.next(), fields.next(), fields.next()) {
            if !matches!(value, b"unspecified" | b"unset") {
                found.insert(path.to_vec().into());
            }
        }
        Ok(found)
    }

    /// What the index has.
    async fn files(&self) -> Result<HashMap<ByteString, New>, WorkspaceError> {
        let listed = self.command(&self.git(), &["ls-files", "-s", "-z"]).run().await?.stdout;
        let entry = |record: &[u8]| {
            let tab = record.iter().position(|byte| *byte == b'\t')?;
            let mut words = record[..tab].split(|byte| *byte == b' ');
            let is_symlink = words.next()? == b"120000";
            Some((record[tab + 1..].to_vec().into(), New { id: ObjectId::parse(words.next()?)?, is_symlink }))
        };
        records(&listed).map(|record| entry(record).ok_or(WorkspaceError::Disagreement)).collect()
    }

    /// Writes files below `dest` as the host's git would check them out: with its conversions and its
    /// attributes, which are those from before the patch.
    pub(super) async fn check_out(
        &self,
        files: &[(&ByteString, New)],
        dest: &Path,
        filters: Filters,
        umask: u32,
    ) -> Result<(), WorkspaceError> {
        if files.is_empty() {
            return Ok(());
        }
        let index = self.dir().join("check-out");
        let objects = self.objects();
        let with = |command: Command| {
            command.env("GIT_INDEX_FILE", &index).env("GIT_OBJECT_DIRECTORY", &objects).umask(umask)
        };
        let entries = files.iter().flat_map(|(path, new)| {
            [format!("100644 {}\t", new.id).as_bytes(), path.as_bytes(), b"\0"].concat()
        });
        let alone = ["-c", "core.splitIndex=false", "-c", "core.hooksPath=/dev/null"];
        let command = with(self.host.command(alone).args(["update-index", "-z", "--index-info"]));
        command.stdin(entries.collect()).run().await?;
        let mut prefix = std::ffi::OsString::from("--prefix=");
        prefix.push(dest);
        prefix.push("/");
        let command = with(self.host.command(["checkout-index", "--all", "--force"]).arg(prefix));
        match with_filters(self.host, command, filters).await?.run().await {
            Ok(_) => Ok(()),
            Err(CommandError::Failed { stderr, .. }) => Err(WorkspaceError::NotMade { said: stderr }),
            Err(error) => Err(error.into()),
        }
    }

    /// The room that files of these objects take, in bytes.
    pub(super) async fn size(&self, ids: impl Iterator<Item = ObjectId>) -> Result<u64, WorkspaceError> {
        let list: Vec<u8> = ids.flat_map(|id| format!("{id}\n").into_bytes()).collect();
        let asked = self.command(&self.git(), &["cat-file", "--batch-check=%(objectsize)"]);
        let answers = asked.stdin(list).run().await?.stdout;
        let sizes = answers.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let room = |line: &[u8]| {
            let size: u64 = std::str::from_utf8(line).ok()?.parse().ok()?;
            Some(size.next_multiple_of(BLOCK_BYTES))
        };
        sizes.map(room).sum::<Option<u64>>().ok_or(WorkspaceError::Disagreement)
    }
}

/// Ids of files, in their order.
pub(super) async fn hash(
    command: Command,
    paths: impl Iterator<Item = &ByteString>,
) -> Result<Vec<ObjectId>, WorkspaceError> {
    let list: Vec<u8> = paths.flat_map(|path| quoted(path.as_bytes())).collect();
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let output = command.stdin(list).run().await?.stdout;
    let ids = output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(ObjectId::parse);
    ids.collect::<Option<_>>().ok_or(WorkspaceError::Disagreement)
}

fn is_same(wanted: BlobId, id: ObjectId) -> bool {
    wanted.to_string() == id.to_string()
}

fn not_the_same(path: &ByteString) -> WorkspaceError {
    let path = path.as_os_str().display();
    WorkspaceError::DoesNotApply { said: format!("not what the patch starts from, on the host: {path}") }
}

/// What came out must be what the patch says, and nothing else.
fn agree(changes: &[FileChange], files: &HashMap<ByteString, New>) -> Result<(), WorkspaceError> {
    let expected = changes.iter().filter_map(FileChange::new_path).count();
    let is_made = |change: &FileChange| match change.new_path() {
        None => true,
        Some(path) => files.get(path).is_some_and(|new| {
            let is_symlink = change.new_mode.map(|mode| mode == FileMode::Symlink);
            change.new_id.is_none_or(|id| is_same(id, new.id))
                && is_symlink.is_none_or(|is_symlink| is_symlink == new.is_symlink)
        }),
    };
    let is_whole = files.len() == expected && changes.iter().all(is_made);
    if is_whole { Ok(()) } else { Err(WorkspaceError::Disagreement) }
}
