//! An observer, started.

use std::{net::SocketAddr, sync::Arc};

use gridhour_contracts_sim::{network_file::NetworkFile, proof::Anchor, witnesses::LogKeys};
use gridhour_protocol::signed::{PublicKey, Verified};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    NodeError, NodeEvent, ObserverArgs, OnNodeEvent, Surroundings,
    face::Face,
    look_out, remembered,
    validator::{addresses, listen, opened, serve},
};
use crate::{
    clock,
    consensus::follower::Follower,
    drivers::{
        ledger_client::LedgerClient,
        observer::{Observer, ObserverConfig, ObserverEnd, ObserverEvent},
        pulse::Pulse,
    },
    http::HttpServer,
    keys,
    net::{Address, Net, NetConfig, NetHandle},
    network_json,
    store::ledger_dir::Ledger,
};

/// Where an observer listens if nobody says otherwise.
const LISTEN: [&str; 2] = ["/ip4/0.0.0.0/tcp/4803", "/ip4/0.0.0.0/udp/4803/quic-v1"];

pub(super) async fn run(
    args: ObserverArgs,
    surroundings: Surroundings,
    stop: watch::Receiver<bool>,
    on_event: OnNodeEvent,
) -> Result<(), NodeError> {
    let Surroundings { data_dir, settings, .. } = surroundings;
    let face = Face::new("observer", &data_dir, &stop);
    let on_event = face.counting(on_event);
    let network = network_json::load(&data_dir.network())?;
    let key = keys::load_or_create(&data_dir.key())?;
    if key.public() == network.genesis.operator {
        let why = "this data directory has the operator's key, so it keeps the ledger itself".into();
        return Err(NodeError::Argument { what: "observer", why });
    }
    let sources = sources("--follow", &args.follow, settings.follow.as_deref(), &network, &key.public())?;
    let ledger = Ledger::open(&data_dir.ledger(), &network.genesis)?;
    on_event(opened(&ledger));
    let follower = Follower::start(ledger, clock::now).map_err(NodeError::Thread)?;
    let listen = listen(&args.common.listen, settings.listen.as_deref(), &LISTEN)?;
    let log_keys = LogKeys::of(&network)
        .map_err(|error| NodeError::Argument { what: "network file", why: error.to_string() })?;
    let remembered = remembered::read(&data_dir.peers());
    let config = NetConfig { listen, remembered, ..NetConfig::of(&network, key.clone()) };
    let (net, inbox) = Net::start(args.common.reach(config)).await?;
    remembered::keep(&net, data_dir.peers());
    tokio::spawn(look_out(net.watch_checkpoints(), data_dir.fraud_proof(), on_event.clone()));
    let addresses = net.listen_addrs().iter().map(ToString::to_string).collect();
    on_event(NodeEvent::Ready { id: key.public(), addresses });
    let (told, on_http) = (on_event.clone(), on_event);
    let pulse = pulse_of(&net, &network, &sources);
    let config = ObserverConfig {
        network: network.into_signed(),
        sources,
        evidence: data_dir.evidence(),
        shown: data_dir.shown_checkpoint(),
        on_event: Arc::new(move |event| told(NodeEvent::Observer(event))),
    };
    let observer = Observer::new(follower, net.clone(), config);
    show(&face, &net, &observer, &pulse);
    let _serving = match args.http.or(settings.http) {
        Some(address) => serve_copy(&face, address, &observer, &log_keys, &on_http).await?,
        None => None,
    };
    let ended = observer.run(inbox, stop).await;
    net.shutdown().await;
    ended.map_err(|end| match end {
        end @ ObserverEnd::Breach { .. } => NodeError::Breach(end),
        ObserverEnd::Failed(why) => NodeError::Stopped(why),
    })
}

/// Asks the ledger node how far it is, or whoever is followed where it is out of reach.
fn pulse_of(net: &NetHandle, network: &Verified<NetworkFile>, sources: &[Address]) -> Pulse {
    let (anchor, pulse) = (Anchor::from(&network.genesis), Pulse::default());
    let others: Vec<PublicKey> = sources.iter().filter_map(Address::peer).collect();
    let ledger = LedgerClient::new(net.clone(), anchor, anchor.operator).or_ask(others);
    tokio::spawn(pulse.clone().keep(ledger));
    pulse
}

fn show(face: &Face, net: &NetHandle, observer: &Observer, pulse: &Pulse) {
    face.metrics.add(net.clone());
    face.metrics.add(observer.view().clone());
    face.metrics.add(face.following.clone());
    face.metrics.add(pulse.clone());
    let (pulse, following) = (pulse.clone(), face.following.clone());
    face.health.add(move || pulse.trouble());
    face.health.add(move || following.trouble());
    face.health.started();
}

/// Serves the observer's face and its public log at `address`.
async fn serve_copy(
    face: &Face,
    address: SocketAddr,
    observer: &Observer,
    keys: &LogKeys,
    on_event: &OnNodeEvent,
) -> Result<Option<HttpServer>, NodeError> {
    let log = observer.public_log().map(Arc::new);
    serve(face, Some(address), log, keys.operator(), on_event).await
}

/// Nodes that have the ledger: flags, else settings, else the network file's peers; never this node itself.
pub(super) fn sources(
    what: &'static str,
    flags: &[String],
    settings: Option<&[String]>,
    network: &Verified<NetworkFile>,
    own: &PublicKey,
) -> Result<Vec<Address>, NodeError> {
    let usual: Vec<&str> = network.bootstrap.iter().map(String::as_str).collect();
    let mut found = addresses(what, flags, settings, &usual)?;
    if let Some(nameless) = found.iter().find(|address| address.peer().is_none()) {
        return Err(NodeError::Argument { what, why: format!("{nameless} does not end in /p2p/<peer id>") });
    }
    found.retain(|address| address.peer() != Some(*own));
    if found.is_empty() {
        let why = "the network file names nobody else; name a node".into();
        return Err(NodeError::Argument { what, why });
    }
    Ok(found)
}

pub(super) fn event_json(event: &ObserverEvent) -> Value {
    match event {
        ObserverEvent::Following { source, height, behind } => json!({
            "event": "following", "source": source.to_string(), "height": height.0, "behind": behind,
        }),
        ObserverEvent::Level { source, height } => json!({
            "event": "level", "source": source.to_string(), "height": height.0, "behind": 0,
        }),
        ObserverEvent::Contradiction { kept } => {
            json!({ "event": "fraud", "conflict": "block-and-checkpoint", "proof": kept })
        }
        ObserverEvent::Trouble { source, why } => {
            json!({ "event": "source-trouble", "source": source.to_string(), "why": why })
        }
    }
}

pub(super) fn event_text(event: &ObserverEvent) -> Option<String> {
    match event {
        ObserverEvent::Following { behind: 0, .. } => None,
        ObserverEvent::Following { source, height, behind } => {
            Some(format!("height {}, {behind} blocks behind {}", height.0, source.short()))
        }
        ObserverEvent::Level { source, height } => {
            Some(format!("level with {} at height {}", source.short(), height.0))
        }
        ObserverEvent::Contradiction { kept } => Some(format!(
            "THE LEDGER'S OPERATOR SIGNED A CHECKPOINT THAT IS NOT OF ITS BLOCK; show everyone {}",
            kept.display()
        )),
        ObserverEvent::Trouble { source, why } => {
            Some(format!("nothing can be had from {source}: {why}; it is asked again"))
        }
    }
}
