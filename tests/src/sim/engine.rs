//! An engine that computes nothing: tokens are hashes of what a real engine's tokens depend on, so that every
//! honest provider gives the same text, and thousands of jobs take seconds.

use gridhour_protocol::{
    id::ScoreDigest,
    job::{
        ending::Ending,
        logprobs::{Alternative, Logprobs},
        provider::Generated,
        request::Request,
    },
};

use crate::actors::goods;

/// Tokens in the vocabulary.
pub const VOCABULARY: u32 = 64;

/// One job at work.
#[derive(Clone, Debug)]
pub struct FakeEngine {
    request: Request,
    made: u32,
    grant: u32,
    scores: ScoreDigest,
    ending: Ending,
}

/// Token number `position` of the answer to `request`.
#[must_use]
pub fn token_at(request: &Request, position: u32) -> u32 {
    let mut hasher = blake3::Hasher::new_derive_key("gridhour testkit token");
    hasher.update(&request.core()).update(&request.sampling.seed.to_le_bytes());
    let digest = hasher.update(&position.to_le_bytes()).finalize();
    u32::from(digest.as_bytes()[0]) % VOCABULARY
}

/// The whole answer to `request`.
#[must_use]
pub fn answer(request: &Request) -> Vec<u32> {
    let (mut tokens, mut ending) = (Vec::new(), ending(request));
    for position in 0..request.max_tokens {
        let token = token_at(request, position);
        tokens.push(token);
        if ending.push(token).is_some() {
            break;
        }
    }
    tokens
}

fn ending(request: &Request) -> Ending {
    Ending::new(request, goods::TOKENIZER.clone())
}

/// What a real engine would say of the token, as far as anyone here can tell.
fn logprobs(request: &Request, token: u32) -> Option<Logprobs> {
    let top = vec![Alternative { token, logprob_q16: -5 }];
    (request.logprobs > 0).then_some(Logprobs { logprob_q16: -5, top })
}

impl FakeEngine {
    /// Starts on `request`, up to token number `grant`.
    #[must_use]
    pub fn new(request: Request, grant: u32) -> Self {
        let ending = ending(&request);
        Self { request, made: 0, grant, scores: ScoreDigest([0; 32]), ending }
    }

    /// Lets it go on up to token number `grant`.
    pub fn grant(&mut self, grant: u32) {
        self.grant = grant;
    }

    /// Whether there is something to compute.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.ending.end().is_none() && self.made < self.grant
    }

    /// The next tokens, at most `burst`; none if there is no work.
    pub fn run(&mut self, burst: u32) -> Vec<Generated> {
        let mut made = Vec::new();
        for _ in 0..burst {
            if !self.has_work() {
                break;
            }
            made.push(self.step());
        }
        made
    }

    fn step(&mut self) -> Generated {
        let token = token_at(&self.request, self.made);
        self.made += 1;
        self.ending.push(token);
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.scores.0).update(&token.to_le_bytes());
        self.scores = ScoreDigest(*hasher.finalize().as_bytes());
        Generated { token, scores: self.scores, logprobs: logprobs(&self.request, token) }
    }
}
