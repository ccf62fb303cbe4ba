//! For tests: an archive that needs no network, and what services are called with.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use banger_api::Event;
use banger_host::command::Command;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::{Archive, ArchiveError};
use crate::catalog::DebianSource;
use crate::checksum::sha256;
use crate::download::Environment;
use crate::identity::{VmId, VmName};
use crate::operation::{Operations, Reporter};
use crate::store::words::{Init, Lifetime, Network};
use crate::store::{StoredSpec, VmPhase, VmRow};

/// How fetching goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tar {
    /// A small real tar.
    Whole,
    /// The check fails.
    NotReady,
    /// Fetching fails half-way.
    Fails,
    /// A file that is no tar.
    Garbage,
    /// It hangs; [`cancelled`] calls it off then.
    Cancels,
}

pub(crate) struct FakeArchive {
    tar: Mutex<Tar>,
    pub(crate) fetched: AtomicUsize,
    hangs: watch::Sender<()>,
    /// Of the tar last made, in hex.
    pub(crate) sha256: Mutex<String>,
}

impl FakeArchive {
    pub(crate) fn new(tar: Tar) -> Self {
        Self {
            tar: Mutex::new(tar),
            fetched: AtomicUsize::new(0),
            hangs: watch::Sender::new(()),
            sha256: Mutex::default(),
        }
    }

    pub(crate) fn set(&self, tar: Tar) {
        *self.tar.lock().unwrap() = tar;
    }

    fn tar(&self) -> Tar {
        *self.tar.lock().unwrap()
    }
}

impl Archive for FakeArchive {
    fn check(&self, _source: &DebianSource) -> Result<(), ArchiveError> {
        match self.tar() {
            Tar::NotReady => Err(ArchiveError::NotReady { fix: None, source: "no tool".into() }),
            _ => Ok(()),
        }
    }

    fn fetch<'a>(
        &'a self,
        _source: &'a DebianSource,
        into: &'a Path,
        _environment: &'a Environment,
        on_line: &'a mut (dyn FnMut(&str) + Send),
    ) -> BoxFuture<'a, Result<PathBuf, ArchiveError>> {
        Box::pin(async move {
            self.fetched.fetch_add(1, Ordering::SeqCst);
            on_line("half-way");
            let tree = into.join("tree");
            std::fs::create_dir_all(tree.join("etc")).unwrap();
            std::fs::write(tree.join("etc/hostname"), "fake\n").unwrap();
            // Long enough for a second request to come.
            tokio::time::sleep(Duration::from_millis(50)).await;
            let tar = into.join("rootfs.tar");
            match self.tar() {
                Tar::Whole => {
                    let create = Command::new("tar").arg("-C").arg(&tree).arg("-cf").arg(&tar).arg(".");
                    create.run().await.unwrap();
                    *self.sha256.lock().unwrap() = sha256(&std::fs::read(&tar).unwrap());
                }
                Tar::Garbage => std::fs::write(&tar, "no tar at all".repeat(1000)).unwrap(),
                Tar::Fails => return Err(ArchiveError::Failed("no network".into())),
                Tar::NotReady | Tar::Cancels => {
                    self.hangs.send_replace(());
                    std::future::pending().await
                }
            }
            Ok(tar)
        })
    }
}

/// Runs `work` as an operation; answers its result and all it told.
pub(crate) async fn reported<T, F>(work: impl FnOnce(Reporter) -> F) -> (T, Vec<Event>)
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (send, receive) = tokio::sync::oneshot::channel();
    let operation = Operations::default().spawn("test", |reporter| {
        let work = work(reporter);
        async move {
            let _ = send.send(work.await);
            Ok(serde_json::Value::Null)
        }
    });
    let result = receive.await.unwrap();
    let mut events = Vec::new();
    while let Some(event) = operation.event(events.len()).await {
        events.push(event);
    }
    (result, events)
}

/// The same, called off when the archive hangs.
pub(crate) async fn cancelled<T, F>(
    archive: &FakeArchive,
    work: impl FnOnce(Reporter) -> F,
) -> (T, Vec<Event>)
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    reported(|reporter| {
        let (token, mut hangs) = (reporter.cancelled().clone(), archive.hangs.subscribe());
        tokio::spawn(async move {
            let _ = hangs.changed().await;
            token.cancel();
        });
        work(reporter)
    })
    .await
}

/// A VM that uses an image and a kernel.
pub(crate) fn vm(id: &str, name: &str, image_id: Option<&str>, kernel_id: Option<&str>) -> VmRow {
    VmRow {
        id: VmId::parse(id).unwrap(),
        name: VmName::parse(name).unwrap(),
        phase: VmPhase::Exists,
        image_id: image_id.map(Into::into),
        kernel_id: kernel_id.map(Into::into),
        created_at_unix_ms: 1,
        spec: StoredSpec {
            image: crate::identity::ImageRef::parse("image").unwrap(),
            kernel: "kernel".into(),
            vcpu: 1,
            memory_mib: 512,
            disk_mib: 8192,
            vmm: "qemu".into(),
            network: Network::User,
            egress: Vec::new(),
            init: Init::Auto,
            lifetime: Lifetime::Kept,
            publish: Vec::new(),
            auto_forward: false,
        },
    }
}
