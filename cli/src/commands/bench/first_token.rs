//! `gridhour bench first-token`: what an order costs in time beside the engine.

use gridhour_node::bench::first_token::{FirstTokenError, measure};
use serde_json::json;

use super::ledger::tell_rows;
use crate::{
    commands::{market::live_offers, run::OrderOptions},
    context::Context,
    error::{CommandError, Result},
    joined::with_client,
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour bench first-token
  gridhour bench first-token --orders 200 --max-price 2 --json

These are orders to a provider of the network that you joined, of one token each; they cost what such
orders cost. From each time to the first token the engine's own time is taken off, as the provider's
receipt states it. Start a ledger node and a provider on this machine to measure without a network.";

/// Measure how long orders take to their first token beside the engine's own time
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Send N orders in the session that the first one opens
    #[arg(long, value_name = "N", default_value_t = 50)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    orders: u32,

    #[command(flatten)]
    order: OrderOptions,
}

pub fn run(args: &Args, context: &Context) -> Result {
    let spec = args.order.spec(context, Vec::new())?;
    with_client(context, async |client, stop| {
        client.claim()?;
        let offers = live_offers(&client, 1).await?;
        let bar = context.out.item_bar("measuring", u64::from(args.orders) + 1);
        let mut done = || bar.inc(1);
        let work = async {
            let measured = measure(&client, &spec, &offers, args.orders, &stop.heard(), &mut done).await;
            client.close_kept().await;
            measured
        };
        let measured = tokio::select! {
            never = client.tend() => match never {},
            measured = work => measured,
        };
        bar.finish_and_clear();
        let rows = measured.map_err(refused)?.rows();
        context.out.document(&json!({ "orders": args.orders, "rows": rows }))?;
        tell_rows(&rows, context)
    })
}

fn refused(error: FirstTokenError) -> CommandError {
    match error {
        FirstTokenError::Stopped { .. } => CommandError::interrupted().hint(error.to_string()),
        error => CommandError::refused(error),
    }
}
