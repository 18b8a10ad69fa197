//! A ledger node, started.

use std::{net::SocketAddr, sync::Arc};

use gridhour_contracts_sim::{checkpoint::operator_key, network_file::NetworkFile};
use gridhour_protocol::{
    note::VerifierKey,
    signed::{SecretKey, Verified},
};
use tokio::sync::watch;

use super::{NodeError, NodeEvent, OnNodeEvent, Surroundings, ValidatorArgs, look_out};
use crate::{
    consensus::{ledger_time::SystemClock, solo::Solo},
    drivers::{split_view::announce, validator::Validator},
    http::{HttpServer, public_log::PublicLog},
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
    let log = solo.public_log().map(|shelf| Arc::new(PublicLog::new(shelf.clone(), key.clone())));
    let vkey = operator_key(&network.id(), network.genesis.operator);
    let vkey =
        vkey.map_err(|error| NodeError::Argument { what: "operator's key", why: error.to_string() })?;
    let _serving = match args.http.or(settings.http).zip(log.clone()) {
        Some((address, log)) => Some(serve(address, log, &vkey, &on_event).await?),
        None => None,
    };
    let listen = listen(&args.common.listen, settings.listen.as_deref(), &LISTEN)?;
    let config = NetConfig { listen, operator: Some(vkey), ..NetConfig::new(network.id(), key.clone()) };
    let (net, inbox) = Net::start(config).await?;
    tokio::spawn(look_out(net.watch_checkpoints(), data_dir.fraud_proof(), on_event.clone()));
    if let Some(log) = log {
        tokio::spawn(announce(net.clone(), log));
    }
    let addresses = net.listen_addrs().iter().map(ToString::to_string).collect();
    on_event(NodeEvent::Ready { id: key.public(), addresses });
    let ended = Validator::new(solo, key, network.into_signed()).run(inbox, stop).await;
    net.shutdown().await;
    ended.map_err(NodeError::Stopped)
}

/// Serves the public log at `address`, and says where.
async fn serve(
    address: SocketAddr,
    log: Arc<PublicLog>,
    vkey: &VerifierKey,
    on_event: &OnNodeEvent,
) -> Result<HttpServer, NodeError> {
    let server = HttpServer::start(address, log.routes()).await;
    let server = server.map_err(|source| NodeError::Http { address, source })?;
    on_event(NodeEvent::PublicLog { address: server.address(), vkey: vkey.to_string() });
    Ok(server)
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
    let written = ledger.tiles.iter().filter(|tiles| tiles.was_built());
    let written = written.map(|_| "public log written anew from the journal".to_owned());
    let mended = torn.chain(rebuilt).chain(written).collect();
    NodeEvent::Ledger { height: ledger.state.tip().height.0, mended }
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
