//! `POST /v1/configure`: what makes a generic booted kernel into one VM; and `POST /v1/identity`, which makes
//! it another one.

use std::path::Path;
use std::time::Instant;

use banger_guest_protocol::messages::{Configure, Configured, Disks, InitChoice, Network};

use crate::console;
use crate::exec::ImageDefaults;
use crate::init::supervisor::{Request, Supervisor, SupervisorError};
use crate::init::{MODULES_DIR, modules, mounts};
use crate::system_error::SystemError;

mod clock;
mod device_mapper;
mod disks;
mod files;
mod for_init;
mod guest_root;
mod hosts;
mod identity;
mod image_init;
mod network;
mod switch_root;
mod system_dirs;
mod work_disk;

use guest_root::GuestRoot;
pub use identity::{FormerIdentity, identify};
pub use image_init::ImageInit;
pub(crate) use network::interface_request;

/// Where the root is assembled.
const NEW_ROOT: &str = "/newroot";

/// Why the guest could not be configured.
#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    #[error(transparent)]
    System(#[from] SystemError),
    #[error("a kernel module is missing")]
    Modules(#[from] modules::ModuleError),
    #[error("the VM's disks are not as announced")]
    Disks(#[from] disks::DiskError),
    #[error("could not write into the image's root")]
    Files(#[from] files::FileError),
    #[error("could not set up the network")]
    Network(#[source] SystemError),
    #[error("could not change to the image's root")]
    Supervisor(#[from] SupervisorError),
}

/// Measures the stages.
struct Stages {
    done: Vec<(String, u64)>,
    began: Instant,
}

impl Stages {
    fn new() -> Self {
        Self { done: Vec::new(), began: Instant::now() }
    }

    fn end(&mut self, name: &str) {
        let now = Instant::now();
        self.done.push((name.to_owned(), (now - self.began).as_millis() as u64));
        self.began = now;
    }
}

/// A guest that is one VM now.
#[derive(Debug)]
pub struct Configuration {
    pub answer: Configured,
    /// What PID 1 has become; none when it is still ours.
    pub init: Option<ImageInit>,
    pub image: ImageDefaults,
}

/// Does all of it, in order. Blocks; must be called once only.
///
/// # Errors
///
/// The first thing that failed. The guest is then in no state to go on: boot it again.
pub fn configure(wanted: &Configure, supervisor: &Supervisor) -> Result<Configuration, ConfigureError> {
    let Configure { assembly, identity } = wanted;
    let mut stages = Stages::new();
    let (image, mut warnings) = ImageDefaults::checked(&assembly.command_defaults);

    identity::tell_kernel(identity)?;
    stages.end("identity");

    let root = assemble_root(&assembly.disks, &mut stages, &mut warnings)?;

    warnings.extend(identity::write_files(identity, None, &root)?);
    files::write_all(&assembly.files, &root)?;
    stages.end("files");

    let interface = network::bring_up(identity.network.as_ref(), Path::new(NEW_ROOT), &mut warnings)
        .map_err(ConfigureError::Network)?;
    stages.end("network");

    let init = match assembly.init {
        InitChoice::Auto => image_init::find(&root),
        InitChoice::Agent => None,
    };
    switch_root::switch(root, supervisor)?;
    stages.end("switch_root");

    if let Some(Err(error)) = image.make_working_dir() {
        warnings.push(format!("the image's working directory is not used: it cannot be made: {error}"));
    }
    let network = interface.zip(identity.network.as_ref());
    warnings.extend(begin_init(init.as_ref(), network, supervisor)?);
    stages.end("init");
    for warning in &warnings {
        console::say(warning);
    }
    let program = init.as_ref().map(|init| init.program.clone());
    let answer = Configured { init: program, stages: stages.done, warnings };
    Ok(Configuration { answer, init, image })
}

/// From the disks' drivers to a root with all that is mounted in it.
fn assemble_root(
    announced: &Disks,
    stages: &mut Stages,
    warnings: &mut Vec<String>,
) -> Result<GuestRoot, ConfigureError> {
    warnings.extend(modules::load_list(Path::new(MODULES_DIR), "late")?);
    // They are in the kernel now; the files only hold memory.
    if let Err(error) = std::fs::remove_dir_all(MODULES_DIR)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        warnings.push(format!("could not free {MODULES_DIR}: {error}"));
    }
    stages.end("modules");

    let disks = disks::wait_for(announced)?;
    stages.end("disks");

    let root_device = device_mapper::create_snapshot("root", &disks.base, &disks.cow)?;
    stages.end("snapshot");

    let root = GuestRoot::mount(&root_device, Path::new(NEW_ROOT))?;
    warnings.extend(system_dirs::prepare(&root));
    if let Some(modules_disk) = &disks.modules
        && let Err(error) = root.mount_ext4_read_only(modules_disk, Path::new("/lib/modules"))
    {
        warnings.push(console::one_line(&error));
    }
    stages.end("root");

    if let Some(work) = &disks.work {
        work_disk::mount_at_root(work, &root)?;
    }
    stages.end("work");
    Ok(root)
}

/// Has PID 1 become the image's init, or takes an init's part. Answers what is not as it should be.
fn begin_init(
    init: Option<&ImageInit>,
    network: Option<(&str, &Network)>,
    supervisor: &Supervisor,
) -> Result<Vec<String>, ConfigureError> {
    let Some(init) = init else {
        return Ok(mounts::mount_cgroups().err().iter().map(|error| console::one_line(error)).collect());
    };
    let warnings = for_init::prepare(network).iter().map(|error| console::one_line(error)).collect();
    supervisor.ask(&Request::BecomeInit((&init.program).into()))?;
    Ok(warnings)
}
