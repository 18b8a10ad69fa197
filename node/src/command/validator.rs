//! A ledger node, started.

use std::{net::SocketAddr, sync::Arc};

use axum::Router;
use gridhour_contracts_sim::{network_file::NetworkFile, witnesses::LogKeys};
use gridhour_protocol::{
    note::VerifierKey,
    signed::{SecretKey, Verified},
};
use tokio::sync::watch;

use super::{
    NodeError, NodeEvent, OnNodeEvent, Surroundings, ValidatorArgs, face::Face, look_out, remembered,
};
use crate::{
    consensus::{Ordering, ledger_time::SystemClock, solo::Solo},
    drivers::{
        checkup::Checkups,
        split_view::announce,
        validator::Validator,
        witnessing::{WITNESS_URLS_MAX, Witnessing, WitnessingEvent},
    },
    http::{HttpServer, public_log::PublicLog},
    keys,
    metrics::ledger::Sequencing,
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
    let face = Face::new("validator", &data_dir, &stop);
    let on_event = face.counting(on_event);
    let key = keys::load(&data_dir.key())?;
    let network = network_json::load(&data_dir.network())?;
    check_operator(&key, &network)?;
    let ledger = Ledger::open(&data_dir.ledger(), &network.genesis)?;
    on_event(opened(&ledger));
    let solo = Solo::start(ledger, key.clone(), Box::new(SystemClock::default()))?;
    let keys = LogKeys::of(&network).map_err(|error| argument("network file", error.to_string()))?;
    let urls = witness_urls(args.witness, settings.witnesses, &keys)?;
    let log = solo.public_log().map(|shelf| public_log(shelf, &key, &keys, urls, &on_event));
    face.metrics.add(solo.view().clone());
    face.metrics.add(Sequencing(solo.view().counts().clone()));
    face.metrics.add(face.publishing.clone());
    let _serving = serve(&face, args.http.or(settings.http), log.clone(), keys.operator(), &on_event).await?;
    let listen = listen(&args.common.listen, settings.listen.as_deref(), &LISTEN)?;
    let remembered = remembered::read(&data_dir.peers());
    let config = NetConfig { listen, remembered, ..NetConfig::of(&network, key.clone()) };
    let (net, inbox) = Net::start(args.common.reach(config)).await?;
    remembered::keep(&net, data_dir.peers());
    tokio::spawn(look_out(net.watch_checkpoints(), data_dir.fraud_proof(), on_event.clone()));
    if let Some(log) = log {
        tokio::spawn(announce(net.clone(), log));
    }
    face.metrics.add(net.clone());
    face.health.started();
    let addresses = net.listen_addrs().iter().map(ToString::to_string).collect();
    on_event(NodeEvent::Ready { id: key.public(), addresses });
    let checkups = Checkups::new(net.clone(), network.id());
    let validator = Validator::new(solo, key, network.into_signed()).with_checkups(checkups);
    let ended = validator.run(inbox, stop).await;
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

/// Serves the node's face at `address`, and the public log if there is one, and says where.
pub(super) async fn serve(
    face: &Face,
    address: Option<SocketAddr>,
    log: Option<Arc<PublicLog>>,
    vkey: &VerifierKey,
    on_event: &OnNodeEvent,
) -> Result<Option<HttpServer>, NodeError> {
    let routes = log.clone().map_or_else(Router::new, PublicLog::routes);
    let server = face.serve(address, routes, on_event).await?;
    if let Some((server, _)) = server.as_ref().zip(log) {
        on_event(NodeEvent::PublicLog { address: server.address(), vkey: vkey.to_string() });
    }
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
