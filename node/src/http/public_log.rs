//! A ledger's log over HTTP: `/checkpoint`, signed, and `/tile/...`, which never changes.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    Router,
    extract::State,
    http::{
        HeaderValue, StatusCode, Uri,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use gridhour_contracts_sim::checkpoint::{Checkpoint, SignedCheckpoint};
use gridhour_protocol::{merkle::tile::Tile, signed::SecretKey};
use tokio::sync::watch;

use crate::store::tiles::{ShelfError, TileShelf};

/// The newest checkpoint is another one soon.
const SOON_OLD: HeaderValue = HeaderValue::from_static("public, max-age=1");
/// A tile never changes.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// What is not there may be there later.
const NEVER: HeaderValue = HeaderValue::from_static("no-store");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// Where the checkpoint that is shown comes from.
enum Head {
    /// It is the newest, signed here.
    Own(Box<Signer>),
    /// It is given, with what others wrote under it.
    Given(watch::Receiver<Option<SignedCheckpoint>>),
}

/// Signs checkpoints, each once.
struct Signer {
    operator: SecretKey,
    /// The checkpoint that was signed last.
    signed: Mutex<Option<SignedCheckpoint>>,
}

impl Signer {
    fn sign(&self, newest: &Checkpoint) -> SignedCheckpoint {
        let mut signed = self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        match &*signed {
            Some(known) if known.checkpoint() == newest => known.clone(),
            _ => signed.insert(newest.sign(&self.operator)).clone(),
        }
    }
}

/// A log, and a checkpoint of it.
pub struct PublicLog {
    shelf: TileShelf,
    head: Head,
}

/// Tells when a log's checkpoint is another one.
pub enum News {
    /// As soon as the log grows.
    Log(watch::Receiver<Checkpoint>),
    /// When one is given.
    Given(watch::Receiver<Option<SignedCheckpoint>>),
}

impl News {
    /// Waits for the next. `false` if there will be none.
    pub async fn changed(&mut self) -> bool {
        match self {
            Self::Log(published) => published.changed().await.is_ok(),
            Self::Given(given) => given.changed().await.is_ok(),
        }
    }
}

impl PublicLog {
    /// The log on `shelf`, whose newest checkpoint is always shown, signed by `operator`.
    #[must_use]
    pub fn new(shelf: TileShelf, operator: SecretKey) -> Self {
        Self { shelf, head: Head::Own(Box::new(Signer { operator, signed: Mutex::new(None) })) }
    }

    /// The log on `shelf`, of which the checkpoint is shown that `given` has. Whoever gives it sees to it
    /// that its tiles are there.
    #[must_use]
    pub fn showing(shelf: TileShelf, given: watch::Receiver<Option<SignedCheckpoint>>) -> Self {
        Self { shelf, head: Head::Given(given) }
    }

    /// The checkpoint that is shown, if there is one yet. Its tiles are all there.
    #[must_use]
    pub fn checkpoint(&self) -> Option<SignedCheckpoint> {
        match &self.head {
            Head::Own(signer) => Some(signer.sign(&self.shelf.checkpoint())),
            Head::Given(given) => given.borrow().clone(),
        }
    }

    /// Tells when there is a newer checkpoint.
    #[must_use]
    pub fn watch(&self) -> News {
        match &self.head {
            Head::Own(_) => News::Log(self.shelf.watch()),
            Head::Given(given) => News::Given(given.clone()),
        }
    }

    /// The log's paths.
    pub fn routes(self: Arc<Self>) -> Router {
        Router::new().route("/checkpoint", get(checkpoint)).route("/tile/{*path}", get(tile)).with_state(self)
    }
}

async fn checkpoint(State(log): State<Arc<PublicLog>>) -> Response {
    match log.checkpoint() {
        Some(signed) => {
            ([(CONTENT_TYPE, TEXT), (CACHE_CONTROL, SOON_OLD)], signed.to_string()).into_response()
        }
        None => refused(StatusCode::NOT_FOUND, "no checkpoint has come yet: ask again later"),
    }
}

async fn tile(State(log): State<Arc<PublicLog>>, uri: Uri) -> Response {
    let Ok(tile) = uri.path().trim_start_matches('/').parse::<Tile>() else {
        return refused(StatusCode::NOT_FOUND, "no such path: see c2sp.org/tlog-tiles");
    };
    let shelf = log.shelf.clone();
    match tokio::task::spawn_blocking(move || shelf.bytes(tile)).await {
        Ok(Ok(bytes)) => ([(CONTENT_TYPE, BYTES), (CACHE_CONTROL, FOR_EVER)], bytes).into_response(),
        Ok(Err(error @ ShelfError::NoTile(_))) => refused(StatusCode::NOT_FOUND, &error.to_string()),
        Ok(Err(error)) => failed(&error.to_string()),
        Err(error) => failed(&error.to_string()),
    }
}

fn failed(error: &str) -> Response {
    tracing::error!(error, "a tile could not be served");
    refused(StatusCode::INTERNAL_SERVER_ERROR, "the tile cannot be read here; ask again later or elsewhere")
}

fn refused(status: StatusCode, why: &str) -> Response {
    (status, [(CONTENT_TYPE, TEXT), (CACHE_CONTROL, NEVER)], format!("{why}\n")).into_response()
}
