//! A short ledger on which every kind of call stands, for tests of whatever reads ledgers.

use gridhour_protocol::{
    market::{reservation::ReservationOffer, tier::Tier},
    units::{Credits, Millis},
};

use super::{Chain, Deal, cap, key};
use crate::{
    limits::{BOND_MS_MAX, UNBOND_DELAY},
    tx::Call,
};

impl Chain {
    /// A ledger with at least one call of every kind, alone in its block.
    ///
    /// # Panics
    /// Never: the story is within the rules.
    #[must_use]
    pub fn of_every_call() -> Self {
        let mut chain = Self::new();
        let (client, provider) = (key(1), key(2));
        chain.fund(&client.public(), Credits(5_000));
        chain.fund(&provider.public(), Credits(9_000_000));
        let issuer = chain.issuer().clone();
        chain.fund(&issuer.public(), Credits(50));
        chain.acting(&issuer).ok(Call::Burn { amount: Credits(20) });
        chain.acting(&client).ok(Call::Transfer { to: key(3).public(), amount: Credits(7) });
        chain.tell_of_sessions(&Deal::new(&chain, &client, &provider));
        chain.tell_of_a_budget(&Deal::new(&chain, &client, &provider));
        chain.tell_of_a_reservation(Deal::new(&chain, &client, &provider));
        chain.tell_of_stakes(&Deal::new(&chain, &client, &provider));
        chain
    }

    /// One that is closed in agreement, and one that expires.
    fn tell_of_sessions(&mut self, deal: &Deal) {
        let session = deal.session();
        self.acting(&deal.client).ok(deal.open());
        self.acting(&deal.client).ok(Call::TopUp { session, amount: Credits(50) });
        let vouchers = vec![deal.voucher(0, 1, Credits(90))];
        self.acting(&deal.provider).ok(Call::Collect { session, vouchers });
        let vouchers = vec![deal.voucher(0, 2, Credits(100)), deal.voucher(1, 1, Credits(20))];
        let release = Some(Box::new(deal.release(Credits(120))));
        self.acting(&deal.client).ok(Call::Close { session, vouchers, release });
        let mut late = deal.clone();
        late.order.nonce = 2;
        late.terms.nonce = 2;
        self.acting(&late.client).ok(late.open());
        self.advance(Millis(late.terms.collect_until.0 - self.now().0 + 1));
        self.acting(&key(3)).ok(Call::Expire { session: late.session() });
    }

    fn tell_of_a_budget(&mut self, deal: &Deal) {
        let mut drawn = deal.clone();
        drawn.order.nonce = 3;
        let caps =
            vec![cap(None, None, Credits(900)), cap(Some(0), Some(&deal.client.public()), Credits(700))];
        let budget = self.open_budget(&key(7), caps);
        self.acting(&deal.client).ok(drawn.draw(budget, 1));
        self.acting(&key(7)).ok(Call::CloseBudget { budget });
    }

    /// A slot that is called for, answered and used, one that is missed, and the rest, which is given up.
    fn tell_of_a_reservation(&mut self, deal: Deal) {
        let mut deal = deal.in_tier(Tier::Reserved);
        deal.order.nonce = 4;
        deal.advert.device.name = "reserved".into();
        self.ready_device(&deal);
        let now = self.now();
        let offer = ReservationOffer { starts_at: now, accept_until: now, ..deal.reservation() };
        deal.terms.use_until.0 = now.0 + offer.slot.0;
        deal.terms.collect_until.0 = now.0 + 3 * offer.slot.0;
        let reservation = self.book(&deal, &offer);
        self.acting(&deal.client).ok(Call::Demand { reservation });
        self.acting(&deal.provider).ok(deal.answer(reservation));
        self.acting(&deal.client).ok(deal.draw_slot(reservation));
        self.advance(offer.slot);
        self.acting(&deal.client).ok(Call::Demand { reservation });
        self.advance(Millis(offer.answer_within.0 + 1));
        self.acting(&key(3)).ok(Call::Settle { reservation });
        self.acting(&deal.client).ok(Call::GiveUp { reservation });
    }

    /// One that comes back to its provider, and one that is slashed.
    fn tell_of_stakes(&mut self, deal: &Deal) {
        let mut slashed = deal.clone();
        slashed.advert.device.name = "another".into();
        let device = deal.device();
        let calls = [
            deal.register(),
            Call::Calibrate(Box::new(key(7).sign(deal.calibration(&key(7))))),
            deal.bond(Credits(2_000_000)),
            Call::Unbond { device, amount: Credits(500_000) },
            slashed.register(),
            slashed.bond(Credits(2_000_000)),
        ];
        for call in calls {
            self.acting(&deal.provider).ok(call);
        }
        self.acting(&deal.client).ok(slashed.slash());
        self.acting(&deal.provider).ok(Call::Deregister { device: slashed.device() });
        self.advance(UNBOND_DELAY);
        self.acting(&key(3)).ok(Call::Withdraw { device });
    }
}

const _: () = assert!(UNBOND_DELAY.0 < BOND_MS_MAX, "an unbonding ends before its bond does");
