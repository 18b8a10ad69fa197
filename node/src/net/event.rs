//! What the network hands to the node's drivers.

use std::net::IpAddr;

use gridhour_protocol::{
    market::{advert::Advert, posting::Posting},
    signed::{PublicKey, Verified},
};
use libp2p::request_response::ResponseChannel;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::net::{codec::Answer, error::Closed, handle::Command, job_stream::JobStream, service::Service};

/// Something that came from a peer. Drivers take events promptly: jobs and requests for which there is no
/// room are refused, and adverts wait, each replaced by its provider's next.
#[derive(Debug)]
pub enum NetEvent {
    /// A provider's newest advert, checked. The node's own adverts do not come back.
    Advert(Verified<Advert>),
    /// Somebody posted an order, and waits for quotes.
    Posting(Verified<Posting>),
    /// A quote for a posting of this node, checked as adverts are.
    Quote(Verified<Advert>),
    /// A peer opened a job's stream.
    Job(JobStream),
    /// A peer opened a calibration's stream.
    Calibration(JobStream),
    /// A peer asks something.
    Request(InboundRequest),
}

/// A request of a peer.
#[derive(Debug)]
pub struct InboundRequest {
    /// Who asks. The connection's handshake proved it.
    pub peer: PublicKey,
    /// What is asked for.
    pub service: Service,
    /// The request, at most [`Service::request_bytes_max`] bytes, not parsed.
    pub bytes: Vec<u8>,
    /// The IP address that it came from; `None` where it did not come from one.
    pub observed: Option<IpAddr>,
    /// The way to answer.
    pub responder: Responder,
}

/// Answers one request. The peer has its own patience; an answer that comes later is dropped. Dropping the
/// responder refuses the request without a reason.
#[derive(Debug)]
pub struct Responder {
    pub(crate) service: Service,
    pub(crate) channel: ResponseChannel<Answer>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) _place: OwnedSemaphorePermit,
}

impl Responder {
    /// Sends the answer. One that is over [`Service::response_bytes_max`] is our fault: the peer gets a
    /// refusal.
    ///
    /// # Errors
    /// If the network is shut down.
    pub async fn respond(self, bytes: Vec<u8>) -> Result<(), Closed> {
        let max = self.service.response_bytes_max();
        if bytes.len() > max {
            let len = bytes.len();
            return self.refuse(&format!("the answer of {len} bytes is over the limit of {max}")).await;
        }
        self.send(Answer::Served(bytes)).await
    }

    /// Refuses, with a sentence that says why and what to do, of which the first
    /// [`crate::net::limits::REFUSAL_BYTES_MAX`] bytes are sent.
    ///
    /// # Errors
    /// If the network is shut down.
    pub async fn refuse(self, why: &str) -> Result<(), Closed> {
        self.send(Answer::Refused(why.into())).await
    }

    async fn send(self, answer: Answer) -> Result<(), Closed> {
        let Self { service, channel, commands, _place } = self;
        commands.send(Command::Respond { service, channel, answer }).await.map_err(|_| Closed)
    }
}
