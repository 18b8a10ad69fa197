//! The demo's processes: one ledger node and the providers, each with its own key and data directory.

use std::{ffi::OsString, fs, path::Path, time::Duration};

use gridhour_contracts_sim::network_file::NetworkFile;
use gridhour_node::{command::BackendKind, keys, network_json};
use gridhour_protocol::{
    id::ModelId,
    signed::{PublicKey, Signed},
};
use serde_json::Value;

use super::{
    node_dir,
    process::Process,
    providers::{CAST, Cast},
};
use crate::{
    commands::network::{InitArgs, init},
    context::Context,
    error::{CommandError, Result},
};

/// How long a node may take to be ready; a provider loads and measures a model in this time.
const READY_TIME: Duration = Duration::from_secs(120);
/// The ledger node's name.
const LEDGER: &str = "ledger";
/// Where the demo's nodes listen: this machine alone, ports of the system's choice.
const LOOPBACK: &str = "/ip4/127.0.0.1/tcp/0,/ip4/127.0.0.1/udp/0/quic-v1";

/// A provider that is ready.
pub struct Ready {
    /// How it differs.
    pub cast: Cast,
    /// Its account.
    pub id: PublicKey,
    /// What computes.
    pub backend: String,
    /// MACs a second as it measured them: reading, writing.
    pub rates: (u64, u64),
}

/// The running nodes.
pub struct Stage {
    /// The providers.
    pub providers: Vec<Ready>,
    /// The model that they serve.
    pub model_id: ModelId,
    /// The client's network file.
    pub network: Signed<NetworkFile>,
    processes: Vec<Process>,
}

impl Stage {
    /// Makes the network and starts its nodes, one after the other: a provider measures itself at start, and two
    /// measuring at once would disturb each other.
    pub async fn set(context: &Context, model: &Path, backend: BackendKind) -> Result<Self> {
        let (network, ledger) = start_ledger(context).await?;
        let mut processes = vec![ledger];
        let mut providers = Vec::new();
        let mut model_id = None;
        for cast in CAST {
            let (process, ready, id) = start_provider(context, &network, cast, (model, backend)).await?;
            processes.push(process);
            providers.push(ready);
            model_id = Some(id);
        }
        let model_id = model_id.ok_or_else(|| CommandError::internal("the demo has no providers"))?;
        Ok(Self { providers, model_id, network, processes })
    }

    /// The demo's name of a provider.
    pub fn name_of(&self, id: &PublicKey) -> &'static str {
        self.providers.iter().find(|ready| ready.id == *id).map_or("?", |ready| ready.cast.name)
    }

    /// Ends every process, providers first.
    pub async fn clear(self) -> Result {
        for process in self.processes.into_iter().rev() {
            process.stop().await?;
        }
        Ok(())
    }
}

/// Makes the network with the operator's key in the ledger node's directory, starts it, and signs the network file anew
/// with the address at which it listens.
async fn start_ledger(context: &Context) -> Result<(Signed<NetworkFile>, Process)> {
    let folder = node_dir(&context.data_dir, LEDGER);
    let args = InitArgs { name: "demo".into(), bootstrap: Vec::new(), grace_secs: 30, ..InitArgs::default() };
    let made = init(&args, &folder)?;
    let mut process = start(context, LEDGER, &["validator", "--listen", LOOPBACK])?;
    let ready = process.wait_for("ready", READY_TIME).await?;
    let file = NetworkFile { bootstrap: texts(&ready["addresses"]), ..made.body };
    let network = keys::load(&folder.key())?.sign(file);
    let issuer = folder.issuer_key();
    network_json::save(&context.data_dir.network(), &network)?;
    // The issuer's key belongs to whoever made the network: here, the client's directory.
    let moved = fs::rename(&issuer, context.data_dir.issuer_key());
    moved.map_err(|error| CommandError::file(&issuer, &error))?;
    context.out.line(format!(
        "Network {}: one ledger node, at {}",
        network.body.id().short(),
        network.body.bootstrap.join(" ")
    ))?;
    Ok((network, process))
}

async fn start_provider(
    context: &Context,
    network: &Signed<NetworkFile>,
    cast: Cast,
    (model, backend): (&Path, BackendKind),
) -> Result<(Process, Ready, ModelId)> {
    network_json::save(&node_dir(&context.data_dir, cast.name).network(), network)?;
    let (threads, delay) = (cast.threads.to_string(), cast.delay_ms.to_string());
    let model = model.to_str().ok_or_else(|| CommandError::usage("the model's path is no UTF-8"))?;
    let args = [
        "provider",
        "--listen",
        LOOPBACK,
        "--model",
        model,
        "--ask",
        cast.ask,
        "--region",
        cast.region,
        "--threads",
        &threads,
        "--delay-ms",
        &delay,
        "--backend",
        if backend == BackendKind::Gpu { "gpu" } else { "cpu" },
    ];
    let mut process = start(context, cast.name, &args)?;
    let measured = process.wait_for("measured", READY_TIME).await?;
    let ready = process.wait_for("ready", READY_TIME).await?;
    let rates = (number(&measured["prefill_macs_per_s"])?, number(&measured["decode_macs_per_s"])?);
    let backend = measured["backend"].as_str().unwrap_or_default().to_owned();
    let id: PublicKey = parsed(&ready["id"])?;
    let Cast { name, ask, region, threads, delay_ms } = cast;
    context.out.line(format!(
        "Provider {name} ({}): {backend}, {threads} threads, asks {ask} credits/h, declares {region}, --delay-ms {delay_ms}; \
         measured {} million MACs/s reading, {} writing",
        id.short(),
        rates.0 / 1_000_000,
        rates.1 / 1_000_000
    ))?;
    let ready = Ready { cast, id, backend, rates };
    Ok((process, ready, parsed(&measured["model_id"])?))
}

fn start(context: &Context, name: &str, args: &[&str]) -> Result<Process> {
    let folder = node_dir(&context.data_dir, name);
    let mut all: Vec<OsString> = vec!["--data-dir".into(), folder.root().into()];
    if let Ok(cache) = context.model_cache() {
        all.extend(["--model-cache".into(), cache.folder().into()]);
    }
    all.extend(["--json".into(), "-v".into(), "node".into()]);
    all.extend(args.iter().map(Into::into));
    all.push("--until-stdin-closes".into());
    Process::start(name, &all, &folder.root().join("log"))
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn number(value: &Value) -> Result<u64> {
    value
        .as_u64()
        .ok_or_else(|| CommandError::internal(format!("a node reported {value} where a number belongs")))
}

fn parsed<T: std::str::FromStr>(value: &Value) -> Result<T> {
    let parsed = value.as_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| CommandError::internal(format!("a node reported {value} where an id belongs")))
}
