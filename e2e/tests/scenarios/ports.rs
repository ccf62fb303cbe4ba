use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use banger_api::ports::{Listener, Protocol, Service, VmPorts};
use e2e::{Home, eventually, until};

const SCRIPT: &str = include_str!("ports/listeners.py");

/// A port that nobody has at the moment.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(100))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(100))).unwrap();
    stream
}

/// The answer of the guest's server of pages.
fn page(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn ports(home: &Home) -> VmPorts {
    let told = home.banger("vm ports --json a").ok();
    serde_json::from_slice(&told.out).unwrap_or_else(|error| panic!("{error} in {told}"))
}

fn listener(ports: &VmPorts, port: u16) -> &Listener {
    ports
        .listeners
        .iter()
        .find(|listener| listener.port == port)
        .unwrap_or_else(|| panic!("nobody on {port}: {} listeners", ports.listeners.len()))
}

/// Asks banger's name server for the address of a name.
fn resolve(dns: u16, name: &str) -> Option<Ipv4Addr> {
    let mut query = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0".to_vec();
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend(label.as_bytes());
    }
    query.extend(b"\0\0\x01\0\x01");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.send_to(&query, ("127.0.0.1", dns)).unwrap();
    let mut answer = [0; 512];
    let len = socket.recv(&mut answer).unwrap();
    let address: Option<[u8; 4]> = answer[..len].last_chunk().copied().filter(|_| answer[7] == 1);
    address.map(Ipv4Addr::from)
}

/// One VM for all of it: what is told, what is forwarded and how, and what is left when the daemon or the VM
/// goes.
#[test]
fn what_listens_in_a_vm_is_told_and_can_be_reached() {
    let (home, dns, published) = (Home::golden(), free_port(), free_port());
    let config = std::fs::read_to_string(home.root().join("config/banger/config.toml")).unwrap();
    home.configure(&format!("{config}[dns]\nlisten = \"127.0.0.1:{dns}\"\n"));
    home.banger("vm create --start --auto --name a").args(["-p", &format!("{published}:8000")]).ok();
    std::fs::write(home.root().join("listeners.py"), SCRIPT).unwrap();
    home.banger("cp listeners.py a:/root/").ok();
    home.sh("a", "setsid python3 /root/listeners.py >/root/log 2>&1 </dev/null & while ! grep -q up /root/log; do sleep 0.1; done");

    what_is_told(&home, published);
    what_is_forwarded_by_itself(&home, dns);
    a_port_that_is_taken(&home, published);
    what_is_forwarded_on_demand(&home);
    what_comes_back(&home, published);
}

fn what_is_told(home: &Home, published: u16) {
    let start = Instant::now();
    let told = ports(home);
    // About 1 s; a busy machine may take its time.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(told.listeners.len() >= 208 && !told.truncated, "{}", told.listeners.len());
    let process = listener(&told, 8000).process.as_deref().unwrap();
    assert_eq!(process, "ev\u{1b}[31mil");
    assert!(told.listeners.iter().all(|listener| listener.pid.is_some()));
    for (port, service, loopback_only) in [
        (80, Some(Service::Http), true),
        (8000, Some(Service::Http), false),
        (8001, Some(Service::Http), true),
        (8443, Some(Service::Https), false),
        (2222, Some(Service::Ssh), false),
        (9000, None, true),
        (20000, None, false),
        (20199, None, false),
    ] {
        let found = listener(&told, port);
        assert_eq!((found.service, found.loopback_only), (service, loopback_only), "{found:?}");
    }
    assert_eq!(listener(&told, 8000).addresses.len(), 2);
    assert_eq!(listener(&told, 8000).endpoint, format!("http://127.0.0.1:{published}"));
    assert_eq!(listener(&told, 8001).addresses, ["::1".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(listener(&told, 5353).protocol, Protocol::Udp);
    let table = home.banger("vm ports a").ok();
    assert!(!table.out.contains(&0x1b) && table.text().contains("ev\\u{1b}[31mil"), "{table}");
}

fn what_is_forwarded_by_itself(home: &Home, dns: u16) {
    let told = ports(home);
    let listener_of_names = home.daemon().dns.unwrap();
    assert_eq!((listener_of_names.address.port(), listener_of_names.unavailable), (dns, None));
    let own = resolve(dns, "A.vm").unwrap();
    assert!(own.is_loopback() && own.octets()[1] >= 64, "{own}");
    assert_eq!(resolve(dns, "b.vm"), None);
    // The second choice of port 80 is used where the first needs a privilege.
    for port in [80, 8001] {
        let [address] = listener(&told, port).forwarded[..] else { panic!("{:?}", listener(&told, port)) };
        assert!(address.ip() == own && [port, 10000 + port].contains(&address.port()), "{address}");
        assert!(page(address).unwrap().ends_with("hello\n"));
    }
    let late = SocketAddr::from((own, 7777));
    let listening = "import socket, time; s = socket.create_server(('127.0.0.1', 7777)); time.sleep(1000)";
    home.sh(
        "a",
        &format!("setsid python3 -c \"{listening}\" >/dev/null 2>&1 </dev/null & echo $! > /root/late"),
    );
    until("a new port is forwarded", Duration::from_secs(5), || TcpStream::connect(late).is_ok());
    home.sh("a", "kill $(cat /root/late)");
    until("a port that is gone is not", Duration::from_secs(5), || TcpStream::connect(late).is_err());
}

fn a_port_that_is_taken(home: &Home, published: u16) {
    let taken = format!("{published}:80");
    let refused = home.banger("vm forward a").args([&taken]).fails_with(4);
    refused.says("is forwarded to VM \"a\" already");
    // Before anything is made.
    home.banger("vm create --start --name b").args(["-p", &taken]).fails_with(4).says("VM \"a\"");
    assert_eq!(home.vms().len(), 1);
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("{}:80", other.local_addr().unwrap().port());
    home.banger("vm forward a").args([&taken]).fails_with(4).says("ss -ltnp");
}

fn what_is_forwarded_on_demand(home: &Home) {
    let mut forward = home.banger("vm forward a 0:9000 0:9001 0:7").start();
    forward.wait_for("a:7\n");
    let told = ports(home);
    let echo = *listener(&told, 9000).forwarded.first().unwrap();
    let stalled = *listener(&told, 9001).forwarded.first().unwrap();
    let mut reader = connect(stalled);
    reader.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    while reader.write_all(&[0; 65536]).is_ok() {}

    much_goes_both_ways(echo, 100 << 20);

    let many: Vec<_> = (0..200).map(|_| connect(echo)).collect();
    for (number, mut stream) in many.iter().enumerate() {
        stream.write_all(&[number as u8; 3000]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    }
    for (number, mut stream) in many.iter().enumerate() {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        assert_eq!(all, [number as u8; 3000]);
    }

    // Nobody listens there: closed at once, and said once.
    let port_7 = told_address(&forward, "a:7");
    for _ in 0..3 {
        assert!(connect(port_7).read(&mut [0]).map_or(true, |len| len == 0));
    }
    forward.wait_for_stderr("nothing listens on port 7");
    forward.signal(rustix::process::Signal::INT);
    let ended = forward.finish(Duration::from_secs(10));
    assert_eq!((ended.code, ended.err.matches("nothing listens on port 7").count()), (130, 1), "{ended}");
    until("the port is free again", Duration::from_secs(5), || TcpListener::bind(echo).is_ok());
}

/// The address in the line `ADDRESS -> TARGET`.
fn told_address(forward: &e2e::Running, target: &str) -> SocketAddr {
    let said = forward.out_text();
    let line =
        said.lines().find(|line| line.ends_with(&format!("-> {target}"))).unwrap_or_else(|| panic!("{said}"));
    line.split(' ').next().unwrap().parse().unwrap()
}

fn much_goes_both_ways(echo: SocketAddr, len: usize) {
    // Twice the same, so that the bytes from any place in it on are one slice. Its length is prime.
    const PERIOD: usize = 65521;
    let pattern: Vec<u8> =
        (0..2 * PERIOD).map(|at| (at % PERIOD / 251) as u8 ^ (at % PERIOD) as u8).collect();
    let expected = pattern.clone();
    let mut from = connect(echo);
    let mut to = from.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        let mut at = 0;
        while at < len {
            let piece = PERIOD.min(len - at);
            to.write_all(&pattern[at % PERIOD..][..piece]).unwrap();
            at += piece;
        }
        to.shutdown(Shutdown::Write).unwrap();
    });
    let (mut at, mut piece) = (0, vec![0; PERIOD]);
    loop {
        let got = from.read(&mut piece).unwrap();
        if got == 0 {
            break;
        }
        assert!(piece[..got] == expected[at % PERIOD..][..got], "near {at}");
        at += got;
    }
    sending.join().unwrap();
    assert_eq!(at, len);
}

fn what_comes_back(home: &Home, published: u16) {
    let address = SocketAddr::from(([127, 0, 0, 1], published));
    home.kill_daemon();
    assert!(TcpStream::connect(address).is_err());
    home.banger("daemon start").ok();
    let answer = eventually("it is forwarded again", Duration::from_secs(10), || page(address));
    assert!(answer.ends_with("hello\n"));
    let mut forward = home.banger("vm forward a --auto 0:8000").start();
    // The others are forwarded again as well, and told to whoever asks.
    forward.wait_for("-> a:8001\n");
    home.banger("vm kill a").ok();
    forward.finish(Duration::from_secs(10)).says("VM \"a\" is stopp");
    assert!(TcpStream::connect(address).is_err());
}
