//! Real drivers and real sockets: one answer that several providers write at the same time is that of most of them, who
//! differs is told of with everything that it signed, and all are paid for what they did.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use gridhour_node::{
    drivers::{
        client::{RunError, RunEvent, RunSpec, Undecided},
        mismatch::{Mismatch, MismatchFault},
        provider::Served,
        results::JobResult,
    },
    engine::{Engine, EngineConfig, scheduler::Scheduler},
    model::gguf::Gguf,
};
use gridhour_protocol::{
    job::{agreement::Verdict, sampling::Sampling},
    market::{advert::Advert, order::Verification, redundant::TooFew},
    signed::{PublicKey, Verified},
    units::Credits,
};
use testkit::gguf::SmallModel;
use tokio::sync::watch;

use crate::{
    failover::{CHEAP, DEAR, FIRST, SECOND, Seller, World, confirmed, wish},
    job_streams::{PATIENCE, engine, served, served_on_watched_device},
};

const THIRD: u8 = 7;
const TOKENS: u32 = 24;

/// What came of an order, and what its user was told.
struct Ran {
    result: Result<JobResult, RunError>,
    shown: Vec<u32>,
    silent: Vec<PublicKey>,
    evidence: Option<PathBuf>,
}

fn together(providers: u8) -> RunSpec {
    let verification = Verification::Redundant { providers };
    RunSpec { verification, ..wish(&served(), TOKENS, Sampling::GREEDY) }
}

/// One that computes with other weights than those of the model that it sells.
fn lying() -> Served {
    let file = Gguf::from_bytes(SmallModel::new(6).bytes()).expect("a sound model");
    let config = EngineConfig { threads: NonZeroUsize::MIN, ..EngineConfig::default() };
    let other = Engine::from_gguf(&file, config).expect("the engine takes it");
    Served { scheduler: Scheduler::start(Arc::new(other)).expect("a thread"), ..served() }
}

/// Runs an order, and tells `seen` how many tokens the user has.
fn run(world: &World, spec: &RunSpec, offers: &[Verified<Advert>], seen: &SyncSender<usize>) -> Ran {
    let (_keep, cancel) = watch::channel(false);
    let (mut shown, mut silent, mut evidence) = (Vec::new(), Vec::new(), None);
    let mut on_event = |event: RunEvent<'_>| match event {
        RunEvent::Tokens(tokens) => {
            shown.extend_from_slice(tokens);
            // Nobody may be left who wants to know.
            let _ = seen.send(shown.len());
        }
        RunEvent::NoVote { provider, .. } => silent.push(provider),
        RunEvent::Disagreed { evidence: path, .. } => evidence = Some(path.to_owned()),
        _ => {}
    };
    let result = world.main.block_on(world.client.run(spec, offers, cancel, &mut on_event));
    Ran { result, shown, silent, evidence }
}

fn run_alone(world: &World, sellers: &[&Seller], count: u8) -> Ran {
    let ids: Vec<PublicKey> = sellers.iter().map(|seller| seller.id).collect();
    let (unheard, _) = sync_channel(1_024);
    run(world, &together(count), &world.offers(&ids, 0), &unheard)
}

/// Every result that the client kept.
fn kept(world: &World) -> Vec<JobResult> {
    let all = world.client.results().list().expect("they can be read");
    all.into_iter().map(|(result, _)| result).collect()
}

/// Everybody has what its own receipt says, nothing is held, and the ledger is in order.
fn check_payments(world: &World, sellers: &[&Seller]) {
    world.settled();
    let kept = kept(world);
    for seller in sellers {
        let own = kept.iter().filter(|result| result.terms.provider == seller.id);
        let earned = Credits::sum(own.map(|result| result.cost)).expect("small");
        assert_eq!(world.balance(seller.id), earned);
    }
    world.audit();
}

#[test]
fn three_that_agree_give_one_answer_which_is_there_before_the_slowest_has_begun() {
    let world = World::new();
    let (held, watch) = served_on_watched_device(engine(), None);
    let sellers = [
        world.seller(FIRST, CHEAP, Duration::ZERO, served()),
        world.seller(SECOND, DEAR, Duration::ZERO, served()),
        world.seller(THIRD, DEAR, Duration::ZERO, held),
    ];
    let (seen, told) = sync_channel(1_024);
    let released = thread::spawn(move || {
        while told.recv_timeout(PATIENCE).expect("two are enough to show a token") < TOKENS as usize {}
        drop(watch);
    });
    let ids = sellers.each_ref().map(|seller| seller.id);
    let ran = run(&world, &together(3), &world.offers(&ids, 0), &seen);
    released.join().expect("the tokens came");
    let result = ran.result.expect("all agree");
    assert_eq!((&ran.shown, ran.shown.len()), (&result.answer(), TOKENS as usize));
    let agreed = result.agreement.as_ref().expect("three were asked");
    assert_eq!((agreed.tally.verdict, agreed.tally.agreed.len()), (Verdict::Unanimous, 3));
    assert_eq!((ran.silent, ran.evidence), (vec![], None));
    assert_eq!(result.terms.provider, ids[0], "the answer is the cheapest one's");
    check_payments(&world, &sellers.each_ref());
    let earned = Credits::sum(ids.map(|id| world.balance(id)));
    assert_eq!(Some(result.cost_in_all()), earned, "the answer costs what all three did");
    assert!(kept(&world).iter().all(confirmed), "each receipt can be checked by itself");
    sellers.into_iter().for_each(Seller::stop);
}

#[test]
fn one_that_lies_is_outvoted_and_what_it_signed_is_kept() {
    let world = World::new();
    let sellers = [
        world.seller(FIRST, CHEAP, Duration::ZERO, lying()),
        world.seller(SECOND, DEAR, Duration::ZERO, served()),
        world.seller(THIRD, DEAR, Duration::ZERO, served()),
    ];
    let ran = run_alone(&world, &sellers.each_ref(), 3);
    let result = ran.result.expect("two agree");
    assert!(confirmed(&result) && result.terms.provider != sellers[0].id);
    assert_eq!(ran.shown, result.answer(), "not a token of the liar's own was shown");
    let tally = &result.agreement.as_ref().expect("three were asked").tally;
    assert_eq!((tally.verdict, &tally.dissent), (Verdict::Majority, &vec![sellers[0].id]));
    let of_liar = kept(&world).into_iter().find(|result| result.terms.provider == sellers[0].id);
    assert!(!confirmed(&of_liar.expect("its receipt is kept")), "its receipt is not what the model gives");
    let evidence = Mismatch::load(&ran.evidence.expect("it is kept")).expect("it can be read");
    assert_eq!(evidence.tally().as_ref(), Ok(tally));
    check_faults(&evidence);
    check_payments(&world, &sellers.each_ref());
    sellers.into_iter().for_each(Seller::stop);
}

/// Nothing in the evidence can be changed unseen.
fn check_faults(evidence: &Mismatch) {
    let changed = |change: fn(&mut Mismatch)| {
        let mut other = evidence.clone();
        change(&mut other);
        other.tally().expect_err("it is seen")
    };
    assert_eq!(changed(|it| it.answers[1].output[0] ^= 1), MismatchFault::Receipt(1));
    assert_eq!(changed(|it| it.asked.request.prompt.push(1)), MismatchFault::Receipt(0));
    assert_eq!(changed(|it| it.answers[0].receipt.body.measured.0 += 1), MismatchFault::Receipt(0));
    assert_eq!(changed(|it| it.answers[2].terms.order.0[0] ^= 1), MismatchFault::Terms(2));
    assert_eq!(changed(|it| it.answers[1] = it.answers[0].clone()), MismatchFault::Terms(1));
    assert_eq!(changed(|it| it.answers[0].advert.body.queued += 1), MismatchFault::Advert(0));
    assert_eq!(changed(|it| it.asked.order.body.nonce ^= 1), MismatchFault::Order);
    assert_eq!(changed(|it| it.asked.providers.truncate(2)), MismatchFault::Order);
}

#[test]
fn two_that_differ_decide_nothing_and_the_evidence_is_named() {
    let world = World::new();
    let sellers = [
        world.seller(FIRST, CHEAP, Duration::ZERO, lying()),
        world.seller(SECOND, DEAR, Duration::ZERO, served()),
    ];
    let ran = run_alone(&world, &sellers.each_ref(), 2);
    let Err(RunError::Undecided(undecided)) = ran.result else { panic!("{:?}", ran.result) };
    let said = undecided.to_string();
    let Undecided { tally, cost, stopped, evidence } = *undecided;
    let path = evidence.expect("both signed");
    assert!(said.contains(&path.display().to_string()), "{said}");
    assert_eq!((tally.verdict, tally.dissent.len(), stopped), (Verdict::Undecided, 2, false));
    let kept_evidence = Mismatch::load(Path::new(&path)).expect("it can be read");
    assert_eq!(kept_evidence.tally(), Ok(tally));
    let beginning = |result: JobResult| result.output.starts_with(&ran.shown);
    assert!(kept(&world).into_iter().all(beginning), "no more was shown than both had written");
    check_payments(&world, &sellers.each_ref());
    assert_eq!(Credits::sum(sellers.each_ref().map(|seller| world.balance(seller.id))), Some(cost));
    sellers.into_iter().for_each(Seller::stop);
}

#[test]
fn of_three_the_death_of_one_is_no_vote_and_two_suffice() {
    let world = World::new();
    let (held, watch) = served_on_watched_device(engine(), None);
    let [second, third] = [SECOND, THIRD].map(|n| world.seller(n, DEAR, Duration::ZERO, served()));
    let first = world.seller(FIRST, CHEAP, Duration::ZERO, held);
    let ids = [first.id, second.id, third.id];
    let offers = world.offers(&ids, 0);
    let runtime = first.runtime;
    let killer = thread::spawn(move || {
        (0..5).for_each(|_| drop(watch.pass()));
        drop(watch.next());
        let gone = thread::spawn(move || runtime.shutdown_timeout(PATIENCE));
        (watch, gone)
    });
    let (unheard, _) = sync_channel(1_024);
    let ran = run(&world, &together(3), &offers, &unheard);
    let (watch, gone) = killer.join().expect("it was killed");
    drop(watch);
    gone.join().expect("it is gone");
    let result = ran.result.expect("two agree");
    let tally = &result.agreement.as_ref().expect("three were asked").tally;
    assert_eq!((tally.verdict, tally.agreed.len()), (Verdict::Majority, 2));
    assert_eq!((&tally.silent, &tally.dissent), (&ids[..1].to_vec(), &vec![]));
    assert_eq!((ran.silent, ran.evidence), (vec![ids[0]], None), "who died said nothing wrong");
    assert_eq!(ran.shown, result.answer());
    assert!(confirmed(&result));
    // It comes back, and collects what is left.
    let first = world.seller(FIRST, CHEAP, Duration::ZERO, served());
    world.settled();
    let earned = Credits::sum(ids.map(|id| world.balance(id))).expect("small");
    assert!(earned <= result.cost_in_all(), "{earned:?}, {:?}", result.cost_in_all());
    world.audit();
    [first, second, third].into_iter().for_each(Seller::stop);
}

#[test]
fn one_stake_account_is_asked_once_and_all_must_be_paid_by_the_total() {
    let world = World::new();
    let sellers = [FIRST, SECOND].map(|n| world.seller(n, CHEAP, Duration::ZERO, served()));
    let offers = world.offers(&sellers.each_ref().map(|seller| seller.id), 0);
    let twice = [offers.clone(), offers.clone()].concat();
    let (unheard, _) = sync_channel(1_024);
    let too_few =
        |spec: &RunSpec, offers: &[Verified<Advert>]| match run(&world, spec, offers, &unheard).result {
            Err(RunError::TooFew { why, .. }) => why,
            other => panic!("{other:?}"),
        };
    let few = TooFew::Accounts { wanted: 3, found: 2 };
    assert_eq!(too_few(&together(3), &twice), few);
    let result = run(&world, &together(2), &twice, &unheard).result.expect("two accounts, two answers");
    let each = result.cost_in_all().0 / 2;
    let poor = RunSpec { total_max: Credits(each * 3 / 2), ..together(2) };
    let TooFew::Total { wanted: 2, cheapest, limit } = too_few(&poor, &offers) else { panic!("it is money") };
    assert!(cheapest > limit && limit == poor.total_max);
    check_payments(&world, &sellers.each_ref());
    sellers.into_iter().for_each(Seller::stop);
}
