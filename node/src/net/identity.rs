//! One key is account and peer: conversions between ours and libp2p's, and addresses.

use std::{fmt, net::IpAddr, str::FromStr};

use gridhour_protocol::{
    limits::ADDRESS_BYTES_MAX,
    signed::{PublicKey, SecretKey},
};
use libp2p::{
    Multiaddr, PeerId,
    identity::{Keypair, PublicKey as Libp2pKey, ed25519},
    multiaddr::Protocol,
};

/// The multihash code of an identity hash: the digest is the encoded key itself.
const IDENTITY_HASH: u64 = 0;

/// libp2p's key pair of a node's secret key.
///
/// # Panics
/// Never: every 32 bytes are an ed25519 seed.
#[must_use]
pub(crate) fn keypair_of(secret: &SecretKey) -> Keypair {
    Keypair::ed25519_from_bytes(secret.seed()).expect("every 32 bytes are an ed25519 seed")
}

/// The peer id of a key, or `None` if its bytes are no curve point.
#[must_use]
pub fn peer_id_of(key: &PublicKey) -> Option<String> {
    peer_of(key).map(|peer| peer.to_string())
}

/// libp2p's name of the peer with this key, or `None` if its bytes are no curve point.
pub(crate) fn peer_of(key: &PublicKey) -> Option<PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(&key.0).ok()?;
    Some(Libp2pKey::from(key).to_peer_id())
}

/// The key of a peer. An ed25519 key is short enough to stand in the peer id itself; other kinds of key have
/// no account here, and give `None`.
pub(crate) fn key_of(peer: &PeerId) -> Option<PublicKey> {
    let hash = peer.as_ref();
    if hash.code() != IDENTITY_HASH {
        return None;
    }
    let key = Libp2pKey::try_decode_protobuf(hash.digest()).ok()?;
    key.try_into_ed25519().ok().map(|key| PublicKey(key.to_bytes()))
}

/// The IP address that a connection goes to or comes from itself; none of one through a relay.
pub(crate) fn ip_of(remote: &Multiaddr) -> Option<IpAddr> {
    let mut parts = remote.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::from(ip),
        Protocol::Ip6(ip) => IpAddr::from(ip),
        _ => return None,
    };
    parts.all(|part| part != Protocol::P2pCircuit).then_some(ip)
}

/// A network address, such as `/ip4/192.0.2.7/tcp/4001/p2p/12D3Koo…`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub(crate) Multiaddr);

/// A text is not a network address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a network address such as /ip4/192.0.2.7/tcp/4001: {why}")]
pub struct BadAddress {
    text: String,
    why: String,
}

impl Address {
    /// The peer that the address ends in, if it names one with an ed25519 key.
    #[must_use]
    pub fn peer(&self) -> Option<PublicKey> {
        match self.0.iter().last() {
            Some(Protocol::P2p(peer)) => key_of(&peer),
            _ => None,
        }
    }

    /// The address without the name of the peer that it ends in.
    pub(crate) fn nameless(&self) -> Multiaddr {
        let mut address = self.0.clone();
        if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
            address.pop();
        }
        address
    }

    /// Adds the peer's name, unless the address ends in one.
    pub(crate) fn of_peer(address: Multiaddr, peer: PeerId) -> Self {
        Self(address.with_p2p(peer).unwrap_or_else(|named| named))
    }
}

impl FromStr for Address {
    type Err = BadAddress;
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let refuse = |why: String| BadAddress { text: text.chars().take(80).collect(), why };
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(refuse(format!("longer than {ADDRESS_BYTES_MAX} bytes")));
        }
        if text.is_empty() {
            return Err(refuse("it is empty".into()));
        }
        text.parse().map(Self).map_err(|error: libp2p::multiaddr::Error| refuse(error.to_string()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_connection_of_its_own_shows_an_ip() {
        let ip = |text: &str| ip_of(&text.parse().expect("a multiaddress")).map(|ip| ip.to_string());
        let peer = peer_id_of(&SecretKey::from_seed([1; 32]).public()).expect("a key");
        assert_eq!(ip("/ip4/192.0.2.7/tcp/4802").as_deref(), Some("192.0.2.7"));
        assert_eq!(ip(&format!("/ip6/2001:db8::1/udp/1/quic-v1/p2p/{peer}")).as_deref(), Some("2001:db8::1"));
        assert_eq!(ip(&format!("/ip4/192.0.2.7/tcp/1/p2p/{peer}/p2p-circuit")), None, "that is the relay's");
        assert_eq!(ip("/memory/7"), None);
    }

    #[test]
    fn a_key_and_its_peer_id_imply_each_other() {
        for seed in 0..16 {
            let secret = SecretKey::from_seed([seed; 32]);
            let peer = peer_of(&secret.public()).expect("a public key is a point");
            assert_eq!(peer, keypair_of(&secret).public().to_peer_id());
            assert_eq!(key_of(&peer), Some(secret.public()));
        }
    }

    #[test]
    fn a_hashed_peer_id_has_no_key() {
        assert_eq!(key_of(&PeerId::random()), None);
    }

    #[test]
    fn addresses_name_their_peer() {
        let key = SecretKey::from_seed([7; 32]).public();
        let text = format!("/ip4/127.0.0.1/udp/1/quic-v1/p2p/{}", peer_id_of(&key).unwrap());
        assert_eq!(text.parse::<Address>().unwrap().peer(), Some(key));
        assert_eq!("/ip4/127.0.0.1/tcp/1".parse::<Address>().unwrap().peer(), None);
        for bad in ["", "127.0.0.1:80", "/ip4/999.0.0.1/tcp/1", &format!("/dns4/{}/tcp/1", "a".repeat(300))] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
