//! Loopback, and the interface to the gateway with a static address, by the classic interface ioctls.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use banger_guest_protocol::messages::Network;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::system_error::{Context, SystemError};
use crate::{console, flows};

/// Far more addresses than an interface has.
const ADDRESSES_MAX: usize = 1000;

/// What programs expect a machine's network to be called.
const INTERFACE: &str = "eth0";

/// Brings up loopback, and the interface to the gateway when there shall be a network; answers its name. A
/// kernel that cannot have one is a warning: the VM is of use without.
///
/// # Errors
///
/// The step that failed, and on which interface.
pub(super) fn bring_up(
    network: Option<&Network>,
    root: &Path,
    warnings: &mut Vec<String>,
) -> Result<Option<&'static str>, SystemError> {
    let socket = interface_socket()?;
    // The kernel gives loopback its addresses by itself.
    set_flag_up(&socket, "lo", true).context("bring up the interface", "lo")?;
    // Lets every group use ping without a set-uid program.
    let _older_kernels_lack_it = fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647\n");
    match network {
        Some(network) => connect(&socket, network, root, warnings),
        None => Ok(None),
    }
}

/// Gives the interface of a guest that runs another IPv4 address; without a network it loses the one it has,
/// and goes down.
///
/// # Errors
///
/// The step that failed, and on which interface.
pub(super) fn replace(
    network: Option<&Network>,
    warnings: &mut Vec<String>,
) -> Result<Option<&'static str>, SystemError> {
    let socket = interface_socket()?;
    if exists() {
        remove_addresses(&socket, INTERFACE).context("remove the address of", INTERFACE)?;
    }
    let Some(network) = network else {
        if exists() {
            set_flag_up(&socket, INTERFACE, false).context("take down the interface", INTERFACE)?;
        }
        return Ok(None);
    };
    remove_default_routes(&socket).context("remove the default route of", INTERFACE)?;
    connect(&socket, network, Path::new("/"), warnings)
}

fn exists() -> bool {
    Path::new("/sys/class/net").join(INTERFACE).exists()
}

fn connect(
    socket: &OwnedFd,
    network: &Network,
    root: &Path,
    warnings: &mut Vec<String>,
) -> Result<Option<&'static str>, SystemError> {
    if !exists()
        && let Err(error) = flows::begin(root, INTERFACE)
    {
        warnings.push(format!("there is no network: {}", console::one_line(&error)));
        return Ok(None);
    }
    set_network(socket, INTERFACE, network)?;
    Ok(Some(INTERFACE))
}

fn set_network(socket: &OwnedFd, name: &str, network: &Network) -> Result<(), SystemError> {
    set_address(socket, name, libc::SIOCSIFADDR, network.address)
        .context("set the address", format_args!("{} on {name}", network.address))?;
    set_address(socket, name, libc::SIOCSIFNETMASK, netmask(network.prefix_len))
        .context("set the prefix length", format_args!("{} on {name}", network.prefix_len))?;
    // There is no IPv6 here: without an address of its kind nobody tries it.
    let _older_kernels_lack_it = fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1\n");
    set_mtu(socket, name, flows::MTU).context("set the largest packet of", name)?;
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

fn netmask(prefix_len: u8) -> Ipv4Addr {
    let host_bits = 32u32.saturating_sub(u32::from(prefix_len));
    Ipv4Addr::from_bits(u32::MAX.checked_shl(host_bits).unwrap_or(0))
}

#[allow(unsafe_code, reason = "zeroes are a valid ifreq: integers and a union of them")]
pub(crate) fn interface_request(name: &str) -> io::Result<libc::ifreq> {
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

fn set_mtu(socket: &OwnedFd, name: &str, mtu: usize) -> io::Result<()> {
    let mut request = interface_request(name)?;
    request.ifr_ifru.ifru_mtu = mtu as libc::c_int;
    interface_ioctl(socket, libc::SIOCSIFMTU, &mut request)
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
    fn names_that_do_not_fit_are_refused() {
        assert!(interface_request("eth0").is_ok());
        assert!(interface_request("a-name-of-16-chr").is_err());
    }
}
