//! A damaged journal, repaired over the network.

use std::time::Duration;

use gridhour_contracts_sim::network_file::NetworkFile;
use gridhour_protocol::{signed::Verified, units::Height};
use serde_json::{Value, json};
use tokio::{
    runtime::Handle,
    sync::watch,
    task::{JoinError, spawn_blocking},
    time::timeout,
};

use super::{NodeError, NodeEvent, OnNodeEvent, RepairArgs, Surroundings, observer::sources};
use crate::{
    drivers::ledger_client::LedgerClient,
    keys,
    net::{Address, Net, NetConfig, NetHandle},
    network_json,
    store::repair::{BlockSource, RepairError, Repaired, repair},
};

/// How long a node may take to be reached.
const CONNECT_TIME: Duration = Duration::from_secs(10);

pub(super) async fn run(
    args: RepairArgs,
    surroundings: Surroundings,
    stop: watch::Receiver<bool>,
    on_event: OnNodeEvent,
) -> Result<(), NodeError> {
    let data_dir = surroundings.data_dir;
    let network = network_json::load(&data_dir.network())?;
    let key = keys::load_or_create(&data_dir.key())?;
    let from = sources("--from", &args.from, None, &network, &key.public())?;
    // Nobody is listened to: the events, and requests of others, are dropped.
    let (net, _) = Net::start(NetConfig::new(network.id(), key)).await?;
    let repaired = match NetSource::reach(&net, &network, from, stop).await {
        Ok(mut source) => {
            let genesis = network.genesis.clone();
            let work = move || repair(&data_dir.ledger(), &genesis, &mut source);
            spawn_blocking(work).await.map_err(|error: JoinError| NodeError::Stopped(error.to_string()))
        }
        Err(error) => Ok(Err(error)),
    };
    net.shutdown().await;
    on_event(NodeEvent::Repaired(repaired??));
    Ok(())
}

/// Nodes that are asked in turn. All of them must answer: one that does not may be the one that has more.
struct NetSource {
    runtime: Handle,
    nodes: Vec<(Address, LedgerClient)>,
    stop: watch::Receiver<bool>,
}

impl NetSource {
    async fn reach(
        net: &NetHandle,
        network: &Verified<NetworkFile>,
        from: Vec<Address>,
        stop: watch::Receiver<bool>,
    ) -> Result<Self, RepairError> {
        let mut nodes = Vec::new();
        for address in from {
            let dialled = timeout(CONNECT_TIME, net.dial(address.clone())).await;
            let peer = match dialled {
                Ok(Ok(peer)) => peer,
                Ok(Err(error)) => return Err(RepairError::Source(error.to_string())),
                Err(_) => {
                    let why = format!("{address}: no answer within {CONNECT_TIME:?}");
                    return Err(RepairError::Source(why));
                }
            };
            nodes.push((address, LedgerClient::new(net.clone(), network.id(), peer)));
        }
        Ok(Self { runtime: Handle::current(), nodes, stop })
    }
}

impl BlockSource for NetSource {
    fn blocks(&mut self, from: Height) -> Result<Vec<Vec<u8>>, String> {
        for (address, node) in &self.nodes {
            if *self.stop.borrow() {
                return Err("interrupted".into());
            }
            let blocks = self.runtime.block_on(node.blocks(from));
            let blocks = blocks.map_err(|error| format!("{address}: {error}"))?;
            if !blocks.is_empty() {
                return Ok(blocks);
            }
        }
        Ok(Vec::new())
    }
}

pub(super) fn event_json(repaired: Option<&Repaired>) -> Value {
    match repaired {
        None => json!({ "event": "repaired", "damage": null }),
        Some(Repaired { damage, height, salvaged, fetched, kept, checked_to }) => json!({
            "event": "repaired", "damage": damage, "height": height, "salvaged": salvaged, "fetched": fetched,
            "kept": kept, "checked_to": checked_to,
        }),
    }
}

pub(super) fn event_text(repaired: Option<&Repaired>) -> String {
    let Some(Repaired { damage, height, salvaged, fetched, kept, checked_to }) = repaired else {
        return "the journal is whole: nothing was changed".into();
    };
    let checked = match checked_to {
        Some(height) => format!("it has the block that the state saw at height {height}"),
        None => {
            "the state cannot be used, so nobody here knows whether later blocks were acknowledged".into()
        }
    };
    format!(
        "{damage}\nrepaired up to height {height}: {salvaged} blocks found, {fetched} fetched, all signatures checked; \
         {checked}; the damaged journal is kept at {}",
        kept.display()
    )
}
