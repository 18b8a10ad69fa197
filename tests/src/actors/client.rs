//! A client: a book of offers, orders, sessions, and jobs. It drives [`gridhour_protocol::job::buyer::Buyer`]
//! and decides nothing that the machine decides. A [`Twist`] makes every dishonest client.
//!
//! Its life: buy a session where an errand waits and none is usable; run errands on free lanes; once nothing
//! waits, ask to close; after the deadline, have what is still held released.

use std::collections::{BTreeMap, BTreeSet};

use gridhour_contracts_sim::ledger::{entry::Event, reject::Reject};
use gridhour_node::drivers::memory::HISTORIES_MAX;
use gridhour_protocol::{
    id::{NetworkId, SessionId},
    job::{buyer::BuyerPatience, message::ClientMessage, sampling::Sampling},
    limits::OFFERS_MAX,
    market::{book::Book, history::ProviderHistory, order::Order},
    session::terms::Terms,
    signed::{PublicKey, SecretKey, Verified},
    units::{Credits, Millis, PricePerHour, Timestamp},
};

use super::{Actor, Alarm, Input, saved_sessions};
use crate::sim::{
    clock::EPOCH_MS,
    context::Context,
    durable::PowerCut,
    fact::{Fact, Frame},
    ledger_node::{Answer, Request},
    mesh::Packet,
    net::StreamId,
};

mod buying;
mod choosing;
mod jobs;

use buying::Purchase;
use jobs::Run;

/// How long the client waits for providers.
pub const PATIENCE: BuyerPatience = BuyerPatience {
    first_token: Millis(9_000),
    stall: Millis(9_000),
    stall_least: Millis(9_000),
    parting: Millis(9_000),
};
/// Time between two looks at what there is to do.
const SWEEP_MS: u64 = 700;
/// Tries of one errand.
const TRIES_MAX: u32 = 12;
/// Sessions that the client of a small world opens, at most.
pub const PURCHASES_MAX: usize = 16;
/// Requests to the ledger of which the answer is still of interest, at most.
const ASKED_MAX: usize = 64;

/// Something that the client wants to know.
#[derive(Clone, Debug)]
pub struct Errand {
    /// Prompt.
    pub prompt: Vec<u32>,
    /// Longest answer.
    pub max_tokens: u32,
    /// Sampling.
    pub sampling: Sampling,
    /// Tokens that end the answer.
    pub stop: Vec<u32>,
    /// Texts that end the answer.
    pub stop_texts: Vec<String>,
    /// Alternatives whose log probabilities come with each token.
    pub logprobs: u8,
}

/// What a client is like.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its key and account.
    pub key: SecretKey,
    /// The network.
    pub network: NetworkId,
    /// What it wants.
    pub errands: Vec<Errand>,
    /// From when, and until when, it wants each errand: milliseconds after the world began, by its own clock, rising.
    /// Empty where it wants all of them now, however long they take.
    pub schedule: Vec<(u64, u64)>,
    /// How long a provider may collect after the use of a session.
    pub grace: Millis,
    /// Where it says to itself that it is.
    pub region: Option<String>,
    /// Sessions that it opens, at most.
    pub purchases: usize,
    /// Sessions at once.
    pub sessions: usize,
    /// Jobs at once in one session.
    pub lanes: u16,
    /// Tokens that one voucher releases.
    pub chunk_tokens: u16,
    /// The most that it pays for a GPU-hour.
    pub price_max: PricePerHour,
    /// The most that it pays in all under one order.
    pub total_max: Credits,
    /// Chance that the user stops a job when a chunk arrives, per thousand.
    pub cancels: u64,
}

/// How a client departs from the protocol. Each default is honest.
pub trait Twist {
    /// What it sends where an honest client would send `message`.
    fn say(&mut self, key: &SecretKey, message: ClientMessage) -> Vec<ClientMessage> {
        let _ = key;
        vec![message]
    }

    /// Sessions that it opens at once.
    fn sessions(&self, profile: &Profile) -> usize {
        profile.sessions
    }

    /// What it lets a session hold where an honest client would hold `honest`.
    fn hold(&self, profile: &Profile, honest: Credits) -> Credits {
        let _ = profile;
        honest
    }

    /// What it takes for the time in a session.
    fn clock(&self, now: Timestamp, terms: &Terms) -> Timestamp {
        let _ = terms;
        now
    }

    /// Whether it asks to close while its jobs run.
    fn closes_early(&self) -> bool {
        false
    }

    /// Whether it asks for its money back before the deadline.
    fn expires_early(&self) -> bool {
        false
    }

    /// Whether it leaves a session open when nothing waits.
    fn lingers(&self) -> bool {
        false
    }

    /// A message that it says once more, on a stream of its own.
    fn again(&mut self) -> Option<ClientMessage> {
        None
    }
}

/// What a request to the ledger is for.
#[derive(Clone, Copy, Debug)]
enum Asked {
    /// Opening.
    Open(SessionId),
    /// How a session stands, and whether it was known to be open when that was asked: answers overtake each
    /// other.
    Look(SessionId, bool),
    /// More credits for a session.
    TopUp(SessionId),
    /// Closing or expiring.
    End(SessionId),
}

/// The client's node.
pub struct MarketClient<T> {
    profile: Profile,
    twist: T,
    book: Book,
    order: Option<Verified<Order>>,
    purchases: BTreeMap<SessionId, Purchase>,
    bought: usize,
    runs: BTreeMap<StreamId, Run>,
    done: BTreeSet<usize>,
    tries: BTreeMap<usize, u32>,
    distrusted: BTreeSet<PublicKey>,
    histories: BTreeMap<PublicKey, ProviderHistory>,
    /// Errands that it was seen to want.
    noted: usize,
    asked: BTreeMap<u64, Asked>,
    requests: u64,
    finished: bool,
}

impl<T: Twist> MarketClient<T> {
    /// A client without memory.
    #[must_use]
    pub fn new(profile: Profile, twist: T) -> Self {
        Self {
            book: Book::new(profile.network),
            profile,
            twist,
            order: None,
            purchases: BTreeMap::new(),
            bought: 0,
            runs: BTreeMap::new(),
            done: BTreeSet::new(),
            tries: BTreeMap::new(),
            distrusted: BTreeSet::new(),
            histories: BTreeMap::new(),
            noted: 0,
            asked: BTreeMap::new(),
            requests: 0,
            finished: false,
        }
    }

    /// When an errand is wanted.
    fn span(&self, errand: usize) -> (Timestamp, Timestamp) {
        let at = |ms: u64| Timestamp(EPOCH_MS.saturating_add(ms));
        let (from, until) = self.profile.schedule.get(errand).copied().unwrap_or((0, u64::MAX));
        // A clock that is behind shows less than the epoch at first.
        (if from == 0 { Timestamp(0) } else { at(from) }, at(until))
    }

    /// Errands that are wanted now, and neither done, nor at work, nor hopeless.
    fn waiting(&self, now: Timestamp) -> Vec<usize> {
        let is_wanted = |errand: &usize| {
            let (from, until) = self.span(*errand);
            from <= now && now < until
        };
        let at_work: BTreeSet<usize> = self.runs.values().map(|run| run.errand).collect();
        let is_hopeless = |errand: &usize| self.tries.get(errand).is_some_and(|tries| *tries >= TRIES_MAX);
        let open = (0..self.profile.errands.len()).filter(|errand| !self.done.contains(errand));
        open.filter(|errand| is_wanted(errand) && !at_work.contains(errand) && !is_hopeless(errand)).collect()
    }

    /// Lets the world know what is wanted from now on.
    fn note_wanted(&mut self, cx: &mut Context<'_>) {
        while let Some((_, until_ms)) = self.profile.schedule.get(self.noted).copied() {
            if self.span(self.noted).0 > cx.now() {
                break;
            }
            let until = Timestamp(EPOCH_MS + until_ms);
            cx.report(Fact::Wanted { by: cx.me(), errand: self.noted, until });
            self.noted += 1;
        }
    }

    fn sweep(&mut self, cx: &mut Context<'_>) -> Result<(), PowerCut> {
        self.say_again(cx);
        self.note_wanted(cx);
        self.start_waiting(cx)?;
        for _ in 0..self.twist.sessions(&self.profile) {
            if !self.waiting(cx.now()).is_empty() && self.may_buy(cx.now()) {
                self.buy(cx)?;
            }
        }
        self.look_at_purchases(cx);
        self.note_finish(cx);
        cx.wake_in(SWEEP_MS, Alarm::Sweep);
        Ok(())
    }

    fn note_finish(&mut self, cx: &mut Context<'_>) {
        let is_last = self.noted >= self.profile.schedule.len() && self.waiting(cx.now()).is_empty();
        let cannot_go_on = self.bought >= self.profile.purchases || is_last;
        let is_over = self.purchases.is_empty() && self.runs.is_empty() && cannot_go_on;
        if is_over && !self.finished {
            self.finished = true;
            cx.report(Fact::Finished { by: cx.me() });
        }
    }

    /// Sends a copy of what was said before, where the twist has one.
    fn say_again(&mut self, cx: &mut Context<'_>) {
        let Some(message) = self.twist.again() else { return };
        let ClientMessage::Open(open) = &message else { return };
        if let Some(peer) = cx.node_of(&open.terms.provider) {
            let stream = cx.open(peer);
            cx.send(stream, &Frame::Client(message));
        }
    }

    /// A number for a request to the ledger.
    fn ask(&mut self, asked: Asked, request: Request, cx: &mut Context<'_>) {
        self.requests += 1;
        self.asked.insert(self.requests, asked);
        // An answer that was lost is of no interest any more.
        while self.asked.len() > ASKED_MAX {
            self.asked.pop_first();
        }
        cx.ask(self.requests, request);
    }

    fn answered(&mut self, id: u64, answer: Answer, cx: &mut Context<'_>) -> Result<(), PowerCut> {
        match (self.asked.remove(&id), answer) {
            (Some(Asked::Look(id, _)), Answer::Session(Some(session))) => {
                self.look_at_open(id, &session, cx);
                Ok(())
            }
            (Some(Asked::Look(id, was_open)), Answer::Session(None)) => self.look_at_none(id, was_open, cx),
            (Some(Asked::Open(id)), Answer::Applied(_)) => {
                self.opened(id);
                self.start_waiting(cx)
            }
            (Some(Asked::Open(id)), Answer::Refused(why)) => self.not_opened(id, why, cx),
            (Some(Asked::TopUp(id)), Answer::Refused(_)) => {
                self.exhausted(id);
                Ok(())
            }
            (Some(Asked::End(id)), Answer::Applied(entry)) => match entry.event {
                Event::Closing { .. } => Ok(()),
                _ => self.forget(id, cx),
            },
            (Some(Asked::End(id)), Answer::Refused(Reject::UnknownSession)) => self.forget(id, cx),
            _ => Ok(()),
        }
    }
}

impl<T: Twist> Actor for MarketClient<T> {
    fn start(&mut self, cx: &mut Context<'_>) -> Result<(), PowerCut> {
        self.done = jobs::saved_done(cx.saved());
        let sessions = saved_sessions(cx.saved()).into_iter();
        self.purchases = sessions.map(|book| (book.terms().id(), Purchase::new(book, None))).collect();
        self.bought = self.purchases.len();
        cx.wake_in(SWEEP_MS, Alarm::Sweep);
        Ok(())
    }

    fn hear(&mut self, input: Input, cx: &mut Context<'_>) -> Result<(), PowerCut> {
        match input {
            Input::Wake(Alarm::Sweep) => self.sweep(cx),
            Input::Wake(Alarm::Machine(stream)) => self.wake(stream, cx),
            Input::Frame { stream, frame: Frame::Provider(message), .. } => self.receive(stream, message, cx),
            Input::Closed { stream } => self.disconnect(stream, cx),
            Input::Gossip(packet) => {
                self.enter(&packet, cx.now());
                Ok(())
            }
            Input::Answer { id, answer } => self.answered(id, answer, cx),
            Input::Wake(_) | Input::Whisper { .. } | Input::Request { .. } | Input::Frame { .. } => Ok(()),
        }
    }

    fn sizes(&self) -> Vec<(&'static str, usize, usize)> {
        vec![
            ("book", self.book.len(), OFFERS_MAX),
            ("histories", self.histories.len(), HISTORIES_MAX),
            ("distrusted", self.distrusted.len(), HISTORIES_MAX),
            ("purchases", self.purchases.len(), self.profile.purchases),
            ("runs", self.runs.len(), self.profile.errands.len()),
            ("asked", self.asked.len(), ASKED_MAX),
        ]
    }
}

impl<T> MarketClient<T> {
    /// Late, repeated and expired adverts are what gossip brings: the book says no to them.
    fn enter(&mut self, packet: &Packet, now: Timestamp) {
        if let Some(advert) = packet.advert() {
            let _ = self.book.enter(now, advert.clone());
        }
    }
}
