//! The end of the machine, when no init of the image's does it: stop everything, unmount, power off.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount};
use rustix::process::{WaitOptions, wait};
use rustix::system::{RebootCommand, reboot};

use crate::{console, signals};

/// How long programs get to end after SIGTERM, then again after SIGKILL.
const GRACE: Duration = Duration::from_millis(1500);

/// What becomes of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    PowerOff,
    Reboot,
}

/// Ends every other process, unmounts what can be unmounted, makes the root read-only (so that the next boot
/// replays no journal), and powers off or restarts.
pub fn end_machine(ending: Ending) -> ! {
    rustix::fs::sync();
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        signals::broadcast(signal);
        signals::broadcast(libc::SIGCONT);
        wait_for_others(GRACE);
    }
    rustix::fs::sync();
    unmount_all();
    let command = match ending {
        Ending::PowerOff => RebootCommand::PowerOff,
        Ending::Reboot => RebootCommand::Restart,
    };
    if let Err(error) = reboot(command) {
        console::say(format_args!("could not end the machine: {error}"));
    }
    // PID 1 must not return; nothing but the VMM can help now.
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn wait_for_others(at_most: Duration) {
    let end = Instant::now() + at_most;
    while Instant::now() < end {
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        if !others_alive() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Is there a process besides PID 1 and this one? Kernel threads and zombies have no command line.
fn others_alive() -> bool {
    let Ok(entries) = std::fs::read_dir("/proc") else { return false };
    entries.flatten().any(|entry| {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        pid.is_some_and(|pid| pid != 1 && pid != std::process::id())
            && std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| !line.is_empty())
    })
}

fn unmount_all() {
    // On the way down there is nobody to tell; the sync before saves what it can.
    let table = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    for target in mount_points(&table).into_iter().rev() {
        let kernels_own = ["/proc", "/sys", "/dev"].iter().any(|dir| target.starts_with(dir));
        if target == Path::new("/") || kernels_own {
            continue;
        }
        if unmount(&target, UnmountFlags::empty()).is_err() {
            // Busy though every process is gone (a loop device, a nested mount): the power-off below still
            // syncs it.
            let _still_there = unmount(&target, UnmountFlags::DETACH);
        }
    }
    if let Err(error) = mount_remount("/", MountFlags::RDONLY, c"") {
        console::say(format_args!("could not make the root read-only: {error}"));
    }
    rustix::fs::sync();
}

/// Has the kernel make every filesystem read-only, whoever has files open in it, so that the next boot
/// replays no journal.
pub fn make_everything_read_only() {
    if let Err(error) = std::fs::write("/proc/sysrq-trigger", "u") {
        console::say(format_args!("could not make the filesystems read-only: {error}"));
    }
}

/// The mount points of a `/proc/self/mountinfo`, in its order.
fn mount_points(mountinfo: &[u8]) -> Vec<PathBuf> {
    let lines = mountinfo.split(|byte| *byte == b'\n');
    lines.filter_map(|line| Some(unescape(line.split(|byte| *byte == b' ').nth(4)?))).collect()
}

/// The kernel writes blanks and backslashes in paths as `\ooo`.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = (byte == b'\\').then(|| tail.get(..3)).flatten().and_then(|digits| {
            digits.iter().try_fold(0u32, |value, digit| {
                matches!(digit, b'0'..=b'7').then(|| value * 8 + u32::from(digit - b'0'))
            })
        });
        match octal.and_then(|value| u8::try_from(value).ok()) {
            Some(value) => {
                bytes.push(value);
                rest = &tail[3..];
            }
            None => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn mount_points_are_read_with_their_escapes() {
        let table = b"22 1 254:0 / / rw - ext4 /dev/dm-0 rw\n30 22 254:1 / /mnt/a\\040b rw - ext4 x rw\n";
        assert_eq!(mount_points(table), [PathBuf::from("/"), PathBuf::from("/mnt/a b")]);
    }

    proptest! {
        #[test]
        fn any_table_is_survived(bytes in proptest::collection::vec(
            prop_oneof![Just(b'\\'), Just(b' '), Just(b'\n'), Just(b'7'), any::<u8>()], 0..100)) {
            let _points = mount_points(&bytes);
        }

        #[test]
        fn escaping_is_undone(path in "[a-z/ \\\\]{1,20}") {
            let escaped = path.replace('\\', "\\134").replace(' ', "\\040");
            prop_assert_eq!(unescape(escaped.as_bytes()), PathBuf::from(path));
        }
    }
}
