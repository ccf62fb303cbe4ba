//! A working tree as a tar stream, and what is learnt on the way.
//!
//! Every file is read once. While its bytes go out they are hashed: a file that turns out to be what HEAD has
//! under its path is at the same time that blob of the guest's pack, and is clean in the guest's index.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use banger_guest_protocol::ByteString;
use banger_guest_protocol::archive::{
    Entry as TarEntry, EntryKind, Timestamp, put_end, put_entry, put_padding,
};
use banger_guest_protocol::import::{IndexEntry, ObjectFormat};
use banger_host::git::ObjectKind;
use banger_host::worktree::{Entry, RegularFile, Worktree};

use super::WorkspaceError;
use super::checkout::join;
use super::inspect::{GITLINK, Head, Repository, Tracked};
use super::object::{Hasher, ObjectId, blob_id};
use super::pack::PackWriter;
use super::sink::{CHUNK_LEN, Sink};
use super::skeleton::GitFile;

/// How often a file that is being written to is read before we give up.
const ATTEMPTS: usize = 3;

/// Told of every file that went out, and of its size.
pub(super) type OnProgress<'a> = &'a mut (dyn FnMut(u64) + Send);

/// What is to be sent.
pub(super) struct SendPlan<'a> {
    pub(super) repository: &'a Repository,
    /// Where the repository lies in the archive; empty for its root.
    pub(super) inside: &'a ByteString,
    pub(super) tracked: &'a [Tracked],
    pub(super) untracked: &'a [ByteString],
    pub(super) git_files: Vec<GitFile>,
    /// Make blobs of the files; else somebody else brings all objects.
    pub(super) with_objects: bool,
}

/// The next piece of a pack.
pub(super) enum PackStep {
    Bytes(Vec<u8>),
    File { path: ByteString, len: u64 },
}

/// What was learnt while sending.
pub(super) struct Sent {
    pub(super) steps: Vec<PackStep>,
    pub(super) pack_writer: PackWriter,
    /// Objects of HEAD that no file brought along.
    pub(super) missing: Vec<ObjectId>,
    /// The guest's index: what HEAD has, and intents to add what it has not.
    pub(super) index: Vec<IndexEntry>,
    pub(super) overlay: Overlay,
}

impl Sent {
    /// Length in bytes of the pack without the objects that are still to be looked up.
    pub(super) fn known_len(&self) -> u64 {
        let len = |step: &PackStep| match step {
            PackStep::Bytes(bytes) => bytes.len() as u64,
            PackStep::File { len, .. } => *len,
        };
        self.steps.iter().map(len).sum()
    }
}

/// Paths where the working tree is not, or may not be, what HEAD has.
#[derive(Default)]
pub(super) struct Overlay {
    /// HEAD has them, the working tree has not.
    pub(super) gone: Vec<ByteString>,
    /// The same, by a sparse checkout.
    pub(super) left_out: Vec<ByteString>,
    /// They were sent.
    pub(super) there: Vec<ByteString>,
}

impl Overlay {
    pub(super) fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.left_out.is_empty() && self.there.is_empty()
    }
}

/// Sends one repository. Blocks.
///
/// # Errors
///
/// When a file cannot be read, or nobody takes what is sent.
pub(super) fn send(
    plan: &SendPlan<'_>,
    sink: &mut Sink,
    on_progress: OnProgress<'_>,
) -> Result<Sent, WorkspaceError> {
    let worktree = Worktree::open(plan.repository.root())?;
    for (path, content) in &plan.git_files {
        let path = join(plan.inside, &[b".git/", &path[..]].concat());
        put_small(sink, path.as_bytes().to_vec(), content.as_deref())?;
    }
    let mut sender = Sender::new(plan, sink, worktree, on_progress);
    for tracked in plan.tracked {
        if tracked.mode == GITLINK {
            let place = join(plan.inside, tracked.path.as_bytes());
            put_small(sender.sink, place.as_bytes().to_vec(), None)?;
        } else if !tracked.skip_worktree {
            sender.path(&tracked.path, Some(tracked.mode))?;
        }
    }
    for path in plan.untracked {
        sender.path(path, None)?;
    }
    Ok(sender.learnt(plan))
}

/// Ends the archive.
pub(super) fn end(sink: &mut Sink) -> Result<(), WorkspaceError> {
    put_end(sink.buffer());
    sink.flush()
}

fn put_small(sink: &mut Sink, path: Vec<u8>, content: Option<&[u8]>) -> Result<(), WorkspaceError> {
    let kind = match content {
        None => EntryKind::Directory,
        Some(content) => EntryKind::File { size: content.len() as u64 },
    };
    let mode = if content.is_none() { 0o755 } else { 0o644 };
    let mtime = Timestamp { seconds: (crate::clock::unix_ms() / 1000) as i64, nanoseconds: 0 };
    put_entry(sink.buffer(), &TarEntry { path, kind, mode, mtime });
    if let Some(content) = content {
        sink.buffer().extend_from_slice(content);
        put_padding(sink.buffer(), content.len() as u64);
    }
    sink.flush_if_full()
}

struct Sender<'a, 'b> {
    sink: &'a mut Sink,
    worktree: Worktree,
    inside: &'a ByteString,
    on_progress: OnProgress<'b>,
    format: ObjectFormat,
    head: Option<&'a Head>,
    /// Whether the index, not the file, says what is executable.
    modes_from_index: bool,
    with_objects: bool,
    pack_writer: PackWriter,
    steps: Vec<PackStep>,
    packed: HashSet<ObjectId>,
    /// Paths whose file is what HEAD has.
    clean: HashSet<ByteString>,
    /// Paths that were sent.
    present: HashSet<ByteString>,
    buffer: Vec<u8>,
}

impl<'a, 'b> Sender<'a, 'b> {
    fn new(plan: &SendPlan<'a>, sink: &'a mut Sink, worktree: Worktree, on_progress: OnProgress<'b>) -> Self {
        let repository = plan.repository;
        let head = repository.head.as_ref();
        let (pack_writer, first) =
            PackWriter::new(repository.format, head.map_or(0, |head| head.objects().len() as u32));
        let is_false = |(key, value): &(String, String)| key == "core.filemode" && value == "false";
        Self {
            sink,
            worktree,
            inside: plan.inside,
            on_progress,
            format: repository.format,
            head,
            modes_from_index: repository.config.iter().any(is_false),
            with_objects: plan.with_objects,
            pack_writer,
            steps: vec![PackStep::Bytes(first)],
            packed: HashSet::new(),
            clean: HashSet::new(),
            present: HashSet::new(),
            buffer: vec![0; CHUNK_LEN],
        }
    }

    /// Sends what is at a path, if it is something that git tracks.
    fn path(&mut self, path: &ByteString, index_mode: Option<u32>) -> Result<(), WorkspaceError> {
        for _ in 0..ATTEMPTS {
            let (steady, bytes) = match self.worktree.entry(Path::new(path.as_os_str()))? {
                Entry::File(file) => {
                    let len = file.len;
                    (self.file(path, file, index_mode)?, len)
                }
                Entry::Symlink { target, mtime_s } => {
                    self.symlink(path, target.as_bytes(), mtime_s)?;
                    (true, 0)
                }
                Entry::Other | Entry::Absent => return Ok(()),
            };
            // A later entry of an archive replaces an earlier one of the same name.
            if steady {
                self.present.insert(path.clone());
                (self.on_progress)(bytes);
                return Ok(());
            }
        }
        Err(WorkspaceError::Unsteady { path: path.as_os_str().display().to_string() })
    }

    fn symlink(&mut self, path: &ByteString, target: &[u8], mtime_s: i64) -> Result<(), WorkspaceError> {
        let kind = EntryKind::Symlink { target: target.to_vec() };
        self.put(path, kind, 0o777, mtime_s);
        let id = blob_id(self.format, target);
        self.note_if_clean(path, 0o120_000, id);
        self.sink.flush_if_full()
    }

    /// Sends a file's content; false when it changed meanwhile.
    fn file(
        &mut self,
        path: &ByteString,
        mut file: RegularFile,
        index_mode: Option<u32>,
    ) -> Result<bool, WorkspaceError> {
        let executable = match index_mode {
            Some(mode) if self.modes_from_index => mode == 0o100_755,
            _ => file.executable,
        };
        let mode = if executable { 0o100_755 } else { 0o100_644 };
        self.put(path, EntryKind::File { size: file.len }, mode & 0o777, file.mtime_s);
        let expected = self.head.and_then(|head| head.entries.get(path)).map(|entry| entry.id);
        let wanted = expected.filter(|id| self.with_objects && !self.packed.contains(id));
        let mut blob = expected.map(|_| Hasher::of_blob(self.format, file.len));
        let mut object = wanted.map(|_| self.pack_writer.open(ObjectKind::Blob, file.len));
        if file.len == 0
            && let Some((object, head)) = &mut object
        {
            object.content(&[], |_, header| head.extend(header));
        }
        let mut rest = file.len;
        while rest > 0 {
            let wanted = self.buffer.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
            let len = match file.file.read(&mut self.buffer[..wanted]) {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    return Err(WorkspaceError::Read {
                        path: path.as_os_str().display().to_string(),
                        source,
                    });
                }
            };
            if len == 0 {
                // It has become shorter. The archive has promised so much.
                self.pad(rest)?;
                return Ok(false);
            }
            let piece = &self.buffer[..len];
            if let Some(blob) = &mut blob {
                blob.update(piece);
            }
            if let Some((object, _)) = &mut object {
                object.content(piece, |_, _| {});
            }
            self.sink.buffer().extend_from_slice(piece);
            self.sink.flush_if_full()?;
            rest -= len as u64;
        }
        put_padding(self.sink.buffer(), file.len);
        self.sink.flush_if_full()?;
        if !file.is_unchanged() {
            return Ok(false);
        }
        if let Some(id) = blob.map(Hasher::finish) {
            self.note_if_clean(path, mode, id);
            if let Some((object, head)) = object.filter(|_| wanted == Some(id)) {
                self.steps.push(PackStep::Bytes(head));
                if file.len > 0 {
                    self.steps.push(PackStep::File { path: path.clone(), len: file.len });
                }
                self.steps.push(PackStep::Bytes(self.pack_writer.close(object, id).to_vec()));
                self.packed.insert(id);
            }
        }
        Ok(true)
    }

    fn pad(&mut self, mut rest: u64) -> Result<(), WorkspaceError> {
        let total = rest;
        let zeros = [0; 4096];
        while rest > 0 {
            let len = zeros.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
            self.sink.buffer().extend_from_slice(&zeros[..len]);
            self.sink.flush_if_full()?;
            rest -= len as u64;
        }
        put_padding(self.sink.buffer(), total);
        self.sink.flush_if_full()
    }

    fn put(&mut self, path: &ByteString, kind: EntryKind, mode: u32, mtime_s: i64) {
        let mtime = Timestamp { seconds: mtime_s, nanoseconds: 0 };
        let path = join(self.inside, path.as_bytes()).as_bytes().to_vec();
        put_entry(self.sink.buffer(), &TarEntry { path, kind, mode, mtime });
    }

    fn note_if_clean(&mut self, path: &ByteString, mode: u32, id: ObjectId) {
        let entry = self.head.and_then(|head| head.entries.get(path));
        if entry.is_some_and(|entry| entry.id == id && entry.mode == mode) {
            self.clean.insert(path.clone());
        } else {
            self.clean.remove(path);
        }
    }

    fn learnt(self, plan: &SendPlan<'_>) -> Sent {
        let skipped: HashSet<&ByteString> = plan
            .tracked
            .iter()
            .filter(|tracked| tracked.skip_worktree)
            .map(|tracked| &tracked.path)
            .collect();
        let mut index: BTreeMap<ByteString, IndexEntry> = BTreeMap::new();
        let mut overlay = Overlay::default();
        for (path, entry) in self.head.iter().flat_map(|head| &head.entries) {
            let (clean, skip_worktree) = (self.clean.contains(path), skipped.contains(path));
            if !clean && entry.mode != GITLINK {
                let paths = match self.present.contains(path) {
                    true => &mut overlay.there,
                    false if skip_worktree => &mut overlay.left_out,
                    false => &mut overlay.gone,
                };
                paths.push(path.clone());
            }
            let id = entry.id.as_bytes().to_vec();
            let (mode, path) = (entry.mode, path.clone());
            let entry =
                IndexEntry { mode, clean, skip_worktree, intent_to_add: false, id, path: path.clone() };
            index.insert(path, entry);
        }
        let empty = blob_id(self.format, b"");
        for tracked in plan.tracked.iter().filter(|tracked| self.present.contains(&tracked.path)) {
            if index.contains_key(&tracked.path) {
                continue;
            }
            remove_in_the_way(&mut index, &tracked.path);
            overlay.there.push(tracked.path.clone());
            let entry = IndexEntry {
                mode: tracked.mode,
                clean: false,
                skip_worktree: false,
                intent_to_add: true,
                id: empty.as_bytes().to_vec(),
                path: tracked.path.clone(),
            };
            index.insert(tracked.path.clone(), entry);
        }
        overlay.there.extend(plan.untracked.iter().filter(|path| self.present.contains(*path)).cloned());
        let objects = self.head.filter(|_| self.with_objects).map(Head::objects).unwrap_or_default();
        let missing = objects.into_iter().filter(|id| !self.packed.contains(id)).collect();
        let index = index.into_values().collect();
        Sent { steps: self.steps, pack_writer: self.pack_writer, missing, index, overlay }
    }
}

impl Head {
    /// Everything that the commit needs, each once: itself, its directories, its files.
    pub(super) fn objects(&self) -> Vec<ObjectId> {
        let blobs = self.entries.values().filter(|entry| entry.mode != GITLINK).map(|entry| entry.id);
        let mut seen = HashSet::new();
        let all = std::iter::once(self.commit).chain(self.trees.iter().copied()).chain(blobs);
        all.filter(|id| seen.insert(*id)).collect()
    }
}

/// A path cannot be a file and a directory at once: what HEAD has gives way to what was added.
fn remove_in_the_way(index: &mut BTreeMap<ByteString, IndexEntry>, path: &ByteString) {
    let bytes = path.as_bytes();
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
        index.remove(&ByteString::from(bytes[..at].to_vec()));
    }
    let inside = [bytes, b"/"].concat();
    let below: Vec<ByteString> = index
        .range(ByteString::from(inside.clone())..)
        .take_while(|(path, _)| path.as_bytes().starts_with(&inside))
        .map(|(path, _)| path.clone())
        .collect();
    below.iter().for_each(|path| drop(index.remove(path)));
}
