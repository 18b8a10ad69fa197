//! A calibration at the provider that is calibrated: the driver of
//! [`gridhour_protocol::calibration::provider`].
//!
//! ```text
//! asked -> judged -> all slots taken, offer withdrawn, own engine freed -> standard model -> first, rest
//!       -> own model again and slots free     (while the challenger computes the job again)
//!       -> receipt checked, kept, shown in the next advert
//! ```
//! Whatever goes wrong on the way, the own model is loaded again. The challenger is watched while something
//! is computed: once it is gone, the computation ends at the next tensor or token.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use gridhour_protocol::{
    calibration::{
        job::{Challenge, StandardJob},
        message::{Ask, ChallengerMessage, ProviderMessage, RefusalCode},
        provider::{ChallengerFault, Done, House, continue_of, judge, prompt_of},
        receipt::{Calibration, DeviceName},
        shape::StandardShape,
        timetable::Timetable,
    },
    exact::numerics_digest,
    job::message::detail,
    signed::{PublicKey, Verified},
    units::{Millis, Timestamp},
};
use tokio::{sync::watch, time::timeout};

use super::{LoadStandard, ProviderEvent, Shared, desk::Closed, reserved, serving, stopped};
use crate::{
    clock,
    drivers::calibration_line::{Line, Silence},
    engine::{
        Engine,
        standard::{StandardModel, StandardRun},
    },
    net::JobStream,
};

/// How long a challenger may take to say what it wants.
const ASK_TIME: Millis = Millis(10_000);

/// Why there is no calibration.
enum Broken {
    /// The provider refuses, now or on the way.
    Refused(RefusalCode, String),
    /// The challenger did what it must not.
    Fault(ChallengerFault),
    /// The challenger is gone, or late.
    Left(String),
}

impl From<Silence> for Broken {
    fn from(silence: Silence) -> Self {
        match silence {
            Silence::Late => Self::Refused(RefusalCode::BrokenOff, "the challenger is too late".into()),
            Silence::Gone(why) => Self::Left(format!("the challenger's stream ended: {why}")),
        }
    }
}

impl From<ChallengerFault> for Broken {
    fn from(fault: ChallengerFault) -> Self {
        Self::Fault(fault)
    }
}

/// A challenge that was taken: no job runs until it is dropped.
struct Taken {
    challenge: Challenge,
    shape: StandardShape,
    timetable: Timetable,
    load: LoadStandard,
    _desk: Closed,
}

/// Answers one challenger's stream to its end.
pub(crate) async fn serve(shared: Arc<Shared>, stream: JobStream, stop: watch::Receiver<bool>) {
    let challenger = stream.peer();
    let mut line = Line::new(stream);
    let why = match calibrate(&shared, challenger, &mut line, stop).await {
        Ok(receipt) => return keep(&shared, receipt),
        Err(Broken::Refused(code, why)) => {
            let text = format!("{}: {why}", code.name());
            // A challenger that is gone needs no answer.
            let _ = line.say(&ProviderMessage::Refused { code, detail: detail(why) }).await;
            line.end().await;
            text
        }
        Err(Broken::Fault(fault)) => {
            shared.blame(&challenger, fault);
            fault.to_string()
        }
        Err(Broken::Left(why)) => why,
    };
    shared.tell(ProviderEvent::NotCalibrated { challenger, why });
}

async fn calibrate(
    shared: &Arc<Shared>,
    challenger: PublicKey,
    line: &mut Line,
    stop: watch::Receiver<bool>,
) -> Result<Verified<Calibration>, Broken> {
    let mut stop = Some(stop);
    let ask = match hear(line, ASK_TIME, &mut stop).await? {
        ChallengerMessage::Ask(ask) => ask,
        other => return Err(ChallengerFault::OutOfTurn { expected: "ask", found: other.name() }.into()),
    };
    let taken = admit(shared, challenger, &ask)?;
    let check = taken.timetable.check;
    shared.tell(ProviderEvent::Calibrating { challenger, memory_bytes: ask.memory_bytes });
    let Some(own) = shared.serving.suspend() else {
        return Err(Broken::Refused(RefusalCode::NotServing, "its device failed just now".into()));
    };
    shared.changed.notify_one();
    serving::free(shared, own).await;
    let done = compute(shared, line, &taken, &mut stop).await;
    let mut until = stop.clone();
    let restore = async {
        // A provider that was told to stop needs no model any more.
        if stop.is_some() {
            serving::restore(shared, stop).await;
        }
        // Jobs may start once there is something to run them on.
        drop(taken);
        shared.changed.notify_one();
    };
    let receipt = async {
        let done = done?;
        let receipt = done.receipt_of(hear(line, check, &mut until).await?)?;
        // Its challenger waits for this, and not for our model.
        line.end().await;
        Ok(receipt)
    };
    tokio::join!(restore, receipt).1
}

/// What the challenger says within `patience`, unless the provider is told to stop.
async fn hear(
    line: &mut Line,
    patience: Millis,
    stop: &mut Option<watch::Receiver<bool>>,
) -> Result<ChallengerMessage, Broken> {
    tokio::select! {
        heard = line.hear(patience) => Ok(heard?),
        () = stopped(stop) => Err(shutting_down()),
    }
}

fn shutting_down() -> Broken {
    Broken::Refused(RefusalCode::NotServing, "the provider is shutting down".into())
}

/// Lets a challenge in, or refuses it.
fn admit(shared: &Shared, challenger: PublicKey, ask: &Ask) -> Result<Taken, Broken> {
    let desk = shared.desk.close_if_empty();
    let mut last = shared.calibration.last_ask();
    let now = clock::now();
    let house = House {
        hospitality: &shared.config.hospitality,
        numerics: numerics_digest(),
        memory_bytes: shared.served.device.memory_bytes,
        last: *last,
        now,
        busy: desk.is_none() || reserved::is_spoken_for(shared, now),
        serving: shared.serving.could_suspend() && shared.calibration.load.is_some(),
    };
    let refused = |(code, why)| Broken::Refused(code, why);
    let shape = judge(&challenger, ask, &house).map_err(refused)?;
    let (Some(load), Some(desk)) = (shared.calibration.load.clone(), desk) else {
        return Err(Broken::Refused(RefusalCode::Busy, "it serves jobs".into()));
    };
    *last = Some(now);
    let challenge = Challenge {
        numerics: ask.numerics,
        network: shared.network,
        challenger,
        provider: shared.key.public(),
        memory_bytes: ask.memory_bytes,
        seed: ask.seed,
    };
    let timetable = Timetable::of(&shape).within(shared.config.hospitality.patience);
    Ok(Taken { challenge, shape, timetable, load, _desk: desk })
}

/// The standard job, from the free memory to the last token. The standard engine is gone behind it.
async fn compute(
    shared: &Shared,
    line: &mut Line,
    taken: &Taken,
    stop: &mut Option<watch::Receiver<bool>>,
) -> Result<Done, Broken> {
    line.say(&ProviderMessage::Preparing).await?;
    let model = StandardModel::new(taken.shape, taken.challenge.seed);
    let (load, of) = (taken.load.clone(), model.clone());
    let loading = watched(line, &model, taken.timetable.load, stop, move || load(&of)).await?;
    let engine = loading.map_err(|error| Broken::Refused(error.code(), error.to_string()))?;
    let engine = Arc::new(engine);
    let done = job(shared, line, (taken, &model, &engine), stop).await;
    serving::free(shared, engine).await;
    done
}

async fn job(
    shared: &Shared,
    line: &mut Line,
    (taken, model, engine): (&Taken, &StandardModel, &Arc<Engine>),
    stop: &mut Option<watch::Receiver<bool>>,
) -> Result<Done, Broken> {
    let Taken { challenge, shape, timetable, .. } = taken;
    line.say(&ProviderMessage::Ready).await?;
    let prompt_nonce = prompt_of(&hear(line, timetable.reply, stop).await?)?;
    let (start, job) = (Instant::now(), StandardJob::new(challenge, &prompt_nonce));
    let (on, of) = (engine.clone(), *shape);
    let read = watched(line, model, timetable.first, stop, move || StandardRun::read(&on, &of, job)).await?;
    let (run, token) = read.map_err(device_fault)?;
    line.say(&ProviderMessage::First { token }).await?;
    let prefill_ns = nanoseconds(start);
    let output_nonce = continue_of(&hear(line, timetable.reply, stop).await?)?;
    let (start, given_up) = (Instant::now(), model.given_up().clone());
    let write = move || run.write(&output_nonce, &given_up);
    let (tokens, scores) = watched(line, model, timetable.rest, stop, write).await?.map_err(device_fault)?;
    let output = job.output(&[&[token], &tokens[..]].concat());
    line.say(&ProviderMessage::Rest { tokens, scores }).await?;
    let device = DeviceName::of(&shared.served.device);
    let (decode_ns, challenge) = (nanoseconds(start), *challenge);
    Ok(Done { challenge, device, prompt_nonce, output_nonce, output, scores, prefill_ns, decode_ns })
}

fn device_fault(error: impl ToString) -> Broken {
    Broken::Refused(RefusalCode::DeviceFault, error.to_string())
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Computes on a thread of its own, as long as the challenger is there and silent, the time is not over and
/// the provider goes on. Otherwise the model is given up, and the computation's end waited for: its memory is
/// needed.
async fn watched<T: Send + 'static>(
    line: &mut Line,
    model: &StandardModel,
    patience: Millis,
    stop: &mut Option<watch::Receiver<bool>>,
    compute: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Broken> {
    let mut computing = tokio::task::spawn_blocking(compute);
    let patience = Duration::from_millis(patience.0);
    let why = tokio::select! {
        computed = timeout(patience, &mut computing) => match computed {
            Ok(computed) => return computed.map_err(device_fault),
            Err(_) => Broken::Refused(RefusalCode::BrokenOff, "the computation takes too long".into()),
        },
        heard = line.hear_ever::<ChallengerMessage>() => match heard {
            Ok(message) => ChallengerFault::OutOfTurn { expected: "nothing", found: message.name() }.into(),
            Err(silence) => silence.into(),
        },
        () = stopped(stop) => shutting_down(),
    };
    model.given_up().store(true, std::sync::atomic::Ordering::Relaxed);
    // What it still found is of no use; that it panicked neither.
    let _ = computing.await;
    Err(why)
}

/// Keeps a receipt and shows it from the next advert on, if it speaks for the device.
fn keep(shared: &Shared, receipt: Verified<Calibration>) {
    let challenger = receipt.challenge.challenger;
    let probe = super::advert_of(shared, Some(receipt.signed()), 0, Timestamp(0));
    if let Err(fault) = probe.check_calibration() {
        return shared.tell(ProviderEvent::NotCalibrated { challenger, why: fault.to_string() });
    }
    if let Err(error) = tokio::task::block_in_place(|| shared.memory.keep_calibration(receipt.signed())) {
        shared.trouble(format!("the calibration could not be written, and is lost at the end: {error}"));
    }
    let rates = probe.device.rates;
    shared.calibration.keep(receipt.into_signed());
    shared.tell(ProviderEvent::Calibrated { challenger, prefill: rates.prefill.0, decode: rates.decode.0 });
    shared.changed.notify_one();
    shared.calibrated.notify_one();
}
