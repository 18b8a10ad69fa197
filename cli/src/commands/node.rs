//! `gridhour node`: the same program as `gridhour-node`.

use gridhour_node::command::{NodeCommand, Surroundings, printer, run as run_node, told_to_stop};

use crate::{
    context::Context,
    error::{CommandError, Result},
    joined::runtime,
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour node provider --ask 1.5 --region eu-de
  gridhour node validator
  gridhour node observer --json";

/// Provide inference, or keep or follow a ledger
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: NodeCommand,
}

pub fn run(args: Args, context: &Context) -> Result {
    let surroundings = Surroundings {
        data_dir: context.data_dir.clone(),
        settings: context.settings()?,
        models: context.model_cache()?,
    };
    runtime()?.block_on(async {
        let stop = told_to_stop(|| std::process::exit(CommandError::interrupted().kind.exit_code().into()));
        let stop = stop.map_err(CommandError::internal)?;
        run_node(args.command, surroundings, stop, printer(context.out.json))
            .await
            .map_err(CommandError::from)
    })
}
