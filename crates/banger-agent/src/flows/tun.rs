//! The TUN: the guest's end of its network.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::connection::PacketSink;
use crate::system_error::{Context as _, SystemError};

/// The largest packet there is: the fewer there are, the less work. Programs never see the difference.
pub(crate) const MTU: usize = 65_535;

const DEVICE: &str = "/dev/net/tun";

/// `struct virtio_net_hdr`, before each packet: the kernel leaves the checksums of what it sends to us, who
/// need none, and we leave ours to it, which checks none of what says so.
const HEADER_LEN: usize = 10;
/// More than the headers of any packet that is made here.
const HEADERS_MAX_LEN: usize = 256;

const NEEDS_CHECKSUM: u8 = 1;

/// `_IOW('T', 202, int)`, `_IOW('T', 208, unsigned int)` and the flags of `linux/if_tun.h`.
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const TUNSETOFFLOAD: libc::c_ulong = 0x4004_54d0;
const IFF_TUN: i16 = 1;
const IFF_NO_PI: i16 = 0x1000;
const IFF_VNET_HDR: i16 = 0x4000;
const TUN_F_CSUM: libc::c_ulong = 1;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// An open TUN.
#[derive(Debug)]
pub(super) struct Tun {
    fd: OwnedFd,
    outgoing: Vec<u8>,
    /// How much of it the packet takes that is being made.
    outgoing_len: usize,
    /// Where the next packet is read to.
    incoming: Vec<u8>,
}

/// A packet from the guest's kernel.
#[derive(Debug)]
pub(super) struct Received {
    buffer: Vec<u8>,
    len: usize,
}

impl std::ops::Deref for Received {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[HEADER_LEN..self.len]
    }
}

impl Tun {
    /// Makes the interface.
    ///
    /// # Errors
    ///
    /// When the kernel has no TUN driver, or an interface of that name.
    pub(super) fn create(name: &str) -> Result<Self, SystemError> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(DEVICE, flags, Mode::empty()).context("open", DEVICE)?;
        attach(&fd, name).context("make the interface", name)?;
        Ok(Self {
            fd,
            outgoing: vec![0; HEADER_LEN + MTU],
            outgoing_len: 0,
            incoming: vec![0; HEADER_LEN + MTU],
        })
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// The next packet that the guest's kernel sends; none when there is none now.
    pub(super) fn receive(&mut self) -> io::Result<Option<Received>> {
        let mut buffer = std::mem::take(&mut self.incoming);
        if buffer.is_empty() {
            buffer = vec![0; HEADER_LEN + MTU];
        }
        match retry_on_intr(|| rustix::io::read(&self.fd, &mut buffer)) {
            Ok(len) => Ok(Some(Received { buffer, len: len.max(HEADER_LEN) })),
            Err(error) => {
                self.incoming = buffer;
                // An interface that is down has nothing to say.
                let nothing = matches!(error, Errno::AGAIN | Errno::NETDOWN | Errno::IO);
                if nothing { Ok(None) } else { Err(error.into()) }
            }
        }
    }

    /// Takes the packet's memory back for the next one.
    pub(super) fn recycle(&mut self, packet: Received) {
        self.incoming = packet.buffer;
    }
}

fn attach(fd: &OwnedFd, name: &str) -> io::Result<()> {
    let mut request = crate::configure::interface_request(name)?;
    request.ifr_ifru.ifru_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
    #[allow(unsafe_code, reason = "rustix has no ioctls for TUNs")]
    // SAFETY: the first takes an ifreq, which lives through the call, the second a number.
    let results = unsafe {
        let made = libc::ioctl(fd.as_raw_fd(), TUNSETIFF as libc::Ioctl, std::ptr::from_mut(&mut request));
        if made != 0 {
            return Err(io::Error::last_os_error());
        }
        libc::ioctl(fd.as_raw_fd(), TUNSETOFFLOAD as libc::Ioctl, TUN_F_CSUM)
    };
    if results == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl PacketSink for Tun {
    fn packet(&mut self, len: usize) -> &mut [u8] {
        self.outgoing_len = HEADER_LEN + len;
        let packet = &mut self.outgoing[HEADER_LEN..self.outgoing_len];
        // The data behind the headers is written over whole.
        let headers = len.min(HEADERS_MAX_LEN);
        packet[..headers].fill(0);
        packet
    }

    fn send(&mut self) {
        let (header, packet) = self.outgoing[..self.outgoing_len].split_at_mut(HEADER_LEN);
        header.fill(0);
        leave_checksum_to_kernel(header, packet);
        // A packet that the kernel does not take, because the interface is down, is lost: packets may be.
        let _lost = retry_on_intr(|| rustix::io::write(&self.fd, &self.outgoing[..self.outgoing_len]));
    }
}

/// Has the kernel fill in the checksum if the packet ever leaves its memory, and believe it until then.
fn leave_checksum_to_kernel(header: &mut [u8], packet: &mut [u8]) {
    if packet.len() < 20 || packet[0] >> 4 != 4 {
        return;
    }
    let start = usize::from(packet[0] & 0xf) * 4;
    let offset = match packet[9] {
        TCP => 16,
        UDP => 6,
        _ => return,
    };
    if packet.len() < start + offset + 2 {
        return;
    }
    // What the kernel then adds the rest to: the addresses, the protocol and the length.
    let addresses =
        packet[12..20].chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum = addresses.sum::<u32>() + u32::from(packet[9]) + (packet.len() - start) as u32;
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = ((sum & 0xffff) + (sum >> 16)) as u16;
    packet[start + offset..start + offset + 2].copy_from_slice(&sum.to_be_bytes());
    header[0] = NEEDS_CHECKSUM;
    header[6..8].copy_from_slice(&(start as u16).to_ne_bytes());
    header[8..10].copy_from_slice(&(offset as u16).to_ne_bytes());
}
