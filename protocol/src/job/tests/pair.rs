//! A buyer, a provider and a pretended engine in memory. Everything that was asked for is recorded.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    arbitrary::key,
    id::ScoreDigest,
    job::{
        buyer::{Buyer, BuyerEffect, BuyerInput, BuyerOutcome, BuyerPatience, BuyerSetup},
        effect::Effects,
        logprobs::{Alternative, Logprobs},
        message::{ClientMessage, ProviderMessage},
        misbehavior::Misbehavior,
        provider::{
            Generated, Provider, ProviderEffect, ProviderInput, ProviderOutcome, ProviderPatience,
            ProviderSetup,
        },
        request::Request,
    },
    market::advert::DeviceClass,
    model::TokenizerAsset,
    receipt::{ClockSource, MeasuredTime, Receipt},
    sample,
    session::{lane::LaneLedger, terms::Terms},
    units::{Credits, GpuNs, Millis, Timestamp},
};

pub(super) const NOW: Timestamp = sample::NOW;
pub(super) const NUMERICS: [u8; 32] = [7; 32];

/// What the pretended engine writes: 100, 101, 102, ...
pub(super) fn token(i: u32) -> u32 {
    100 + i
}

pub(super) fn new_lane() -> LaneLedger {
    LaneLedger::new(sample::terms().id(), 0)
}

/// Token 100 is spelled "(0)", 101 "(1)" and so on; those below say nothing.
fn tokenizer() -> Arc<TokenizerAsset> {
    let texts: Vec<String> =
        (0..400).map(|id| if id < 100 { String::new() } else { format!("({})", id - 100) }).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    Arc::new(sample::tokenizer_of(&texts))
}

/// Log probabilities of token `id`, as sound ones as any.
pub(super) fn logprobs_of(id: u32) -> Logprobs {
    Logprobs { logprob_q16: -9, top: vec![Alternative { token: id, logprob_q16: -9 }] }
}

pub(super) fn buyer_setup(terms: Terms, lane: LaneLedger, request: Request) -> BuyerSetup {
    let patience = BuyerPatience {
        first_token: Millis(10_000),
        stall: Millis(2_000),
        stall_least: Millis(500),
        parting: Millis(1_000),
    };
    let tokenizer = tokenizer();
    BuyerSetup { key: key(sample::CLIENT), numerics: NUMERICS, terms, lane, request, tokenizer, patience }
}

pub(super) fn provider_setup(lane: LaneLedger) -> ProviderSetup {
    ProviderSetup {
        key: key(sample::PROVIDER),
        numerics: NUMERICS,
        device: DeviceClass::Cpu,
        lane,
        lane_cap: Credits(u64::MAX),
        context: 2048,
        vocabulary: 49_152,
        tokenizer: tokenizer(),
        patience: ProviderPatience { payment: Millis(3_000), settlement: Millis(3_000) },
    }
}

pub(super) fn generated(i: u32, tokens: u32, with_logprobs: bool) -> ProviderInput {
    let tokens = (i..i + tokens)
        .map(|i| Generated {
            token: token(i),
            scores: ScoreDigest([u8::try_from(i % 251).unwrap(); 32]),
            logprobs: with_logprobs.then(|| logprobs_of(token(i))),
        })
        .collect();
    let measured = MeasuredTime { time: GpuNs(u64::from(i)), clock: ClockSource::DeviceTimestamps };
    ProviderInput::Tokens { tokens, measured }
}

/// Both sides of one job.
pub(super) struct Pair {
    pub(super) buyer: Buyer,
    pub(super) provider: Option<Provider>,
    provider_lane: LaneLedger,
    pub(super) to_provider: VecDeque<ClientMessage>,
    pub(super) to_buyer: VecDeque<ProviderMessage>,
    pub(super) delivered: Vec<u32>,
    pub(super) logprobs: Vec<Logprobs>,
    /// Output tokens that the engine may write, and has written.
    pub(super) granted: u32,
    pub(super) written: u32,
    pub(super) halted: bool,
    pub(super) batch: u32,
    pub(super) buyer_disk: LaneLedger,
    pub(super) provider_disk: LaneLedger,
    pub(super) buyer_outcome: Option<BuyerOutcome>,
    pub(super) provider_outcome: Option<ProviderOutcome>,
    pub(super) misdeeds: Vec<Misbehavior>,
    /// Receipts that the buyer refused and had kept.
    pub(super) refused: Vec<Receipt>,
    /// When the buyer is woken; not again, once it was.
    pub(super) buyer_wake: Option<Timestamp>,
    pub(super) now: Timestamp,
}

impl Pair {
    /// A job on fresh lanes.
    pub(super) fn new(terms: Terms, request: Request) -> Self {
        let lane = LaneLedger::new(terms.id(), 0);
        Self::on(terms, request, lane.clone(), lane)
    }

    /// A job on these lanes.
    pub(super) fn on(
        terms: Terms,
        request: Request,
        buyer_lane: LaneLedger,
        provider_lane: LaneLedger,
    ) -> Self {
        let mut fx = Effects::default();
        let setup = buyer_setup(terms, buyer_lane.clone(), request);
        let buyer = Buyer::start(NOW, setup, &mut fx).unwrap();
        let mut pair = Self {
            buyer,
            provider: None,
            provider_disk: provider_lane.clone(),
            provider_lane,
            to_provider: VecDeque::new(),
            to_buyer: VecDeque::new(),
            delivered: Vec::new(),
            logprobs: Vec::new(),
            granted: 0,
            written: 0,
            halted: false,
            batch: 16,
            buyer_disk: buyer_lane,
            buyer_outcome: None,
            provider_outcome: None,
            misdeeds: Vec::new(),
            refused: Vec::new(),
            buyer_wake: None,
            now: NOW,
        };
        pair.obey_buyer(&mut fx);
        pair
    }

    /// Runs until nothing moves any more.
    pub(super) fn run(&mut self) {
        while self.pass_to_provider() || self.compute() || self.pass_to_buyer() {}
    }

    /// Runs until nothing moves, and asserts that nobody broke a rule.
    pub(super) fn run_clean(&mut self) {
        self.run();
        assert_eq!(self.misdeeds, []);
    }

    pub(super) fn pass_to_provider(&mut self) -> bool {
        let Some(message) = self.to_provider.pop_front() else { return false };
        self.tell_provider(ProviderInput::Message(message));
        true
    }

    pub(super) fn pass_to_buyer(&mut self) -> bool {
        let Some(message) = self.to_buyer.pop_front() else { return false };
        self.tell_buyer(BuyerInput::Message(message));
        true
    }

    /// Lets the engine write its next batch.
    pub(super) fn compute(&mut self) -> bool {
        let tokens = self.batch.min(self.granted - self.written);
        if tokens == 0 || self.halted {
            return false;
        }
        let request = self.buyer.request();
        let first = u32::try_from(request.written.len()).unwrap() + self.written;
        let input = generated(first, tokens, request.logprobs > 0);
        self.written += tokens;
        self.tell_provider(input);
        true
    }

    pub(super) fn tell_buyer(&mut self, input: BuyerInput) {
        self.buyer_wake = self.buyer_wake.filter(|_| !matches!(input, BuyerInput::Wake));
        let mut fx = Effects::default();
        if let Err(misdeed) = self.buyer.step(self.now, input, &mut fx) {
            self.misdeeds.push(misdeed);
        }
        self.obey_buyer(&mut fx);
    }

    pub(super) fn tell_provider(&mut self, input: ProviderInput) {
        let mut fx = Effects::default();
        let result = match (&mut self.provider, input) {
            (Some(provider), input) => provider.step(self.now, input, &mut fx),
            (None, ProviderInput::Message(ClientMessage::Open(open))) => {
                let setup = provider_setup(self.provider_lane.clone());
                Provider::open(self.now, setup, *open, &mut fx).map(|provider| self.provider = Some(provider))
            }
            (None, _) => Ok(()),
        };
        self.misdeeds.extend(result.err());
        self.obey_provider(&mut fx);
    }

    fn obey_buyer(&mut self, fx: &mut Effects<BuyerEffect>) {
        for effect in fx.take() {
            assert_eq!(self.buyer_outcome, None, "nothing follows the end");
            match effect {
                BuyerEffect::Persist { lane, .. } => self.buyer_disk = *lane,
                BuyerEffect::Send(message) => {
                    if let Some(voucher) = voucher_of(&message) {
                        assert_eq!(self.buyer_disk.newest.as_ref(), Some(voucher), "persist before send");
                    }
                    self.to_provider.push_back(message);
                }
                BuyerEffect::Testify(receipt) => self.refused.push(receipt.body),
                BuyerEffect::Reclaiming { .. } => {}
                BuyerEffect::WakeAt(at) => {
                    assert!(at > self.now);
                    self.buyer_wake = Some(at);
                }
                BuyerEffect::Deliver { tokens, logprobs } => {
                    self.delivered.extend(tokens);
                    self.logprobs.extend(logprobs);
                }
                BuyerEffect::Finish(outcome) => self.buyer_outcome = Some(*outcome),
            }
        }
    }

    fn obey_provider(&mut self, fx: &mut Effects<ProviderEffect>) {
        for effect in fx.take() {
            assert_eq!(self.provider_outcome, None, "nothing follows the end");
            match effect {
                ProviderEffect::Persist { lane, .. } => self.provider_disk = *lane,
                ProviderEffect::Send(message) => self.sent_by_provider(message),
                ProviderEffect::StartInference { grant, .. } => self.grant(grant),
                ProviderEffect::Grant { tokens } => self.grant(tokens),
                ProviderEffect::Halt => self.halted = true,
                ProviderEffect::WakeAt(at) => assert!(at > self.now),
                ProviderEffect::Finish(outcome) => self.provider_outcome = Some(*outcome),
            }
        }
    }

    fn sent_by_provider(&mut self, message: ProviderMessage) {
        match &message {
            ProviderMessage::Done { receipt } | ProviderMessage::Fault { receipt, .. } => {
                assert_eq!(self.provider_disk.pending.as_ref(), Some(&**receipt), "persist before send");
            }
            ProviderMessage::Chunk(chunk) => {
                let sent = chunk.start + u32::try_from(chunk.tokens.len()).unwrap();
                assert!(self.paid_on_disk() >= self.due(sent), "nothing is sent that is not paid for");
            }
            _ => {}
        }
        self.to_buyer.push_back(message);
    }

    fn grant(&mut self, tokens: u32) {
        assert!(self.paid_on_disk() >= self.due(tokens), "nothing is computed that is not paid for");
        self.granted = tokens;
    }

    /// What the provider could collect now.
    pub(super) fn paid_on_disk(&self) -> Credits {
        self.provider_disk.newest.as_ref().map_or(Credits::ZERO, |voucher| voucher.body.amount)
    }

    /// What the lane owes with this many output tokens of this job.
    pub(super) fn due(&self, tokens: u32) -> Credits {
        // Vouchers of the job commit to the time before it, which both disks hold until the receipt is settled.
        let before = if self.provider_disk.next_index() <= self.buyer.request().index {
            &self.provider_disk
        } else {
            &self.provider_lane
        };
        self.buyer.request().amount_on(before, &self.terms(), tokens).unwrap()
    }

    fn terms(&self) -> Terms {
        // Chunk size is the one thing that tests vary; it does not enter the amount.
        sample::terms()
    }
}

fn voucher_of(message: &ClientMessage) -> Option<&crate::signed::Signed<crate::session::voucher::Voucher>> {
    match message {
        ClientMessage::Open(open) => Some(&open.voucher),
        ClientMessage::Voucher(voucher) | ClientMessage::Final(voucher) => Some(voucher),
        ClientMessage::Cancel => None,
    }
}
