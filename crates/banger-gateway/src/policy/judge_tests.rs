use std::net::{IpAddr, Ipv4Addr};

use super::*;

fn policy(text: &str) -> Policy {
    text.parse().unwrap()
}

fn name(text: &str) -> Name {
    Name::from_user(text).unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The rule, or the code of the refusal.
fn tcp(text: &str, to: &str, port: u16) -> Result<String, RefusalCode> {
    let policy = policy(text);
    match to.parse::<Ipv4Addr>() {
        Ok(address) => policy.by_address(address, port, Transport::Tcp).map(|allowed| allowed.rule),
        Err(_) => policy.by_name(&name(to), port, Transport::Tcp).map(|allowed| allowed.rule),
    }
    .map_err(|refusal| refusal.code)
}

fn reach(text: &str, to: &str, port: u16) -> Reach {
    match policy(text).by_name(&name(to), port, Transport::Tcp).unwrap().destination {
        Destination::Addresses(reach) => reach,
        Destination::HostLoopback { .. } => panic!("{to} is the host"),
    }
}

fn permits(text: &str, to: &str, port: u16, at: &str) -> Result<(), RefusalCode> {
    reach(text, to, port).permits(address(at)).map_err(|refusal| refusal.code)
}

#[test]
fn names_under_each_base() {
    use RefusalCode::*;
    for (text, to, port, expected) in [
        ("internet", "github.com", 443, Ok("internet")),
        ("learn", "github.com", 22, Ok("learn")),
        ("all", "nas.lan", 445, Ok("all")),
        ("none", "github.com", 443, Err(NotListed)),
        ("github.com", "github.com", 443, Ok("github.com")),
        ("github.com", "api.github.com", 443, Err(NotListed)),
        ("*.github.com", "api.github.com", 443, Ok("*.github.com")),
        ("*.github.com", "a.b.github.com", 443, Ok("*.github.com")),
        ("*.github.com", "github.com", 443, Err(NotListed)),
        ("*.github.com", "evilgithub.com", 443, Err(NotListed)),
        ("github.com:443", "github.com", 443, Ok("github.com:443")),
        ("github.com:443", "github.com", 22, Err(PortNotListed)),
        ("@npm", "registry.npmjs.org", 443, Ok("@npm")),
        ("@npm", "npmjs.org", 443, Err(NotListed)),
        ("10.0.0.0/8", "github.com", 443, Err(NotListed)),
        ("internet,registry.lan:5000", "registry.lan", 5000, Ok("registry.lan:5000")),
        ("internet,registry.lan:5000", "registry.lan", 80, Ok("internet")),
    ] {
        assert_eq!(tcp(text, to, port), expected.map(str::to_owned), "{text}: {to}:{port}");
    }
}

#[test]
fn literal_addresses_under_each_base() {
    use RefusalCode::*;
    for (text, to, port, expected) in [
        ("internet", "8.8.8.8", 443, Ok("internet")),
        ("internet", "10.0.0.1", 443, Err(PrivateAddress)),
        ("internet", "100.64.0.1", 443, Err(PrivateAddress)),
        ("all", "10.0.0.1", 443, Ok("all")),
        ("none", "8.8.8.8", 443, Err(NotListed)),
        ("github.com", "8.8.8.8", 443, Err(NotListed)),
        ("8.8.8.8", "8.8.8.8", 443, Ok("8.8.8.8")),
        ("8.8.8.8:53", "8.8.8.8", 443, Err(PortNotListed)),
        ("10.0.0.0/8:22", "10.1.2.3", 22, Ok("10.0.0.0/8:22")),
        ("internet,192.168.1.10:5000", "192.168.1.10", 5000, Ok("192.168.1.10:5000")),
        ("internet,192.168.1.10:5000", "192.168.1.10", 80, Err(PrivateAddress)),
        ("0.0.0.0/0", "192.168.1.10", 80, Ok("0.0.0.0/0")),
    ] {
        assert_eq!(tcp(text, to, port), expected.map(str::to_owned), "{text}: {to}:{port}");
    }
}

#[test]
fn no_policy_opens_what_is_never_reached() {
    use RefusalCode::*;
    for text in ["internet", "learn", "all", "0.0.0.0/0", "all,0.0.0.0/0,::/0"] {
        for (to, code) in [
            ("127.0.0.1", LoopbackAddress),
            ("127.8.8.8", LoopbackAddress),
            ("169.254.169.254", LinkLocalAddress),
            ("168.63.129.16", MetadataAddress),
            ("0.0.0.0", UnspecifiedAddress),
            ("224.0.0.251", MulticastAddress),
            ("255.255.255.255", MulticastAddress),
            ("240.0.0.1", ReservedAddress),
            ("198.18.0.1", SyntheticAddress),
        ] {
            assert_eq!(tcp(text, to, 80), Err(code), "{text}: {to}");
        }
    }
    for text in ["internet", "all", "x.example:80", "x.example,0.0.0.0/0,::/0"] {
        for (at, code) in [
            ("127.0.0.1", LoopbackAddress),
            ("::1", LoopbackAddress),
            ("::ffff:127.0.0.1", LoopbackAddress),
            ("64:ff9b::7f00:1", LoopbackAddress),
            ("64:ff9b::a9fe:a9fe", LinkLocalAddress),
            ("fe80::1", LinkLocalAddress),
            ("fd00:ec2::254", MetadataAddress),
            ("198.18.0.1", SyntheticAddress),
            ("ff02::fb", MulticastAddress),
        ] {
            assert_eq!(permits(text, "x.example", 80, at), Err(code), "{text}: {at}");
        }
    }
}

#[test]
fn a_name_in_private_space_needs_its_port_in_the_list() {
    let refused = Err(RefusalCode::PrivateAddress);
    for at in ["10.0.0.1", "192.168.1.1", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::10.0.0.1", "2002:a00:1::1"]
    {
        for text in ["internet", "learn", "x.example", "*.example", "*.example:80", "internet,x.example"] {
            assert_eq!(permits(text, "x.example", 80, at), refused, "{text}: {at}");
        }
        for text in ["all", "x.example:80", "internet,x.example:80", "*.example,x.example:80"] {
            assert_eq!(permits(text, "x.example", 80, at), Ok(()), "{text}: {at}");
        }
    }
    assert_eq!(permits("@npm", "registry.npmjs.org", 443, "10.0.0.1"), refused);
    for at in ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"] {
        assert_eq!(permits("x.example", "x.example", 80, at), Ok(()), "{at}");
    }
}

#[test]
fn what_a_policy_lists_as_an_address_a_name_may_have() {
    for (text, at, expected) in [
        ("internet,10.0.0.0/8", "10.0.0.1", Ok(())),
        ("internet,10.0.0.0/8", "::ffff:10.0.0.1", Ok(())),
        ("internet,10.0.0.0/8", "192.168.0.1", Err(RefusalCode::PrivateAddress)),
        ("internet,10.0.0.0/8:22", "10.0.0.1", Err(RefusalCode::PrivateAddress)),
        ("internet,fd00::/8", "fd12::1", Ok(())),
    ] {
        assert_eq!(permits(text, "x.example", 80, at), expected, "{text}: {at}");
    }
}

#[test]
fn a_refusal_says_what_to_do() {
    let private =
        reach("internet", "registry.lan", 5000).permits(address("10.0.0.5")).unwrap_err().to_string();
    assert!(private.contains("`registry.lan:5000`") && private.contains("--egress all"), "{private}");
    let list = policy("github.com");
    let refused = list.by_name(&name("gitlab.com"), 443, Transport::Tcp).unwrap_err().to_string();
    assert!(
        refused.contains("gitlab.com:443 is not in") && refused.contains("allow `gitlab.com`"),
        "{refused}"
    );
    let port =
        policy("github.com:443").by_name(&name("github.com"), 22, Transport::Tcp).unwrap_err().to_string();
    assert!(port.contains("which has github.com:443; allow `github.com:22`"), "{port}");
    let host = policy("internet").by_name(&name("host.vm"), 11434, Transport::Tcp).unwrap_err().to_string();
    assert!(host.contains("add `host:11434`"), "{host}");
    let literal = policy("internet").by_address(Ipv4Addr::new(10, 0, 0, 1), 80, Transport::Tcp).unwrap_err();
    assert!(literal.to_string().contains("add `10.0.0.1:80`"), "{literal}");
}

#[test]
fn host_port_opens_one_port_of_the_hosts_loopback() {
    for text in ["host:11434", "internet,host:11434", "all,host:11434"] {
        let allowed = policy(text).by_name(&name("host.vm"), 11434, Transport::Tcp).unwrap();
        assert_eq!(allowed.destination, Destination::HostLoopback { port: 11434 }, "{text}");
        assert_eq!((allowed.rule.as_str(), allowed.agreement), ("host:11434", Agreement::Anything));
        assert_eq!(tcp(text, "host.vm", 22), Err(RefusalCode::HostPort), "{text}");
        let udp = policy(text).by_name(&name("host.vm"), 11434, Transport::Udp).unwrap_err();
        assert_eq!(udp.code, RefusalCode::HostPort, "{text}");
    }
    for text in ["none", "internet", "all", "*.vm", "internet,*.vm:22"] {
        assert_eq!(tcp(text, "host.vm", 22), Err(RefusalCode::HostPort), "{text}");
        assert!(policy(text).lookup(&name("HOST.vm")).is_ok(), "{text}");
    }
    assert_eq!(tcp("host:80,!host:80", "host.vm", 80), Err(RefusalCode::Denied));
}

#[test]
fn localhost_is_no_name_of_the_network() {
    for text in ["internet", "all", "*.localhost"] {
        for to in ["localhost", "a.localhost"] {
            assert_eq!(tcp(text, to, 80), Err(RefusalCode::Localhost), "{text}: {to}");
            assert_eq!(policy(text).lookup(&name(to)).unwrap_err().code, RefusalCode::Localhost);
        }
    }
}

#[test]
fn a_lookup_is_allowed_where_a_connection_could_be() {
    for (text, to, expected) in [
        ("internet", "a.example", Ok("internet".to_owned())),
        ("a.example:443", "a.example", Ok("a.example:443".to_owned())),
        ("a.example:443", "b.example", Err(RefusalCode::NotListed)),
        ("10.0.0.0/8", "b.example", Err(RefusalCode::NotListed)),
        ("none", "a.example", Err(RefusalCode::NotListed)),
        ("internet,!a.example", "a.example", Err(RefusalCode::Denied)),
        ("internet,!a.example:25", "a.example", Ok("internet".to_owned())),
        ("internet,!*.example", "a.example", Err(RefusalCode::Denied)),
        ("internet,!@npm", "registry.npmjs.org", Err(RefusalCode::Denied)),
    ] {
        assert_eq!(policy(text).lookup(&name(to)).map_err(|refusal| refusal.code), expected, "{text}: {to}");
    }
}

#[test]
fn denials_win_over_everything() {
    for (text, to, port) in [
        ("internet,!evil.com", "evil.com", 443),
        ("all,!evil.com", "EVIL.com.", 443),
        ("evil.com,!evil.com", "evil.com", 443),
        ("evil.com:443,!evil.com:443", "evil.com", 443),
        ("*.evil.com,!a.evil.com", "a.evil.com", 443),
        ("@npm,!registry.npmjs.org", "registry.npmjs.org", 443),
        ("internet,!8.8.8.8", "8.8.8.8", 53),
        ("all,!10.0.0.0/8:22", "10.1.1.1", 22),
    ] {
        assert_eq!(tcp(text, to, port), Err(RefusalCode::Denied), "{text}: {to}:{port}");
    }
    assert!(tcp("all,!10.0.0.0/8:22", "10.1.1.1", 23).is_ok());
    assert!(tcp("internet,!evil.com", "a.evil.com", 443).is_ok());
    let denied = Err(RefusalCode::Denied);
    for at in ["8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::808:808"] {
        assert_eq!(permits("internet,!8.0.0.0/8", "x.example", 80, at), denied, "{at}");
        assert_eq!(permits("internet,!8.0.0.0/8:81", "x.example", 80, at), Ok(()), "{at}");
    }
    assert_eq!(permits("internet,!::/0", "x.example", 80, "64:ff9b::808:808"), denied);
    assert_eq!(permits("internet,!::/0", "x.example", 80, "8.8.8.8"), Ok(()));
}

#[test]
fn udp_is_closed_under_a_list() {
    for (text, expected) in [
        ("internet", Ok("internet")),
        ("learn", Ok("learn")),
        ("all", Ok("all")),
        ("internet,a.example:443", Ok("internet")),
        ("a.example", Err(RefusalCode::UdpInList)),
        ("a.example:443", Err(RefusalCode::UdpInList)),
    ] {
        let allowed = policy(text).by_name(&name("a.example"), 443, Transport::Udp);
        assert_eq!(allowed.map(|a| a.rule).map_err(|r| r.code), expected.map(str::to_owned), "{text}");
    }
    let udp = |text: &str, to: [u8; 4]| policy(text).by_address(to.into(), 53, Transport::Udp).is_ok();
    assert!(udp("internet", [8, 8, 8, 8]) && udp("internet,10.0.0.53:53", [10, 0, 0, 53]));
    assert!(!udp("internet", [10, 0, 0, 53]) && !udp("8.8.8.8", [8, 8, 8, 8]));
    // A name with its port is for TCP: a private address is not opened to UDP by it.
    let Ok(ByName { destination: Destination::Addresses(reach), .. }) =
        policy("internet,a.example:443").by_name(&name("a.example"), 443, Transport::Udp)
    else {
        panic!("internet has UDP");
    };
    assert!(reach.permits(address("10.0.0.1")).is_err());
}

#[test]
fn the_agreement_follows_from_what_allowed() {
    let of =
        |text: &str, port| policy(text).by_name(&name("a.example"), port, Transport::Tcp).unwrap().agreement;
    let same = Agreement::Same(name("a.example"));
    for text in ["a.example", "*.example", "a.example:443", "a.example,!b.example", "internet,a.example:443"]
    {
        assert_eq!(of(text, 443), same, "{text}");
    }
    for text in
        ["internet", "all", "learn", "internet,a.example", "internet,!8.8.8.8", "internet,!b.example:80"]
    {
        assert_eq!(of(text, 443), Agreement::Anything, "{text}");
    }
    let none_of = of("internet,!evil.com,!*.evil.com", 443);
    for (seen, expected) in
        [(Some("evil.com"), false), (Some("a.evil.com"), false), (Some("ok.com"), true), (None, true)]
    {
        let seen = seen.map(name);
        assert_eq!(none_of.permits(seen.as_ref(), "the Host").is_ok(), expected, "{seen:?}");
    }
    let literal = policy("internet,!evil.com").by_address([8, 8, 8, 8].into(), 443, Transport::Tcp).unwrap();
    assert!(literal.agreement.permits(Some(&name("evil.com")), "the Host").is_err());
    assert!(
        same.permits(None, "the Host").is_err()
            && same.permits(Some(&name("A.example.")), "the Host").is_ok()
    );
}
