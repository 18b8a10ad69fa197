//! How long an order takes to its first token beside what the engine computes: cold, and in a session that is kept open.
//!
//! Real orders to a real provider, of one token each, so that the time which its receipt states is the engine's whole time.
//! That time is the provider's word; who measures its own provider may believe it.

use std::time::{Duration, Instant};

use gridhour_protocol::{
    market::{advert::Advert, order::Verification},
    receipt::Cause,
    signed::Verified,
    units::Millis,
};
use thiserror::Error;
use tokio::sync::watch;

use super::ledger::Row;
use crate::{
    drivers::{
        client::{Client, Keep, RunError, RunEvent, RunSpec},
        results::JobResult,
    },
    model::template::{Message, Role},
};

/// Longer than any measurement.
const IDLE: Millis = Millis(600_000);
/// Tokens of the longest prompt; those of this measurement are short.
const PROMPT_TOKENS: u32 = 128;

/// Why nothing was measured.
#[derive(Debug, Error)]
pub enum FirstTokenError {
    /// An order failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The user stopped it.
    #[error("stopped at order {at}")]
    Stopped {
        /// Which, from 0.
        at: u32,
    },
    /// No order was answered in a kept session.
    #[error("order {at} was not answered as the figure needs it: {why}")]
    Unfit {
        /// Which, from 0.
        at: u32,
        /// What was wrong with it.
        why: &'static str,
    },
}

/// One order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Sample {
    /// From the order to the first token.
    first_token: Duration,
    /// What the engine computed for it.
    engine: Duration,
}

impl Sample {
    fn beside_ms(&self) -> f64 {
        self.first_token.saturating_sub(self.engine).as_secs_f64() * 1e3
    }
}

/// What was measured.
#[derive(Clone, PartialEq, Debug)]
pub struct Measured {
    /// The order that opened the session.
    cold: Sample,
    /// Those that went on in it, the quickest first.
    warm: Vec<Sample>,
}

impl Measured {
    /// The figures.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let ms = |name, value| Row { name, value, unit: "ms", reference: None, ratio: None };
        let beside = |per_cent: usize| {
            let rank = (self.warm.len() * per_cent).div_ceil(100).saturating_sub(1);
            self.warm.get(rank).map_or(0.0, Sample::beside_ms)
        };
        let mut engine: Vec<f64> = self.warm.iter().map(|sample| sample.engine.as_secs_f64() * 1e3).collect();
        vec![
            ms("first_token_cold_ms", self.cold.beside_ms()),
            ms("first_token_warm_p50_ms", beside(50)),
            ms("first_token_warm_p95_ms", beside(95)),
            ms("first_token_warm_worst_ms", beside(100)),
            ms("engine_p50_ms", super::median(&mut engine)),
        ]
    }
}

/// Orders like `spec`, one cold and then `orders` that go on in its session, and tells `done` of each, until `cancel` turns
/// true.
///
/// # Errors
/// If an order fails, is not answered in the session that was kept, or is stopped.
pub async fn measure(
    client: &Client,
    spec: &RunSpec,
    offers: &[Verified<Advert>],
    orders: u32,
    cancel: &watch::Receiver<bool>,
    done: &mut (dyn FnMut() + Send),
) -> Result<Measured, FirstTokenError> {
    let keep = Some(Keep { prompt_tokens: PROMPT_TOKENS, idle: IDLE });
    let mut warm = Vec::new();
    let mut cold = None;
    for at in 0..=orders {
        let content = format!("Hello {at}");
        let messages = vec![Message { role: Role::User, content }];
        // Several providers at the same time keep no session.
        let verification = Verification::Receipt;
        let spec = RunSpec { messages, max_tokens: 1, keep, verification, ..spec.clone() };
        let sample = order(client, &spec, offers, cancel.clone()).await;
        if *cancel.borrow() {
            return Err(FirstTokenError::Stopped { at });
        }
        let sample = sample.and_then(|answered| answered.sample(at))?;
        match cold {
            None => cold = Some(sample),
            Some(_) => warm.push(sample),
        }
        done();
    }
    warm.sort_by(|one, other| one.beside_ms().total_cmp(&other.beside_ms()));
    let cold = cold.ok_or(FirstTokenError::Unfit { at: 0, why: "there was none" })?;
    Ok(Measured { cold, warm })
}

/// What came of an order.
struct Answered {
    result: JobResult,
    first_token: Option<Duration>,
    /// Whether a session that was kept took it.
    goes_on: bool,
}

async fn order(
    client: &Client,
    spec: &RunSpec,
    offers: &[Verified<Advert>],
    cancel: watch::Receiver<bool>,
) -> Result<Answered, FirstTokenError> {
    let begun = Instant::now();
    let (mut first_token, mut goes_on) = (None, false);
    let mut on_event = |event: RunEvent<'_>| match event {
        RunEvent::Tokens(_) => {
            first_token.get_or_insert_with(|| begun.elapsed());
        }
        RunEvent::GoesOn { .. } => goes_on = true,
        _ => {}
    };
    let result = client.run(spec, offers, cancel, &mut on_event).await?;
    Ok(Answered { result, first_token, goes_on })
}

impl Answered {
    /// The figures of order `at`, if it is fit for them.
    fn sample(&self, at: u32) -> Result<Sample, FirstTokenError> {
        let unfit = |why| FirstTokenError::Unfit { at, why };
        let receipt = &self.result.receipt.body;
        if receipt.cause != Cause::Delivered || !self.result.before.is_empty() {
            return Err(unfit("its provider did not deliver it"));
        }
        if self.goes_on != (at > 0) {
            return Err(unfit("the session was not kept, or was there before"));
        }
        let first_token = self.first_token.ok_or_else(|| unfit("no token came"))?;
        Ok(Sample { first_token, engine: Duration::from_nanos(receipt.measured.0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_computed_is_no_part_of_a_figure() {
        let sample = |total, engine| Sample {
            first_token: Duration::from_millis(total),
            engine: Duration::from_millis(engine),
        };
        let warm = (1..=20).map(|beside| sample(50 + beside, 50)).collect();
        let measured = Measured { cold: sample(90, 50), warm };
        let figures: Vec<_> = measured.rows().iter().map(|row| (row.name, row.value.round())).collect();
        let expected = [
            ("first_token_cold_ms", 40.0),
            ("first_token_warm_p50_ms", 10.0),
            ("first_token_warm_p95_ms", 19.0),
            ("first_token_warm_worst_ms", 20.0),
            ("engine_p50_ms", 50.0),
        ];
        assert_eq!(figures, expected);
    }
}
