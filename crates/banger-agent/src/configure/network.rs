//! Loopback, and one Ethernet interface with a static address, by the classic interface ioctls.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use banger_guest_protocol::messages::Network;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::system_error::{Context, SystemError};

const APPEARANCE_TIMEOUT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Far more addresses than an interface has.
const ADDRESSES_MAX: usize = 1000;

const INTERFACES: &str = "/sys/class/net";

/// `ARPHRD_ETHER` of `/sys/class/net/*/type`.
const ETHERNET: &str = "1";

/// Brings up loopback, and the first Ethernet interface when there shall be a network; answers its name.
///
/// # Errors
///
/// The step that failed, and on which interface.
pub(super) fn bring_up(network: Option<&Network>) -> Result<Option<String>, SystemError> {
    let socket = interface_socket()?;
    // The kernel gives loopback its addresses by itself.
    set_flag_up(&socket, "lo", true).context("bring up the interface", "lo")?;
    // Lets every group use ping without a set-uid program.
    let _older_kernels_lack_it = fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647\n");
    let Some(network) = network else { return Ok(None) };
    let name = wait_for_ethernet()?;
    set_network(&socket, &name, network)?;
    Ok(Some(name))
}

/// Gives the interface of a guest that runs another IPv4 address; without a network it loses the one it has,
/// and goes down.
///
/// # Errors
///
/// The step that failed, and on which interface.
pub(super) fn replace(network: Option<&Network>) -> Result<Option<String>, SystemError> {
    let socket = interface_socket()?;
    let Some(network) = network else {
        if let Some(name) = find_ethernet(Path::new(INTERFACES)) {
            remove_addresses(&socket, &name).context("remove the address of", &name)?;
            set_flag_up(&socket, &name, false).context("take down the interface", name)?;
        }
        return Ok(None);
    };
    let name = wait_for_ethernet()?;
    remove_addresses(&socket, &name).context("remove the address of", &name)?;
    remove_default_routes(&socket).context("remove the default route of", &name)?;
    set_network(&socket, &name, network)?;
    Ok(Some(name))
}

fn set_network(socket: &OwnedFd, name: &str, network: &Network) -> Result<(), SystemError> {
    set_address(socket, name, libc::SIOCSIFADDR, network.address)
        .context("set the address", format_args!("{} on {name}", network.address))?;
    set_address(socket, name, libc::SIOCSIFNETMASK, netmask(network.prefix_len))
        .context("set the prefix length", format_args!("{} on {name}", network.prefix_len))?;
    set_flag_up(socket, name, true).context("bring up the interface", name)?;
    add_default_route(socket, network.gateway)
        .context("add the default route via", format_args!("{} on {name}", network.gateway))
}

/// With the last address go the routes over the interface.
fn remove_addresses(socket: &OwnedFd, name: &str) -> io::Result<()> {
    for _ in 0..ADDRESSES_MAX {
        match interface_ioctl(socket, libc::SIOCGIFADDR, &mut interface_request(name)?) {
            Ok(()) => set_address(socket, name, libc::SIOCSIFADDR, Ipv4Addr::UNSPECIFIED)?,
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("there is no end to them"))
}

fn interface_socket() -> Result<OwnedFd, SystemError> {
    socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .context("open", "a socket for interface settings")
}

fn wait_for_ethernet() -> Result<String, SystemError> {
    let end = Instant::now() + APPEARANCE_TIMEOUT;
    loop {
        if let Some(name) = find_ethernet(Path::new(INTERFACES)) {
            return Ok(name);
        }
        if Instant::now() > end {
            return Err(SystemError::new(
                "find",
                "an Ethernet interface",
                io::Error::from(io::ErrorKind::NotFound),
            ));
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// The first Ethernet interface that belongs to a device, by name.
fn find_ethernet(class: &Path) -> Option<String> {
    let mut names: Vec<String> = fs::read_dir(class)
        .ok()?
        .flatten()
        .filter(|entry| {
            let kind = fs::read_to_string(entry.path().join("type"));
            entry.path().join("device").exists() && kind.is_ok_and(|kind| kind.trim() == ETHERNET)
        })
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names.into_iter().next()
}

fn netmask(prefix_len: u8) -> Ipv4Addr {
    let host_bits = 32u32.saturating_sub(u32::from(prefix_len));
    Ipv4Addr::from_bits(u32::MAX.checked_shl(host_bits).unwrap_or(0))
}

#[allow(unsafe_code, reason = "zeroes are a valid ifreq: integers and a union of them")]
fn interface_request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: see the reason above.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    // struct sockaddr_in inside a sockaddr: port (2 bytes), address (4), zeroes.
    let mut data = [0; 14];
    for (to, from) in data[2..6].iter_mut().zip(address.octets()) {
        *to = from.cast_signed();
    }
    libc::sockaddr { sa_family: libc::AF_INET as libc::sa_family_t, sa_data: data }
}

fn set_address(socket: &OwnedFd, name: &str, code: libc::c_ulong, address: Ipv4Addr) -> io::Result<()> {
    let mut request = interface_request(name)?;
    request.ifr_ifru.ifru_addr = socket_address(address);
    interface_ioctl(socket, code, &mut request)
}

fn set_flag_up(socket: &OwnedFd, name: &str, up: bool) -> io::Result<()> {
    let mut request = interface_request(name)?;
    interface_ioctl(socket, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: the kernel has just written this field of the union, and any bits are a valid integer.
    #[allow(unsafe_code, reason = "the fields of a union can only be read so")]
    let present = unsafe { request.ifr_ifru.ifru_flags };
    // What is not set here is unset, multicast for one.
    let flag = libc::IFF_UP as i16;
    request.ifr_ifru.ifru_flags = if up { present | flag } else { present & !flag };
    interface_ioctl(socket, libc::SIOCSIFFLAGS, &mut request)
}

fn interface_ioctl(socket: &OwnedFd, code: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: all codes used here take an ifreq, which lives through the call.
    #[allow(unsafe_code, reason = "rustix has no interface ioctls")]
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), code as libc::Ioctl, std::ptr::from_mut(request)) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn add_default_route(socket: &OwnedFd, gateway: Ipv4Addr) -> io::Result<()> {
    let mut route = default_route();
    route.rt_gateway = socket_address(gateway);
    route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
    route_ioctl(socket, libc::SIOCADDRT, &route)
}

/// Removes all there are, whatever they lead over: the new one is the only one then.
fn remove_default_routes(socket: &OwnedFd) -> io::Result<()> {
    loop {
        match route_ioctl(socket, libc::SIOCDELRT, &default_route()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

#[allow(unsafe_code, reason = "zeroes are a valid rtentry: integers and null pointers")]
fn default_route() -> libc::rtentry {
    // SAFETY: see the reason above.
    let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
    route.rt_dst = socket_address(Ipv4Addr::UNSPECIFIED);
    route.rt_genmask = socket_address(Ipv4Addr::UNSPECIFIED);
    route
}

fn route_ioctl(socket: &OwnedFd, code: libc::c_ulong, route: &libc::rtentry) -> io::Result<()> {
    // SAFETY: both codes used here take an rtentry, which lives through the call.
    #[allow(unsafe_code, reason = "rustix has no route ioctl")]
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), code as libc::Ioctl, std::ptr::from_ref(route)) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn netmasks_of_all_lengths() {
        let expect = [
            (0, "0.0.0.0"),
            (8, "255.0.0.0"),
            (30, "255.255.255.252"),
            (32, "255.255.255.255"),
            (99, "255.255.255.255"),
        ];
        for (len, mask) in expect {
            assert_eq!(netmask(len).to_string(), mask);
        }
    }

    #[test]
    fn loopback_is_no_ethernet() {
        let class = tempfile::tempdir().unwrap();
        for (name, kind, device) in [("lo", "772", false), ("dummy0", "1", false), ("eth0", "1", true)] {
            fs::create_dir(class.path().join(name)).unwrap();
            fs::write(class.path().join(name).join("type"), format!("{kind}\n")).unwrap();
            if device {
                fs::create_dir(class.path().join(name).join("device")).unwrap();
            }
        }
        assert_eq!(find_ethernet(class.path()).as_deref(), Some("eth0"));
    }

    #[test]
    fn names_that_do_not_fit_are_refused() {
        assert!(interface_request("eth0").is_ok());
        assert!(interface_request("a-name-of-16-chr").is_err());
    }
}
