use super::*;
use crate::{arbitrary::key, wire};

const MODEL: ModelId = ModelId([3; 32]);
const NOW: Timestamp = Timestamp(1_000_000_000);

fn empty() -> ProviderHistory {
    ProviderHistory::new(key(2).public())
}

fn served(at: u64, first_us: u64) -> Ended {
    Ended::Served(Run::new(Timestamp(at), first_us, first_us + 9_000, 10))
}

fn with(runs: impl IntoIterator<Item = Ended>) -> ProviderHistory {
    let mut history = empty();
    runs.into_iter().for_each(|ended| {
        history.record(MODEL, 40, ended);
    });
    history
}

fn learned(history: &ProviderHistory) -> Learned {
    history.learned(NOW, &MODEL, 40)
}

#[test]
fn sizes_double_from_32_tokens() {
    let sizes = [0, 1, 32, 33, 64, 65, 128, 131_072, u32::MAX].map(|tokens| PromptSize::of(tokens).0);
    assert_eq!(sizes, [0, 0, 0, 1, 1, 2, 2, 12, 27]);
}

#[test]
fn a_run_is_its_first_token_and_the_pace_after_it() {
    let run = Run::new(NOW, 500, 9_500, 10);
    assert_eq!((run.first_token_us, run.token_ns), (500, Some(1_000_000)));
    assert_eq!(Run::new(NOW, 500, 500, 1).token_ns, None);
    assert_eq!(Run::new(NOW, 500, 400, 2).token_ns, Some(0), "a last token is not before the first");
}

#[test]
fn models_and_prompt_sizes_are_told_apart() {
    let history = with([served(NOW.0, 500)]);
    assert_eq!(learned(&history).first_token.map(|it| it.ewma_us), Some(500));
    assert_eq!(learned(&history).pace.map(|it| it.ewma_ns), Some(1_000_000));
    assert_eq!(history.learned(NOW, &MODEL, 65).first_token, None);
    assert_eq!(history.learned(NOW, &ModelId([4; 32]), 40).first_token, None);
    assert_eq!(history.learned(NOW, &MODEL, 65).tries, 0);
}

#[test]
fn a_callers_fault_never_lowers_a_providers_score() {
    let before = with([served(NOW.0, 500)]);
    let mut after = before.clone();
    for _ in 0..99 {
        assert!(!after.record(MODEL, 40, Ended::Blameless));
    }
    assert_eq!(after, before);
}

#[test]
fn one_slow_run_does_not_exile_a_provider() {
    let usual = (0..7).map(|i| served(NOW.0 - 10 + i, 100_000));
    let slow = learned(&with(usual.chain([served(NOW.0, 60_000_000)]))).first_token.unwrap();
    assert!(slow.ewma_us < 160_000, "{slow:?}");
    assert_eq!(slow.p95_us, 100_000);
}

#[test]
fn old_runs_fade_and_are_forgotten() {
    let day = RUN_FADING.age_max.0;
    let history = with([served(NOW.0 - day - 1, 900), served(NOW.0 - day / 2, 800), served(NOW.0, 100)]);
    let found = learned(&history);
    assert_eq!(found.first_token.map(|it| (it.ewma_us, it.samples)), Some((100, 2)));
    let much_later = Timestamp(NOW.0 + 2 * day);
    assert_eq!(
        history.learned(much_later, &MODEL, 40),
        Learned { availability_ppm: PPM, ..Learned::default() }
    );
}

#[test]
fn availability_is_that_of_the_last_five_minutes() {
    assert_eq!(learned(&empty()).availability_ppm, PPM, "nothing is held against a newcomer");
    let once = with([Ended::Failed(NOW)]);
    assert_eq!(learned(&once).availability_ppm, 800_000, "one failure is not all that is known");
    assert_eq!(learned(&once).tries, 1);
    let later = Timestamp(NOW.0 + AVAILABILITY_WINDOW.0 + 1);
    assert_eq!(once.learned(later, &MODEL, 40).availability_ppm, PPM);
    assert_eq!(once.learned(later, &MODEL, 40).tries, 1, "it was a try all the same");
    let dead = with((0..40).map(|_| Ended::Failed(NOW)));
    assert_eq!(learned(&dead).availability_ppm, 90_909);
    let good = with((0..36).map(|_| served(NOW.0, 1)).chain((0..10).map(|_| Ended::Failed(NOW))));
    assert_eq!(learned(&good).availability_ppm, 800_000);
}

#[test]
fn a_provider_that_never_serves_does_not_stay_new() {
    let day = RUN_FADING.age_max.0;
    for in_vain in [Ended::Failed, Ended::Busy] {
        let history = with((0..5).map(|i| in_vain(Timestamp(NOW.0 - day + i))));
        assert_eq!(learned(&history).tries, 5);
        assert_eq!(learned(&history).availability_ppm, PPM, "that was long ago");
        assert_eq!(
            history.learned(Timestamp(NOW.0 + 5), &MODEL, 40).tries,
            0,
            "nobody is judged by yesterday"
        );
    }
    assert_eq!(learned(&with([Ended::Busy(NOW)])).availability_ppm, PPM, "it works for somebody else");
}

#[test]
fn a_history_is_bounded_and_the_oldest_go_first() {
    let mut history = empty();
    for i in 0..(CELLS_MAX as u32 + 5) {
        let model = ModelId([i as u8; 32]);
        for run in 0..(RUNS_MAX as u64 + 5) {
            history.record(model, 40, served(NOW.0 + u64::from(i), run));
        }
    }
    assert_eq!((history.cells.len(), history.outcomes.len()), (CELLS_MAX, OUTCOMES_MAX));
    assert!(history.cells.iter().all(|cell| cell.runs.len() == RUNS_MAX));
    assert_eq!(history.cells[0].model, ModelId([5; 32]), "the models before it were forgotten");
    assert_eq!(history.cells[0].runs[0].first_token_us, 5);
    assert_eq!(history.newest(), Timestamp(NOW.0 + CELLS_MAX as u64 + 4));
    let bytes = wire::encode(&history);
    assert_eq!(wire::decode(&bytes).as_ref(), Ok(&history), "the fullest fits its {} bytes", bytes.len());
}

#[test]
fn a_history_beyond_its_bounds_is_refused() {
    let mut history = with((0..RUNS_MAX as u64).map(|i| served(i, i)));
    let run = history.cells[0].runs[0];
    history.cells[0].runs.push(run);
    assert!(wire::decode::<ProviderHistory>(&wire::encode(&history)).is_err());
}
