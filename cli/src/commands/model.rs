//! `gridhour model`: fetch, look at and measure models.

mod eval;
mod list;
mod pull;
mod show;
mod tokenize;

use clap::Subcommand;

use crate::{context::Context, error::Result};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour model pull
  gridhour model show ~/models/tiny.gguf
  gridhour model tokenize \"Once upon a time\" --json
  gridhour model eval --text wiki.txt --window 512 --tokens 4096

A MODEL is the name of a catalogue entry, the path of a .gguf file, or the id of a model in the
cache.";

/// Fetch, look at and measure models
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Pull(pull::Args),
    List(list::Args),
    Show(show::Args),
    Tokenize(tokenize::Args),
    Eval(eval::Args),
}

pub fn run(args: Args, context: &Context) -> Result {
    match args.command {
        Command::Pull(args) => pull::run(&args, context),
        Command::List(_) => list::run(context),
        Command::Show(args) => show::run(&args, context),
        Command::Tokenize(args) => tokenize::run(&args, context),
        Command::Eval(args) => eval::run(&args, context),
    }
}
