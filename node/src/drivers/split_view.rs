//! Looks out for an operator that shows two histories, and keeps the proof.

use std::{fs, io, path::Path, sync::Arc, time::Duration};

use gridhour_contracts_sim::fraud::Fraud;
use tokio::{sync::watch, time::sleep};

use crate::{
    http::public_log::PublicLog,
    net::{Closed, NetHandle, SeenCheckpoints},
};

/// Time between two checkpoints that a ledger node gossips, at least.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(1);

/// Waits until peers have brought two checkpoints that contradict each other, and writes the proof to `path`. `None` if
/// the network ended before.
pub async fn proof_of_fraud(mut seen: watch::Receiver<SeenCheckpoints>, path: &Path) -> Option<Arc<Fraud>> {
    let fraud = seen.wait_for(|seen| seen.fraud.is_some()).await.ok()?.fraud.clone()?;
    let conflict = fraud.conflict().name();
    match save(&fraud, path) {
        Ok(()) => {
            tracing::error!(conflict, proof = %path.display(), "the ledger's operator signed two histories")
        }
        Err(error) => {
            tracing::error!(conflict, %error, "the operator signed two histories; the proof is not kept")
        }
    }
    Some(fraud)
}

fn save(fraud: &Fraud, path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, fraud.to_string())
}

/// Gossips the checkpoints of `log` as it grows, until the network ends or the log does.
pub async fn announce(net: NetHandle, log: Arc<PublicLog>) {
    let mut news = log.watch();
    loop {
        if let Some(signed) = log.checkpoint() {
            let told: Result<(), Closed> = net.publish_checkpoint(signed).await;
            if told.is_err() {
                return;
            }
        }
        sleep(ANNOUNCE_EVERY).await;
        if !news.changed().await {
            return;
        }
    }
}
