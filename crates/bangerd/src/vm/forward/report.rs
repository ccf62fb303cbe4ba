//! What listens in a guest, in the API's words (pure).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use banger_api::ports::{Listener, Protocol, Service, VmPorts};
use banger_guest_protocol::ports as guest;

use super::forwards::Endpoint;
use crate::identity::loopback_address;
use crate::vm::VmView;

/// What the guest says, with the way from the host to it. `named`: programs on this host find `NAME.vm`.
pub fn report(view: &VmView, ports: guest::Ports, named: bool) -> VmPorts {
    let endpoints = view.running.as_ref().map(|running| running.forwards.endpoints()).unwrap_or_default();
    let host =
        Host { vm: view.row.name.as_str(), named: named.then(|| loopback_address(&view.row.id)), endpoints };
    let listeners = ports.listeners.into_iter().map(|listener| describe(&host, listener));
    VmPorts { listeners: listeners.collect(), truncated: ports.truncated }
}

/// How the host sees the VM.
struct Host<'a> {
    vm: &'a str,
    /// What the VM's name resolves to, where it does.
    named: Option<Ipv4Addr>,
    endpoints: Vec<Endpoint>,
}

impl Host<'_> {
    /// An address to connect to: nobody can to one that means all.
    fn reachable(&self, address: SocketAddr) -> String {
        let (vm, port) = (self.vm, address.port());
        match address.ip() {
            IpAddr::V4(ip) if Some(ip) == self.named => format!("{vm}.vm:{port}"),
            IpAddr::V4(ip) if ip.is_unspecified() => format!("127.0.0.1:{port}"),
            IpAddr::V6(ip) if ip.is_unspecified() => format!("[::1]:{port}"),
            _ => address.to_string(),
        }
    }
}

fn describe(host: &Host<'_>, listener: guest::Listener) -> Listener {
    let guest::Listener { protocol, port, addresses, service, process } = listener;
    let protocol = match protocol {
        guest::Protocol::Tcp => Protocol::Tcp,
        guest::Protocol::Udp => Protocol::Udp,
    };
    let service = match service {
        Some(guest::Service::Https) => Some(Service::Https),
        Some(guest::Service::Http) => Some(Service::Http),
        Some(guest::Service::Ssh) => Some(Service::Ssh),
        Some(guest::Service::Other) | None => None,
    };
    let leads_there = |endpoint: &&Endpoint| protocol == Protocol::Tcp && endpoint.guest == port;
    let forwarded: Vec<SocketAddr> =
        host.endpoints.iter().filter(leads_there).map(|endpoint| endpoint.address).collect();
    let at = forwarded
        .first()
        .map_or_else(|| format!("{}.vm:{port}", host.vm), |address| host.reachable(*address));
    let (pid, process, command) = match process {
        Some(guest::Process { pid, name, command }) => (Some(pid), Some(name), Some(command)),
        None => (None, None, None),
    };
    Listener {
        protocol,
        port,
        loopback_only: !addresses.is_empty() && addresses.iter().all(IpAddr::is_loopback),
        addresses,
        service,
        pid,
        process,
        command,
        endpoint: match service {
            Some(Service::Https) => format!("https://{at}"),
            Some(Service::Http) => format!("http://{at}"),
            Some(Service::Ssh) | None => at,
        },
        forwarded,
    }
}

#[cfg(test)]
mod tests {
    use super::super::forwards::Kind;
    use super::*;

    fn told(service: Option<guest::Service>, address: &str, endpoints: &[Endpoint]) -> (String, bool) {
        let listener = guest::Listener {
            protocol: guest::Protocol::Tcp,
            port: 80,
            addresses: vec![address.parse().unwrap()],
            service,
            process: None,
        };
        let named = Some(Ipv4Addr::new(127, 93, 1, 3));
        let told = describe(&Host { vm: "brave-otter", named, endpoints: endpoints.to_vec() }, listener);
        (told.endpoint, told.loopback_only)
    }

    #[test]
    fn an_endpoint_is_what_works_from_the_host() {
        let at = |address: &str, guest, kind| Endpoint { address: address.parse().unwrap(), guest, kind };
        let http = Some(guest::Service::Http);
        assert_eq!(told(http, "0.0.0.0", &[]), ("http://brave-otter.vm:80".into(), false));
        assert_eq!(told(None, "::1", &[]), ("brave-otter.vm:80".into(), true));
        let others = [at("127.0.0.1:8081", 81, Kind::Published)];
        assert_eq!(told(http, "127.0.0.1", &others), ("http://brave-otter.vm:80".into(), true));
        let forwarded = [at("127.93.1.2:10080", 80, Kind::Auto)];
        assert_eq!(told(http, "::", &forwarded).0, "http://127.93.1.2:10080");
        let named = [at("127.93.1.3:80", 80, Kind::Auto)];
        assert_eq!(told(http, "::", &named).0, "http://brave-otter.vm:80");
        let public = [at("0.0.0.0:8443", 80, Kind::Published)];
        assert_eq!(told(Some(guest::Service::Https), "::", &public).0, "https://127.0.0.1:8443");
    }
}
