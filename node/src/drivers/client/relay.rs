//! One answer, written by as many providers as it takes: where one stops, the next goes on.
//!
//! ```text
//!  match ─> session ─> turn ── delivered, or stopped by the user ─────────────> result
//!    ^                  │ refused, silent, broken, faulty, device reclaimed
//!    └── without those who were asked, within what is left of the order ──┘ the last turn's end, if there is nobody
//! ```
//!
//! Sessions of earlier turns are settled while the next turn runs, those of the last one at the end.

mod past;

use std::sync::{Mutex, PoisonError};

use gridhour_protocol::{
    job::{logprobs::Logprobs, request::Request},
    market::{advert::Advert, matching::MatchRecord, order::Order},
    session::{lane::LaneLedger, terms::Terms},
    signed::{PublicKey, Verified},
    units::Credits,
};
use tokio::sync::watch;

use self::past::{Attempt, Past, Unsettled, why};
use super::{
    Client, RunError,
    race::{Entry, Race},
    run::{OnEvent, RunEvent, RunSpec, may_be_applied, with_true_work},
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

/// Where a turn begins.
#[derive(Clone, Copy)]
struct Begin<'a> {
    request: &'a Request,
    /// Output tokens that the user has.
    shown: usize,
}

impl<'a> Relay<'a> {
    pub(super) fn new(parts: RelayParts<'a>, on_event: OnEvent<'a>) -> Self {
        Self { parts, on_event: Mutex::new(on_event) }
    }

    /// Brings the answer to its end, and every session to its settlement.
    pub(super) async fn run(self, request: Request) -> Result<JobResult, RunError> {
        let mut past = Past::default();
        let ended = self.take_turns(request, &mut past).await;
        past.late.extend(self.settle(past.open).await);
        // Not before the answer is at its end: nothing may come in between.
        for why in past.late {
            self.tell(RunEvent::SettleLater { why });
        }
        ended
    }

    async fn take_turns(&self, mut request: Request, past: &mut Past) -> Result<JobResult, RunError> {
        let mut choice = self.choose(&request, past).await?;
        self.tell(RunEvent::Matched(&choice.matched));
        let mut rival = self.rival(&choice, &request, past).await;
        loop {
            let unsettled = std::mem::take(&mut past.open);
            let begin = Begin { request: &request, shown: past.shown };
            let (attempts, late) =
                tokio::join!(self.race(choice, rival.take(), begin), self.settle(unsettled));
            past.late.extend(late);
            let (from, turn) = self.take_in(attempts, past)?;
            let Some((rest, next)) = self.next(&turn, &request, past).await else {
                return self.finish(turn?, past);
            };
            let (to, written, why) = (next.terms.provider, rest.written.len(), why(&turn));
            self.tell(RunEvent::Moved { from, to, written, why: &why });
            self.keep(&turn, past)?;
            (request, choice) = (rest, next);
        }
    }

    /// One or two turns at once; the one that counts comes first.
    async fn race(&self, choice: Choice, rival: Option<Choice>, begin: Begin<'_>) -> Vec<Attempt> {
        let Some(rival) = rival else {
            return vec![self.turn(choice, begin, &Entry::alone(&self.parts.cancel)).await];
        };
        let race = Race::new();
        let (first, second) = (race.entry(0), race.entry(1));
        let both = async { tokio::join!(self.turn(choice, begin, &first), self.turn(rival, begin, &second)) };
        let (one, other) = race.run(both, &self.parts.cancel).await;
        if race.winner() == Some(1) { vec![other, one] } else { vec![one, other] }
    }

    /// Who is asked at the same time, if anybody.
    async fn rival(&self, first: &Choice, request: &Request, past: &Past) -> Option<Choice> {
        let RelayParts { spec, order, .. } = &self.parts;
        let expected = first.matched.candidates.first().and_then(|best| best.expected_ttft_ms);
        if !spec.hedge.wants_two(order.ttft, expected) {
            return None;
        }
        let with_first = Past {
            asked: past.asked.iter().copied().chain([first.terms.provider]).collect(),
            held: past.held.checked_add(first.hold)?,
            ..Past::default()
        };
        self.choose(request, &with_first).await.ok()
    }

    /// Opens the session of `choice` and runs its job.
    async fn turn(&self, choice: Choice, begin: Begin<'_>, entry: &Entry<'_>) -> Attempt {
        let RelayParts { client, spec, order, .. } = &self.parts;
        let not_begun =
            |choice, is_open, error| Attempt { choice, is_open, shown: begin.shown, turn: Err(error) };
        if entry.is_overtaken() {
            return not_begun(choice, false, RunError::Overtaken);
        }
        if let Err(error) = client.open_session(spec, order, &choice).await {
            // What may be open counts as held, and is closed.
            let is_open = matches!(&error, RunError::Ledger(error) if may_be_applied(error));
            return not_begun(choice, is_open, error);
        }
        self.tell(RunEvent::Opened { session: choice.terms.id(), hold: choice.hold });
        let mut shown = begin.shown;
        let turn = self.job(&choice, begin.request.clone(), &mut shown, entry).await;
        Attempt { choice, is_open: true, shown, turn }
    }

    async fn job(
        &self,
        choice: &Choice,
        request: Request,
        shown: &mut usize,
        entry: &Entry<'_>,
    ) -> Result<Turn, RunError> {
        if entry.is_overtaken() {
            return Err(RunError::Overtaken);
        }
        // Tokens that are written again for want of a receipt are there already.
        let mut at = request.written.len();
        let mut deliver = |tokens: &[u32], _: &[Logprobs]| {
            if !entry.leads() {
                return;
            }
            let new = tokens.get(shown.saturating_sub(at)..).unwrap_or(&[]);
            at += tokens.len();
            *shown = at.max(*shown);
            if !new.is_empty() {
                self.tell(RunEvent::Tokens(new));
            }
        };
        let RelayParts { client, assets, .. } = &self.parts;
        let done = client.turn(choice, request, assets, entry.cancel(), &mut deliver).await?;
        if let Some(accusation) = &done.0.contradiction {
            self.tell(RunEvent::Contradiction(accusation));
        }
        Ok(Turn::of(choice.clone(), done))
    }

    /// Takes in how one turn went, or two of which the first counts. Who had it, and how it ended.
    fn take_in(
        &self,
        attempts: Vec<Attempt>,
        past: &mut Past,
    ) -> Result<(PublicKey, Result<Turn, RunError>), RunError> {
        let mut ended: Vec<_> = attempts.into_iter().map(|attempt| past.take_in(attempt)).collect();
        if let Some((provider, Ok(slower))) = ended.get(1) {
            if let Some(result) = slower.result(&[], None) {
                self.write(&result)?;
            }
            past.beside = slower.part().map(|part| Part { tokens: 0, logprobs: Vec::new(), ..part });
            // Without a token there was no winner, and both failed.
            if past.shown > 0 {
                self.tell(RunEvent::Overtaken { provider: *provider, cost: slower.outcome.cost });
            }
        }
        Ok(ended.swap_remove(0))
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
            Err(RunError::Provider(_) | RunError::Overtaken) => request.clone(),
            // Whether this offer's time was over, or the order's money: the next match says.
            Err(RunError::Ledger(_)) if past.asked.len() > 1 => request.clone(),
            Err(_) => return None,
        };
        if !self.parts.spec.failover || *self.parts.cancel.borrow() || past.asked.len() >= PROVIDERS_MAX {
            return None;
        }
        let next =
            self.choose(&rest, past).await.inspect_err(|error| tracing::warn!(%error, "nobody goes on"));
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
        let matched = client.match_order(&self.parts.order, &adverts, spec).await?;
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
        if let Some(result) = turn.result(&past.parts, past.beside.clone()) {
            self.write(&result)?;
        }
        past.parts.extend(turn.part());
        Ok(())
    }

    fn finish(&self, turn: Turn, past: &Past) -> Result<JobResult, RunError> {
        match turn.result(&past.parts, past.beside.clone()) {
            Some(result) => self.write(&result).map(|()| result),
            None => Err(RunError::Failed(Box::new(past.and(turn.outcome)))),
        }
    }

    fn write(&self, result: &JobResult) -> Result<(), RunError> {
        let text = self.parts.assets.tokenizer().decode_until(&result.answer(), &result.request.stop_texts);
        Ok(self.parts.client.results.keep(result, &text)?)
    }

    /// Settles what can be, and gives the reasons why the rest cannot yet.
    async fn settle(&self, unsettled: Vec<Unsettled>) -> Vec<String> {
        let mut late = Vec::new();
        for Unsettled { terms, answers } in unsettled {
            match self.parts.client.settle(&terms, answers).await {
                Ok(()) => self.tell(RunEvent::Settled),
                Err(why) => late.push(why),
            }
        }
        late
    }

    fn tell(&self, event: RunEvent<'_>) {
        // Who panicked while it was told something is asked to hear no more, but no job ends over it.
        let mut on_event = self.on_event.lock().unwrap_or_else(PoisonError::into_inner);
        on_event(event);
    }
}
