//! A hedged start: two providers are asked at once, the first with a token writes the answer, and the other is cancelled.

use std::{convert::Infallible, sync::OnceLock};

use gridhour_protocol::market::order::{LatencyLimit, LimitKind};
use tokio::sync::watch;

/// When two providers are asked at once. The slower one is paid for what it did: the prefill, mostly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hedge {
    /// Never.
    Never,
    /// If a hard limit on the first token is less than twice what is expected of the best offer: a little bad luck
    /// would break it, and a second prefill is cheaper than an order in vain.
    Tight,
    /// For every order, if there are two that meet it.
    Always,
}

impl Hedge {
    /// Whether to ask two, with this limit on the first token and with what is expected of the best offer.
    #[must_use]
    pub fn wants_two(self, limit: Option<LatencyLimit>, expected_ms: Option<u64>) -> bool {
        match (self, limit) {
            (Self::Always, _) => true,
            (Self::Tight, Some(LatencyLimit { limit, kind: LimitKind::Hard })) => {
                expected_ms.is_some_and(|expected| limit.0 < expected.saturating_mul(2))
            }
            (Self::Never | Self::Tight, _) => false,
        }
    }
}

/// Two turns, of which one counts.
pub(super) struct Race {
    winner: OnceLock<usize>,
    cancels: [watch::Sender<bool>; 2],
}

/// One turn's place in a race, or alone.
pub(super) struct Entry<'a> {
    race: Option<(&'a Race, usize)>,
    cancel: watch::Receiver<bool>,
}

impl Race {
    pub(super) fn new() -> Self {
        Self { winner: OnceLock::new(), cancels: [watch::Sender::new(false), watch::Sender::new(false)] }
    }

    pub(super) fn entry(&self, place: usize) -> Entry<'_> {
        let cancel = self.cancels[place].subscribe();
        Entry { race: Some((self, place)), cancel }
    }

    /// Whose token was first; nothing if neither had one.
    pub(super) fn winner(&self) -> Option<usize> {
        self.winner.get().copied()
    }

    /// Runs `both` to their end. The user's wish to stop stops both.
    pub(super) async fn run<T>(&self, both: impl Future<Output = T>, cancel: &watch::Receiver<bool>) -> T {
        let mut cancel = cancel.clone();
        let pass_on = async {
            if cancel.wait_for(|cancel| *cancel).await.is_ok() {
                for one in &self.cancels {
                    one.send_replace(true);
                }
            }
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            ended = both => ended,
            never = pass_on => match never {},
        }
    }
}

impl<'a> Entry<'a> {
    /// A turn that nobody runs against.
    pub(super) fn alone(cancel: &watch::Receiver<bool>) -> Self {
        Self { race: None, cancel: cancel.clone() }
    }

    /// Tells this turn to stop.
    pub(super) fn cancel(&self) -> watch::Receiver<bool> {
        self.cancel.clone()
    }

    /// A token is here: whether this turn counts. The first token of all decides, and cancels the other turn.
    pub(super) fn leads(&self) -> bool {
        let Some((race, place)) = self.race else { return true };
        let leads = *race.winner.get_or_init(|| place) == place;
        if leads && !*race.cancels[1 - place].borrow() {
            race.cancels[1 - place].send_replace(true);
        }
        leads
    }

    /// Whether the other turn has begun to answer.
    pub(super) fn is_overtaken(&self) -> bool {
        self.race.is_some_and(|(race, place)| race.winner().is_some_and(|winner| winner != place))
    }
}

#[cfg(test)]
mod tests {
    use gridhour_protocol::units::{Credits, Millis};

    use super::*;

    #[test]
    fn two_are_asked_when_a_hard_limit_is_near() {
        let hard = |ms| Some(LatencyLimit { limit: Millis(ms), kind: LimitKind::Hard });
        let soft = Some(LatencyLimit { limit: Millis(1), kind: LimitKind::Soft { per_ms: Credits(1) } });
        let tight = Hedge::Tight;
        assert!(tight.wants_two(hard(199), Some(100)) && !tight.wants_two(hard(200), Some(100)));
        assert!(!tight.wants_two(soft, Some(100)), "a soft limit only costs");
        assert!(!tight.wants_two(None, Some(100)) && !tight.wants_two(hard(1), None));
        assert!(Hedge::Always.wants_two(None, None) && !Hedge::Never.wants_two(hard(1), Some(9)));
    }

    #[test]
    fn the_first_token_decides_and_cancels_the_other() {
        let race = Race::new();
        let (one, other) = (race.entry(0), race.entry(1));
        assert!(!one.is_overtaken() && !other.is_overtaken());
        assert!(other.leads() && !one.leads() && other.leads());
        assert_eq!((race.winner(), one.is_overtaken(), other.is_overtaken()), (Some(1), true, false));
        assert!(*one.cancel().borrow() && !*other.cancel().borrow());
    }

    #[tokio::test]
    async fn whoever_stops_the_order_stops_both() {
        let (stop, cancel) = watch::channel(false);
        let race = Race::new();
        let wait = |place| {
            let mut told = race.entry(place).cancel();
            async move { told.wait_for(|told| *told).await.is_ok() }
        };
        let both = async { tokio::join!(wait(0), wait(1)) };
        stop.send_replace(true);
        assert_eq!(race.run(both, &cancel).await, (true, true));
    }
}
