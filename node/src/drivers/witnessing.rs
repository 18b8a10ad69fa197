//! Brings a ledger's checkpoints to its witnesses, and publishes them with what was cosigned.
//!
//! ```text
//!  public log ── newest, once a second ──> round ──> each witness, at its own pace
//!                                            ^             │ cosignature
//!  /checkpoint, gossip <── published ────────┴─────────────┘
//! ```
//! A round publishes its checkpoint as soon as enough have cosigned, or when its time is over; cosignatures that come
//! later are added. The ledger knows nothing of it: a witness that is slow, dead or hostile costs the public log a
//! moment, and the ledger nothing.

mod round;

use std::{sync::Arc, time::Duration};

use gridhour_contracts_sim::{
    checkpoint::{Checkpoint, SignedCheckpoint},
    witnesses::LogKeys,
};
use gridhour_protocol::{note::Note, signed::SecretKey};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinSet, spawn_blocking},
    time::{Instant, sleep, sleep_until},
};

use self::round::Round;
use crate::{
    http::witness_client::{AskError, WitnessClient},
    store::tiles::{ShelfError, TileShelf},
};

/// Witnesses that are asked.
pub const WITNESS_URLS_MAX: usize = 32;
/// Wait after a witness's first failure; it doubles with each further one.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// The longest wait.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// What witnessing tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WitnessingEvent {
    /// A checkpoint was published, or published again with more cosignatures.
    Published(SignedCheckpoint),
    /// A witness began to give none. It is asked again, ever more slowly.
    Trouble {
        /// Which.
        url: String,
        /// What is wrong.
        why: String,
    },
}

/// Told about events, from any thread; it must not wait.
pub type OnWitnessingEvent = Arc<dyn Fn(WitnessingEvent) + Send + Sync>;

/// A log, who signs it, and who is asked to.
pub struct Witnessing {
    /// The log.
    pub shelf: TileShelf,
    /// Signs its checkpoints.
    pub operator: SecretKey,
    /// Whose cosignatures count.
    pub keys: LogKeys,
    /// Submission prefixes of witnesses, at most [`WITNESS_URLS_MAX`].
    pub urls: Vec<String>,
    /// Told how it goes.
    pub on_event: OnWitnessingEvent,
}

impl Witnessing {
    /// Publishes the log's checkpoints, the newest first, until the log ends.
    pub async fn run(self, published: watch::Sender<Option<SignedCheckpoint>>) {
        let mut news = self.shelf.watch();
        let mut round = self.begin(&mut news);
        let (wanted, _) = watch::channel(round.signed().clone());
        let (told, mut heard) = mpsc::channel(WITNESS_URLS_MAX);
        let _asking = self.start_asking(&wanted, &told);
        loop {
            if round.publish(&self.keys, Instant::now()) {
                published.send_replace(Some(round.signed().clone()));
                (self.on_event)(WitnessingEvent::Published(round.signed().clone()));
            }
            let wake = round.next_at(Instant::now());
            tokio::select! {
                Some(note) = heard.recv() => round.add(&self.keys, &note),
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
                changed = news.changed(), if wake.is_none() => {
                    if changed.is_err() {
                        return;
                    }
                    round = self.begin(&mut news);
                    wanted.send_replace(round.signed().clone());
                }
            }
        }
    }

    /// A round for the newest checkpoint.
    fn begin(&self, news: &mut watch::Receiver<Checkpoint>) -> Round {
        let newest = *news.borrow_and_update();
        Round::new(newest.sign(&self.operator), Instant::now())
    }

    /// Asks each witness in a task of its own; they end with the set that is returned.
    fn start_asking(
        &self,
        wanted: &watch::Sender<SignedCheckpoint>,
        told: &mpsc::Sender<Note>,
    ) -> JoinSet<()> {
        let mut asking = JoinSet::new();
        for url in self.urls.iter().take(WITNESS_URLS_MAX) {
            let asker = Asker {
                url: url.clone(),
                shelf: self.shelf.clone(),
                keys: self.keys.clone(),
                on_event: Arc::clone(&self.on_event),
            };
            asking.spawn(asker.run(wanted.subscribe(), told.clone()));
        }
        asking
    }
}

/// Asks one witness.
struct Asker {
    url: String,
    shelf: TileShelf,
    keys: LogKeys,
    on_event: OnWitnessingEvent,
}

impl Asker {
    /// Asks for whatever is the newest, until nobody wants to hear it.
    async fn run(self, mut wanted: watch::Receiver<SignedCheckpoint>, told: mpsc::Sender<Note>) {
        let mut client = WitnessClient::new(&self.url);
        let mut failures = 0;
        loop {
            let signed = wanted.borrow_and_update().clone();
            let answer;
            (client, answer) = self.ask(client, signed).await;
            match answer {
                Ok(note) => {
                    failures = 0;
                    if told.send(note).await.is_err() || wanted.changed().await.is_err() {
                        return;
                    }
                }
                Err(why) => {
                    self.failed(failures, why);
                    sleep(backoff(failures)).await;
                    failures = failures.saturating_add(1);
                }
            }
        }
    }

    async fn ask(
        &self,
        mut client: WitnessClient,
        signed: SignedCheckpoint,
    ) -> (WitnessClient, Result<Note, String>) {
        let shelf = self.shelf.clone();
        let work = move || {
            let answer: Result<Note, AskError<ShelfError>> = client.ask(&signed, &shelf);
            (client, answer.map_err(|error| error.to_string()))
        };
        let (client, answer) =
            spawn_blocking(work).await.expect("asking does not panic, and is not given up");
        let known = answer.and_then(|note| match self.keys.count(&note).cosigned.as_slice() {
            [] => Err("it cosigns with a key that the network file does not name".to_owned()),
            _ => Ok(note),
        });
        (client, known)
    }

    fn failed(&self, failures: u32, why: String) {
        tracing::info!(url = self.url, failures, why, "a witness gave no cosignature");
        // Once for each time that it goes wrong, however long that lasts.
        if failures == 0 {
            (self.on_event)(WitnessingEvent::Trouble { url: self.url.clone(), why });
        }
    }
}

fn backoff(failures: u32) -> Duration {
    BACKOFF_MIN.saturating_mul(1 << failures.min(16)).min(BACKOFF_MAX)
}
