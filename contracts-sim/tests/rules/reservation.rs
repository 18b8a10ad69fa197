//! Reservations as stories: who is paid what, whoever is silent.

use gridhour_contracts_sim::{
    harness::{Chain, Deal, key},
    ledger::{entry::Event, reject::Reject},
    tx::Call,
};
use gridhour_protocol::{
    id::ReservationId,
    market::{reservation::ReservationOffer, tier::Tier},
    units::{Credits, Millis, Timestamp},
};

const CLIENT: u8 = 1;
const PROVIDER: u8 = 2;
const MINUTE_MS: u64 = 60_000;
/// Of a slot, of which 60% are for standing by.
const PRICE: u64 = 100_000;
const SLOT_MINUTES: u64 = 10;
/// A tenth, a half and all of a slot's price.
const RUNGS: [u64; 3] = [10_000, 50_000, 100_000];

/// Both sides, with what they have beside the reservation at its beginning: nothing.
struct Story {
    chain: Chain,
    offer: ReservationOffer,
    id: ReservationId,
    deals: u64,
}

impl Story {
    /// Booked, and the first slot runs.
    fn begin() -> Self {
        Self::with(|_| {})
    }

    fn with(change: fn(&mut ReservationOffer)) -> Self {
        let mut chain = Chain::new();
        let deal = Deal::new(&chain, &key(CLIENT), &key(PROVIDER));
        chain.ready_device(&deal);
        let mut offer = deal.reservation();
        change(&mut offer);
        let id = chain.book(&deal, &offer);
        let mut story = Self { chain, offer, id, deals: 0 };
        assert_eq!(story.held(), 4 * PRICE + RUNGS.iter().sum::<u64>());
        assert_eq!(story.balances(), [0, 0], "all of it is set aside");
        story.wait(SLOT_MINUTES);
        story
    }

    fn wait(&mut self, minutes: u64) {
        self.chain.advance(Millis(minutes * MINUTE_MS));
    }

    /// Of client and provider.
    fn balances(&self) -> [u64; 2] {
        [CLIENT, PROVIDER].map(|who| self.chain.state().balance(&key(who).public()).0)
    }

    fn held(&self) -> u64 {
        self.chain.state().tip().totals.holds.0
    }

    fn issued(&self) -> u64 {
        self.chain.state().tip().totals.issued.0
    }

    /// A deal of five minutes that fits the slot which runs, for so much.
    fn deal(&mut self, hold: u64) -> Deal {
        self.deals += 1;
        let mut deal = Deal::new(&self.chain, &key(CLIENT), &key(PROVIDER)).in_tier(Tier::Reserved);
        (deal.order.nonce, deal.hold, deal.order.total_max) = (self.deals, Credits(hold), Credits(hold));
        deal.terms.use_until = Timestamp(self.chain.now().0 + 5 * MINUTE_MS);
        deal
    }

    fn draw(&mut self, hold: u64) -> Deal {
        let deal = self.deal(hold);
        self.chain.acting(&key(CLIENT)).ok(deal.draw_slot(self.id));
        deal
    }

    /// The provider ends a session, by a voucher of so much if it is more than nothing.
    fn end(&mut self, deal: &Deal, paid: u64) {
        let vouchers = if paid > 0 { vec![deal.voucher(0, 1, Credits(paid))] } else { Vec::new() };
        let session = deal.session();
        self.chain.acting(&key(PROVIDER)).ok(Call::Close { session, vouchers, release: None });
    }

    fn demand(&mut self) {
        self.chain.acting(&key(CLIENT)).ok(Call::Demand { reservation: self.id });
    }

    fn answer(&mut self) {
        let deal = self.deal(1);
        self.chain.acting(&key(PROVIDER)).ok(deal.answer(self.id));
    }

    /// Anyone has settled what is due.
    fn settle(&mut self) -> Event {
        self.chain.acting(&key(9)).ok(Call::Settle { reservation: self.id }).event
    }

    /// Calls for the slot that runs, and lets the time for an answer pass.
    fn miss(&mut self) {
        self.demand();
        self.wait(2);
        self.settle();
    }

    fn check_over(&self) {
        let state = self.chain.state();
        assert_eq!((state.reservation(&self.id), self.held()), (None, 0), "nothing is left behind");
        assert_eq!(state.reservations_of(&self.offer.device).count(), 0);
    }
}

/// Vouchers pay for the work; what is left of the slot is split as agreed; the bond goes back at the end.
#[test]
fn work_is_paid_by_vouchers_and_standing_by_as_agreed() {
    let mut story = Story::begin();
    let deal = story.draw(50_000);
    story.end(&deal, 30_000);
    assert_eq!(story.balances(), [0, 30_000]);
    story.wait(SLOT_MINUTES);
    let event = story.settle();
    assert_eq!(event, Event::Settled { reservation: story.id, slots: 1, missed: 0 });
    assert_eq!(story.balances(), [28_000, 30_000 + 42_000], "60% of the 70,000 that nobody worked for");
    story.wait(3 * SLOT_MINUTES);
    story.settle();
    let bond: u64 = RUNGS.iter().sum();
    assert_eq!(story.balances(), [28_000 + 3 * 40_000, 72_000 + 3 * 60_000 + bond]);
    story.check_over();
}

/// Neither side ever does anything: whoever asks, all of it goes home.
#[test]
fn a_reservation_that_both_sides_forget_goes_home() {
    let mut story = Story::begin();
    let id = story.id;
    story.chain.acting(&key(9)).expect(Call::Settle { reservation: id }, Reject::NothingDue);
    story.wait(4 * SLOT_MINUTES);
    story.settle();
    assert_eq!(story.balances(), [4 * 40_000, 4 * 60_000 + RUNGS.iter().sum::<u64>()]);
    story.check_over();
}

/// A client that calls and pays no voucher, and a provider that answers and never serves, look alike on the ledger, and
/// each leaves the other with the agreed share: as if nobody had called.
#[test]
fn a_call_alone_moves_no_money() {
    let mut silent = Story::begin();
    let mut called = Story::begin();
    called.demand();
    called.answer();
    let deal = called.draw(PRICE);
    called.end(&deal, 0);
    for story in [&mut silent, &mut called] {
        story.wait(SLOT_MINUTES);
        story.settle();
    }
    assert_eq!(called.balances(), silent.balances());
    assert_eq!(called.balances(), [40_000, 60_000]);
}

/// The client has back what it paid for the slot and not a micro-credit more; the penalty is gone.
#[test]
fn nobody_gains_by_a_missed_slot() {
    let mut story = Story::begin();
    let issued = story.issued();
    story.miss();
    assert_eq!(story.balances(), [PRICE, 0]);
    assert_eq!(issued - story.issued(), RUNGS[0], "burned");
    let id = story.id;
    story.chain.acting(&key(CLIENT)).expect(Call::Demand { reservation: id }, Reject::SlotClosed);
    story.wait(8);
    story.demand();
    story.answer();
}

#[test]
fn the_ladder_ends_the_reservation() {
    let mut story = Story::begin();
    for (number, rung) in RUNGS.into_iter().enumerate() {
        let issued = story.issued();
        story.miss();
        assert_eq!(issued - story.issued(), rung, "rung {number}");
        story.wait(8);
    }
    assert_eq!(story.balances(), [4 * PRICE, 0], "the last slot goes back with the third that was missed");
    story.check_over();
}

/// Whoever delays a settlement changes nothing: a miss counts by the time for the answer.
#[test]
fn a_late_settlement_pays_what_a_timely_one_does() {
    let mut timely = Story::begin();
    timely.miss();
    timely.wait(4 * SLOT_MINUTES);
    timely.settle();
    let mut late = Story::begin();
    late.demand();
    late.wait(4 * SLOT_MINUTES + 2);
    late.settle();
    assert_eq!((late.balances(), late.issued()), (timely.balances(), timely.issued()));
    late.check_over();
}

#[test]
fn what_a_session_gives_back_can_be_drawn_again_in_its_slot() {
    let mut story = Story::begin();
    let deal = story.draw(PRICE);
    let more = story.deal(1);
    let id = story.id;
    story.chain.acting(&key(CLIENT)).expect(more.draw_slot(id), Reject::OverSlot);
    story.end(&deal, 40_000);
    let again = story.draw(60_000);
    story.end(&again, 60_000);
    story.wait(SLOT_MINUTES);
    story.settle();
    assert_eq!(story.balances(), [0, PRICE], "all of it was worked for");
}

/// A session may be collected from after its slot was settled; what is left then is split as the slot's.
#[test]
fn a_session_that_outlives_its_slot_is_paid_and_split_alike() {
    let mut story = Story::begin();
    story.wait(6);
    let mut deal = story.deal(50_000);
    deal.terms.use_until = story.offer.start_of(1);
    deal.terms.collect_until = Timestamp(deal.terms.use_until.0 + 10 * MINUTE_MS);
    let draw = deal.draw_slot(story.id);
    story.chain.acting(&key(CLIENT)).ok(draw);
    story.wait(6);
    story.settle();
    assert_eq!(story.balances(), [20_000, 30_000], "of the half that no session had drawn");
    story.end(&deal, 10_000);
    assert_eq!(story.balances(), [20_000 + 16_000, 30_000 + 10_000 + 24_000]);
}

#[test]
fn a_session_of_a_missed_slot_gives_all_back_but_what_was_worked_for() {
    let mut story = Story::begin();
    let deal = story.draw(50_000);
    story.miss();
    assert_eq!(story.balances(), [50_000, 0], "what no session had drawn");
    story.end(&deal, 10_000);
    assert_eq!(story.balances(), [90_000, 10_000], "a voucher is a voucher");
}

/// The last slot ends, and the reservation is remembered until its last session has ended.
#[test]
fn a_reservation_is_kept_for_its_last_session() {
    let mut story = Story::begin();
    story.wait(3 * SLOT_MINUTES + 4);
    let mut deal = story.deal(50_000);
    deal.terms.use_until = story.offer.start_of(4);
    let draw = deal.draw_slot(story.id);
    story.chain.acting(&key(CLIENT)).ok(draw);
    story.wait(7);
    story.settle();
    let known = story.chain.state().reservation(&story.id).expect("a session is open under it");
    assert_eq!((known.is_live(), known.total()), (false, Some(Credits::ZERO)));
    story.wait(60);
    story.chain.acting(&key(9)).ok(Call::Expire { session: deal.session() });
    assert_eq!(story.balances(), [4 * 40_000, 4 * 60_000 + RUNGS.iter().sum::<u64>()]);
    story.check_over();
}

/// A provider that answers and never serves costs its client the agreed share of the slots within the notice.
#[test]
fn slots_beyond_the_notice_are_given_up_whole() {
    let mut story = Story::begin();
    let id = story.id;
    let entry = story.chain.acting(&key(CLIENT)).ok(Call::GiveUp { reservation: id });
    assert_eq!(entry.event, Event::GivenUp { reservation: id, slots: 2 });
    assert_eq!(story.balances(), [2 * PRICE, 0], "the slots that begin in 20 and 30 minutes");
    story.wait(2 * SLOT_MINUTES);
    story.settle();
    assert_eq!(story.balances(), [2 * PRICE + 2 * 40_000, 2 * 60_000 + RUNGS.iter().sum::<u64>()]);
    story.check_over();
}

/// Given up before anything began, all goes home at once; the offer stands as long as it said.
#[test]
fn an_offer_that_was_given_up_whole_can_be_accepted_again() {
    let mut chain = Chain::new();
    let deal = Deal::new(&chain, &key(CLIENT), &key(PROVIDER));
    chain.ready_device(&deal);
    let offer = ReservationOffer { notice: Millis(0), ..deal.reservation() };
    let reservation = chain.book(&deal, &offer);
    chain.acting(&key(CLIENT)).expect(deal.book(&offer), Reject::TimeReserved);
    chain.acting(&key(CLIENT)).ok(Call::GiveUp { reservation });
    assert_eq!(chain.state().reservations().count(), 0);
    assert_eq!(chain.state().balance(&key(CLIENT).public()), Credits(4 * PRICE));
    chain.acting(&key(CLIENT)).ok(deal.book(&offer));
}

/// An offer for the time from `slot` on, of so many slots, for the second client.
fn rival(story: &Story, slot: u16, slots: u16) -> (Deal, ReservationOffer) {
    let deal = Deal::new(&story.chain, &key(8), &key(PROVIDER));
    let starts_at = story.offer.start_of(slot);
    (deal.clone(), ReservationOffer { starts_at, accept_until: starts_at, slots, ..deal.reservation() })
}

#[test]
fn no_time_of_a_device_is_promised_twice() {
    let mut story = Story::begin();
    for (slot, slots) in [(1, 1), (2, 4), (3, 1)] {
        let (deal, offer) = rival(&story, slot, slots);
        story.chain.acting(&key(8)).expect(deal.book(&offer), Reject::TimeReserved);
    }
    let (deal, offer) = rival(&story, 4, 2);
    story.chain.book(&deal, &offer);
    let (mut deal, mut other) = rival(&story, 1, 4);
    deal.advert.device.name = "another".into();
    other.device = deal.device();
    story.chain.ready_device(&deal);
    story.chain.book(&deal, &other);
    assert_eq!(story.chain.state().reservations_of(&story.offer.device).count(), 2);
}

#[test]
fn no_capacity_stays_reserved_after_the_money_is_gone() {
    let mut given_up = Story::begin();
    let id = given_up.id;
    given_up.chain.acting(&key(CLIENT)).ok(Call::GiveUp { reservation: id });
    let (deal, offer) = rival(&given_up, 2, 2);
    given_up.chain.book(&deal, &offer);

    let mut ended = Story::with(|offer| offer.ladder = vec![1_600]);
    ended.miss();
    let (deal, offer) = rival(&ended, 1, 3);
    ended.chain.book(&deal, &offer);
}

/// As many calls as slots: a client cannot keep its provider busy with answers.
#[test]
fn a_slot_is_called_for_once() {
    let mut story = Story::begin();
    story.demand();
    story.answer();
    let id = story.id;
    story.chain.acting(&key(CLIENT)).expect(Call::Demand { reservation: id }, Reject::SlotCalled);
}

/// The answer itself is what a session needs: the client opens one without another word of the provider.
#[test]
fn a_session_opens_under_the_advert_of_the_answer() {
    let mut story = Story::begin();
    story.demand();
    let deal = story.deal(1_000);
    let answer = deal.answer(story.id);
    let entry = story.chain.acting(&key(PROVIDER)).ok(answer);
    let Event::Answered { advert, slot: 0, .. } = entry.event else { panic!("{:?}", entry.event) };
    let draw = deal.draw_slot(story.id);
    let opened = story.chain.acting(&key(CLIENT)).ok(draw);
    assert!(matches!(opened.event, Event::Opened { advert: under, .. } if under == advert));
}
