//! A host and a world of its own for it: two network namespaces with one wire between them.
//!
//! In the first one banger runs, daemon, gateways and VMMs included. In the second one are addresses of every
//! kind, with real servers behind them ([`servers`](crate::servers)). Names are those of an `/etc/hosts` that
//! only the first one sees. Everything that goes over the wire or over the host's loopback is noted.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::home::Home;
use crate::run::Running;
use crate::servers::Servers;
use crate::wait::until;
use crate::wire;

/// Sets both up. `$WORLD` is a process of the second one. The host's resolver knows names of `/etc/hosts`
/// only.
const SET_UP: &str = r#"
set -eu
in_world() { nsenter "--net=/proc/$WORLD/ns/net" ip "$@"; }
ip link set lo up
ip link add wire0 type veth peer name wire1 netns "$WORLD"
in_world link set lo up
in_world link set wire1 up
ip link set wire0 up
for address in $OWN; do ip address add "$address" dev wire0; done
for address in $OWN6; do ip address add "$address" dev wire0 nodad; done
for address in $FOREIGN; do in_world address add "$address" dev wire1; done
for address in $FOREIGN6; do in_world address add "$address" dev wire1 nodad; done
ip route add default via 44.0.0.2
ip -6 route add default via 2a00:44::2
echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range
mount --bind "$HOME/hosts" /etc/hosts
echo 'hosts: files' > "$HOME/nsswitch.conf"
mount --bind "$HOME/nsswitch.conf" /etc/nsswitch.conf
exec "$@"
"#;

/// Addresses of the host itself.
const OWN: &str = "44.0.0.1/24 10.9.0.1/24";
const OWN6: &str = "2a00:44::1/64 fd44::1/64";

/// Addresses of the world: public, private, carrier's, metadata, documentation, future use.
const FOREIGN: &str = "44.0.0.2/24 44.0.0.3/24 10.9.0.2/24 192.168.77.2/32 172.16.5.2/32 100.64.0.2/32 \
    169.254.169.254/32 168.63.129.16/32 100.100.100.200/32 203.0.113.9/32";
/// The same, and addresses with 10.9.0.2 inside. (IPv4-mapped ones need none: the kernel dials IPv4 then.)
const FOREIGN6: &str = "2a00:44::2/64 fd44::2/64 fd00:ec2::254/128 64:ff9b::a09:2/128 2002:a09:2::1/128";

/// Both namespaces, their servers, and what was sent. They last as long as this value.
pub struct World {
    host: Running,
    world: Running,
    servers: Servers,
    sent: Arc<Mutex<BTreeSet<String>>>,
}

impl World {
    /// For `home`, with these lines in the host's `/etc/hosts`.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    #[track_caller]
    pub fn new(home: &Home, hosts: &str) -> Self {
        std::fs::write(home.root().join("hosts"), hosts).expect("a file of names");
        let sleep = || home.program("/bin/sleep").args(["1800"]);
        let world = sleep().under(&["unshare", "--net"]).start();
        wait_for_sleep(&world);
        let host = sleep()
            .env("WORLD", world.pid().to_string())
            .env("OWN", OWN)
            .env("OWN6", OWN6)
            .env("FOREIGN", FOREIGN)
            .env("FOREIGN6", FOREIGN6)
            .under(&["unshare", "--mount", "--net", "sh", "-c", SET_UP, "sh"])
            .start();
        wait_for_sleep(&host);
        let sent = Arc::<Mutex<BTreeSet<String>>>::default();
        let socket = within(&host, wire::listen).expect("a look at every packet takes root");
        wire::watch(socket, &sent);
        let servers = Servers::new(|bind| within(&host, bind), |bind| within(&world, bind));
        Self { host, world, servers, sent }
    }

    /// What enters the host, for [`Home::under`].
    pub fn entry(&self) -> [String; 2] {
        ["net", "mnt"].map(|kind| {
            let option = if kind == "net" { "net" } else { "mount" };
            format!("--{option}=/proc/{}/ns/{kind}", self.host.pid())
        })
    }

    /// What enters the world, for [`Run::under`](crate::Run::under).
    pub fn entry_of_world(&self) -> String {
        format!("--net=/proc/{}/ns/net", self.world.pid())
    }

    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// To whom anything was sent from the host so far, be it the host itself: `tcp ADDRESS PORT`,
    /// `udp ADDRESS PORT`, `icmp ADDRESS`, `protocol NUMBER ADDRESS`. What servers answer does not count.
    pub fn sent(&self) -> BTreeSet<String> {
        self.sent.lock().expect("the watch does not panic").clone()
    }
}

fn wait_for_sleep(process: &Running) {
    let comm = PathBuf::from(format!("/proc/{}/comm", process.pid()));
    until("the network namespace is ready", Duration::from_secs(20), || {
        std::fs::read_to_string(&comm).is_ok_and(|name| name == "sleep\n")
    });
}

/// Makes something in the network namespace of a process. A socket stays in the one that it was made in.
fn within<T: Send>(process: &Running, make: impl FnOnce() -> T + Send) -> T {
    let namespace = File::open(format!("/proc/{}/ns/net", process.pid())).expect("the process has one");
    std::thread::scope(|scope| {
        let made = scope.spawn(|| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("entering a network namespace takes root");
            make()
        });
        made.join().expect("it can be made")
    })
}
