//! Names of the protocols. Each carries the network, so that two networks never mix, and a version, so that
//! peers with another version refuse each other by name.

use gridhour_protocol::{
    id::{NetworkId, to_hex},
    limits::PROTOCOL_VERSION,
};
use libp2p::{
    StreamProtocol,
    gossipsub::{IdentTopic, TopicHash},
};

/// The names for one network.
#[derive(Clone, Debug)]
pub(crate) struct Protocols {
    prefix: String,
}

impl Protocols {
    pub(crate) fn new(network: &NetworkId) -> Self {
        Self { prefix: format!("/gridhour/{}", to_hex(&network.0[..8])) }
    }

    /// What peers tell each other first; another text is another network or version.
    pub(crate) fn identity(&self) -> String {
        format!("{}/{PROTOCOL_VERSION}", self.prefix)
    }

    /// Prefix of the names under which gossip streams are opened.
    pub(crate) fn gossip(&self) -> String {
        format!("{}/gossip/{PROTOCOL_VERSION}", self.prefix)
    }

    pub(crate) fn adverts_topic(&self) -> IdentTopic {
        IdentTopic::new(format!("{}/adverts/{PROTOCOL_VERSION}", self.prefix.trim_start_matches('/')))
    }

    pub(crate) fn checkpoints_topic(&self) -> IdentTopic {
        IdentTopic::new(format!("{}/checkpoints/{PROTOCOL_VERSION}", self.prefix.trim_start_matches('/')))
    }

    pub(crate) fn postings_topic(&self) -> IdentTopic {
        IdentTopic::new(format!("{}/postings/{PROTOCOL_VERSION}", self.prefix.trim_start_matches('/')))
    }

    pub(crate) fn quotes_topic(&self) -> IdentTopic {
        IdentTopic::new(format!("{}/quotes/{PROTOCOL_VERSION}", self.prefix.trim_start_matches('/')))
    }

    /// All that is gossiped about.
    pub(crate) fn topics(&self) -> [IdentTopic; 4] {
        [self.adverts_topic(), self.checkpoints_topic(), self.postings_topic(), self.quotes_topic()]
    }

    pub(crate) fn adverts_topic_hash(&self) -> TopicHash {
        self.adverts_topic().hash()
    }

    /// `/gridhour/<network>/<service>/<version>`.
    ///
    /// # Panics
    /// Never: the name starts with a slash, which is all that is asked of it.
    pub(crate) fn stream(&self, service: &str) -> StreamProtocol {
        StreamProtocol::try_from_owned(format!("{}/{service}/{PROTOCOL_VERSION}", self.prefix))
            .expect("the name starts with a slash")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_network_and_version() {
        let protocols = Protocols::new(&NetworkId([0xab; 32]));
        assert_eq!(protocols.stream("job").as_ref(), "/gridhour/abababababababab/job/1");
        assert_eq!(protocols.adverts_topic().to_string(), "gridhour/abababababababab/adverts/1");
        assert_ne!(protocols.identity(), Protocols::new(&NetworkId([0xac; 32])).identity());
    }
}
