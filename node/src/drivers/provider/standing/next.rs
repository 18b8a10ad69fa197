//! What a provider asks of the ledger next, so that its device is known there and its stake is kept.

use gridhour_contracts_sim::{
    limits::{ACCUSATION_MS_MAX, BOND_MIN},
    state::{Device, Stake, device::Measured},
    tx::{Call, Registration},
};
use gridhour_protocol::{
    calibration::receipt::{Calibration, DeviceName},
    id::{DeviceId, ModelId},
    limits::CLOCK_SKEW_MS_MAX,
    signed::Signed,
    units::{Credits, Millis, Timestamp},
};

/// How far ahead the end of an entry, or of a bond, is set.
const LIFE: Millis = Millis(90 * DAY_MS);
/// What is left of it when it is renewed: longer than any session, and any accusation over it, may take.
const RENEWED_WITH: Millis = Millis(60 * DAY_MS);
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

const _: () =
    assert!(RENEWED_WITH.0 > ACCUSATION_MS_MAX, "whoever opens a session now can rely on the stake");

/// What should stand on the ledger.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) device: DeviceId,
    pub(super) name: DeviceName,
    pub(super) memory_bytes: u64,
    pub(super) numerics: u16,
    pub(super) model: ModelId,
    /// The newest measurement by somebody else.
    pub(super) calibration: Option<Signed<Calibration>>,
    /// At stake for the device; nothing is bonded, nor taken back, if it is zero.
    pub(super) stake: Credits,
}

/// What stands there.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) device: Option<Device>,
    pub(super) stake: Option<Stake>,
    /// Bonded as of the last checkpoint. A node that says that less is bonded than it proves is not believed.
    pub(super) proven: Credits,
    pub(super) balance: Credits,
}

/// What is next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// To ask for this.
    Submit(Call),
    /// Nothing: all is as it should be.
    Nothing,
    /// To wait for credits.
    Short {
        /// So many are missing in the account.
        missing: Credits,
    },
    /// To wait until the device may be staked for again.
    Barred {
        /// When that is.
        until: Timestamp,
    },
}

impl Seen {
    /// What is bonded.
    pub(super) fn bonded(&self) -> Credits {
        self.stake.as_ref().map_or(Credits::ZERO, |stake| stake.bonded).max(self.proven)
    }
}

impl Wish {
    /// What to do next at `now`. The device is registered before anything is staked for it, and what is measured
    /// comes last, as nothing else waits for it.
    pub(super) fn next(&self, seen: &Seen, now: Timestamp) -> Next {
        if let Some(registration) = self.registration(seen.device.as_ref(), now) {
            return Next::Submit(Call::Register(Box::new(registration)));
        }
        let staked = self.stake(seen, now);
        if matches!(staked, Next::Submit(_)) {
            return staked;
        }
        let entered = self.measurement(seen.device.as_ref(), now);
        entered.map_or(staked, |calibration| Next::Submit(Call::Calibrate(Box::new(calibration))))
    }

    /// A newer entry, if what is known is not what should be, or ends soon.
    fn registration(&self, known: Option<&Device>, now: Timestamp) -> Option<Registration> {
        let known = known.map(|device| &device.registration);
        let fresh = Registration {
            name: self.name.clone(),
            memory_bytes: self.memory_bytes,
            numerics: vec![self.numerics],
            models: vec![self.model],
            // Above all of before, even if this machine's clock was set back.
            sequence: known.map_or(now.0, |known| known.sequence.saturating_add(1).max(now.0)),
            expires_at: end_of_life(now),
        };
        let stays = known.is_some_and(|known| {
            let same =
                Registration { sequence: known.sequence, expires_at: known.expires_at, ..fresh.clone() };
            same == *known && !ends_soon(known.expires_at, now)
        });
        (!stays).then_some(fresh)
    }

    fn stake(&self, seen: &Seen, now: Timestamp) -> Next {
        let barred = seen.stake.as_ref().filter(|stake| stake.is_barred(now));
        if self.stake == Credits::ZERO {
            return Next::Nothing;
        }
        if let Some(until) = barred.and_then(|stake| stake.barred_until) {
            return Next::Barred { until };
        }
        let lacking = self.stake.saturating_sub(seen.bonded());
        let until = seen.stake.as_ref().map_or(Timestamp(0), |stake| stake.until);
        if lacking == Credits::ZERO && !ends_soon(until, now) {
            return Next::Nothing;
        }
        // Less than the least cannot be bonded; nothing at all can, to move the end.
        let amount = if lacking == Credits::ZERO { lacking } else { lacking.max(BOND_MIN) };
        match amount.saturating_sub(seen.balance) {
            Credits::ZERO => {
                Next::Submit(Call::Bond { device: self.device, amount, until: end_of_life(now) })
            }
            missing => Next::Short { missing },
        }
    }

    /// The measurement, if the ledger would take it and does not know it.
    fn measurement(&self, known: Option<&Device>, now: Timestamp) -> Option<Signed<Calibration>> {
        let soon = now.after(Millis(CLOCK_SKEW_MS_MAX)).unwrap_or(now);
        let is_news = |calibration: &&Signed<Calibration>| {
            let ended_at = calibration.body.ended_at;
            let measured = known.and_then(|device| device.measured);
            let newer = measured.is_none_or(|measured| ended_at > measured.ended_at);
            newer && ended_at <= soon && Measured::of(&calibration.body).is_some()
        };
        self.calibration.as_ref().filter(is_news).cloned()
    }
}

fn end_of_life(now: Timestamp) -> Timestamp {
    now.after(LIFE).unwrap_or(now)
}

fn ends_soon(end: Timestamp, now: Timestamp) -> bool {
    end.since(now).0 < RENEWED_WITH.0
}

#[cfg(test)]
mod tests {
    use gridhour_contracts_sim::{
        harness::{Chain, Deal, key},
        state::{DeviceKey, StateKey, StateValue},
    };
    use gridhour_protocol::signed::SecretKey;

    use super::*;

    const STAKE: Credits = Credits(5_000_000);

    /// A provider, and the ledger that it looks at.
    struct Town {
        chain: Chain,
        deal: Deal,
        wish: Wish,
    }

    impl Town {
        fn new(balance: Credits) -> Self {
            let mut chain = Chain::new();
            chain.fund(&provider().public(), balance);
            let deal = Deal::new(&chain, &key(1), &provider());
            let registration = deal.registration();
            let wish = Wish {
                device: deal.device(),
                name: registration.name,
                memory_bytes: registration.memory_bytes,
                numerics: registration.numerics[0],
                model: registration.models[0],
                calibration: None,
                stake: STAKE,
            };
            Self { chain, deal, wish }
        }

        fn seen(&self) -> Seen {
            let (state, device) = (self.chain.state(), self.wish.device);
            let owner = provider().public();
            let device_key = StateKey::Device(DeviceKey { owner, device });
            Seen {
                device: state.value(&device_key).map(|value| match value {
                    StateValue::Device(device) => *device,
                    other => panic!("{other:?}"),
                }),
                stake: state.stake(&device).cloned(),
                proven: Credits::ZERO,
                balance: state.balance(&owner),
            }
        }

        fn next(&self) -> Next {
            self.wish.next(&self.seen(), self.chain.now())
        }

        /// Does what is next until nothing is, and says what was done.
        fn settle(&mut self) -> Vec<&'static str> {
            let mut done = Vec::new();
            while let Next::Submit(call) = self.next() {
                done.push(call.name());
                self.chain.acting(&provider()).ok(call);
                assert!(done.len() < 5, "it never ends: {done:?}");
            }
            done
        }

        fn stake(&self) -> Stake {
            self.seen().stake.expect("something is at stake")
        }
    }

    fn provider() -> SecretKey {
        key(2)
    }

    #[test]
    fn a_provider_registers_then_stakes_then_is_at_rest() {
        let mut town = Town::new(Credits(9_000_000));
        assert_eq!(town.settle(), ["register", "bond"]);
        assert_eq!((town.stake().bonded, town.next()), (STAKE, Next::Nothing));
        // A restart begins with the same look at the same ledger.
        assert_eq!(town.settle(), [""; 0]);
    }

    #[test]
    fn without_a_wish_for_it_no_stake_is_touched() {
        let mut town = Town::new(Credits(9_000_000));
        town.wish.stake = Credits::ZERO;
        assert_eq!(town.settle(), ["register"]);
        town.chain.acting(&provider()).ok(town.deal.bond(STAKE));
        assert_eq!(town.settle(), [""; 0]);
    }

    #[test]
    fn entry_and_stake_are_renewed_long_before_they_end_and_take_no_credits() {
        let mut town = Town::new(STAKE);
        town.settle();
        let first = town.stake().until;
        town.chain.advance(Millis(LIFE.0 - RENEWED_WITH.0));
        assert_eq!(town.settle(), [""; 0], "as long as there is time");
        town.chain.advance(Millis(DAY_MS));
        assert_eq!(town.settle(), ["register", "bond"]);
        assert_eq!(town.stake().bonded, STAKE);
        assert!(town.stake().until > first);
    }

    #[test]
    fn a_change_of_the_device_is_entered_whatever_the_clock_says() {
        let mut town = Town::new(STAKE);
        town.settle();
        let sequence = town.seen().device.expect("it is registered").registration.sequence;
        town.wish.memory_bytes += 1;
        let Next::Submit(Call::Register(newer)) = town.wish.next(&town.seen(), Timestamp(5)) else {
            panic!("the entry is not what it should be")
        };
        assert_eq!((newer.sequence, newer.memory_bytes), (sequence + 1, town.wish.memory_bytes));
    }

    #[test]
    fn never_more_is_bonded_than_the_account_has() {
        let mut town = Town::new(Credits(STAKE.0 - 1));
        assert_eq!(town.settle(), ["register"]);
        assert_eq!(town.next(), Next::Short { missing: Credits(1) });
        town.chain.fund(&provider().public(), Credits(1));
        assert_eq!(town.settle(), ["bond"]);
        // The least that is bonded at once is more than what lacks.
        town.wish.stake = Credits(STAKE.0 + 1);
        assert_eq!(town.next(), Next::Short { missing: BOND_MIN });
    }

    #[test]
    fn a_node_that_forgets_what_it_proves_gets_no_second_stake() {
        let mut town = Town::new(Credits(9_000_000));
        town.settle();
        let forgetful = Seen { stake: None, proven: STAKE, ..town.seen() };
        let Next::Submit(Call::Bond { amount, .. }) = town.wish.next(&forgetful, town.chain.now()) else {
            panic!("its end is not known")
        };
        assert_eq!(amount, Credits::ZERO);
    }

    #[test]
    fn after_a_slash_nothing_is_staked_until_the_device_is_no_longer_barred() {
        let mut town = Town::new(Credits(20_000_000));
        town.settle();
        let slash = town.deal.slash();
        town.chain.acting(&key(9)).ok(slash);
        let until = town.stake().barred_until.expect("it is barred");
        assert_eq!(town.next(), Next::Barred { until });
        town.chain.advance(Millis(until.since(town.chain.now()).0 + 1));
        assert_eq!(town.settle(), ["bond"]);
    }

    #[test]
    fn what_a_challenger_measured_is_entered_once() {
        let mut town = Town::new(STAKE);
        town.settle();
        town.wish.calibration = Some(key(7).sign(town.deal.calibration(&key(7))));
        assert_eq!(town.settle(), ["calibrate"]);
        let mut later = town.deal.calibration(&key(7));
        later.ended_at = Timestamp(town.chain.now().0 + CLOCK_SKEW_MS_MAX + 1);
        town.wish.calibration = Some(key(7).sign(later));
        assert_eq!(town.settle(), [""; 0], "what ended later than any clock may say waits");
    }
}
