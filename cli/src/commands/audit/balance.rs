//! `gridhour audit verify-balance`: one balance, from a file that `account show --proof` wrote.

use std::path::PathBuf;

use gridhour_contracts_sim::{
    proof::{Bundle, ProvenRecord},
    state::{StateKey, StateValue},
};
use gridhour_protocol::{signed::PublicKey, units::Credits};
use serde_json::json;

use crate::{
    commands::proof_file::{RESTS_ON, anchor, block_json, load, refuse},
    context::Context,
    error::Result,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The proof
    file: PathBuf,

    /// The account that it must be about [default: whichever it is about]
    #[arg(long)]
    account: Option<PublicKey>,

    /// Pin the network in this file [default: the data directory's]
    #[arg(long, value_name = "FILE")]
    network: Option<PathBuf>,
}

pub fn run(args: &Args, context: &Context) -> Result {
    let anchor = anchor(context, args.network.as_deref())?;
    let Bundle::Record(proof) = load(&args.file)? else {
        return refuse(context, "the file proves a receipt; see `gridhour receipt verify --proof`");
    };
    let StateKey::Account(found) = proof.key else {
        return refuse(context, "the file is not about an account");
    };
    let account = args.account.unwrap_or(found);
    match proof.verify(&anchor, &StateKey::Account(account)) {
        Ok(proven) => report(context, account, &proven),
        Err(error) => refuse(context, error),
    }
}

/// What a proven record of an account says: nothing there is no balance.
pub fn balance_of(proven: &ProvenRecord) -> Credits {
    match proven.value {
        Some(StateValue::Balance(balance)) => balance,
        _ => Credits::ZERO,
    }
}

fn report(context: &Context, account: PublicKey, proven: &ProvenRecord) -> Result {
    let balance = balance_of(proven);
    context.out.document(&json!({
        "ok": true, "account": account.to_string(), "balance": balance.0, "height": proven.at.0,
        "time": proven.time.0, "block": block_json(&proven.header), "trust": "genesis",
    }))?;
    context.out.line(format!("account   {account}"))?;
    context.out.line(format!("balance   {balance} credits after block {}", proven.at.0))?;
    context.out.line(format!("named by  block {}", proven.header.height.0))?;
    context.out.line(format!("rests on  {RESTS_ON}"))?;
    context.out.line("proven; what happened after that block is not")
}
