//! A witness over HTTP: `POST /add-checkpoint` (c2sp.org/tlog-witness), answered with a cosignature or the
//! reason why not.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::post,
};
use gridhour_contracts_sim::{checkpoint::Checkpoint, fraud::Fraud, witness::AddRefusal};
use gridhour_protocol::{
    add_checkpoint::{ADD_CHECKPOINT_BYTES_MAX, AddCheckpoint, TLOG_SIZE_TYPE},
    note::NoteSignature,
};

use crate::{
    clock,
    store::witness::{Witness, WitnessError},
};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const TLOG_SIZE: HeaderValue = HeaderValue::from_static(TLOG_SIZE_TYPE);

/// What a witness that is asked tells its owner.
#[derive(Clone, Debug)]
pub enum WitnessEvent {
    /// A checkpoint was cosigned.
    Cosigned(Checkpoint),
    /// The operator has signed two histories.
    Fraud(Box<Fraud>),
    /// What was cosigned last cannot be read or written: nothing is cosigned until it can.
    Broken(String),
}

/// Told about events, from any thread; it must not wait for long.
pub type OnWitnessEvent = Arc<dyn Fn(WitnessEvent) + Send + Sync>;

struct Asked {
    witness: Witness,
    on_event: OnWitnessEvent,
}

/// The witness's one path.
pub fn routes(witness: Witness, on_event: OnWitnessEvent) -> Router {
    Router::new()
        .route("/add-checkpoint", post(add))
        .layer(DefaultBodyLimit::max(ADD_CHECKPOINT_BYTES_MAX))
        .with_state(Arc::new(Asked { witness, on_event }))
}

async fn add(State(asked): State<Arc<Asked>>, body: Bytes) -> Response {
    let request = match AddCheckpoint::parse(&body) {
        Ok(request) => request,
        Err(error) => return answer(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    // The disk is waited for on a thread that may block.
    match tokio::task::spawn_blocking(move || asked.answer(&request)).await {
        Ok(answer) => answer,
        Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

impl Asked {
    fn answer(&self, request: &AddCheckpoint) -> Response {
        match self.witness.add(request, clock::now().0 / 1_000) {
            Ok(line) => self.cosigned(request, &line),
            Err(WitnessError::Refused(refusal)) => self.refused(refusal),
            Err(error) => {
                tracing::error!(%error, "nothing is cosigned");
                (self.on_event)(WitnessEvent::Broken(error.to_string()));
                answer(StatusCode::INTERNAL_SERVER_ERROR, "this witness cannot keep what it cosigns")
            }
        }
    }

    fn cosigned(&self, request: &AddCheckpoint, line: &NoteSignature) -> Response {
        // It was parsed before it was cosigned.
        if let Ok(checkpoint) = Checkpoint::parse(request.note.text()) {
            (self.on_event)(WitnessEvent::Cosigned(checkpoint));
        }
        answer(StatusCode::OK, &line.to_string())
    }

    fn refused(&self, refusal: AddRefusal) -> Response {
        tracing::info!(%refusal, "not cosigned");
        let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
        let said = refusal.to_string();
        let size = refusal.last_size().filter(|_| status == StatusCode::CONFLICT);
        if let AddRefusal::Fraud(fraud) = refusal {
            (self.on_event)(WitnessEvent::Fraud(fraud));
        }
        match size {
            Some(size) => (status, [(CONTENT_TYPE, TLOG_SIZE)], format!("{size}\n")).into_response(),
            None => answer(status, &said),
        }
    }
}

fn answer(status: StatusCode, said: &str) -> Response {
    (status, [(CONTENT_TYPE, TEXT)], format!("{said}\n")).into_response()
}
