use banger_api::doctor::Check;

use super::{Host, chain, fail, human_bytes, ok};
use crate::catalog::Kind;
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
    let Some(images) = host.images() else { return obtainable(IMAGE, name, host, Kind::Image).await };
    match images.show(name).await {
        Ok(image) if image.local => {
            let size =
                image.disk_used_bytes.map(|bytes| format!(", {}", human_bytes(bytes))).unwrap_or_default();
            Default { check: ok(IMAGE, format!("{name} is on this host{size}")), local: true }
        }
        Ok(image) if !image.used_by.is_empty() => damaged(IMAGE, name, &image.used_by),
        Ok(_) => obtainable(IMAGE, name, host, Kind::Image).await,
        Err(error) => Default { check: fail(IMAGE, chain(&error), error.hint()), local: false },
    }
}

/// Is the default kernel here, or can it be had?
pub(super) async fn kernel(host: &Host) -> Default {
    let name = &host.config.default_kernel.value;
    let Some(kernels) = host.kernels() else { return obtainable(KERNEL, name, host, Kind::Kernel).await };
    match kernels.show(name).await {
        Ok(kernel) if kernel.local => {
            let release = kernel.release.map(|release| format!(", Linux {release}")).unwrap_or_default();
            Default { check: ok(KERNEL, format!("{name} is on this host{release}")), local: true }
        }
        Ok(kernel) if !kernel.used_by.is_empty() => damaged(KERNEL, name, &kernel.used_by),
        Ok(_) => obtainable(KERNEL, name, host, Kind::Kernel).await,
        Err(error) => Default { check: fail(KERNEL, chain(&error), error.hint()), local: false },
    }
}

async fn obtainable(check: &str, name: &str, host: &Host, kind: Kind) -> Default {
    let check = match host.catalog.find(kind, name, &Reporter::unwatched()).await {
        Some(entry) => {
            ok(check, format!("{name} is not here yet; the first VM builds it ({})", entry.source))
        }
        None => fail(
            check,
            format!("{name} is neither on this host nor in the catalog"),
            Some(format!("correct it in the configuration file: {}", host.catalog.hint(kind, name).await)),
        ),
    };
    Default { check, local: false }
}

fn damaged(check: &str, name: &str, users: &[String]) -> Default {
    let seen = format!("files of {name} are gone, and VMs were made from it: {}", users.join(", "));
    let fix = format!("put the files back, or: banger vm delete {}", users.join(" "));
    Default { check: fail(check, seen, Some(fix)), local: false }
}
