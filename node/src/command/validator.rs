//! A ledger node, started.

use std::{net::SocketAddr, sync::Arc};

use gridhour_contracts_sim::{network_file::NetworkFile, witnesses::LogKeys};
use gridhour_protocol::{
    note::VerifierKey,
    signed::{SecretKey, Verified},
};
use tokio::sync::watch;

use super::{NodeError, NodeEvent, OnNodeEvent, Surroundings, ValidatorArgs, look_out, remembered};
use crate::{
    consensus::{ledger_time::SystemClock, solo::Solo},
    drivers::{
        split_view::announce,
        validator::Validator,
        witnessing::{WITNESS_URLS_MAX, Witnessing, WitnessingEvent},
    },
    http::{HttpServer, public_log::PublicLog},
    keys,
    net::{Address, Net, NetConfig},
    network_json,
    store::{ledger_dir::Ledger, tiles::TileShelf},
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
    let keys = LogKeys::of(&network).map_err(|error| argument("network file", error.to_string()))?;
    let urls = witness_urls(args.witness, settings.witnesses, &keys)?;
    let log = solo.public_log().map(|shelf| public_log(shelf, &key, &keys, urls, &on_event));
    let _serving = match args.http.or(settings.http).zip(log.clone()) {
        Some((address, log)) => Some(serve(address, log, keys.operator(), &on_event).await?),
        None => None,
    };
    let listen = listen(&args.common.listen, settings.listen.as_deref(), &LISTEN)?;
    let remembered = remembered::read(&data_dir.peers());
    let config = NetConfig { listen, remembered, ..NetConfig::of(&network, key.clone()) };
    let (net, inbox) = Net::start(args.common.reach(config)).await?;
    remembered::keep(&net, data_dir.peers());
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

fn argument(what: &'static str, why: String) -> NodeError {
    NodeError::Argument { what, why }
}

/// Where witnesses are asked: flags, else settings. Only those that the network file names can cosign.
fn witness_urls(
    flags: Vec<String>,
    settings: Option<Vec<String>>,
    keys: &LogKeys,
) -> Result<Vec<String>, NodeError> {
    let urls = if flags.is_empty() { settings.unwrap_or_default() } else { flags };
    if urls.len() > WITNESS_URLS_MAX {
        let why = format!("{} are over the limit of {WITNESS_URLS_MAX}", urls.len());
        return Err(argument("--witness", why));
    }
    if !urls.is_empty() && keys.witnesses().is_empty() {
        let why = "the network file names no witnesses; name them with `gridhour network set-witnesses`";
        return Err(argument("--witness", why.into()));
    }
    if let Some(url) = urls.iter().find(|url| !url.starts_with("http://") && !url.starts_with("https://")) {
        return Err(argument("--witness", format!("{url:?} is no URL")));
    }
    Ok(urls)
}

/// The public log on `shelf`: its newest checkpoint, or, where there are witnesses to ask, the newest that they were
/// asked about.
fn public_log(
    shelf: &TileShelf,
    operator: &SecretKey,
    keys: &LogKeys,
    urls: Vec<String>,
    on_event: &OnNodeEvent,
) -> Arc<PublicLog> {
    if urls.is_empty() {
        return Arc::new(PublicLog::new(shelf.clone(), operator.clone()));
    }
    let (published, given) = watch::channel(None);
    let (told, counted) = (on_event.clone(), keys.clone());
    let on_event = Arc::new(move |event| told(witnessing_event(&counted, event)));
    let (shelf, operator, keys) = (shelf.clone(), operator.clone(), keys.clone());
    let log = PublicLog::showing(shelf.clone(), given);
    tokio::spawn(Witnessing { shelf, operator, keys, urls, on_event }.run(published));
    Arc::new(log)
}

fn witnessing_event(keys: &LogKeys, event: WitnessingEvent) -> NodeEvent {
    match event {
        WitnessingEvent::Trouble { url, why } => NodeEvent::WitnessTrouble { url, why },
        WitnessingEvent::Published(signed) => {
            let quorum = keys.count(signed.note());
            NodeEvent::Published { height: signed.checkpoint().height.0, quorum }
        }
    }
}

/// Serves the public log at `address`, and says where.
pub(super) async fn serve(
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
