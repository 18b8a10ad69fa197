//! `gridhour completions`.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{error::Result, output::Output};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour completions bash > ~/.local/share/bash-completion/completions/gridhour
  gridhour completions fish > ~/.config/fish/completions/gridhour.fish";

/// Print the completion script of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Complete command lines of this shell
    shell: Shell,
}

pub fn run(args: &Args) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "gridhour", &mut script);
    // A script is one answer, with --json or without.
    Output { json: false }.part(&String::from_utf8_lossy(&script))
}
