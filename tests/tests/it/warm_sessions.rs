//! Real drivers and real sockets: sessions that a client keeps open between requests.

use std::{
    mem,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use gridhour_contracts_sim::tx::Call;
use gridhour_node::{
    bench::first_token::{FirstTokenError, measure},
    drivers::{
        client::{Client, Keep, RunError, RunEvent, RunSpec},
        provider::ProviderConfig,
        results::JobResult,
    },
    model::template::{Message, Role},
};
use gridhour_protocol::{
    id::SessionId,
    job::sampling::Sampling,
    market::advert::Advert,
    receipt::Cause,
    signed::{PublicKey, Verified},
    units::{Credits, Height, Millis},
};
use testkit::watched::{Answer, Watch};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use crate::{
    failover::{CHEAP, DEAR, FIRST, SECOND, Seller, World, client_in, selling, wish},
    job_streams::{PATIENCE, engine, served, served_on_watched_device},
};

/// Longer than any test.
pub(crate) const IDLE: Millis = Millis(600_000);
/// Tokens of an answer.
const TOKENS: u32 = 6;

/// What the ledger did for sessions.
#[derive(Debug, Default, PartialEq, Eq)]
struct Calls {
    opens: usize,
    top_ups: usize,
    closes: usize,
}

/// What happened before the first token, and whose session it was.
#[derive(Debug, Default)]
pub(crate) struct Start {
    pub(crate) opened: Option<SessionId>,
    pub(crate) goes_on: Option<SessionId>,
    tokens: usize,
    moved: usize,
    settled: usize,
}

pub(crate) fn keeping(idle: Millis) -> RunSpec {
    let keep = Keep { prompt_tokens: 64, idle };
    let total_max = Credits(2_000_000_000);
    RunSpec {
        keep: Some(keep),
        total_max,
        use_for: Millis(3_600_000),
        ..wish(&served(), TOKENS, Sampling::GREEDY)
    }
}

fn asking(spec: &RunSpec, what: &str) -> RunSpec {
    RunSpec { messages: vec![Message { role: Role::User, content: what.into() }], ..spec.clone() }
}

pub(crate) async fn ask(
    client: &Client,
    spec: &RunSpec,
    offers: &[Verified<Advert>],
) -> (Result<JobResult, RunError>, Start) {
    let mut start = Start::default();
    let mut on_event = |event: RunEvent<'_>| match event {
        RunEvent::Opened { session, .. } => start.opened = Some(session),
        RunEvent::GoesOn { session, .. } => start.goes_on = Some(session),
        RunEvent::Tokens(tokens) => start.tokens += tokens.len(),
        RunEvent::Moved { .. } => start.moved += 1,
        RunEvent::Settled => start.settled += 1,
        _ => {}
    };
    let (_keep, cancel) = watch::channel(false);
    let result = client.run(spec, offers, cancel, &mut on_event).await;
    (result, start)
}

impl World {
    pub(crate) fn ask(
        &self,
        spec: &RunSpec,
        offers: &[Verified<Advert>],
    ) -> (Result<JobResult, RunError>, Start) {
        self.main.block_on(ask(&self.client, spec, offers))
    }

    fn calls(&self) -> Calls {
        let mut calls = Calls::default();
        for height in 1..=self.view.tip().borrow().0 {
            for tx in self.view.block(Height(height)).expect("it can be read").txs {
                match tx.body.call {
                    Call::Open(_) => calls.opens += 1,
                    Call::TopUp { .. } => calls.top_ups += 1,
                    Call::Close { .. } => calls.closes += 1,
                    _ => {}
                }
            }
        }
        calls
    }

    fn cost_of(&self, results: &[JobResult]) -> Credits {
        Credits::sum(results.iter().map(|result| result.cost)).expect("small")
    }

    fn is_paid(&self, seller: PublicKey, results: &[JobResult]) {
        assert_eq!(self.balance(seller), self.cost_of(results));
    }
}

#[test]
fn three_requests_are_one_session_opened_once_and_closed_once() {
    let world = World::new();
    let seller = world.seller(FIRST, CHEAP, Duration::ZERO, served());
    let offers = world.offers(&[seller.id], 0);
    let spec = keeping(IDLE);
    let mut results: Vec<JobResult> = Vec::new();
    for at in 0..3 {
        let (result, start) = world.ask(&spec, &offers);
        let result = result.expect("it is delivered");
        let session = result.terms.id();
        let expected = if at == 0 { (Some(session), None) } else { (None, Some(session)) };
        assert_eq!((start.opened, start.goes_on), expected);
        assert_eq!(start.settled, 0);
        assert_eq!((result.receipt.body.lane, result.receipt.body.index), (0, at));
        let before = results.last().map(|before| before.receipt.id().0);
        assert_eq!(result.receipt.body.previous.0, before.unwrap_or_default(), "one chain of receipts");
        results.push(result);
    }
    assert_eq!(world.client.kept(), 1);
    assert_eq!(world.calls(), Calls { opens: 1, ..Calls::default() }, "nothing on the way to a token");
    let late = world.main.block_on(world.client.close_kept());
    assert_eq!((late, world.client.kept()), (Vec::new(), 0));
    world.settled();
    assert_eq!(world.calls(), Calls { opens: 1, top_ups: 0, closes: 1 });
    world.is_paid(seller.id, &results);
    world.audit();
    seller.stop();
}

#[test]
fn a_request_in_a_kept_session_asks_the_ledger_nothing() {
    let world = World::new();
    let seller = world.seller(FIRST, CHEAP, Duration::ZERO, served());
    let offers = world.offers(&[seller.id], 0);
    let spec = keeping(IDLE);
    let (first, _) = world.ask(&spec, &offers);
    let first = first.expect("it is delivered");
    world.stop.send_replace(true);
    let silent = async { while world.client.ledger().status().await.is_ok() {} };
    world.main.block_on(async { timeout(PATIENCE, silent).await }).expect("the ledger node leaves");
    let (second, start) = world.ask(&asking(&spec, "again"), &offers);
    let second = second.expect("neither side needs the ledger");
    assert_eq!((start.goes_on, start.tokens), (Some(first.terms.id()), TOKENS as usize));
    assert_eq!((second.receipt.body.cause, second.receipt.body.index), (Cause::Delivered, 1));
    seller.runtime.shutdown_timeout(PATIENCE);
}

#[test]
fn holds_grow_in_the_background_and_an_idle_session_is_closed_and_refunded() {
    let world = World::new();
    let seller = world.seller(FIRST, CHEAP, Duration::ZERO, served());
    let offers = world.offers(&[seller.id], 0);
    let spec = keeping(IDLE);
    let mut tip = world.view.tip();
    let mut results = Vec::new();
    world.main.block_on(async {
        let requests = async {
            for count in 0..12 {
                let (result, start) = ask(&world.client, &spec, &offers).await;
                results.push(result.expect("it is delivered"));
                assert_eq!(start.opened.is_some(), count == 0);
            }
            while world.calls().top_ups == 0 {
                tip.changed().await.expect("the ledger node runs");
            }
        };
        tokio::select! {
            never = world.client.tend() => match never {},
            done = timeout(PATIENCE, requests) => done.expect("it grows"),
        }
    });
    let Calls { opens, top_ups, closes } = world.calls();
    assert_eq!((opens, closes), (1, 0));
    assert!((1..=4).contains(&top_ups), "{top_ups} for 12 requests: each holds as much again as was used");
    // The same session, once it may not lie idle at all, is gone without anyone's asking.
    let hasty = RunSpec { tag: Some([1; 32]), ..keeping(Millis(0)) };
    world.main.block_on(async {
        let (result, start) = ask(&world.client, &hasty, &offers).await;
        results.push(result.expect("it is delivered"));
        assert!(
            start.opened.is_some() && start.settled == 0,
            "another purse, another order, another session"
        );
        let closed = async {
            while world.calls().closes == 0 {
                tip.changed().await.expect("the ledger node runs");
            }
        };
        tokio::select! {
            never = world.client.tend() => match never {},
            done = timeout(PATIENCE, closed) => done.expect("it is closed"),
        }
    });
    assert_eq!(world.view.read(|state| state.sessions().count()), 1, "the other one is kept");
    assert!(world.main.block_on(world.client.close_kept()).is_empty());
    world.settled();
    world.is_paid(seller.id, &results);
    world.audit();
    seller.stop();
}

#[test]
fn a_request_that_fits_no_hold_tops_up_first_and_one_beyond_the_order_is_refused() {
    let world = World::new();
    let seller = world.seller(FIRST, CHEAP, Duration::ZERO, served());
    let offers = world.offers(&[seller.id], 0);
    let (free, _) = world.ask(&keeping(IDLE), &offers);
    let one = free.expect("it is delivered").cost;
    assert!(world.main.block_on(world.client.close_kept()).is_empty());
    // Five answers and a half, in all.
    let spec = RunSpec { total_max: Credits(one.0 * 5 + one.0 / 2), ..keeping(IDLE) };
    let mut delivered = 0;
    let refused = loop {
        match world.ask(&spec, &offers) {
            (Ok(result), _) => delivered += u64::from(result.cost == one),
            (Err(error), _) => break error,
        }
    };
    assert_eq!(delivered, 5, "the order pays for no more");
    assert!(matches!(refused, RunError::Order(_)), "{refused}");
    let calls = world.calls();
    assert_eq!((calls.opens, calls.closes), (2, 1));
    assert!(calls.top_ups > 0, "untended, it grew when a request needed it");
    assert!(world.main.block_on(world.client.close_kept()).is_empty());
    world.settled();
    assert_eq!(world.balance(seller.id), Credits(one.0 * 6));
    world.audit();
    seller.stop();
}

#[test]
fn a_kept_session_whose_provider_is_gone_is_dropped_and_the_request_goes_to_the_next() {
    let world = World::new();
    let second = world.seller(SECOND, DEAR, Duration::ZERO, served());
    let first = world.seller(FIRST, CHEAP, Duration::ZERO, served());
    let offers = world.offers(&[first.id, second.id], 0);
    let spec = RunSpec { failover: false, ..keeping(IDLE) };
    let (result, _) = world.ask(&spec, &offers);
    let early = result.expect("it is delivered");
    assert_eq!(early.terms.provider, first.id, "it is cheaper");
    first.runtime.shutdown_timeout(PATIENCE);
    let (result, start) = world.ask(&asking(&spec, "again"), &offers);
    let late = result.expect("the next one answers, whatever became of the kept session");
    assert_eq!((start.goes_on, start.moved), (Some(early.terms.id()), 1));
    assert_eq!((late.terms.provider, late.before.len()), (second.id, 0));
    let (result, start) = world.ask(&asking(&spec, "and again"), &offers);
    let last = result.expect("it is delivered");
    assert_eq!(start.goes_on, Some(late.terms.id()), "that one is kept now");
    assert!(world.main.block_on(world.client.close_kept()).is_empty());
    let first = world.seller(FIRST, CHEAP, Duration::ZERO, served());
    world.settled();
    world.is_paid(first.id, &[early]);
    world.is_paid(second.id, &[late, last]);
    world.audit();
    first.stop();
    second.stop();
}

#[test]
fn a_client_that_was_killed_goes_on_in_no_session_and_settles_what_it_left() {
    let mut world = World::new();
    let seller = world.seller(FIRST, CHEAP, Duration::ZERO, served());
    let offers = world.offers(&[seller.id], 0);
    let spec = keeping(IDLE);
    let (result, _) = world.ask(&spec, &offers);
    let early = result.expect("it is delivered");
    // As a kill does, it closes nothing.
    let fresh = world.main.block_on(async {
        world.client.net().shutdown().await;
        client_in(&world.folder, &world.network).await
    });
    drop(mem::replace(&mut world.client, fresh));
    let left = world.client.left_open().expect("sound records");
    assert_eq!(left.len(), 1);
    assert_eq!(left[0], early.terms, "the session is in the records");
    let offers = world.offers(&[seller.id], 0);
    let (result, start) = world.ask(&asking(&spec, "again"), &offers);
    let late = result.expect("it is delivered");
    assert_eq!((start.goes_on, start.opened), (None, Some(late.terms.id())), "no place is used twice");
    assert_ne!(late.terms.id(), early.terms.id());
    assert!(world.main.block_on(world.client.settle_left(left)).is_empty());
    assert!(world.main.block_on(world.client.close_kept()).is_empty());
    world.settled();
    world.is_paid(seller.id, &[early, late]);
    world.audit();
    seller.stop();
}

/// A provider of one slot, for which jobs may wait, on a device that the test watches.
fn watched_seller(world: &World) -> (Seller, Watch) {
    let (held, watch) = served_on_watched_device(engine(), None);
    let config = ProviderConfig { slots: 1, queue: Millis(60_000), ..selling(CHEAP) };
    (world.seller_of(FIRST, Duration::ZERO, held, config), watch)
}

/// What `work` gives while the device computes whatever it is asked.
fn computing<T: Send>(watch: &Watch, work: impl FnOnce() -> T + Send) -> T {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let done = work();
            over.store(true, Ordering::Release);
            done
        });
        // A panic of the work is told, and not waited for.
        watch.pass_until(|| over.load(Ordering::Acquire) || worker.is_finished());
        worker.join().expect("the work is done")
    })
}

/// Three requests at once, of which the hold covers two: the third is topped up for before it is sent. All find the one slot
/// taken, and the session as it was before the top-up; what they need is counted when their turn comes.
#[test]
fn a_job_that_was_topped_up_for_is_not_told_that_the_hold_is_exhausted() {
    let world = World::new();
    let (seller, watch) = watched_seller(&world);
    let offers = world.offers(&[seller.id], 0);
    let spec = keeping(IDLE);
    let (first, _) = computing(&watch, || world.ask(&spec, &offers));
    let mut results = vec![first.expect("it is delivered")];
    let session = results[0].terms.id();
    // The provider looks at a new session within two seconds, and goes by what it saw for long after.
    world.main.block_on(world.client.offers(usize::MAX, Duration::from_secs(4)));
    let all_wait =
        async { while !world.client.offers(1, PATIENCE).await.iter().any(|offer| offer.queued == 2) {} };
    thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let one = || ask(&world.client, &spec, &offers);
            world.main.block_on(async { tokio::join!(one(), one(), one()) })
        });
        let held = watch.next();
        assert!(!held.rows.is_empty());
        world.main.block_on(async { timeout(PATIENCE, all_wait).await }).expect("two wait for the slot");
        watch.answer(Answer::Go);
        watch.pass_until(|| asked.is_finished());
        let (one, two, three) = asked.join().expect("all are answered");
        for (result, start) in [one, two, three] {
            assert_eq!((start.goes_on, start.opened, start.moved), (Some(session), None, 0));
            results.push(result.expect("it is delivered"));
        }
    });
    let calls = world.calls();
    assert_eq!(calls.opens, 1);
    assert!(calls.top_ups > 0, "or nothing was shown");
    assert!(world.main.block_on(world.client.close_kept()).is_empty());
    world.settled();
    world.is_paid(seller.id, &results);
    world.audit();
    drop(watch);
    seller.stop();
}

/// Whoever asked goes away in the middle of an answer. Its lane comes back, so that the session can be closed.
#[test]
fn a_request_that_is_dropped_leaves_no_session_open() {
    let world = World::new();
    let (seller, watch) = watched_seller(&world);
    let offers = world.offers(&[seller.id], 0);
    let spec = keeping(IDLE);
    let (first, _) = computing(&watch, || world.ask(&spec, &offers));
    let first = first.expect("it is delivered");
    let (seen, mut begun) = mpsc::channel(1);
    thread::scope(|scope| {
        let dropped = scope.spawn(|| {
            world.main.block_on(async {
                tokio::select! {
                    (ended, _) = ask(&world.client, &spec, &offers) => panic!("it cannot end: {ended:?}"),
                    heard = begun.recv() => heard.expect("the device is asked"),
                }
            });
        });
        let held = watch.next();
        assert!(!held.rows.is_empty());
        seen.blocking_send(()).expect("it is waited for");
        dropped.join().expect("it goes away");
        watch.answer(Answer::Go);
    });
    let late = computing(&watch, || world.main.block_on(world.client.close_kept()));
    assert_eq!((late, world.client.kept()), (Vec::new(), 0));
    world.settled();
    assert!(world.balance(seller.id) >= first.cost);
    world.audit();
    drop(watch);
    seller.stop();
}

#[test]
fn a_measurement_that_is_stopped_says_so() {
    let world = World::new();
    let seller = world.seller(FIRST, CHEAP, Duration::ZERO, served());
    let offers = world.offers(&[seller.id], 0);
    let (_stop, stopped) = watch::channel(true);
    let spec = keeping(IDLE);
    let measured = world.main.block_on(measure(&world.client, &spec, &offers, 3, &stopped, &mut || ()));
    assert!(matches!(measured, Err(FirstTokenError::Stopped { at: 0 })), "{measured:?}");
    assert!(world.main.block_on(world.client.close_kept()).is_empty());
    world.settled();
    world.audit();
    seller.stop();
}
