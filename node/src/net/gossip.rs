//! What is checked before an advert is remembered or passed on. Pure: time and what is known are inputs.
//!
//! Cheap checks come first, the signature last, and nothing is remembered before all of them hold. Nodes that
//! refuse an advert for a reason that every node shares never forward it, so whoever brings such an advert
//! made it or did not look: it is charged. Reasons that depend on when and by which way an advert came cost
//! nothing.

use gridhour_protocol::{
    calibration::receipt::CalibrationFault,
    id::NetworkId,
    limits::{CLOCK_SKEW_MS_MAX, GOSSIP_BYTES_MAX},
    market::advert::Advert,
    signed::{PublicKey, Signed, Verified},
    units::{Millis, Timestamp},
    wire::{self, WireError},
};

/// Why an advert was dropped, in the order in which it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Refusal {
    /// More bytes than a gossiped message may have.
    #[error("longer than {GOSSIP_BYTES_MAX} bytes")]
    Oversized,
    /// Not the encoding of an advert for everybody within its bounds, or of another protocol version.
    #[error("not an advert")]
    Malformed,
    /// An advert for another network.
    #[error("for another network")]
    WrongNetwork,
    /// Past its expiry, or replaced by an advert with a higher sequence number.
    #[error("expired or replaced")]
    Stale,
    /// Signed later than the clocks of honest peers can differ.
    #[error("signed in the future")]
    FromFuture,
    /// An advert with this sequence number is known.
    #[error("already known")]
    Duplicate,
    /// The signature is not the provider's.
    #[error("signature does not verify")]
    BadSignature,
    /// It shows a calibration that does not speak for it.
    #[error("shows a false calibration: {0}")]
    FalseCalibration(CalibrationFault),
    /// As many providers are known as are kept.
    #[error("too many providers are known")]
    TableFull,
}

impl Refusal {
    /// Whether every honest node refuses the advert, whenever it comes: then who brought it is at fault.
    #[must_use]
    pub fn is_misbehavior(self) -> bool {
        match self {
            Self::Oversized
            | Self::Malformed
            | Self::WrongNetwork
            | Self::BadSignature
            | Self::FalseCalibration(_) => true,
            Self::Stale | Self::FromFuture | Self::Duplicate | Self::TableFull => false,
        }
    }
}

/// Checks an advert that a peer brought.
///
/// `newest` gives the highest sequence number known of a provider, from verified adverts only.
///
/// # Errors
/// With the first reason, in the order of [`Refusal`].
pub fn validate(
    bytes: &[u8],
    network: &NetworkId,
    now: Timestamp,
    newest: impl Fn(&PublicKey) -> Option<u64>,
) -> Result<Verified<Advert>, Refusal> {
    let signed = read(bytes)?;
    if signed.body.quote.is_some() {
        return Err(Refusal::Malformed);
    }
    check_claims(&signed.body, network, now, newest)?;
    check_proofs(signed)
}

/// The advert that the bytes are, whoever signed it.
///
/// # Errors
/// If they are none.
pub fn read(bytes: &[u8]) -> Result<Signed<Advert>, Refusal> {
    if bytes.len() > GOSSIP_BYTES_MAX {
        return Err(Refusal::Oversized);
    }
    wire::decode(bytes).map_err(|error| match error {
        WireError::TooLong { .. } => Refusal::Oversized,
        WireError::Malformed(_) | WireError::NotCanonical => Refusal::Malformed,
    })
}

/// What depends on who reads it and when: the network, the time, and what is known of the provider.
///
/// # Errors
/// With the first that does not fit.
pub fn check_claims(
    advert: &Advert,
    network: &NetworkId,
    now: Timestamp,
    newest: impl Fn(&PublicKey) -> Option<u64>,
) -> Result<(), Refusal> {
    if advert.network != *network {
        return Err(Refusal::WrongNetwork);
    }
    if !advert.is_live(now) {
        return Err(Refusal::Stale);
    }
    if advert.issued_at.since(now) > Millis(CLOCK_SKEW_MS_MAX) {
        return Err(Refusal::FromFuture);
    }
    match newest(&advert.provider) {
        Some(known) if known > advert.sequence => Err(Refusal::Stale),
        Some(known) if known == advert.sequence => Err(Refusal::Duplicate),
        _ => Ok(()),
    }
}

/// What follows from the bytes alone: the signature, and the calibration that it shows.
///
/// # Errors
/// With the first that does not hold.
pub fn check_proofs(signed: Signed<Advert>) -> Result<Verified<Advert>, Refusal> {
    let advert = signed.verify().map_err(|_| Refusal::BadSignature)?;
    advert.check_calibration().map_err(Refusal::FalseCalibration)?;
    Ok(advert)
}

#[cfg(test)]
mod tests {
    use gridhour_protocol::{
        calibration::{
            job::Challenge,
            receipt::{Calibration, DeviceName},
            shape::{MEMORY_MIN, StandardShape},
        },
        exact::numerics_digest,
        id::{OutputDigest, PostingId, ScoreDigest},
        limits::ADVERT_TTL_MS_MAX,
        market::advert::RateSource,
        signed::{SecretKey, Signature},
    };
    use proptest::prelude::*;

    use super::*;
    use crate::net::sample::{NETWORK, NOW, advert, bytes_of, quote, secret};

    fn judge(bytes: &[u8], known: Option<u64>) -> Result<u64, Refusal> {
        validate(bytes, &NETWORK, NOW, |_| known).map(|advert| advert.sequence)
    }

    #[test]
    fn an_honest_advert_passes() {
        let bytes = bytes_of(&secret(1).sign(advert(1, 5)));
        assert_eq!(judge(&bytes, None), Ok(5));
        assert_eq!(judge(&bytes, Some(4)), Ok(5));
    }

    #[test]
    fn a_quote_is_no_advert_for_everybody() {
        let bytes = bytes_of(&quote(1, 70, PostingId([5; 32])));
        assert_eq!(judge(&bytes, None), Err(Refusal::Malformed));
    }

    #[test]
    fn older_and_known_sequences_are_told_apart() {
        let bytes = bytes_of(&secret(1).sign(advert(1, 5)));
        assert_eq!(judge(&bytes, Some(5)), Err(Refusal::Duplicate));
        assert_eq!(judge(&bytes, Some(6)), Err(Refusal::Stale));
    }

    #[test]
    fn a_signature_of_another_key_is_refused() {
        let forged = bytes_of(&SecretKey::from_seed([9; 32]).sign(advert(1, 5)));
        assert_eq!(judge(&forged, None), Err(Refusal::BadSignature));
        let mut zeroed = secret(1).sign(advert(1, 5));
        zeroed.signature = Signature::from_bytes([0; 64]);
        assert_eq!(judge(&bytes_of(&zeroed), None), Err(Refusal::BadSignature));
    }

    #[test]
    fn times_are_checked_to_the_millisecond() {
        let mut ahead = advert(1, 5);
        ahead.issued_at = Timestamp(NOW.0 + CLOCK_SKEW_MS_MAX);
        ahead.expires_at = Timestamp(ahead.issued_at.0 + ADVERT_TTL_MS_MAX);
        assert_eq!(judge(&bytes_of(&secret(1).sign(ahead.clone())), None), Ok(5));
        ahead.issued_at.0 += 1;
        assert_eq!(judge(&bytes_of(&secret(1).sign(ahead)), None), Err(Refusal::FromFuture));

        let mut late = advert(1, 5);
        late.issued_at = Timestamp(NOW.0 - 1);
        late.expires_at = NOW;
        assert_eq!(judge(&bytes_of(&secret(1).sign(late)), None), Err(Refusal::Stale));
    }

    #[test]
    fn another_network_and_another_size_are_refused() {
        let mut foreign = advert(1, 5);
        foreign.network = NetworkId([8; 32]);
        assert_eq!(judge(&bytes_of(&secret(1).sign(foreign)), None), Err(Refusal::WrongNetwork));
        assert_eq!(judge(&vec![0; GOSSIP_BYTES_MAX + 1], None), Err(Refusal::Oversized));
        assert_eq!(judge(&[], None), Err(Refusal::Malformed));
    }

    #[test]
    fn a_false_calibration_is_refused_and_charged_to_who_brought_it() {
        let shape = StandardShape::of(MEMORY_MIN).expect("the least");
        let mut claim = advert(1, 5);
        let challenge = Challenge {
            numerics: numerics_digest(),
            network: NETWORK,
            challenger: secret(2).public(),
            provider: secret(1).public(),
            memory_bytes: shape.memory_bytes(),
            seed: [3; 32],
        };
        let receipt = Calibration {
            challenge,
            device: DeviceName::of(&claim.device),
            prompt_nonce: [4; 32],
            output_nonce: [5; 32],
            output: OutputDigest([6; 32]),
            scores: ScoreDigest([7; 32]),
            prefill_ns: 1_000_000,
            decode_ns: 1_000_000,
            started_at: NOW,
            ended_at: NOW,
        };
        claim.device.memory_bytes = MEMORY_MIN;
        claim.device.rates = receipt.rates().expect("sound times");
        claim.device.rate_source = RateSource::Calibrated(Box::new(secret(2).sign(receipt.clone())));
        assert_eq!(judge(&bytes_of(&secret(1).sign(claim.clone())), None), Ok(5));
        claim.device.rate_source = RateSource::Calibrated(Box::new(secret(1).sign(receipt)));
        let refused = Refusal::FalseCalibration(CalibrationFault::BadSignature);
        assert_eq!(judge(&bytes_of(&secret(1).sign(claim)), None), Err(refused));
        assert!(refused.is_misbehavior());
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_none_pass(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
            prop_assert!(judge(&bytes, None).is_err());
        }

        #[test]
        fn no_changed_byte_passes(at in any::<prop::sample::Index>(), flip in 1..=255u8) {
            let mut bytes = bytes_of(&secret(1).sign(advert(1, 5)));
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert!(judge(&bytes, None).is_err());
        }

        #[test]
        fn no_truncation_passes(at in any::<prop::sample::Index>()) {
            let bytes = bytes_of(&secret(1).sign(advert(1, 5)));
            prop_assert_eq!(judge(&bytes[..at.index(bytes.len())], None), Err(Refusal::Malformed));
        }
    }
}
