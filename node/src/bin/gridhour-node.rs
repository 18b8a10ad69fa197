//! The program `gridhour-node`: providers, validators and observers.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use gridhour_node::{
    command::{NodeCommand, Surroundings, printer, run, told_to_stop},
    data_dir::DataDir,
    logging::{self, LogFormat},
    model::catalogue::{MODEL_CACHE_VARIABLE, ModelCache},
    settings::Settings,
};
use tracing_subscriber::EnvFilter;

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour-node provider --ask 1.5 --region eu-de
  gridhour-node validator --data-dir /var/lib/gridhour
  gridhour-node observer --data-dir /var/lib/gridhour-copy

SIGINT and SIGTERM stop it in good order, a second one at once.
Exit codes: 0 ended as asked, 1 could not start or go on, 2 bad usage.";

/// Provide inference to a Gridhour network, or keep or follow its ledger
#[derive(Debug, Parser)]
#[command(name = "gridhour-node", version, after_help = EXAMPLES)]
struct Cli {
    /// Keep all state but models in DIR [default: the user's data directory]
    #[arg(long, value_name = "DIR", env = "GRIDHOUR_DATA_DIR", global = true)]
    data_dir: Option<PathBuf>,

    /// Keep model files in DIR [default: the user's cache directory]
    #[arg(long, value_name = "DIR", env = MODEL_CACHE_VARIABLE, global = true)]
    model_cache: Option<PathBuf>,

    /// Log to standard error as text, or as one line of JSON a record (GRIDHOUR_LOG takes filters) [default: text]
    #[arg(long, value_name = "FORMAT", env = "GRIDHOUR_LOG_FORMAT", global = true)]
    log_format: Option<LogFormat>,

    /// Print one line of JSON an event
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: NodeCommand,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { data_dir, model_cache, log_format, json, command } = Cli::parse();
    let filter = EnvFilter::try_from_env("GRIDHOUR_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    logging::start(filter, log_format.unwrap_or_default());
    match start(data_dir, model_cache, json, command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn start(
    data_dir: Option<PathBuf>,
    model_cache: Option<PathBuf>,
    json: bool,
    command: NodeCommand,
) -> Result<(), Box<dyn std::error::Error>> {
    let data_dir = data_dir.map_or_else(DataDir::default_for_user, DataDir::new);
    let settings = Settings::load(&data_dir.config())?;
    let models = ModelCache::locate(model_cache)?;
    let stop = told_to_stop(|| std::process::exit(1))?;
    Ok(run(command, Surroundings { data_dir, settings, models }, stop, printer(json)).await?)
}
