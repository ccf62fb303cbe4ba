use banger_api::config::Origin;
use banger_api::doctor::Check;
use banger_host::command::{Command, find_program};

use super::{Host, fail, install, ok, warn};
use crate::causes::on_one_line;

const NAME: &str = "qemu";

/// The oldest version that banger is tested with.
const OLDEST: (u32, u32) = (7, 2);

/// Is there a QEMU, and which?
pub(super) async fn check(host: &Host) -> Check {
    let setting = &host.config.qemu_bin;
    let path = match find_program(&setting.value.to_string_lossy()) {
        Ok(path) => path,
        Err(error) => {
            let fix = match setting.origin {
                Origin::Config => format!("correct `qemu_bin` in {}", host.config.path.display()),
                Origin::Auto | Origin::Builtin => install("qemu-system-x86"),
            };
            return fail(NAME, on_one_line(&error), Some(fix));
        }
    };
    let text = match Command::new(&path).arg("--version").run().await {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => return fail(NAME, on_one_line(&error), Some(install("--reinstall qemu-system-x86"))),
    };
    match version(&text) {
        Some((major, minor)) if (major, minor) >= OLDEST => {
            ok(NAME, format!("{} (version {major}.{minor})", path.display()))
        }
        Some((major, minor)) => warn(
            NAME,
            format!(
                "{} is version {major}.{minor}; {}.{} is the oldest that is tested",
                path.display(),
                OLDEST.0,
                OLDEST.1
            ),
            None,
        ),
        None => warn(NAME, format!("{} does not tell its version", path.display()), None),
    }
}

/// Out of `QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split("version ").nth(1)?.split(['.', ' ', '\n']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        for (text, seen) in [
            ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright", Some((7, 2))),
            ("QEMU emulator version 10.0\n", Some((10, 0))),
            ("QEMU emulator version 11.0.50 (v11)", Some((11, 0))),
            ("not QEMU", None),
            ("version ", None),
            ("version 10", None),
        ] {
            assert_eq!(version(text), seen, "{text}");
        }
    }
}
