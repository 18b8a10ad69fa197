//! Each misdeed is caught under its name, costs nobody else anything, and no honest party is accused.

use testkit::{
    actors::{client::Errand, double_spender::Fraud, lying_provider::Lie, silent_provider::Silence},
    scenario::{ClientKind, ProviderKind, Scenario},
    seeds::{for_each_seed, wrongly_accused},
    sim::{net::Weather, world::Report},
};

use gridhour_protocol::job::sampling::Sampling;

const SEEDS: u64 = 12;
/// Nothing overtakes anything, so that several transactions reach the ledger in the order in which they were
/// sent.
const STEADY: Weather = Weather { jitter_ms: 0, ..Weather::CALM };

/// Jobs long enough for several chunks, several of them, so that every misdeed has its chance.
fn errands(count: usize, max_tokens: u32) -> Option<Vec<Errand>> {
    let errand = |seed| Errand {
        prompt: vec![1, 2, 3],
        max_tokens,
        sampling: Sampling { temperature_q16: 65_536, seed, ..Sampling::GREEDY },
        stop: Vec::new(),
        stop_texts: Vec::new(),
        logprobs: 0,
    };
    Some((0..count as u64).map(errand).collect())
}

/// One dishonest provider that is the cheapest, one honest, one honest client.
fn among_providers(seed: u64, kind: ProviderKind) -> Scenario {
    let providers = vec![kind, ProviderKind::Honest];
    Scenario { providers, errands: errands(4, 30), weather: weather(seed), ..Scenario::honest(seed, 2, 1) }
}

/// One dishonest client among honest ones.
fn among_clients(seed: u64, fraud: Fraud) -> Scenario {
    let clients = vec![ClientKind::DoubleSpending(fraud), ClientKind::Honest];
    Scenario { clients, errands: errands(3, 30), weather: weather(seed), ..Scenario::honest(seed, 2, 2) }
}

fn weather(seed: u64) -> Weather {
    Weather { losses: 0, breaks: 0, ..if seed.is_multiple_of(2) { Weather::CALM } else { Weather::STORMY } }
}

fn accused(report: &Report, scenario: &Scenario, misdeed: &str) -> Result<(), String> {
    let found =
        report.accusations.iter().any(|(_, whom, what)| *what == misdeed && !scenario.is_honest(whom));
    if found { Ok(()) } else { Err(format!("{misdeed} was not noticed: {:?}", report.accusations)) }
}

fn refused(report: &Report, scenario: &Scenario, call: &str, why: &str) -> Result<(), String> {
    let is = |(whom, what, because): &(_, &str, &str)| {
        *what == call && *because == why && !scenario.is_honest(whom)
    };
    let found = report.refusals.iter().any(is);
    if found { Ok(()) } else { Err(format!("{call} was not refused as {why}: {:?}", report.refusals)) }
}

/// Every errand of every honest client is delivered, and no honest party is accused.
fn honest_parties_are_well(scenario: &Scenario, report: &Report) -> Result<(), String> {
    wrongly_accused(scenario, report).map_or(Ok(()), Err)?;
    let honest = (0..).zip(&scenario.clients).filter(|(_, kind)| **kind == ClientKind::Honest);
    for (at, _) in honest {
        let node = scenario.client(at);
        let missing =
            (0..scenario.errands_of(at).len()).find(|errand| !report.delivered.contains(&(node, *errand)));
        if let Some(errand) = missing {
            return Err(format!("errand {errand} of client {at} was not delivered"));
        }
    }
    Ok(())
}

fn lies(story: &str, lie: Lie, caught_as: &str) {
    let judge = |scenario: &Scenario, report: &Report| {
        accused(report, scenario, caught_as)?;
        match lie {
            // Its client believed that text until it computed it again.
            Lie::WrongTokens => wrongly_accused(scenario, report).map_or(Ok(()), Err),
            _ => honest_parties_are_well(scenario, report),
        }
    };
    for_each_seed(story, SEEDS, |seed| among_providers(seed, ProviderKind::Lying(lie)), judge);
}

#[test]
fn a_wrong_running_digest_is_caught() {
    lies("a_wrong_running_digest_is_caught", Lie::WrongDigest, "wrong-digest");
}

#[test]
fn tokens_that_nobody_paid_for_are_caught() {
    lies("tokens_that_nobody_paid_for_are_caught", Lie::ExtraTokens, "extra-tokens");
}

#[test]
fn inflated_work_in_a_receipt_is_caught() {
    lies("inflated_work_in_a_receipt_is_caught", Lie::InflatedWork, "wrong-receipt");
}

#[test]
fn inflated_time_in_a_receipt_is_caught() {
    lies("inflated_time_in_a_receipt_is_caught", Lie::InflatedTime, "wrong-receipt");
}

#[test]
fn a_false_cause_is_caught() {
    lies("a_false_cause_is_caught", Lie::FalseCause, "false-cause");
}

#[test]
fn an_old_receipt_shown_again_is_caught() {
    lies("an_old_receipt_shown_again_is_caught", Lie::OldReceipt, "wrong-receipt");
}

#[test]
fn tokens_that_the_model_did_not_choose_are_caught_by_a_rerun() {
    lies("tokens_that_the_model_did_not_choose_are_caught_by_a_rerun", Lie::WrongTokens, "wrong-output");
}

#[test]
fn a_provider_that_keeps_voucher_0_and_says_nothing_is_caught() {
    let story = "a_provider_that_keeps_voucher_0_and_says_nothing_is_caught";
    let judge = |scenario: &Scenario, report: &Report| {
        accused(report, scenario, "silent")?;
        honest_parties_are_well(scenario, report)
    };
    for_each_seed(
        story,
        SEEDS,
        |seed| among_providers(seed, ProviderKind::Silent(Silence::FromTheStart)),
        judge,
    );
}

#[test]
fn a_provider_that_falls_silent_mid_stream_is_caught() {
    let story = "a_provider_that_falls_silent_mid_stream_is_caught";
    let judge = |scenario: &Scenario, report: &Report| {
        accused(report, scenario, "silent")?;
        honest_parties_are_well(scenario, report)
    };
    for_each_seed(story, SEEDS, |seed| among_providers(seed, ProviderKind::Silent(Silence::After(4))), judge);
}

#[test]
fn a_voucher_collected_twice_pays_once() {
    let judge = |scenario: &Scenario, report: &Report| {
        refused(report, scenario, "collect", "voucher-stale")?;
        honest_parties_are_well(scenario, report)
    };
    let scenario = |seed| Scenario { weather: STEADY, ..among_providers(seed, ProviderKind::Replaying) };
    for_each_seed("a_voucher_collected_twice_pays_once", SEEDS, scenario, judge);
}

#[test]
fn a_voucher_of_another_session_pays_nothing() {
    let judge = |scenario: &Scenario, report: &Report| {
        refused(report, scenario, "collect", "voucher-session")?;
        honest_parties_are_well(scenario, report)
    };
    let kind = ProviderKind::Replaying;
    let scenario = |seed| Scenario { sessions: 2, weather: STEADY, ..among_providers(seed, kind) };
    for_each_seed("a_voucher_of_another_session_pays_nothing", SEEDS, scenario, judge);
}

fn frauds(story: &str, fraud: Fraud, caught: impl Fn(&Scenario, &Report) -> Result<(), String> + Sync) {
    let judge = |scenario: &Scenario, report: &Report| {
        caught(scenario, report)?;
        honest_parties_are_well(scenario, report)
    };
    for_each_seed(story, SEEDS, |seed| among_clients(seed, fraud), judge);
}

#[test]
fn sessions_beyond_the_balance_do_not_open() {
    frauds("sessions_beyond_the_balance_do_not_open", Fraud::BeyondBalance, |scenario, report| {
        refused(report, scenario, "open", "insufficient-balance")
    });
}

#[test]
fn sessions_beyond_the_orders_limit_do_not_open() {
    frauds("sessions_beyond_the_orders_limit_do_not_open", Fraud::BeyondOrder, |scenario, report| {
        refused(report, scenario, "open", "over-order")
    });
}

#[test]
fn a_voucher_sequence_used_twice_is_caught() {
    frauds("a_voucher_sequence_used_twice_is_caught", Fraud::ReusedSequence, |scenario, report| {
        accused(report, scenario, "voucher-reused")
    });
}

#[test]
fn a_voucher_for_less_than_is_due_is_caught() {
    frauds("a_voucher_for_less_than_is_due_is_caught", Fraud::Underpaid, |scenario, report| {
        accused(report, scenario, "underpaid")
    });
}

/// The provider waits for a while, answers for what it has sent, and is paid for that.
#[test]
fn a_client_that_stops_paying_gets_no_more_and_pays_for_what_it_got() {
    frauds(
        "a_client_that_stops_paying_gets_no_more_and_pays_for_what_it_got",
        Fraud::StopsPaying,
        |scenario, report| {
            let spender = scenario.client(0);
            let delivered = report.delivered.iter().filter(|(client, _)| *client == spender).count();
            if delivered == 0 { Ok(()) } else { Err("a job that nobody paid for was delivered".into()) }
        },
    );
}

#[test]
fn a_hold_is_not_released_before_its_deadline() {
    frauds("a_hold_is_not_released_before_its_deadline", Fraud::ExpiresEarly, |scenario, report| {
        refused(report, scenario, "expire", "not-yet-expired")
    });
}

#[test]
fn a_job_opened_again_with_its_old_voucher_is_caught() {
    frauds("a_job_opened_again_with_its_old_voucher_is_caught", Fraud::ReplayedOpen, |scenario, report| {
        accused(report, scenario, "wrong-index")
    });
}

/// Asking to close while a job runs is allowed. It must not cost the provider what it has sent, which a
/// checker sees.
#[test]
fn a_client_that_closes_while_its_job_runs_still_pays() {
    let story = "a_client_that_closes_while_its_job_runs_still_pays";
    let tally = for_each_seed(
        story,
        SEEDS,
        |seed| Scenario { token_ms: Some(200), ..among_clients(seed, Fraud::ClosesEarly) },
        honest_parties_are_well,
    );
    tally.has_all(&["closing", "closed"]);
}

/// A provider gives nothing for vouchers that come after the end of use, and is paid for what it gave before.
#[test]
fn vouchers_after_the_end_of_use_release_nothing() {
    let scenario = |seed| Scenario {
        errands: errands(1, 300),
        token_ms: Some(1_000),
        clients: vec![ClientKind::DoubleSpending(Fraud::LateVouchers)],
        ..among_clients(seed, Fraud::LateVouchers)
    };
    let judge = |scenario: &Scenario, report: &Report| {
        wrongly_accused(scenario, report).map_or(Ok(()), Err)?;
        let delivered = report.delivered.len();
        if delivered == 0 { Ok(()) } else { Err("a job longer than its session was delivered".into()) }
    };
    for_each_seed("vouchers_after_the_end_of_use_release_nothing", SEEDS, scenario, judge);
}
