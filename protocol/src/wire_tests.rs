//! Every wire type: decode undoes encode, and no other bytes mean the same value.

use proptest::prelude::*;

use crate::{
    arbitrary,
    calibration::{self, message::ChallengerMessage},
    id::{PostingId, to_hex},
    job::message::{ClientMessage, ProviderMessage},
    limits::{RECEIPT_BYTES_MAX, VOUCHER_BYTES_MAX},
    receipt::Receipt,
    sample,
    session::{lane::LaneLedger, voucher::Voucher},
    signed::{Signable, Signed},
    wire::{Wire, decode, encode},
};

fn round_trips<T: Wire + PartialEq + std::fmt::Debug>(value: &T) -> Result<Vec<u8>, TestCaseError> {
    let bytes = encode(value);
    prop_assert!(bytes.len() <= T::BYTES_MAX, "{} bytes", bytes.len());
    let back = decode::<T>(&bytes);
    prop_assert_eq!(back.as_ref(), Ok(value));
    Ok(bytes)
}

/// A changed byte is refused, or means another value with exactly these bytes.
fn one_byte_one_meaning<T: Wire + PartialEq + std::fmt::Debug>(
    value: &T,
    at: prop::sample::Index,
    mask: u8,
) -> Result<(), TestCaseError> {
    let mut bytes = round_trips(value)?;
    let at = at.index(bytes.len());
    bytes[at] ^= mask;
    if let Ok(other) = decode::<T>(&bytes) {
        prop_assert_ne!(&other, value);
        prop_assert_eq!(encode(&other), bytes);
    }
    Ok(())
}

macro_rules! wire_type {
    ($name:ident, $strategy:expr) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(96))]
            #[test]
            fn $name(value in $strategy, at: prop::sample::Index, mask in 1..=255u8) {
                one_byte_one_meaning(&value, at, mask)?;
            }
        }
    };
}

wire_type!(adverts, arbitrary::signed(arbitrary::adverts));
wire_type!(quotes, arbitrary::signed(arbitrary::quotes));
wire_type!(postings, arbitrary::signed(arbitrary::postings));
wire_type!(orders, arbitrary::signed(arbitrary::orders));
wire_type!(terms, arbitrary::terms());
wire_type!(reservation_offers, arbitrary::signed(arbitrary::reservation_offers));
wire_type!(vouchers, arbitrary::signed(arbitrary::vouchers));
wire_type!(receipts, arbitrary::signed(arbitrary::receipts));
wire_type!(calibrations, arbitrary::signed(arbitrary::calibrations));
wire_type!(challenger_messages, arbitrary::challenger_messages());
wire_type!(calibration_answers, arbitrary::calibration_answers());
wire_type!(requests, arbitrary::requests());
wire_type!(client_messages, arbitrary::client_messages());
wire_type!(provider_messages, arbitrary::provider_messages());
wire_type!(lane_ledgers, arbitrary::lane_ledgers());
wire_type!(coordinates, arbitrary::coordinates());
wire_type!(histories, arbitrary::histories());

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn signatures_hold_after_the_wire_and_sizes_stay_small(
        receipt in arbitrary::signed(arbitrary::receipts),
        voucher in arbitrary::signed(arbitrary::vouchers),
    ) {
        prop_assert!(receipt.signed_len() <= RECEIPT_BYTES_MAX, "{}", receipt.signed_len());
        prop_assert!(voucher.signed_len() <= VOUCHER_BYTES_MAX, "{}", voucher.signed_len());
        prop_assert!(decode::<Signed<Receipt>>(&encode(&receipt)).unwrap().verify().is_ok());
        prop_assert!(decode::<Signed<Voucher>>(&encode(&voucher)).unwrap().verify().is_ok());
    }

    /// A byte changed anywhere in a signed object is refused, at the latest by its signature.
    #[test]
    fn a_changed_byte_never_verifies(
        receipt in arbitrary::signed(arbitrary::receipts), at: prop::sample::Index, mask in 1..=255u8,
    ) {
        let mut bytes = encode(&receipt);
        let at = at.index(bytes.len());
        bytes[at] ^= mask;
        let passes = decode::<Signed<Receipt>>(&bytes).is_ok_and(|other| other.verify().is_ok());
        prop_assert!(!passes);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = decode::<ClientMessage>(&bytes);
        let _ = decode::<ProviderMessage>(&bytes);
        let _ = decode::<LaneLedger>(&bytes);
        let _ = decode::<ChallengerMessage>(&bytes);
        let _ = decode::<calibration::message::ProviderMessage>(&bytes);
    }
}

/// Hashes of the signed bytes of one sample of each kind. A change here is a change of the format: every signature and
/// id made before it is void, so it needs a new version in the object's domain string.
#[test]
fn signed_bytes_are_frozen() {
    let found = [
        ("advert", sample::advert().layout()),
        ("calibrated", sample::calibrated_advert().layout()),
        ("calibration", sample::calibration().layout()),
        ("quote", sample::quote(PostingId([5; 32])).layout()),
        ("order", sample::order().layout()),
        ("reservation", sample::reservation_offer().layout()),
        ("voucher", sample::voucher().layout()),
        ("receipt", sample::receipt().layout()),
    ]
    .map(|(kind, layout)| (kind, layout.as_bytes().len(), to_hex(&layout.hash())));
    let terms = to_hex(&sample::terms().id().0);
    let request = to_hex(&sample::request().digest().0);
    let continued = to_hex(&sample::request().rest(&[7, 8], 4).unwrap().digest().0);
    let expected = [
        ("advert", 334, "401dc255137d672fd0696bbb56163dd8185d93be79c435c451c0c1341afe6195"),
        ("calibrated", 366, "3a7144bea7bea620c35a9a4f493ba083c59729553d69d9e3f2335332f252bf55"),
        ("calibration", 386, "3cd302c4f8eb3069ed0714c676c685043f46fc6e0d1fdfbd0a17e8438892e35e"),
        ("quote", 398, "a56c8034b0f4281aa011edb07bf96e205c3b6954f7a8890abcb86c6ff231b962"),
        ("order", 263, "eb88831b987cd9f2584143688c5f8dd63e6de32ad5031382d459383770b6747a"),
        ("reservation", 302, "152a4f6c38bf0f9bc16ba617a4abc4a120bce3dd8e5d7096eab77ccca5865232"),
        ("voucher", 134, "5984d928fdd0f9e3593263b7644f589b3d5be7cae10738329392015ec13dba92"),
        ("receipt", 345, "ad3be504bca7546b449280947e3a054d5d76803ef9509e8e6f2188acf103cea1"),
    ]
    .map(|(kind, len, hash)| (kind, len, hash.to_owned()));
    assert_eq!(found, expected);
    assert_eq!(terms, "f904014c591b1a4965ff88780f89d28b36f0686e760d00ada5794d815e2229c0");
    assert_eq!(request, "511aca37f7f1ed0301b200f928e3129e9aec0ddfdfdfeeabe0d0d116eb691bf1");
    assert_eq!(continued, "b9ecf4c1d574275537ac462608f0312e1ea907f5b69a01c68a74d7e22dacb3a0");
}
