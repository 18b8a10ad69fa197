//! Asking providers what they would reserve, and at what price.

use gridhour_protocol::{
    id::{ModelId, NetworkId},
    market::{
        advert::Advert,
        reservation::{ReservationOffer, ReservationWish},
    },
    signed::{PublicKey, Signed, Verified},
    units::Timestamp,
    work::WorkModel,
};
use tokio::task::JoinSet;

use super::{Client, FetchError, assets::ask};
use crate::{
    clock,
    rpc::{ProviderAnswer, ProviderRequest},
};

/// Providers that are asked at most.
pub const ASKED_MAX: usize = 8;

/// What a provider said to a wish.
#[derive(Clone, Debug)]
pub struct ReservationAnswer {
    /// Who.
    pub provider: PublicKey,
    /// Its offer, checked; or why there is none, in a sentence.
    pub said: Result<Verified<ReservationOffer>, String>,
}

/// What an offer has to be.
struct Wanted {
    client: PublicKey,
    network: NetworkId,
    wish: ReservationWish,
    work: Option<WorkModel>,
}

impl Client {
    /// Asks those of `adverts` that serve the model what they would reserve: the cheapest [`ASKED_MAX`]. Offers come first,
    /// the cheapest of them at the beginning; each is firm until it says.
    ///
    /// # Errors
    /// If nobody hands out the model's manifest, which says what its work is.
    pub async fn ask_to_reserve(
        &self,
        wish: &ReservationWish,
        adverts: &[Verified<Advert>],
    ) -> Result<Vec<ReservationAnswer>, FetchError> {
        let work = self.assets(wish.model, adverts).await?.work();
        let wanted = Wanted { client: self.key.public(), network: self.network, wish: *wish, work };
        let mut tasks = JoinSet::new();
        for provider in cheapest(adverts, &wish.model) {
            let (net, asked) = (self.net.clone(), ProviderRequest::Reserve(*wish));
            tasks.spawn(async move { (provider, ask(&net, provider, asked).await) });
        }
        let mut answers: Vec<ReservationAnswer> = tasks
            .join_all()
            .await
            .into_iter()
            .map(|(provider, said)| ReservationAnswer { provider, said: wanted.check(provider, said) })
            .collect();
        answers.sort_by_key(|answer| (price_of(answer), answer.provider));
        Ok(answers)
    }
}

/// Who is asked.
fn cheapest(adverts: &[Verified<Advert>], model: &ModelId) -> Vec<PublicKey> {
    let mut serving: Vec<_> = adverts.iter().filter(|advert| advert.offer_of(model).is_some()).collect();
    serving.sort_by_key(|advert| (advert.ask, advert.provider));
    serving.iter().map(|advert| advert.provider).take(ASKED_MAX).collect()
}

/// For order: what has no price comes last.
fn price_of(answer: &ReservationAnswer) -> u64 {
    answer.said.as_ref().map_or(u64::MAX, |offer| offer.price_of(offer.slots).0)
}

impl Wanted {
    fn check(
        &self,
        provider: PublicKey,
        said: Result<ProviderAnswer, String>,
    ) -> Result<Verified<ReservationOffer>, String> {
        match said? {
            ProviderAnswer::Offered(offer) => self.check_offer(provider, *offer, clock::now()),
            ProviderAnswer::Refused(why) => Err(why),
            _ => Err("the answer is to another question".into()),
        }
    }

    /// The offer, if it is this provider's, for this client, and of what was wished for.
    fn check_offer(
        &self,
        provider: PublicKey,
        offer: Signed<ReservationOffer>,
        now: Timestamp,
    ) -> Result<Verified<ReservationOffer>, String> {
        let offer = offer.verify().map_err(|error| error.to_string())?;
        if (offer.provider, offer.client, offer.network) != (provider, self.client, self.network) {
            return Err("it offers in another's name, to somebody else, or elsewhere".into());
        }
        if !offer.is_for(&self.wish) {
            return Err("it offers something else than was asked for".into());
        }
        if Some(offer.work) != self.work {
            return Err("it misstates the model's work, which is what is billed".into());
        }
        match now <= offer.accept_until {
            true => Ok(offer),
            false => Err("its offer is over already: is one of the clocks wrong?".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use gridhour_contracts_sim::harness::{Chain, Deal, key};
    use gridhour_protocol::{id::ReservationId, units::Millis};

    use super::*;

    fn wanted(offer: &ReservationOffer) -> Wanted {
        let ReservationOffer { model, starts_at, slot, slots, capacity, .. } = *offer;
        Wanted {
            client: offer.client,
            network: offer.network,
            wish: ReservationWish { model, starts_at, slot, slots, capacity },
            work: Some(offer.work),
        }
    }

    #[test]
    fn an_offer_of_anything_else_is_refused() {
        let offer = Deal::new(&Chain::new(), &key(1), &key(2)).reservation();
        let (wanted, now) = (wanted(&offer), offer.accept_until);
        let check = |offer: ReservationOffer, signer: u8, now| {
            wanted.check_offer(key(2).public(), key(signer).sign(offer), now).map(|offer| offer.id())
        };
        assert_eq!(check(offer.clone(), 2, now), Ok(offer.id()));
        assert!(check(offer.clone(), 3, now).is_err(), "signed by another");
        assert!(check(offer.clone(), 2, now.after(Millis(1)).unwrap()).is_err(), "over");
        let faults: [fn(&mut ReservationOffer); 8] = [
            |offer| offer.client = key(5).public(),
            |offer| offer.network.0[0] ^= 1,
            |offer| offer.model.0[0] ^= 1,
            |offer| offer.starts_at.0 += 1,
            |offer| offer.slot.0 += 1,
            |offer| offer.slots -= 1,
            |offer| offer.capacity.0 -= 1,
            |offer| offer.work.layers += 1,
        ];
        for (number, fault) in faults.iter().enumerate() {
            let mut other = offer.clone();
            fault(&mut other);
            assert_ne!(other.id(), ReservationId([0; 32]));
            assert!(check(other, 2, now).is_err(), "fault {number}");
        }
    }
}
