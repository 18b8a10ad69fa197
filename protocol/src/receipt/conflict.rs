//! When two receipts of one provider contradict each other: the evidence for which it loses its stake.
//!
//! A provider signs one receipt for each job, and a job has one place: session, lane and number. An honest provider
//! persists a receipt before it sends it and never signs another for the place ([`crate::job::provider`]), so
//! whoever shows two such statements shows a misdeed, and nobody's opinion is asked.

use super::Receipt;

/// Why two receipts are no evidence: both may be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum NoConflict {
    /// Two providers answer for themselves.
    #[error("the receipts are of two providers")]
    OtherProvider,
    /// Lanes and numbers begin anew in every session.
    #[error("the receipts are of two sessions")]
    OtherSession,
    /// Two jobs, each at its own place.
    #[error("the receipts are about two jobs")]
    OtherJob,
    /// One statement, shown or signed twice.
    #[error("the receipts say the same")]
    SameStatement,
}

/// Checks that both receipts, whose signatures are the caller's to check, cannot both be true: two statements about
/// one place of a lane, or one request answered for at two places (its digest binds its place, so one of them is
/// billed for a job that was never asked for).
///
/// # Errors
/// With the first reason why they are no evidence.
pub fn check_conflict(one: &Receipt, other: &Receipt) -> Result<(), NoConflict> {
    if one.provider != other.provider {
        return Err(NoConflict::OtherProvider);
    }
    if one.session != other.session {
        return Err(NoConflict::OtherSession);
    }
    let same_place = one.lane == other.lane && one.index == other.index;
    if !same_place && one.request != other.request {
        return Err(NoConflict::OtherJob);
    }
    if one == other { Err(NoConflict::SameStatement) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        arbitrary::{self, key},
        id::{ModelId, OutputDigest, ReceiptId, RequestDigest, ScoreDigest, SessionId},
        market::advert::DeviceClass,
        receipt::{Cause, ClockSource},
        sample,
        units::{GpuNs, Timestamp, Work},
    };

    fn changed(change: impl Fn(&mut Receipt)) -> Result<(), NoConflict> {
        let (one, mut other) = (sample::receipt(), sample::receipt());
        change(&mut other);
        let found = check_conflict(&one, &other);
        assert_eq!(check_conflict(&other, &one), found, "the order does not matter");
        found
    }

    #[test]
    fn what_may_both_be_true_is_no_conflict() {
        assert_eq!(changed(|_| {}), Err(NoConflict::SameStatement));
        assert_eq!(changed(|other| other.provider = key(9).public()), Err(NoConflict::OtherProvider));
        assert_eq!(changed(|other| other.session = SessionId([9; 32])), Err(NoConflict::OtherSession));
        let next_job = |other: &mut Receipt| {
            (other.index, other.request) = (4, RequestDigest([20; 32]));
        };
        assert_eq!(changed(next_job), Err(NoConflict::OtherJob));
        let other_lane = |other: &mut Receipt| {
            (other.lane, other.request) = (1, RequestDigest([20; 32]));
        };
        assert_eq!(changed(other_lane), Err(NoConflict::OtherJob));
        // Session before place: numbers of another session mean other jobs, whatever the request says.
        let elsewhere = |other: &mut Receipt| (other.session, other.index) = (SessionId([9; 32]), 4);
        assert_eq!(changed(elsewhere), Err(NoConflict::OtherSession));
    }

    #[test]
    fn a_second_signature_of_one_statement_is_no_conflict() {
        let receipt = sample::receipt();
        let [one, other] = [2, 3].map(|signer| key(signer).sign(receipt.clone()));
        assert_ne!(one.id(), other.id());
        assert_eq!(check_conflict(&one.body, &other.body), Err(NoConflict::SameStatement));
    }

    #[test]
    fn two_statements_about_one_place_contradict_each_other_in_any_field() {
        let changes: [fn(&mut Receipt); 16] = [
            |other| other.numerics = [9; 32],
            |other| other.model = ModelId([9; 32]),
            |other| other.request = RequestDigest([9; 32]),
            |other| other.output = OutputDigest([9; 32]),
            |other| other.scores = ScoreDigest([9; 32]),
            |other| other.prompt_tokens += 1,
            |other| other.output_tokens += 1,
            |other| other.prefill_work = Work(1),
            |other| other.decode_work = Work(1),
            |other| other.reference = GpuNs(1),
            |other| other.measured = GpuNs(1),
            |other| other.measured_by = ClockSource::DeviceTimestamps,
            |other| other.started_at = Timestamp(1),
            |other| other.ended_at = Timestamp(u64::MAX),
            |other| (other.device, other.cause) = (DeviceClass::Gpu, Cause::Network),
            |other| other.previous = ReceiptId([9; 32]),
        ];
        for (at, change) in changes.iter().enumerate() {
            assert_eq!(changed(change), Ok(()), "change {at}");
        }
    }

    #[test]
    fn one_request_answered_for_at_two_places_is_a_conflict() {
        assert_eq!(changed(|other| other.index = 4), Ok(()));
        assert_eq!(changed(|other| other.lane = 1), Ok(()));
    }

    proptest! {
        /// What a lane of an honest provider holds never convicts it, nor do two lanes or two sessions.
        #[test]
        fn honest_histories_hold_no_conflict(
            receipts in prop::collection::vec(arbitrary::receipts(key(2).public()), 2..8),
        ) {
            let places = receipts.into_iter().zip(0u8..).map(|(receipt, at)| Receipt {
                session: SessionId([at / 4; 32]),
                lane: u16::from(at % 2),
                index: u32::from(at / 2),
                // The digest binds the place.
                request: RequestDigest([at; 32]),
                ..receipt
            });
            let places: Vec<_> = places.collect();
            for (at, one) in places.iter().enumerate() {
                for other in &places[at + 1..] {
                    prop_assert!(check_conflict(one, other).is_err());
                }
                prop_assert_eq!(check_conflict(one, one), Err(NoConflict::SameStatement));
            }
        }
    }
}
