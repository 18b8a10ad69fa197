//! The advert of a node that computes nothing.

use gridhour_protocol::{
    exact::NUMERICS_VERSION,
    id::{ModelId, NetworkId},
    limits::{ADVERT_TTL_MS_MAX, PROTOCOL_VERSION},
    market::advert::{Advert, Device, DeviceClass, ModelOffer, RateSource},
    signed::{SecretKey, Signed},
    units::{Millis, PricePerHour, WorkRate},
    work::{Rates, WorkModel},
};

use crate::clock;

/// The network of all nodes of a measurement.
pub(super) const NETWORK: NetworkId = NetworkId([0x67; 32]);

/// An advert as others check it, of about the size of an ordinary one.
pub(super) fn advert(key: &SecretKey, sequence: u64) -> Signed<Advert> {
    let (now, rate) = (clock::now(), WorkRate(1_000_000_000));
    key.sign(Advert {
        version: PROTOCOL_VERSION,
        network: NETWORK,
        provider: key.public(),
        addresses: vec!["/ip4/192.0.2.7/tcp/4802".into()],
        sequence,
        issued_at: now,
        expires_at: now.after(Millis(ADVERT_TTL_MS_MAX)).unwrap_or(now),
        device: Device {
            class: DeviceClass::Cpu,
            name: "bench".into(),
            backend: "cpu/portable".into(),
            memory_bytes: 1 << 30,
            threads: 1,
            numerics: NUMERICS_VERSION,
            rates: Rates { prefill: rate, decode: rate },
            rate_source: RateSource::SelfMeasured,
        },
        models: vec![ModelOffer {
            model: ModelId([3; 32]),
            work: WorkModel { layers: 1000, head: 100, attention: 10 },
            context: 2048,
        }],
        ask: PricePerHour(2_000_000),
        spot: None,
        slots_free: 2,
        queued: 0,
        region: None,
        coordinate: None,
        quote: None,
        jurisdiction: None,
    })
}
