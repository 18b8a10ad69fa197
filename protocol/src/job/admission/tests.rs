use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::arbitrary::key;

const START: Timestamp = Timestamp(1_000_000);

fn client(seed: u8) -> PublicKey {
    key(seed).public()
}

fn of(seed: u8, tier: Tier) -> Applicant {
    let notice = if tier == Tier::Spot { Millis(5_000) } else { Millis(0) };
    Applicant { client: client(seed), tier, notice }
}

/// A desk of so many slots, and who came to it, one after the other, a millisecond apart.
fn after(slots: u16, came: &[(u8, Tier)]) -> (Admission, Vec<Ticket>, Vec<Verdict>) {
    let (mut desk, mut tickets, mut verdicts) = (Admission::new(slots), Vec::new(), Vec::new());
    for (at, &(seed, tier)) in came.iter().enumerate() {
        let (ticket, now) = desk.arrive(Timestamp(START.0 + at as u64), of(seed, tier));
        tickets.push(ticket);
        verdicts.extend(now);
    }
    (desk, tickets, verdicts)
}

const LATER: Timestamp = Timestamp(START.0 + 1_000);

#[test]
fn an_order_on_demand_has_a_spot_job_reclaimed_and_starts_when_that_has_left() {
    let (mut desk, t, verdicts) = after(1, &[(1, Tier::Spot), (2, Tier::OnDemand)]);
    assert_eq!(verdicts, [Verdict::Start(t[0]), Verdict::Reclaim(t[0])]);
    assert_eq!((desk.idle(), desk.reclaimable(), desk.queued()), (0, 0, 0), "the waiting one has its slot");
    assert_eq!(desk.longest_notice(Tier::OnDemand), Millis(5_000));
    let (spot, now) = desk.arrive(LATER, of(3, Tier::Spot));
    assert_eq!(now, [], "a spot job reclaims nothing");
    assert_eq!(desk.leave(LATER, t[0]), [Verdict::Start(t[1])]);
    assert_eq!(desk.leave(LATER, t[1]), [Verdict::Start(spot)]);
}

#[test]
fn who_has_a_spot_job_reclaimed_and_leaves_before_its_turn_has_no_other_one_reclaimed_for_a_while() {
    let (mut desk, t, _) = after(2, &[(1, Tier::Spot), (1, Tier::Spot), (2, Tier::OnDemand)]);
    assert_eq!(desk.give_up(LATER, t[2]), [], "what got its notice is gone");
    assert_eq!((desk.running(), desk.reclaimable()), (2, 1));
    desk.leave(LATER, t[1]);
    let (spot, now) = desk.arrive(LATER, of(1, Tier::Spot));
    assert_eq!(now, [Verdict::Start(spot)]);
    let (_, now) = desk.arrive(LATER, of(2, Tier::OnDemand));
    assert_eq!(now, [], "it waits like anybody else");
    let (other, now) = desk.arrive(LATER, of(3, Tier::OnDemand));
    assert_eq!(now, [Verdict::Reclaim(spot)], "others do not pay for it");
    assert_eq!(desk.leave(LATER, spot), [Verdict::Start(other)], "what is reclaimed for them is theirs");
    let after_it = Timestamp(LATER.0 + IN_VAIN.0);
    let (_, now) = desk.arrive(after_it, of(2, Tier::OnDemand));
    assert_eq!(now, [Verdict::Reclaim(t[0])]);
}

#[test]
fn who_leaves_a_line_without_spot_jobs_took_nothing_from_anybody() {
    let (mut desk, t, _) = after(1, &[(1, Tier::OnDemand), (2, Tier::OnDemand), (3, Tier::Spot)]);
    desk.give_up(LATER, t[1]);
    assert_eq!(desk.leave(LATER, t[0]), [Verdict::Start(t[2])]);
    assert_eq!(desk.give_up(LATER, t[2]), [], "it runs");
    assert!(desk.in_vain.is_empty());
}

#[test]
fn those_who_left_in_vain_are_remembered_up_to_a_bound() {
    let mut desk = Admission::new(1);
    for n in 0..2 * CLIENTS_MAX as u64 {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&n.to_le_bytes());
        desk.note_in_vain(Timestamp(START.0 + n), PublicKey(key));
    }
    assert_eq!(desk.in_vain.len(), CLIENTS_MAX);
    assert!(desk.in_vain.values().all(|at| at.0 >= START.0 + CLIENTS_MAX as u64));
}

#[test]
fn no_spot_job_starts_during_a_notice() {
    let (mut desk, t, _) = after(2, &[(1, Tier::Spot), (2, Tier::OnDemand), (3, Tier::OnDemand)]);
    // The second slot is free again before the notice is over.
    assert_eq!(desk.leave(LATER, t[1]), [Verdict::Start(t[2])]);
    assert_eq!(desk.leave(LATER, t[2]), []);
    let (spot, now) = desk.arrive(LATER, of(4, Tier::Spot));
    assert_eq!((now, desk.idle()), (vec![], 1));
    assert_eq!(desk.leave(LATER, t[0]), [Verdict::Start(spot)]);
}

#[test]
fn the_spot_job_that_began_last_of_the_client_with_most_of_them_goes_first() {
    let spot = Tier::Spot;
    let (mut desk, t, _) = after(4, &[(1, spot), (2, spot), (1, spot), (3, Tier::OnDemand)]);
    let (_, first) = desk.arrive(LATER, of(9, Tier::OnDemand));
    assert_eq!(first, [Verdict::Reclaim(t[2])], "client 1 has two, and this is the younger");
    let (_, second) = desk.arrive(LATER, of(9, Tier::Reserved));
    assert_eq!(second, [Verdict::Reclaim(t[1])], "then both have one");
    assert_eq!((desk.reclaimable(), desk.queued()), (1, 0));
}

#[test]
fn the_next_slot_is_for_the_better_tier_and_then_for_the_client_with_fewer() {
    let (mut desk, t, _) = after(
        2,
        &[
            (1, Tier::OnDemand),
            (1, Tier::OnDemand),
            (1, Tier::OnDemand),
            (2, Tier::Spot),
            (2, Tier::OnDemand),
            (3, Tier::Reserved),
        ],
    );
    assert_eq!(desk.leave(LATER, t[0]), [Verdict::Start(t[5])]);
    assert_eq!(desk.leave(LATER, t[1]), [Verdict::Start(t[4])], "client 1 came first, and had both slots");
    assert_eq!(desk.leave(LATER, t[5]), [Verdict::Start(t[2])]);
    assert_eq!(desk.leave(LATER, t[4]), [Verdict::Start(t[3])]);
}

#[test]
fn what_was_used_counts_and_fades() {
    let (mut desk, t, _) = after(1, &[(1, Tier::OnDemand)]);
    desk.leave(Timestamp(START.0 + 40_000), t[0]);
    let used = |desk: &Admission, ms| desk.used(Timestamp(START.0 + 40_000 + ms), &client(1));
    assert_eq!(
        [0, HALF_LIFE.0 - 1, HALF_LIFE.0, 2 * HALF_LIFE.0].map(|ms| used(&desk, ms)),
        [40_000, 40_000, 20_000, 10_000]
    );
    assert_eq!(used(&desk, 64 * HALF_LIFE.0), 0);
    // Both have no slot now; the one that had none lately comes first.
    let now = Timestamp(START.0 + 41_000);
    let (busy, _) = desk.arrive(now, of(3, Tier::OnDemand));
    let (_, _) = desk.arrive(now, of(1, Tier::OnDemand));
    let (fresh, _) = desk.arrive(now, of(2, Tier::OnDemand));
    assert_eq!(desk.leave(now, busy), [Verdict::Start(fresh)]);
}

#[test]
fn a_full_line_refuses_the_client_with_the_most_jobs() {
    let many = vec![(1, Tier::OnDemand); 1 + QUEUE_MAX];
    let (mut desk, t, verdicts) = after(1, &many);
    assert_eq!(verdicts, [Verdict::Start(t[0])]);
    let (_, now) = desk.arrive(LATER, of(2, Tier::OnDemand));
    assert_eq!(now, [Verdict::Refuse(t[QUEUE_MAX])], "its last one makes room");
    let (another, now) = desk.arrive(LATER, of(1, Tier::OnDemand));
    assert_eq!(now, [Verdict::Refuse(another)]);
}

#[test]
fn a_closed_desk_refuses_all_that_wait_and_all_that_come() {
    let (mut desk, t, _) = after(1, &[(1, Tier::OnDemand), (2, Tier::OnDemand)]);
    assert!(!desk.close_if_empty(), "a job runs");
    assert_eq!(desk.close(LATER), [Verdict::Refuse(t[1])]);
    let (late, now) = desk.arrive(LATER, of(3, Tier::Reserved));
    assert_eq!(now, [Verdict::Refuse(late)]);
    assert_eq!((desk.leave(LATER, t[0]), desk.idle()), (vec![], 0));
    desk.open();
    assert!(desk.close_if_empty() && !desk.close_if_empty());
}

/// A desk of so many slots, one of them kept for client 9, and what becomes of each that comes.
fn kept_for_nine(slots: u16, came: &[(u8, Tier)]) -> (Admission, Vec<Ticket>, Vec<Verdict>) {
    let (mut desk, mut tickets, mut verdicts) = (Admission::new(slots), Vec::new(), Vec::new());
    assert_eq!(desk.keep_for(START, Some(client(9))), []);
    for &(seed, tier) in came {
        let (ticket, now) = desk.arrive(START, of(seed, tier));
        tickets.push(ticket);
        verdicts.extend(now);
    }
    (desk, tickets, verdicts)
}

#[test]
fn the_last_place_is_the_holders_until_it_has_one() {
    let (mut desk, t, verdicts) = kept_for_nine(2, &[(1, Tier::OnDemand), (2, Tier::OnDemand)]);
    assert_eq!((verdicts, desk.idle(), desk.queued()), (vec![Verdict::Start(t[0])], 0, 1));
    let (_, now) = desk.arrive(LATER, of(9, Tier::OnDemand));
    assert_eq!(now, [], "what it buys on demand is no job of its slot");
    let (own, now) = desk.arrive(LATER, of(9, Tier::Reserved));
    assert_eq!(now, [Verdict::Start(own)]);
    assert_eq!(desk.leave(LATER, t[0]), [Verdict::Start(t[1])], "what is left is sold");
    let (second, now) = desk.arrive(LATER, of(9, Tier::Reserved));
    assert_eq!(now, [], "it has no more than others after that");
    assert_eq!(desk.leave(LATER, t[1]), [Verdict::Start(second)]);
}

#[test]
fn the_holder_is_never_refused_its_first_job() {
    let (mut desk, t, _) = after(1, &[(1, Tier::OnDemand)]);
    assert_eq!(desk.keep_for(LATER, Some(client(9))), []);
    let (own, now) = desk.arrive(LATER, of(9, Tier::Reserved));
    assert_eq!((now, desk.running(), desk.idle()), (vec![Verdict::Start(own)], 2, 0), "beside the other");
    let (next, now) = desk.arrive(LATER, of(2, Tier::OnDemand));
    assert_eq!(now, []);
    assert_eq!(desk.leave(LATER, t[0]), [], "there is one slot");
    assert_eq!(desk.leave(LATER, own), [], "and it is awaited again");
    assert_eq!(desk.keep_for(LATER, None), [Verdict::Start(next)], "its slot is over");
}

#[test]
fn a_spot_job_leaves_for_one_that_the_kept_place_keeps_out() {
    let (desk, t, verdicts) = kept_for_nine(2, &[(1, Tier::Spot), (2, Tier::OnDemand)]);
    assert_eq!(verdicts, [Verdict::Start(t[0]), Verdict::Reclaim(t[0])]);
    assert_eq!(desk.queued(), 0);
}

/// What happens to a desk, each a moment after the other.
#[derive(Clone, Copy, Debug)]
enum Step {
    Arrive(u8, Tier),
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let arrive = (0..5u8, select(&Tier::ALL[..])).prop_map(|(seed, tier)| Step::Arrive(seed, tier));
    let leave = any::<prop::sample::Index>().prop_map(|at| Step::Leave(at.index(64)));
    vec((0..90_000u64, prop_oneof![3 => arrive, 2 => leave]), 1..120)
}

/// A desk as its driver sees it.
struct Seen {
    slots: usize,
    waits: BTreeMap<Ticket, Applicant>,
    runs: BTreeMap<Ticket, Applicant>,
    reclaimed: BTreeSet<Ticket>,
}

impl Seen {
    fn slots_of(&self, client: &PublicKey) -> usize {
        self.runs.values().filter(|who| who.client == *client).count()
    }

    fn is_served_first(&self, starts: &Applicant, waits: &Applicant) -> bool {
        let claim = |who: &Applicant| (rank(who.tier), self.slots_of(&who.client));
        claim(starts) <= claim(waits)
    }

    fn take(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Start(ticket) => {
                let starts = self.waits.remove(&ticket).expect("it waited");
                let first = self.waits.values().all(|waits| self.is_served_first(&starts, waits));
                assert!(first, "{starts:?} before {:?}", self.waits);
                assert!(starts.tier != Tier::Spot || self.reclaimed.is_empty(), "during a notice");
                self.runs.insert(ticket, starts);
            }
            Verdict::Refuse(ticket) => {
                assert!(self.waits.len() > QUEUE_MAX, "the line was full");
                assert!(self.waits.remove(&ticket).is_some());
            }
            Verdict::Reclaim(ticket) => {
                assert_eq!(self.runs[&ticket].tier, Tier::Spot);
                assert_eq!(self.runs.len(), self.slots, "a slot is idle");
                assert!(self.reclaimed.insert(ticket), "it was reclaimed before");
            }
        }
    }

    fn check(&self, desk: &Admission) {
        let firm = self.waits.values().filter(|who| who.tier != Tier::Spot).count();
        assert!(self.runs.len() <= self.slots && self.waits.len() <= QUEUE_MAX);
        let idle = self.slots - self.runs.len();
        assert!(idle == 0 || firm == 0, "a slot idles while a job waits that may have it");
        assert!(idle == 0 || self.waits.is_empty() || !self.reclaimed.is_empty());
        let spot = self.runs.values().filter(|who| who.tier == Tier::Spot).count();
        assert!(firm <= self.reclaimed.len() || self.reclaimed.len() == spot, "one is reclaimed for each");
        assert_eq!((desk.idle(), desk.reclaimable()), (idle, spot - self.reclaimed.len()));
        assert_eq!(desk.running(), self.runs.len());
    }
}

proptest! {
    #[test]
    fn slots_are_never_idle_nor_sold_twice_and_go_to_the_best_claim(slots in 1..5u16, steps in steps()) {
        let (mut desk, mut now) = (Admission::new(slots), START);
        let (waits, runs, reclaimed) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        let mut seen = Seen { slots: slots.into(), waits, runs, reclaimed };
        for (after, step) in steps {
            now.0 += after;
            let verdicts = match step {
                Step::Arrive(seed, tier) => {
                    let (ticket, verdicts) = desk.arrive(now, of(seed, tier));
                    seen.waits.insert(ticket, of(seed, tier));
                    verdicts
                }
                Step::Leave(at) => {
                    let all: Vec<Ticket> = seen.waits.keys().chain(seen.runs.keys()).copied().collect();
                    let Some(ticket) = all.get(at % all.len().max(1)) else { continue };
                    seen.waits.remove(ticket);
                    seen.runs.remove(ticket);
                    seen.reclaimed.remove(ticket);
                    desk.leave(now, *ticket)
                }
            };
            verdicts.into_iter().for_each(|verdict| seen.take(verdict));
            seen.check(&desk);
        }
    }

    /// Clients that always have jobs waiting, however many, get slots in turn.
    #[test]
    fn nobody_starves_beside_those_with_many_streams(streams in vec(1..5usize, 2..5), slots in 1..4u16) {
        let mut desk = Admission::new(slots);
        let (mut owners, mut running) = (BTreeMap::new(), Vec::new());
        let mut served = vec![0u32; streams.len()];
        let mut pending: Vec<(Timestamp, usize)> =
            streams.iter().enumerate().flat_map(|(who, &many)| vec![(START, who); many]).collect();
        for round in 0..200u64 {
            let now = Timestamp(START.0 + round * 1_000);
            let mut verdicts = Vec::new();
            for (_, who) in pending.drain(..) {
                let (ticket, more) = desk.arrive(now, of(who as u8, Tier::OnDemand));
                owners.insert(ticket, who);
                verdicts.extend(more);
            }
            for verdict in verdicts.drain(..) {
                if let Verdict::Start(ticket) = verdict { running.push(ticket) }
            }
            // The job that has run longest ends, and its client wants the next one at once.
            let ended: Ticket = running.remove(0);
            let who = owners[&ended];
            served[who] += 1;
            pending.push((now, who));
            for verdict in desk.leave(now, ended) {
                if let Verdict::Start(ticket) = verdict { running.push(ticket) }
            }
        }
        let least = *served.iter().min().unwrap();
        let fair = 200 / streams.len() as u32;
        prop_assert!(least >= fair / 2, "{served:?} of {streams:?} streams on {slots} slots");
    }
}

#[test]
fn what_is_remembered_of_clients_is_bounded() {
    let mut desk = Admission::new(1);
    for at in 0..CLIENTS_MAX as u64 + 50 {
        let seed: [u8; 32] = std::array::from_fn(|byte| if byte < 8 { at.to_le_bytes()[byte] } else { 7 });
        let who = Applicant {
            client: crate::signed::SecretKey::from_seed(seed).public(),
            tier: Tier::OnDemand,
            notice: Millis(0),
        };
        let (ticket, _) = desk.arrive(START, who);
        desk.leave(Timestamp(START.0 + 1 + at), ticket);
    }
    assert_eq!(desk.shares.len(), CLIENTS_MAX);
    let least = desk.shares.values().map(|share| share.used).min();
    assert_eq!(least, Some(51), "the least was forgotten");
}
