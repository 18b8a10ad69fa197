//! A look round before a match: what is known of those who offer, and what pings find. The match itself is made
//! afterwards, of what is offered then.

use std::collections::BTreeMap;

use gridhour_contracts_sim::state::{StateKey, StateValue};
use gridhour_protocol::{
    calibration::receipt::DeviceName,
    exact::NUMERICS_VERSION,
    market::{
        advert::Advert,
        estimate::Measured,
        matching::{MatchRecord, Matcher, Offer},
        order::Order,
        shortlist::{Knowledge, Search},
    },
    signed::{PublicKey, Verified},
    units::{Credits, Millis, Timestamp},
};

use super::{Client, run::RunSpec};
use crate::{clock, drivers::ledger_client::LedgerError};

/// What a look round found.
pub(super) struct Found {
    /// What was known before, and what is at stake.
    measured: BTreeMap<PublicKey, Measured>,
    search: Search,
}

impl Client {
    /// Looks at who offers: what is known of each, and how soon those answer that look best.
    ///
    /// # Errors
    /// If the order wants a stake, and the ledger does not say what is at stake.
    pub(super) async fn look_round(
        &self,
        order: &Verified<Order>,
        adverts: &[Verified<Advert>],
        spec: &RunSpec,
    ) -> Result<Found, LedgerError> {
        let mut measured = self.known(spec, order, adverts.iter().map(|advert| advert.provider));
        if order.stake_min != Credits::ZERO {
            for advert in adverts.iter().filter(|advert| advert.offer_of(&order.model).is_some()) {
                let stake = self.stake_behind(advert, spec.use_for).await?;
                measured.entry(advert.provider).or_default().stake = Some(stake);
            }
        }
        let matcher = Matcher { order, numerics: NUMERICS_VERSION, now: clock::now(), costs: &spec.costs };
        let search = self.search(&matcher, adverts, &measured).await;
        Ok(Found { measured, search })
    }

    /// Matches an order against these offers of those who were looked at.
    pub(super) fn record(
        &self,
        found: &Found,
        order: &Verified<Order>,
        adverts: &[Verified<Advert>],
        spec: &RunSpec,
    ) -> MatchRecord {
        let known = Knowledge { here: self.whereabouts(), measured: &found.measured };
        let offer = |advert| Offer { advert, measured: found.search.measured(&known, advert) };
        let offers: Vec<Offer<'_>> = adverts.iter().map(offer).collect();
        let matcher = Matcher { order, numerics: NUMERICS_VERSION, now: clock::now(), costs: &spec.costs };
        matcher.record(&offers)
    }

    /// What is bonded for the advert's device for at least `use_for` more. The ledger decides when a session opens, so the
    /// node's word will do.
    async fn stake_behind(&self, advert: &Advert, use_for: Millis) -> Result<Credits, LedgerError> {
        let device = DeviceName::of(&advert.device).id_of(&advert.provider);
        let end = clock::now().after(use_for).unwrap_or(Timestamp(u64::MAX));
        Ok(match self.ledger.record(StateKey::Stake(device)).await? {
            Some(StateValue::Stake(stake)) if stake.until >= end => stake.bonded,
            _ => Credits::ZERO,
        })
    }
}
