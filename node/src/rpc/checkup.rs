//! What whoever looks after a node asks of others about it: their clock, whether they see its offer, and whether they reach
//! it.

use std::net::IpAddr;

use gridhour_protocol::{signed::PublicKey, units::Timestamp};
use serde::{Deserialize, Serialize};

/// Ports that one request may name.
pub const PORTS_MAX: usize = 4;

/// How a port is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// QUIC, over UDP.
    Quic,
}

/// A port at which a node is said to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Port {
    /// How it is spoken to.
    pub transport: Transport,
    /// Its number.
    pub number: u16,
}

impl Port {
    /// The port of a multiaddress such as `/ip4/192.0.2.7/tcp/4802` or `/ip4/192.0.2.7/udp/4802/quic-v1`; none of others.
    #[must_use]
    pub fn of_multiaddr(text: &str) -> Option<Self> {
        let mut words = text.split('/').skip(1);
        let (ip, _, transport, number) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let transport = match (ip, transport, words.next()) {
            ("ip4" | "ip6", "tcp", None | Some("p2p")) => Transport::Tcp,
            ("ip4" | "ip6", "udp", Some("quic-v1")) => Transport::Quic,
            _ => return None,
        };
        Some(Self { transport, number: number.parse().ok()? })
    }

    /// The multiaddress of this port of `ip`, where `node` is expected.
    #[must_use]
    pub fn at(self, ip: IpAddr, peer_id: &str) -> String {
        let version = if ip.is_ipv4() { "ip4" } else { "ip6" };
        match self.transport {
            Transport::Tcp => format!("/{version}/{ip}/tcp/{}/p2p/{peer_id}", self.number),
            Transport::Quic => format!("/{version}/{ip}/udp/{}/quic-v1/p2p/{peer_id}", self.number),
        }
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self.transport {
            Transport::Tcp => "TCP",
            Transport::Quic => "QUIC",
        };
        write!(f, "{name} {}", self.number)
    }
}

/// Asks after `node`. Only ports of the address that the question itself came from are tried, so that nobody can have
/// others dialled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckupRequest {
    /// Whose offer is meant, and who should answer at the ports.
    pub node: PublicKey,
    /// Where to try; at most [`PORTS_MAX`].
    pub ports: Vec<Port>,
}

/// An offer as another node has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenOffer {
    /// Its advert's sequence number.
    pub sequence: u64,
    /// When the advert dies.
    pub expires_at: Timestamp,
    /// Whether it offers a model now.
    pub offers_model: bool,
    /// The ports at which it says that its provider listens, the first [`PORTS_MAX`].
    pub ports: Vec<Port>,
}

/// A port, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriedPort {
    /// The port.
    pub port: Port,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The node answered there, and proved its key.
    Reached,
    /// It did not, and what was seen instead.
    Unreached(String),
    /// Nobody was dialled, and why.
    NotTried(String),
}

impl Outcome {
    /// What is wrong; nothing if the node was reached.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        match self {
            Self::Reached => None,
            Self::Unreached(why) | Self::NotTried(why) => Some(why),
        }
    }
}

/// What another node sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkup {
    /// Its clock.
    pub now: Timestamp,
    /// The live offer of the node, if it has one.
    pub offer: Option<SeenOffer>,
    /// What came of each port; nothing where there were none to try.
    pub tried: Vec<TriedPort>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_those_of_addresses_and_no_names() {
        let of = |text: &str| Port::of_multiaddr(text).map(|port| port.to_string());
        assert_eq!(of("/ip4/192.0.2.7/tcp/4802/p2p/12D3KooW").as_deref(), Some("TCP 4802"));
        assert_eq!(of("/ip6/::1/udp/4802/quic-v1").as_deref(), Some("QUIC 4802"));
        for other in
            ["/dns4/example/tcp/1", "/ip4/192.0.2.7/udp/4802", "/memory/1", "", "/ip4/1.2.3.4/tcp/70000"]
        {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn an_address_is_made_of_the_ip_that_was_seen() {
        let port = Port { transport: Transport::Quic, number: 7 };
        assert_eq!(port.at("::1".parse().unwrap(), "12D3"), "/ip6/::1/udp/7/quic-v1/p2p/12D3");
        let tcp = Port { transport: Transport::Tcp, number: 7 };
        let text = tcp.at("192.0.2.1".parse().unwrap(), "12D3");
        assert_eq!((text.as_str(), Port::of_multiaddr(&text)), ("/ip4/192.0.2.1/tcp/7/p2p/12D3", Some(tcp)));
    }
}
