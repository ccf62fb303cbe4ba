//! Finding the VM's disks, which appear in no fixed order.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use banger_guest_protocol::messages::{DiskSelector, Disks};

const APPEARANCE_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A block device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Disk {
    /// `/dev/vda`.
    pub(super) device: PathBuf,
    /// `254:0`.
    pub(super) number: String,
    /// In sectors of 512 bytes.
    pub(super) sectors: u64,
    serial: String,
    read_only: bool,
}

/// The VM's disks by their purpose.
#[derive(Debug)]
pub(super) struct FoundDisks {
    pub(super) base: Disk,
    pub(super) cow: Disk,
    pub(super) work: Option<Disk>,
    pub(super) modules: Option<Disk>,
}

/// Why the disks were not found.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("could not list the block devices in /sys/block")]
    List(#[source] io::Error),
    #[error("no {purpose} disk ({wanted}) appeared within {} s; there are: {present}", APPEARANCE_TIMEOUT.as_secs())]
    Missing { purpose: &'static str, wanted: String, present: String },
    #[error("several disks could be the {purpose} disk ({wanted}): {present}")]
    Ambiguous { purpose: &'static str, wanted: String, present: String },
}

/// Waits until every announced disk is there.
///
/// # Errors
///
/// When one is missing in the end, or cannot be told from another.
pub(super) fn wait_for(wanted: &Disks) -> Result<FoundDisks, DiskError> {
    let end = Instant::now() + APPEARANCE_TIMEOUT;
    loop {
        let present = list(Path::new("/sys/block")).map_err(DiskError::List)?;
        match select_all(wanted, &present) {
            Err(DiskError::Missing { .. }) if Instant::now() < end => std::thread::sleep(POLL_INTERVAL),
            result => return result,
        }
    }
}

fn select_all(wanted: &Disks, present: &[Disk]) -> Result<FoundDisks, DiskError> {
    let optional = |selector: &Option<DiskSelector>, purpose| {
        selector.as_ref().map(|selector| select(selector, purpose, present)).transpose()
    };
    Ok(FoundDisks {
        base: select(&wanted.base, "base", present)?,
        cow: select(&wanted.cow, "cow", present)?,
        work: optional(&wanted.work, "work")?,
        modules: optional(&wanted.modules, "modules")?,
    })
}

fn select(selector: &DiskSelector, purpose: &'static str, present: &[Disk]) -> Result<Disk, DiskError> {
    let fitting: Vec<&Disk> = present
        .iter()
        .filter(|disk| match selector {
            DiskSelector::Serial(serial) => disk.serial == *serial,
            DiskSelector::ReadOnly => disk.read_only,
        })
        .collect();
    let wanted = || match selector {
        DiskSelector::Serial(serial) => format!("serial {serial}"),
        DiskSelector::ReadOnly => "read-only".to_owned(),
    };
    match fitting[..] {
        [disk] => Ok(disk.clone()),
        [] => Err(DiskError::Missing { purpose, wanted: wanted(), present: describe(present) }),
        _ => Err(DiskError::Ambiguous { purpose, wanted: wanted(), present: describe(present) }),
    }
}

fn describe(disks: &[Disk]) -> String {
    let one = |disk: &Disk| {
        let mode = if disk.read_only { "read-only" } else { "writable" };
        format!("{} (serial {:?}, {mode})", disk.device.display(), disk.serial)
    };
    if disks.is_empty() { "none".to_owned() } else { disks.iter().map(one).collect::<Vec<_>>().join(", ") }
}

/// The disks below a `/sys/block` that belong to a device (not loop, ram or device-mapper ones).
fn list(sys_block: &Path) -> io::Result<Vec<Disk>> {
    let mut disks = Vec::new();
    for entry in fs::read_dir(sys_block)? {
        let dir = entry?.path();
        let read = |name: &str| fs::read_to_string(dir.join(name)).map(|text| text.trim().to_owned());
        // A disk that is only just appearing lacks some of these: the next look sees it.
        if let (true, Ok(number), Ok(sectors), Ok(read_only), Some(name)) =
            (dir.join("device").exists(), read("dev"), read("size"), read("ro"), dir.file_name())
            && let Ok(sectors) = sectors.parse()
        {
            disks.push(Disk {
                device: Path::new("/dev").join(name),
                number,
                sectors,
                serial: read("serial").unwrap_or_default(),
                read_only: read_only == "1",
            });
        }
    }
    Ok(disks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sys_block(disks: &[(&str, &str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, serial, read_only) in disks {
            let dir = root.path().join(name);
            fs::create_dir_all(dir.join("device")).unwrap();
            for (file, text) in [("dev", "254:0"), ("size", "2048"), ("serial", serial), ("ro", read_only)] {
                fs::write(dir.join(file), format!("{text}\n")).unwrap();
            }
        }
        fs::create_dir(root.path().join("dm-0")).unwrap();
        root
    }

    fn wanted() -> Disks {
        let serial = |text: &str| DiskSelector::Serial(text.into());
        Disks { base: DiskSelector::ReadOnly, cow: serial("cow"), work: Some(serial("work")), modules: None }
    }

    #[test]
    fn disks_are_told_apart_whatever_their_order() {
        let root = sys_block(&[("vdb", "work", "0"), ("vda", "base", "1"), ("vdc", "cow", "0")]);
        let found = select_all(&wanted(), &list(root.path()).unwrap()).unwrap();
        assert_eq!(found.base.device, Path::new("/dev/vda"));
        assert_eq!(found.cow.device, Path::new("/dev/vdc"));
        assert_eq!(found.work.unwrap().device, Path::new("/dev/vdb"));
        assert_eq!(found.base.sectors, 2048);
    }

    #[test]
    fn a_missing_and_an_ambiguous_disk_are_named() {
        let root = sys_block(&[("vda", "base", "1"), ("vdc", "cow", "0")]);
        let error = select_all(&wanted(), &list(root.path()).unwrap()).unwrap_err();
        assert!(error.to_string().contains("no work disk (serial work)"), "{error}");
        assert!(error.to_string().contains("/dev/vdc"), "{error}");
        let root = sys_block(&[("vda", "base", "1"), ("vdc", "cow", "1"), ("vdb", "work", "0")]);
        let error = select_all(&wanted(), &list(root.path()).unwrap()).unwrap_err();
        assert!(matches!(error, DiskError::Ambiguous { purpose: "base", .. }));
    }
}
