use super::*;
use crate::{arbitrary::key, id::PostingId, limits::ADVERT_TTL_MS_MAX, sample};

const NOW: Timestamp = sample::NOW;

fn network() -> NetworkId {
    sample::advert().network
}

fn verified(seed: u8, change: impl FnOnce(&mut Advert)) -> Verified<Advert> {
    let mut advert = Advert { provider: key(seed).public(), ..sample::advert() };
    change(&mut advert);
    key(seed).sign(advert).verify().unwrap()
}

#[test]
fn only_the_newest_advert_of_a_provider_is_live() {
    let mut book = Book::new(network());
    let old = verified(2, |advert| advert.sequence = 7);
    let new = verified(2, |advert| advert.sequence = 8);
    assert_eq!(book.enter(NOW, old.clone()), Ok(Entered::New));
    assert_eq!(book.enter(NOW, old.clone()), Err(NotEntered::Duplicate));
    assert_eq!(book.enter(NOW, new.clone()), Ok(Entered::Replaced));
    assert_eq!(book.enter(NOW, old), Err(NotEntered::OlderSequence { sequence: 7, newest: 8 }));
    assert_eq!(book.live(NOW).collect::<Vec<_>>(), [&new]);
}

#[test]
fn two_adverts_with_one_sequence_are_told_apart_from_a_repeat() {
    let mut book = Book::new(network());
    book.enter(NOW, verified(2, |_| ())).unwrap();
    let other = verified(2, |advert| advert.ask.0 += 1);
    assert_eq!(book.enter(NOW, other), Err(NotEntered::Conflicting { sequence: 7 }));
}

#[test]
fn stale_future_dated_and_foreign_adverts_are_named_and_leave_no_trace() {
    let mut book = Book::new(network());
    let foreign = verified(2, |advert| advert.network = NetworkId([1; 32]));
    let expired = verified(2, |advert| advert.expires_at = NOW);
    let quote = verified(2, |advert| advert.quote = sample::quote(PostingId([5; 32])).quote);
    let quoted = book.enter(NOW, quote);
    assert_eq!(quoted, Err(NotEntered::Quote));
    assert!(
        quoted.is_err_and(NotEntered::is_misbehavior),
        "it is for one client, and never gossiped as an advert"
    );
    let ahead = |ms| verified(2, |advert| advert.issued_at = Timestamp(NOW.0 + ms));
    assert_eq!(book.enter(NOW, foreign), Err(NotEntered::WrongNetwork));
    assert_eq!(book.enter(NOW, expired), Err(NotEntered::Expired { ago_ms: 0 }));
    let ms = CLOCK_SKEW_MS_MAX + 1;
    assert_eq!(book.enter(NOW, ahead(ms)), Err(NotEntered::FutureDated { ahead_ms: ms }));
    assert!(book.is_empty());
    assert_eq!(book.enter(NOW, ahead(CLOCK_SKEW_MS_MAX)), Ok(Entered::New));
}

#[test]
fn an_advert_with_a_false_calibration_is_named_and_leaves_no_trace() {
    let mut book = Book::new(network());
    let calibrated = |change: fn(&mut Advert)| {
        let mut advert = sample::calibrated_advert();
        change(&mut advert);
        key(sample::PROVIDER).sign(advert).verify().unwrap()
    };
    let faster = book.enter(NOW, calibrated(|advert| advert.device.rates.decode.0 += 1));
    assert_eq!(faster, Err(NotEntered::FalseCalibration(CalibrationFault::OtherRates)));
    assert!(book.is_empty() && faster.is_err_and(|error| error.is_misbehavior()));
    assert_eq!(book.enter(NOW, calibrated(|_| ())), Ok(Entered::New));
    let newer = calibrated(|advert| (advert.sequence, advert.device.memory_bytes) = (8, u64::MAX));
    assert_eq!(book.enter(NOW, newer), Err(NotEntered::FalseCalibration(CalibrationFault::LessMemory)));
    assert_eq!(book.live(NOW).count(), 1);
}

/// A withdrawn offer must not come back: the older advert that outlives the newer one is still refused.
#[test]
fn an_older_advert_is_not_replayed_after_the_newer_one_expired() {
    let mut book = Book::new(network());
    let long = verified(2, |advert| advert.expires_at = Timestamp(NOW.0 + 1_000));
    let withdrawal = verified(2, |advert| {
        advert.sequence = 8;
        advert.expires_at = Timestamp(NOW.0 + 1);
    });
    book.enter(NOW, long.clone()).unwrap();
    book.enter(NOW, withdrawal).unwrap();
    let later = Timestamp(NOW.0 + 500);
    book.forget_expired(later);
    assert_eq!(book.live(later).count(), 0);
    assert_eq!(book.enter(later, long), Err(NotEntered::OlderSequence { sequence: 7, newest: 8 }));
    book.forget_expired(Timestamp(NOW.0 + 1_000));
    assert!(book.is_empty());
}

/// Many keys: seeds of two bytes.
fn nth(i: usize, expires_at: Timestamp) -> Verified<Advert> {
    let mut seed = [77; 32];
    seed[..8].copy_from_slice(&(i as u64).to_le_bytes());
    let key = crate::signed::SecretKey::from_seed(seed);
    let advert = Advert { provider: key.public(), issued_at: NOW, expires_at, ..sample::advert() };
    key.sign(advert).verify().unwrap()
}

#[test]
fn a_flood_of_fresh_keys_pushes_out_nobody_alive() {
    let mut book = Book::new(network());
    let long = Timestamp(NOW.0 + ADVERT_TTL_MS_MAX);
    let honest = verified(2, |advert| advert.expires_at = Timestamp(NOW.0 + 1_000));
    book.enter(NOW, honest.clone()).unwrap();
    for i in 1..OFFERS_MAX {
        book.enter(NOW, nth(i, long)).unwrap();
    }
    assert_eq!(book.enter(NOW, nth(OFFERS_MAX, long)), Err(NotEntered::Full));
    assert_eq!(book.len(), OFFERS_MAX);
    assert_eq!(book.get(NOW, &honest.provider), Some(&honest));
    let renewed = verified(2, |advert| advert.sequence = 8);
    assert_eq!(book.enter(NOW, renewed), Ok(Entered::Replaced), "who is known may renew in a full book");
    let late = Timestamp(NOW.0 + ADVERT_TTL_MS_MAX - 1);
    assert_eq!(book.enter(late, nth(OFFERS_MAX, long)), Ok(Entered::New), "the expired made room");
}
