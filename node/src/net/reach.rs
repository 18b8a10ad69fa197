//! From where an address can be reached. Pure.
//!
//! An address of a private range says something only on its own network, and says it to strangers who may not know it:
//! so what is near is told to peers that are near, and nobody else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libp2p::{Multiaddr, multiaddr::Protocol};

use crate::net::identity::Address;

/// Whether an address is of this machine or its own networks: of a private, shared, link-local or loopback range, or
/// within the process. A name is not, and no way through a relay is.
#[must_use]
pub fn is_near(address: &Address) -> bool {
    if is_relayed(&address.0) {
        return false;
    }
    match address.0.iter().next() {
        Some(Protocol::Memory(_)) => true,
        Some(Protocol::Ip4(ip)) => is_near_v4(ip),
        Some(Protocol::Ip6(ip)) => is_near_v6(ip),
        _ => false,
    }
}

/// Whether the address leads through a relay.
pub(crate) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

fn is_near_v4(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    let is_shared = first == 100 && second & 0xc0 == 64;
    ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || is_shared
}

fn is_near_v6(ip: Ipv6Addr) -> bool {
    match ip.to_ipv4_mapped() {
        Some(ip) => is_near_v4(ip),
        None => ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Who probably runs the machine at an address: addresses of one group are easy to get together, those of many groups
/// are not. A /16 of IPv4, a /32 of IPv6; elsewhere no two addresses are known to belong together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    V4([u8; 2]),
    V6([u8; 4]),
    Other(Vec<u8>),
}

impl Group {
    /// The group of an address; for a way through a relay, the relay's.
    pub(crate) fn of(address: &Multiaddr) -> Self {
        match ip_of(address).filter(|_| !is_near(&Address(address.clone()))) {
            Some(IpAddr::V4(ip)) => Self::V4([ip.octets()[0], ip.octets()[1]]),
            Some(IpAddr::V6(ip)) => {
                let [a, b, c, d, ..] = ip.octets();
                Self::V6([a, b, c, d])
            }
            None => Self::Other(address.to_vec()),
        }
    }

    /// Bytes that tell groups apart.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::V4(bytes) => [b"4".as_slice(), bytes].concat(),
            Self::V6(bytes) => [b"6".as_slice(), bytes].concat(),
            Self::Other(bytes) => [b"o".as_slice(), bytes].concat(),
        }
    }
}

fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.to_ipv4_mapped().map_or(ip.into(), Into::into)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().expect("an address")
    }

    #[test]
    fn private_ranges_are_near_and_public_ones_are_not() {
        let near = [
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/10.1.2.3/tcp/1",
            "/ip4/172.31.0.1/udp/1/quic-v1",
            "/ip4/192.168.0.9/tcp/1",
            "/ip4/169.254.1.1/tcp/1",
            "/ip4/100.127.255.255/tcp/1",
            "/ip4/0.0.0.0/tcp/1",
            "/ip6/::1/tcp/1",
            "/ip6/fd00::1/tcp/1",
            "/ip6/fe80::1/tcp/1",
            "/ip6/::ffff:10.0.0.1/tcp/1",
            "/memory/7",
        ];
        for text in near {
            assert!(is_near(&address(text)), "{text}");
        }
        let far = [
            "/ip4/172.32.0.1/tcp/1",
            "/ip4/100.128.0.1/tcp/1",
            "/ip4/8.8.8.8/tcp/1",
            "/ip6/2001:db8::1/tcp/1",
            "/ip6/::ffff:8.8.8.8/tcp/1",
            "/dns4/localhost/tcp/1",
            "/ip4/10.0.0.1/tcp/1/p2p/12D3KooWCKCeqLPSgMnDjyFsJuWqREDtKNHx1JEBiwaMXhCLNTRb/p2p-circuit",
        ];
        for text in far {
            assert!(!is_near(&address(text)), "{text}");
        }
    }

    #[test]
    fn a_group_is_a_network_and_near_addresses_are_their_own() {
        let group = |text: &str| Group::of(&address(text).0);
        assert_eq!(group("/ip4/8.8.8.8/tcp/1"), group("/ip4/8.8.200.1/udp/7/quic-v1"));
        assert_ne!(group("/ip4/8.8.8.8/tcp/1"), group("/ip4/8.9.8.8/tcp/1"));
        assert_eq!(group("/ip6/2001:db8:1::1/tcp/1"), group("/ip6/2001:db8:2::1/tcp/1"));
        assert_eq!(group("/ip6/::ffff:8.8.8.8/tcp/1"), group("/ip4/8.8.9.9/tcp/1"));
        assert_ne!(group("/ip4/10.0.0.1/tcp/1"), group("/ip4/10.0.0.1/tcp/2"));
        assert_ne!(group("/memory/1"), group("/memory/2"));
    }
}
