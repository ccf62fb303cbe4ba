use banger_api::doctor::Check;

use super::{Host, fail, human_bytes, ok};
use crate::catalog::{Entry, Kind, Source};
use crate::causes::on_one_line;
use crate::image::{ImageError, how_to_get};
use crate::operation::Reporter;

const IMAGE: &str = "default image";
const KERNEL: &str = "default kernel";

/// A check, and whether the thing is on this host.
pub(super) struct Default {
    pub(super) check: Check,
    pub(super) local: bool,
}

/// Is the default image here, or can it be had?
pub(super) async fn image(host: &Host) -> Default {
    let name = &host.config.default_image.value;
    let Some(images) = host.images() else { return image_to_get(name, host).await };
    match images.show(name).await {
        Ok(image) if image.local => {
            let size =
                image.disk_used_bytes.map(|bytes| format!(", {}", human_bytes(bytes))).unwrap_or_default();
            Default { check: ok(IMAGE, format!("{name} is on this host{size}")), local: true }
        }
        Ok(image) if !image.used_by.is_empty() => damaged(IMAGE, name, &image.used_by),
        Ok(_) | Err(ImageError::Unknown { .. }) => image_to_get(name, host).await,
        Err(error) => Default { check: fail(IMAGE, on_one_line(&error), error.hint()), local: false },
    }
}

/// Is the default kernel here, or can it be had?
pub(super) async fn kernel(host: &Host) -> Default {
    let name = &host.config.default_kernel.value;
    let Some(kernels) = host.kernels() else { return kernel_to_get(name, host).await };
    match kernels.show(name).await {
        Ok(kernel) if kernel.local => {
            let release = kernel.release.map(|release| format!(", Linux {release}")).unwrap_or_default();
            Default { check: ok(KERNEL, format!("{name} is on this host{release}")), local: true }
        }
        Ok(kernel) if !kernel.used_by.is_empty() => damaged(KERNEL, name, &kernel.used_by),
        Ok(_) => kernel_to_get(name, host).await,
        Err(error) => Default { check: fail(KERNEL, on_one_line(&error), error.hint()), local: false },
    }
}

async fn image_to_get(name: &str, host: &Host) -> Default {
    let way = match host.images() {
        Some(images) => images.how_to_get(name).await,
        None => how_to_get(name, &host.catalog).await,
    };
    let check = match way {
        Ok(way) => ok(IMAGE, format!("{name} is not here yet; the first VM {way}")),
        Err(error @ ImageError::Lost { .. }) => fail(IMAGE, on_one_line(&error), error.hint()),
        Err(error) => fail(IMAGE, on_one_line(&error), correct_it(error.hint())),
    };
    Default { check, local: false }
}

async fn kernel_to_get(name: &str, host: &Host) -> Default {
    let check = match host.catalog.find(Kind::Kernel, name, &Reporter::unwatched()).await {
        Some(Entry { source: Source::Debian(source), .. }) => {
            ok(KERNEL, format!("{name} is not here yet; the first VM builds it ({source})"))
        }
        Some(entry) => {
            ok(KERNEL, format!("{name} is not here yet; the first VM downloads it ({})", entry.source))
        }
        None => {
            let hint = host.catalog.hint(Kind::Kernel, name, vec![]).await;
            fail(KERNEL, format!("{name} is neither on this host nor in the catalog"), correct_it(Some(hint)))
        }
    };
    Default { check, local: false }
}

fn correct_it(hint: Option<String>) -> Option<String> {
    Some(format!("correct it in the configuration file: {}", hint?))
}

fn damaged(check: &str, name: &str, users: &[String]) -> Default {
    let seen = format!(
        "files of {name} are gone or cannot be read, and VMs were made from it: {}",
        users.join(", ")
    );
    let fix = format!("put the files back, or: banger vm delete {}", users.join(" "));
    Default { check: fail(check, seen, Some(fix)), local: false }
}
