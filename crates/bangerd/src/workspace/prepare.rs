//! A repository goes into the guest.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path};

use banger_api::operation::{FileCount, ProgressUnit, Stage};
use banger_api::workspace::WorkspaceMode;
use banger_guest_protocol::ByteString;
use banger_guest_protocol::import::{Begin, Begun, Finish};
use banger_guest_protocol::messages::{FileAt, Unpack};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;

use super::WorkspaceError;
use super::base::{Base, keep, record_base};
use super::checkout::{Checkout, Part, join};
use super::finish_import::finish_import;
use super::guest_git::GuestGit;
use super::history::{received, send_history};
use super::inspect::{GITLINK, Repository, Tracked};
use super::kept::Kept;
use super::scratch::PreparedPart;
use super::send::{OnProgress, Overlay, SendPlan, Sent, end, send};
use super::sink::Sink;
use super::skeleton::{Skeleton, git_files};
use crate::guest::{Guest, GuestError};
use crate::operation::Reporter;

/// Chunks between the thread that reads files and the guest: two megabytes.
const QUEUED_CHUNKS: usize = 8;

/// How many submodules a refusal names.
const NAMED_SUBMODULES: usize = 5;

/// What is to be prepared, and how.
#[derive(Clone, Debug)]
pub struct Preparation {
    pub mode: WorkspaceMode,
    pub include_untracked: bool,
    /// A new branch to work on.
    pub branch: Option<String>,
    /// What was asked for is another commit than HEAD, so the working tree does not belong to it.
    pub from: Option<String>,
    pub guest_path: ByteString,
    /// What is at the guest's path may be replaced.
    pub replace: bool,
}

/// What has been prepared.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    /// What export compares with, of the repository itself and of its submodules; none when the guest has no
    /// git to make it with.
    pub parts: Vec<PreparedPart>,
}

/// What would be sent.
pub struct Contents {
    pub files: Vec<ByteString>,
    pub bytes: u64,
}

impl Preparation {
    /// The branch that the guest has checked out.
    pub fn checked_out(&self, repository: &Repository) -> Option<OsString> {
        let new = self.branch.as_ref().map(OsString::from);
        new.or_else(|| repository.branch.clone().filter(|_| self.from.is_none()))
    }

    /// Whether the working tree is sent, or only what is committed.
    pub fn sends_working_tree(&self) -> bool {
        self.mode != WorkspaceMode::Metadata && self.from.is_none()
    }

    /// # Errors
    ///
    /// When the checkout cannot be prepared like this.
    pub fn check(&self, checkout: &Checkout) -> Result<(), WorkspaceError> {
        let path = Path::new(self.guest_path.as_os_str());
        let is_plain = path.components().skip(1).all(|part| matches!(part, Component::Normal(_)));
        if !(path.is_absolute() && is_plain && path.file_name().is_some()) {
            return Err(WorkspaceError::GuestPath { path: path.to_owned() });
        }
        let (repository, listing) = (checkout.repository(), checkout.listing());
        let head = repository.head.iter().flat_map(|head| &head.entries);
        let tracked = listing.tracked.iter().filter(|tracked| tracked.mode == GITLINK);
        let of_head = head.filter(|(_, entry)| entry.mode == GITLINK && !self.sends_working_tree());
        let submodules = tracked.map(|tracked| &tracked.path).chain(of_head.map(|(path, _)| path));
        let submodules: BTreeSet<String> =
            submodules.map(|path| path.as_os_str().display().to_string()).collect();
        let paths: Vec<String> = submodules.into_iter().take(NAMED_SUBMODULES).collect();
        if !paths.is_empty() && self.mode != WorkspaceMode::Full {
            return Err(WorkspaceError::Submodules { paths });
        }
        if repository.head.is_none() && !self.sends_working_tree() {
            return Err(WorkspaceError::NoCommit { path: repository.root().to_owned() });
        }
        Ok(())
    }

    /// What would be sent of the working tree, or of the commit.
    pub fn contents(&self, checkout: &Checkout) -> Contents {
        let mut contents = Contents { files: Vec::new(), bytes: 0 };
        for part in &checkout.parts {
            for path in self.paths(part) {
                let found = part.repository.root().join(path.as_os_str()).symlink_metadata();
                match found {
                    Ok(found) if found.is_file() => contents.bytes += found.len(),
                    Ok(found) if found.is_symlink() => {}
                    _ if self.sends_working_tree() => continue,
                    _ => {}
                }
                contents.files.push(part.path(path.as_bytes()));
            }
        }
        contents
    }

    /// The directory that the user has named, as far as anything of it is copied: where commands run, below
    /// the guest's path.
    pub fn start_dir<'a>(&self, checkout: &'a Checkout) -> Option<&'a Path> {
        let named = checkout.repository().inside();
        let is_below = |path: &ByteString| Path::new(path.as_os_str()).starts_with(named);
        let is_root = named.as_os_str().is_empty();
        (is_root || self.contents(checkout).files.iter().any(is_below)).then_some(named)
    }

    fn paths<'a>(&self, part: &'a Part) -> Vec<&'a ByteString> {
        if !self.sends_working_tree() {
            return part.repository.head.iter().flat_map(|head| head.entries.keys()).collect();
        }
        let sent = |tracked: &&Tracked| !tracked.skip_worktree && tracked.mode != GITLINK;
        let tracked = part.listing.tracked.iter().filter(sent).map(|tracked| &tracked.path);
        tracked.chain(part.listing.untracked.iter().filter(|_| self.include_untracked)).collect()
    }

    /// The guest's `.git` of a part.
    fn skeleton<'a>(&self, part: &'a Part, branch: Option<&'a OsStr>) -> Skeleton<'a> {
        let repository = &part.repository;
        let head = repository.commit();
        let other = repository.branch.as_deref().filter(|other| self.from.is_none() && branch != Some(other));
        let (tags, shallow) = match &part.history {
            Some(history) => (&history.tags[..], history.shallow.clone()),
            None => (&[][..], head.into_iter().collect()),
        };
        Skeleton {
            format: repository.format,
            commit: head,
            branch,
            other_branches: other.into_iter().collect(),
            shallow,
            tags,
            config: &repository.config,
            excludes: &repository.excludes,
            is_sparse: self.sends_working_tree()
                && part.listing.tracked.iter().any(|tracked| tracked.skip_worktree),
        }
    }
}

/// A checkout that is in the guest, but not at its place yet.
pub struct OnTheWay {
    begun: Begun,
    parts: Vec<(Part, Sent)>,
}

/// Sends the working tree into the guest. What is at its place there stays as it is. Dropping the future cuts
/// it off.
///
/// # Errors
///
/// When the repository cannot be read, or the guest does not take it.
pub async fn send_to(
    guest: &Guest,
    checkout: Checkout,
    wanted: &Preparation,
    reporter: &Reporter,
) -> Result<OnTheWay, WorkspaceError> {
    let contents = wanted.contents(&checkout);
    let guest_path = wanted.guest_path.as_os_str().display().to_string();
    let files = match contents.files.len() {
        1 => "1 file".into(),
        count => format!("{count} files"),
    };
    reporter.stage(Stage::Workspace, format!("copying {files} to {guest_path}"));
    let begin = Begin { path: wanted.guest_path.clone(), replace: wanted.replace };
    let begun = guest.begin_import(&begin).await?;
    if !begun.git && (!wanted.sends_working_tree() || wanted.mode == WorkspaceMode::Full) {
        return Err(WorkspaceError::NoGuestGit);
    }
    let parts = send_tree(guest, &begun, checkout, wanted, &contents, reporter).await?;
    if wanted.mode == WorkspaceMode::Full {
        reporter.stage(Stage::Workspace, "copying the history");
        for (part, _) in &parts {
            let git = GuestGit::new(guest, join(&begun.staging, part.inside.as_bytes()));
            if let Some(history) = &part.history {
                send_history(&git, part, history).await?;
            }
        }
    }
    Ok(OnTheWay { begun, parts })
}

/// Completes the checkout, moves it to its place, writes down what it holds now, and all of it to the VM's
/// disk.
///
/// # Errors
///
/// When the guest does not do it. What is at the checkout's place may be old, or new and not written down.
pub async fn finish(
    guest: &Guest,
    on_the_way: OnTheWay,
    wanted: &Preparation,
    reporter: &Reporter,
) -> Result<Prepared, WorkspaceError> {
    let path = wanted.guest_path.clone();
    let prepared = arrive(guest, on_the_way, wanted, reporter).await?;
    // Else a VM that is killed now has half of the files when it starts again, and its export says that the
    // rest was deleted.
    reporter.stage(Stage::Workspace, "writing the files to the VM's disk");
    guest.sync(&FileAt { path }).await?;
    Ok(prepared)
}

async fn arrive(
    guest: &Guest,
    on_the_way: OnTheWay,
    wanted: &Preparation,
    reporter: &Reporter,
) -> Result<Prepared, WorkspaceError> {
    let OnTheWay { begun, parts } = on_the_way;
    reporter.stage(Stage::Workspace, "putting the repository together");
    let mut bases = Vec::new();
    // The outermost repository last: it is then that everything is moved to its place.
    for (part, sent) in parts.into_iter().rev() {
        let overlay = complete(guest, &begun, &part, sent, wanted, reporter).await?;
        bases.insert(0, (part, overlay));
    }
    let mut prepared = Prepared::default();
    if begun.git {
        let git = GuestGit::new(guest, wanted.guest_path.clone());
        Kept::of(&wanted.guest_path, 0).clear(&git).await?;
    }
    for (part, overlay) in bases {
        let (inside, repository) = (part.inside, part.repository);
        let git = GuestGit::new(guest, join(&wanted.guest_path, inside.as_bytes()));
        let kept = Kept::of(&wanted.guest_path, prepared.parts.len());
        if !wanted.sends_working_tree() {
            git.output(&["reset", "--quiet", "--hard"], Bytes::new()).await?;
        }
        let base = match &repository.head {
            _ if begun.git => record_base(&git, &kept, &repository, &overlay).await?,
            Some(head) if overlay.is_empty() => Base { tree: head.tree, whole: head.tree },
            _ => {
                reporter.notice(
                    "the guest has no git: its changes cannot be exported until it has one and is prepared again",
                );
                return Ok(prepared);
            }
        };
        keep(&git, &base.tree, repository.commit()).await?;
        if begun.git {
            kept.keep_objects(&git).await?;
        }
        let (conversions, excludes) = (repository.conversions(), repository.excludes);
        let Base { tree: base, whole } = base;
        prepared.parts.push(PreparedPart { inside, base, whole, conversions, excludes });
    }
    if begun.mise {
        let git = GuestGit::new(guest, wanted.guest_path.clone());
        // It may not like what it finds; the repository is there all the same.
        if let Err(error) = git.program(&[b"mise", b"trust", b"--quiet", b"--all"]).await {
            tracing::debug!(%error, "mise does not trust the workspace");
        }
    }
    Ok(prepared)
}

/// Sends the tar stream, from a thread that reads and hashes. Gives back what that has learnt.
async fn send_tree(
    guest: &Guest,
    begun: &Begun,
    checkout: Checkout,
    wanted: &Preparation,
    contents: &Contents,
    reporter: &Reporter,
) -> Result<Vec<(Part, Sent)>, WorkspaceError> {
    let (channel, chunks) = mpsc::channel(QUEUED_CHUNKS);
    let (wanted, reporter) = (wanted.clone(), reporter.clone());
    let (total_files, total_bytes) = (contents.files.len() as u64, contents.bytes);
    let reading = tokio::task::spawn_blocking(move || {
        let mut sink = Sink::new(channel);
        let (mut files, mut bytes) = (0, 0);
        let mut on_progress = |len| {
            (files, bytes) = (files + 1, bytes + len);
            let count = Some(FileCount { done: files, total: total_files });
            reporter.transfer(bytes, Some(total_bytes), ProgressUnit::Bytes, count);
        };
        let mut parts = Vec::new();
        for part in checkout.parts {
            let sent = send_part(&part, &wanted, &mut sink, &mut on_progress)?;
            parts.push((part, sent));
        }
        end(&mut sink)?;
        Ok(parts)
    });
    let unpack = Unpack { dir: begun.staging.clone(), create: false };
    let unpacked = guest.unpack(&unpack, received(chunks).map(Ok::<_, std::convert::Infallible>)).await;
    both(reading, unpacked.map(drop)).await
}

fn send_part(
    part: &Part,
    wanted: &Preparation,
    sink: &mut Sink,
    on_progress: OnProgress<'_>,
) -> Result<Sent, WorkspaceError> {
    // A submodule's HEAD is detached where git has put it there; its branches are its own affair.
    let own = part.repository.branch.clone();
    let branch = if part.inside.as_bytes().is_empty() { wanted.checked_out(&part.repository) } else { own };
    let (tracked, untracked) = match wanted.sends_working_tree() {
        true => (&part.listing.tracked[..], &part.listing.untracked[..]),
        false => (&[][..], &[][..]),
    };
    let plan = SendPlan {
        repository: &part.repository,
        inside: &part.inside,
        tracked,
        untracked: if wanted.include_untracked { untracked } else { &[] },
        git_files: git_files(&wanted.skeleton(part, branch.as_deref())),
        with_objects: part.history.is_none(),
    };
    send(&plan, sink, on_progress)
}

/// Sends pack and index; with the outermost repository, everything is moved to its place. Gives back the
/// paths that differ from HEAD.
async fn complete(
    guest: &Guest,
    begun: &Begun,
    part: &Part,
    mut sent: Sent,
    wanted: &Preparation,
    reporter: &Reporter,
) -> Result<Overlay, WorkspaceError> {
    let overlay = std::mem::take(&mut sent.overlay);
    let overlay = if wanted.sends_working_tree() { overlay } else { Overlay::default() };
    let pack = part.repository.commit().filter(|_| part.history.is_none());
    let finish = Finish {
        staging: begun.staging.clone(),
        path: wanted.guest_path.clone(),
        replace: wanted.replace,
        publish: part.inside.as_bytes().is_empty(),
        inside: part.inside.clone(),
        pack: pack.map(|commit| commit.to_string()),
        object_format: part.repository.format,
    };
    let (git, known) = (part.repository.git.clone(), sent.known_len());
    let (channel, chunks) = mpsc::channel(QUEUED_CHUNKS);
    let writing =
        tokio::task::spawn_blocking(move || finish_import(finish, sent, &git, &mut Sink::new(channel)));
    // Mostly the rest is small: trees and the commit.
    let on_written = |bytes| {
        let total = Some(known).filter(|known| *known >= bytes);
        reporter.progress(bytes, total, ProgressUnit::Bytes);
    };
    let finished = guest.finish_import(received(chunks), on_written).await;
    both(writing, finished).await?;
    Ok(overlay)
}

/// The outcome of a thread that sends and of a guest that receives: the sender's own failure explains the
/// receiver's.
async fn both<T>(
    sending: tokio::task::JoinHandle<Result<T, WorkspaceError>>,
    received: Result<(), GuestError>,
) -> Result<T, WorkspaceError> {
    let sent = sending.await.map_err(|_| WorkspaceError::Cut)?;
    match (sent, received) {
        (Ok(sent), Ok(())) => Ok(sent),
        (Err(WorkspaceError::Cut) | Ok(_), Err(error)) => Err(error.into()),
        (Err(error), _) => Err(error),
    }
}
