//! The copy-on-write root: a persistent device-mapper snapshot, made by the kernel's raw ioctls.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use banger_guest_protocol::COW_CHUNK_BYTES;
use rustix::fs::{FileType, Mode, OFlags, makedev, mknodat};

use super::disks::Disk;
use crate::system_error::{Context, SystemError};

/// The device mapper counts in sectors.
const CHUNK_SECTORS: u64 = COW_CHUNK_BYTES / 512;

const CONTROL: &str = "/dev/mapper/control";

/// `struct dm_ioctl` of the kernel's interface version 4, as offsets into its bytes.
mod header {
    pub(super) const LEN: usize = 312;
    pub(super) const VERSION: usize = 0;
    pub(super) const DATA_SIZE: usize = 12;
    pub(super) const DATA_START: usize = 16;
    pub(super) const TARGET_COUNT: usize = 20;
    pub(super) const DEV: usize = 40;
    pub(super) const NAME: usize = 48;
    pub(super) const NAME_LEN: usize = 128;
}

/// `struct dm_target_spec`: start, length (u64 each), status, next (u32 each), type name (16 bytes).
const TARGET_LEN: usize = 40;

const DM_DEV_CREATE: u32 = 3;
const DM_DEV_SUSPEND: u32 = 6;
const DM_TABLE_LOAD: u32 = 9;

/// Makes `/dev/dm-N`: `base` with the changes that are in `cow`. A zeroed `cow` is a snapshot without
/// changes.
///
/// # Errors
///
/// When the device mapper is missing or refuses the table.
pub(super) fn create_snapshot(name: &str, base: &Disk, cow: &Disk) -> Result<PathBuf, SystemError> {
    let control = open_control()?;
    let table = format!("{} {} P {CHUNK_SECTORS}", base.number, cow.number);
    let call = |command: u32, payload: &[u8]| ioctl(&control, command, name, payload);

    let reply = call(DM_DEV_CREATE, &[]).context("create the device-mapper device", name)?;
    let device = minor(&reply).map(|minor| PathBuf::from(format!("/dev/dm-{minor}")));
    let target = target("snapshot", base.sectors, &table);
    call(DM_TABLE_LOAD, &target)
        .context("load the device-mapper table", format_args!("`0 {} snapshot {table}`", base.sectors))?;
    // Resumes: the suspend flag is not set.
    call(DM_DEV_SUSPEND, &[]).context("activate the device-mapper device", name)?;
    device.context("learn the number of the device-mapper device", name)
}

fn open_control() -> Result<OwnedFd, SystemError> {
    if !Path::new(CONTROL).exists() {
        let make = || -> io::Result<()> {
            let number = fs::read_to_string("/sys/class/misc/device-mapper/dev")?;
            let (major, minor) = parse_number(&number).ok_or(io::ErrorKind::InvalidData)?;
            fs::create_dir_all("/dev/mapper")?;
            let mode = Mode::RUSR | Mode::WUSR;
            Ok(mknodat(rustix::fs::CWD, CONTROL, FileType::CharacterDevice, mode, makedev(major, minor))?)
        };
        make().context("make the device node", CONTROL)?;
    }
    rustix::fs::open(CONTROL, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).context("open", CONTROL)
}

fn parse_number(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The bytes of one target that covers the whole device, with its parameters.
fn target(kind: &str, sectors: u64, parameters: &str) -> Vec<u8> {
    let mut bytes = vec![0; (TARGET_LEN + parameters.len() + 1).next_multiple_of(8)];
    put(&mut bytes, 8, &sectors.to_ne_bytes());
    put(&mut bytes, 24, kind.as_bytes());
    put(&mut bytes, TARGET_LEN, parameters.as_bytes());
    bytes
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn request(name: &str, payload: &[u8]) -> io::Result<Vec<u8>> {
    if name.len() >= header::NAME_LEN {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = vec![0; header::LEN];
    put(&mut bytes, header::VERSION, &4u32.to_ne_bytes());
    put(&mut bytes, header::DATA_SIZE, &((header::LEN + payload.len()) as u32).to_ne_bytes());
    put(&mut bytes, header::DATA_START, &(header::LEN as u32).to_ne_bytes());
    put(&mut bytes, header::TARGET_COUNT, &u32::from(!payload.is_empty()).to_ne_bytes());
    put(&mut bytes, header::NAME, name.as_bytes());
    bytes.extend_from_slice(payload);
    Ok(bytes)
}

/// The minor number in a reply (the kernel's "huge" encoding: 12 bits of major amid the minor's 20).
fn minor(reply: &[u8]) -> io::Result<u64> {
    let field = reply.get(header::DEV..header::DEV + 8).and_then(|bytes| bytes.try_into().ok());
    let dev = field.map(u64::from_ne_bytes).ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((dev & 0xff) | ((dev >> 12) & 0xf_ff00))
}

fn ioctl(control: &OwnedFd, command: u32, name: &str, payload: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = request(name, payload)?;
    // _IOWR(0xfd, command, struct dm_ioctl)
    let code = (3u32 << 30) | ((header::LEN as u32) << 16) | (0xfd << 8) | command;
    // SAFETY: the kernel reads and writes at most `data_size` bytes, which is the length of `bytes`, and
    // copies byte-wise.
    #[allow(unsafe_code, reason = "device-mapper has no safe wrapper")]
    let result = unsafe { libc::ioctl(control.as_raw_fd(), code as libc::Ioctl, bytes.as_mut_ptr()) };
    if result == 0 { Ok(bytes) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_kernels_layout() {
        let payload = target("snapshot", 2048, "254:0 254:16 P 64");
        assert_eq!(payload.len() % 8, 0);
        assert_eq!(&payload[8..16], 2048u64.to_ne_bytes());
        assert_eq!(&payload[24..33], b"snapshot\0");
        assert_eq!(&payload[40..58], b"254:0 254:16 P 64\0");
        let bytes = request("root", &payload).unwrap();
        assert_eq!(bytes.len(), header::LEN + payload.len());
        assert_eq!(&bytes[12..16], (bytes.len() as u32).to_ne_bytes());
        assert_eq!(&bytes[48..53], b"root\0");
        assert!(request(&"x".repeat(128), &[]).is_err());
    }

    #[test]
    fn device_numbers_are_decoded() {
        let mut reply = vec![0; header::LEN];
        put(&mut reply, header::DEV, &0x0010_fd02u64.to_ne_bytes());
        assert_eq!(minor(&reply).unwrap(), 0x102);
        assert!(minor(&[]).is_err());
        assert_eq!(parse_number("10:236\n"), Some((10, 236)));
        assert_eq!(parse_number("10"), None);
    }
}
