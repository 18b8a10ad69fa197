//! `gridhour key`: the identity that signs orders and vouchers, and that owns an account.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use gridhour_node::keys;
use gridhour_protocol::{
    note::{KeyKind, VerifierKey},
    signed::PublicKey,
};
use serde_json::json;

use crate::{
    context::Context,
    error::{CommandError, Result},
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour key new
  gridhour key show --json
  gridhour key backup /media/usb/gridhour.key";

/// Make, show and back up your identity
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key in the data directory
    ///
    /// A key that is there already is never overwritten. Whoever has the key has the credits of its account.
    New,
    /// Print the account id, which is the public key
    Show,
    /// Print the text under which this key cosigns as a witness called NAME, for `gridhour network init --witness`
    Vkey {
        /// A URL without its scheme, which need not be reachable, such as witness.example.com/w1
        name: String,
    },
    /// Copy the key to a new file that only you can read
    Backup {
        /// Write to this file, which must not exist
        path: PathBuf,
    },
}

pub fn run(args: Args, context: &Context) -> Result {
    let path = context.data_dir.key();
    match args.command {
        Command::New => {
            let key = keys::create(&path)?;
            report(context, key.public(), &path)?;
            context.out.line("Back it up with `gridhour key backup FILE`: nobody can restore it for you.")
        }
        Command::Show => report(context, keys::load(&path)?.public(), &path),
        Command::Vkey { name } => {
            let vkey = VerifierKey::new(&name, KeyKind::Witness, keys::load(&path)?.public());
            let vkey = vkey.map_err(CommandError::usage)?.to_string();
            context.out.document(&json!({ "vkey": vkey, "path": path }))?;
            context.out.line(vkey)
        }
        Command::Backup { path: copy } => {
            let key = keys::load(&path)?;
            keys::save(&copy, &key)?;
            report(context, key.public(), &copy)
        }
    }
}

fn report(context: &Context, id: PublicKey, path: &Path) -> Result {
    context.out.document(&json!({ "id": id.to_string(), "path": path }))?;
    context.out.line(format!("account  {id}"))?;
    context.out.line(format!("key      {}", path.display()))
}
