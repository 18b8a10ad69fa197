//! `gridhour audit witness --serve`: cosigns what logs send, until it is told to stop.

use std::{net::SocketAddr, path::Path, sync::Arc};

use gridhour_contracts_sim::fraud::Fraud;
use gridhour_node::http::{
    HttpServer,
    witness::{WitnessEvent, routes},
};
use serde_json::json;

use super::Opened;
use crate::{
    commands::audit::consistency::write_fraud,
    context::Context,
    error::{CommandError, Result},
    joined::{Stop, runtime},
    output::Output,
};

/// Serves `opened` at `address`. One line of JSON an event, with `--json`.
pub(super) fn run(opened: Opened, address: SocketAddr, context: &Context) -> Result {
    let Opened { witness, vkey, operator, _lock } = opened;
    let (out, proof) = (context.out, context.data_dir.fraud_proof());
    // A closed output is no reason to stop cosigning.
    let on_event = Arc::new(move |event| drop(tell(out, &event, &proof)));
    runtime()?.block_on(async {
        let stop = Stop::at_ctrl_c();
        let server = HttpServer::start(address, routes(witness, on_event)).await;
        let server =
            server.map_err(|error| CommandError::usage(format!("cannot listen at {address}: {error}")))?;
        let url = format!("http://{}", server.address());
        out.record(&json!({
            "event": "witness", "url": url, "vkey": vkey.to_string(), "log": operator.to_string(),
        }))?;
        out.line(format!("{url} cosigns {} as {vkey}", operator.name()))?;
        stop.wished().await;
        Ok(())
    })
}

fn tell(out: Output, event: &WitnessEvent, proof: &Path) -> Result {
    match event {
        WitnessEvent::Cosigned(checkpoint) => {
            let (height, size) = (checkpoint.height.0, checkpoint.log.size);
            out.record(&json!({ "event": "cosigned", "height": height, "size": size }))?;
            out.line(format!("height {height}, {size} entries: cosigned"))
        }
        WitnessEvent::Fraud(fraud) => tell_fraud(out, fraud, proof),
        WitnessEvent::Broken(why) => {
            out.record(&json!({ "event": "broken", "why": why }))?;
            out.line(format!("nothing is cosigned: {why}"))
        }
    }
}

/// Keeps the first proof: one convicts the operator, and more would only fill the disk.
fn tell_fraud(out: Output, fraud: &Fraud, proof: &Path) -> Result {
    if !proof.exists() {
        write_fraud(fraud, proof)?;
    }
    let conflict = fraud.conflict().name();
    out.record(&json!({ "event": "fraud", "conflict": conflict, "proof": proof }))?;
    out.line(format!("THE OPERATOR SIGNED TWO HISTORIES ({conflict}); the proof: {}", proof.display()))
}
