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
wire_type!(reservation_wishes, arbitrary::reservation_wishes());
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
        ("advert", 335, "c1326804afb2f2025786f13f7387dd705b3ac414c02141470fb6ffd07fb91d2c"),
        ("calibrated", 367, "2cc1ae22df80a7563aedca4e09024756fa55ec945eb6841506335066c0136767"),
        ("calibration", 386, "3cd302c4f8eb3069ed0714c676c685043f46fc6e0d1fdfbd0a17e8438892e35e"),
        ("quote", 399, "2449d5561b1ec58611035d601df1d43f0679cdaca5fb28d1b8d886ffa9f87596"),
        ("order", 264, "563be48a5d91be1cdfb9a876e8f4d52df57b0ae9dc57ff19de3926fb69fb83a7"),
        ("reservation", 302, "152a4f6c38bf0f9bc16ba617a4abc4a120bce3dd8e5d7096eab77ccca5865232"),
        ("voucher", 134, "c4f21090418730c76976caa0edc1e49e455aa5641e0b7fb249398b423874dae6"),
        ("receipt", 345, "55baae52e6b22db2b7d986ad1d2bb88dcb31149abef2180d12f2d4b2f090a027"),
    ]
    .map(|(kind, len, hash)| (kind, len, hash.to_owned()));
    assert_eq!(found, expected);
    assert_eq!(terms, "ad089bcbbec1e103284c520cb06efcdfe6485faffde892ce2e440bcd68b65162");
    assert_eq!(request, "ef5719f5a37e167dbae794ca339666c755426da3abb6660b82cf0e7aeac3ce59");
    assert_eq!(continued, "d4b93d7b968a9e06911ebd5f14d612b5915dc496204b7020e2ac3bf933a1e4b3");
}
