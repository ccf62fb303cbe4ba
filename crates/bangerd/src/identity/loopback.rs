use std::net::Ipv4Addr;

use super::VmId;

/// The address of the host's loopback network on which a VM's ports are forwarded, and which `NAME.vm` is in
/// `user` mode. It is the same at every start.
///
/// It follows from the id and is kept nowhere. Two VMs may have the same (among a hundred, one time in two
/// thousand); then a port that both want is forwarded from another one, as where somebody else has it.
pub fn loopback_address(id: &VmId) -> Ipv4Addr {
    // An id is 48 random bits. 127.0.0.0/10 stays free: the host's own services are there.
    let bits = u64::from_str_radix(id.as_str(), 16).unwrap_or_default();
    let within = 0x0040_0000 + (bits % (0x00ff_ffff - 0x0040_0000)) as u32;
    Ipv4Addr::from_bits(0x7f00_0000 | within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_on_loopback_and_never_the_hosts_own() {
        for digits in ["000000000000", "0123456789ab", "ffffffffffff", "000000bfffff", "000000bffffe"] {
            let address = loopback_address(&VmId::parse(digits).unwrap());
            assert!(address.is_loopback() && address.octets()[1] >= 64, "{address}");
            assert_ne!(address, Ipv4Addr::new(127, 255, 255, 255));
        }
    }
}
