//! A way to the ledger for whoever asks and signs, and keeps nothing: no records, no offers, and a name among peers that
//! is thrown away. So it can be used beside a running node of the same data directory.

use std::time::Duration;

use gridhour_contracts_sim::network_file::NetworkFile;
use gridhour_protocol::{
    market::advert::Advert,
    signed::{PublicKey, SecretKey, Verified},
};

use super::{
    client::{ConnectError, addresses, reach_any},
    ledger_client::LedgerClient,
    offers::Offers,
};
use crate::{
    keys::random32,
    net::{Address, Net, NetConfig, NetHandle},
};

/// A peer without a past.
pub struct Visitor {
    net: NetHandle,
    ledger: LedgerClient,
    offers: Offers,
}

impl Visitor {
    /// Joins the network and waits until a bootstrap peer answered.
    ///
    /// # Errors
    /// If nobody does.
    pub async fn connect(network: &Verified<NetworkFile>) -> Result<Self, ConnectError> {
        let bootstrap = addresses(&network.bootstrap)?;
        let name = SecretKey::from_seed(random32()?);
        let config = NetConfig {
            bootstrap: bootstrap.clone(),
            find_peers: false,
            ..NetConfig::new(network.id(), name)
        };
        let (net, inbox) = Net::start(config).await?;
        let offers = Offers::listen(network.id(), inbox);
        let copies: Vec<PublicKey> = bootstrap.iter().filter_map(Address::peer).collect();
        reach_any(&net, bootstrap).await?;
        let anchor = (&network.genesis).into();
        let ledger = LedgerClient::new(net.clone(), anchor, network.genesis.operator).or_ask(copies);
        Ok(Self { net, ledger, offers })
    }

    /// The network, as this peer is part of it.
    #[must_use]
    pub fn net(&self) -> &NetHandle {
        &self.net
    }

    /// The ledger of the network.
    #[must_use]
    pub fn ledger(&self) -> &LedgerClient {
        &self.ledger
    }

    /// Live offers, as soon as there are `least` and no more come, or when `patience` is over.
    pub async fn offers(&self, least: usize, patience: Duration) -> Vec<Verified<Advert>> {
        self.offers.wait_for(least, patience).await
    }

    /// Leaves the network.
    pub async fn leave(self) {
        self.net.shutdown().await;
    }
}
