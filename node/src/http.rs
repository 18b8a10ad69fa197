//! HTTP, for whoever is no peer: the public log, read only, and witnesses of it; numbers and health of a node.
//!
//! | room | holds |
//! |---|---|
//! | [`operations`] | `/metrics`, `/healthz` and `/readyz`, for whoever runs the node |
//! | [`public_log`] | the checkpoint and the tiles of a ledger's log, as c2sp.org/tlog-tiles lays them out |
//! | [`client`] | the other side: reads such a log, whoever serves it |
//! | [`witness`] | cosigns checkpoints that are sent to it, as c2sp.org/tlog-witness says |
//! | [`witness_client`] | the other side: asks a witness, whoever runs it |
//!
//! Everything is bounded here: connections, and how long one may stay silent. Answers are files' bytes of known size.

use std::{future::IntoFuture, io, net::SocketAddr, time::Duration};

use axum::Router;
use tokio::{net::TcpListener, task::JoinHandle};

use self::limited::Limited;

pub mod client;
mod limited;
pub mod operations;
pub mod public_log;
pub mod witness;
pub mod witness_client;

/// Connections served at once; more wait to be accepted.
pub const CONNECTIONS_MAX: usize = 256;
/// A connection on which nothing moves for so long is closed.
pub const SILENCE_MAX: Duration = Duration::from_secs(30);

/// A running server. It ends when it is dropped.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl HttpServer {
    /// Serves `routes` at `address`.
    ///
    /// # Errors
    /// If the address cannot be listened at.
    pub async fn start(address: SocketAddr, routes: Router) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let serving = axum::serve(Limited::new(listener, CONNECTIONS_MAX, SILENCE_MAX), routes);
        let task = tokio::spawn(async move {
            if let Err(error) = serving.into_future().await {
                tracing::error!(%error, "HTTP is served no more");
            }
        });
        Ok(Self { address, task })
    }

    /// Where it listens: the port that the system chose, if it was asked for port 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
