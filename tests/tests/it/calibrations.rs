//! Real providers that are calibrated by real challengers: the honest one shows its receipt, and everybody
//! else is named.

use std::{
    num::NonZeroUsize,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use gridhour_node::{
    drivers::{
        client::{CalibrateError, CalibrationEvent, CalibrationPlan, Client, RunError, RunEvent, RunSpec},
        provider::{
            LoadStandard, ProviderEvent, Reload, Served, StandardError, load_standard, measure_device,
        },
    },
    engine::{Engine, EngineConfig, scheduler::Scheduler, standard::StandardModel},
    model::assets::work_of,
    net::{JobStream, Net},
};
use gridhour_protocol::{
    calibration::{
        challenger::ChallengeFailure,
        message::{Ask, ChallengerMessage, ProviderMessage, RefusalCode},
        receipt::Calibration,
        shape::{MEMORY_MIN, StandardShape},
    },
    exact::numerics_digest,
    market::{advert::RateSource, mask::Reason},
    receipt::Cause,
    signed::Signed,
    units::{Millis, WorkRate},
    wire,
};
use testkit::{
    altered::{Alter, Altered},
    watched::Answer,
};
use tokio::{sync::watch, time::timeout};

use crate::job_streams::{
    Market, PATIENCE, engine, file, funded_client, honest_job, key, listening, market_of, provider_of,
    served, served_on_watched_device, spec,
};

/// Keys and values of the provider's engine: with the weights, a claim of somewhat more than five megabytes.
const KV_BYTES: usize = 5 << 20;

fn config() -> EngineConfig {
    EngineConfig { threads: NonZeroUsize::MIN, kv_bytes_max: KV_BYTES, ..EngineConfig::default() }
}

fn small_engine() -> Engine {
    Engine::from_gguf(&file(), config()).expect("the engine takes it")
}

/// A provider that can be calibrated, and loads the standard model like this.
fn calibratable(load: LoadStandard) -> Served {
    let engine = Arc::new(small_engine());
    let work = work_of(engine.manifest()).expect("sane sizes");
    let reload: Reload =
        Arc::new(|| Scheduler::start(Arc::new(small_engine())).map_err(|error| error.to_string()));
    Served {
        device: measure_device(&engine, &work).expect("it computes"),
        scheduler: Scheduler::start(engine).expect("a thread"),
        reload: Some(reload),
        standard: Some(load),
        ..served()
    }
}

fn honestly() -> LoadStandard {
    load_standard(config(), || None)
}

/// Loads the standard model, and puts it on a device that tells something else.
fn altered(alter: Alter) -> LoadStandard {
    Arc::new(move |model: &StandardModel| {
        let engine = model.load(config())?;
        Ok(engine.with_device(|inner| Box::new(Altered::new(inner, alter))))
    })
}

/// A clock that goes on by as much whenever somebody looks at it.
fn stepping(ns: u64) -> Arc<dyn Fn() -> u64 + Send + Sync> {
    let now = AtomicU64::new(0);
    Arc::new(move || now.fetch_add(ns, Ordering::Relaxed))
}

async fn calibrated_with(
    client: &Client,
    change: impl FnOnce(&mut CalibrationPlan),
) -> Result<Signed<Calibration>, CalibrateError> {
    let offers = client.offers(1, PATIENCE).await;
    let advert = offers.first().expect("the provider advertises");
    let mut plan = CalibrationPlan::new(advert.device.memory_bytes);
    plan.config.threads = NonZeroUsize::MIN;
    change(&mut plan);
    let calibrated = client.calibrate(advert, plan, Arc::new(|_| ()));
    timeout(PATIENCE, calibrated).await.expect("a small job ends in time")
}

async fn calibrated(client: &Client) -> Result<Signed<Calibration>, CalibrateError> {
    calibrated_with(client, |_| ()).await
}

/// What a provider that loads like this, and whatever it may do then, gets from its challenger.
async fn verdict(load: LoadStandard) -> ChallengeFailure {
    let folder = tempfile::tempdir().expect("a folder");
    let mut market = market_of(folder.path(), Duration::ZERO, calibratable(load)).await;
    let client = funded_client(&market, &folder.path().join("client")).await;
    let failed = calibrated(&client).await.expect_err("nothing is signed");
    market.hear(|event| matches!(event, ProviderEvent::NotCalibrated { .. }).then_some(())).await;
    let offers = client.offers(1, PATIENCE).await;
    assert!(offers.iter().all(|advert| advert.device.rate_source == RateSource::SelfMeasured));
    market.stop.send_replace(true);
    client.net().shutdown().await;
    match failed {
        CalibrateError::Failure(failure) => failure,
        other => panic!("another error: {other}"),
    }
}

fn ended(event: ProviderEvent) -> Option<Result<(u64, u64), String>> {
    match event {
        ProviderEvent::Calibrated { prefill, decode, .. } => Some(Ok((prefill, decode))),
        ProviderEvent::NotCalibrated { why, .. } => Some(Err(why)),
        _ => None,
    }
}

/// Waits until an advert of the provider shows this receipt.
async fn shown(client: &Client, receipt: &Signed<Calibration>) {
    let source = RateSource::Calibrated(Box::new(receipt.clone()));
    let shows = async {
        while !client.offers(1, PATIENCE).await.iter().any(|advert| {
            advert.device.rate_source == source && advert.slots_free > 0 && !advert.models.is_empty()
        }) {}
    };
    timeout(PATIENCE, shows).await.expect("the provider shows its calibration");
}

/// Ends a challenger, and lets a buyer of the same key have a job of the same provider.
async fn still_serves(market: Market, client: &Client, folder: &Path) {
    let offered =
        async { while !client.offers(1, PATIENCE).await.iter().any(|advert| advert.slots_free > 0) {} };
    timeout(PATIENCE, offered).await.expect("the provider offers its model again");
    client.net().shutdown().await;
    honest_job(&market, &folder.join("buyer")).await;
    market.stop.send_replace(true);
}

fn reasons(error: RunError) -> Vec<Reason> {
    match error {
        RunError::NoOffer(record) => record.refused.iter().map(|refusal| refusal.reason).collect(),
        other => panic!("another error: {other}"),
    }
}

/// The same provider, started anew over its records.
async fn restarted(market: Market, folder: &Path) -> Market {
    let Market { network, provider_net, stop, .. } = market;
    provider_net.shutdown().await;
    provider_of(folder, network, Duration::ZERO, calibratable(honestly()), stop).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_honest_provider_gets_a_calibration_and_those_who_want_one_buy_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut market = market_of(folder.path(), Duration::ZERO, calibratable(honestly())).await;
    let client = funded_client(&market, &folder.path().join("client")).await;
    let (_keep, cancel) = watch::channel(false);
    let picky = RunSpec { calibrated_by: vec![client.id()], ..spec(market.offer) };
    let offers = client.offers(1, PATIENCE).await;
    let refused =
        client.run(&picky, &offers, cancel.clone(), &mut |_| ()).await.expect_err("nobody calibrated it");
    assert_eq!(reasons(refused), [Reason::NotCalibrated]);

    let receipt = calibrated(&client).await.expect("it is honest");
    let rates = receipt.body.rates().expect("sound times");
    let heard = market.hear(ended).await.expect("the provider takes the receipt");
    assert_eq!(heard, (rates.prefill.0, rates.decode.0));
    shown(&client, &receipt).await;

    let offers = client.offers(1, PATIENCE).await;
    assert_eq!(offers[0].device.rates, rates);
    let bought = client.run(&picky, &offers, cancel.clone(), &mut |_| ()).await.expect("it is delivered");
    assert_eq!(bought.terms.rates, rates, "what a challenger measured is what is billed by");
    let stranger = RunSpec { calibrated_by: vec![key(9).public()], ..picky };
    let refused = client.run(&stranger, &offers, cancel, &mut |_| ()).await.expect_err("another challenger");
    assert_eq!(reasons(refused), [Reason::NotCalibrated]);

    let again = calibrated(&client).await.expect_err("a moment ago");
    let soon = |failure: &ChallengeFailure| {
        matches!(failure, ChallengeFailure::Refused { code: RefusalCode::TooSoon, .. })
    };
    assert!(matches!(&again, CalibrateError::Failure(failure) if soon(failure)), "{again}");
    client.net().shutdown().await;

    let market = restarted(market, folder.path()).await;
    let client = funded_client(&market, &folder.path().join("later")).await;
    shown(&client, &receipt).await;
    market.stop.send_replace(true);
    client.net().shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_rate_follows_the_challengers_clock() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut market = market_of(folder.path(), Duration::ZERO, calibratable(honestly())).await;
    let client = funded_client(&market, &folder.path().join("client")).await;
    let second = 1_000_000_000;
    let receipt = calibrated_with(&client, |plan| plan.clock = stepping(second)).await.expect("it is honest");
    let shape = StandardShape::of(receipt.body.challenge.memory_bytes).expect("a standard job");
    let rates = receipt.body.rates().expect("sound times");
    assert_eq!(rates.prefill, WorkRate(shape.prefill_work().0), "its work in a second");
    assert_eq!(rates.decode, WorkRate(shape.decode_work().0));
    assert_eq!(market.hear(ended).await, Ok((rates.prefill.0, rates.decode.0)));
    market.stop.send_replace(true);
    client.net().shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_challenger_whose_clock_makes_the_provider_look_slow_is_not_believed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut market = market_of(folder.path(), Duration::ZERO, calibratable(honestly())).await;
    let client = funded_client(&market, &folder.path().join("client")).await;
    let minute = 60_000_000_000;
    calibrated_with(&client, |plan| plan.clock = stepping(minute)).await.expect("it signs what it likes");
    let (who, what, count) = market.next_misdeed().await;
    assert_eq!((who, count), (client.id(), 1));
    assert!(what.contains("clock"), "{what}");
    assert!(market.hear(ended).await.is_err());
    still_serves(market, &client, folder.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_provider_with_other_weights_is_named() {
    let other =
        Arc::new(|model: &StandardModel| Ok(StandardModel::new(*model.shape(), [9; 32]).load(config())?));
    let failure = verdict(other).await;
    assert!(matches!(failure, ChallengeFailure::WrongToken { index: 0..4 }), "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_provider_that_leaves_layers_out_is_named() {
    // A smaller claim is a model without the last layers.
    let fewer: LoadStandard = Arc::new(|model: &StandardModel| {
        let shape = StandardShape::of(model.shape().memory_bytes() - (1 << 20)).expect("four megabytes");
        assert!(shape.config().layers < model.shape().config().layers);
        Ok(StandardModel::new(shape, *model.seed()).load(config())?)
    });
    let failure = verdict(fewer).await;
    assert!(matches!(failure, ChallengeFailure::WrongToken { index: 0..4 }), "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_provider_that_has_the_tokens_without_the_layers_is_named() {
    // The tokens are right; one layer's checksum is that of another.
    let failure = verdict(altered(|_, _, checksums| checksums[5] = checksums[4])).await;
    assert_eq!(failure, ChallengeFailure::WrongScores);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_provider_that_edits_a_token_is_named() {
    let failure = verdict(altered(|position, logits, _| {
        if position == 300 {
            logits[7] = i32::MAX;
        }
    }))
    .await;
    assert_eq!(failure, ChallengeFailure::WrongToken { index: 300 - 255 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_provider_that_cannot_hold_what_it_claims_is_named_and_goes_on_serving() {
    let folder = tempfile::tempdir().expect("a folder");
    let too_small = load_standard(config(), || Some(1 << 20));
    let mut market = market_of(folder.path(), Duration::ZERO, calibratable(too_small)).await;
    let client = funded_client(&market, &folder.path().join("client")).await;
    let failed = calibrated(&client).await.expect_err("it has a megabyte");
    let CalibrateError::Failure(ChallengeFailure::Refused { code, detail }) = failed else {
        panic!("{failed}")
    };
    assert_eq!(code, RefusalCode::OutOfMemory);
    assert!(detail.contains("1048576 are left"), "{detail}");
    market.hear(|event| (event == ProviderEvent::Restored).then_some(())).await;
    still_serves(market, &client, folder.path()).await;
}

/// A standard model that takes until the challenger gives up.
fn never() -> LoadStandard {
    Arc::new(|model: &StandardModel| {
        while !model.given_up().load(Ordering::Relaxed) {
            thread::yield_now();
        }
        Err(StandardError::NoRoom { needed: 0, available: 0 })
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_silent_provider_is_named_and_is_free_again_once_its_challenger_has_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut market = market_of(folder.path(), Duration::ZERO, calibratable(never())).await;
    let client = funded_client(&market, &folder.path().join("client")).await;
    let patience = Millis(300);
    let failed =
        calibrated_with(&client, |plan| plan.patience = Some(patience)).await.expect_err("it is silent");
    let CalibrateError::Failure(failure) = failed else { panic!("{failed}") };
    assert_eq!(failure, ChallengeFailure::Silent { expected: "ready", patience });
    let why = market.hear(ended).await.expect_err("the challenger left");
    assert!(why.contains("stream ended"), "{why}");
    still_serves(market, &client, folder.path()).await;
}

/// What a provider says next on a stream.
async fn said(stream: &mut JobStream) -> ProviderMessage {
    let frame = timeout(PATIENCE, stream.recv()).await.expect("an answer").expect("whole").expect("a frame");
    wire::decode(&frame).expect("a message")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_challenger_that_stalls_holds_the_provider_no_longer_than_it_allows() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut market = market_of(folder.path(), Duration::ZERO, calibratable(honestly())).await;
    let client = funded_client(&market, &folder.path().join("client")).await;
    // Its advert says where it is.
    assert!(!client.offers(1, PATIENCE).await.is_empty());
    let mut stream = client.net().open_calibration(market.provider).await.expect("a stream opens");
    let ask = Ask { numerics: numerics_digest(), memory_bytes: MEMORY_MIN, seed: [1; 32] };
    stream.send(&wire::encode(&ChallengerMessage::Ask(ask))).await.expect("it is sent");
    assert_eq!(said(&mut stream).await, ProviderMessage::Preparing);
    assert_eq!(said(&mut stream).await, ProviderMessage::Ready);
    // Nothing is said, and the stream stays open.
    let ProviderMessage::Refused { code, .. } = said(&mut stream).await else { panic!("a refusal") };
    assert_eq!(code, RefusalCode::BrokenOff);
    assert!(market.hear(ended).await.is_err());
    still_serves(market, &client, folder.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_provider_that_is_told_to_stop_ends_its_calibration() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut market = market_of(folder.path(), Duration::ZERO, calibratable(never())).await;
    let client = funded_client(&market, &folder.path().join("client")).await;
    let stop = async {
        market.hear(|event| matches!(event, ProviderEvent::Calibrating { .. }).then_some(())).await;
        market.stop.send_replace(true);
    };
    let (failed, ()) = tokio::join!(calibrated(&client), stop);
    let CalibrateError::Failure(failure) = failed.expect_err("it was told to stop") else {
        panic!("a failure")
    };
    let refused = |code| matches!(&failure, ChallengeFailure::Refused { code: found, .. } if *found == code);
    assert!(refused(RefusalCode::NotServing), "{failure}");
    client.net().shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_challenger_that_is_dropped_on_the_way_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut market = market_of(folder.path(), Duration::ZERO, calibratable(honestly())).await;
    let client = funded_client(&market, &folder.path().join("client")).await;
    let offers = client.offers(1, PATIENCE).await;
    let (seen, mut reading) = watch::channel(false);
    let on_event = move |event| {
        seen.send_if_modified(|reading| {
            !*reading && event == CalibrationEvent::Reading && {
                *reading = true;
                true
            }
        });
    };
    let plan = CalibrationPlan::new(offers[0].device.memory_bytes);
    tokio::select! {
        done = client.calibrate(&offers[0], plan, Arc::new(on_event)) => drop(done),
        _ = reading.wait_for(|reading| *reading) => {}
    }
    market.hear(|event| (event == ProviderEvent::Restored).then_some(())).await;
    still_serves(market, &client, folder.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn challengers_that_make_no_sense_are_counted_and_cost_the_provider_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut market = market_of(folder.path(), Duration::ZERO, calibratable(honestly())).await;
    let mut vandal_config = listening(&market.network, 9);
    vandal_config.bootstrap.extend(market.provider_net.listen_addrs());
    let (vandal, _inbox) = Net::start(vandal_config).await.expect("loopback listens");
    for address in market.provider_net.listen_addrs() {
        vandal.dial(address).await.expect("the provider is there");
    }
    let mut stream = vandal.open_calibration(market.provider).await.expect("a stream opens");
    stream.send(&[0xff; 300]).await.expect("it is sent");
    let why = market.hear(ended).await.expect_err("no message");
    assert!(why.contains("malformed"), "{why}");
    let mut stream = vandal.open_calibration(market.provider).await.expect("a stream opens");
    let prompt = wire::encode(&ChallengerMessage::Prompt { nonce: [1; 32] });
    stream.send(&prompt).await.expect("it is sent");
    let (who, what, count) = market.next_misdeed().await;
    assert_eq!((who, count), (key(9).public(), 1));
    assert!(what.contains("ask was its turn"), "{what}");
    let end = timeout(PATIENCE, stream.recv()).await.expect("the stream ends");
    assert!(!matches!(end, Ok(Some(_))), "nothing is answered");
    honest_job(&market, &folder.path().join("buyer")).await;
    market.stop.send_replace(true);
    vandal.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_provider_that_cannot_load_its_model_again_is_not_calibrated() {
    let folder = tempfile::tempdir().expect("a folder");
    let served = Served { reload: None, ..calibratable(honestly()) };
    let market = market_of(folder.path(), Duration::ZERO, served).await;
    let client = funded_client(&market, &folder.path().join("client")).await;
    let failed = calibrated(&client).await.expect_err("it keeps its model");
    let CalibrateError::Failure(ChallengeFailure::Refused { code, .. }) = failed else { panic!("{failed}") };
    assert_eq!(code, RefusalCode::NotServing);
    let mut stream = client.net().open_calibration(market.provider).await.expect("a stream opens");
    let ask = ChallengerMessage::Ask(Ask { numerics: [0; 32], memory_bytes: 5, seed: [0; 32] });
    stream.send(&wire::encode(&ask)).await.expect("it is sent");
    let answer = said(&mut stream).await;
    assert!(
        matches!(answer, ProviderMessage::Refused { code: RefusalCode::NumericsVersion, .. }),
        "{answer:?}"
    );
    market.stop.send_replace(true);
    client.net().shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_provider_that_serves_a_job_is_not_calibrated_and_the_job_is_delivered() {
    let folder = tempfile::tempdir().expect("a folder");
    let (watched, watch) = served_on_watched_device(engine(), None);
    let served = Served { scheduler: watched.scheduler, ..calibratable(honestly()) };
    let market = market_of(folder.path(), Duration::ZERO, served).await;
    let client = funded_client(&market, &folder.path().join("client")).await;
    let offers = client.offers(1, PATIENCE).await;
    let (_keep, cancel) = watch::channel(false);
    let spec = spec(market.offer);
    let mut on_event = |_: RunEvent<'_>| ();
    let job = client.run(&spec, &offers, cancel, &mut on_event);
    let challenge = async {
        // The job's first pass is under way, and stays so until the challenger has its answer.
        let (watch, _) = tokio::task::spawn_blocking(move || {
            let asked = watch.next();
            (watch, asked)
        })
        .await
        .expect("the job is computed");
        let refused = calibrated(&client).await.expect_err("a job runs");
        watch.answer(Answer::Go);
        drop(watch);
        refused
    };
    let (ran, refused) = tokio::join!(job, challenge);
    assert_eq!(ran.expect("it is delivered").receipt.body.cause, Cause::Delivered);
    let CalibrateError::Failure(ChallengeFailure::Refused { code, .. }) = refused else {
        panic!("{refused}")
    };
    assert_eq!(code, RefusalCode::Busy);
    market.stop.send_replace(true);
    client.net().shutdown().await;
}
