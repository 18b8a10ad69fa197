//! For whoever runs a node: `/metrics` for Prometheus, `/healthz` and `/readyz` for supervisors and load balancers.
//!
//! They are read only and say nothing of peers, accounts or texts. Still they are not for everyone: who knows how busy a
//! node is knows when to bother it. Listen at a loopback address, or put a reverse proxy before it.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::get,
};

use crate::{
    health::{Health, Reason, Severity, document},
    metrics::{CONTENT_TYPE as OPEN_METRICS, Metrics},
};

/// Every answer is of this moment.
const NEVER: HeaderValue = HeaderValue::from_static("no-store");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const METRICS: HeaderValue = HeaderValue::from_static(OPEN_METRICS);

/// What is shown.
#[derive(Clone)]
pub struct Operations {
    /// Every number.
    pub metrics: Arc<Metrics>,
    /// Whether the node serves.
    pub health: Arc<Health>,
}

impl Operations {
    /// The paths.
    pub fn routes(self) -> Router {
        Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .with_state(self)
    }
}

async fn metrics(State(shown): State<Operations>) -> Response {
    // A source may look at the disk or at a whole ledger.
    match tokio::task::spawn_blocking(move || shown.metrics.text()).await {
        Ok(Ok(text)) => ([(CONTENT_TYPE, METRICS), (CACHE_CONTROL, NEVER)], text).into_response(),
        Ok(Err(_)) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Whether the node serves: 200 or 503. What passes by itself is no reason to restart it.
async fn healthz(State(shown): State<Operations>) -> Response {
    answer(shown, Severity::Broken).await
}

/// Whether new work should be sent to it.
async fn readyz(State(shown): State<Operations>) -> Response {
    answer(shown, Severity::Busy).await
}

async fn answer(shown: Operations, least: Severity) -> Response {
    let Ok(mut reasons) = tokio::task::spawn_blocking(move || shown.health.reasons()).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    reasons.retain(|reason: &Reason| reason.severity >= least);
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = format!("{}\n", document(&reasons));
    (status, [(CONTENT_TYPE, JSON), (CACHE_CONTROL, NEVER)], body).into_response()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::sync::watch;

    use super::*;
    use crate::{health::draining, http::HttpServer};

    /// Status and reasons of `path`.
    async fn asked(server: &HttpServer, path: &str) -> (u16, Vec<Value>) {
        let url = format!("http://{}{path}", server.address());
        let asked = tokio::task::spawn_blocking(move || match ureq::get(&url).call() {
            Ok(answer) | Err(ureq::Error::Status(_, answer)) => (answer.status(), answer.into_string()),
            Err(error) => panic!("{error}"),
        });
        let (status, body) = asked.await.unwrap();
        let document: Value = serde_json::from_str(&body.unwrap()).unwrap();
        let reasons = document["reasons"].as_array().unwrap().iter().map(|reason| reason["reason"].clone());
        (status, reasons.collect())
    }

    #[tokio::test]
    async fn a_busy_node_is_healthy_and_not_ready_and_one_that_drains_is_neither() {
        let shown = Operations { metrics: Arc::default(), health: Arc::default() };
        let (told, stop) = watch::channel(false);
        shown.health.add(move || draining(&stop));
        let health = shown.health.clone();
        let server = HttpServer::start("127.0.0.1:0".parse().unwrap(), shown.routes()).await.unwrap();
        assert_eq!(asked(&server, "/healthz").await, (200, vec![]));
        assert_eq!(asked(&server, "/readyz").await, (503, vec![json!("starting")]));
        health.started();
        assert_eq!(asked(&server, "/readyz").await, (200, vec![]));
        told.send_replace(true);
        for path in ["/healthz", "/readyz"] {
            assert_eq!(asked(&server, path).await, (503, vec![json!("draining")]));
        }
    }
}
