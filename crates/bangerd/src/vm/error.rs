use banger_host::files::FileError;
use banger_host::process::ProcessError;

use super::state::State;
use crate::disk::DiskError;
use crate::guest::GuestError;
use crate::identity::VmNameError;
use crate::image::ImageError;
use crate::kernel::KernelError;
use crate::store::StoreError;
use crate::vmm::QemuError;

/// Why something did not happen to a VM.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    #[error("{name:?} cannot be a VM's name")]
    Name { name: String, source: VmNameError },
    #[error("{what}")]
    Size { what: String, hint: String },
    #[error("there is no VM {reference:?}")]
    NotFound { reference: String, similar: Option<String> },
    #[error("{reference:?} could be any of: {}", candidates.join(", "))]
    Ambiguous { reference: String, candidates: Vec<String> },
    #[error("there is a VM named {name:?} already")]
    NameTaken { name: String },
    #[error("cannot {action} VM {name:?} while it is {}", state.shown())]
    Denied { action: &'static str, name: String, state: State },
    #[error("VM {name:?} is not running (it is {})", state.shown())]
    NotRunning { name: String, state: State },
    #[error("it was called off")]
    Cancelled,

    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Qemu(#[from] QemuError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a file of the VM's could not be handled")]
    File(#[from] FileError),
    #[error("the VM's process could not be handled")]
    Process(#[from] ProcessError),

    /// QEMU ended before the agent said hello. `log` is the end of what it and the console said.
    #[error("the VM's process ended while it was booting{}", tail(log))]
    BootDied { log: String },
    #[error("the guest did not come up{}", tail(log))]
    NoHello { log: String, source: GuestError },
    #[error("the guest could not be configured")]
    Configure(#[source] GuestError),
    #[error("the guest's agent did not do it")]
    Guest(#[from] GuestError),
    #[error("the VM's process did not go away when it was killed")]
    Unkillable,
}

fn tail(log: &str) -> String {
    if log.is_empty() { String::new() } else { format!("; its last words:\n{log}") }
}

/// An error's text and those of its sources, outermost first.
pub(super) fn chain(error: &dyn std::error::Error) -> Vec<String> {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect()
}
