//! Receipts: what a provider answers for, about one job. At most [`RECEIPT_BYTES_MAX`] bytes, whatever the job's length.

use serde::{Deserialize, Serialize};

use crate::{
    id::{ModelId, OutputDigest, ReceiptId, RequestDigest, ScoreDigest, SessionId},
    layout::Layout,
    limits::RECEIPT_BYTES_MAX,
    market::advert::DeviceClass,
    session::terms::Terms,
    signed::{PublicKey, Signable, Signed},
    units::{GpuNs, Timestamp, Work},
    wire::Wire,
    work::billed,
};

pub mod conflict;

/// Why a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// All that was asked for, or a stop token.
    Delivered,
    /// The client left or stopped paying; what was released is delivered.
    ClientFault,
    /// The provider could not go on. Bills nothing.
    ProviderFault,
    /// The connection broke.
    Network,
    /// The provider took its device back before the end; what was sent is billed.
    Reclaimed,
}

impl Cause {
    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::ClientFault => "client-fault",
            Self::ProviderFault => "provider-fault",
            Self::Network => "network",
            Self::Reclaimed => "reclaimed",
        }
    }
}

/// What measured [`Receipt::measured`], the weaker first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ClockSource {
    /// The host's monotonic clock around the computation.
    HostClock,
    /// The computing device's own clock, at the begin and the end of each of its passes.
    DeviceTimestamps,
}

impl ClockSource {
    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HostClock => "host-clock",
            Self::DeviceTimestamps => "device-timestamps",
        }
    }
}

/// A time, and the clock that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeasuredTime {
    /// The time.
    pub time: GpuNs,
    /// The weakest clock that measured any part of it.
    pub clock: ClockSource,
}

impl MeasuredTime {
    /// Nothing, which takes no clock.
    pub const NONE: Self = Self { time: GpuNs(0), clock: ClockSource::HostClock };

    /// Both times together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let clock = match (self.time.0, other.time.0) {
            (0, _) => other.clock,
            (_, 0) => self.clock,
            _ => self.clock.min(other.clock),
        };
        Self { time: GpuNs(self.time.0.saturating_add(other.time.0)), clock }
    }

    /// The part of it that `rows` of `all` rows account for, rounded down.
    #[must_use]
    pub fn share(self, rows: u64, all: u64) -> Self {
        let part = u128::from(self.time.0) * u128::from(rows.min(all)) / u128::from(all.max(1));
        // No more than the whole, which fits.
        Self { time: GpuNs(u64::try_from(part).unwrap_or(u64::MAX)), ..self }
    }
}

/// A provider's statement about one job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Digest of the arithmetic's page.
    pub numerics: [u8; 32],
    /// The session.
    pub session: SessionId,
    /// Who answers for it.
    pub provider: PublicKey,
    /// Lane of the session.
    pub lane: u16,
    /// Number of the job in its lane, from 0.
    pub index: u32,
    /// The model.
    pub model: ModelId,
    /// What was asked.
    pub request: RequestDigest,
    /// What was answered.
    pub output: OutputDigest,
    /// How it was computed (docs/NUMERICS.md, section 7). The chain begins with the request and the tokens read.
    pub scores: ScoreDigest,
    /// Tokens read: the prompt, and what other providers had written.
    pub prompt_tokens: u32,
    /// Tokens written.
    pub output_tokens: u32,
    /// How many of those, the first, are billed as if they had been read ([`crate::work::billed`]).
    pub prepaid: u32,
    /// Work of reading.
    pub prefill_work: Work,
    /// Work of writing.
    pub decode_work: Work,
    /// Reference time of this job by the terms' rates: what is billed.
    pub reference: GpuNs,
    /// Time that the provider measured. Its word; recorded, not billed.
    pub measured: GpuNs,
    /// By which clock.
    pub measured_by: ClockSource,
    /// Start, by the provider's clock.
    pub started_at: Timestamp,
    /// End, by the provider's clock.
    pub ended_at: Timestamp,
    /// What it ran on.
    pub device: DeviceClass,
    /// Why it ended.
    pub cause: Cause,
    /// The lane's receipt before this one; zeros for the first.
    pub previous: ReceiptId,
}

impl Receipt {
    /// What is billed for a job that ended so, from this receipt's own counts. `None` on overflow.
    #[must_use]
    pub fn bill(&self, terms: &Terms) -> Option<Bill> {
        let (read, written) = billed(self.prompt_tokens, self.output_tokens, self.prepaid);
        let is_free = match self.cause {
            Cause::ProviderFault => true,
            // A prefill that led to nothing is the provider's loss, since it was the provider that left.
            Cause::Reclaimed => self.output_tokens == 0,
            Cause::Delivered | Cause::ClientFault | Cause::Network => false,
        };
        Some(Bill {
            prefill: terms.work.prefill(read)?,
            decode: terms.work.decode(read, written)?,
            reference: if is_free { GpuNs(0) } else { terms.job_time(read, written)? },
        })
    }

    /// Whether work and reference time are what [`Receipt::bill`] says.
    #[must_use]
    pub fn is_billed_right(&self, terms: &Terms) -> bool {
        let stated = Bill { prefill: self.prefill_work, decode: self.decode_work, reference: self.reference };
        self.bill(terms) == Some(stated)
    }
}

/// What a job is billed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bill {
    /// Work of reading.
    pub prefill: Work,
    /// Work of writing.
    pub decode: Work,
    /// The time for both by the terms' rates.
    pub reference: GpuNs,
}

impl Signed<Receipt> {
    /// The identity of this signed receipt.
    #[must_use]
    pub fn id(&self) -> ReceiptId {
        ReceiptId(self.digest())
    }
}

impl Signable for Receipt {
    fn layout(&self) -> Layout {
        let mut out = Layout::new("gridhour/receipt/v2");
        out.fixed(&self.numerics).fixed(&self.session.0).fixed(&self.provider.0);
        out.u16(self.lane).u32(self.index).fixed(&self.model.0);
        out.fixed(&self.request.0).fixed(&self.output.0).fixed(&self.scores.0);
        out.u32(self.prompt_tokens).u32(self.output_tokens).u32(self.prepaid);
        out.u64(self.prefill_work.0).u64(self.decode_work.0).u64(self.reference.0).u64(self.measured.0);
        out.u8(match self.measured_by {
            ClockSource::HostClock => 0,
            ClockSource::DeviceTimestamps => 1,
        });
        out.u64(self.started_at.0).u64(self.ended_at.0);
        out.u8(match self.device {
            DeviceClass::Cpu => 0,
            DeviceClass::Gpu => 1,
        });
        out.u8(match self.cause {
            Cause::Delivered => 0,
            Cause::ClientFault => 1,
            Cause::ProviderFault => 2,
            Cause::Network => 3,
            Cause::Reclaimed => 4,
        });
        out.fixed(&self.previous.0);
        out
    }

    fn signer(&self) -> PublicKey {
        self.provider
    }
}

impl Wire for Receipt {
    const BYTES_MAX: usize = RECEIPT_BYTES_MAX;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(time: u64, clock: ClockSource) -> MeasuredTime {
        MeasuredTime { time: GpuNs(time), clock }
    }

    #[test]
    fn times_of_two_clocks_are_named_by_the_weaker() {
        let (host, device) = (by(5, ClockSource::HostClock), by(7, ClockSource::DeviceTimestamps));
        assert_eq!(device.and(device), by(14, ClockSource::DeviceTimestamps));
        assert_eq!(device.and(host), by(12, ClockSource::HostClock));
        assert_eq!(host.and(device), by(12, ClockSource::HostClock));
        // What took no time has no say.
        assert_eq!(MeasuredTime::NONE.and(device), device);
        assert_eq!(device.and(MeasuredTime::NONE), device);
        assert_eq!(by(u64::MAX, ClockSource::HostClock).and(host).time, GpuNs(u64::MAX));
    }

    #[test]
    fn shares_by_rows_are_no_more_than_the_whole() {
        let whole = by(100, ClockSource::DeviceTimestamps);
        assert_eq!([0, 1, 2, 3].map(|rows| whole.share(rows, 3).time.0), [0, 33, 66, 100]);
        assert_eq!(whole.share(1, 0).time.0, 0);
        assert_eq!(by(u64::MAX, ClockSource::HostClock).share(u64::MAX, u64::MAX).time.0, u64::MAX);
        assert_eq!(whole.share(1, 3).clock, ClockSource::DeviceTimestamps);
    }

    #[test]
    fn the_clock_is_signed() {
        let mut receipt = crate::sample::receipt();
        let host = receipt.layout().hash();
        receipt.measured_by = ClockSource::DeviceTimestamps;
        assert_ne!(receipt.layout().hash(), host);
    }
}
