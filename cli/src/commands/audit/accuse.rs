//! `gridhour audit accuse`: two receipts that cannot both be true cost a provider what it has at stake.

use std::{fs, path::PathBuf};

use clap::ArgGroup;
use gridhour_contracts_sim::{
    ledger::slash::accuser_share,
    limits::ACCUSATION_MS_MAX,
    state::{StateKey, StateValue},
    tx::{Accusation, Call},
};
use gridhour_node::{
    clock,
    drivers::{client::Client, testimony::contradictions},
};
use gridhour_protocol::{
    receipt::conflict::check_conflict,
    units::{Credits, Millis},
    wire,
};
use serde_json::{Value, json};

use super::read_at_most;
use crate::{
    context::Context,
    error::{CommandError, Result},
    human_time::span,
    joined::with_client,
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour audit accuse                       What receipts kept here show, and what would happen
  gridhour audit accuse --send                Have the stake taken
  gridhour audit accuse --out evidence        Write the evidence, for somebody else
  gridhour audit accuse --file evidence --send

A client keeps every receipt that a provider signed to it, also those that it refused.";

/// What to show or send.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, group = ArgGroup::new("where").args(["file", "out"]))]
pub struct AccuseArgs {
    /// Send the accusation; without this, nothing happens but what is said
    #[arg(long)]
    send: bool,

    /// Take the evidence from FILE, instead of the receipts kept here
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Write the evidence to FILE
    #[arg(long, value_name = "FILE", conflicts_with = "send")]
    out: Option<PathBuf>,
}

/// What an accusation would do now.
struct Outcome {
    at_stake: Credits,
    share: Credits,
}

pub fn run(args: &AccuseArgs, context: &Context) -> Result {
    with_client(context, async |client, _| {
        let accusation = evidence(args, &client)?;
        check(&accusation)?;
        let outcome = outcome(&client, &accusation).await?;
        if let Some(path) = &args.out {
            fs::write(path, wire::encode(&accusation)).map_err(|error| CommandError::file(path, &error))?;
        }
        explain(context, &accusation, &outcome)?;
        let applied = if args.send { Some(send(&client, &accusation, &outcome).await?) } else { None };
        context.out.document(&document(&accusation, &outcome, applied.as_ref()))?;
        context.out.line(match applied {
            Some(_) => format!("done: {} credits are in your account", outcome.share),
            None => "nothing was sent; `gridhour audit accuse --send` does it".into(),
        })
    })
}

/// The evidence in a file, or the first that the receipts kept here are.
fn evidence(args: &AccuseArgs, client: &Client) -> Result<Accusation> {
    if let Some(path) = &args.file {
        let bytes = read_at_most(path, <Accusation as wire::Wire>::BYTES_MAX)?;
        return wire::decode(&bytes).map_err(|error| {
            CommandError::refused(format!("{} holds no evidence: {error}", path.display()))
        });
    }
    let testimonies = client.testimonies().map_err(CommandError::internal)?;
    let receipts = testimonies.len();
    contradictions(testimonies, clock::now()).into_iter().next().ok_or_else(|| {
        CommandError::refused(format!("no two of the {receipts} receipts kept here contradict each other"))
            .hint(
                "only what can still be brought before the ledger counts: 7 days after a session's deadline",
            )
    })
}

/// What the ledger will check, before anything is sent: evidence in a file is a stranger's.
fn check(accusation: &Accusation) -> Result {
    let Accusation { advert, one, other, .. } = accusation;
    let refused = |why: String| CommandError::refused(format!("this is no evidence: {why}"));
    check_conflict(&one.body, &other.body).map_err(|why| refused(why.to_string()))?;
    if !accusation.leads_to_device() {
        return Err(refused("receipts, terms and advert are not of one session".into()));
    }
    let receipts = one.clone().verify().is_ok() && other.clone().verify().is_ok();
    if !receipts || advert.clone().verify().is_err() {
        return Err(refused("a signature is not the provider's".into()));
    }
    Ok(())
}

async fn outcome(client: &Client, accusation: &Accusation) -> Result<Outcome> {
    let stake = client.ledger().record(StateKey::Stake(accusation.device())).await?;
    let at_stake = match stake {
        Some(StateValue::Stake(stake)) => stake.total().unwrap_or(Credits::ZERO),
        _ => Credits::ZERO,
    };
    Ok(Outcome { at_stake, share: accuser_share(at_stake) })
}

/// Says plainly what was signed and what would come of it.
fn explain(context: &Context, accusation: &Accusation, outcome: &Outcome) -> Result {
    let (out, one, other) = (context.out, &accusation.one, &accusation.other);
    let burned = outcome.at_stake.saturating_sub(outcome.share);
    out.line(format!("provider {} signed two receipts that cannot both be true:", one.body.provider))?;
    for receipt in [one, other] {
        let body = &receipt.body;
        let job = format!("session {}, lane {}, job {}", body.session.short(), body.lane, body.index);
        out.line(format!("  {} about {job}: {} tokens", receipt.id(), body.output_tokens))?;
    }
    out.line(format!("device   {}", accusation.device()))?;
    if outcome.at_stake == Credits::ZERO {
        return out.line("nothing is at stake for it: an accusation takes nothing");
    }
    out.line(format!("at stake {} credits, all of which are taken:", outcome.at_stake))?;
    out.line(format!("  {} are paid to you, {burned} are burned", outcome.share))?;
    out.line(format!("  nothing can be staked for the device for {}", span(Millis(ACCUSATION_MS_MAX))))?;
    out.line("This cannot be undone. Your account's key signs it, and everybody can read who accused.")
}

async fn send(client: &Client, accusation: &Accusation, outcome: &Outcome) -> Result<Value> {
    if client.id() == accusation.terms.provider {
        return Err(CommandError::refused("a provider cannot accuse itself"));
    }
    if outcome.at_stake == Credits::ZERO {
        return Err(CommandError::refused(
            "nothing is at stake for the device: it was taken, or never there",
        ));
    }
    let call = Call::Slash(Box::new(accusation.clone()));
    let applied = client.ledger().submit(client.key(), call).await?;
    Ok(json!({ "tx": applied.tx.to_string(), "height": applied.height.0 }))
}

fn document(accusation: &Accusation, outcome: &Outcome, applied: Option<&Value>) -> Value {
    let receipts = [&accusation.one, &accusation.other].map(|receipt| receipt.id().to_string());
    json!({
        "provider": accusation.terms.provider.to_string(), "device": accusation.device().to_string(),
        "session": accusation.terms.id().to_string(), "receipts": receipts,
        "at_stake": outcome.at_stake.0, "share": outcome.share.0,
        "burned": outcome.at_stake.saturating_sub(outcome.share).0, "applied": applied,
    })
}
