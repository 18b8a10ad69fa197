//! What peers send: frames, gossiped adverts, pushes, addresses, and offers that are matched.

use futures::{executor::block_on, io::Cursor};
use gridhour_node::net::{Address, FrameError, FrameReader, gossip, unpack_push};
use gridhour_protocol::{
    arbitrary,
    calibration::{job::Challenge, receipt::DeviceName},
    exact::numerics_digest,
    limits::CLOCK_SKEW_MS_MAX,
    market::{
        advert::{Advert, RateSource},
        costs::BuyerCosts,
        estimate::{Latency, Measured, Pace, TtftHistory},
        exploration::Tries,
        matching::{Matcher, Offer},
        order::Order,
    },
    signed::{Signed, Verified},
    units::{Credits, Timestamp},
    wire::{decode, encode},
};
use testkit::fuzz::Target;

use crate::{
    run,
    samples::{packed, samples, unpacked},
};

const FRAME_MAX: usize = 600;
/// In nanoseconds.
const A_SECOND_NS: u64 = 1_000_000_000;

/// Frames are what their lengths say, none is over the limit, and nothing between them is lost.
#[test]
fn frames() {
    let corpus = packed([vec![], vec![1; 30], vec![2; FRAME_MAX], vec![3; 8]]);
    run(&Target::new("frames", vec![corpus]), |bytes| {
        let mut reader = FrameReader::new(Cursor::new(bytes), FRAME_MAX);
        let mut read = Vec::new();
        let end = loop {
            match block_on(reader.next()) {
                Ok(Some(frame)) => read.push(frame),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        assert!(read.iter().all(|frame| frame.len() <= FRAME_MAX));
        let again = packed(read);
        assert!(bytes.starts_with(&again));
        match end {
            Ok(()) => assert_eq!(again, bytes),
            Err(FrameError::Oversized { len, max }) => assert!(len > max && max == FRAME_MAX),
            Err(_) => {}
        }
        end.map_err(|error| error.to_string())
    });
}

#[test]
fn pushes() {
    let corpus = packed([vec![], vec![1; 30], vec![2; 400]]);
    run(&Target::new("push", vec![corpus]), |bytes| {
        let messages = unpack_push(bytes).map_err(|error| error.to_string())?;
        assert_eq!(packed(messages.into_iter().map(<[u8]>::to_vec)), bytes);
        Ok(())
    });
}

/// `advert`, signed by a key that is known here.
fn owned<T>(mut signed: Signed<Advert>, then: impl FnOnce(Signed<Advert>) -> T) -> T {
    let key = arbitrary::key(1);
    signed.body.provider = key.public();
    then(key.sign(signed.body))
}

/// `advert` by the same key, with a calibration by another key that is true of it.
fn calibrated(advert: Signed<Advert>) -> Signed<Advert> {
    let challenger = arbitrary::key(2);
    owned(advert, |advert| {
        let Advert { network, provider, mut device, .. } = advert.body.clone();
        device.memory_bytes = 8 << 20;
        let mut receipt = samples(arbitrary::calibrations(challenger.public()), 1).remove(0);
        let challenge = Challenge { provider, network, numerics: numerics_digest(), ..receipt.challenge };
        receipt.challenge = Challenge { memory_bytes: device.memory_bytes, ..challenge };
        receipt.device = DeviceName::of(&device);
        (receipt.prefill_ns, receipt.decode_ns) = (A_SECOND_NS, A_SECOND_NS);
        let device = device.calibrated(&challenger.sign(receipt)).expect("a second is time enough");
        arbitrary::key(1).sign(Advert { device, ..advert.body })
    })
}

/// An advert passes only with its own signature, for this network, and alive.
#[test]
fn gossip_as_it_comes() {
    let adverts = samples(arbitrary::signed(arbitrary::adverts), 1).into_iter().map(calibrated);
    let adverts: Vec<_> = adverts.collect();
    let (network, now) = (adverts[0].body.network, adverts[0].body.issued_at);
    run(&Target::new("gossip", vec![encode(&adverts[0])]), |bytes| {
        let advert =
            gossip::validate(bytes, &network, now, |_| None).map_err(|refusal| refusal.to_string())?;
        assert_eq!(encode(advert.signed()), bytes);
        assert_eq!(advert.signed(), &adverts[0], "no damaged advert has a good signature");
        Ok(())
    });
}

#[test]
fn gossip_signed_by_its_sender() {
    let adverts = samples(arbitrary::signed(arbitrary::adverts), 4);
    let (network, now) = (adverts[0].body.network, Timestamp(1 << 49));
    let corpus: Vec<Vec<u8>> = adverts
        .into_iter()
        .enumerate()
        .map(|(place, mut advert)| {
            (advert.body.network, advert.body.issued_at) = (network, now);
            advert.body.expires_at = Timestamp(now.0 + 60_000);
            advert.body.device.rate_source = RateSource::SelfMeasured;
            encode(&if place % 2 == 0 { advert } else { calibrated(advert) })
        })
        .collect();
    run(&Target::new("gossip-signed", corpus), |bytes| {
        let advert: Signed<Advert> = decode(bytes).map_err(|error| error.to_string())?;
        let bytes = owned(advert, |advert| encode(&advert));
        let known = |_: &_| Some(0);
        let advert = gossip::validate(&bytes, &network, now, known).map_err(|refusal| refusal.to_string())?;
        assert!(advert.is_live(now) && advert.issued_at.0 <= now.0 + CLOCK_SKEW_MS_MAX);
        assert!(advert.network == network && advert.sequence > 0);
        Ok(())
    });
}

/// Any signed offer against any signed order has a score or a reason, whatever the numbers in them.
#[test]
fn matches() {
    let pairs = samples((arbitrary::signed(arbitrary::orders), arbitrary::signed(arbitrary::adverts)), 8);
    let mut corpus: Vec<Vec<u8>> =
        pairs.into_iter().map(|(order, advert)| packed([encode(&order), encode(&advert)])).collect();
    corpus.push(fitting_pair());
    run(&Target::new("match", corpus), |bytes| {
        let messages = unpacked(bytes);
        let [order, advert] = messages.as_slice() else { return Err("no pair".into()) };
        let order: Signed<Order> = decode(order).map_err(|error| error.to_string())?;
        let advert: Signed<Advert> = decode(advert).map_err(|error| error.to_string())?;
        judge(order, advert)
    });
}

fn judge(mut order: Signed<Order>, advert: Signed<Advert>) -> Result<(), String> {
    let client = arbitrary::key(2);
    order.body.client = client.public();
    let order = client.sign(order.body).verify().expect("it was just signed");
    let advert: Verified<Advert> = owned(advert, Signed::verify).expect("it was just signed");
    let latency = Latency { ewma_us: u64::MAX, p95_us: 5, samples: 9 };
    let history = TtftHistory { ewma_us: u64::MAX, p95_us: 1, samples: 9 };
    let measured = [
        Measured::default(),
        Measured { latency: Some(latency), stake: Some(Credits(7)), ..Measured::default() },
        Measured {
            latency: Some(latency),
            history: Some(history),
            pace: Some(Pace { ewma_ns: u64::MAX, p95_ns: 1, samples: 9 }),
            availability_ppm: Some(u32::MAX),
            tries: Some(Tries { here: 0, all: u32::MAX }),
            ..Measured::default()
        },
    ];
    let offers = measured.map(|measured| Offer { advert: &advert, measured });
    let matcher = Matcher {
        order: &order,
        numerics: advert.device.numerics,
        now: order.issued_at,
        costs: &BuyerCosts::NONE,
    };
    let record = matcher.record(&offers);
    assert_eq!(record.candidates.len() + record.refused.len(), offers.len(), "each offer has its answer");
    let best = matcher.best(offers).map(|(offer, _)| offer.advert.provider);
    assert_eq!(best, record.chosen);
    record.refused.iter().for_each(|refusal| assert!(!refusal.detail.is_empty()));
    Ok(())
}

/// An order and an offer that meets it.
fn fitting_pair() -> Vec<u8> {
    let chain = gridhour_contracts_sim::harness::Chain::new();
    let deal = gridhour_contracts_sim::harness::Deal::new(&chain, &arbitrary::key(2), &arbitrary::key(1));
    let open = deal.sign();
    packed([encode(&open.order), encode(&open.advert)])
}

/// An address reads as it is written.
#[test]
fn addresses() {
    let peer = gridhour_node::net::peer_id_of(&arbitrary::key(1).public()).expect("the key is a point");
    let texts = [
        "/ip4/127.0.0.1/tcp/4001".to_owned(),
        format!("/ip6/::1/udp/9000/quic-v1/p2p/{peer}"),
        format!("/dns4/node.example/tcp/1/p2p/{peer}"),
    ];
    let corpus = texts.map(String::into_bytes).to_vec();
    let target =
        Target::new("address", corpus).with_words(&["/ip4/", "/tcp/", "/p2p/", "/dns/", "/", "65536"]);
    run(&target, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let address: Address =
            text.parse().map_err(|error: gridhour_node::net::BadAddress| error.to_string())?;
        let _ = address.peer();
        let again: Address = address.to_string().parse().expect("what is written can be read");
        assert_eq!(again.to_string(), address.to_string());
        Ok(())
    });
}
