//! One answer, written by as many providers as it takes: where one stops, the next goes on.
//!
//! ```text
//!  match, or a kept session ─> turn ── delivered, or stopped by the user ─────────────> result
//!    ^                  │ refused, silent, broken, faulty, device reclaimed
//!    └── without those who were asked, within what is left of the order ──┘ the last turn's end, if there is nobody
//! ```
//!
//! Sessions of earlier turns are settled while the next turn runs, those of the last one at the end.

mod lanes;
mod past;
mod redundant;

use std::sync::{Mutex, PoisonError};

use futures::future::join_all;
use gridhour_protocol::{
    job::request::Request,
    market::{advert::Advert, matching::MatchRecord, order::Order, quote},
    session::{lane::LaneLedger, terms::Terms, warm::first_hold},
    signed::{PublicKey, Verified},
    units::Credits,
};
use tokio::sync::{OnceCell, watch};

use self::{
    lanes::Lanes,
    past::{Attempt, Past, Unsettled, why},
};
use super::{
    Client, RunError,
    job::Heard,
    outgoing::Outgoing,
    race::{Entry, Race},
    run::{OnEvent, RunEvent, RunSpec, may_be_applied, with_true_work},
    slot::{Slot, SlotError},
    turn::Turn,
};
use crate::{
    clock,
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
    /// The lane of its job.
    pub(super) lane: LaneLedger,
    /// Whether its session was kept open.
    pub(super) is_open: bool,
}

/// What an answer needs.
pub(super) struct RelayParts<'a> {
    pub(super) client: &'a Client,
    pub(super) spec: &'a RunSpec,
    pub(super) order: Verified<Order>,
    pub(super) assets: &'a ModelAssets,
    /// Those who may be asked.
    pub(super) adverts: &'a [Verified<Advert>],
    /// The reserved slot that pays, in which nobody but its provider is asked.
    pub(super) slot: Option<Slot>,
    pub(super) cancel: watch::Receiver<bool>,
}

/// An answer on its way.
pub(super) struct Relay<'a> {
    parts: RelayParts<'a>,
    lanes: Lanes<'a>,
    /// What was quoted, once the order was posted.
    quotes: OnceCell<Vec<Verified<Advert>>>,
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
        Self {
            lanes: Lanes::new(parts.client),
            parts,
            quotes: OnceCell::new(),
            on_event: Mutex::new(on_event),
        }
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
        let mut choice = self.pick(&request, past).await?;
        if !choice.is_open {
            self.tell(RunEvent::Matched(&choice.matched));
        }
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
        let RelayParts { spec, order, slot, .. } = &self.parts;
        let expected = first.matched.candidates.first().and_then(|best| best.expected_ttft_ms);
        if slot.is_some() || !spec.hedge.wants_two(order.ttft, expected) {
            return None;
        }
        let with_first = Past {
            asked: past.asked.iter().copied().chain([first.terms.provider]).collect(),
            held: past.held.checked_add(first.hold)?,
            unopened: if first.is_open { Credits::ZERO } else { first.hold },
            ..Past::default()
        };
        self.pick(request, &with_first).await.ok()
    }

    /// Opens the session of `choice`, if it is not kept, and runs its job.
    async fn turn(&self, choice: Choice, begin: Begin<'_>, entry: &Entry<'_>) -> Attempt {
        let (was_open, mut shown) = (choice.is_open, begin.shown);
        let (is_open, turn) = match self.outgoing(&choice, begin.request.clone()) {
            // No session is opened for what may not leave.
            Err(error) => (was_open, Err(error)),
            Ok(outgoing) => match self.enter(&choice, begin.request, entry).await {
                Ok(()) => (true, self.job(&choice, begin, outgoing, &mut shown, entry).await),
                // What may be open counts as held, and is closed.
                Err(RunError::Ledger(error)) => (may_be_applied(&error), Err(RunError::Ledger(error))),
                Err(error) => (was_open, Err(error)),
            },
        };
        let is_loose = is_open && !self.is_kept(&choice, &turn);
        Attempt { choice, is_new: is_open && !was_open, is_loose, shown, turn }
    }

    async fn enter(&self, choice: &Choice, request: &Request, entry: &Entry<'_>) -> Result<(), RunError> {
        let RelayParts { client, spec, order, slot, .. } = &self.parts;
        let (session, provider) = (choice.terms.id(), choice.terms.provider);
        if entry.is_overtaken() {
            return Err(RunError::Overtaken);
        }
        if choice.is_open {
            self.lanes.begins(&choice.lane);
            self.tell(RunEvent::GoesOn { session, provider });
            return Ok(());
        }
        // Kept from before it is opened, so that its hold counts even where the answer of the ledger is lost.
        if client.keep_open(spec, choice, request) {
            self.lanes.begins(&choice.lane);
        }
        if let Err(error) = client.open_session(spec, order, slot.as_ref(), choice).await {
            if !matches!(&error, RunError::Ledger(error) if may_be_applied(error)) {
                client.shelf.not_opened(session);
            }
            return Err(error);
        }
        client.shelf.opened(session);
        self.tell(RunEvent::Opened { session, hold: choice.hold });
        Ok(())
    }

    /// Gives the job's lane back to its session. Whether that is kept, and not to be settled now.
    fn is_kept(&self, choice: &Choice, turn: &Result<Turn, RunError>) -> bool {
        let (lane, goes_on) = match turn {
            Ok(turn) => (turn.outcome.lane.clone(), turn.goes_on()),
            Err(error) => (choice.lane.clone(), matches!(error, RunError::Overtaken)),
        };
        self.lanes.give_back(lane, goes_on)
    }

    async fn job(
        &self,
        choice: &Choice,
        begin: Begin<'_>,
        outgoing: Outgoing,
        shown: &mut usize,
        entry: &Entry<'_>,
    ) -> Result<Turn, RunError> {
        if entry.is_overtaken() {
            return Err(RunError::Overtaken);
        }
        // Tokens that are written again for want of a receipt are there already.
        let mut at = begin.request.written.len();
        let provider = choice.terms.provider;
        let mut deliver = |heard: Heard<'_>| {
            let tokens = match heard {
                Heard::Tokens(tokens, _) => tokens,
                Heard::Reclaiming(within) => return self.tell(RunEvent::Reclaiming { provider, within }),
            };
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
        let done = client.turn(choice, outgoing, assets, entry.cancel(), &mut deliver).await?;
        if let Some(accusation) = &done.0.contradiction {
            self.tell(RunEvent::Contradiction(accusation));
        }
        Ok(Turn::of(choice.clone(), done))
    }

    /// The request on its way to the provider of `choice`, if it may go there.
    fn outgoing(&self, choice: &Choice, request: Request) -> Result<Outgoing, RunError> {
        let RelayParts { spec, order, .. } = &self.parts;
        Outgoing::to(order, &spec.own, (&choice.advert, &choice.terms), request)
    }

    /// Takes in how one turn went, or two of which the first counts. Who had it, and how it ended.
    fn take_in(
        &self,
        attempts: Vec<Attempt>,
        past: &mut Past,
    ) -> Result<(PublicKey, Result<Turn, RunError>), RunError> {
        past.was_stale = false;
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
        let may_go_on = (self.parts.spec.failover || past.was_stale) && self.parts.slot.is_none();
        if !may_go_on || *self.parts.cancel.borrow() || past.asked.len() >= PROVIDERS_MAX {
            return None;
        }
        let next = self.pick(&rest, past).await.inspect_err(|error| tracing::warn!(%error, "nobody goes on"));
        Some((rest, next.ok()?))
    }

    /// A kept session for the request, or the best offer for a new one.
    async fn pick(&self, request: &Request, past: &Past) -> Result<Choice, RunError> {
        let RelayParts { client, spec, order, adverts, .. } = &self.parts;
        match client.kept_for(spec, order, request, &past.asked, adverts).await {
            Some(kept) => {
                self.lanes.took(&kept.lane);
                Ok(kept)
            }
            None => self.choose(request, past).await,
        }
    }

    /// What the order leaves for the hold of one more session.
    fn left(&self, past: &Past) -> Credits {
        let RelayParts { client, spec, order, .. } = &self.parts;
        match spec.keep {
            Some(_) => client.left_of(order).saturating_sub(past.unopened),
            None => order.total_max.saturating_sub(past.held),
        }
    }

    /// Matches the order against those who were not asked yet, as they offer now, and for whose session something is
    /// left under the order.
    async fn choose(&self, request: &Request, past: &Past) -> Result<Choice, RunError> {
        let left = self.left(past);
        let RelayParts { client, spec, order, slot, .. } = &self.parts;
        let found = client.look_round(order, &self.fitting(request, past, left).await, spec).await?;
        // Pings take their time: what is offered now counts.
        let adverts = self.fitting(request, past, left).await;
        let matched = client.record(&found, order, &adverts, spec);
        let chosen = adverts.iter().find(|advert| matched.chosen == Some(advert.provider));
        let Some(advert) = chosen else { return Err(RunError::NoOffer(Box::new(matched))) };
        let (terms, longest) = self
            .terms(advert, request)
            .ok_or_else(|| RunError::Order("its times or its cost overflow".into()))?;
        check_slot(slot.as_ref(), longest)?;
        let hold = self.hold(longest, left)?;
        let lane = LaneLedger::new(terms.id(), 0);
        Ok(Choice { advert: advert.clone(), terms, hold, matched, lane, is_open: false })
    }

    /// What those offer now who were not asked yet, and for whose session something is left.
    async fn fitting(&self, request: &Request, past: &Past, left: Credits) -> Vec<Verified<Advert>> {
        let mut offers = self.offers().await;
        let is_first = past.asked.is_empty();
        offers.retain(|advert| {
            !past.asked.contains(&advert.provider)
                && (is_first || self.terms(advert, request).is_none_or(|(_, longest)| longest <= left))
        });
        offers
    }

    /// What is offered now: adverts, and in their place what was quoted for this order.
    async fn offers(&self) -> Vec<Verified<Advert>> {
        let RelayParts { client, spec, assets, adverts, slot, .. } = &self.parts;
        if slot.is_some() {
            // What was reserved is offered to nobody else, and nothing newer takes its place.
            return with_true_work(adverts, spec.model, assets.work());
        }
        let quotes = self.quotes().await;
        let newest = with_true_work(&client.newest(adverts), spec.model, assets.work());
        quote::beside(newest, quotes, clock::now())
    }

    /// What was quoted for the order, which is posted the first time that it is asked.
    async fn quotes(&self) -> &[Verified<Advert>] {
        let RelayParts { client, spec, order, .. } = &self.parts;
        let Some(post) = spec.post else { return &[] };
        let posted = async {
            let quotes = client.quotes(order, post).await;
            self.tell(RunEvent::Posted { quotes: quotes.len() });
            quotes
        };
        self.quotes.get_or_init(|| posted).await
    }

    /// What a session holds at first for a job that costs `longest` at most: for more like it if it is kept.
    fn hold(&self, longest: Credits, left: Credits) -> Result<Credits, RunError> {
        if self.parts.spec.keep.is_none() {
            return Ok(longest);
        }
        first_hold(longest, left).ok_or_else(|| {
            let most = self.parts.order.total_max;
            let why = format!("the answer may cost {longest} credits, and {left} are left of {most} in all");
            RunError::Order(why)
        })
    }

    /// Terms with this provider, and what the longest answer costs under them.
    fn terms(&self, advert: &Verified<Advert>, request: &Request) -> Option<(Terms, Credits)> {
        let RelayParts { client, spec, order, slot, .. } = &self.parts;
        let terms = client.terms(spec, order, slot.as_ref(), advert)?;
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

    /// Settles what can be, all at once, and gives the reasons why the rest cannot yet.
    async fn settle(&self, unsettled: Vec<Unsettled>) -> Vec<String> {
        let settle = async |Unsettled { terms, answers }: Unsettled| {
            let settled = self.parts.client.settle(&terms, answers).await;
            settled.map(|()| self.tell(RunEvent::Settled)).err()
        };
        join_all(unsettled.into_iter().map(settle)).await.into_iter().flatten().collect()
    }

    fn tell(&self, event: RunEvent<'_>) {
        // Who panicked while it was told something is asked to hear no more, but no job ends over it.
        let mut on_event = self.on_event.lock().unwrap_or_else(PoisonError::into_inner);
        on_event(event);
    }
}

/// Whether what is left of the slot, if one pays, covers the longest answer.
fn check_slot(slot: Option<&Slot>, longest: Credits) -> Result<(), RunError> {
    match slot {
        Some(slot) if slot.left < longest => Err(SlotError::Spent { longest, left: slot.left }.into()),
        _ => Ok(()),
    }
}
