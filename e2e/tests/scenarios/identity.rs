//! A guest that runs is made another VM, as it is when it goes on from a snapshot. The host's side of that is
//! played by the scenario: the daemon has no need of it yet.

#[path = "../../../crates/banger-agent/tests/host/mod.rs"]
mod host;

use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use banger_guest_protocol::messages::{Blob, Identified, Identity, Network, SshHostKey, SshKeyKind};
use e2e::Home;

const HOUR_S: u64 = 3600;

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn identity(name: &str, last_octet: u8) -> Identity {
    Identity {
        hostname: name.into(),
        clock_unix_ns: (now_s() + HOUR_S) * 1_000_000_000,
        entropy_seed: Blob(vec![7; 64]),
        network: Some(Network {
            address: [198, 18, 0, last_octet].into(),
            prefix_len: 15,
            gateway: [198, 18, 0, 1].into(),
            dns_servers: vec![[198, 18, 0, 1].into()],
            dns_search: vec!["vm".into()],
        }),
        machine_id: "00000000000040008000000000000001".into(),
        authorized_key: Some(format!("ssh-ed25519 AAAA{last_octet} another")),
        ssh_host_keys: vec![SshHostKey {
            kind: SshKeyKind::Ed25519,
            private_key: Blob(b"private\n".to_vec()),
            public_key: "ssh-ed25519 BBBB host".into(),
        }],
    }
}

/// Speaks to the agent in the daemon's place, which must not run. Its socket's path may be too long for an
/// address.
fn identify(dir: &Path, identity: &Identity) -> Identified {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let opened = std::fs::File::open(dir).unwrap();
        let socket = format!("/proc/self/fd/{}/agent.sock", std::os::fd::AsRawFd::as_raw_fd(&opened));
        let stream = tokio::net::UnixStream::connect(socket).await.unwrap();
        let agent = host::Host::connect(stream).await.unwrap();
        let body = serde_json::to_vec(identity).unwrap();
        let (status, answer) = agent.request("POST", "/v1/identity", body).await.unwrap();
        assert!(status.is_success(), "{status} {}", String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).unwrap()
    })
}

#[test]
fn a_running_guest_takes_another_identity() {
    let home = Home::new();
    home.banger("vm create --start --name x --network user").ok();
    let dir = home.state().join("vms").join(home.vm("x").id);
    let own_id = home.sh("x", "cat /etc/machine-id");
    assert_eq!(own_id.len(), 32, "{own_id:?}");
    home.sh("x", "mkdir -p /etc/ssh; echo old > /etc/ssh/ssh_host_rsa_key; sleep 1000 > /dev/null 2>&1 &");

    home.banger("daemon stop").ok();
    for (name, octet) in [("second", 40), ("third", 41)] {
        let done = identify(&dir, &identity(name, octet));
        assert_eq!(done.warnings, Vec::<String>::new());
    }
    let said = home.sh(
        "x",
        "hostname; cat /etc/hostname /etc/machine-id; grep 127.0.1.1 /etc/hosts; \
         cat /etc/ssh/ssh_host_ed25519_key /etc/ssh/ssh_host_ed25519_key.pub; ls /etc/ssh | grep -c _key; \
         stat -c %a /etc/ssh/ssh_host_ed25519_key; cat /etc/resolv.conf; grep -c another /root/.ssh/authorized_keys",
    );
    let expected = "third\nthird\n00000000000040008000000000000001\n127.0.1.1 third\nprivate\n\
                    ssh-ed25519 BBBB host\n2\n600\nsearch vm\nnameserver 198.18.0.1\n1";
    assert_eq!(said, expected);
    let clock: u64 = home.sh("x", "date +%s").parse().unwrap();
    assert!(clock.abs_diff(now_s() + HOUR_S) < 120, "{clock}");
    assert!(home.sh("x", "ip -4 -o address show eth0").contains("198.18.0.41/15"));
    assert_eq!(home.sh("x", "ip -4 -o address show eth0 | wc -l"), "1");
    assert_eq!(home.sh("x", "ip route show default"), "default via 198.18.0.1 dev eth0");
    assert!(
        home.sh("x", "cat /root/.ssh/authorized_keys").contains("AAAA41"),
        "the second one's key is gone"
    );
    assert_eq!(home.sh("x", "pgrep -c sleep"), "1", "what ran goes on");
    assert_eq!(reach_host(&home), "reached");

    home.banger("daemon stop").ok();
    identify(&dir, &Identity { network: None, ..identity("alone", 0) });
    assert!(!home.sh("x", "ip -o link show eth0").contains(",UP"));
    assert_eq!(home.sh("x", "ip -4 -o address show eth0; cat /etc/resolv.conf"), "");
    home.banger("daemon stop").ok();
    identify(&dir, &identity("back", 42));
    assert_eq!(reach_host(&home), "reached");

    // The next start is this VM's own again.
    home.banger("vm stop x").ok();
    home.banger("vm start x").ok();
    assert_eq!(home.sh("x", "hostname; cat /etc/machine-id"), format!("x\n{own_id}"));
}

/// The guest's network leads somewhere: to a service of the host's.
fn reach_host(home: &Home) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || listener.accept().unwrap().0.write_all(b"reached\n"));
    home.banger(&format!("vm egress x --allow host:{port}")).ok();
    let script = format!("timeout 20 bash -c 'exec 3<>/dev/tcp/host.vm/{port}; head -1 <&3'");
    let said = home.sh("x", &script);
    server.join().unwrap().unwrap();
    said
}
