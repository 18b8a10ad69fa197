//! One side of a calibration's stream: messages out and in, with patience.

use std::time::Duration;

use gridhour_protocol::{
    units::Millis,
    wire::{self, Wire},
};
use tokio::time::timeout;

use crate::net::{JobReceiver, JobSender, JobStream};

/// How long a message may take to leave.
const SEND_TIME: Duration = Duration::from_secs(30);

/// Why nothing was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// Nothing came in time.
    Late,
    /// The stream ended, failed, or brought what is no message.
    Gone(String),
}

/// A calibration's stream.
pub(crate) struct Line {
    sender: JobSender,
    receiver: JobReceiver,
}

impl Line {
    pub(crate) fn new(stream: JobStream) -> Self {
        let (sender, receiver) = stream.split();
        Self { sender, receiver }
    }

    /// Sends a message.
    pub(crate) async fn say<T: Wire>(&mut self, message: &T) -> Result<(), Silence> {
        match timeout(SEND_TIME, self.sender.send(&wire::encode(message))).await {
            Ok(sent) => sent.map_err(|error| Silence::Gone(error.to_string())),
            Err(_) => Err(Silence::Late),
        }
    }

    /// The next message, within `patience`.
    pub(crate) async fn hear<T: Wire>(&mut self, patience: Millis) -> Result<T, Silence> {
        let patience = Duration::from_millis(patience.0);
        timeout(patience, self.hear_ever()).await.map_err(|_| Silence::Late)?
    }

    /// The next message, whenever it comes. A call may be dropped half-way and repeated.
    pub(crate) async fn hear_ever<T: Wire>(&mut self) -> Result<T, Silence> {
        let gone = |why: String| Silence::Gone(why);
        let frame = self.receiver.recv().await.map_err(|error| gone(error.to_string()))?;
        let frame = frame.ok_or_else(|| gone("it was closed".into()))?;
        wire::decode(&frame).map_err(|error| gone(error.to_string()))
    }

    /// Ends our direction once all has left.
    pub(crate) async fn end(&mut self) {
        let closed = timeout(SEND_TIME, self.sender.close()).await;
        if !matches!(closed, Ok(Ok(()))) {
            tracing::debug!("the end of a calibration did not arrive");
        }
    }

    /// Ends our direction, and waits until the peer has read all and ended its own: whoever leaves the network
    /// before may take the last message with it.
    pub(crate) async fn end_together(mut self) {
        self.end().await;
        let theirs = async { while let Ok(Some(_)) = self.receiver.recv().await {} };
        if timeout(SEND_TIME, theirs).await.is_err() {
            tracing::debug!("the peer does not end its side of a calibration");
        }
    }
}
