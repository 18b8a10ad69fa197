//! A ledger node, started.

use gridhour_contracts_sim::network_file::NetworkFile;
use gridhour_protocol::signed::{SecretKey, Verified};
use tokio::sync::watch;

use super::{NodeError, NodeEvent, OnNodeEvent, Surroundings, ValidatorArgs};
use crate::{
    consensus::{ledger_time::SystemClock, solo::Solo},
    drivers::validator::Validator,
    keys,
    net::{Address, Net, NetConfig},
    network_json,
    store::ledger_dir::Ledger,
};

/// Where a node listens if nobody says otherwise.
const LISTEN: [&str; 2] = ["/ip4/0.0.0.0/tcp/4801", "/ip4/0.0.0.0/udp/4801/quic-v1"];

pub(super) async fn run(
    args: ValidatorArgs,
    surroundings: Surroundings,
    stop: watch::Receiver<bool>,
    on_event: OnNodeEvent,
) -> Result<(), NodeError> {
    let Surroundings { data_dir, settings, .. } = surroundings;
    let key = keys::load(&data_dir.key())?;
    let network = network_json::load(&data_dir.network())?;
    check_operator(&key, &network)?;
    let ledger = Ledger::open(&data_dir.ledger(), &network.genesis)?;
    on_event(opened(&ledger));
    let solo = Solo::start(ledger, key.clone(), Box::new(SystemClock::default()))?;
    let listen = listen(&args.common.listen, settings.listen.as_deref(), &LISTEN)?;
    let config = NetConfig { listen, ..NetConfig::new(network.id(), key.clone()) };
    let (net, inbox) = Net::start(config).await?;
    let addresses = net.listen_addrs().iter().map(ToString::to_string).collect();
    on_event(NodeEvent::Ready { id: key.public(), addresses });
    let ended = Validator::new(solo, key, network.into_signed()).run(inbox, stop).await;
    net.shutdown().await;
    ended.map_err(NodeError::Stopped)
}

fn check_operator(key: &SecretKey, network: &Verified<NetworkFile>) -> Result<(), NodeError> {
    let (expected, found) = (network.genesis.operator, key.public());
    if expected == found { Ok(()) } else { Err(NodeError::NotOperator { expected, found }) }
}

/// What opening a ledger had to mend.
pub(super) fn opened(ledger: &Ledger) -> NodeEvent {
    let torn = ledger
        .torn
        .iter()
        .map(|torn| format!("removed an interrupted write that nobody was told of: {torn:?}"));
    let rebuilt = ledger.rebuilt.iter().map(|old| {
        format!(
            "state built again from the journal ({}); the old one is kept at {}",
            old.doubt,
            old.kept.display()
        )
    });
    NodeEvent::Ledger { height: ledger.state.tip().height.0, mended: torn.chain(rebuilt).collect() }
}

/// Addresses to listen on: flags, else settings, else `usual`.
pub(super) fn listen(
    flags: &[String],
    settings: Option<&[String]>,
    usual: &[&str],
) -> Result<Vec<Address>, NodeError> {
    addresses("listen address", flags, settings, usual)
}

/// Addresses that serve as `what`: flags, else settings, else `usual`.
pub(super) fn addresses(
    what: &'static str,
    flags: &[String],
    settings: Option<&[String]>,
    usual: &[&str],
) -> Result<Vec<Address>, NodeError> {
    let texts: Vec<String> = match (flags, settings) {
        ([], None) => usual.iter().map(ToString::to_string).collect(),
        ([], Some(settings)) => settings.to_vec(),
        (flags, _) => flags.to_vec(),
    };
    let parse = |text: &String| {
        text.parse().map_err(|error| NodeError::Argument { what, why: format!("{text:?}: {error}") })
    };
    texts.iter().map(parse).collect()
}
