use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use banger_api::files::{FileAt, FileKind, Pack};
use banger_api::operation::{ProgressUnit, Stage};
use banger_api::{ApiError, ByteStream, Client, ClientError, ErrorCode, Event};
use bytes::Bytes;
use clap::Args;
use tokio::sync::{mpsc, oneshot};

use super::guest::cut_off;
use crate::cmd::operation::catch_signals;
use crate::cmd::{Outcome, block_on};
use crate::copy::{
    CopyError, Filter, GuestPath, Listed, Moved, Names, Pieces, Place, Remarks, Source, Survey, Target,
    Unpacker, arrange, in_thread, pack, receive, stdin, survey,
};
use crate::error::{CommandError, OUTPUT_CLOSED, api_error};
use crate::session::Signals;
use crate::ui::{Progress, Verbosity};
use crate::{daemon, ui};

/// Pieces of an archive between a thread and the connection.
const QUEUED_PIECES: usize = 4;
/// How long a thread may take to say why it has cut off what it sent.
const REASON_LIMIT: Duration = Duration::from_millis(200);
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// How long to wait for a half-written file to be removed after Ctrl-C.
const TIDY_LIMIT: Duration = Duration::from_secs(2);

const HOW: &str = "\
One side is REF:PATH; a PATH that is not absolute begins in /root. The other side is a local path (write ./a:b for one \
with a colon) or `-`: a tar archive on stdin, to be unpacked in a directory, or on stdout.

An existing directory DST gets SRC inside, under its own name; any other DST becomes the copy, and its parent must exist. \
SRC ending in `/.` means what is in the directory. Files in the way are replaced. Symlinks are copied as symlinks, \
unless -L follows them; sockets, FIFOs and devices stay behind. Holes in files stay holes.

A copy stays on one file system: a directory where another one is mounted (/proc, /sys, a tmpfs) arrives empty, and is \
named; to copy what is in it, name it as SRC. What cannot be read, or is cut short while it is copied, is named, the rest \
is copied, and the exit status is 1. A copy to this machine leaves 512 MiB (or a twentieth of a small disk) free.";

#[derive(Debug, Args)]
#[command(after_help = HOW)]
pub(crate) struct CpArgs {
    /// What to copy: a path, REF:PATH, or - for an archive on stdin
    src: OsString,
    /// Where to: a path, REF:PATH, or - for an archive on stdout
    dst: OsString,
    /// Copy what symlinks lead to instead of the links: SRC itself, and all links in it
    #[arg(long, short = 'L')]
    follow_link: bool,
    /// Most that a VM may send: 512M, 64G (a bare number means MiB)
    #[arg(long, value_name = "SIZE", value_parser = ui::parse_mib, default_value = "16G")]
    max_size: u64,
    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
}

pub(crate) fn run(args: &CpArgs) -> Outcome {
    let (from, to) = (Place::parse(&args.src), Place::parse(&args.dst));
    let direction = match (from, to) {
        (Place::Guest(_), Place::Guest(_)) => {
            return Err(CommandError::usage("both sides are in a VM").with_hint(
                "copy to a local directory first, or pipe: banger cp A:PATH - | banger cp - B:PATH",
            ));
        }
        (Place::Guest(from), to) => Direction::Out(from, to),
        (from, Place::Guest(to)) => Direction::In(from, to),
        _ => {
            return Err(CommandError::usage("neither side is in a VM")
                .with_hint("write REF:PATH for one of them: banger cp FILE REF:/root/"));
        }
    };
    let vm = match &direction {
        Direction::Out(at, _) | Direction::In(_, at) => at.vm.clone(),
    };
    if vm.is_empty() {
        return Err(CommandError::usage("there is no REF before the `:`"));
    }
    block_on(async {
        let client = daemon::connect().await?;
        let title = format!("{} -> {}", ui::file_name(&args.src), ui::file_name(&args.dst));
        let mut copy = Copy {
            client,
            vm,
            failed: format!("could not copy {} to {}", ui::file_name(&args.src), ui::file_name(&args.dst)),
            limit: args.max_size.saturating_mul(1024 * 1024),
            follow: args.follow_link,
            moved: Moved::default(),
            total: None,
            progress: if args.quiet { Progress::new(Verbosity::Quiet) } else { Progress::transient() },
            signals: catch_signals()?,
        };
        copy.progress.show(&Event::Stage { stage: Stage::Copy, detail: title });
        match direction {
            Direction::In(Place::Host(from), to) => copy.send_files(&from, &to).await,
            Direction::In(_, to) => copy.send_stdin(&to).await,
            Direction::Out(from, Place::Host(to)) => copy.receive_files(&from, &to).await,
            Direction::Out(from, _) => copy.receive_to_stdout(&from).await,
        }
    })
}

enum Direction {
    In(Place, GuestPath),
    Out(GuestPath, Place),
}

/// One copy under way.
struct Copy {
    client: Client,
    vm: String,
    /// What to say when it fails.
    failed: String,
    limit: u64,
    /// Symlinks stand for what they lead to.
    follow: bool,
    moved: Moved,
    total: Option<u64>,
    progress: Progress,
    signals: Signals,
}

impl Copy {
    async fn send_files(mut self, from: &Path, to: &GuestPath) -> Outcome {
        let source = Source::find(from, self.follow).map_err(|error| self.command_error(&error))?;
        // A tree may be large, and looking at it takes its time.
        let looking = {
            let source = source.clone();
            in_thread("survey", move || survey(&source)).map_err(|error| self.command_error(&error))?
        };
        let seen = self.watched(looking).await?;
        let Survey { bytes, remarks } = joined(seen).map_err(|error| self.command_error(&error))?;
        let arrangement =
            arrange(&source, to, self.stat(to).await?).map_err(|error| self.command_error(&error))?;
        say(&remarks);
        self.total = Some(bytes);
        let moved = self.moved.clone();
        let (name, without_itself) = (arrangement.name, arrangement.without_itself);
        let packer = move |pieces: &Pieces| pack(&source, &name, without_itself, pieces, &moved);
        self.send(arrangement.unpack, packer).await
    }

    async fn send_stdin(mut self, to: &GuestPath) -> Outcome {
        if std::io::stdin().is_terminal() {
            return Err(CommandError::usage("stdin is a terminal, not a tar archive")
                .with_hint(format!("pipe one in: tar -C DIR -c . | banger cp - {to}")));
        }
        match self.stat(to).await? {
            Some(FileKind::Directory) => {}
            Some(_) => {
                let error = ApiError::new(ErrorCode::Refused, self.failed.clone());
                return Err(error.because(format!("{to} is not a directory")).into());
            }
            None => {
                let error = ApiError::new(ErrorCode::NotFound, self.failed.clone());
                return Err(error.because(format!("there is no directory {to}")).into());
            }
        }
        let moved = self.moved.clone();
        let unpack = banger_api::files::Unpack { dir: to.path.clone().into(), create: false };
        self.send(unpack, move |pieces: &Pieces| stdin(pieces, &moved)).await
    }

    /// Sends what `packer` makes, in a thread of its own.
    async fn send(
        mut self,
        unpack: banger_api::files::Unpack,
        packer: impl FnOnce(&Pieces) -> Result<Remarks, CopyError> + Send + 'static,
    ) -> Outcome {
        let (pieces, mut inbox) = mpsc::channel(QUEUED_PIECES);
        let packing =
            in_thread("pack", move || packer(&pieces)).map_err(|error| self.command_error(&error))?;
        let archive = futures_util::stream::poll_fn(move |cx| inbox.poll_recv(cx));
        let (client, vm) = (self.client.clone(), self.vm.clone());
        let sent = match self.watched(client.vm_unpack(&vm, &unpack, archive)).await {
            Ok(sent) => sent,
            // Hanging up cuts it off; the guest removes the file that is half there.
            Err(interrupted) => return Err(interrupted),
        };
        let error = match sent {
            Ok(_) => {
                let remarks = joined(packing.await).map_err(|error| self.command_error(&error))?;
                return self.done(&remarks);
            }
            Err(error) => error,
        };
        // It may have been cut off from this side. A thread that waits for its own input has no reason to
        // tell.
        match (tokio::time::timeout(REASON_LIMIT, packing).await.map(joined), error) {
            (Ok(Err(reason)), _) => Err(self.command_error(&reason)),
            (_, ClientError::Api(error)) => Err(self.because_of(error)),
            (_, error) => Err(self.broken(&error).await),
        }
    }

    async fn receive_files(mut self, from: &GuestPath, to: &Path) -> Outcome {
        let target = Target::find(from, to).map_err(|error| self.command_error(&error))?;
        let unpacker = Unpacker::new(target, self.limit).map_err(|error| self.command_error(&error))?;
        let limit = self.limit;
        self.receive(from, move |pieces| receive(pieces, unpacker, limit)).await
    }

    async fn receive_to_stdout(mut self, from: &GuestPath) -> Outcome {
        if std::io::stdout().is_terminal() {
            return Err(CommandError::usage("stdout is a terminal, which a tar archive would only upset")
                .with_hint(format!("pipe it on: banger cp {from} - | tar -t")));
        }
        let filter =
            Filter::stdout(Names::of(from), self.limit).map_err(|error| self.command_error(&error))?;
        let limit = self.limit;
        self.receive(from, move |pieces| receive(pieces, filter, limit)).await
    }

    /// Receives what is at `from`; `taker` does the rest in a thread of its own.
    async fn receive(
        &mut self,
        from: &GuestPath,
        taker: impl FnOnce(mpsc::Receiver<Bytes>) -> Result<Remarks, CopyError> + Send + 'static,
    ) -> Outcome {
        let what = Pack { path: from.path.clone().into(), follow: self.follow };
        let (client, vm) = (self.client.clone(), self.vm.clone());
        let stream = match self.watched(client.vm_pack(&vm, &what)).await? {
            Ok(stream) => stream,
            Err(error) => return Err(self.because_of(api_error(error))),
        };
        let (pieces, inbox) = mpsc::channel(QUEUED_PIECES);
        let mut taking =
            in_thread("unpack", move || taker(inbox)).map_err(|error| self.command_error(&error))?;
        let moved = self.moved.clone();
        let work = async {
            let passed = pass_on(stream, pieces, &moved).await;
            (passed, (&mut taking).await)
        };
        let (passed, taken) = match self.watched(work).await {
            Ok(done) => done,
            Err(interrupted) => {
                // Its queue is closed, so it removes what is half there and ends. A second signal does not
                // wait for that.
                let tidied = tokio::time::timeout(TIDY_LIMIT, taking);
                // The interruption is what is told, whether or not there was time to tidy up.
                let _ = self.signals.unless_caught(tidied).await;
                return Err(interrupted);
            }
        };
        match (passed, joined(taken)) {
            (Ok(()), Ok(remarks)) => self.done(&remarks),
            (_, Err(CopyError::Stdout(error))) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                Err(CommandError::Quiet { exit_code: OUTPUT_CLOSED })
            }
            // An archive that stopped because the connection did says nothing about the archive.
            (Err(error), Ok(_) | Err(CopyError::Archive(_))) => Err(self.broken(&error).await),
            (_, Err(error)) => Err(self.command_error(&error)),
        }
    }

    /// What is at a path in the guest; none when there is nothing.
    async fn stat(&mut self, at: &GuestPath) -> Result<Option<FileKind>, CommandError> {
        let what = FileAt { path: at.path.clone().into() };
        let found = self.signals.unless_caught(self.client.vm_file_stat(&self.vm, &what)).await;
        match found {
            Ok(Ok(found)) => Ok(Some(found.kind)),
            // Is it the file that is not there, or the VM?
            Ok(Err(ClientError::Api(error))) if error.code == ErrorCode::NotFound => {
                match self.client.vm(&self.vm).await {
                    Ok(_) => Ok(None),
                    Err(error) => Err(self.because_of(api_error(error))),
                }
            }
            Ok(Err(error)) => Err(self.because_of(api_error(error))),
            Err(caught) => Err(CommandError::Quiet { exit_code: caught.exit_code() }),
        }
    }

    /// Shows how far it has come while `work` goes on, until that is done or a signal comes.
    async fn watched<T>(&mut self, work: impl Future<Output = T>) -> Result<T, CommandError> {
        let (moved, total) = (self.moved.clone(), self.total);
        let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
        tokio::pin!(work);
        loop {
            let tick = async {
                tokio::select! {
                    done = &mut work => Some(done),
                    _ = ticks.tick() => None,
                }
            };
            match self.signals.unless_caught(tick).await {
                Ok(Some(done)) => return Ok(done),
                Ok(None) => {
                    let unit = ProgressUnit::Bytes;
                    // Headers count as well: close enough, but no more than everything.
                    let done = total.map_or(moved.bytes(), |total| moved.bytes().min(total));
                    self.progress.show(&Event::Progress { done, total, unit, files: None });
                }
                Err(caught) => return Err(CommandError::Quiet { exit_code: caught.exit_code() }),
            }
        }
    }

    /// Everything is written; was it all that there is?
    fn done(&self, remarks: &Remarks) -> Outcome {
        say(remarks);
        let Listed { named, more } = &remarks.failures;
        if remarks.failures.is_empty() {
            return Ok(0);
        }
        named.iter().for_each(ui::note);
        say_more(*more);
        let error = ApiError::new(ErrorCode::Failed, self.failed.clone());
        let count = named.len() + more;
        let what = if count == 1 { "1 thing".to_owned() } else { format!("{count} things") };
        Err(error.because(format!("{what} could not be read, or not to the end; the rest is copied")).into())
    }

    fn command_error(&self, error: &CopyError) -> CommandError {
        error.because_of(self.failed.clone()).into()
    }

    fn because_of(&self, mut error: ApiError) -> CommandError {
        error.causes.insert(0, std::mem::replace(&mut error.message, self.failed.clone()));
        error.into()
    }

    /// The connection broke: most often because the VM, or the daemon, went away.
    async fn broken(&mut self, error: &ClientError) -> CommandError {
        let cause = cut_off(&self.client, &self.vm, error, "the VM stopped while files were copied").await;
        self.because_of(cause)
    }
}

/// Passes an archive on as it comes, as long as somebody takes it.
async fn pass_on(
    mut stream: ByteStream,
    pieces: mpsc::Sender<Bytes>,
    moved: &Moved,
) -> Result<(), ClientError> {
    while let Some(piece) = stream.next().await? {
        moved.add(piece.len());
        if pieces.send(piece).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// A thread's result.
fn joined<T>(outcome: Result<Result<T, CopyError>, oneshot::error::RecvError>) -> Result<T, CopyError> {
    outcome.unwrap_or(Err(CopyError::ThreadLost))
}

fn say(remarks: &Remarks) {
    for name in &remarks.skipped.named {
        ui::note(format_args!("skipped {name}: neither file, directory nor symlink"));
    }
    say_more(remarks.skipped.more);
    for name in &remarks.mounts.named {
        ui::note(format_args!("left {name} empty: another file system is mounted there"));
    }
    say_more(remarks.mounts.more);
    for name in &remarks.vanished.named {
        ui::note(format_args!("{name} was removed before it was read"));
    }
    say_more(remarks.vanished.more);
}

fn say_more(more: usize) {
    if more > 0 {
        ui::note(format_args!("{more} more of that kind"));
    }
}
