//! The command line: one file per command, each with its arguments and what it does with them.

mod account;
mod audit;
mod bench;
mod budget;
mod completions;
mod compute;
mod demo;
mod doctor;
mod issuer;
mod key;
mod limbo;
mod local;
mod market;
mod model;
mod network;
mod node;
mod proof_file;
mod provider;
mod receipt;
mod reserve;
mod run;
mod status;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{
    context::{Context, Globals},
    error::{CommandError, Kind, Result},
    logging,
    output::Output,
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour key new                        Make your identity
  gridhour model pull                     Fetch the default model, and check it
  gridhour model show --json | jq .id     Print the id of the default model

Exit codes: 0 done, 1 refused or found false, 2 bad usage, 3 network, 4 internal, 130 interrupted.";

/// Buy and check exact inference on a market of GPUs
#[derive(Debug, Parser)]
#[command(name = "gridhour", version, after_help = EXAMPLES, subcommand_required = true)]
#[command(arg_required_else_help = true, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Run(Box<run::Args>),
    Market(market::Args),
    Local(local::Args),
    Receipt(receipt::Args),
    Account(account::Args),
    Budget(budget::Args),
    Reserve(reserve::Args),
    Audit(audit::Args),
    Bench(bench::Args),
    Status(status::Args),
    Doctor(doctor::Args),
    Node(Box<node::Args>),
    Provider(provider::Args),
    Network(network::Args),
    Issuer(issuer::Args),
    Key(key::Args),
    Model(model::Args),
    Completions(completions::Args),
}

impl Command {
    fn run(self, context: &Context) -> Result {
        match self {
            Self::Demo(args) => demo::run(&args, context),
            Self::Run(args) => run::run(&args, context),
            Self::Market(args) => market::run(args, context),
            Self::Local(args) => local::run(args, context),
            Self::Receipt(args) => receipt::run(args, context),
            Self::Account(args) => account::run(args, context),
            Self::Budget(args) => budget::run(args, context),
            Self::Reserve(args) => reserve::run(args, context),
            Self::Audit(args) => audit::run(args, context),
            Self::Bench(args) => bench::run(&args, context),
            Self::Status(args) => status::run(&args, context),
            Self::Doctor(args) => doctor::run(&args, context),
            Self::Node(args) => node::run(*args, context),
            Self::Provider(args) => provider::run(args, context),
            Self::Network(args) => network::run(args, context),
            Self::Issuer(args) => issuer::run(args, context),
            Self::Key(args) => key::run(args, context),
            Self::Model(args) => model::run(args, context),
            Self::Completions(args) => completions::run(&args),
        }
    }
}

/// Reads the command line, runs the command that it names, and reports how that went.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    match Cli::try_parse_from(&arguments) {
        Ok(Cli { globals, command }) => {
            logging::start(globals.verbose, globals.log_format.unwrap_or_default());
            let context = Context::new(globals);
            // Not the command: it may hold a prompt.
            tracing::debug!(data_dir = %context.data_dir.root().display(), "begins");
            exit_with(command.run(&context), context.out)
        }
        Err(error) => exit_with_usage(&error, asks_for_json(&arguments)),
    }
}

fn exit_with(outcome: Result, out: Output) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out.error(&error);
            ExitCode::from(error.kind.exit_code())
        }
    }
}

/// Whether `--json` stands among arguments that could not be parsed.
fn asks_for_json(arguments: &[OsString]) -> bool {
    arguments.iter().take_while(|argument| *argument != "--").any(|argument| argument == "--json")
}

/// Help and the version are answers; anything else that the parser says is a usage error.
fn exit_with_usage(error: &clap::Error, json: bool) -> ExitCode {
    if json && error.use_stderr() {
        return exit_with(Err(usage_error(error)), Output { json });
    }
    // Nothing is left to tell anyone if the text cannot be written.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(Kind::Usage.exit_code()) } else { ExitCode::SUCCESS }
}

fn usage_error(error: &clap::Error) -> CommandError {
    // The first paragraph says what is wrong; the usage line follows.
    let text = error.render().to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    CommandError::usage(lines.join(" ").replacen("error: ", "", 1)).hint("see `gridhour --help`")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn json_after_the_last_option_is_text() {
        let asks = |line: &str| asks_for_json(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert!(asks("gridhour --json nonsense"));
        assert!(!asks("gridhour nonsense -- --json"));
    }
}
