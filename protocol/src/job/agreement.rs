//! Several providers write one answer at the same time: how far they agree, and what came of it.
//!
//! ```text
//!  tokens of one provider ──> its running digest after each token
//!  a place is agreed on once more than half of all who were asked have the same digest there
//!  all ended ──> unanimous │ majority, with dissenters │ undecided
//! ```
//!
//! - A signer has one vote, however often it is named.
//! - Only a delivered answer with a receipt is a vote. Who refused, fell silent, broke off or was stopped has none: that
//!   is neither for nor against anybody.
//! - More than half is of all who were asked, not of those who voted. Two such groups have a signer in common, so what
//!   was agreed on at a place is the beginning of whatever the majority says in the end: nothing that is shown is ever
//!   taken back.
//!
//! Digests that providers sign begin with the request in its session, so those of two providers never are the same.
//! Here the chains of all begin with one and the same request, as it was before it had a session; the tokens and log
//! probabilities that go into them are those that each receipt was checked against.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    logprobs::Logprobs,
    request::{OutputChain, Request},
};
use crate::{
    id::{OutputDigest, SessionId},
    limits::{OUTPUT_TOKENS_MAX, REDUNDANT_MAX},
    signed::PublicKey,
    wire::at_most,
};

/// What came of asking several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// All who were asked gave the same answer.
    Unanimous,
    /// More than half of all who were asked gave the same answer.
    Majority,
    /// No answer was given by more than half of all who were asked.
    Undecided,
}

impl Verdict {
    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unanimous => "unanimous",
            Self::Majority => "majority",
            Self::Undecided => "undecided",
        }
    }
}

/// Who said what, each in the order in which they were asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// What came of it.
    pub verdict: Verdict,
    /// Who gave the answer of the majority; nobody without one.
    pub agreed: Vec<PublicKey>,
    /// Who gave another; without a majority, everybody who gave one at all.
    pub dissent: Vec<PublicKey>,
    /// Who gave none.
    pub silent: Vec<PublicKey>,
}

impl Tally {
    /// Checks that nobody is listed whom no order could have asked.
    ///
    /// # Errors
    /// If there are more than [`REDUNDANT_MAX`].
    pub fn check_bounds(&self) -> Result<(), String> {
        let all = [&self.agreed, &self.dissent, &self.silent].map(Vec::len).iter().sum();
        at_most("providers asked at the same time", all, usize::from(REDUNDANT_MAX))
    }
}

/// One who was asked.
#[derive(Clone, Debug)]
struct Voter {
    key: PublicKey,
    /// The running digest after each token.
    marks: Vec<OutputDigest>,
    chain: OutputChain,
    voted: bool,
}

/// The state machine. Tokens and votes of anybody who was not asked are not looked at.
#[derive(Clone, Debug)]
pub struct Agreement {
    start: OutputChain,
    voters: Vec<Voter>,
    /// Tokens that more than half agree on.
    agreed: usize,
}

impl Agreement {
    /// Before anybody said anything. `request` is what all are asked, whatever its place in a session; of keys that are
    /// listed twice, the first counts.
    #[must_use]
    pub fn new(request: &Request, asked: impl IntoIterator<Item = PublicKey>) -> Self {
        let common = Request { session: SessionId([0; 32]), lane: 0, index: 0, ..request.clone() };
        let start = OutputChain::start(&common.digest());
        let mut seen = BTreeSet::new();
        let voter = |key| Voter { key, marks: Vec::new(), chain: start, voted: false };
        let voters = asked.into_iter().filter(|key| seen.insert(*key)).map(voter).collect();
        Self { start, voters, agreed: 0 }
    }

    /// `who` wrote these tokens more, with one entry of `logprobs` for each or none at all. Gives how many tokens more
    /// than half of all agree on now: it never falls, and those tokens are the first of `who`'s text if it has risen.
    pub fn push(&mut self, who: PublicKey, tokens: &[u32], logprobs: &[Logprobs]) -> usize {
        if let Some(voter) = self.voters.iter_mut().find(|voter| voter.key == who && !voter.voted) {
            let room = OUTPUT_TOKENS_MAX.saturating_sub(voter.marks.len());
            for (at, token) in tokens.iter().take(room).enumerate() {
                voter.chain.push(*token, logprobs.get(at));
                voter.marks.push(voter.chain.digest());
            }
            while self.is_agreed_at(self.agreed) {
                self.agreed += 1;
            }
        }
        self.agreed
    }

    /// `who` delivered its answer, which is what it wrote so far, and signed a receipt for it.
    pub fn vote(&mut self, who: PublicKey) {
        if let Some(voter) = self.voters.iter_mut().find(|voter| voter.key == who) {
            voter.voted = true;
        }
    }

    /// Who said what, with the votes that there are.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let answer = |voter: &Voter| voter.marks.last().copied().unwrap_or(self.start.digest());
        let votes = || self.voters.iter().filter(|voter| voter.voted);
        let majority = self.majority(votes().map(answer));
        let is_of = |voter: &&Voter| majority == Some(answer(voter));
        let keys = |voters: Vec<&Voter>| voters.iter().map(|voter| voter.key).collect::<Vec<_>>();
        let agreed = keys(votes().filter(is_of).collect());
        let verdict = match majority {
            Some(_) if agreed.len() == self.voters.len() => Verdict::Unanimous,
            Some(_) => Verdict::Majority,
            None => Verdict::Undecided,
        };
        let dissent = keys(votes().filter(|voter| !is_of(voter)).collect());
        let silent = keys(self.voters.iter().filter(|voter| !voter.voted).collect());
        Tally { verdict, agreed, dissent, silent }
    }

    fn is_agreed_at(&self, place: usize) -> bool {
        self.majority(self.voters.iter().filter_map(|voter| voter.marks.get(place).copied())).is_some()
    }

    /// What more than half of all who were asked say.
    fn majority(&self, said: impl Iterator<Item = OutputDigest>) -> Option<OutputDigest> {
        let mut counts = BTreeMap::<OutputDigest, usize>::new();
        said.for_each(|digest| *counts.entry(digest).or_default() += 1);
        counts.into_iter().find(|(_, count)| count * 2 > self.voters.len()).map(|(digest, _)| digest)
    }
}

#[cfg(test)]
mod tests;
