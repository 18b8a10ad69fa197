//! `gridhour account`: balances, holds with their deadlines, and credits from the issuer.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use gridhour_contracts_sim::{proof::Bundle, tx::Call};
use gridhour_node::{
    clock,
    drivers::{ledger_client::CheckedAccount, validator::account_of},
    keys,
    limbo::{Limbo, limbo_of},
    rpc::{Account, Purpose},
};
use gridhour_protocol::{
    signed::PublicKey,
    units::{Credits, Height},
};
use serde_json::{Value, json};

use super::{
    audit::offline_state,
    issuer::issue,
    limbo,
    proof_file::{self, block_json},
};
use crate::{
    context::Context,
    error::{CommandError, Kind, Result},
    human_time::when,
    joined::with_ledger,
    output::Table,
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour account show
  gridhour account show --json | jq .balance
  gridhour account show --proof balance.proof  For others; see `gridhour audit verify-balance`
  gridhour account fund 25                   Where the network was made: mint into this account";

/// Show and fund accounts
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print what an account can spend, and what is held for its sessions until when
    ///
    /// What is earned and not collected while the time for it runs out, or held past its deadline, comes first, with what
    /// to do. Asks the ledger, and has it prove what it says as of the last checkpoint; what is newer is the ledger node's word,
    /// which is said. If nobody answers, reads the ledger that was last exported to the data directory, and says so.
    Show {
        /// The account [default: this data directory's]
        account: Option<PublicKey>,

        /// Write a proof of the balance, for others, to this file
        #[arg(long, value_name = "FILE")]
        proof: Option<PathBuf>,
    },
    /// Mint AMOUNT credits into an account; needs the issuer's key
    Fund {
        /// Credits, such as 25
        amount: Credits,
        /// The account [default: this data directory's]
        #[arg(long)]
        to: Option<PublicKey>,
    },
}

pub fn run(args: Args, context: &Context) -> Result {
    match args.command {
        Command::Show { account, proof } => show(context, account, proof.as_deref()),
        Command::Fund { amount, to } => {
            let to = own_or(context, to)?;
            issue(context, Call::Mint { to, amount })
        }
    }
}

fn own_or(context: &Context, account: Option<PublicKey>) -> Result<PublicKey> {
    match account {
        Some(account) => Ok(account),
        None => Ok(keys::load_or_create(&context.data_dir.key())?.public()),
    }
}

/// What is known of an account, and from where.
struct Known {
    account: Account,
    height: Height,
    /// What of it needs looking after.
    limbo: Vec<Limbo>,
    /// What the ledger node proved; nothing where there is only an export, which was replayed as a whole.
    checked: Option<CheckedAccount>,
}

fn show(context: &Context, account: Option<PublicKey>, proof: Option<&Path>) -> Result {
    let id = own_or(context, account)?;
    let asked = with_ledger(context, async |ledger, _| {
        let height = ledger.status().await?.height;
        Ok((ledger.checked_account(id).await?, height, ledger.limbo(id).await?))
    });
    let known = match asked {
        Ok((checked, height, limbo)) => {
            Known { account: checked.said.clone(), height, limbo, checked: Some(checked) }
        }
        Err(error) if error.kind == Kind::Network && proof.is_none() => match offline_state(context)? {
            Some(state) => Known {
                account: account_of(&state, &id),
                height: state.tip().height,
                // What happened since, it does not say: deadlines are those that had passed when it was taken.
                limbo: limbo_of(&state, &id, state.tip().time),
                checked: None,
            },
            None => return Err(error),
        },
        Err(error) => return Err(error),
    };
    if let Some(path) = proof {
        save_proof(path, &known)?;
    }
    context.out.document(&document(id, &known))?;
    report(context, id, &known)
}

fn save_proof(path: &Path, known: &Known) -> Result {
    let evidence = known.checked.as_ref().and_then(|checked| checked.evidence.as_ref());
    let Some(evidence) = evidence else {
        return Err(CommandError::refused(
            "the ledger node has no checkpoint that it could prove anything of",
        )
        .hint("ask again in ten seconds"));
    };
    proof_file::save(path, &Bundle::Record(Box::new(evidence.proof.clone())))
}

fn document(id: PublicKey, known: &Known) -> Value {
    let Known { account, height, limbo, checked } = known;
    let holds = account.holds.iter().enumerate().map(|(index, hold)| {
        let (id, purpose) = named(&hold.purpose, PublicKey::to_string);
        json!({
            "id": id, "amount": hold.amount.0, "purpose": purpose, "deadline": hold.deadline.0,
            "proven": checked.as_ref().map(|checked| checked.holds_proven[index]),
        })
    });
    let proven = checked.as_ref().and_then(|checked| checked.evidence.as_ref()).map(|evidence| {
        let record = &evidence.proven;
        json!({
            "balance": evidence.balance().0, "height": record.at.0, "time": record.time.0,
            "block": block_json(&record.header),
        })
    });
    json!({
        "id": id.to_string(), "balance": account.balance.0, "holds": holds.collect::<Vec<_>>(),
        "height": height.0, "source": if checked.is_some() { "ledger" } else { "export" }, "proven": proven,
        "limbo": limbo::document(limbo),
    })
}

fn report(context: &Context, id: PublicKey, known: &Known) -> Result {
    let Known { account, height, limbo, checked } = known;
    limbo::report(context, id, limbo)?;
    let from = if checked.is_some() { "the ledger" } else { "the exported ledger" };
    context.out.line(format!("account  {id}"))?;
    context.out.line(format!("balance  {} credits (from {from} at height {})", account.balance, height.0))?;
    if let Some(checked) = checked {
        context.out.line(format!("proven   {}", proven_line(checked)))?;
    }
    if account.holds.is_empty() {
        return context.out.line("held     nothing");
    }
    let mut table = Table::new(["held for", "what", "held", "until", "proven"]);
    for (index, hold) in account.holds.iter().enumerate() {
        let (id, purpose) = named(&hold.purpose, PublicKey::short);
        table.row([
            id.chars().take(8).collect(),
            purpose,
            hold.amount.to_string(),
            when(hold.deadline, clock::now()),
            match checked.as_ref().map(|checked| checked.holds_proven[index]) {
                Some(true) => "yes",
                Some(false) => "not yet",
                None => "by replay",
            }
            .to_owned(),
        ]);
    }
    table.lines().iter().try_for_each(|line| context.out.line(line))
}

/// How far the balance is proven: what is newer than the last checkpoint is the ledger node's word.
pub fn proven_line(checked: &CheckedAccount) -> String {
    match &checked.evidence {
        None => "not yet: the ledger node restarted and has no checkpoint to prove anything of".into(),
        Some(evidence) => {
            let (at, block) = (evidence.proven.at.0, evidence.proven.header.height.0);
            if checked.is_proven() {
                format!("as of height {at}, by the operator's signature of block {block}")
            } else {
                let balance = evidence.balance();
                format!("{balance} credits at height {at}; what is newer is the ledger node's word")
            }
        }
    }
}

/// The id of what a hold is for, and what that is, with keys as `key` writes them.
pub fn named(purpose: &Purpose, key: impl Fn(&PublicKey) -> String) -> (String, String) {
    match purpose {
        Purpose::Session { session, provider } => {
            (session.to_string(), format!("session with provider {}", key(provider)))
        }
        Purpose::Budget { budget } => (budget.to_string(), "pot of a budget".into()),
        Purpose::Bond { device } => (device.to_string(), "stake of a device".into()),
        Purpose::Unbonding { device } => (device.to_string(), "stake on its way back".into()),
        Purpose::Prepaid { reservation, provider } => {
            (reservation.to_string(), format!("prepaid for slots of provider {}", key(provider)))
        }
        Purpose::Promised { reservation, client } => {
            (reservation.to_string(), format!("put up for slots of client {}", key(client)))
        }
    }
}
