//! What a session may never come to, whatever its two sides do or claim.

use gridhour_contracts_sim::{
    block::{Proposal, propose},
    harness::{Chain, Deal, key},
    ledger::reject::Reject,
    tx::Call,
};
use gridhour_protocol::{
    id::{AdvertId, ModelId, NetworkId, OrderId},
    job::sampling::Sampling,
    limits::CHUNK_TOKENS_MAX,
    market::tier::Tier,
    merkle,
    session::{terms::Terms, voucher::Voucher},
    signed::Signed,
    units::{Credits, Millis, PricePerHour, Timestamp, WorkRate},
};
use testkit::{
    actors::client::Errand,
    scenario::{Scenario, Trouble},
    seeds::{for_each_seed, seeds},
    sim::{clock::Moment, net::Weather, rng::Rng, world::Outage},
};

const CLIENT: u8 = 1;
const PROVIDER: u8 = 2;
const FUNDS: Credits = Credits(10_000);
const MINUTE_MS: u64 = 60_000;

/// A client with money, and a session of 400 micro-credits that is open for 10 minutes and may be collected for 12.
fn opened() -> (Chain, Deal) {
    let mut chain = Chain::new();
    chain.fund(&key(CLIENT).public(), FUNDS);
    let deal = Deal::new(&chain, &key(CLIENT), &key(PROVIDER));
    chain.acting(&deal.client).ok(deal.open());
    (chain, deal)
}

fn balance(chain: &Chain, who: u8) -> u64 {
    chain.state().balance(&key(who).public()).0
}

fn close(deal: &Deal, vouchers: Vec<Signed<Voucher>>) -> Call {
    Call::Close { session: deal.session(), vouchers, release: None }
}

/// The terms with each of their fields changed. A new field does not compile until it is here.
fn other_terms(terms: &Terms) -> Vec<(&'static str, Terms)> {
    let Terms {
        network: _,
        client: _,
        provider: _,
        order: _,
        advert: _,
        model: _,
        work,
        rates,
        numerics,
        price,
        tier: _,
        notice,
        chunk_tokens,
        use_until,
        collect_until,
        nonce,
    } = terms.clone();
    let with = |change: &dyn Fn(&mut Terms)| {
        let mut terms = terms.clone();
        change(&mut terms);
        terms
    };
    vec![
        ("network", with(&|terms| terms.network = NetworkId([9; 32]))),
        ("client", with(&|terms| terms.client = key(9).public())),
        ("provider", with(&|terms| terms.provider = key(9).public())),
        ("order", with(&|terms| terms.order = OrderId([9; 32]))),
        ("advert", with(&|terms| terms.advert = AdvertId([9; 32]))),
        ("model", with(&|terms| terms.model = ModelId([9; 32]))),
        ("work", with(&|terms| terms.work.head = work.head + 1)),
        ("rates", with(&|terms| terms.rates.decode = WorkRate(rates.decode.0 / 2))),
        ("numerics", with(&|terms| terms.numerics = numerics + 1)),
        ("price", with(&|terms| terms.price = PricePerHour(price.0 * 2))),
        ("tier", with(&|terms| terms.tier = Tier::Spot)),
        ("notice", with(&|terms| terms.notice = Millis(notice.0 + 1))),
        ("chunk-tokens", with(&|terms| terms.chunk_tokens = chunk_tokens - 1)),
        ("use-until", with(&|terms| terms.use_until = Timestamp(use_until.0 + 1))),
        ("collect-until", with(&|terms| terms.collect_until = Timestamp(collect_until.0 + 1))),
        ("nonce", with(&|terms| terms.nonce = nonce + 1)),
    ]
}

/// The client bound other terms than the ledger, in one field, and paid under those: nobody is paid, and every credit
/// goes home.
#[test]
fn two_sides_never_bind_different_terms_and_one_is_paid() {
    let (chain, deal) = opened();
    let bound = deal.sign().terms;
    let variants = other_terms(&bound);
    assert_eq!(variants.len(), 16);
    for (field, other) in variants {
        assert_ne!(other.id(), bound.id(), "{field} is bound");
        let mut chain = chain.clone();
        let voucher = deal.client.sign(Voucher {
            session: other.id(),
            client: deal.client.public(),
            lane: 0,
            sequence: 1,
            amount: deal.hold,
            receipts: 0,
            receipts_root: merkle::empty_root(),
        });
        let session = deal.session();
        let collect = Call::Collect { session, vouchers: vec![voucher.clone()] };
        chain.acting(&deal.provider).expect(collect, Reject::VoucherSession);
        chain.acting(&deal.provider).expect(close(&deal, vec![voucher.clone()]), Reject::VoucherSession);
        let theirs = Call::Collect { session: other.id(), vouchers: vec![voucher] };
        chain.acting(&deal.provider).expect(theirs, Reject::UnknownSession);
        let mut open = deal.sign();
        open.terms = other;
        let opens = chain.acting(&deal.client).call(Call::Open(Box::new(open)));
        // These three are the two sides' to choose, together: another session, which pays by its own vouchers.
        assert_eq!(
            opens.is_ok(),
            ["chunk-tokens", "use-until", "collect-until", "nonce"].contains(&field),
            "{field}"
        );
        chain.advance(Millis(12 * MINUTE_MS + 2));
        chain.idle(1);
        let left: Vec<_> = chain.state().sessions().map(|(session, _)| *session).collect();
        left.iter().for_each(|session| drop(chain.acting(&key(9)).ok(Call::Expire { session: *session })));
        assert_eq!((balance(&chain, PROVIDER), balance(&chain, CLIENT)), (0, FUNDS.0), "{field}");
    }
}

/// How a session ends.
#[derive(Clone, Copy, Debug)]
enum End {
    ByProvider,
    ByClientWithRelease,
    ByClientAlone,
    ByClientAloneAndProviderSilent,
    AtTheDeadline,
}

/// The provider is paid what the client's vouchers say for the chunks that it released, and the rest goes home,
/// whichever way a session ends.
#[test]
fn unfinished_work_never_pays_the_hold() {
    let ends = [
        End::ByProvider,
        End::ByClientWithRelease,
        End::ByClientAlone,
        End::ByClientAloneAndProviderSilent,
        End::AtTheDeadline,
    ];
    for end in ends {
        for (released, topped_up) in [(0, 0), (1, 0), (150, 0), (399, 0), (400, 300), (699, 300)] {
            let (mut chain, deal) = opened();
            if topped_up > 0 {
                let session = deal.session();
                chain.acting(&deal.client).ok(Call::TopUp { session, amount: Credits(topped_up) });
            }
            let paid = end_session(&mut chain, &deal, end, released);
            let (provider, client) = (balance(&chain, PROVIDER), balance(&chain, CLIENT));
            assert_eq!(
                (provider, client),
                (paid, FUNDS.0 - paid),
                "{end:?}, {released} of {}",
                400 + topped_up
            );
            assert!(paid <= released && chain.state().sessions().next().is_none());
        }
    }
    for_each_seed("unfinished_work_never_pays_the_hold", 60, providers_die_for_good, |scenario, report| {
        let of = |node| report.balances.get(&scenario.key(node).public()).copied().unwrap_or(0);
        let (earned, left) = (of(scenario.provider(0)), of(scenario.client(0)));
        // What the client may lose at most a checker knows; here: it went nowhere but to its provider.
        if report.held == 0 && report.delivered.is_empty() && earned + left == scenario.wealth(0).0 {
            Ok(())
        } else {
            Err(format!("{} held, {earned} earned, {left} left", report.held))
        }
    });
}

/// Ends the session the way that `end` says, `released` having been paid for, and returns what is due for that.
fn end_session(chain: &mut Chain, deal: &Deal, end: End, released: u64) -> u64 {
    let voucher = || vec![deal.voucher(0, 1, Credits(released))];
    let (session, alone) = (deal.session(), close(deal, Vec::new()));
    match end {
        End::ByProvider => drop(chain.acting(&deal.provider).ok(close(deal, voucher()))),
        End::ByClientWithRelease => {
            chain.acting(&deal.provider).ok(Call::Collect { session, vouchers: voucher() });
            let release = Some(Box::new(deal.release(Credits(released))));
            chain.acting(&deal.client).ok(Call::Close { session, vouchers: Vec::new(), release });
        }
        End::ByClientAlone => {
            chain.acting(&deal.client).ok(alone);
            chain.acting(&deal.provider).ok(close(deal, voucher()));
        }
        End::ByClientAloneAndProviderSilent | End::AtTheDeadline => {
            if matches!(end, End::ByClientAloneAndProviderSilent) {
                chain.acting(&deal.client).ok(alone);
            }
            chain.advance(Millis(12 * MINUTE_MS + 1));
            chain.acting(&deal.provider).expect(close(deal, voucher()), Reject::SessionOver);
            chain.acting(&key(9)).ok(Call::Expire { session });
            return 0;
        }
    }
    released
}

/// One long job, in the middle of which its only provider dies and never returns.
fn providers_die_for_good(seed: u64) -> Scenario {
    let scenario = Scenario {
        errands: Some(vec![Errand {
            prompt: vec![3; 5],
            max_tokens: 300,
            sampling: Sampling::GREEDY,
            stop: Vec::new(),
            stop_texts: Vec::new(),
            logprobs: 0,
        }]),
        token_ms: Some(200),
        ..Scenario::honest(seed, 1, 1)
    };
    let outage = Outage::At(Moment(1_000 + seed * 137 % 9_000));
    let trouble = Trouble { node: scenario.provider(0), outage, down_ms: None, flips_bit: false };
    Scenario { troubles: vec![trouble], ..scenario }
}

/// What both sides say and when, drawn at random. Neither claim moves money: what pays is the newest voucher that the
/// provider showed within the time that the terms left it, and the client's haste leaves it the whole grace.
#[test]
fn a_client_never_suppresses_the_providers_finish_and_claims_a_timeout_or_the_reverse() {
    for seed in seeds(64) {
        let (mut chain, deal) = opened();
        let mut rng = Rng::new(seed);
        let (mut signed, mut shown, mut over) = (0, 0, false);
        for sequence in 1..40 {
            let deadline = chain.state().session(&deal.session()).map(|session| session.collect_until);
            let in_time = deadline.is_some_and(|deadline| chain.now() <= deadline);
            let newer = signed + rng.below(400 - signed + 1);
            let voucher = vec![deal.voucher(0, sequence, Credits(newer))];
            let (who, call, shows) = match rng.below(6) {
                0 => (CLIENT, close(&deal, Vec::new()), false),
                1 => (PROVIDER, Call::Collect { session: deal.session(), vouchers: voucher }, true),
                2 if sequence > 20 => (PROVIDER, close(&deal, voucher), true),
                3 => (9, Call::Expire { session: deal.session() }, false),
                _ => {
                    let left = deadline.map_or(0, |deadline| deadline.since(chain.now()).0);
                    // Often to the last millisecond, and sometimes beyond.
                    chain.advance(Millis(if rng.one_in(4) { left } else { rng.below(left / 4 + 2) }));
                    continue;
                }
            };
            let applied = chain.acting(&key(who)).call(call).is_ok();
            assert!(!shows || over || applied == in_time, "seed {seed}: what is shown in time counts");
            (signed, shown) = if shows && applied { (newer, newer) } else { (signed, shown) };
            over = chain.state().session(&deal.session()).is_none();
            assert_eq!(balance(&chain, PROVIDER), shown, "seed {seed}: and nothing else does");
        }
        chain.advance(Millis(12 * MINUTE_MS + 1));
        let _ = chain.acting(&key(9)).call(Call::Expire { session: deal.session() });
        assert_eq!(
            (balance(&chain, PROVIDER), balance(&chain, CLIENT)),
            (shown, FUNDS.0 - shown),
            "seed {seed}"
        );
    }
}

/// What anyone claims about time (an advert's, an order's, a block that its operator dates back) moves no deadline:
/// it is in the terms that both sides signed, and is reached by the ledger's time, which never goes back.
#[test]
fn a_deadline_never_counts_from_a_claimed_not_a_countersigned_time() {
    for (claimed, issued_at) in [("as it is", 0), ("backdated", 60_000), ("as far as may be", 299_999)] {
        let mut chain = Chain::new();
        chain.fund(&key(CLIENT).public(), FUNDS);
        let mut deal = Deal::new(&chain, &key(CLIENT), &key(PROVIDER));
        let back = |time: &mut Timestamp| time.0 -= issued_at;
        back(&mut deal.order.issued_at);
        back(&mut deal.advert.issued_at);
        chain.acting(&deal.client).ok(deal.open());
        let session = deal.session();
        let deadline = |chain: &Chain| chain.state().session(&session).expect("open").collect_until;
        assert_eq!(deadline(&chain), deal.terms.collect_until, "{claimed}");
        chain.advance(Millis(4 * MINUTE_MS));
        chain.acting(&deal.client).ok(close(&deal, Vec::new()));
        let agreed = Timestamp(chain.now().0 + 2 * MINUTE_MS);
        assert_eq!(deadline(&chain), agreed, "{claimed}: the grace of the terms, from the ledger's time");
        chain.advance(Millis(2 * MINUTE_MS));
        chain.acting(&key(9)).expect(Call::Expire { session }, Reject::NotYetExpired);
        let backdated = Timestamp(chain.now().0 - 3_600_000);
        let Proposal { block, .. } = propose(chain.state(), chain.operator(), backdated, Vec::new());
        assert!(block.header.body.time >= chain.state().tip().time, "{claimed}: a block dated back");
        chain.acting(&deal.provider).ok(close(&deal, vec![deal.voucher(0, 1, Credits(7))]));
        assert_eq!(balance(&chain, PROVIDER), 7, "{claimed}: in the last millisecond");
    }
    let chain = Chain::new();
    let mut late = Deal::new(&chain, &key(CLIENT), &key(PROVIDER));
    late.terms.use_until = chain.now();
    let mut ledger = chain.clone();
    ledger.fund(&key(CLIENT).public(), FUNDS);
    ledger.acting(&late.client).expect(late.open(), Reject::UseWindow);
}

/// Every receipt of every world is held against what its provider's engine and its stream did, by the checker
/// `causes_are_true`; here all four causes occur, so that none passes by never being given.
#[test]
fn a_receipt_can_always_tell_idle_from_failed() {
    let scenario = |seed| Scenario {
        weather: Weather::STORMY,
        engine_failures: 15,
        cancels: 60,
        ..Scenario::honest(seed, 2, 2)
    };
    let tally = for_each_seed("a_receipt_can_always_tell_idle_from_failed", 120, scenario, |_, _| Ok(()));
    tally.has_all(&[
        "receipt-delivered",
        "receipt-client-fault",
        "receipt-provider-fault",
        "receipt-network",
    ]);
}

/// A voucher for each token, or as few vouchers as there may be: the same tokens cost the same.
#[test]
fn streaming_and_not_streaming_never_bill_differently() {
    let bill = |seed, chunk_tokens| {
        // One job, since a bill is rounded up once for each lane.
        let mut scenario = Scenario { chunk_tokens: Some(chunk_tokens), ..Scenario::honest(seed, 1, 1) };
        scenario.errands = Some(vec![scenario.errands_of(0).swap_remove(0)]);
        let report = scenario.run().unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(report.delivered.len(), 1, "seed {seed}, {chunk_tokens} tokens a chunk");
        let paid = report.balances.get(&scenario.key(scenario.provider(0)).public()).copied();
        (paid.unwrap_or(0), report.counts.get("voucher").copied().unwrap_or(0))
    };
    for seed in seeds(40) {
        let (whole, fewest) = bill(seed, CHUNK_TOKENS_MAX as u16);
        let (streamed, most) = bill(seed, 1);
        assert!(whole > 0 && streamed == whole, "seed {seed}: {streamed} streamed, {whole} not");
        assert!(fewest <= most, "seed {seed}: {fewest} vouchers for all, {most} streamed");
        assert_eq!(bill(seed, 1 + seed as u16 % 16).0, whole, "seed {seed}: any cut");
    }
}
