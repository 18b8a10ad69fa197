//! The window that a client would like to have reserved, and who offers it.

use std::sync::Arc;

use gridhour_node::{
    clock,
    drivers::client::{Client, ReservationAnswer},
};
use gridhour_protocol::{
    limits::SLOTS_MAX,
    market::reservation::{ReservationOffer, ReservationWish},
    signed::{PublicKey, Verified},
    units::{GpuNs, Millis, Timestamp},
    wire::Wire,
};
use serde_json::{Value, json};

use super::offer_json;
use crate::{
    commands::{market::live_offers, run::model_id},
    context::Context,
    error::{CommandError, Result},
    human_time::parse_span,
};

const MINUTE_MS: u64 = 60_000;
const NS_PER_MS: u64 = 1_000_000;

/// What is to be reserved.
#[derive(Debug, clap::Args)]
pub struct WindowOptions {
    /// Reserve this model: a catalogue name, an id or a path [default: the catalogue's first]
    #[arg(long, env = "GRIDHOUR_MODEL", hide_env_values = true)]
    pub model: Option<String>,

    /// Begin in so long from now, at the next full minute: a whole number with s, min, h or d
    #[arg(long = "in", value_name = "SPAN", default_value = "1min", value_parser = parse_span)]
    pub starts_in: Millis,

    /// Make each slot this long, from 1min to 24h
    #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = parse_span)]
    pub slot: Millis,

    /// Reserve so many slots, one after the other
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(SLOTS_MAX)))]
    pub slots: u16,

    /// Have this much reference GPU time in each slot [default: as long as the slot]
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    pub capacity: Option<Millis>,

    /// Ask this provider alone: its account, or how that begins
    #[arg(long, value_name = "ACCOUNT")]
    pub provider: Option<String>,
}

/// What those who were asked said.
pub struct Answers {
    /// The cheapest first.
    pub offers: Vec<Verified<ReservationOffer>>,
    refused: Vec<(PublicKey, String)>,
}

impl WindowOptions {
    /// Asks who serves the model, or the one provider that is named.
    pub async fn ask(&self, context: &Context, client: &Arc<Client>) -> Result<Answers> {
        let model = model_id(self.model.as_deref(), context)?;
        let wish = ReservationWish {
            model,
            starts_at: full_minute(clock::now().after(self.starts_in)),
            slot: self.slot,
            slots: self.slots,
            capacity: GpuNs(self.capacity.unwrap_or(self.slot).0.saturating_mul(NS_PER_MS)),
        };
        wish.check_bounds().map_err(CommandError::usage)?;
        let mut adverts = live_offers(client, 1).await?;
        if let Some(named) = &self.provider {
            let named = named.to_lowercase();
            adverts.retain(|advert| advert.provider.to_string().starts_with(&named));
        }
        if adverts.is_empty() {
            return Err(CommandError::refused("the provider that is named offers nothing just now")
                .hint("`gridhour market offers` lists those that do"));
        }
        Ok(Answers::of(client.ask_to_reserve(&wish, &adverts).await?))
    }
}

/// The next full minute from `at` on: who asks twice in a minute means the same window.
fn full_minute(at: Option<Timestamp>) -> Timestamp {
    at.map_or(Timestamp(u64::MAX), |at| Timestamp(at.0.div_ceil(MINUTE_MS).saturating_mul(MINUTE_MS)))
}

impl Answers {
    fn of(answers: Vec<ReservationAnswer>) -> Self {
        let (mut offers, mut refused) = (Vec::new(), Vec::new());
        for ReservationAnswer { provider, said } in answers {
            match said {
                Ok(offer) => offers.push(offer),
                Err(why) => refused.push((provider, why)),
            }
        }
        Self { offers, refused }
    }

    /// For programs.
    pub fn document(&self) -> Value {
        let refused =
            |(provider, why): &(PublicKey, String)| json!({ "provider": provider.to_string(), "why": why });
        json!({
            "offers": self.offers.iter().map(offer_json).collect::<Vec<_>>(),
            "refused": self.refused.iter().map(refused).collect::<Vec<_>>(),
        })
    }

    /// A line for each that offers nothing.
    pub fn refusals(&self, context: &Context) -> Result {
        let mut lines =
            self.refused.iter().map(|(provider, why)| format!("{} offers nothing: {why}", provider.short()));
        lines.try_for_each(|line| context.out.line(line))
    }

    /// The error where nobody offers anything.
    pub fn nobody(&self) -> CommandError {
        let mut error =
            CommandError::refused(format!("of {} providers none reserves this", self.refused.len()));
        error.hints.extend(self.refused.iter().map(|(provider, why)| format!("{}: {why}", provider.short())));
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_begin_at_full_minutes() {
        let at = |ms| full_minute(Some(Timestamp(ms))).0;
        assert_eq!([0, 1, MINUTE_MS, MINUTE_MS + 1].map(at), [0, MINUTE_MS, MINUTE_MS, 2 * MINUTE_MS]);
        assert_eq!(full_minute(None), Timestamp(u64::MAX));
    }
}
