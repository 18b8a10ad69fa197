//! The session contract, every state with every call: the table that docs/LEDGER.md shows is made here.

use gridhour_contracts_sim::{
    harness::{Chain, Deal, key, table},
    ledger::reject::Reject,
    tx::Call,
};
use gridhour_protocol::{
    signed::SecretKey,
    units::{Credits, Millis, Timestamp},
};

const MINUTE: Millis = Millis(60_000);

const STATES: [&str; 7] = ["absent", "open", "use over", "closing", "overdue", "closing, overdue", "ended"];

struct Case {
    chain: Chain,
    deal: Deal,
}

/// A session in `state`. Its use ends after 5 minutes, its deadline is 2 later, and its advert outlives both.
fn case(state: &str) -> Case {
    let mut chain = Chain::new();
    let (client, provider) = (key(1), key(2));
    chain.fund(&client.public(), Credits(10_000));
    let mut deal = Deal::new(&chain, &client, &provider);
    let after = |minutes: u64| Timestamp(chain.now().0 + minutes * MINUTE.0);
    (deal.terms.use_until, deal.terms.collect_until) = (after(5), after(7));
    deal.advert.expires_at = after(10);
    let mut case = Case { chain, deal };
    if state != "absent" {
        let open = case.deal.open();
        case.chain.acting(&client).ok(open);
    }
    if state.starts_with("closing") {
        let close = Call::Close { session: case.deal.session(), vouchers: vec![], release: None };
        case.chain.acting(&client).ok(close);
    }
    if state == "ended" {
        let close = Call::Close { session: case.deal.session(), vouchers: vec![], release: None };
        case.chain.acting(&provider).ok(close);
    }
    let minutes = match state {
        "use over" => 6,
        "overdue" => 8,
        "closing, overdue" => 3,
        _ => 0,
    };
    case.chain.advance(Millis(minutes * MINUTE.0));
    case
}

type MakeCall = fn(&Deal) -> (SecretKey, Call);

const CALLS: [(&str, MakeCall); 11] = [
    ("open, client", |deal| (deal.client.clone(), deal.open())),
    ("top-up, client", |deal| (deal.client.clone(), top_up(deal))),
    ("top-up, provider", |deal| (deal.provider.clone(), top_up(deal))),
    ("collect, provider", |deal| (deal.provider.clone(), collect(deal))),
    ("collect, client", |deal| (deal.client.clone(), collect(deal))),
    ("close, provider", |deal| (deal.provider.clone(), close(deal, true, false))),
    ("close, client alone", |deal| (deal.client.clone(), close(deal, false, false))),
    ("close, client with release", |deal| (deal.client.clone(), close(deal, true, true))),
    ("close, anyone else", |deal| (key(9), close(deal, false, false))),
    ("expire, anyone", |deal| (key(9), Call::Expire { session: deal.session() })),
    ("expire, provider", |deal| (deal.provider.clone(), Call::Expire { session: deal.session() })),
];

fn top_up(deal: &Deal) -> Call {
    Call::TopUp { session: deal.session(), amount: Credits(100) }
}

fn collect(deal: &Deal) -> Call {
    Call::Collect { session: deal.session(), vouchers: vec![deal.voucher(0, 1, Credits(150))] }
}

fn close(deal: &Deal, pays: bool, released: bool) -> Call {
    let vouchers = if pays { vec![deal.voucher(0, 1, Credits(150))] } else { vec![] };
    Call::Close {
        session: deal.session(),
        vouchers,
        release: released.then(|| Box::new(deal.release(Credits(150)))),
    }
}

#[test]
fn the_docs_show_the_table() {
    let docs = include_str!("../../../docs/LEDGER.md");
    let table = table(&STATES, &CALLS, |state, make| {
        let mut case = case(state);
        let (who, call) = make(&case.deal);
        case.chain.acting(&who).answered(call)
    });
    assert!(docs.contains(&table), "docs/LEDGER.md must show:\n{table}");
}

#[test]
fn the_docs_show_the_codes() {
    let docs = include_str!("../../../docs/LEDGER.md");
    let rows = Reject::ALL.iter().map(|reject| {
        let later = if reject.is_transient() { "later" } else { "" };
        format!("| {} | `{}` | {reject} | {later} |", reject.code(), reject.name())
    });
    let table = rows.collect::<Vec<_>>().join("\n");
    assert!(docs.contains(&table), "docs/LEDGER.md must show:\n{table}");
}

#[test]
fn a_payment_reaches_its_provider_and_the_rest_goes_home() {
    for who in ["collect, provider", "close, provider", "close, client with release"] {
        let Case { mut chain, deal } = case("open");
        let make = CALLS.iter().find(|(name, _)| *name == who).unwrap().1;
        let (key, call) = make(&deal);
        chain.acting(&key).ok(call);
        assert_eq!(chain.state().balance(&deal.provider.public()), Credits(150), "{who}");
        let held = chain.state().session(&deal.session()).map(|session| session.held);
        assert_eq!(held, who.starts_with("collect").then_some(Credits(250)), "{who}");
        chain.advance(Millis(8 * MINUTE.0));
        if held.is_some() {
            chain.acting(&key_of_anyone()).ok(Call::Expire { session: deal.session() });
        }
        assert_eq!(chain.state().balance(&deal.client.public()), Credits(9_850), "{who}");
        assert_eq!(chain.state().tip().totals.holds, Credits::ZERO, "after the deadline nothing is held");
    }
}

fn key_of_anyone() -> SecretKey {
    key(9)
}

#[test]
fn a_client_that_closes_leaves_its_provider_the_grace_and_no_more() {
    let Case { mut chain, deal } = case("closing");
    let deadline = chain.state().session(&deal.session()).unwrap().collect_until;
    assert_eq!(deadline.0, chain.now().0 + 2 * MINUTE.0, "the session's own grace");
    chain.advance(Millis(2 * MINUTE.0));
    chain.acting(&key_of_anyone()).expect(Call::Expire { session: deal.session() }, Reject::NotYetExpired);
    chain.acting(&deal.provider).ok(collect(&deal));
    chain.advance(Millis(1));
    chain.acting(&deal.provider).expect(close(&deal, false, false), Reject::SessionOver);
    chain.acting(&key_of_anyone()).ok(Call::Expire { session: deal.session() });
    assert_eq!(chain.state().balance(&deal.provider.public()), Credits(150));
}

#[test]
fn closing_late_never_moves_the_deadline_back() {
    let Case { mut chain, deal } = case("use over");
    let before = chain.state().session(&deal.session()).unwrap().collect_until;
    chain.acting(&deal.client).ok(close(&deal, false, false));
    assert_eq!(chain.state().session(&deal.session()).unwrap().collect_until, before);
}

#[test]
fn a_release_is_for_one_outcome() {
    let Case { mut chain, deal } = case("open");
    let mut wrong = [(); 3].map(|()| close(&deal, true, true));
    let releases = [
        Some(deal.release(Credits(149))),
        Some(key(9).sign(gridhour_contracts_sim::tx::Release {
            session: deal.session(),
            provider: key(9).public(),
            collected: Credits(150),
        })),
        None,
    ];
    for (call, other) in wrong.iter_mut().zip(releases) {
        let Call::Close { release, .. } = call else { unreachable!("made as a close") };
        *release = other.map(Box::new);
        chain.acting(&deal.client).expect(call.clone(), Reject::BadRelease);
    }
    chain.acting(&deal.provider).expect(close(&deal, true, true), Reject::BadRelease);
    chain.acting(&deal.client).ok(close(&deal, true, true));
}
