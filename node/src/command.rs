//! `gridhour-node`, and `gridhour node`, which is the same program: arguments, start, and what is reported.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand};
use gridhour_protocol::signed::PublicKey;
use tokio::sync::watch;

use crate::{
    data_dir::DataDir,
    drivers::split_view::proof_of_fraud,
    model::catalogue::ModelCache,
    net::{NetConfig, SeenCheckpoints},
    settings::Settings,
};

mod compute;
mod error;
mod event;
mod face;
mod observer;
mod provider;
mod remembered;
mod repair;
mod signals;
mod size;
mod validator;

pub use compute::{BackendKind, ComputeArgs};
pub use error::NodeError;
pub use event::{NodeEvent, OnNodeEvent, printer};
pub use provider::ReserveArgs;
pub use signals::told_to_stop;
pub use size::parse_size;

/// What to run.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Sell inference: load a model, measure this machine, advertise, serve, collect
    Provider(Box<ProviderArgs>),
    /// Keep the ledger of a network whose operator's key is in the data directory
    Validator(ValidatorArgs),
    /// Follow a ledger: check every block, keep a copy, and serve it
    Observer(ObserverArgs),
    /// Make a damaged journal whole again with the blocks of an observer, while the node is stopped
    Repair(RepairArgs),
}

/// What every node takes.
#[derive(Debug, Args)]
pub struct CommonArgs {
    /// Listen at this multiaddress; may be repeated [default: all interfaces, TCP and QUIC, port 4801 of a validator, 4802 of a provider, 4803 of an observer]
    #[arg(long, value_name = "MULTIADDR", env = "GRIDHOUR_LISTEN", value_delimiter = ',')]
    pub listen: Vec<String>,

    /// Look for peers on the local network, and announce this node there
    #[arg(long, env = "GRIDHOUR_MDNS")]
    pub mdns: bool,

    /// Help peers that nobody can dial: pass on connections to them, within limits
    #[arg(long, env = "GRIDHOUR_RELAY")]
    pub relay: bool,

    /// Be reached through bootstrap peers that relay, without finding out first that nobody can dial this node
    #[arg(long, env = "GRIDHOUR_RELAYED")]
    pub relayed: bool,

    /// End when standard input closes, so that a node never outlives the program that started it
    #[arg(long)]
    pub until_stdin_closes: bool,
}

impl CommonArgs {
    /// `config`, with the flags.
    fn reach(&self, config: NetConfig) -> NetConfig {
        NetConfig { mdns: self.mdns, relays: self.relay, relayed: self.relayed, ..config }
    }
}

/// What a provider takes.
#[derive(Debug, Args)]
pub struct ProviderArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: CommonArgs,

    /// Serve this model: a catalogue name, an id or a path [default: the catalogue's first]
    #[arg(long, env = "GRIDHOUR_MODEL")]
    pub model: Option<String>,

    /// Ask this many credits for a reference GPU-hour [default: 1]
    #[arg(long, value_name = "CREDITS", env = "GRIDHOUR_ASK")]
    pub ask: Option<String>,

    /// Serve on idle capacity for this many credits for a reference GPU-hour, no more than --ask: such a job may be taken
    /// back for an order that pays more [default: not at all]
    #[arg(long, value_name = "CREDITS", env = "GRIDHOUR_SPOT_ASK")]
    pub spot_ask: Option<String>,

    /// Let a spot job go on this long once its slot is wanted back, from 1000 to 30000 [default: 5000]
    #[arg(long, value_name = "MS", env = "GRIDHOUR_SPOT_NOTICE_MS")]
    pub spot_notice_ms: Option<u64>,

    /// Let a job wait this long for a slot, at most 15000; 0 refuses it at once [default: 5000]
    #[arg(long, value_name = "MS", env = "GRIDHOUR_QUEUE_MS")]
    pub queue_ms: Option<u64>,

    /// Declare this region, such as eu-de; orders that name regions match no provider without one
    #[arg(long, env = "GRIDHOUR_REGION")]
    pub region: Option<String>,

    /// Declare this jurisdiction, such as DE
    #[arg(long, env = "GRIDHOUR_JURISDICTION")]
    pub jurisdiction: Option<String>,

    /// Compute with this many threads [default: all processors]
    #[arg(long, env = "GRIDHOUR_THREADS")]
    pub threads: Option<u16>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub compute: ComputeArgs,

    /// Serve this many jobs at once [default: 2]
    #[arg(long, env = "GRIDHOUR_SLOTS")]
    pub slots: Option<u16>,

    /// Hold keys and values of jobs in this much memory: bytes, or a number with KiB, MiB or GiB [default:
    /// 2GiB]
    #[arg(long, value_name = "SIZE", env = "GRIDHOUR_KV_MEMORY")]
    pub kv_memory: Option<String>,

    /// Let others calibrate this provider once in so many seconds, or "never" [default: 3600]
    #[arg(long, value_name = "SECONDS", env = "GRIDHOUR_CALIBRATE_EVERY")]
    pub calibrate_every: Option<String>,

    /// Give a calibration up if one step takes longer, ours or the challenger's [default: by the memory, an
    /// hour at most]
    #[arg(long, value_name = "SECONDS", env = "GRIDHOUR_CALIBRATE_TIMEOUT")]
    pub calibrate_timeout: Option<u64>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub reserve: ReserveArgs,

    /// Give running jobs so long to end when told to stop, then send their clients elsewhere [default: 30]
    #[arg(long, value_name = "SECONDS", env = "GRIDHOUR_DRAIN")]
    pub drain: Option<u64>,

    /// Let only this account calibrate this provider; may be repeated [default: anyone]
    #[arg(long, value_name = "ACCOUNT", env = "GRIDHOUR_CHALLENGERS", value_delimiter = ',')]
    pub challenger: Vec<PublicKey>,

    /// Keep this many credits at stake for the device, so that clients who ask for a stake buy here; they are
    /// bonded when the account has them, and stay while it runs and 90 days after [default: 0]
    #[arg(long, value_name = "CREDITS", env = "GRIDHOUR_STAKE")]
    pub stake: Option<String>,

    /// Quote for posted orders: this many credits for a GPU-hour when idle, evenly up to the ask when all slots are
    /// taken. A slot is kept for each quote while it is firm [default: no quotes]
    #[arg(long, value_name = "CREDITS", env = "GRIDHOUR_QUOTE_FLOOR")]
    pub quote_floor: Option<String>,

    /// Let quotes be firm for so long, at most a minute [default: 10]
    #[arg(long, value_name = "SECONDS", env = "GRIDHOUR_QUOTE_SECS")]
    pub quote_secs: Option<u64>,

    /// Serve metrics and health over HTTP at this address, such as 127.0.0.1:4882 [default: not at all]
    #[arg(long, value_name = "ADDRESS", env = "GRIDHOUR_HTTP")]
    pub http: Option<SocketAddr>,

    /// Add this delay to every ping and answer, in milliseconds: for demonstrations on one machine
    #[arg(long, value_name = "MS", env = "GRIDHOUR_DELAY_MS")]
    pub delay_ms: Option<u64>,
}

/// What a validator takes.
#[derive(Debug, Args)]
pub struct ValidatorArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: CommonArgs,

    /// Serve the public log, metrics and health over HTTP at this address, such as 127.0.0.1:4880 [default: not at all]
    #[arg(long, value_name = "ADDRESS", env = "GRIDHOUR_HTTP")]
    pub http: Option<SocketAddr>,

    /// Ask the witness at this URL to cosign new checkpoints of the public log; may be repeated. The network file must
    /// name its key
    #[arg(long, value_name = "URL", env = "GRIDHOUR_WITNESSES", value_delimiter = ',')]
    pub witness: Vec<String>,
}

/// What an observer takes.
#[derive(Debug, Args)]
pub struct ObserverArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: CommonArgs,

    /// Follow the node at this multiaddress, which ends in /p2p/PEER: the ledger node or another observer; may be
    /// repeated [default: the network file's peers]
    #[arg(long, value_name = "MULTIADDR", env = "GRIDHOUR_FOLLOW", value_delimiter = ',')]
    pub follow: Vec<String>,

    /// Serve the copy's public log, metrics and health over HTTP at this address, such as 127.0.0.1:4880 [default: not at
    /// all]
    #[arg(long, value_name = "ADDRESS", env = "GRIDHOUR_HTTP")]
    pub http: Option<SocketAddr>,
}

/// What a repair takes.
#[derive(Debug, Args)]
pub struct RepairArgs {
    /// Fetch what is missing from the node at this multiaddress, which ends in /p2p/PEER; may be repeated [default:
    /// the network file's peers]. All of them must answer
    #[arg(long, value_name = "MULTIADDR", env = "GRIDHOUR_REPAIR_FROM", value_delimiter = ',')]
    pub from: Vec<String>,
}

/// Where a node finds its surroundings.
#[derive(Debug)]
pub struct Surroundings {
    /// Its state.
    pub data_dir: DataDir,
    /// Its settings file, read.
    pub settings: Settings,
    /// Model files.
    pub models: ModelCache,
}

/// Tells of two histories if peers bring them, until the network ends.
async fn look_out(seen: watch::Receiver<SeenCheckpoints>, proof: PathBuf, on_event: OnNodeEvent) {
    if let Some(fraud) = proof_of_fraud(seen, &proof).await {
        on_event(NodeEvent::Fraud { conflict: fraud.conflict().name(), proof });
    }
}

/// Runs a node until `stop` turns true, or until standard input closes if it was asked to.
///
/// # Errors
/// [`NodeError`] if it cannot start, or cannot go on.
pub async fn run(
    command: NodeCommand,
    surroundings: Surroundings,
    stop: watch::Receiver<bool>,
    on_event: OnNodeEvent,
) -> Result<(), NodeError> {
    let until_stdin_closes = match &command {
        NodeCommand::Provider(args) => args.common.until_stdin_closes,
        NodeCommand::Validator(args) => args.common.until_stdin_closes,
        NodeCommand::Observer(args) => args.common.until_stdin_closes,
        NodeCommand::Repair(_) => false,
    };
    let stop = if until_stdin_closes { or_stdin_closes(stop)? } else { stop };
    match command {
        NodeCommand::Provider(args) => provider::run(*args, surroundings, stop, on_event).await,
        NodeCommand::Validator(args) => validator::run(args, surroundings, stop, on_event).await,
        NodeCommand::Observer(args) => observer::run(args, surroundings, stop, on_event).await,
        NodeCommand::Repair(args) => repair::run(args, surroundings, stop, on_event).await,
    }
}

/// Turns true when `stop` does, or when standard input closes.
fn or_stdin_closes(mut stop: watch::Receiver<bool>) -> Result<watch::Receiver<bool>, NodeError> {
    let (told, either) = watch::channel(false);
    let on_stdin = told.clone();
    // A thread of its own: reading standard input cannot be given up, and must not hold up the runtime's end.
    let wait = move || {
        let mut buffer = [0; 64];
        while matches!(std::io::Read::read(&mut std::io::stdin(), &mut buffer), Ok(1..)) {}
        on_stdin.send_replace(true);
    };
    std::thread::Builder::new().name("stdin".into()).spawn(wait).map_err(NodeError::Thread)?;
    tokio::spawn(async move {
        if stop.wait_for(|stop| *stop).await.is_ok() {
            told.send_replace(true);
        }
    });
    Ok(either)
}
