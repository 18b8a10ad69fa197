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

/// A log and the key that answers for it.
pub struct PublicLog {
    shelf: TileShelf,
    operator: SecretKey,
    /// The checkpoint that was signed last.
    signed: Mutex<Option<SignedCheckpoint>>,
}

impl PublicLog {
    /// The log on `shelf`, whose checkpoints `operator` signs.
    #[must_use]
    pub fn new(shelf: TileShelf, operator: SecretKey) -> Self {
        Self { shelf, operator, signed: Mutex::new(None) }
    }

    /// The newest checkpoint. Its tiles are all there.
    pub fn checkpoint(&self) -> SignedCheckpoint {
        let newest = self.shelf.checkpoint();
        let mut signed = self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        match &*signed {
            Some(known) if *known.checkpoint() == newest => known.clone(),
            _ => signed.insert(newest.sign(&self.operator)).clone(),
        }
    }

    /// Tells when there is a newer checkpoint.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Checkpoint> {
        self.shelf.watch()
    }

    /// The log's paths.
    pub fn routes(self: Arc<Self>) -> Router {
        Router::new().route("/checkpoint", get(checkpoint)).route("/tile/{*path}", get(tile)).with_state(self)
    }
}

async fn checkpoint(State(log): State<Arc<PublicLog>>) -> Response {
    ([(CONTENT_TYPE, TEXT), (CACHE_CONTROL, SOON_OLD)], log.checkpoint().to_string()).into_response()
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
