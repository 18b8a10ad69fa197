//! One answer, written by several providers at the same time: what more than half of them agree on is shown as it comes,
//! and what most of them signed in the end is the answer.
//!
//! ```text
//!  match ─> several sessions ─> a turn each ──> tokens that more than half agree on are shown
//!                                          └──> all ended: every receipt kept, every session settled
//!                                               unanimous │ majority │ undecided; what differs is kept
//! ```
//!
//! Nobody is replaced who stops, and nobody is cancelled who is slow: a slow one may be the one that differs. The user
//! waits for the middle one at each chunk, and for the slowest at the end.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use futures::future::join_all;
use gridhour_protocol::{
    job::{
        agreement::{Agreement, Tally},
        buyer::BuyerEnd,
        request::Request,
    },
    market::redundant::{Bid, pick},
    receipt::Cause,
    session::{lane::LaneLedger, terms::Terms},
    units::Credits,
};
use tokio::time::Instant;

use super::{
    super::{
        RunError, Undecided,
        job::Heard,
        run::{RunEvent, may_be_applied},
        turn::Turn,
    },
    Choice, Relay, RelayParts, Unsettled, why,
};
use crate::drivers::{
    mismatch::{Answer, Asked, Mismatch},
    results::{Agreed, JobResult},
};

/// What the providers have written so far.
struct Desk {
    agreement: Agreement,
    /// Tokens that the user has.
    shown: usize,
    /// When the first of them came.
    first: Option<Instant>,
}

/// What came of asking one of them.
struct Ballot {
    choice: Choice,
    /// Whether its session is, or may be, open.
    is_open: bool,
    turn: Result<Turn, RunError>,
}

impl Relay<'_> {
    /// Has `count` providers write the answer at the same time, and brings every session to its settlement.
    pub(in super::super) async fn run_together(
        self,
        request: Request,
        count: u8,
    ) -> Result<JobResult, RunError> {
        let choices = self.choose_several(&request, count).await?;
        self.tell(RunEvent::Matched(&choices[0].matched));
        let asked = choices.iter().map(|choice| choice.terms.provider);
        let agreement = Agreement::new(&request, asked);
        let desk = Mutex::new(Desk { agreement, shown: 0, first: None });
        let ballots = choices.into_iter().map(|choice| self.ballot(choice, request.clone(), &desk));
        let ballots = join_all(ballots).await;
        let unsettled = ballots.iter().filter_map(Ballot::unsettled).collect();
        let desk = desk.into_inner().unwrap_or_else(PoisonError::into_inner);
        let ended = self.decide(request, ballots, desk);
        for why in self.settle(unsettled).await {
            self.tell(RunEvent::SettleLater { why });
        }
        ended
    }

    /// The best offers of different stake accounts that the order's total pays for together.
    async fn choose_several(&self, request: &Request, count: u8) -> Result<Vec<Choice>, RunError> {
        let RelayParts { client, spec, order, .. } = &self.parts;
        let found = client.look_round(order, &self.offers().await, spec).await?;
        let newest = self.offers().await;
        let matched = client.record(&found, order, &newest, spec);
        if matched.chosen.is_none() {
            return Err(RunError::NoOffer(Box::new(matched)));
        }
        let able = matched.candidates.iter().filter_map(|candidate| {
            let advert = newest.iter().find(|advert| advert.provider == candidate.provider)?;
            let (terms, hold) = self.terms(advert, request)?;
            Some((advert, terms, hold))
        });
        let able: Vec<_> = able.collect();
        let bid = |(_, terms, hold): &(_, Terms, Credits)| Bid { account: terms.provider, hold: *hold };
        let picked = pick(&able.iter().map(bid).collect::<Vec<_>>(), count, order.total_max)
            .map_err(|why| RunError::TooFew { why, record: Box::new(matched.clone()) })?;
        let choice = |place: usize| {
            let (advert, terms, hold) = able[place].clone();
            let lane = LaneLedger::new(terms.id(), 0);
            Choice { advert: advert.clone(), terms, hold, matched: matched.clone(), lane, is_open: false }
        };
        Ok(picked.into_iter().map(choice).collect())
    }

    /// Opens the session of `choice` and runs its job.
    async fn ballot(&self, choice: Choice, request: Request, desk: &Mutex<Desk>) -> Ballot {
        let RelayParts { client, spec, order, assets, cancel, .. } = &self.parts;
        if let Err(error) = client.open_session(spec, order, None, &choice).await {
            // What may be open is closed.
            let is_open = matches!(&error, RunError::Ledger(error) if may_be_applied(error));
            return Ballot { choice, is_open, turn: Err(error) };
        }
        self.tell(RunEvent::Opened { session: choice.terms.id(), hold: choice.hold });
        let (who, mut text) = (choice.terms.provider, Vec::new());
        let mut deliver = |heard: Heard<'_>| {
            let (tokens, logprobs) = match heard {
                Heard::Tokens(tokens, logprobs) => (tokens, logprobs),
                Heard::Reclaiming(within) => {
                    return self.tell(RunEvent::Reclaiming { provider: who, within });
                }
            };
            text.extend_from_slice(tokens);
            let mut desk = desk.lock().unwrap_or_else(PoisonError::into_inner);
            let agreed = desk.agreement.push(who, tokens, logprobs);
            if let Some(new) = text.get(desk.shown..agreed).filter(|new| !new.is_empty()) {
                desk.first.get_or_insert_with(Instant::now);
                desk.shown = agreed;
                // While nobody else can: they must be shown in their order.
                self.tell(RunEvent::Tokens(new));
            }
        };
        let ran = match self.outgoing(&choice, request) {
            Ok(outgoing) => client.turn(&choice, outgoing, assets, cancel.clone(), &mut deliver).await,
            Err(error) => Err(error),
        };
        let turn = ran.map(|ran| {
            if let Some(accusation) = &ran.0.contradiction {
                self.tell(RunEvent::Contradiction(accusation));
            }
            Turn::of(choice.clone(), ran)
        });
        Ballot { choice, is_open: true, turn }
    }

    /// Counts the votes and keeps what was signed. The answer is that of the best offer among the majority's.
    fn decide(&self, request: Request, ballots: Vec<Ballot>, mut desk: Desk) -> Result<JobResult, RunError> {
        for Ballot { choice, turn, .. } in &ballots {
            let provider = choice.terms.provider;
            match delivered(turn) {
                true => desk.agreement.vote(provider),
                false => self.tell(RunEvent::NoVote { provider, why: &why(turn) }),
            }
        }
        // Nobody was asked anything, so what stopped the first of them is what there is to say.
        if ballots.iter().all(|ballot| ballot.turn.is_err()) {
            let first = ballots.into_iter().find_map(|ballot| ballot.turn.err());
            return Err(first.unwrap_or(RunError::Overtaken));
        }
        let tally = desk.agreement.tally();
        let evidence = self.keep_mismatch(request, &ballots, &tally)?;
        let (answer, others) = self.keep_all(ballots, &tally, desk.first)?;
        let Some(answer) = answer else {
            let stopped = *self.parts.cancel.borrow();
            return Err(RunError::Undecided(Box::new(Undecided { tally, cost: others, stopped, evidence })));
        };
        if let Some(evidence) = &evidence {
            self.tell(RunEvent::Disagreed { tally: &tally, evidence });
        }
        let answer = JobResult { agreement: Some(Agreed { tally, others }), ..answer };
        self.write(&answer).map(|()| answer)
    }

    /// Keeps every result but the one that is the answer, which is returned with what the others cost.
    fn keep_all(
        &self,
        ballots: Vec<Ballot>,
        tally: &Tally,
        first_token: Option<Instant>,
    ) -> Result<(Option<JobResult>, Credits), RunError> {
        let (mut answer, mut others) = (None, Credits::ZERO);
        let started = ballots.iter().filter_map(|ballot| Some(ballot.turn.as_ref().ok()?.started)).min();
        for Ballot { choice, turn, .. } in ballots {
            let Ok(turn) = turn else { continue };
            // The answer's times are those that its user saw.
            let turn = Turn { started: started.unwrap_or(turn.started), first_token, ..turn };
            let agreement = Some(Agreed { tally: tally.clone(), others: Credits::ZERO });
            let result = turn.result(&[], None).map(|result| JobResult { agreement, ..result });
            if result.is_some() && tally.agreed.first() == Some(&choice.terms.provider) {
                answer = result;
            } else {
                result.iter().try_for_each(|result| self.write(result))?;
                others = others.checked_add(turn.outcome.cost).unwrap_or(Credits(u64::MAX));
            }
        }
        Ok((answer, others))
    }

    /// Keeps what was signed where somebody gave another answer than most did.
    fn keep_mismatch(
        &self,
        request: Request,
        ballots: &[Ballot],
        tally: &Tally,
    ) -> Result<Option<PathBuf>, RunError> {
        if tally.dissent.is_empty() {
            return Ok(None);
        }
        let answers = ballots.iter().filter_map(Ballot::answer).collect();
        let providers = ballots.iter().map(|ballot| ballot.choice.terms.provider).collect();
        let asked = Asked { order: self.parts.order.signed().clone(), request, providers };
        let folder = self.parts.client.data_dir.mismatches();
        Ok(Some(Mismatch { asked, answers }.keep(&folder)?))
    }
}

/// Whether it is a vote: an answer to its end, with a receipt.
fn delivered(turn: &Result<Turn, RunError>) -> bool {
    turn.as_ref().is_ok_and(|turn| match &turn.outcome.end {
        BuyerEnd::Settled(receipt) => receipt.body.cause == Cause::Delivered,
        _ => false,
    })
}

impl Ballot {
    fn answer(&self) -> Option<Answer> {
        let Ok(turn) = &self.turn else { return None };
        let BuyerEnd::Settled(receipt) = &turn.outcome.end else { return None };
        let Choice { advert, terms, .. } = &self.choice;
        Some(Answer {
            advert: advert.signed().clone(),
            terms: terms.clone(),
            receipt: (**receipt).clone(),
            output: turn.output.clone(),
            logprobs: turn.logprobs.clone(),
        })
    }

    fn unsettled(&self) -> Option<Unsettled> {
        let answers = self.turn.as_ref().is_ok_and(Turn::answers);
        self.is_open.then(|| Unsettled { terms: self.choice.terms.clone(), answers })
    }
}
