//! `--budget` and `--cap` of commands that order: a session that a budget pays for.

use gridhour_contracts_sim::state::{Budget, budget::Cap};
use gridhour_node::{
    clock,
    drivers::{
        client::{BudgetCap, Client, RunError},
        ledger_client::LedgerError,
    },
};
use gridhour_protocol::{signed::PublicKey, units::Credits};

use super::{chosen, load, names_of, show::period_end};
use crate::{
    context::Context,
    error::{CommandError, Result},
    human_time::when,
};

/// Who pays.
#[derive(Clone, Debug, clap::Args)]
pub struct DrawOptions {
    /// Pay out of this budget, by its id or how that begins, instead of the own account
    #[arg(long, value_name = "BUDGET", env = "GRIDHOUR_BUDGET", hide_env_values = true)]
    pub budget: Option<String>,

    /// Spend under this cap: its place or its name [default: the only one that names this account]
    #[arg(long, value_name = "CAP", requires = "budget")]
    pub cap: Option<String>,
}

/// A cap to spend under, and its budget as it was when it was looked up.
pub struct Drawing {
    /// What the ledger is told.
    pub cap: BudgetCap,
    budget: Budget,
    label: String,
}

impl DrawOptions {
    /// The cap that is meant; none if the account itself pays.
    pub async fn resolve(&self, context: &Context, client: &Client) -> Result<Option<Drawing>> {
        let Some(named) = &self.budget else { return Ok(None) };
        let id = chosen(client.ledger(), client.id(), named).await?;
        let budget = load(client.ledger(), id).await?;
        let names = names_of(context, id);
        let cap = place(self.cap.as_deref(), &budget, &names, client.id())?;
        let label =
            names.get(usize::from(cap)).map_or_else(|| cap.to_string(), |name| format!("{cap} ({name})"));
        Ok(Some(Drawing { cap: BudgetCap { budget: id, cap }, budget, label }))
    }
}

/// The place of the cap that is meant.
fn place(asked: Option<&str>, budget: &Budget, names: &[String], account: PublicKey) -> Result<u16> {
    let Some(asked) = asked else {
        let ours = |(_, cap): &(u16, &Cap)| cap.plan.spender == Some(account);
        let found: Vec<u16> = (0..).zip(&budget.caps).filter(ours).map(|(place, _)| place).collect();
        return match found[..] {
            [place] => Ok(place),
            [] => Err(CommandError::refused(format!("no cap of the budget names {account} as its spender"))
                .hint("its owner names spenders with `gridhour budget set`")),
            _ => Err(CommandError::usage(format!("{} caps name this account", found.len()))
                .hint("say which with --cap; `gridhour budget show` lists them")),
        };
    };
    let by_name = names.iter().position(|name| name == asked).and_then(|at| u16::try_from(at).ok());
    let place = by_name.or_else(|| asked.parse().ok());
    place.filter(|place| usize::from(*place) < budget.caps.len()).ok_or_else(|| {
        CommandError::usage(format!("the budget has no cap {asked:?}"))
            .hint("names are known only where the budget was set; `gridhour budget show` lists the places")
    })
}

impl Drawing {
    /// What to do about a refusal of the ledger, in the numbers of this budget.
    pub fn hint(&self, error: &RunError) -> Option<String> {
        let RunError::Ledger(LedgerError::Rejected { name, .. }) = error else { return None };
        let (budget, now) = (&self.budget, clock::now());
        let show = format!("gridhour budget show {}", self.cap.budget.short());
        match name.as_str() {
            "over-cap" => {
                let (left, end) = (self.left(), when(period_end(budget, now), now));
                Some(format!(
                    "cap {} has {left} credits left in this period, and they are whole again {end}; ask for fewer \
                     tokens, or its owner raises it: {show}",
                    self.label
                ))
            }
            "halted" => Some(format!(
                "its owner halted cap {} or one above it, or closed the budget: {show}",
                self.label
            )),
            "not-spender" => Some(format!("cap {} names another account as its spender: {show}", self.label)),
            "insufficient-balance" => Some(format!(
                "the budget's pot has {} credits left; its owner pays in with `gridhour budget set --pay-in`",
                budget.pot
            )),
            _ => None,
        }
    }

    /// What is left of the cap and of every one above it.
    fn left(&self) -> Credits {
        let period = self.budget.period_at(clock::now());
        let caps = self.budget.path(self.cap.cap).into_iter().map(|at| &self.budget.caps[at]);
        let left = caps.map(|cap| cap.plan.amount.saturating_sub(cap.used_in(period)));
        left.min().unwrap_or(Credits::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use gridhour_contracts_sim::harness::{Chain, cap, key};

    use super::*;

    #[test]
    fn a_cap_is_found_by_place_by_name_or_by_its_spender() {
        let mut chain = Chain::new();
        let (alice, bob) = (key(4).public(), key(5).public());
        let caps = vec![
            cap(None, None, Credits(10)),
            cap(Some(0), Some(&alice), Credits(5)),
            cap(Some(0), Some(&bob), Credits(5)),
            cap(Some(0), Some(&bob), Credits(5)),
        ];
        let id = chain.open_budget(&key(3), caps);
        let budget = chain.state().budget(&id).expect("it is open");
        let names = ["all", "alice", "2"].map(str::to_owned);
        let found = |asked, account| place(asked, budget, &names, account).ok();
        assert_eq!(found(Some("alice"), bob), Some(1), "who may spend is for the ledger to say");
        assert_eq!(found(Some("3"), alice), Some(3));
        assert_eq!(found(Some("2"), alice), Some(2), "a name that is a number stands for its own place here");
        assert_eq!((found(Some("4"), alice), found(Some("carol"), alice)), (None, None));
        assert_eq!(found(None, alice), Some(1));
        assert_eq!((found(None, bob), found(None, key(6).public())), (None, None), "two, and none");
    }
}
