//! From the daemon's errors to the API's: code, text, and what to do about it.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use banger_api::ApiError;
use banger_api::vm::Pause;
use banger_api::workspace::PATCH_MAX_BYTES;
use banger_guest_protocol::messages::GuestErrorKind;
use banger_host::command::CommandError;
use banger_host::git::ObjectError;

use super::error_code::{image_code, kernel_code, vm_code, workspace_code};
use crate::guest::GuestError;
use crate::image::ImageError;
use crate::kernel::KernelError;
use crate::vm::VmError;
use crate::vm::state::State;
use crate::vmm::{VmmError, pause_hint};
use crate::workspace::WorkspaceError;

/// An [`ApiError`] as an HTTP answer.
#[derive(Debug)]
pub(super) struct Failure(pub(super) ApiError);

pub(super) type Answer<T> = Result<Json<T>, Failure>;

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.0)).into_response()
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl From<VmError> for Failure {
    fn from(error: VmError) -> Self {
        Self(vm_error(&error))
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        Self(image_error(&error))
    }
}

impl From<KernelError> for Failure {
    fn from(error: KernelError) -> Self {
        Self(kernel_error(&error))
    }
}

pub(super) fn image_error(error: &ImageError) -> ApiError {
    ApiError { hint: error.hint(), ..ApiError::from_error(image_code(error), error) }
}

pub(super) fn kernel_error(error: &KernelError) -> ApiError {
    ApiError { hint: error.hint(), ..ApiError::from_error(kernel_code(error), error) }
}

pub(super) fn vm_error(error: &VmError) -> ApiError {
    match error {
        VmError::Image(error) => return image_error(error),
        VmError::Kernel(error) => return kernel_error(error),
        VmError::Workspace(error) => return workspace_error(error),
        _ => {}
    }
    let mut api = match error {
        // The agent's own words say it best.
        VmError::Guest(refused @ GuestError::Refused { .. }) => ApiError::from_error(vm_code(error), refused),
        _ => ApiError::from_error(vm_code(error), error),
    };
    if let VmError::Configure(GuestError::Refused { causes, .. })
    | VmError::FilesRefused { source: GuestError::Refused { causes, .. }, .. }
    | VmError::Guest(GuestError::Refused { causes, .. }) = error
    {
        api.causes.extend(causes.iter().cloned());
    }
    api.hint = vm_hint(error);
    api
}

fn workspace_error(error: &WorkspaceError) -> ApiError {
    let mut api = ApiError::from_error(workspace_code(error), error);
    match error {
        WorkspaceError::Guest(GuestError::Refused { causes, .. }) => {
            api.causes.extend(causes.iter().cloned())
        }
        WorkspaceError::NoRepository { said, .. } | WorkspaceError::Unopened { said, .. } => {
            api.causes.push(said.clone())
        }
        _ => {}
    }
    api.hint = workspace_hint(error).map(Into::into);
    api
}

fn workspace_hint(error: &WorkspaceError) -> Option<&'static str> {
    use WorkspaceError as E;
    Some(match error {
        E::NoSuchPath { .. } => "name a directory in a git checkout",
        E::NoRepository { .. } => {
            "only what git tracks is copied: make it a repository with `git init` and `git add`"
        }
        E::NoWorkingTree { .. } => "name a checkout of it: `git clone` or `git worktree add` makes one",
        E::Submodules { .. } => "--mode full takes submodules along, and the whole history",
        E::NoCommit { .. } => "the default mode takes the working tree, without a commit",
        E::NoSuchGuestCommit { on_host: Some(_), .. } => {
            "the guest has the commit that was prepared, `banger vm show` names it, and those made there"
        }
        E::GuestPath { .. } => "--guest-path takes the path of a directory other than /, without `..` in it",
        E::GuestCommand { code: 135, .. } => {
            "git was killed while it read a file that got shorter: stop what writes in the workspace, then try again"
        }
        E::GuestCommand { code: 137, .. } => {
            "it was killed, most likely because the guest ran out of memory: free some there, or use a VM with more (`--memory`)"
        }
        E::NoGuestGit | E::GuestCommand { code: 127, .. } => {
            "use an image with git in it, or install git in the VM"
        }
        E::BaseGone => "--base-commit HEAD compares with a commit instead; preparing again begins anew",
        E::GuestRepositoryGone { .. } => {
            "`banger vm cp` copies files out; `banger vm workspace prepare --discard` begins anew"
        }
        E::HostGone => "export to a file with -o, and apply it where you want it",
        E::BranchExists { .. } => "choose another name, or make it anew with --force",
        E::BranchCheckedOut { .. } => "choose another name: whoever works there would find his files changed",
        E::SubmoduleChanged { .. } => "export a patch instead, with -o or --apply",
        E::Filtered { .. } => {
            "export a patch instead, with -o or --apply: what git-lfs and the like make of a file is not known here"
        }
        E::Commits { .. } => "without --commits the work becomes one commit",
        E::PatchTooLarge { limit_bytes: PATCH_MAX_BYTES } => {
            "git takes no larger patch; --branch has another limit, which --max-size sets"
        }
        E::PatchTooLarge { .. } => "--max-size sets another limit",
        E::PatchUnpacks { .. } => {
            "git holds all of it in memory; --branch has another limit, which --max-size sets"
        }
        E::Timeout { .. } => "--timeout gives it longer; `banger vm exec` shows whether the guest is well",
        E::Malformed(_)
        | E::Disagreement
        | E::AnswerTooLarge { .. }
        | E::TooManyRepositories { .. }
        | E::BadObjects { .. } => {
            "the guest's git does not do what git does: do not trust this VM; `banger vm cp` copies single files out"
        }
        E::Unsteady { .. } => "stop what writes to it, then try again",
        E::Guest(GuestError::Refused { kind: GuestErrorKind::Refused, .. }) => {
            "choose another place with --guest-path, or remove what is there"
        }
        E::Object(ObjectError::Missing { .. }) => {
            "a partial clone is completed by `git fetch --refetch --no-filter`; `git fsck` tells what else may be missing"
        }
        E::Git(CommandError::NotFound { .. }) => "install git",
        E::NotPutInPlace { .. } => "see what else writes to these files, then try again",
        E::NotUndone { .. } => "compare with what is kept there, then remove the directory",
        E::NoSpace { .. } => "nothing was changed: make room there, then try again",
        E::Converted { .. } => {
            "git on this host is set to write such a file otherwise; --branch makes a branch of it, where nothing is converted"
        }
        _ => return None,
    })
}

fn vm_hint(error: &VmError) -> Option<String> {
    Some(match error {
        VmError::Name { .. } => {
            "a name is 1 to 63 lower-case letters, digits and hyphens, and begins and ends with a letter or digit".into()
        }
        VmError::Size { hint, .. } | VmError::Broken { hint, .. } => hint.clone(),
        VmError::NotFound { similar: Some(similar), .. } => format!("did you mean {similar}?"),
        VmError::NotFound { similar: None, .. } => "`banger vm list --all` shows every VM".into(),
        VmError::Ambiguous { .. } => "use more of the id, or the name".into(),
        VmError::UnknownSignal { .. } => "one of KILL, TERM, INT, QUIT, HUP, STOP, CONT".into(),
        VmError::BranchWithPatch => "ask for one of them".into(),
        VmError::Forward { guest, source } => source.hint(*guest),
        VmError::EgressWithoutNetwork { .. } => "leave out --egress, or --network none".into(),
        VmError::NoNetwork { .. } => "it was made with --network none; one made anew has a network".into(),
        VmError::Network(error) => error.hint()?,
        VmError::NotLost { .. } => "`banger lost-found list` shows what is there".into(),
        VmError::NeedsImage { .. } => {
            "name the image that it was made of: `banger lost-found restore NAME --image IMAGE`".into()
        }
        VmError::NotRestorable { .. } => {
            "an image's file can be imported from there (`banger image import`), and so can a kernel (`banger kernel import`); an old store is only kept to be looked at".into()
        }
        VmError::NameTaken { name } => {
            format!("choose another name, or `banger vm delete {name}` first")
        }
        VmError::NoWorkspace { name } => format!("`banger vm workspace prepare {name} PATH`"),
        VmError::IncompleteWorkspace { name } => {
            format!("prepare it again: `banger vm workspace prepare {name} PATH`")
        }
        VmError::WouldLoseChanges { .. } | VmError::UnknownChanges { .. } => {
            "export changed files (`banger vm workspace export`), copy other things out (`banger vm cp`), or throw all away with --discard".into()
        }
        VmError::Denied { name, state: State::Deleting, .. } => {
            format!("`banger vm delete {name}` goes on with it; `banger daemon logs` tells why it did not end")
        }
        VmError::Denied { name, state: State::Stopping, .. } => {
            format!("wait for it, or end it now: banger vm kill {name}")
        }
        VmError::Store(error) => error.hint()?,
        VmError::NotRunning { name, .. } => format!("`banger vm start {name}`"),
        VmError::Guest(
            GuestError::Connect(_)
            | GuestError::NoHello { .. }
            | GuestError::Closed
            | GuestError::Broken
            | GuestError::Timeout { .. },
        ) => "`banger vm logs VM` may tell why; `banger vm stop VM` ends it, by force if the guest does not".into(),
        VmError::Paused { name, pause } => pause_hint(name, *pause),
        VmError::NoRoom(_) | VmError::PausedWhileStarting(Pause::HostDiskFull) => {
            "free some disk space: `banger image prune` and `banger vm delete` do, or set XDG_STATE_HOME to a larger disk".into()
        }
        VmError::Vmm(VmmError::Missing { package, .. }) => {
            format!("install it with `sudo apt-get install {package}`; `banger doctor` tells what else is missing")
        }
        VmError::FileSync(error) => error.hint()?.into(),
        VmError::FilesRefused { .. } => {
            "change [[file_sync]] in the configuration file; `banger daemon stop` has it read again".into()
        }
        VmError::BootDied { .. } | VmError::NoHello { .. } => "`banger doctor` looks at what a VM needs".into(),
        VmError::Guest(GuestError::Version { .. }) => {
            "stop and start the VM: it then boots with this build's agent".into()
        }
        _ => return None,
    })
}
