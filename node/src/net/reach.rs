//! From where an address can be reached. Pure.
//!
//! An address of a private range says something only on its own network, and says it to strangers who may not know it:
//! so what is near is told to peers that are near, and nobody else; and what strangers tell of near addresses is not
//! followed, as it is our own networks' machines that would be dialled.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libp2p::{Multiaddr, multiaddr::Protocol};

use crate::net::{identity::Address, scoped::Scope};

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

/// Whether an address that a peer told may be dialled. It must say itself where that leads: to one machine by number, or
/// to one through one relay so named; a name would be looked up, and could mean anything by then. A peer that is
/// not near is not followed to what is, relays among them.
pub(crate) fn may_follow(address: &Multiaddr, teller: Scope, is_near: fn(&Address) -> bool) -> bool {
    first_hop(address).is_some_and(|hop| teller == Scope::Near || !is_near(&Address(hop)))
}

/// Whether an address says by number which machine is dialled, and no relay.
pub(crate) fn is_direct(address: &Multiaddr) -> bool {
    first_hop(address).as_ref() == Some(address)
}

/// The machine that is dialled for an address, if the address has one of the shapes that we listen on. In others the
/// transports find another machine than the one that comes first.
fn first_hop(address: &Multiaddr) -> Option<Multiaddr> {
    let parts: Vec<Protocol<'_>> = address.iter().collect();
    let relayed = parts.iter().position(|part| *part == Protocol::P2pCircuit).unwrap_or(parts.len());
    let (hop, beyond) = parts.split_at(relayed);
    let place = match hop {
        [place @ .., Protocol::P2p(_)] => place,
        place => place,
    };
    let is_one_machine = match place {
        [Protocol::Memory(_)] => true,
        [ip, Protocol::Tcp(_)] | [ip, Protocol::Udp(_), Protocol::QuicV1] => is_machine(ip),
        _ => false,
    };
    let is_whole = matches!(beyond, [] | [Protocol::P2pCircuit] | [Protocol::P2pCircuit, Protocol::P2p(_)]);
    (is_one_machine && is_whole).then(|| hop.iter().cloned().collect())
}

/// Whether this is the number of one machine, and not of many or of none.
fn is_machine(part: &Protocol<'_>) -> bool {
    match part {
        Protocol::Ip4(ip) => ip.octets()[0] < 224,
        Protocol::Ip6(ip) => !ip.is_multicast(),
        _ => false,
    }
}

fn is_near_v4(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    let is_shared = first == 100 && second & 0xc0 == 64;
    ip.is_private() || ip.is_loopback() || ip.is_link_local() || first == 0 || is_shared
}

fn is_near_v6(ip: Ipv6Addr) -> bool {
    v4_within(ip).is_some_and(is_near_v4) || ip.is_unique_local() || ip.is_unicast_link_local()
}

/// The IPv4 address that an IPv6 one leads to: mapped or compatible (RFC 4291, which `::` and `::1` look like),
/// translated (RFC 6052), or tunnelled (RFC 3056).
fn v4_within(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low));
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0 | 0xffff) | (0x64, 0xff9b, 0, 0, 0, 0) => Some(v4(g, h)),
        (0x2002, ..) => Some(v4(b, c)),
        _ => None,
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
            "/ip6/::10.0.0.1/tcp/1",
            "/ip6/64:ff9b::a00:1/tcp/1",
            "/ip6/2002:a00:1::1/tcp/1",
            "/ip6/::/tcp/1",
            "/ip4/0.1.2.3/tcp/1",
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
            "/ip6/64:ff9b::808:808/tcp/1",
            "/ip6/2002:808:808::1/tcp/1",
            "/dns4/localhost/tcp/1",
            "/ip4/10.0.0.1/tcp/1/p2p/12D3KooWCKCeqLPSgMnDjyFsJuWqREDtKNHx1JEBiwaMXhCLNTRb/p2p-circuit",
        ];
        for text in far {
            assert!(!is_near(&address(text)), "{text}");
        }
    }

    const RELAY: &str = "p2p/12D3KooWCKCeqLPSgMnDjyFsJuWqREDtKNHx1JEBiwaMXhCLNTRb/p2p-circuit";
    const NAME: &str = "p2p/12D3KooWCKCeqLPSgMnDjyFsJuWqREDtKNHx1JEBiwaMXhCLNTRb";

    /// Whether an address is followed when a near peer tells it, and when a far one does.
    fn followed(text: &str) -> [bool; 2] {
        [Scope::Near, Scope::Far].map(|teller| may_follow(&address(text).0, teller, is_near))
    }

    #[test]
    fn near_addresses_are_followed_when_near_peers_tell_them() {
        for near in
            ["/ip4/10.1.2.3/tcp/80", "/ip6/fd00::1/udp/1/quic-v1", "/ip4/127.0.0.1/tcp/1", "/memory/7"]
        {
            for text in [near.to_owned(), format!("{near}/{NAME}"), format!("{near}/{RELAY}/{NAME}")] {
                assert_eq!(followed(&text), [true, false], "{text}");
            }
        }
        for far in ["/ip4/8.8.8.8/tcp/1", "/ip4/8.8.8.8/udp/1/quic-v1", "/ip6/2001:db8::1/tcp/1"] {
            for text in [far.to_owned(), format!("{far}/{RELAY}"), format!("{far}/{RELAY}/{NAME}")] {
                assert_eq!(followed(&text), [true, true], "{text}");
            }
        }
    }

    #[test]
    fn an_address_that_does_not_say_where_it_leads_is_never_followed() {
        let texts = [
            "/dns4/printer.example/tcp/1".to_owned(),
            "/dnsaddr/example".into(),
            format!("/dns/example/tcp/1/{RELAY}"),
            "/ip4/8.8.8.8/tcp/1/dns4/printer.example/tcp/1".into(),
            // TCP dials the last number, not the first.
            "/ip4/8.8.8.8/tcp/1/ip4/10.0.0.1/tcp/80".into(),
            format!("/ip4/8.8.8.8/tcp/1/{RELAY}/ip4/10.0.0.1/tcp/80"),
            format!("/ip4/8.8.8.8/tcp/1/{RELAY}/{RELAY}"),
            format!("/ip4/8.8.8.8/tcp/1/{NAME}/{NAME}"),
            format!("/{RELAY}"),
            "/ip4/8.8.8.8".into(),
            "/ip4/224.0.0.251/udp/5353/quic-v1".into(),
            "/ip4/255.255.255.255/udp/1/quic-v1".into(),
            "/ip6/ff02::1/udp/1/quic-v1".into(),
        ];
        for text in texts {
            assert_eq!(followed(&text), [false, false], "{text}");
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
