//! A way to the ledger for whoever asks and signs, and keeps nothing: no records, no offers, and a name among peers that
//! is thrown away. So it can be used beside a running node of the same data directory.

use gridhour_contracts_sim::network_file::NetworkFile;
use gridhour_protocol::signed::{PublicKey, SecretKey, Verified};

use super::{
    client::{ConnectError, addresses, reach_any},
    ledger_client::LedgerClient,
};
use crate::{
    keys::random32,
    net::{Address, Net, NetConfig, NetHandle},
};

/// A peer without a past.
pub struct Visitor {
    net: NetHandle,
    ledger: LedgerClient,
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
        let (net, mut inbox) = Net::start(config).await?;
        // It serves nobody: what is dropped is refused.
        tokio::spawn(async move { while inbox.recv().await.is_some() {} });
        let copies: Vec<PublicKey> = bootstrap.iter().filter_map(Address::peer).collect();
        reach_any(&net, bootstrap).await?;
        let anchor = (&network.genesis).into();
        let ledger = LedgerClient::new(net.clone(), anchor, network.genesis.operator).or_ask(copies);
        Ok(Self { net, ledger })
    }

    /// The ledger of the network.
    #[must_use]
    pub fn ledger(&self) -> &LedgerClient {
        &self.ledger
    }

    /// Leaves the network.
    pub async fn leave(self) {
        self.net.shutdown().await;
    }
}
