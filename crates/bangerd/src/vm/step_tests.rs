//! Fails every list of steps at every step, undoes it twice, and looks for what was left behind.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use banger_api::config::Origin;
use banger_guest_protocol::PROTOCOL_VERSION;
use banger_guest_protocol::messages::Hello;
use banger_guest_protocol::preamble::{GreetingScanner, answer};
use banger_host::process::find_by_cwd_and_arg;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio_util::compat::{FuturesAsyncReadCompatExt as _, TokioAsyncReadCompatExt as _};
use tokio_util::sync::CancellationToken;

use super::create::{self, Create};
use super::registry::Services;
use super::start::{self, Start};
use super::steps::{self, Step, StepFuture, nothing_to_undo};
use super::{HostPorts, VmError, stop};
use crate::catalog::Catalog;
use crate::config::{Config, FileSync, HostSize, Setting};
use crate::identity::{ImageRef, VmId, VmName};
use crate::image::{ImageService, WantedImage};
use crate::kernel::KernelService;
use crate::network::Gateways;
use crate::operation::{Operations, Reporter};
use crate::paths::{Paths, VmDir};
use crate::ssh::Ssh;
use crate::store::words::{Init, Lifetime, Network};
use crate::store::{ImageDetails, ImageRow, KernelRow, Store, StoredSpec, VmPhase, VmRow};
use crate::vmm::fake::{Fake, PlayedAgent};
use crate::vmm::{Accelerator, Qemu, VmmKind, Vmms};

const IMAGE: &str = "1111111111111111";
const KERNEL: &str = "2222222222222222";

/// A daemon's state in a directory of its own, with a small image and kernel, and a VMM that does nothing.
pub(super) struct Bench {
    _dir: tempfile::TempDir,
    pub(super) services: Arc<Services>,
    /// Which VMM its VMs have.
    pub(super) vmm: VmmKind,
    pub(super) fake: Arc<Fake>,
}

impl Bench {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let host = dir.path().join("synced");
        std::fs::write(&host, "synced").unwrap();
        Self::syncing(dir, &host)
    }

    /// The same, with VMs that are run by the tests' own VMM.
    pub(super) fn faked() -> Self {
        Self { vmm: VmmKind::Fake, ..Self::new() }
    }

    /// Each start copies `host`.
    fn syncing(dir: tempfile::TempDir, host: &Path) -> Self {
        let root = dir.path();
        let (host, guest) = (host.display().to_string(), "synced".into());
        let synced = Setting { value: vec![FileSync { host, guest, mode: None }], origin: Origin::Config };
        let paths = Paths {
            config_file: root.join("config.toml"),
            state: root.join("state"),
            cache: root.join("cache"),
            socket: root.join("bangerd.sock"),
        };
        for dir in [paths.images().join(IMAGE), paths.kernels().join(KERNEL), paths.vms(), paths.initramfs()]
        {
            std::fs::create_dir_all(dir).unwrap();
        }
        std::fs::write(paths.images().join(IMAGE).join("rootfs.ext4"), [0; 4096]).unwrap();
        for name in ["vmlinux", "modules.cpio", "modules.ext4"] {
            std::fs::write(paths.kernels().join(KERNEL).join(name), name).unwrap();
        }
        let agent = root.join("banger-agent");
        std::fs::write(&agent, "agent").unwrap();
        let vmm = root.join("vmm");
        // One process with QEMU's arguments, as a VMM is: `exec sleep` would lose them.
        std::fs::write(&vmm, "#!/bin/sh\nkill -STOP $$\n").unwrap();
        std::fs::set_permissions(&vmm, std::fs::Permissions::from_mode(0o755)).unwrap();

        let fake = Fake::new();
        let store = Store::open(&paths.database()).unwrap();
        store.insert_image(&image_row()).unwrap();
        store.insert_kernel(&kernel_row()).unwrap();
        let services = Services {
            config: Config { file_sync: synced, ..Config::builtin(&paths.config_file) },
            host: HostSize { cpus: 2, memory_mib: 4096 },
            images: ImageService::new(store.clone(), &paths, Catalog::builtin()),
            kernels: KernelService::new(store.clone(), &paths, Catalog::builtin(), agent),
            // Not a program that can probe for KVM: then it is emulation.
            accelerator: Accelerator::new("/bin/false".into()),
            vmms: Vmms::new(vec![Arc::new(Qemu::new(vmm, None)), fake.clone()]),
            gateways: Gateways::beside(Path::new("/nowhere/bangerd")),
            operations: Operations::default(),
            ssh: Ssh::new(&paths),
            host_ports: HostPorts::default(),
            store,
            paths,
        };
        Self { _dir: dir, services: Arc::new(services), vmm: VmmKind::Qemu, fake }
    }

    fn row(&self) -> VmRow {
        VmRow {
            id: VmId::random(),
            name: VmName::parse("brave-otter").unwrap(),
            phase: VmPhase::Creating,
            image_id: None,
            kernel_id: None,
            created_at_unix_ms: 1,
            spec: StoredSpec {
                image: ImageRef::parse("tiny").unwrap(),
                kernel: "tiny".into(),
                vcpu: 1,
                memory_mib: 128,
                disk_mib: 64,
                vmm: self.vmm.name().into(),
                network: Network::None,
                egress: Vec::new(),
                init: Init::Auto,
                lifetime: Lifetime::Kept,
                publish: Vec::new(),
                auto_forward: false,
            },
        }
    }

    fn create(&self) -> Create {
        let row = self.row();
        self.services.store.insert_vm(&row).unwrap();
        Create::new(self.services.clone(), Reporter::unwatched(), row, WantedImage::here("tiny", None))
    }

    pub(super) async fn created(&self) -> VmRow {
        self.created_as(Lifetime::Kept).await
    }

    pub(super) async fn created_as(&self, lifetime: Lifetime) -> VmRow {
        let mut row = self.row();
        row.spec.lifetime = lifetime;
        self.services.store.insert_vm(&row).unwrap();
        let mut create =
            Create::new(self.services.clone(), Reporter::unwatched(), row, WantedImage::here("tiny", None));
        steps::run(create::STEPS, &mut create, &CancellationToken::new()).await.unwrap();
        create.row
    }

    pub(super) fn start(&self, row: &VmRow) -> Start {
        Start::new(self.services.clone(), Reporter::unwatched(), row.clone())
    }

    fn assert_no_vm(&self, context: &str) {
        assert!(self.services.store.vms().unwrap().is_empty(), "a row is left: {context}");
        let left: Vec<_> = std::fs::read_dir(self.services.paths.vms()).unwrap().collect();
        assert!(left.is_empty(), "files are left: {context}: {left:?}");
    }

    pub(super) fn assert_not_running(&self, dir: &VmDir, context: &str) {
        let processes = find_by_cwd_and_arg(&self.services.paths.vms(), "banger-").unwrap();
        assert!(processes.is_empty(), "a process is left: {context}: {processes:?}");
        for name in VmDir::WHILE_RUNNING.into_iter().chain([VmDir::HANDLES]) {
            assert!(dir.file(name).symlink_metadata().is_err(), "{name} is left: {context}");
        }
        for name in [VmDir::COW, VmDir::WORK] {
            assert!(dir.file(name).exists(), "{name} is lost: {context}");
        }
    }
}

fn image_row() -> ImageRow {
    ImageRow {
        id: IMAGE.into(),
        name: "tiny".into(),
        source: "test".into(),
        size_bytes: 4096,
        sha256: String::new(),
        created_at_unix_ms: 1,
        details: ImageDetails::default(),
    }
}

fn kernel_row() -> KernelRow {
    KernelRow {
        unreadable: false,
        id: KERNEL.into(),
        name: "tiny".into(),
        source: "test".into(),
        release: "6".into(),
        sha256: String::new(),
        created_at_unix_ms: 1,
    }
}

/// A copy of the socket that the VMM in `dir` was started with for its agent; none before it runs.
fn agent_listener(dir: &VmDir) -> Option<UnixListener> {
    let found = find_by_cwd_and_arg(dir.path().parent()?, "id=agent,fd=").unwrap();
    let found = found.into_iter().find(|found| found.cwd == dir.path())?;
    let number = found.argv.iter().find_map(|arg| {
        let (number, _) = arg.to_str()?.strip_prefix("socket,id=agent,fd=")?.split_once(',')?;
        number.parse().ok()
    })?;
    let pid = rustix::process::Pid::from_raw(found.identity.pid)?;
    let process = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()?;
    let copy =
        rustix::process::pidfd_getfd(process, number, rustix::process::PidfdGetfdFlags::empty()).ok()?;
    let listener = std::os::unix::net::UnixListener::from(copy);
    listener.set_nonblocking(true).unwrap();
    UnixListener::from_std(listener).ok()
}

/// Answers as a guest's agent would, as soon as the VM's directory says that it was started.
async fn play_agent(dir: VmDir) {
    play(dir, PlayedAgent::new(true)).await;
}

async fn play(dir: VmDir, agent: Arc<PlayedAgent>) {
    let listener = loop {
        match agent_listener(&dir) {
            Some(listener) => break listener,
            None => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    };
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut scanner = GreetingScanner::default();
    let session = loop {
        let Ok(byte) = stream.read_u8().await else { return };
        if let Some(session) = scanner.push(byte) {
            break session;
        }
    };
    let hello = Hello {
        protocol: PROTOCOL_VERSION,
        agent_build: "test".into(),
        kernel_release: "6".into(),
        uptime_ms: 1,
    };
    stream.write_all(&answer(&session, &hello)).await.unwrap();
    let mut connection =
        yamux::Connection::new(stream.compat(), yamux::Config::default(), yamux::Mode::Server);
    while let Some(Ok(stream)) = std::future::poll_fn(|cx| connection.poll_next_inbound(cx)).await {
        tokio::spawn(agent.clone().serve(stream.compat()));
    }
}

fn fail<C>(_: &mut C) -> StepFuture<'_> {
    Box::pin(std::future::ready(Err(VmError::Unkillable)))
}

/// The first `count` steps, then one that fails.
fn failing_after<C>(steps: &[Step<C>], count: usize) -> Vec<Step<C>> {
    let failing = Step { name: "fail", run: fail, undo: nothing_to_undo };
    steps[..count].iter().copied().chain([failing]).collect()
}

#[tokio::test]
async fn a_creation_that_fails_anywhere_leaves_nothing() {
    let bench = Bench::new();
    // From 1: the undo of the first step is that of the reservation, which was made before.
    for count in 1..=create::STEPS.len() {
        let list = failing_after(create::STEPS, count);
        let mut context = bench.create();
        let outcome = steps::run(&list, &mut context, &CancellationToken::new()).await;
        assert!(matches!(outcome, Err(VmError::Unkillable)), "{outcome:?}");
        bench.assert_no_vm(&format!("failed after {count}"));
        steps::undo(&list, &mut context).await;
        bench.assert_no_vm(&format!("undone twice after {count}"));
    }
}

#[tokio::test]
async fn a_creation_that_is_called_off_at_any_moment_leaves_nothing() {
    let bench = Bench::new();
    for delay_us in (0..40).map(|n| n * n * 40) {
        let mut context = bench.create();
        let cancel = CancellationToken::new();
        let (outcome, ()) = tokio::join!(steps::run(create::STEPS, &mut context, &cancel), async {
            tokio::time::sleep(Duration::from_micros(delay_us)).await;
            cancel.cancel();
        });
        match outcome {
            Ok(()) => steps::undo(create::STEPS, &mut context).await,
            Err(error) => assert!(matches!(error, VmError::Cancelled), "{error:?}"),
        }
        bench.assert_no_vm(&format!("called off after {delay_us} us"));
    }
}

#[tokio::test]
async fn a_start_that_fails_anywhere_leaves_the_vm_as_it_was() {
    let bench = Bench::new();
    let row = bench.created().await;
    let dir = bench.services.paths.vm(&row.id);
    for count in 0..=start::STEPS.len() {
        let _ = std::fs::remove_file(dir.file(VmDir::VMM_LOG));
        let agent = tokio::spawn(play_agent(dir.clone()));
        let list = failing_after(start::STEPS, count);
        let mut context = bench.start(&row);
        let outcome = steps::run(&list, &mut context, &CancellationToken::new()).await;
        assert!(matches!(outcome, Err(VmError::Unkillable)), "{outcome:?}");
        agent.abort();
        bench.assert_not_running(&dir, &format!("failed after {count}"));
        steps::undo(&list, &mut context).await;
        bench.assert_not_running(&dir, &format!("undone twice after {count}"));
    }
}

#[tokio::test]
async fn a_start_whose_files_are_refused_leaves_the_vm_as_it_was() {
    let bench = Bench::new();
    let row = bench.created().await;
    let dir = bench.services.paths.vm(&row.id);
    let agent = tokio::spawn(play(dir.clone(), PlayedAgent::new(false)));
    let mut context = bench.start(&row);
    let outcome = steps::run(start::STEPS, &mut context, &CancellationToken::new()).await;
    agent.abort();
    let Err(error @ VmError::FilesRefused { .. }) = outcome else { panic!("{outcome:?}") };
    let host = dir.path().ancestors().nth(3).unwrap().join("synced");
    assert_eq!(
        error.to_string(),
        format!("file_sync[0] ({}) could not be copied into the guest", host.display())
    );
    bench.assert_not_running(&dir, "refused");
    steps::undo(start::STEPS, &mut context).await;
    bench.assert_not_running(&dir, "refused and undone twice");
}

#[tokio::test]
async fn a_start_with_files_that_cannot_be_read_boots_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let host = dir.path().join("loop");
    std::os::unix::fs::symlink("loop", &host).unwrap();
    let bench = Bench::syncing(dir, &host);
    let row = bench.created().await;
    let dir = bench.services.paths.vm(&row.id);
    let mut context = bench.start(&row);
    let outcome = steps::run(start::STEPS, &mut context, &CancellationToken::new()).await;
    assert!(matches!(outcome, Err(VmError::FileSync(_))), "{outcome:?}");
    assert!(!dir.file(VmDir::VMM_LOG).exists(), "it was booted");
    bench.assert_not_running(&dir, "not readable");
}

#[tokio::test]
async fn a_start_that_is_called_off_leaves_the_vm_as_it_was() {
    let bench = Bench::new();
    let row = bench.created().await;
    let dir = bench.services.paths.vm(&row.id);
    for delay_ms in [0, 1, 5, 20, 60] {
        // No agent answers: it is in the boot step when it is called off.
        let mut context = bench.start(&row);
        let cancel = CancellationToken::new();
        let (outcome, ()) = tokio::join!(steps::run(start::STEPS, &mut context, &cancel), async {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            cancel.cancel();
        });
        assert!(matches!(outcome, Err(VmError::Cancelled)), "{outcome:?}");
        bench.assert_not_running(&dir, &format!("called off after {delay_ms} ms"));
    }
}

#[tokio::test]
async fn a_started_vm_can_be_cleaned_up_twice() {
    let bench = Bench::new();
    let row = bench.created().await;
    let dir = bench.services.paths.vm(&row.id);
    let agent = tokio::spawn(play_agent(dir.clone()));
    let mut context = bench.start(&row);
    steps::run(start::STEPS, &mut context, &CancellationToken::new()).await.unwrap();
    agent.abort();
    assert!(dir.file(VmDir::HANDLES).exists());
    let started = context.into_started().unwrap();
    for _ in 0..2 {
        stop::kill_and_wait(&started.process).await.unwrap();
        stop::clean_up(&dir).unwrap();
        bench.assert_not_running(&dir, "cleaned up");
    }
}

#[tokio::test]
async fn a_vmm_that_dies_at_once_is_explained_by_its_last_words() {
    let bench = Bench::new();
    let row = bench.created().await;
    std::fs::write(
        bench.services.vmms.get(VmmKind::Qemu).unwrap().find().unwrap(),
        "#!/bin/sh\necho no such machine >&2\nexit 1\n",
    )
    .unwrap();
    let outcome = steps::run(start::STEPS, &mut bench.start(&row), &CancellationToken::new()).await;
    assert!(
        matches!(&outcome, Err(VmError::BootDied { log, .. }) if log == "no such machine"),
        "{outcome:?}"
    );
    bench.assert_not_running(&bench.services.paths.vm(&row.id), "died");
}
