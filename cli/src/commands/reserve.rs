//! `gridhour reserve`: capacity that is prepaid for a window of slots, and what became of it.

mod show;
mod window;

use clap::Subcommand;
use gridhour_contracts_sim::{state::Reservation, tx::Call};
use gridhour_node::{clock, drivers::ledger_client::LedgerClient};
use gridhour_protocol::{
    id::ReservationId,
    market::reservation::ReservationOffer,
    signed::{PublicKey, Verified},
    units::Credits,
};
use serde_json::{Value, json};

use self::window::{Answers, WindowOptions};
use crate::{
    context::Context,
    error::{CommandError, Result},
    human_time::{span, when},
    joined::{with_client, with_ledger},
    output::Table,
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour reserve offers --in 10min --slot 1h --slots 3
  gridhour reserve book --in 10min --slot 1h --slots 3 --max-total 20
  gridhour reserve list
  gridhour run \"Hello\" --tier reserved
  gridhour reserve give-up 7d21a0c4

A slot is a window of one provider's device, paid for in advance: sessions in it are paid out of its price. Of what is not
used, the provider keeps the agreed share for standing by, and the rest comes back at the slot's end. A provider that does
not answer when its slot is called for loses a part of what it put up, and the slot's price comes back.";

/// Reserve capacity: ask for offers, book slots, see and give up what is booked
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ask the cheapest providers at what price they would reserve a window; nothing is booked
    Offers(WindowOptions),
    /// Book the cheapest offer for a window: all its slots are paid for now
    Book {
        #[command(flatten)]
        window: WindowOptions,
        /// Pay at most this many credits for all slots
        #[arg(long, value_name = "CREDITS")]
        max_total: Credits,
    },
    /// List the reservations that this account has booked, or promised as a provider, until they are over
    List,
    /// Print one reservation: its terms, its slots, what is still held
    Show {
        /// The reservation: its id, or how that begins
        reservation: String,
    },
    /// Give up every slot that begins later than the notice: its price comes back whole
    GiveUp {
        /// The reservation: its id, or how that begins
        reservation: String,
    },
}

pub fn run(args: Args, context: &Context) -> Result {
    match args.command {
        Command::Offers(window) => offers(context, &window),
        Command::Book { window, max_total } => book(context, &window, max_total),
        Command::List => with_ledger(context, async |ledger, key| {
            show::list(context, &key.public(), &ledger.reservations(key.public()).await?)
        }),
        Command::Show { reservation } => with_ledger(context, async |ledger, key| {
            show::one(context, &key.public(), &chosen(ledger, key.public(), &reservation).await?)
        }),
        Command::GiveUp { reservation } => give_up(context, &reservation),
    }
}

fn offers(context: &Context, window: &WindowOptions) -> Result {
    with_client(context, async |client, _| {
        let answers = window.ask(context, &client).await?;
        context.out.document(&answers.document())?;
        table(context, &answers)?;
        answers.refusals(context)?;
        match answers.offers.is_empty() {
            true => Err(answers.nobody()),
            false => context
                .out
                .line("Book the first: gridhour reserve book with the same window, and --max-total"),
        }
    })
}

fn table(context: &Context, answers: &Answers) -> Result {
    let mut table =
        Table::new(["provider", "all slots", "price/h", "standing by", "answers in", "notice", "firm"]);
    for offer in &answers.offers {
        table.row([
            offer.provider.short(),
            offer.price_of(offer.slots).to_string(),
            offer.price.to_string(),
            percent(offer.standby),
            span(offer.answer_within),
            span(offer.notice),
            span(offer.accept_until.since(clock::now())),
        ]);
    }
    match answers.offers.is_empty() {
        true => Ok(()),
        false => table.lines().iter().try_for_each(|line| context.out.line(line)),
    }
}

fn book(context: &Context, window: &WindowOptions, max_total: Credits) -> Result {
    with_client(context, async |client, _| {
        let answers = window.ask(context, &client).await?;
        let Some(offer) = answers.offers.first() else {
            answers.refusals(context)?;
            return Err(answers.nobody());
        };
        let price = offer.price_of(offer.slots);
        if price > max_total {
            return Err(CommandError::refused(format!(
                "the cheapest offer costs {price} credits for all slots, and --max-total is {max_total}"
            )));
        }
        let call = Call::Book(Box::new(offer.signed().clone()));
        let applied = client.ledger().submit(client.key(), call).await?;
        let tx = (applied.tx.to_string(), applied.height.0);
        context.out.document(&json!({ "booked": offer_json(offer), "tx": tx.0, "height": tx.1 }))?;
        context.out.line(format!(
            "booked   {}: {} slots of {} with {}, {}",
            offer.id(),
            offer.slots,
            span(offer.slot),
            offer.provider.short(),
            when(offer.starts_at, clock::now())
        ))?;
        context.out.line(format!("paid     {price} credits; the provider put up {}", offer.bond(0)))?;
        context.out.line("Use it: gridhour run --tier reserved, while a slot runs")
    })
}

fn give_up(context: &Context, named: &str) -> Result {
    with_ledger(context, async |ledger, key| {
        let before = chosen(ledger, key.public(), named).await?;
        let id = before.terms.id();
        let applied = ledger.submit(key, Call::GiveUp { reservation: id }).await?;
        let after = ledger.reservations(key.public()).await?.into_iter().find(|known| known.terms.id() == id);
        // Gone is what had no other slots.
        let left = after.map_or(before.settled, |after| after.slots);
        let given = before.slots.saturating_sub(left);
        let back = before.terms.price_of(given);
        context.out.document(&json!({
            "id": id.to_string(), "given_up": given, "paid_back": back.0, "slots": left,
            "tx": applied.tx.to_string(), "height": applied.height.0,
        }))?;
        context.out.line(format!("{given} slots are given up, and {back} credits are back"))
    })
}

/// The reservation whose id is `named`, or begins so, of those that this account has booked or promised.
pub async fn chosen(ledger: &LedgerClient, account: PublicKey, named: &str) -> Result<Reservation> {
    let named = named.to_lowercase();
    let mut found = ledger.reservations(account).await?;
    found.retain(|known| known.terms.id().to_string().starts_with(&named));
    match found.len() {
        1 => Ok(found.swap_remove(0)),
        0 => Err(CommandError::refused(format!(
            "no reservation of {account} begins with {named:?}, or it is over"
        ))
        .hint("`gridhour reserve list` lists those that are not over")),
        count => Err(CommandError::usage(format!("{count} reservations begin with {named:?}"))
            .hint("give more of the id")),
    }
}

/// The id of the reservation that `run --reservation` names.
pub async fn chosen_id(ledger: &LedgerClient, account: PublicKey, named: &str) -> Result<ReservationId> {
    Ok(chosen(ledger, account, named).await?.terms.id())
}

/// Thousandths, in per cent.
fn percent(thousandths: u16) -> String {
    match thousandths % 10 {
        0 => format!("{} %", thousandths / 10),
        tenths => format!("{}.{tenths} %", thousandths / 10),
    }
}

fn offer_json(offer: &Verified<ReservationOffer>) -> Value {
    show::terms_json(offer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_shown_in_per_cent() {
        assert_eq!([0, 5, 500, 125].map(percent), ["0 %", "0.5 %", "50 %", "12.5 %"]);
    }
}
