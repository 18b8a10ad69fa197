//! The one door through which a prompt leaves this machine.
//!
//! A job's stream is opened for an [`Outgoing`] request alone, and there is one only where the masks that guard an
//! order's data let its prompt go to that provider: asked anew here, of the very advert that the session accepts,
//! whoever matched, hedged, went on behind another or took a kept session before. Pings, orders and questions to the
//! ledger carry no prompt.

use std::collections::BTreeSet;

use gridhour_protocol::{
    job::request::Request,
    market::{advert::Advert, mask, order::Order},
    session::terms::Terms,
    signed::PublicKey,
};

use super::RunError;

/// A request that may go to one provider, and to nobody else.
pub(super) struct Outgoing {
    provider: PublicKey,
    request: Request,
}

impl Outgoing {
    /// Lets a request go to the provider of `advert`, under these terms, if the order's data may. `own` are the accounts
    /// of the client's own machines.
    ///
    /// # Errors
    /// [`RunError::MayNotLeave`], and then nothing was sent.
    pub(super) fn to(
        order: &Order,
        own: &BTreeSet<PublicKey>,
        (advert, terms): (&Advert, &Terms),
        request: Request,
    ) -> Result<Self, RunError> {
        let provider = terms.provider;
        let may_not = |why: String| RunError::MayNotLeave { provider, why };
        if advert.provider != provider {
            return Err(may_not("the session is another provider's than the advert".into()));
        }
        mask::check_data(order, advert, own.contains(&provider))
            .map_err(|failure| may_not(failure.to_string()))?;
        Ok(Self { provider, request })
    }

    /// Whom it goes to, and what is sent.
    pub(super) fn open(self) -> (PublicKey, Request) {
        (self.provider, self.request)
    }
}

#[cfg(test)]
mod tests {
    use gridhour_contracts_sim::harness::{Chain, Deal, key};
    use gridhour_protocol::{id::SessionId, job::sampling::Sampling, market::data_class::DataClass};

    use super::*;

    fn request() -> Request {
        Request {
            session: SessionId([0; 32]),
            lane: 0,
            index: 0,
            prompt: vec![1, 2, 3],
            written: Vec::new(),
            prepaid: 0,
            sampling: Sampling::GREEDY,
            max_tokens: 1,
            stop: Vec::new(),
            stop_texts: Vec::new(),
            logprobs: 0,
            salt: [0; 32],
        }
    }

    /// Whether the prompt of a deal's order may go to its provider, or why not.
    fn goes(change: impl FnOnce(&mut Deal), own: &[PublicKey]) -> Result<PublicKey, String> {
        let mut deal = Deal::new(&Chain::new(), &key(1), &key(2));
        change(&mut deal);
        let own = own.iter().copied().collect();
        match Outgoing::to(&deal.order, &own, (&deal.advert, &deal.terms), request()) {
            Ok(outgoing) => Ok(outgoing.open().0),
            Err(RunError::MayNotLeave { why, .. }) => Err(why),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_prompt_that_is_local_goes_to_own_machines_alone() {
        let local = |deal: &mut Deal| deal.order.data = DataClass::LocalOnly;
        let (own, other) = (key(2).public(), key(3).public());
        assert_eq!(goes(|_| (), &[]), Ok(own), "others may go anywhere");
        assert_eq!(goes(local, &[own, other]), Ok(own));
        for list in [&[][..], &[other]] {
            let why = goes(local, list).expect_err("it is somebody else's");
            assert!(why.contains("may not leave your own machines"), "{why}");
        }
    }

    #[test]
    fn a_prompt_goes_to_no_place_that_the_order_does_not_name_and_to_no_other_session() {
        let resident = |region: &'static str| {
            move |deal: &mut Deal| {
                (deal.order.data, deal.order.regions) = (DataClass::Resident, vec!["eu-de".into()]);
                deal.advert.region = Some(region.into());
            }
        };
        assert_eq!(goes(resident("eu-de"), &[]), Ok(key(2).public()));
        let elsewhere = goes(resident("us-tx"), &[key(2).public()]).expect_err("not even an own machine");
        assert!(elsewhere.contains("us-tx"), "{elsewhere}");
        let nowhere = goes(
            |deal| {
                resident("eu-de")(deal);
                deal.advert.region = None
            },
            &[],
        );
        assert!(nowhere.is_err_and(|why| why.contains("states no region")));
        assert!(
            goes(|deal| deal.terms.provider = key(3).public(), &[]).is_err_and(|why| why.contains("another"))
        );
    }
}
