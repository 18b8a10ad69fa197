//! Calibrating a provider: the driver of [`gridhour_protocol::calibration::challenger`].

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use gridhour_protocol::{
    calibration::{
        challenger::{Answer, ChallengeFailure, Challenger, Recomputed, Turn},
        job::{Challenge, StandardJob},
        message::{ChallengerMessage, ProviderMessage},
        receipt::{Calibration, DeviceName},
        shape::{NoStandardJob, StandardShape},
    },
    exact::numerics_digest,
    market::advert::Advert,
    signed::Signed,
    units::Millis,
};

use super::Client;
use crate::{
    available_memory::available_memory,
    clock,
    drivers::calibration_line::{Line, Silence},
    engine::{EngineConfig, EngineError, standard::StandardModel, standard::recompute},
    keys::{KeyError, random32},
    net::RequestError,
};

/// A monotonic clock, in nanoseconds from any beginning.
pub type Monotonic = Arc<dyn Fn() -> u64 + Send + Sync>;

/// How a provider is to be calibrated.
#[derive(Clone)]
pub struct CalibrationPlan {
    /// Memory to fill, in bytes.
    pub memory_bytes: u64,
    /// Threads and instructions with which the job is computed again here.
    pub config: EngineConfig,
    /// The longest that the provider may take for one step, if that is less than the timetable allows.
    pub patience: Option<Millis>,
    /// What times the provider.
    pub clock: Monotonic,
}

impl CalibrationPlan {
    /// Fills `memory_bytes`, times with this machine's clock, and computes with all its processors.
    #[must_use]
    pub fn new(memory_bytes: u64) -> Self {
        let start = Instant::now();
        let clock = move || u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Self { memory_bytes, config: EngineConfig::default(), patience: None, clock: Arc::new(clock) }
    }
}

impl fmt::Debug for CalibrationPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CalibrationPlan")
            .field("memory_bytes", &self.memory_bytes)
            .field("config", &self.config)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

/// What happens while a provider is calibrated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalibrationEvent {
    /// The provider frees its memory and loads the standard model.
    Preparing,
    /// It reads the prompt.
    Reading,
    /// It writes.
    Writing,
    /// Its answer is computed again here: so many layers are done.
    Checking {
        /// Layers that are done.
        done: u32,
        /// Layers in all.
        layers: u32,
    },
}

/// Told about events, from any thread.
pub type OnCalibration = Arc<dyn Fn(CalibrationEvent) + Send + Sync>;

/// Why there is no calibration.
#[derive(Debug, thiserror::Error)]
pub enum CalibrateError {
    /// No standard job fills the memory.
    #[error(transparent)]
    NoStandardJob(#[from] NoStandardJob),
    /// The provider could not be reached, or takes part in none.
    #[error("provider unreachable: {0}")]
    Provider(#[from] RequestError),
    /// The provider refused, or did not compute what it had to.
    #[error(transparent)]
    Failure(#[from] ChallengeFailure),
    /// This machine could not compute the job again: nothing is said about the provider.
    #[error("the answer could not be checked here: {0}")]
    Engine(#[from] EngineError),
    /// This machine has no room for the check, so the provider was not asked.
    #[error("checking the answer takes {needed} bytes of main memory here, {available} are left")]
    NoRoom {
        /// Bytes that the check takes.
        needed: u64,
        /// Bytes that can be had.
        available: u64,
    },
    /// This program failed while it checked.
    #[error("the answer could not be checked here: {0}")]
    Panic(String),
    /// No randomness.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl Client {
    /// Calibrates the provider of `advert`: has it compute a standard job, times it, computes the job again
    /// and signs what was measured. The provider gets the receipt too.
    ///
    /// # Errors
    /// [`CalibrateError`]; nothing is signed then.
    pub async fn calibrate(
        &self,
        advert: &Advert,
        plan: CalibrationPlan,
        on_event: OnCalibration,
    ) -> Result<Signed<Calibration>, CalibrateError> {
        let shape = StandardShape::of(plan.memory_bytes)?;
        let challenge = Challenge {
            numerics: numerics_digest(),
            network: self.network,
            challenger: self.id(),
            provider: advert.provider,
            memory_bytes: plan.memory_bytes,
            seed: random32()?,
        };
        let model = StandardModel::new(shape, challenge.seed);
        check_room(&model, available_memory())?;
        let started_at = clock::now();
        let mut line = Line::new(self.net.open_calibration(advert.provider).await?);
        let (machine, ask) = Challenger::new(challenge, &shape);
        let mut machine = machine.within(plan.patience.unwrap_or(Millis(u64::MAX)));
        let answer = ask_all(&mut machine, &mut line, &ask, (&plan, &on_event)).await?;
        let recomputed = check(model, challenge, answer.clone(), plan, on_event).await?;
        let device = DeviceName::of(&advert.device);
        let times = (started_at, clock::now());
        let receipt = machine.sign(&self.key, device, &answer, &recomputed, times)?;
        // The receipt is ours to keep, whether or not the provider still wants it.
        if line.say(&ChallengerMessage::Receipt(Box::new(receipt.clone()))).await.is_ok() {
            line.end_together().await;
        }
        Ok(receipt)
    }
}

/// Nobody's time is taken for an answer that could not be checked.
fn check_room(model: &StandardModel, available: Option<u64>) -> Result<(), CalibrateError> {
    let needed = model.recompute_bytes();
    match available {
        Some(available) if available < needed => Err(CalibrateError::NoRoom { needed, available }),
        _ => Ok(()),
    }
}

/// Says what the machine wants said, until the provider has answered it all.
async fn ask_all(
    machine: &mut Challenger,
    line: &mut Line,
    ask: &ChallengerMessage,
    (plan, on_event): (&CalibrationPlan, &OnCalibration),
) -> Result<Answer, CalibrateError> {
    say(machine, line, ask).await?;
    loop {
        let message = hear(machine, line).await?;
        let at = (plan.clock)();
        match machine.hear(message, at, random32()?)? {
            Turn::Wait => on_event(CalibrationEvent::Preparing),
            Turn::Say(message) => {
                on_event(match message {
                    ChallengerMessage::Prompt { .. } => CalibrationEvent::Reading,
                    _ => CalibrationEvent::Writing,
                });
                say(machine, line, &message).await?;
            }
            Turn::Check(answer) => return Ok(answer),
        }
    }
}

async fn say(
    machine: &Challenger,
    line: &mut Line,
    message: &ChallengerMessage,
) -> Result<(), ChallengeFailure> {
    line.say(message).await.map_err(|silence| failure(machine, silence))
}

async fn hear(machine: &Challenger, line: &mut Line) -> Result<ProviderMessage, ChallengeFailure> {
    line.hear(machine.expects().1).await.map_err(|silence| failure(machine, silence))
}

fn failure(machine: &Challenger, silence: Silence) -> ChallengeFailure {
    let (expected, patience) = machine.expects();
    match silence {
        Silence::Late => ChallengeFailure::Silent { expected, patience },
        Silence::Gone(why) => ChallengeFailure::Gone { expected, why },
    }
}

/// Computes the job again, on a thread of its own.
async fn check(
    model: StandardModel,
    challenge: Challenge,
    answer: Answer,
    plan: CalibrationPlan,
    on_event: OnCalibration,
) -> Result<Recomputed, CalibrateError> {
    let layers = model.shape().config().layers;
    let _unless_dropped = GiveUp(model.given_up().clone());
    let recompute = move || {
        let on_layer = |index| on_event(CalibrationEvent::Checking { done: index + 1, layers });
        on_event(CalibrationEvent::Checking { done: 0, layers });
        let job = StandardJob::new(&challenge, &answer.prompt_nonce);
        recompute(&model, &job, (&answer.tokens, &answer.output_nonce), &plan.config, on_layer)
    };
    let checked = tokio::task::spawn_blocking(recompute).await;
    Ok(checked.map_err(|error| CalibrateError::Panic(error.to_string()))??)
}

/// Ends the computation when nobody waits for it any more.
struct GiveUp(Arc<AtomicBool>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_no_room_for_the_check_asks_nobody() {
        let model = |bytes| StandardModel::new(StandardShape::of(bytes).expect("a standard job"), [1; 32]);
        let small = model(4 << 20);
        let needed = small.recompute_bytes();
        assert!(check_room(&small, None).is_ok() && check_room(&small, Some(needed)).is_ok());
        let refused = check_room(&small, Some(needed - 1));
        assert!(matches!(refused, Err(CalibrateError::NoRoom { .. })), "{refused:?}");
        // A laptop checks what it could never hold.
        let large = model(80_000_000_000);
        assert!(large.recompute_bytes() < 12 << 30, "{}", large.recompute_bytes());
    }
}
