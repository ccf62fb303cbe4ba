//! From the daemon's errors to the API's: code, text, and what to do about it.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use banger_api::{ApiError, ErrorCode};

use crate::guest::GuestError;
use crate::image::ImageError;
use crate::kernel::KernelError;
use crate::vm::VmError;
use crate::vmm::QemuError;

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
    ApiError { hint: error.hint(), ..ApiError::from_error(error.code(), error) }
}

pub(super) fn kernel_error(error: &KernelError) -> ApiError {
    ApiError { hint: error.hint(), ..ApiError::from_error(error.code(), error) }
}

pub(super) fn vm_error(error: &VmError) -> ApiError {
    match error {
        VmError::Image(error) => return image_error(error),
        VmError::Kernel(error) => return kernel_error(error),
        _ => {}
    }
    let mut api = ApiError::from_error(vm_code(error), error);
    if let VmError::Configure(GuestError::Refused { causes, .. })
    | VmError::Guest(GuestError::Refused { causes, .. }) = error
    {
        api.causes.extend(causes.iter().cloned());
    }
    api.hint = vm_hint(error);
    api
}

fn vm_code(error: &VmError) -> ErrorCode {
    match error {
        VmError::Name { .. } | VmError::Size { .. } | VmError::Ambiguous { .. } => ErrorCode::Usage,
        VmError::NotFound { .. } => ErrorCode::NotFound,
        VmError::NameTaken { .. } | VmError::Denied { .. } | VmError::NotRunning { .. } => ErrorCode::Refused,
        VmError::Cancelled => ErrorCode::Cancelled,
        VmError::Qemu(QemuError::Missing(_)) => ErrorCode::HostNotReady,
        _ => ErrorCode::Failed,
    }
}

fn vm_hint(error: &VmError) -> Option<String> {
    Some(match error {
        VmError::Name { .. } => {
            "a name is 1 to 63 lower-case letters, digits and hyphens, and begins and ends with a letter or digit".into()
        }
        VmError::Size { hint, .. } => hint.clone(),
        VmError::NotFound { similar: Some(similar), .. } => format!("did you mean {similar}?"),
        VmError::NotFound { similar: None, .. } => "`banger vm list --all` shows every VM".into(),
        VmError::Ambiguous { .. } => "use more of the id, or the name".into(),
        VmError::NameTaken { name } => {
            format!("choose another name, or `banger vm delete {name}` first")
        }
        VmError::NotRunning { name, .. } => format!("`banger vm start {name}`"),
        VmError::Qemu(QemuError::Missing(_)) => {
            "install it with `sudo apt-get install qemu-system-x86`; `banger doctor` tells what else is missing".into()
        }
        VmError::BootDied { .. } | VmError::NoHello { .. } => "`banger doctor` looks at what a VM needs".into(),
        VmError::Guest(GuestError::Version { .. }) => {
            "stop and start the VM: it then boots with this build's agent".into()
        }
        _ => return None,
    })
}
