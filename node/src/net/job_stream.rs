//! The stream of one job, or of one calibration: frames in both directions, over an encrypted connection.

use std::{sync::Arc, time::Duration};

use futures::{
    AsyncReadExt, AsyncWriteExt,
    io::{ReadHalf, WriteHalf},
};
use gridhour_protocol::{limits::JOB_FRAME_BYTES_MAX, signed::PublicKey};
use libp2p::Stream;
use tokio::sync::OwnedSemaphorePermit;

use crate::net::frame::{FrameError, FrameReader, write_frame};

/// What a stream of frames is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum StreamKind {
    /// One job.
    Job,
    /// One calibration.
    Calibration,
}

impl StreamKind {
    /// Its word in the protocol's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Calibration => "calibration",
        }
    }
}

/// Both directions of a job's stream, or of a calibration's. Dropping it ends the stream;
/// [`JobStream::close`] also waits until all that was sent has left.
#[derive(Debug)]
pub struct JobStream {
    peer: PublicKey,
    sender: JobSender,
    receiver: JobReceiver,
}

/// The sending direction.
#[derive(Debug)]
pub struct JobSender {
    output: WriteHalf<Stream>,
    delay: Duration,
    _place: Place,
}

/// The receiving direction.
#[derive(Debug)]
pub struct JobReceiver {
    frames: FrameReader<ReadHalf<Stream>>,
    _place: Place,
}

/// A peer's claim on its number of streams, given back when both directions are dropped.
pub(crate) type Place = Arc<Vec<OwnedSemaphorePermit>>;

impl JobStream {
    pub(crate) fn new(peer: PublicKey, stream: Stream, delay: Duration, place: Place) -> Self {
        let (input, output) = stream.split();
        let frames = FrameReader::new(input, JOB_FRAME_BYTES_MAX);
        let sender = JobSender { output, delay, _place: Arc::clone(&place) };
        Self { peer, sender, receiver: JobReceiver { frames, _place: place } }
    }

    /// Who is at the other end. The connection's handshake proved it.
    #[must_use]
    pub fn peer(&self) -> PublicKey {
        self.peer
    }

    /// As [`JobSender::send`].
    ///
    /// # Errors
    /// As [`JobSender::send`].
    pub async fn send(&mut self, frame: &[u8]) -> Result<(), FrameError> {
        self.sender.send(frame).await
    }

    /// As [`JobReceiver::recv`].
    ///
    /// # Errors
    /// As [`JobReceiver::recv`].
    pub async fn recv(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        self.receiver.recv().await
    }

    /// Ends our direction after all frames have left. The peer reads them, and then the end.
    ///
    /// # Errors
    /// If the stream fails first.
    pub async fn close(mut self) -> Result<(), FrameError> {
        self.sender.close().await
    }

    /// The two directions apart, for one task that sends and one that receives.
    #[must_use]
    pub fn split(self) -> (JobSender, JobReceiver) {
        (self.sender, self.receiver)
    }
}

impl JobSender {
    /// Sends one frame of at most [`JOB_FRAME_BYTES_MAX`] bytes. Waits while the peer does not read; how long
    /// to wait is the caller's to say. A call that is dropped half-way leaves a broken frame behind: end the
    /// stream then.
    ///
    /// # Errors
    /// If the frame is too long, of which nothing is sent then, or the stream fails.
    pub async fn send(&mut self, frame: &[u8]) -> Result<(), FrameError> {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        write_frame(&mut self.output, frame, JOB_FRAME_BYTES_MAX).await
    }

    /// Ends this direction after all frames have left.
    ///
    /// # Errors
    /// If the stream fails first.
    pub async fn close(&mut self) -> Result<(), FrameError> {
        Ok(self.output.close().await?)
    }
}

impl JobReceiver {
    /// The next frame; `None` when the stream has ended between two frames, whether the peer closed it or the
    /// connection did. That a job is complete is for its messages to say. A call may be dropped half-way and
    /// repeated.
    ///
    /// # Errors
    /// If the frame is longer than [`JOB_FRAME_BYTES_MAX`], or the stream ends within it or fails.
    pub async fn recv(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        self.frames.next().await
    }
}
