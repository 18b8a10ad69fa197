//! Bytes of requests and answers on their streams.

use std::{
    io,
    time::{Duration, Instant},
};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::{StreamProtocol, request_response::Codec};

use crate::net::{
    frame::{FrameError, FrameReader, write_frame},
    limits::REFUSAL_BYTES_MAX,
};

/// A request as it goes out or came in.
#[derive(Debug)]
pub(crate) enum Asked {
    /// The bytes of the request.
    Bytes(Vec<u8>),
    /// One over the limit came in; of its bytes none were read.
    Oversized { len: usize, max: usize },
}

/// An answer: a status byte, then a frame.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Status 0: the service's answer.
    Served(Vec<u8>),
    /// Status 1: a sentence that says why not.
    Refused(String),
}

/// Requests and answers with a largest size each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounded {
    pub(crate) request_max: usize,
    pub(crate) response_max: usize,
}

fn io_error(error: FrameError) -> io::Error {
    match error {
        FrameError::Io(error) => error,
        FrameError::Truncated => io::Error::new(io::ErrorKind::UnexpectedEof, error),
        FrameError::Oversized { .. } => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}

async fn read_one<T: AsyncRead + Unpin>(io: T, max: usize) -> Result<Vec<u8>, FrameError> {
    FrameReader::new(io, max).next().await?.ok_or(FrameError::Truncated)
}

impl Codec for Bounded {
    type Protocol = StreamProtocol;
    type Request = Asked;
    type Response = Answer;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Asked>
    where
        T: AsyncRead + Unpin + Send,
    {
        match read_one(io, self.request_max).await {
            Ok(bytes) => Ok(Asked::Bytes(bytes)),
            Err(FrameError::Oversized { len, max }) => Ok(Asked::Oversized { len, max }),
            Err(error) => Err(io_error(error)),
        }
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Answer>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut status = [0; 1];
        io.read_exact(&mut status).await?;
        match status {
            [0] => read_one(io, self.response_max).await.map(Answer::Served).map_err(io_error),
            [1] => {
                let why = read_one(io, REFUSAL_BYTES_MAX).await.map_err(io_error)?;
                Ok(Answer::Refused(String::from_utf8_lossy(&why).into_owned()))
            }
            [other] => {
                Err(io::Error::new(io::ErrorKind::InvalidData, format!("status {other} is not known")))
            }
        }
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, asked: Asked) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        let bytes = match asked {
            Asked::Bytes(bytes) => bytes,
            Asked::Oversized { len, max } => return Err(io_error(FrameError::Oversized { len, max })),
        };
        write_frame(io, &bytes, self.request_max).await.map_err(io_error)
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, answer: Answer) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        let (status, bytes, max) = match &answer {
            Answer::Served(bytes) => (0, bytes.as_slice(), self.response_max),
            Answer::Refused(why) => (1, clip(why, REFUSAL_BYTES_MAX).as_bytes(), REFUSAL_BYTES_MAX),
        };
        io.write_all(&[status]).await?;
        write_frame(io, bytes, max).await.map_err(io_error)
    }
}

/// The longest beginning of `text` within `max` bytes.
fn clip(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// Bytes of an echo.
pub(crate) type Nonce = [u8; 16];

/// An echo and the time that it took, from the moment its nonce went out on an open stream.
#[derive(Debug)]
pub(crate) struct Echoed {
    pub(crate) nonce: Nonce,
    pub(crate) round_trip: Duration,
}

/// Sixteen bytes out, the same sixteen back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EchoCodec {
    /// Waited before each answer.
    pub(crate) delay: Duration,
    sent_at: Option<Instant>,
}

impl EchoCodec {
    pub(crate) fn new(delay: Duration) -> Self {
        Self { delay, sent_at: None }
    }
}

async fn read_nonce<T: AsyncRead + Unpin>(io: &mut T) -> io::Result<Nonce> {
    let mut nonce = Nonce::default();
    io.read_exact(&mut nonce).await?;
    Ok(nonce)
}

impl Codec for EchoCodec {
    type Protocol = StreamProtocol;
    type Request = Nonce;
    type Response = Echoed;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Nonce>
    where
        T: AsyncRead + Unpin + Send,
    {
        read_nonce(io).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Echoed>
    where
        T: AsyncRead + Unpin + Send,
    {
        let nonce = read_nonce(io).await?;
        let sent_at = self.sent_at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Echoed { nonce, round_trip: sent_at.elapsed() })
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, nonce: Nonce) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        self.sent_at = Some(Instant::now());
        io.write_all(&nonce).await
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, echoed: Echoed) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        io.write_all(&echoed.nonce).await
    }
}

#[cfg(test)]
mod tests {
    use futures::{executor::block_on, io::Cursor};
    use proptest::prelude::*;

    use super::*;

    const CODEC: Bounded = Bounded { request_max: 8, response_max: 16 };
    const NAME: StreamProtocol = StreamProtocol::new("/test");

    fn answer(bytes: &[u8]) -> io::Result<Answer> {
        block_on(CODEC.clone().read_response(&NAME, &mut Cursor::new(bytes)))
    }

    #[test]
    fn answers_round_trip() {
        let mut out = Cursor::new(Vec::new());
        block_on(CODEC.clone().write_response(&NAME, &mut out, Answer::Served(vec![5; 16]))).expect("fits");
        assert!(matches!(answer(out.get_ref()), Ok(Answer::Served(bytes)) if bytes == [5; 16]));
        let mut out = Cursor::new(Vec::new());
        let long = Answer::Refused("é".repeat(REFUSAL_BYTES_MAX));
        block_on(CODEC.clone().write_response(&NAME, &mut out, long)).expect("clipped");
        assert!(matches!(answer(out.get_ref()), Ok(Answer::Refused(why)) if why.len() == REFUSAL_BYTES_MAX));
    }

    #[test]
    fn an_oversized_request_is_named_not_read() {
        let asked = block_on(CODEC.clone().read_request(&NAME, &mut Cursor::new([9, 0, 0, 0])));
        assert!(matches!(asked, Ok(Asked::Oversized { len: 9, max: 8 })));
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(Answer::Served(served)) = answer(&bytes) {
                prop_assert!(served.len() <= 16);
            }
        }
    }
}
