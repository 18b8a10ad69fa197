//! What every long-running node shows to whoever runs it: its numbers, and whether it serves.

use std::{net::SocketAddr, sync::Arc};

use axum::Router;
use tokio::sync::watch;

use super::{NodeError, NodeEvent, OnNodeEvent};
use crate::{
    clock,
    data_dir::DataDir,
    health::{self, Health},
    http::{HttpServer, operations::Operations},
    metrics::{
        Metrics,
        ledger::{Histories, Publishing},
        observer::Following,
        process::Process,
    },
};

/// A node's numbers and health.
pub(super) struct Face {
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: Arc<Health>,
    pub(super) publishing: Arc<Publishing>,
    pub(super) following: Arc<Following>,
    histories: Histories,
}

impl Face {
    /// Of a node of this kind over `data_dir`, until `stop` turns true.
    pub(super) fn new(kind: &'static str, data_dir: &DataDir, stop: &watch::Receiver<bool>) -> Self {
        let (metrics, health) = (Arc::new(Metrics::default()), Arc::new(Health::default()));
        let (root, stop, histories) = (data_dir.root().to_owned(), stop.clone(), Histories::default());
        metrics.add(Process { kind, started: clock::now(), root: root.clone() });
        metrics.add(histories.clone());
        health.add(move || health::draining(&stop));
        health.add(move || health::disk_full(&root));
        let (publishing, following) = (Arc::default(), Arc::default());
        Self { metrics, health, publishing, following, histories }
    }

    /// `on_event`, with everything counted that is told to it.
    pub(super) fn counting(&self, on_event: OnNodeEvent) -> OnNodeEvent {
        let (publishing, following) = (self.publishing.clone(), self.following.clone());
        let histories = self.histories.clone();
        Arc::new(move |event| {
            match &event {
                NodeEvent::Published { height, quorum } => publishing.published(*height, quorum),
                NodeEvent::WitnessTrouble { .. } => publishing.trouble(),
                NodeEvent::Fraud { .. } => histories.found(),
                NodeEvent::Observer(event) => following.note(event),
                _ => {}
            }
            on_event(event);
        })
    }

    /// Serves this and `more` at `address`, if there is one, and says where.
    pub(super) async fn serve(
        &self,
        address: Option<SocketAddr>,
        more: Router,
        on_event: &OnNodeEvent,
    ) -> Result<Option<HttpServer>, NodeError> {
        let Some(address) = address else { return Ok(None) };
        let shown = Operations { metrics: self.metrics.clone(), health: self.health.clone() };
        let server = HttpServer::start(address, more.merge(shown.routes())).await;
        let server = server.map_err(|source| NodeError::Http { address, source })?;
        on_event(NodeEvent::Http { address: server.address() });
        Ok(Some(server))
    }
}
