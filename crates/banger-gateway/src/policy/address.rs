//! What kind of address an address is: one of the public internet, a private one, or one that is never
//! reached.
//!
//! The ranges are IANA's registries of special-purpose addresses (RFC 6890 and its successors). Where they
//! know of an exception inside a reserved range that no service is found at (2001::/23, 192.0.0.0/24), the
//! whole range counts as reserved. The ranges for documentation count as public: nobody is there on the
//! internet, and laboratories and closed build networks have their mirrors at them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::refusal::RefusalCode;

/// What a policy may say about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AddressKind {
    Public,
    /// Reached under `all`, or where a list names it.
    Private,
    /// Reached under no policy.
    Never(Unreachable),
}

/// Why an address is never reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unreachable {
    Unspecified,
    Reserved,
    Synthetic,
    Multicast,
    LinkLocal,
    Metadata,
    Loopback,
}

impl Unreachable {
    pub fn code(self) -> RefusalCode {
        match self {
            Self::Unspecified => RefusalCode::UnspecifiedAddress,
            Self::Reserved => RefusalCode::ReservedAddress,
            Self::Synthetic => RefusalCode::SyntheticAddress,
            Self::Multicast => RefusalCode::MulticastAddress,
            Self::LinkLocal => RefusalCode::LinkLocalAddress,
            Self::Metadata => RefusalCode::MetadataAddress,
            Self::Loopback => RefusalCode::LoopbackAddress,
        }
    }

    /// Completes "it is ...".
    pub fn description(self) -> &'static str {
        match self {
            Self::Unspecified => "an unspecified address",
            Self::Reserved => "a reserved address",
            Self::Synthetic => "an address that stands for a name inside a VM",
            Self::Multicast => "a multicast or broadcast address",
            Self::LinkLocal => "a link-local address, where cloud metadata services are",
            Self::Metadata => "a cloud provider's metadata service",
            Self::Loopback => "a loopback address of the host",
        }
    }
}

/// Metadata services outside the link-local ranges: Azure, Alibaba Cloud, AWS, Google Cloud, Scaleway.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)),
];

impl AddressKind {
    pub fn of(address: IpAddr) -> Self {
        match address {
            _ if METADATA.contains(&address) => Self::Never(Unreachable::Metadata),
            IpAddr::V4(address) => of_v4(address),
            // The worse of two readings counts, where an address has more than one.
            IpAddr::V6(address) => match Inside::of(address) {
                Inside::Nothing => of_v6(address),
                Inside::One(inner) => Self::of(inner.into()),
                Inside::Two(first, second) => Self::of(first.into()).max(Self::of(second.into())),
                Inside::LocalTranslation => of_local_translation(address),
            },
        }
    }
}

/// The IPv4 address that an IPv6 address stands for, where it is exactly one; else the address itself.
pub(super) fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => match Inside::of(v6) {
            Inside::One(inner) => inner.into(),
            _ => address,
        },
        IpAddr::V4(_) => address,
    }
}

/// Whether an IPv6 address is one that is judged by an IPv4 address inside it.
pub(super) fn has_v4_inside(address: Ipv6Addr) -> bool {
    !matches!(Inside::of(address), Inside::Nothing)
}

enum Inside {
    Nothing,
    One(Ipv4Addr),
    /// Teredo: the server's and the client's.
    Two(Ipv4Addr, Ipv4Addr),
    /// 64:ff9b:1::/48, where only the network knows at which bit the IPv4 address starts.
    LocalTranslation,
}

impl Inside {
    fn of(address: Ipv6Addr) -> Self {
        let bytes = address.octets();
        let v4_at = |at: usize| Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]);
        match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Self::Nothing,
            // IPv4-compatible, IPv4-mapped, IPv4-translated (RFC 2765), NAT64.
            [0, 0, 0, 0, 0, 0, ..]
            | [0, 0, 0, 0, 0, 0xffff, ..]
            | [0, 0, 0, 0, 0xffff, 0, ..]
            | [0x64, 0xff9b, 0, 0, 0, 0, ..] => Self::One(v4_at(12)),
            [0x64, 0xff9b, 1, ..] => Self::LocalTranslation,
            // 6to4.
            [0x2002, ..] => Self::One(v4_at(2)),
            // Teredo hides the client's address by inverting its bits.
            [0x2001, 0, ..] => Self::Two(v4_at(4), Ipv4Addr::from_bits(!v4_at(12).to_bits())),
            _ => Self::Nothing,
        }
    }
}

/// At best private, because a network of its own translates it. RFC 6052 has four places for the IPv4 address
/// in such a prefix; what is unreachable at any of them is so here. The zeros of another place are no
/// evidence.
fn of_local_translation(address: Ipv6Addr) -> AddressKind {
    let b = address.octets();
    let places = [
        Ipv4Addr::new(b[6], b[7], b[9], b[10]),
        Ipv4Addr::new(b[7], b[9], b[10], b[11]),
        Ipv4Addr::new(b[9], b[10], b[11], b[12]),
        Ipv4Addr::new(b[12], b[13], b[14], b[15]),
    ];
    let kinds = places.map(|place| AddressKind::of(place.into()));
    let worst = kinds.into_iter().filter(|kind| *kind != AddressKind::Never(Unreachable::Unspecified)).max();
    worst.map_or(AddressKind::Never(Unreachable::Unspecified), |kind| kind.max(AddressKind::Private))
}

fn of_v4(address: Ipv4Addr) -> AddressKind {
    use AddressKind::{Never, Private, Public};
    match address.octets() {
        [0, ..] => Never(Unreachable::Unspecified),
        [127, ..] => Never(Unreachable::Loopback),
        [169, 254, ..] => Never(Unreachable::LinkLocal),
        [10, ..] | [100, 64..=127, ..] | [172, 16..=31, ..] | [192, 168, ..] => Private,
        [198, 18..=19, ..] => Never(Unreachable::Synthetic),
        [224..=239, ..] | [255, 255, 255, 255] => Never(Unreachable::Multicast),
        // Protocol assignments, former 6to4 relays, future use.
        [192, 0, 0, _] | [192, 88, 99, _] | [240..=255, ..] => Never(Unreachable::Reserved),
        _ => Public,
    }
}

fn of_v6(address: Ipv6Addr) -> AddressKind {
    use AddressKind::{Never, Private, Public};
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Never(Unreachable::Unspecified),
        [0, 0, 0, 0, 0, 0, 0, 1] => Never(Unreachable::Loopback),
        [0xfc00..=0xfdff, ..] => Private,
        [0xfe80..=0xfebf, ..] => Never(Unreachable::LinkLocal),
        [0xff00..=0xffff, ..] => Never(Unreachable::Multicast),
        // Protocol assignments (Teredo was seen before).
        [0x2001, 0..=0x1ff, ..] => Never(Unreachable::Reserved),
        // Only 2000::/3 has been given out for the internet.
        [0x2000..=0x3fff, ..] => Public,
        _ => Never(Unreachable::Reserved),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(address: &str) -> AddressKind {
        AddressKind::of(address.parse().unwrap())
    }

    #[test]
    fn public_addresses() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "11.0.0.0",
            "192.0.1.1",
            "192.31.196.1",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "169.253.0.1",
            "2606:4700::1111",
            "2620:4f:8000::1",
            "2001:200::1",
            "2a00::",
            "3ffe::1",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.80",
            "2001:db8::1",
        ] {
            assert_eq!(kind(address), AddressKind::Public, "{address}");
        }
    }

    #[test]
    fn private_addresses() {
        for address in [
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "fd00::1",
            "fc00::",
        ] {
            assert_eq!(kind(address), AddressKind::Private, "{address}");
        }
    }

    #[test]
    fn addresses_that_no_policy_reaches() {
        use Unreachable::*;
        for (address, why) in [
            ("0.0.0.0", Unspecified),
            ("0.1.2.3", Unspecified),
            ("::", Unspecified),
            ("127.0.0.1", Loopback),
            ("127.255.255.254", Loopback),
            ("::1", Loopback),
            ("169.254.169.254", LinkLocal),
            ("fe80::1", LinkLocal),
            ("febf::1", LinkLocal),
            ("224.0.0.1", Multicast),
            ("255.255.255.255", Multicast),
            ("ff02::1", Multicast),
            ("240.0.0.1", Reserved),
            ("192.0.0.192", Reserved),
            ("192.88.99.1", Reserved),
            ("2001:2::1", Reserved),
            ("100::1", Reserved),
            ("5f00::1", Reserved),
            ("fec0::1", Reserved),
            ("4000::1", Reserved),
            ("198.18.0.1", Synthetic),
            ("198.19.255.255", Synthetic),
            ("168.63.129.16", Metadata),
            ("100.100.100.200", Metadata),
            ("fd00:ec2::254", Metadata),
        ] {
            assert_eq!(kind(address), AddressKind::Never(why), "{address}");
        }
    }

    #[test]
    fn an_address_inside_another_is_what_counts() {
        for (v4, expected) in [
            ("127.0.0.1", AddressKind::Never(Unreachable::Loopback)),
            ("169.254.169.254", AddressKind::Never(Unreachable::LinkLocal)),
            ("168.63.129.16", AddressKind::Never(Unreachable::Metadata)),
            ("198.18.0.7", AddressKind::Never(Unreachable::Synthetic)),
            ("10.1.2.3", AddressKind::Private),
            ("8.8.8.8", AddressKind::Public),
        ] {
            for prefix in ["::ffff:", "::", "::ffff:0:", "64:ff9b::"] {
                assert_eq!(kind(&format!("{prefix}{v4}")), expected, "{prefix}{v4}");
            }
            let bits = v4.parse::<Ipv4Addr>().unwrap().to_bits();
            assert_eq!(kind(&format!("2002:{:x}:{:x}::1", bits >> 16, bits & 0xffff)), expected, "6to4 {v4}");
            let (high, low) = (!bits >> 16, !bits & 0xffff);
            assert_eq!(kind(&format!("2001:0:808:808:0:0:{high:x}:{low:x}")), expected, "Teredo {v4}");
            let (high, low) = (bits >> 16, bits & 0xffff);
            assert_eq!(
                kind(&format!("2001:0:{high:x}:{low:x}:0:0:f7f7:f7f7")),
                expected,
                "Teredo server {v4}"
            );
        }
    }

    #[test]
    fn a_networks_own_nat64_is_private_at_best_wherever_the_address_is() {
        for address in ["64:ff9b:1::8.8.8.8", "64:ff9b:1::10.0.0.1", "64:ff9b:1:0:a:0:100:0"] {
            assert_eq!(kind(address), AddressKind::Private, "{address}");
        }
        let loopback = AddressKind::Never(Unreachable::Loopback);
        for address in
            ["64:ff9b:1::127.0.0.1", "64:ff9b:1:7f00:0:100::", "64:ff9b:1:7f:0:1::", "64:ff9b:1::7f:0:100:0"]
        {
            assert_eq!(kind(address), loopback, "{address}");
        }
        assert_eq!(kind("64:ff9b:1::"), AddressKind::Never(Unreachable::Unspecified));
    }
}
