//! One answer, written by as many providers as it takes: where one stops, the next goes on.
//!
//! ```text
//!  match ─> session ─> turn ── delivered, or stopped by the user ─────────────> result
//!    ^                  │ refused, silent, broken, faulty, device reclaimed
//!    └── without those who were asked, within what is left of the order ──┘ the last turn's end, if there is nobody
//! ```
//!
//! Sessions of earlier turns are settled while the next turn runs, those of the last one at the end.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use gridhour_protocol::{
    job::{
        buyer::{BuyerEnd, BuyerOutcome},
        logprobs::Logprobs,
        request::Request,
    },
    market::{advert::Advert, matching::MatchRecord, order::Order},
    session::{lane::LaneLedger, terms::Terms},
    signed::{PublicKey, Verified},
    units::Credits,
};
use tokio::{sync::watch, time::Instant};

use super::{
    Client, RunError,
    run::{OnEvent, RunEvent, RunSpec, with_true_work},
    turn::Turn,
};
use crate::{
    drivers::results::{JobResult, PARTS_MAX, Part},
    model::assets::ModelAssets,
};

/// Providers that are asked for one order, one after another, at most.
const PROVIDERS_MAX: usize = PARTS_MAX;

/// Who has the next turn, under which terms, and how that came about.
#[derive(Clone)]
pub(super) struct Choice {
    pub(super) advert: Verified<Advert>,
    pub(super) terms: Terms,
    pub(super) hold: Credits,
    pub(super) matched: MatchRecord,
}

/// What an answer needs.
pub(super) struct RelayParts<'a> {
    pub(super) client: &'a Client,
    pub(super) spec: &'a RunSpec,
    pub(super) order: Verified<Order>,
    pub(super) assets: &'a ModelAssets,
    /// Those who may be asked.
    pub(super) adverts: &'a [Verified<Advert>],
    pub(super) cancel: watch::Receiver<bool>,
}

/// An answer on its way.
pub(super) struct Relay<'a> {
    parts: RelayParts<'a>,
    on_event: Mutex<OnEvent<'a>>,
}

/// What the turns so far have left.
#[derive(Default)]
struct Past {
    parts: Vec<Part>,
    asked: BTreeSet<PublicKey>,
    /// Held under the order, by whichever session.
    held: Credits,
    /// Output tokens that the user has.
    shown: usize,
    started: Option<Instant>,
    first_token: Option<Instant>,
    open: Vec<Unsettled>,
}

/// A session that is to be settled.
struct Unsettled {
    terms: Terms,
    /// Whether its provider may be asked to.
    answers: bool,
}

impl<'a> Relay<'a> {
    pub(super) fn new(parts: RelayParts<'a>, on_event: OnEvent<'a>) -> Self {
        Self { parts, on_event: Mutex::new(on_event) }
    }

    /// Brings the answer to its end, and every session to its settlement.
    pub(super) async fn run(self, request: Request) -> Result<JobResult, RunError> {
        let mut past = Past::default();
        let ended = self.take_turns(request, &mut past).await;
        self.settle(past.open).await;
        ended
    }

    async fn take_turns(&self, mut request: Request, past: &mut Past) -> Result<JobResult, RunError> {
        let mut choice = self.choose(&request, past).await?;
        self.tell(RunEvent::Matched(&choice.matched));
        loop {
            let unsettled = std::mem::take(&mut past.open);
            let (turn, ()) =
                tokio::join!(self.turn(choice.clone(), request.clone(), past), self.settle(unsettled));
            let Some((rest, next)) = self.next(&turn, &request, past).await else {
                return self.finish(turn?, past);
            };
            let (from, to) = (choice.terms.provider, next.terms.provider);
            let (written, why) = (rest.written.len(), why(&turn));
            self.tell(RunEvent::Moved { from, to, written, why: &why });
            self.keep(&turn, past)?;
            (request, choice) = (rest, next);
        }
    }

    /// Opens the session of `choice` and runs its job.
    async fn turn(&self, choice: Choice, request: Request, past: &mut Past) -> Result<Turn, RunError> {
        past.asked.insert(choice.terms.provider);
        self.parts.client.open_session(self.parts.spec, &self.parts.order, &choice).await?;
        past.held = past.held.checked_add(choice.hold).unwrap_or(Credits(u64::MAX));
        self.tell(RunEvent::Opened { session: choice.terms.id(), hold: choice.hold });
        past.open.push(Unsettled { terms: choice.terms.clone(), answers: false });
        // Tokens that are written again for want of a receipt are there already.
        let (mut at, shown) = (request.written.len(), &mut past.shown);
        let mut deliver = |tokens: &[u32], _: &[Logprobs]| {
            let new = tokens.get(shown.saturating_sub(at)..).unwrap_or(&[]);
            at += tokens.len();
            *shown = at.max(*shown);
            if !new.is_empty() {
                self.tell(RunEvent::Tokens(new));
            }
        };
        let cancel = self.parts.cancel.clone();
        let done = self.parts.client.turn(&choice, request, self.parts.assets, cancel, &mut deliver).await?;
        if let Some(accusation) = &done.0.contradiction {
            self.tell(RunEvent::Contradiction(accusation));
        }
        Ok(past.take_in(Turn::of(choice, done)))
    }

    /// Who goes on, and with what; nothing if the answer is at its end, or nobody can.
    async fn next(
        &self,
        turn: &Result<Turn, RunError>,
        request: &Request,
        past: &Past,
    ) -> Option<(Request, Choice)> {
        let rest = match turn {
            Ok(turn) => turn.rest()?,
            Err(RunError::Provider(_)) => request.clone(),
            // Whether this offer's time was over, or the order's money: the next match says.
            Err(RunError::Ledger(_)) if !past.parts.is_empty() => request.clone(),
            Err(_) => return None,
        };
        if !self.parts.spec.failover || *self.parts.cancel.borrow() || past.asked.len() >= PROVIDERS_MAX {
            return None;
        }
        let next = self.choose(&rest, past).await.inspect_err(|error| tracing::warn!(%error, "nobody goes on"));
        Some((rest, next.ok()?))
    }

    /// Matches the order against those who were not asked yet, as they offer now, and for whose session something is
    /// left under the order.
    async fn choose(&self, request: &Request, past: &Past) -> Result<Choice, RunError> {
        let left = self.parts.order.total_max.saturating_sub(past.held);
        let RelayParts { client, spec, assets, .. } = &self.parts;
        let newest = with_true_work(&client.newest(self.parts.adverts), spec.model, assets.work());
        let others = newest.into_iter().filter(|advert| !past.asked.contains(&advert.provider));
        let is_first = past.asked.is_empty();
        let fits = |advert: &Verified<Advert>| {
            is_first || self.terms(advert, request).is_none_or(|(_, hold)| hold <= left)
        };
        let adverts: Vec<_> = others.filter(fits).collect();
        let matched = self.parts.client.match_order(&self.parts.order, &adverts, self.parts.spec.use_for).await?;
        let chosen = adverts.iter().find(|advert| matched.chosen == Some(advert.provider));
        let Some(advert) = chosen else { return Err(RunError::NoOffer(Box::new(matched))) };
        let (terms, hold) = self
            .terms(advert, request)
            .ok_or_else(|| RunError::Order("its times or its cost overflow".into()))?;
        Ok(Choice { advert: advert.clone(), terms, hold, matched })
    }

    /// Terms with this provider, and what the longest answer costs under them.
    fn terms(&self, advert: &Verified<Advert>, request: &Request) -> Option<(Terms, Credits)> {
        let terms = self.parts.client.terms(self.parts.spec, &self.parts.order, advert)?;
        let hold = request.amount_on(&LaneLedger::new(terms.id(), 0), &terms, request.max_tokens)?;
        Some((terms, hold.max(Credits(1))))
    }

    /// Keeps what a turn added, with its receipt if there is one.
    fn keep(&self, turn: &Result<Turn, RunError>, past: &mut Past) -> Result<(), RunError> {
        let Ok(turn) = turn else { return Ok(()) };
        if let Some(result) = turn.result(&past.parts) {
            self.write(&result)?;
        }
        past.parts.extend(turn.part());
        Ok(())
    }

    fn finish(&self, turn: Turn, past: &Past) -> Result<JobResult, RunError> {
        match turn.result(&past.parts) {
            Some(result) => self.write(&result).map(|()| result),
            None => Err(RunError::Failed(Box::new(past.and(turn.outcome)))),
        }
    }

    fn write(&self, result: &JobResult) -> Result<(), RunError> {
        let text = self.parts.assets.tokenizer().decode_until(&result.answer(), &result.request.stop_texts);
        Ok(self.parts.client.results.keep(result, &text)?)
    }

    async fn settle(&self, unsettled: Vec<Unsettled>) {
        for Unsettled { terms, answers } in unsettled {
            match self.parts.client.settle(&terms, answers).await {
                Ok(()) => self.tell(RunEvent::Settled),
                Err(why) => self.tell(RunEvent::SettleLater { why }),
            }
        }
    }

    fn tell(&self, event: RunEvent<'_>) {
        // Who panicked while it was told something is asked to hear no more, but no job ends over it.
        let mut on_event = self.on_event.lock().unwrap_or_else(PoisonError::into_inner);
        on_event(event);
    }
}

impl Past {
    /// Takes in how a turn went. Its times become those of the answer.
    fn take_in(&mut self, mut turn: Turn) -> Turn {
        turn.started = *self.started.get_or_insert(turn.started);
        self.first_token = self.first_token.or(turn.first_token);
        turn.first_token = self.first_token;
        if let Some(last) = self.open.last_mut() {
            last.answers = turn.answers();
        }
        turn
    }

    /// A last turn's outcome with what was written and paid before.
    fn and(&self, last: BuyerOutcome) -> BuyerOutcome {
        let shown = u32::try_from(self.shown).unwrap_or(u32::MAX);
        let add = |sum: Credits, part: &Part| sum.checked_add(part.cost).unwrap_or(Credits(u64::MAX));
        BuyerOutcome { output_tokens: shown, cost: self.parts.iter().fold(last.cost, add), ..last }
    }
}

/// Why a turn was not the last.
fn why(turn: &Result<Turn, RunError>) -> String {
    match turn {
        Err(error) => error.to_string(),
        Ok(turn) => match &turn.outcome.end {
            BuyerEnd::Settled(receipt) => format!("it ended with {}", receipt.body.cause.name()),
            BuyerEnd::Refused { code, detail } => format!("it refused ({}): {detail}", code.name()),
            BuyerEnd::Stalled => "it went silent".into(),
            BuyerEnd::Disconnected => "the connection to it broke".into(),
            BuyerEnd::Cheated(misdeed) => format!("it broke the rules: {misdeed}"),
        },
    }
}
