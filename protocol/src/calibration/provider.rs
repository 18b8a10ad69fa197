//! The provider's side: whom it lets calibrate it and when, and which receipts it believes. Pure: what the
//! house is like is an input.

use super::{
    job::Challenge,
    message::{Ask, ChallengerMessage, RefusalCode},
    receipt::{Calibration, DeviceName},
    shape::StandardShape,
};
use crate::{
    id::{OutputDigest, ScoreDigest},
    signed::{PublicKey, Signed, Verified},
    units::{Millis, Timestamp},
};

/// What the challenger's clock may show beyond twice what the provider's own does, in nanoseconds: a far
/// network.
const CLOCK_SLACK_NS: u64 = 2_000_000_000;

/// When a provider takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hospitality {
    /// Least time between the starts of two calibrations, whoever asks; `None` for no calibrations at all.
    pub every: Option<Millis>,
    /// Who may ask; empty for anyone.
    pub challengers: Vec<PublicKey>,
    /// The longest that one step may take; nothing may take longer than the timetable allows.
    pub patience: Millis,
}

impl Hospitality {
    /// Anyone, once in `every`, for as long as the timetable allows.
    #[must_use]
    pub const fn open(every: Millis) -> Self {
        Self { every: Some(every), challengers: Vec::new(), patience: Millis(u64::MAX) }
    }
}

/// How a provider stands when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct House<'a> {
    /// When it takes part.
    pub hospitality: &'a Hospitality,
    /// Digest of its arithmetic's page.
    pub numerics: [u8; 32],
    /// Memory that its advert claims, in bytes.
    pub memory_bytes: u64,
    /// When the last calibration began, whatever became of it.
    pub last: Option<Timestamp>,
    /// The time.
    pub now: Timestamp,
    /// Whether jobs run, or another calibration.
    pub busy: bool,
    /// Whether its model is loaded and could be loaded again.
    pub serving: bool,
}

/// A refusal with its numbers.
pub type Refusal = (RefusalCode, String);

/// Decides about a challenge. What costs the provider nothing to know comes first.
///
/// # Errors
/// With the code of the first rule that says no, and the numbers.
pub fn judge(challenger: &PublicKey, ask: &Ask, house: &House<'_>) -> Result<StandardShape, Refusal> {
    let refuse = |code, detail: String| Err((code, detail));
    let Some(every) = house.hospitality.every else {
        return refuse(RefusalCode::Off, "this provider takes part in no calibration".into());
    };
    let welcome = &house.hospitality.challengers;
    if !welcome.is_empty() && !welcome.contains(challenger) {
        let detail = format!("{} others may calibrate this provider, you may not", welcome.len());
        return refuse(RefusalCode::NotWelcome, detail);
    }
    if ask.numerics != house.numerics {
        return refuse(RefusalCode::NumericsVersion, "it computes by another page".into());
    }
    let shape = StandardShape::of(ask.memory_bytes)
        .map_err(|error| (RefusalCode::NoStandardJob, error.to_string()))?;
    if ask.memory_bytes > house.memory_bytes {
        let detail = format!("{} bytes asked, {} claimed", ask.memory_bytes, house.memory_bytes);
        return refuse(RefusalCode::OverClaim, detail);
    }
    if !house.serving {
        return refuse(RefusalCode::NotServing, "its own model is not being served".into());
    }
    let since = house.last.map(|last| house.now.since(last));
    if let Some(since) = since.filter(|since| *since < every) {
        let detail = format!("the last one began {} ms ago, {} must pass", since.0, every.0);
        return refuse(RefusalCode::TooSoon, detail);
    }
    if house.busy {
        return refuse(
            RefusalCode::Busy,
            "it serves jobs, is being calibrated, or is reserved now or soon".into(),
        );
    }
    Ok(shape)
}

/// What a provider did and saw in a calibration: what a receipt must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The challenge.
    pub challenge: Challenge,
    /// Its device, as advertised.
    pub device: DeviceName,
    /// Nonce of the prompt.
    pub prompt_nonce: [u8; 32],
    /// Nonce of the output.
    pub output_nonce: [u8; 32],
    /// Digest of its output.
    pub output: OutputDigest,
    /// Its score chain.
    pub scores: ScoreDigest,
    /// From the prompt's arrival to the first token, by its own clock.
    pub prefill_ns: u64,
    /// From the second nonce's arrival to the last token, by its own clock.
    pub decode_ns: u64,
}

/// What a challenger did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChallengerFault {
    /// It said something else than it had to.
    #[error("it said {found} where {expected} was its turn")]
    OutOfTurn {
        /// What was its turn.
        expected: &'static str,
        /// What it said.
        found: &'static str,
    },
    /// It signed a receipt that does not say what was done.
    #[error("its receipt is not about what was done")]
    OtherReceipt,
    /// It signed times that its network cannot explain.
    #[error("its clock shows far longer times than ours")]
    FalseClock,
    /// Its signature does not verify, or the times give no rates.
    #[error("its receipt is not sound")]
    UnsoundReceipt,
}

/// The nonce of a message that must be [`ChallengerMessage::Prompt`].
///
/// # Errors
/// [`ChallengerFault::OutOfTurn`].
pub fn prompt_of(message: &ChallengerMessage) -> Result<[u8; 32], ChallengerFault> {
    match message {
        ChallengerMessage::Prompt { nonce } => Ok(*nonce),
        other => Err(ChallengerFault::OutOfTurn { expected: "prompt", found: other.name() }),
    }
}

/// The nonce of a message that must be [`ChallengerMessage::Continue`].
///
/// # Errors
/// [`ChallengerFault::OutOfTurn`].
pub fn continue_of(message: &ChallengerMessage) -> Result<[u8; 32], ChallengerFault> {
    match message {
        ChallengerMessage::Continue { nonce } => Ok(*nonce),
        other => Err(ChallengerFault::OutOfTurn { expected: "continue", found: other.name() }),
    }
}

impl Done {
    /// The receipt of a message that must be one about this.
    ///
    /// A challenger could sign times that are too long, to make a rival look slow. Its clock sees the network
    /// too, so it may show up to twice our own times and two seconds more; beyond that the receipt is not
    /// kept.
    ///
    /// # Errors
    /// [`ChallengerFault`], with the first check that fails.
    pub fn receipt_of(&self, message: ChallengerMessage) -> Result<Verified<Calibration>, ChallengerFault> {
        let receipt: Signed<Calibration> = match message {
            ChallengerMessage::Receipt(receipt) => *receipt,
            other => return Err(ChallengerFault::OutOfTurn { expected: "receipt", found: other.name() }),
        };
        if !self.is_what_was_done(&receipt.body) {
            return Err(ChallengerFault::OtherReceipt);
        }
        let within = |theirs: u64, ours: u64| theirs <= ours.saturating_mul(2).saturating_add(CLOCK_SLACK_NS);
        let Calibration { prefill_ns, decode_ns, .. } = receipt.body;
        if !within(prefill_ns, self.prefill_ns) || !within(decode_ns, self.decode_ns) {
            return Err(ChallengerFault::FalseClock);
        }
        receipt.body.rates().ok_or(ChallengerFault::UnsoundReceipt)?;
        receipt.verify().map_err(|_| ChallengerFault::UnsoundReceipt)
    }

    fn is_what_was_done(&self, receipt: &Calibration) -> bool {
        receipt.challenge == self.challenge
            && receipt.device == self.device
            && (receipt.prompt_nonce, receipt.output_nonce) == (self.prompt_nonce, self.output_nonce)
            && (receipt.output, receipt.scores) == (self.output, self.scores)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        arbitrary::key,
        calibration::shape::MEMORY_MIN,
        sample::{self, CLIENT, NOW, PROVIDER},
    };

    fn ask() -> Ask {
        Ask { numerics: [1; 32], memory_bytes: MEMORY_MIN, seed: [2; 32] }
    }

    fn judged(
        open: &Hospitality,
        ask: Ask,
        change: impl FnOnce(&mut House<'_>),
    ) -> Result<StandardShape, RefusalCode> {
        let mut house = House {
            hospitality: open,
            numerics: [1; 32],
            memory_bytes: 2 * MEMORY_MIN,
            last: None,
            now: NOW,
            busy: false,
            serving: true,
        };
        change(&mut house);
        judge(&key(CLIENT).public(), &ask, &house).map_err(|(code, detail)| {
            assert!(!detail.is_empty());
            code
        })
    }

    #[test]
    fn every_refusal_has_its_rule() {
        let open = Hospitality::open(Millis(1_000));
        let of = |ask, change: fn(&mut House<'_>)| judged(&open, ask, change).err();
        assert_eq!(judged(&open, ask(), |_| {}).map(|shape| shape.memory_bytes()), Ok(MEMORY_MIN));
        let off = Hospitality { every: None, ..open.clone() };
        assert_eq!(judged(&off, ask(), |_| {}), Err(RefusalCode::Off));
        let others = |keys: &[u8]| Hospitality {
            challengers: keys.iter().map(|n| key(*n).public()).collect(),
            ..open.clone()
        };
        assert_eq!(judged(&others(&[9, 8]), ask(), |_| {}), Err(RefusalCode::NotWelcome));
        assert!(judged(&others(&[9, CLIENT]), ask(), |_| {}).is_ok());
        assert_eq!(of(Ask { numerics: [3; 32], ..ask() }, |_| {}), Some(RefusalCode::NumericsVersion));
        assert_eq!(of(Ask { memory_bytes: 5, ..ask() }, |_| {}), Some(RefusalCode::NoStandardJob));
        let more = Ask { memory_bytes: 2 * MEMORY_MIN + 1, ..ask() };
        assert_eq!(of(more, |_| {}), Some(RefusalCode::OverClaim));
        assert_eq!(of(ask(), |house| house.serving = false), Some(RefusalCode::NotServing));
        let last = |ago: u64| Some(Timestamp(NOW.0 - ago));
        assert_eq!(of(ask(), |house| house.last = Some(Timestamp(NOW.0 - 999))), Some(RefusalCode::TooSoon));
        assert_eq!(judged(&open, ask(), |house| house.last = last(1_000)).err(), None);
        assert_eq!(of(ask(), |house| house.last = Some(Timestamp(NOW.0 + 5))), Some(RefusalCode::TooSoon));
        assert_eq!(of(ask(), |house| house.busy = true), Some(RefusalCode::Busy));
    }

    fn done() -> Done {
        let sample = sample::calibration();
        Done {
            challenge: sample.challenge,
            device: sample.device,
            prompt_nonce: sample.prompt_nonce,
            output_nonce: sample.output_nonce,
            output: sample.output,
            scores: sample.scores,
            prefill_ns: sample.prefill_ns / 2,
            decode_ns: sample.decode_ns / 2,
        }
    }

    fn heard(receipt: Calibration, signer: u8) -> Result<(), ChallengerFault> {
        let message = ChallengerMessage::Receipt(Box::new(key(signer).sign(receipt)));
        done().receipt_of(message).map(|_| ())
    }

    #[test]
    fn only_a_receipt_about_what_was_done_is_kept() {
        let sample = sample::calibration;
        assert_eq!(heard(sample(), CLIENT), Ok(()));
        let challenge = Challenge { seed: [9; 32], ..sample().challenge };
        let device = DeviceName { name: "another".into(), ..sample().device };
        let others = [
            Calibration { challenge, ..sample() },
            Calibration { device, ..sample() },
            Calibration { prompt_nonce: [9; 32], ..sample() },
            Calibration { output_nonce: [9; 32], ..sample() },
            Calibration { output: OutputDigest([9; 32]), ..sample() },
            Calibration { scores: ScoreDigest([9; 32]), ..sample() },
        ];
        for other in others {
            assert_eq!(heard(other, CLIENT), Err(ChallengerFault::OtherReceipt));
        }
        assert_eq!(heard(sample(), PROVIDER), Err(ChallengerFault::UnsoundReceipt));
        assert_eq!(
            heard(Calibration { decode_ns: 0, ..sample() }, CLIENT),
            Err(ChallengerFault::UnsoundReceipt)
        );
    }

    #[test]
    fn a_challenger_cannot_make_a_rival_look_slow() {
        let slack = |ns: u64| ns + CLOCK_SLACK_NS;
        let sample = sample::calibration();
        let slowest = Calibration {
            prefill_ns: slack(sample.prefill_ns),
            decode_ns: slack(sample.decode_ns),
            ..sample.clone()
        };
        assert_eq!(heard(slowest.clone(), CLIENT), Ok(()));
        let slower = [
            Calibration { prefill_ns: slowest.prefill_ns + 1, ..slowest.clone() },
            Calibration { decode_ns: slowest.decode_ns + 1, ..slowest },
        ];
        assert!(slower.into_iter().all(|receipt| heard(receipt, CLIENT) == Err(ChallengerFault::FalseClock)));
    }

    #[test]
    fn messages_out_of_turn_are_named() {
        let prompt = ChallengerMessage::Prompt { nonce: [1; 32] };
        let go_on = ChallengerMessage::Continue { nonce: [2; 32] };
        assert_eq!((prompt_of(&prompt), continue_of(&go_on)), (Ok([1; 32]), Ok([2; 32])));
        let out = |expected, found| ChallengerFault::OutOfTurn { expected, found };
        assert_eq!(prompt_of(&ChallengerMessage::Ask(ask())), Err(out("prompt", "ask")));
        assert_eq!(continue_of(&prompt), Err(out("continue", "prompt")));
        assert_eq!(done().receipt_of(go_on).err(), Some(out("receipt", "continue")));
    }
}
