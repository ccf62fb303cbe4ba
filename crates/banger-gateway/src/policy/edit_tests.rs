use proptest::prelude::*;

use super::*;

fn policy(text: &str) -> Policy {
    text.parse().unwrap()
}

fn entries(texts: &str) -> Vec<Entry> {
    texts.split(',').map(|text| Entry::parse(text).unwrap()).collect()
}

fn to(text: &str, port: u16) -> Contact {
    match text.parse() {
        Ok(address) => Contact::Address { address, port },
        Err(_) => Contact::Name { name: Name::from_user(text).unwrap(), port },
    }
}

#[test]
fn allowing_adds_and_takes_back_a_denial() {
    for (before, allowed, after) in [
        ("none", "a.com", "a.com"),
        ("a.com", "b.com,a.com", "a.com,b.com"),
        ("internet", "host:11434,registry.lan:5000", "internet,host:11434,registry.lan:5000"),
        ("internet,!a.com", "a.com", "internet,a.com"),
        ("none,!a.com", "a.com", "a.com"),
    ] {
        let edited = policy(before).with_allowed(&entries(allowed));
        assert_eq!(edited.policy.to_string(), after, "{before} + {allowed}");
        assert!(edited.remarks.is_empty(), "{:?}", edited.remarks);
    }
    let edited = policy("internet,!*.a.com,!10.0.0.0/8").with_allowed(&entries("b.a.com,10.0.0.1:80"));
    assert_eq!(edited.policy.to_string(), "internet,b.a.com,10.0.0.1:80,!*.a.com,!10.0.0.0/8");
    assert_eq!(edited.remarks.len(), 2, "{:?}", edited.remarks);
    assert!(edited.remarks[0].contains("the policy denies *.a.com"), "{:?}", edited.remarks);
}

#[test]
fn denying_takes_out_and_stays() {
    for (before, denied, after, remarks) in [
        ("internet", "a.com", "internet,!a.com", 0),
        ("a.com,*.b.com", "a.com", "*.b.com,!a.com", 0),
        ("*.b.com", "a.b.com", "*.b.com,!a.b.com", 0),
        ("a.com", "a.com", "none,!a.com", 1),
        ("none", "a.com", "none,!a.com", 0),
        ("all,host:80", "host:80,a.com", "all,!host:80,!a.com", 0),
        ("@npm", "@npm", "none,!@npm", 1),
    ] {
        let edited = policy(before).with_denied(&entries(denied));
        assert_eq!(edited.policy.to_string(), after, "{before} - {denied}");
        assert_eq!(edited.remarks.len(), remarks, "{before} - {denied}: {:?}", edited.remarks);
    }
}

#[test]
fn a_whole_policy_is_no_entry() {
    for text in ["internet", "none", "ALL", "learn"] {
        let error = Entry::parse(text).unwrap_err().to_string();
        assert!(error.contains("is a policy of its own"), "{error}");
    }
}

#[test]
fn a_lock_lists_what_was_contacted_and_no_more() {
    let contacts =
        [to("a.com", 443), to("a.com", 80), to("8.8.8.8", 53), to("host.vm", 11434), to("b.lan", 5000)];
    for (before, after) in [
        ("learn", "a.com,8.8.8.8:53,b.lan"),
        ("internet,host:11434,b.lan:5000,!c.com", "a.com,8.8.8.8:53,host:11434,b.lan:5000,!c.com"),
        ("all,host:11434", "a.com:443,a.com:80,8.8.8.8:53,host:11434,b.lan:5000"),
        ("*.lan,a.com:443", "a.com:443,b.lan"),
        ("*.com:443,*.lan:5000", "*.com:443,*.lan:5000"),
        ("*.com,*.com:443", "a.com"),
        ("internet,!a.com", "8.8.8.8:53,b.lan,!a.com"),
        ("none", "none"),
    ] {
        assert_eq!(policy(before).lock(&contacts).to_string(), after, "{before}");
    }
    assert_eq!(policy("internet").lock(&[]).to_string(), "none");
}

#[test]
fn a_lock_of_learn_does_not_open_private_addresses() {
    let locked = policy("learn").lock(&[to("a.com", 443)]);
    let Destination::Addresses(reach) =
        locked.by_name(&Name::from_user("a.com").unwrap(), 443, Transport::Tcp).unwrap().destination
    else {
        panic!("a.com is not the host");
    };
    assert!(reach.permits("10.0.0.1".parse().unwrap()).is_err());
}

const POLICIES: [&str; 10] = [
    "internet",
    "learn",
    "all",
    "none",
    "a.com",
    "*.com:443",
    "*.com,a.com:80",
    "@npm,10.0.0.0/8:443",
    "internet,a.com:443,10.0.0.1,!b.com",
    "all,host:80,!10.0.0.0/9",
];
const TARGETS: [&str; 7] =
    ["a.com", "b.com", "c.b.com", "registry.npmjs.org", "host.vm", "10.0.0.1", "8.8.8.8"];
const PORTS: [u16; 3] = [80, 443, 5000];
const ADDRESSES: [&str; 4] = ["10.0.0.1", "192.168.0.1", "8.8.8.8", "fd00::1"];

/// Everything that a policy says about these targets, ports and addresses.
fn opened(policy: &Policy) -> Vec<bool> {
    let mut opened = Vec::new();
    for (target, port) in TARGETS.iter().flat_map(|target| PORTS.map(|port| (target, port))) {
        let reach = match to(target, port) {
            Contact::Address { address, port } => {
                opened.push(policy.by_address(address, port, Transport::Tcp).is_ok());
                continue;
            }
            Contact::Name { name, port } => {
                policy.by_name(&name, port, Transport::Tcp).map(|allowed| allowed.destination)
            }
        };
        opened.push(reach.is_ok());
        for address in ADDRESSES {
            let address = address.parse().unwrap();
            opened
                .push(matches!(&reach, Ok(Destination::Addresses(reach)) if reach.permits(address).is_ok()));
        }
    }
    opened
}

proptest! {
    #[test]
    fn a_lock_opens_nothing_and_keeps_what_was_contacted(
        text in prop::sample::select(&POLICIES[..]),
        picks in prop::collection::vec((0..TARGETS.len(), 0..PORTS.len()), 0..6),
    ) {
        let picked = picks.iter().map(|(target, port)| to(TARGETS[*target], PORTS[*port]));
        let contacts: Vec<_> = picked.collect();
        let before = policy(text);
        let locked = before.lock(&contacts);
        prop_assert!(locked.is_list());
        for (before, after) in opened(&before).into_iter().zip(opened(&locked)) {
            prop_assert!(before || !after, "{} opens more than {}", locked, text);
        }
        for contact in contacts {
            if let Contact::Name { name, port } = contact {
                let was = before.by_name(&name, port, Transport::Tcp).is_ok();
                prop_assert_eq!(locked.by_name(&name, port, Transport::Tcp).is_ok(), was);
            }
        }
    }

    #[test]
    fn allowing_and_denying_an_entry_undo_each_other(text in prop::sample::select(&POLICIES[..]), port: u16) {
        let entry = Entry::parse(&format!("new.example:{}", port.max(1))).unwrap();
        let before = policy(text);
        let denied = before.with_denied(std::slice::from_ref(&entry)).policy;
        let name = Name::from_user("new.example").unwrap();
        prop_assert!(denied.by_name(&name, port.max(1), Transport::Tcp).is_err());
        let allowed = denied.with_allowed(std::slice::from_ref(&entry)).policy;
        prop_assert!(allowed.by_name(&name, port.max(1), Transport::Tcp).is_ok());
        prop_assert_eq!(allowed, before.with_allowed(&[entry]).policy);
    }
}
