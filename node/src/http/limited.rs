//! So many connections and no more, and none that keeps its place by saying nothing, or too little.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::serve::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep},
};

/// A listener that accepts only while there is room.
pub(super) struct Limited {
    listener: TcpListener,
    places: Arc<Semaphore>,
    silence_max: Duration,
}

impl Limited {
    pub(super) fn new(listener: TcpListener, connections_max: usize, silence_max: Duration) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(connections_max)), silence_max }
    }
}

impl Listener for Limited {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let place = Arc::clone(&self.places).acquire_owned().await.expect("the semaphore is never closed");
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        let patience = Box::pin(sleep(self.silence_max));
        (Connection { stream, patience, silence_max: self.silence_max, _place: place }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails if for too long nothing could be written to it. So a request has to be there that long after the
/// last answer, as a whole: who sends a byte now and then gains nothing.
pub(super) struct Connection {
    stream: TcpStream,
    patience: Pin<Box<Sleep>>,
    silence_max: Duration,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// `polled`, or an error if it waits and has waited for too long.
    fn in_time<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            return polled;
        }
        ready!(self.patience.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.in_time(context, polled)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if polled.is_ready() {
            let end = Instant::now() + self.silence_max;
            self.patience.as_mut().reset(end);
        }
        self.in_time(context, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// There is one place. Who holds it and never comes to the end of a request loses it, and whoever waits is answered.
    async fn is_given_on(mut hold: impl AsyncFnMut(&mut TcpStream)) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().route("/", get(async || "served"));
        let limited = Limited::new(listener, 1, Duration::from_millis(50));
        let serving = tokio::spawn(axum::serve(limited, routes).into_future());
        let mut silent = TcpStream::connect(address).await.unwrap();
        silent.write_all(b"GET / HT").await.unwrap();
        hold(&mut silent).await;
        let mut waiting = TcpStream::connect(address).await.unwrap();
        waiting.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        waiting.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("served"), "{answer}");
        let closed = silent.read(&mut [0; 64]).await;
        assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
        serving.abort();
    }

    #[tokio::test]
    async fn a_silent_connection_is_closed_and_its_place_given_on() {
        is_given_on(async |_| ()).await;
    }

    #[tokio::test]
    async fn a_connection_that_trickles_is_closed_and_its_place_given_on() {
        is_given_on(async |held| {
            held.write_all(b"TP/1.1\r\na: ").await.unwrap();
            // Refused once it is closed; until then a byte comes well within what silence may last.
            while held.write_all(b"x").await.is_ok() {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}
