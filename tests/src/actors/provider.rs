//! A provider: adverts, streams, and collecting. It drives [`gridhour_protocol::job::provider::Provider`] and
//! decides nothing that the machine decides. A [`Twist`] changes what leaves the node, and so makes every
//! dishonest provider.

use std::collections::BTreeMap;

use gridhour_contracts_sim::tx::Call;
use gridhour_protocol::{
    id::{NetworkId, SessionId},
    job::{
        message::{ClientMessage, Open, ProviderMessage, RefusalCode},
        provider::ProviderPatience,
    },
    limits::PROTOCOL_VERSION,
    market::advert::{Advert, Device, DeviceClass, ModelOffer, RateSource},
    session::book::SessionBook,
    signed::{SecretKey, Signed},
    units::{Millis, PricePerHour, Timestamp},
};

use super::{Actor, Alarm, Input, goods, saved_sessions};
use crate::sim::{
    context::Context, durable::PowerCut, fact::Frame, ledger_node::Answer, mesh::Packet, net::StreamId,
};

mod collecting;
mod streams;

use streams::Job;

/// How long the provider waits for clients.
pub const PATIENCE: ProviderPatience = ProviderPatience { payment: Millis(5_000), settlement: Millis(5_000) };
/// Sessions that it serves at once, at most: clients close those that they do not use.
const SESSIONS_MAX: usize = 512;
/// Requests to the ledger of which the answer is still of interest, at most.
const ASKED_MAX: usize = 256;
/// Time between two looks at all sessions.
const SWEEP_MS: u64 = 3_000;
/// Key of the sequence of the last advert.
const SEQUENCE: &[u8] = b"sequence";
/// How long the ledger may take to answer before a job is refused.
const ANSWER_MS: u64 = 3_000;

/// What a provider is like.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its key and account.
    pub key: SecretKey,
    /// The network.
    pub network: NetworkId,
    /// What it asks.
    pub ask: PricePerHour,
    /// Time between two adverts, and life of each, in milliseconds.
    pub adverts: (u64, u64),
    /// Where it says that it is.
    pub region: Option<String>,
    /// Jobs at once.
    pub slots: u16,
    /// Time that its engine takes for one token, in milliseconds.
    pub token_ms: u64,
    /// Tokens that its engine hands over at once, at most.
    pub burst: u32,
    /// Chance that the engine fails before a token, per thousand.
    pub engine_failures: u64,
    /// Whether it collects now and then before it closes.
    pub collects_early: bool,
}

/// What a provider gossips.
#[derive(Clone, Debug)]
pub enum Rumour {
    /// Its own advert.
    Own(Box<Signed<Advert>>),
    /// Anything at all, as if it had heard it elsewhere.
    Foreign(Vec<u8>),
}

/// How a provider departs from the protocol. Each default is honest.
pub trait Twist {
    /// What it sends where an honest provider would send `message`.
    fn say(&mut self, key: &SecretKey, message: ProviderMessage) -> Vec<ProviderMessage> {
        let _ = key;
        vec![message]
    }

    /// It has heard the advert of another.
    fn heard_advert(&mut self, advert: &Signed<Advert>) {
        let _ = advert;
    }

    /// What it gossips where an honest provider would gossip its advert.
    fn gossip(&mut self, key: &SecretKey, honest: Signed<Advert>) -> Vec<Rumour> {
        let _ = key;
        vec![Rumour::Own(Box::new(honest))]
    }

    /// It has received this.
    fn heard(&mut self, message: &ClientMessage) {
        let _ = message;
    }

    /// The token that it gives out where the model chose `token`.
    fn token(&self, token: u32) -> u32 {
        token
    }

    /// What it submits where an honest provider would submit `call`.
    fn submit(&mut self, call: Call) -> Vec<Call> {
        vec![call]
    }
}

/// What a request to the ledger is for.
enum Asked {
    /// A job that wants to start.
    Start { stream: StreamId, open: Box<Open> },
    /// How a session stands.
    Look(SessionId),
    /// Closing or collecting.
    Settle(SessionId),
}

/// The provider's node.
pub struct MarketProvider<T> {
    profile: Profile,
    twist: T,
    sequence: u64,
    sessions: BTreeMap<SessionId, SessionBook>,
    jobs: BTreeMap<StreamId, Job>,
    asked: BTreeMap<u64, Asked>,
    requests: u64,
}

impl<T: Twist> MarketProvider<T> {
    /// A provider without memory.
    #[must_use]
    pub fn new(profile: Profile, twist: T) -> Self {
        Self {
            profile,
            twist,
            sequence: 0,
            sessions: BTreeMap::new(),
            jobs: BTreeMap::new(),
            asked: BTreeMap::new(),
            requests: 0,
        }
    }

    fn advertise(&mut self, cx: &mut Context<'_>) -> Result<(), PowerCut> {
        self.sequence += 1;
        cx.save([(SEQUENCE.to_vec(), Some(self.sequence.to_le_bytes().to_vec()))])?;
        let honest = self.profile.key.sign(self.advert(cx.now()));
        for rumour in self.twist.gossip(&self.profile.key, honest) {
            match rumour {
                Rumour::Own(advert) => cx.gossip(&advert),
                Rumour::Foreign(bytes) => cx.murmur(Packet::new(bytes)),
            }
        }
        cx.wake_in(self.profile.adverts.0, Alarm::Advertise);
        Ok(())
    }

    fn advert(&self, now: Timestamp) -> Advert {
        let busy = u16::try_from(self.jobs.len()).unwrap_or(u16::MAX);
        Advert {
            version: PROTOCOL_VERSION,
            network: self.profile.network,
            provider: self.profile.key.public(),
            addresses: Vec::new(),
            sequence: self.sequence,
            issued_at: now,
            expires_at: Timestamp(now.0 + self.profile.adverts.1),
            device: Device {
                class: DeviceClass::Cpu,
                name: "simulated".into(),
                backend: "fake".into(),
                memory_bytes: 1 << 30,
                threads: 1,
                numerics: goods::NUMERICS,
                rates: goods::RATES,
                rate_source: RateSource::SelfMeasured,
            },
            models: vec![ModelOffer { model: goods::MODEL, work: goods::WORK, context: goods::CONTEXT }],
            ask: self.profile.ask,
            spot: None,
            slots_free: self.profile.slots.saturating_sub(busy),
            queued: 0,
            region: self.profile.region.clone(),
            jurisdiction: None,
            coordinate: None,
            quote: None,
        }
    }

    /// A number for a request to the ledger.
    fn number(&mut self, asked: Asked) -> u64 {
        self.requests += 1;
        self.asked.insert(self.requests, asked);
        // An answer that was lost is of no interest any more.
        while self.asked.len() > ASKED_MAX {
            self.asked.pop_first();
        }
        self.requests
    }

    fn answered(&mut self, id: u64, answer: Answer, cx: &mut Context<'_>) -> Result<(), PowerCut> {
        match (self.asked.remove(&id), answer) {
            (Some(Asked::Start { stream, open }), Answer::Session(session)) => {
                self.start_job(stream, *open, session.as_deref(), cx)
            }
            (Some(Asked::Look(id)), Answer::Session(session)) => self.look(id, session.as_deref(), cx),
            (Some(Asked::Settle(id)), Answer::Applied(entry)) => self.settled(id, &entry, cx),
            _ => Ok(()),
        }
    }

    fn unanswered(&mut self, id: u64, cx: &mut Context<'_>) {
        if let Some(Asked::Start { stream, .. }) = self.asked.remove(&id) {
            streams::refuse(stream, RefusalCode::UnknownSession, "the ledger does not answer", cx);
        }
    }
}

impl<T: Twist> Actor for MarketProvider<T> {
    fn start(&mut self, cx: &mut Context<'_>) -> Result<(), PowerCut> {
        let sequence = cx.saved().get(SEQUENCE).and_then(|bytes| bytes.try_into().ok());
        self.sequence = sequence.map_or(0, u64::from_le_bytes);
        self.sessions =
            saved_sessions(cx.saved()).into_iter().map(|book| (book.terms().id(), book)).collect();
        cx.wake_in(SWEEP_MS, Alarm::Sweep);
        self.advertise(cx)
    }

    fn hear(&mut self, input: Input, cx: &mut Context<'_>) -> Result<(), PowerCut> {
        match input {
            Input::Wake(Alarm::Advertise) => self.advertise(cx),
            Input::Wake(Alarm::Sweep) => self.sweep(cx),
            Input::Wake(Alarm::Machine(stream)) => self.wake(stream, cx),
            Input::Wake(Alarm::Engine(stream)) => self.compute(stream, cx),
            Input::Wake(Alarm::Unanswered(id)) => {
                self.unanswered(id, cx);
                Ok(())
            }
            Input::Frame { stream, from, frame: Frame::Client(message) } => {
                self.twist.heard(&message);
                self.receive(stream, from, message, cx)
            }
            Input::Closed { stream } => self.disconnect(stream, cx),
            Input::Answer { id, answer } => self.answered(id, answer, cx),
            Input::Gossip(packet) => {
                packet.advert().into_iter().for_each(|advert| self.twist.heard_advert(advert.signed()));
                Ok(())
            }
            Input::Whisper { .. } | Input::Request { .. } | Input::Frame { .. } => Ok(()),
        }
    }

    fn sizes(&self) -> Vec<(&'static str, usize, usize)> {
        vec![
            ("sessions", self.sessions.len(), SESSIONS_MAX),
            ("jobs", self.jobs.len(), usize::from(self.profile.slots)),
            ("asked", self.asked.len(), ASKED_MAX),
        ]
    }
}
