//! Frames: `u32` LE length, then that many bytes. A length over the limit is refused before anything is
//! allocated, and memory grows with what arrived, never with what was announced.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes that are made room for at a time.
const STEP_BYTES: usize = 16 * 1024;

/// A frame was not read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The frame that is announced, or is to be sent, is over the limit.
    #[error("frame of {len} bytes is over the limit of {max}")]
    Oversized {
        /// Bytes of the frame.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The stream ended within a frame: the peer or the connection died.
    #[error("the stream ended within a frame")]
    Truncated,
    /// The connection failed.
    #[error("the stream failed: {0}")]
    Io(#[from] io::Error),
}

/// Reads frames of at most `max` bytes. Dropping [`FrameReader::next`] half-way loses nothing: the next call
/// goes on.
#[derive(Debug)]
pub struct FrameReader<R> {
    input: R,
    max: usize,
    header: [u8; 4],
    header_len: usize,
    body: Vec<u8>,
    body_len: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Frames of `input`.
    pub fn new(input: R, max: usize) -> Self {
        Self { input, max, header: [0; 4], header_len: 0, body: Vec::new(), body_len: 0 }
    }

    /// The next frame, or `None` when the stream has ended between two frames.
    ///
    /// # Errors
    /// If the frame is too long, or the stream ends within it or fails. There is no way to go on then.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        while self.header_len < self.header.len() {
            match self.input.read(&mut self.header[self.header_len..]).await? {
                0 if self.header_len == 0 => return Ok(None),
                0 => return Err(FrameError::Truncated),
                read => self.header_len += read,
            }
        }
        let len = usize::try_from(u32::from_le_bytes(self.header)).unwrap_or(usize::MAX);
        if len > self.max {
            return Err(FrameError::Oversized { len, max: self.max });
        }
        while self.body_len < len {
            self.body.resize(len.min(self.body_len + STEP_BYTES), 0);
            match self.input.read(&mut self.body[self.body_len..]).await? {
                0 => return Err(FrameError::Truncated),
                read => self.body_len += read,
            }
        }
        self.header_len = 0;
        self.body_len = 0;
        Ok(Some(std::mem::take(&mut self.body)))
    }
}

/// Writes one frame and flushes it.
///
/// # Errors
/// If it is longer than `max`, of which nothing is written then, or the stream fails.
pub async fn write_frame<W: AsyncWrite + Unpin>(
    output: &mut W,
    frame: &[u8],
    max: usize,
) -> Result<(), FrameError> {
    let oversized = || FrameError::Oversized { len: frame.len(), max };
    if frame.len() > max {
        return Err(oversized());
    }
    let len = u32::try_from(frame.len()).map_err(|_| oversized())?;
    output.write_all(&len.to_le_bytes()).await?;
    output.write_all(frame).await?;
    output.flush().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, executor::block_on, io::Cursor};
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn read_all(bytes: &[u8], max: usize) -> (Vec<Vec<u8>>, Result<(), FrameError>) {
        let mut reader = FrameReader::new(Cursor::new(bytes), max);
        let mut frames = Vec::new();
        loop {
            match block_on(reader.next()) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return (frames, Ok(())),
                Err(error) => return (frames, Err(error)),
            }
        }
    }

    #[test]
    fn an_announced_gigabyte_costs_no_memory() {
        let mut reader = FrameReader::new(Cursor::new([0xff, 0xff, 0xff, 0x3f]), usize::MAX);
        assert!(matches!(block_on(reader.next()), Err(FrameError::Truncated)));
        assert!(reader.body.capacity() <= 2 * STEP_BYTES);
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_on_both_sides() {
        let mut sent = Vec::new();
        assert!(matches!(
            block_on(write_frame(&mut sent, &[0; 9], 8)),
            Err(FrameError::Oversized { len: 9, max: 8 })
        ));
        assert!(sent.is_empty());
        let (_, end) = read_all(&[9, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 8);
        assert!(matches!(end, Err(FrameError::Oversized { len: 9, max: 8 })));
    }

    #[test]
    fn a_dropped_read_loses_nothing() {
        let (mut far, near) = tokio::io::duplex(64);
        let near = Compat(near);
        let mut reader = FrameReader::new(near, 64);
        for (part, ready) in [(&[5, 0][..], false), (&[0, 0, 1, 2], false), (&[3, 4, 5], true)] {
            block_on(tokio::io::AsyncWriteExt::write_all(&mut far, part)).expect("there is room");
            let frame = reader.next().now_or_never().map(|frame| frame.expect("no error"));
            assert_eq!(frame.is_some(), ready);
            assert!(!ready || frame == Some(Some(vec![1, 2, 3, 4, 5])));
        }
    }

    /// The reading half of tokio's pipe, as this module reads.
    struct Compat(tokio::io::DuplexStream);

    impl AsyncRead for Compat {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
            buffer: &mut [u8],
        ) -> std::task::Poll<io::Result<usize>> {
            let mut read = tokio::io::ReadBuf::new(buffer);
            let polled = tokio::io::AsyncRead::poll_read(std::pin::Pin::new(&mut self.0), cx, &mut read);
            polled.map_ok(|()| read.filled().len())
        }
    }

    proptest! {
        #[test]
        fn frames_round_trip(
            frames in vec(vec(any::<u8>(), 0..100), 0..10)
        ) {
            let mut sent = Vec::new();
            for frame in &frames {
                block_on(write_frame(&mut sent, frame, 100)).expect("within the limit");
            }
            let (read, end) = read_all(&sent, 100);
            prop_assert_eq!(read, frames);
            prop_assert!(end.is_ok());
        }

        #[test]
        fn no_bytes_panic_or_yield_more_than_arrived(bytes in vec(any::<u8>(), 0..300)) {
            let (frames, _) = read_all(&bytes, 64);
            prop_assert!(frames.iter().all(|frame| frame.len() <= 64));
            prop_assert!(frames.iter().map(|frame| frame.len() + 4).sum::<usize>() <= bytes.len());
        }
    }
}
