//! What kind of failure each error of the daemon's is to a client: the one place that says so.

use std::io;

use banger_api::ErrorCode;
use banger_api::vm::Pause;
use banger_guest_protocol::messages::GuestErrorKind;
use banger_host::command::CommandError;
use banger_host::git::ObjectError;
use banger_host::kernel_directory::KernelDirectoryError;
use banger_registry::{ArchiveError as ImageArchiveError, RegistryError};

use crate::artifact::{ArchiveError, ArtifactError, BundleError};
use crate::guest::GuestError;
use crate::image::{ImageError, ImportError};
use crate::kernel::{InitramfsFileError, KernelError};
use crate::network::NetworkError;
use crate::vm::VmError;
use crate::vmm::VmmError;
use crate::workspace::WorkspaceError;

pub(crate) fn image_code(error: &ImageError) -> ErrorCode {
    match error {
        ImageError::Unknown { .. } => ErrorCode::NotFound,
        ImageError::InUse { .. }
        | ImageError::Lost { .. }
        | ImageError::NameTaken { .. }
        | ImageError::Managed { .. } => ErrorCode::Refused,
        ImageError::Name { .. } | ImageError::Reference { .. } => ErrorCode::Usage,
        ImageError::Import { source, .. } => import_code(source),
        ImageError::Get { source, .. }
        | ImageError::Bundle { source, .. }
        | ImageError::Prune(source)
        | ImageError::Recover(source) => artifact_code(source),
        ImageError::Store(_) => ErrorCode::Failed,
    }
}

fn import_code(error: &ImportError) -> ErrorCode {
    match error {
        ImportError::File { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorCode::NotFound,
        ImportError::File { .. } | ImportError::Changed => ErrorCode::Failed,
        ImportError::NoFilesystem(_) | ImportError::SizeOfExt4 | ImportError::NothingToChoose => {
            ErrorCode::Usage
        }
        ImportError::Archive(ImageArchiveError::Several { .. } | ImageArchiveError::NoSuchTag { .. }) => {
            ErrorCode::Usage
        }
        ImportError::NoFile { .. } | ImportError::Format(_) | ImportError::Archive(_) => ErrorCode::Refused,
        ImportError::Artifact(error) => artifact_code(error),
    }
}

pub(crate) fn kernel_code(error: &KernelError) -> ErrorCode {
    match error {
        KernelError::Unknown { .. } => ErrorCode::NotFound,
        KernelError::Name { .. } => ErrorCode::Usage,
        KernelError::InUse { .. } | KernelError::Lost { .. } | KernelError::NameTaken { .. } => {
            ErrorCode::Refused
        }
        KernelError::Get { source, .. }
        | KernelError::Import { source, .. }
        | KernelError::Bundle { source, .. }
        | KernelError::Recover(source) => artifact_code(source),
        KernelError::Initramfs { source: InitramfsFileError::Agent(_), .. } => ErrorCode::HostNotReady,
        KernelError::Initramfs { .. } | KernelError::Store(_) => ErrorCode::Failed,
    }
}

fn artifact_code(error: &ArtifactError) -> ErrorCode {
    match error {
        ArtifactError::Archive(ArchiveError::NotReady { .. } | ArchiveError::NoSpace(_))
        | ArtifactError::NoSpace { .. }
        | ArtifactError::DiskFull { .. } => ErrorCode::HostNotReady,
        ArtifactError::Registry(error) => match **error {
            RegistryError::DiskFull { .. } | RegistryError::Proxy { .. } => ErrorCode::HostNotReady,
            RegistryError::NotFound { .. } => ErrorCode::NotFound,
            RegistryError::WrongPlatform { .. } | RegistryError::PlainHttp { .. } => ErrorCode::Refused,
            _ => ErrorCode::Failed,
        },
        ArtifactError::Cancelled | ArtifactError::Bundle(BundleError::Cancelled) => ErrorCode::Cancelled,
        ArtifactError::Bundle(error) => bundle_code(error),
        ArtifactError::KernelDirectory(error) if matches!(**error, KernelDirectoryError::Depmod { .. }) => {
            ErrorCode::HostNotReady
        }
        ArtifactError::KernelDirectory(_) | ArtifactError::NotFile(_) | ArtifactError::OutputExists(_) => {
            ErrorCode::Refused
        }
        ArtifactError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorCode::NotFound,
        _ => ErrorCode::Failed,
    }
}

fn bundle_code(error: &BundleError) -> ErrorCode {
    match error {
        BundleError::Read(_) | BundleError::Write { .. } => ErrorCode::Failed,
        BundleError::Cancelled => ErrorCode::Cancelled,
        _ => ErrorCode::Refused,
    }
}

pub(super) fn vm_code(error: &VmError) -> ErrorCode {
    match error {
        VmError::Name { .. }
        | VmError::Size { .. }
        | VmError::Ambiguous { .. }
        | VmError::EgressWithoutNetwork { .. }
        | VmError::Egress(_) => ErrorCode::Usage,
        VmError::NotFound { .. } => ErrorCode::NotFound,
        VmError::NoWorkspace { .. }
        | VmError::NoNetwork { .. }
        | VmError::IncompleteWorkspace { .. }
        | VmError::WouldLoseChanges { .. }
        | VmError::UnknownChanges { .. }
        | VmError::NameTaken { .. }
        | VmError::Denied { .. }
        | VmError::Paused { .. }
        | VmError::Forward { .. }
        | VmError::NotRunning { .. } => ErrorCode::Refused,
        VmError::UnknownSignal { .. } | VmError::WorkspaceWithoutStart | VmError::BranchWithPatch => {
            ErrorCode::Usage
        }
        VmError::NotLost { .. } => ErrorCode::NotFound,
        VmError::Broken { .. }
        | VmError::PlaceTaken { .. }
        | VmError::NotRestorable { .. }
        | VmError::NeedsImage { .. } => ErrorCode::Refused,
        VmError::Cancelled => ErrorCode::Cancelled,
        VmError::NoRoom(_)
        | VmError::PausedWhileStarting(Pause::HostDiskFull)
        | VmError::Vmm(VmmError::Missing { .. })
        | VmError::Network(NetworkError::Program { .. }) => ErrorCode::HostNotReady,
        VmError::Guest(GuestError::Refused { kind: GuestErrorKind::NotFound, .. }) => ErrorCode::NotFound,
        VmError::Guest(GuestError::Refused { kind: GuestErrorKind::Refused, .. }) => ErrorCode::Refused,
        _ => ErrorCode::Failed,
    }
}

pub(super) fn workspace_code(error: &WorkspaceError) -> ErrorCode {
    use WorkspaceError as E;
    match error {
        E::NoSuchPath { .. }
        | E::NoRepository { .. }
        | E::NoWorkingTree { .. }
        | E::NoSuchCommit { .. }
        | E::NoSuchGuestCommit { .. } => ErrorCode::NotFound,
        E::BranchName { .. } | E::GuestPath { .. } => ErrorCode::Usage,
        E::Unopened { .. }
        | E::Submodules { .. }
        | E::NoCommit { .. }
        | E::NoGuestGit
        | E::BaseGone
        | E::GuestRepositoryGone { .. }
        | E::HostGone
        | E::BranchExists { .. }
        | E::BranchCheckedOut { .. }
        | E::BranchNotMade { .. }
        | E::SubmoduleChanged { .. }
        | E::Commits { .. }
        | E::Filtered { .. }
        | E::BadObjects { .. }
        | E::PatchTooLarge { .. }
        | E::PatchUnpacks { .. }
        | E::DoesNotApply { .. }
        | E::NotPutInPlace { .. }
        | E::NotUndone { .. }
        | E::Converted { .. }
        | E::Object(ObjectError::Missing { .. })
        | E::Guest(GuestError::Refused { kind: GuestErrorKind::Refused, .. }) => ErrorCode::Refused,
        E::Git(CommandError::NotFound { .. }) | E::NoSpace { .. } => ErrorCode::HostNotReady,
        _ => ErrorCode::Failed,
    }
}
