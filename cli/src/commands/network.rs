//! `gridhour network`: make, join and look at networks.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use gridhour_contracts_sim::{
    genesis::Genesis,
    limits::LEDGER_VERSION,
    network_file::NetworkFile,
    witnesses::{LogKeys, NamedWitness, Witnesses},
};
use gridhour_node::{clock, data_dir::DataDir, keys, network_json};
use gridhour_protocol::{
    note::VerifierKey,
    signed::{PublicKey, SecretKey, Signed},
    units::Millis,
    wire::Wire,
};
use serde_json::json;

use crate::{
    context::Context,
    error::{CommandError, Result},
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour network init --name lab --bootstrap /ip4/192.0.2.7/tcp/4801
  gridhour network init --witness w1.example/w+ff3e2ab1+BD... --witness w2.example/w+0a9c4411+BF...
  gridhour network join network.json
  gridhour network show --json";

/// How far a block's time may be from the clock of whoever receives it.
const CLOCK_SKEW: Millis = Millis(10_000);

/// Make, join and look at networks
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a network, whose ledger this data directory keeps and whose credits it issues
    Init(InitArgs),
    /// Join the network in FILE: its trust root is copied to the data directory
    Join {
        /// A network file, from whoever runs the network
        file: PathBuf,
    },
    /// Name other witnesses, or none, and sign the network file anew with the operator's key
    ///
    /// The network stays the same; hand the new file to whoever joined.
    SetWitnesses(WitnessArgs),
    /// Print the network of the data directory
    Show,
}

/// Whose cosignatures the network's public log needs.
#[derive(Debug, Default, clap::Args)]
pub struct WitnessArgs {
    /// Name this witness of the public log, by its vkey (`gridhour key vkey`); may be repeated
    #[arg(long, value_name = "VKEY")]
    pub witness: Vec<VerifierKey>,

    /// Require the cosignatures of so many of them [default: more than half]
    #[arg(long, value_name = "K")]
    pub witnesses_required: Option<u16>,
}

impl WitnessArgs {
    fn witnesses(&self) -> Result<Witnesses> {
        let named = self.witness.iter().cloned().map(NamedWitness::try_from);
        let named = named.collect::<std::result::Result<Vec<_>, _>>().map_err(CommandError::usage)?;
        let majority = u16::try_from(named.len() / 2 + 1).unwrap_or(u16::MAX);
        let usual = if named.is_empty() { 0 } else { majority };
        Ok(Witnesses { named, required: self.witnesses_required.unwrap_or(usual) })
    }
}

/// What makes a network.
#[derive(Debug, Default, clap::Args)]
pub struct InitArgs {
    /// Name it, for people
    #[arg(long, default_value = "gridhour")]
    pub name: String,

    /// Tell newcomers to dial this multiaddress of the ledger node; may be repeated. The peer id is appended
    #[arg(long, value_name = "MULTIADDR")]
    pub bootstrap: Vec<String>,

    /// Give providers at least this time to collect after a session, in seconds
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub grace_secs: u64,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub witnesses: WitnessArgs,
}

pub fn run(args: Args, context: &Context) -> Result {
    match args.command {
        Command::Init(args) => {
            let file = init(&args, &context.data_dir)?;
            report(context, &file)?;
            context.out.line(
                "Start its ledger with `gridhour node validator`, and hand network.json to whoever joins.",
            )
        }
        Command::Join { file } => {
            let network = network_json::load(&file)?;
            let own = context.data_dir.network();
            if own.exists() && network_json::load(&own)?.id() != network.id() {
                return Err(CommandError::refused(format!("{} is of another network", own.display()))
                    .hint("use another data directory for another network"));
            }
            network_json::save(&own, network.signed())?;
            report(context, network.signed())
        }
        Command::SetWitnesses(args) => report(context, &set_witnesses(&args, &context.data_dir)?),
        Command::Show => report(context, network_json::load(&context.data_dir.network())?.signed()),
    }
}

/// Makes a network in `data_dir`: keys of operator and issuer, and the signed network file.
pub fn init(args: &InitArgs, data_dir: &DataDir) -> Result<Signed<NetworkFile>> {
    let path = data_dir.network();
    if path.exists() {
        return Err(CommandError::refused(format!("{} exists already", path.display()))
            .hint("a network is made once; use another data directory for another one"));
    }
    let operator = keys::load_or_create(&data_dir.key())?;
    let issuer = keys::load_or_create(&data_dir.issuer_key())?;
    let genesis = Genesis {
        version: LEDGER_VERSION,
        name: args.name.clone(),
        created_at: clock::now(),
        operator: operator.public(),
        issuer: issuer.public(),
        allocations: Vec::new(),
        grace_min: Millis(args.grace_secs.saturating_mul(1_000)),
        clock_skew: CLOCK_SKEW,
    };
    let bootstrap =
        args.bootstrap.iter().map(|address| with_peer(address, &operator.public())).collect::<Result<_>>()?;
    save(&path, &operator, NetworkFile { genesis, bootstrap, witnesses: args.witnesses.witnesses()? })
}

/// Signs `file`, if it is within its bounds, and writes it to `path`.
fn save(path: &Path, operator: &SecretKey, file: NetworkFile) -> Result<Signed<NetworkFile>> {
    file.check_bounds().map_err(CommandError::usage)?;
    let file = operator.sign(file);
    network_json::save(path, &file)?;
    Ok(file)
}

fn set_witnesses(args: &WitnessArgs, data_dir: &DataDir) -> Result<Signed<NetworkFile>> {
    let (path, operator) = (data_dir.network(), keys::load(&data_dir.key())?);
    let old = network_json::load(&path)?.into_signed().body;
    if old.genesis.operator != operator.public() {
        return Err(CommandError::refused("the key of this data directory is not the operator's"));
    }
    save(&path, &operator, NetworkFile { witnesses: args.witnesses()?, ..old })
}

/// `address` ending in the operator's peer id.
fn with_peer(address: &str, operator: &PublicKey) -> Result<String> {
    if address.contains("/p2p/") {
        return Ok(address.to_owned());
    }
    let peer = gridhour_node::net::peer_id_of(operator)
        .ok_or_else(|| CommandError::internal("the operator's key is no peer's"))?;
    Ok(format!("{address}/p2p/{peer}"))
}

fn report(context: &Context, file: &Signed<NetworkFile>) -> Result {
    let genesis = &file.body.genesis;
    let keys = LogKeys::of(&file.body).map_err(CommandError::internal)?;
    let (vkey, required) = (keys.operator().to_string(), file.body.witnesses.required);
    let witnesses: Vec<String> = keys.witnesses().iter().map(ToString::to_string).collect();
    context.out.document(&json!({
        "network": file.body.id().to_string(), "name": genesis.name, "operator": genesis.operator.to_string(),
        "issuer": genesis.issuer.to_string(), "vkey": vkey, "created_at": genesis.created_at.0,
        "bootstrap": file.body.bootstrap, "witnesses": witnesses, "witnesses_required": required,
        "path": context.data_dir.network(),
    }))?;
    context.out.line(format!("network   {} ({})", file.body.id(), genesis.name))?;
    context.out.line(format!("operator  {}", genesis.operator))?;
    context.out.line(format!("issuer    {}", genesis.issuer))?;
    context.out.line(format!("vkey      {vkey}"))?;
    for witness in &witnesses {
        context.out.line(format!("witness   {witness}"))?;
    }
    if required > 0 {
        context.out.line(format!("required  {required} of {} witnesses", witnesses.len()))?;
    }
    for address in &file.body.bootstrap {
        context.out.line(format!("peer      {address}"))?;
    }
    context.out.line(format!("file      {}", context.data_dir.network().display()))
}
