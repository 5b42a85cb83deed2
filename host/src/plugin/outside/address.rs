//! Addresses that a request may go to: public ones, and those that the operator granted.
//!
//! What is not globally reachable by the IANA special-purpose registries (RFC 6890 and its successors) is refused: loopback, private
//! networks, link-local with the clouds' metadata services, and the ways in which IPv6 spells an IPv4 address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

const SPECIAL_V4: [(Ipv4Addr, u8); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
    // Azure's platform services and metadata answer on this public address inside its networks.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
];

/// Everything outside 2000::/3 is special or unassigned; these are the special blocks inside.
const SPECIAL_V6: [(Ipv6Addr, u8); 6] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16),
];

/// Whether a request may go to `address`: a public one, or one within `granted`.
pub fn may_reach(address: IpAddr, granted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    granted.iter().any(|net| net.contains(&address)) || is_public(address)
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !SPECIAL_V4.iter().any(|(net, len)| shares_prefix_v4(v4, *net, *len)),
        IpAddr::V6(v6) => {
            v6.segments()[0] & 0xe000 == 0x2000 && !SPECIAL_V6.iter().any(|(net, len)| shares_prefix_v6(v6, *net, *len))
        }
    }
}

fn shares_prefix_v4(a: Ipv4Addr, b: Ipv4Addr, len: u8) -> bool {
    (a.to_bits() ^ b.to_bits()) >> (32 - u32::from(len)) == 0
}

fn shares_prefix_v6(a: Ipv6Addr, b: Ipv6Addr, len: u8) -> bool {
    (a.to_bits() ^ b.to_bits()) >> (128 - u32::from(len)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_reached_without_a_grant() {
        for public in ["1.1.1.1", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "2a00:1450:4001::1"] {
            assert!(may_reach(public.parse().expect("an address"), &[]), "{public}");
        }
        for special in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.2.1",
            "198.19.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:10.0.0.1",
            "::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!may_reach(special.parse().expect("an address"), &[]), "{special}");
        }
    }

    #[test]
    fn a_grant_opens_its_own_network_and_no_other() {
        let granted: [IpNet; 1] = ["127.0.0.0/8".parse().expect("a network")];
        assert!(may_reach("127.0.0.1".parse().expect("an address"), &granted));
        assert!(may_reach("::ffff:127.0.0.1".parse().expect("an address"), &granted));
        assert!(!may_reach("10.0.0.1".parse().expect("an address"), &granted));
        assert!(!may_reach("::1".parse().expect("an address"), &granted));
    }
}
