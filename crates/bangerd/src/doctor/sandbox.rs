use std::path::Path;
use std::time::Duration;

use banger_api::doctor::Check;
use banger_host::sandbox::inspect::{Confinement, InspectError, Opening, probe_in_child};

use super::{fail, ok, warn};
use crate::causes::on_one_line;

const NAME: &str = "sandbox";

/// It takes some milliseconds.
const LIMIT: Duration = Duration::from_secs(5);

/// What landlock learned: in which version, in which Linux. The filter on system calls holds these by itself.
const LEARNED: &[(u32, &str, &str)] = &[
    (3, "truncated files", "6.2"),
    (4, "TCP", "6.7"),
    (5, "devices' ioctls", "6.10"),
    (6, "signals and abstract sockets", "6.12"),
    (9, "Unix sockets by path", "7.1"),
];

/// What keeps somebody who broke out of a guest inside its VMM? Asked of a process that is confined as VMMs
/// are.
pub(super) async fn check(program: &Path) -> Check {
    judge(probe_in_child(program, "probe-sandbox", LIMIT).await)
}

fn judge(found: Result<Confinement, InspectError>) -> Check {
    let Confinement { landlock_abi, open } = match found {
        Ok(confinement) => confinement,
        Err(error) => return fail(NAME, format!("VMs cannot be confined: {}", on_one_line(&error)), None),
    };
    if !open.is_empty() {
        let ways: Vec<&str> = open.iter().map(way).collect();
        return warn(
            NAME,
            format!("who breaks out of a guest can {}", ways.join(", ")),
            fix(landlock_abi, &open),
        );
    }
    let missing: Vec<String> = LEARNED
        .iter()
        .filter(|(abi, ..)| *abi > landlock_abi)
        .map(|(_, what, linux)| format!("{what} (Linux {linux})"))
        .collect();
    let held = format!("landlock (version {landlock_abi}) and a filter on system calls hold VMs");
    match missing.is_empty() {
        true => ok(NAME, held),
        false => ok(NAME, format!("{held}; the filter alone: {}", missing.join(", "))),
    }
}

fn way(opening: &Opening) -> &'static str {
    match opening {
        Opening::Files => "read and write your files",
        Opening::Modes => "change modes and owners of your files",
        Opening::Signals => "signal your processes",
        Opening::Sockets => "connect to your programs",
        Opening::Programs => "start programs",
        Opening::Privileges => "use the daemon's privileges",
    }
}

fn fix(landlock_abi: u32, open: &[Opening]) -> Option<String> {
    match open {
        [Opening::Files] if landlock_abi == 0 => Some(
            "Linux 5.13 or newer with landlock: `landlock` in `lsm=` on the kernel's command line".into(),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(landlock_abi: u32, open: &[Opening]) -> (String, Option<String>) {
        let check = judge(Ok(Confinement { landlock_abi, open: open.to_vec() }));
        (format!("{:?}: {}", check.verdict, check.seen), check.fix)
    }

    #[test]
    fn what_the_kernel_lacks_is_named_with_the_version_that_has_it() {
        let held = "Ok: landlock (version 9) and a filter on system calls hold VMs";
        assert_eq!(seen(9, &[]), (held.into(), None));
        let (text, fix) = seen(5, &[]);
        assert!(text.ends_with(
            "the filter alone: signals and abstract sockets (Linux 6.12), Unix sockets by path (Linux 7.1)"
        ));
        assert_eq!(fix, None);
    }

    #[test]
    fn what_is_open_is_a_warning() {
        let (text, fix) = seen(0, &[Opening::Files]);
        assert_eq!(text, "Warn: who breaks out of a guest can read and write your files");
        assert!(fix.unwrap().starts_with("Linux 5.13 or newer"));
        let (text, fix) = seen(7, &[Opening::Signals, Opening::Privileges]);
        assert!(text.ends_with("can signal your processes, use the daemon's privileges"), "{text}");
        assert_eq!(fix, None);
    }

    #[test]
    fn a_process_that_cannot_be_confined_is_a_failure() {
        let check = judge(Err(InspectError::Hung { limit_ms: 5000 }));
        assert_eq!(check.seen, "VMs cannot be confined: a confined process did not end within 5000 ms");
    }
}
