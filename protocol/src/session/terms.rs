//! The terms of a session. Their hash is the session's id, so whoever signs anything in a session signs all its terms.

use serde::{Deserialize, Serialize};

use crate::{
    id::{AdvertId, ModelId, NetworkId, OrderId, SessionId},
    layout::Layout,
    limits::{CHUNK_TOKENS_MAX, GRACE_MS_MAX, GRACE_MS_MIN, PRICE_MAX},
    market::tier::{Tier, check_notice},
    signed::PublicKey,
    units::{Credits, GpuNs, Millis, PricePerHour, Timestamp},
    wire::Wire,
    work::{Rates, WorkModel},
};

/// Everything that client, provider and ledger agree on before the first prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The network.
    pub network: NetworkId,
    /// Who pays.
    pub client: PublicKey,
    /// Who is paid.
    pub provider: PublicKey,
    /// The order that allows this session.
    pub order: OrderId,
    /// The advert that it accepts.
    pub advert: AdvertId,
    /// The model.
    pub model: ModelId,
    /// Its work formula.
    pub work: WorkModel,
    /// The rates at which work becomes reference time.
    pub rates: Rates,
    /// Version of the arithmetic.
    pub numerics: u16,
    /// Price of a reference GPU-hour.
    pub price: PricePerHour,
    /// How firmly its jobs are served: the order's tier.
    pub tier: Tier,
    /// How long a job goes on, at least, once its slot is wanted back: nothing but in [`Tier::Spot`].
    pub notice: Millis,
    /// Tokens that one voucher releases.
    pub chunk_tokens: u16,
    /// Vouchers for work after this are void.
    pub use_until: Timestamp,
    /// The provider may collect until then; afterwards anyone may release the hold.
    pub collect_until: Timestamp,
    /// Makes two sessions under one order different.
    pub nonce: u64,
}

impl Terms {
    /// The session's id: the hash of all its terms.
    #[must_use]
    pub fn id(&self) -> SessionId {
        let mut out = Layout::new("gridhour/terms/v2");
        out.fixed(&self.network.0).fixed(&self.client.0).fixed(&self.provider.0);
        out.fixed(&self.order.0).fixed(&self.advert.0).fixed(&self.model.0);
        self.work.lay_out(&mut out);
        self.rates.lay_out(&mut out);
        out.u16(self.numerics).u64(self.price.0).u8(self.tier.code()).u64(self.notice.0);
        out.u16(self.chunk_tokens);
        out.u64(self.use_until.0).u64(self.collect_until.0).u64(self.nonce);
        SessionId(out.hash())
    }

    /// Reference time of one job of this session. `None` on overflow.
    #[must_use]
    pub fn job_time(&self, prompt: u32, output: u32) -> Option<GpuNs> {
        self.rates.time(&self.work, prompt, output)
    }

    /// Price of cumulative reference time. `None` on overflow.
    #[must_use]
    pub fn amount(&self, time: GpuNs) -> Option<Credits> {
        self.price.amount(time)
    }

    /// What one job alone costs. `None` on overflow.
    #[must_use]
    pub fn job_amount(&self, prompt: u32, output: u32) -> Option<Credits> {
        self.amount(self.job_time(prompt, output)?)
    }
}

impl Wire for Terms {
    const BYTES_MAX: usize = 1024;

    fn check_bounds(&self) -> Result<(), String> {
        let chunk = usize::from(self.chunk_tokens);
        if chunk == 0 || chunk > CHUNK_TOKENS_MAX {
            return Err(format!("chunks of {chunk} tokens are not between 1 and {CHUNK_TOKENS_MAX}"));
        }
        let grace = self.collect_until.since(self.use_until).0;
        if !(GRACE_MS_MIN..=GRACE_MS_MAX).contains(&grace) {
            return Err(format!("a grace of {grace} ms is not between {GRACE_MS_MIN} and {GRACE_MS_MAX}"));
        }
        if self.price.0 > PRICE_MAX || !self.work.is_sane() {
            return Err("price or work per token is absurd".into());
        }
        if self.rates.prefill.0 == 0 || self.rates.decode.0 == 0 {
            return Err("a rate is zero".into());
        }
        match self.tier {
            Tier::Spot => check_notice(self.notice),
            Tier::OnDemand | Tier::Reserved if self.notice == Millis(0) => Ok(()),
            tier => Err(format!("a notice of {} ms is not for {tier}", self.notice.0)),
        }
    }
}
