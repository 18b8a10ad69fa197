//! `gridhour budget set`: a plan from flags or from a file, and what is paid in.

use std::{fs, path::PathBuf};

use gridhour_contracts_sim::{
    limits::BUDGET_MIN,
    state::{Budget, StateKey, StateValue},
    tx::{Call, CapPlan, Plan, Tx},
};
use gridhour_node::{
    clock,
    drivers::ledger_client::{LedgerClient, LedgerError},
};
use gridhour_protocol::{
    id::BudgetId,
    signed::PublicKey,
    units::{Credits, Height, Millis, Timestamp},
    wire::Wire,
};
use serde_json::json;

use super::plan_file::{self, Named};
use crate::{
    context::Context,
    error::{CommandError, Result},
    human_time::{parse_span, when},
    joined::with_ledger,
};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// If nobody says otherwise.
const PERIOD: Millis = Millis(30 * DAY_MS);
/// If nobody says otherwise.
const SPAN: Millis = Millis(365 * DAY_MS);

/// What the budget should be.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Hold and spend at most this many credits in a period, all spenders together
    #[arg(long, value_name = "CREDITS", required_unless_present = "file")]
    total: Option<Credits>,

    /// Let this account spend; may be repeated. With --file, the file says who
    #[arg(long, value_name = "ACCOUNT", conflicts_with = "file")]
    spender: Vec<PublicKey>,

    /// Let each spender hold and spend at most this many credits in a period [default: the total]
    #[arg(long, value_name = "CREDITS", conflicts_with = "file")]
    each: Option<Credits>,

    /// Take a tree of caps from this TOML file
    #[arg(long, value_name = "FILE", conflicts_with = "total")]
    file: Option<PathBuf>,

    /// Make every cap whole again after so long, from a minute to 400d; a budget that exists keeps its
    /// period [default: 30d]
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    period: Option<Millis>,

    /// End the budget after so long from now on, at most 400d: then anyone may close it; a budget that exists keeps its
    /// end [default: 365d]
    #[arg(long = "for", value_name = "SPAN", value_parser = parse_span)]
    span: Option<Millis>,

    /// Pay this many credits into the pot [default: a new budget's total; nothing into one that exists]
    #[arg(long, value_name = "CREDITS")]
    pay_in: Option<Credits>,

    /// Tell this account's budgets apart by a number [default: 1]
    #[arg(long, value_name = "N")]
    number: Option<u64>,
}

pub fn run(args: &Args, context: &Context) -> Result {
    let named = match &args.file {
        Some(path) => plan_file::load(path)?,
        None => simple(args),
    };
    with_ledger(context, async |ledger, key| {
        let owner = key.public();
        let mut plan = plan(args, &named, clock::now());
        let id = plan.budget_of(&owner);
        let known = known(ledger, id, args).await?;
        if let Some(known) = &known {
            keep_unsaid(&mut plan, known, args, &named);
        }
        let total = named.caps.first().map_or(Credits::ZERO, |cap| cap.amount);
        let fresh = if known.is_none() { total.max(BUDGET_MIN) } else { Credits::ZERO };
        let amount = args.pay_in.unwrap_or(fresh);
        let until = plan.until;
        check(&plan, amount, owner)?;
        let call = Call::Plan { plan: Box::new(plan), amount };
        let applied = ledger.submit(key, call).await.map_err(|error| advised(error, known.as_ref()))?;
        remember(context, id, &named.names)?;
        context.out.document(&json!({
            "id": id.to_string(), "owner": owner.to_string(), "paid_in": amount.0, "until": until.0,
            "new": known.is_none(), "tx": applied.tx.to_string(), "height": applied.height.0,
        }))?;
        context.out.line(format!("budget   {id}"))?;
        context.out.line(format!("paid in  {amount} credits; it ends {}", when(until, clock::now())))?;
        context.out.line(format!("Spenders run jobs with --budget {id}; see `gridhour budget show`"))
    })
}

/// One cap for all, and one below it for each spender.
fn simple(args: &Args) -> Named {
    let total = args.total.unwrap_or(Credits::ZERO);
    let first = CapPlan { parent: None, spender: None, amount: total, halted: false };
    let below = |spender: &PublicKey| CapPlan {
        parent: Some(0),
        spender: Some(*spender),
        amount: args.each.unwrap_or(total),
        ..first
    };
    Named {
        number: None,
        period: None,
        span: None,
        names: std::iter::once("total".to_owned()).chain(args.spender.iter().map(PublicKey::short)).collect(),
        caps: std::iter::once(first).chain(args.spender.iter().map(below)).collect(),
    }
}

/// Flags over the file over defaults.
fn plan(args: &Args, named: &Named, now: Timestamp) -> Plan {
    let span = args.span.or(named.span).unwrap_or(SPAN);
    Plan {
        number: args.number.or(named.number).unwrap_or(1),
        period: args.period.or(named.period).unwrap_or(PERIOD),
        until: now.after(span).unwrap_or(Timestamp(u64::MAX)),
        caps: named.caps.clone(),
    }
}

/// Leaves what nobody speaks of as it is.
fn keep_unsaid(plan: &mut Plan, known: &Budget, args: &Args, named: &Named) {
    if args.period.or(named.period).is_none() {
        plan.period = known.period;
    }
    if args.span.or(named.span).is_none() {
        plan.until = known.until;
    }
}

/// What the ledger would refuse as malformed, in its words, before anything is sent.
fn check(plan: &Plan, amount: Credits, sender: PublicKey) -> Result {
    let call = Call::Plan { plan: Box::new(plan.clone()), amount };
    let network = gridhour_protocol::id::NetworkId([0; 32]);
    let tx = Tx { network, sender, nonce: 0, valid_until: Height(0), call };
    tx.check_bounds().map_err(|why| CommandError::usage(format!("the plan is not sound: {why}")))
}

/// The budget as it is. A new one is paid into by default, so a copy of the ledger that may be behind does not
/// decide that it is new.
async fn known(ledger: &LedgerClient, id: BudgetId, args: &Args) -> Result<Option<Budget>> {
    let key = StateKey::Budget(id);
    let said = match args.pay_in {
        Some(_) => ledger.record(key).await?,
        None => ledger.without_copies().record(key).await.map_err(|error| {
            let hint = error.is_silence().then_some(
                "only the ledger node itself knows for certain whether the budget exists; with --pay-in AMOUNT its \
                 observers are asked as well",
            );
            hint.into_iter().fold(CommandError::from(error), CommandError::hint)
        })?,
    };
    Ok(match said {
        Some(StateValue::Budget(budget)) => Some(*budget),
        _ => None,
    })
}

/// Keeps the names of the caps, for this data directory's user alone.
fn remember(context: &Context, id: BudgetId, names: &[String]) -> Result {
    let path = context.data_dir.budget_names(id);
    let folder = path.parent().unwrap_or(&path);
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, json!(names).to_string()));
    written.map_err(|error| CommandError::file(&path, &error))
}

fn advised(error: LedgerError, known: Option<&Budget>) -> CommandError {
    let hint = match &error {
        LedgerError::Rejected { name, .. } => match (name.as_str(), known) {
            ("insufficient-balance", _) => Some(
                "`gridhour account show` says what the account has; --pay-in says how much goes into the pot",
            ),
            ("plan-mismatch", Some(_)) => Some(
                "a budget keeps its caps: `gridhour budget show` lists them; --number makes another budget",
            ),
            ("halted", Some(_)) => {
                Some("it is closed, and forgotten when its last session ends; --number makes another")
            }
            ("lifetime", _) => Some("--for says how long it lasts: at most 400d"),
            _ => None,
        },
        _ => None,
    };
    let error = CommandError::from(error);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}
