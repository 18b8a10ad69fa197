//! Signals by which the system tells a program to stop.

use std::io;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// SIGINT, which Ctrl-C sends, and SIGTERM, which service managers send.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Turns true at the first SIGINT or SIGTERM; `again` is called at the second, by someone who has no patience.
///
/// # Errors
/// If the system lets nobody listen.
pub fn told_to_stop(again: impl FnOnce() + Send + 'static) -> io::Result<watch::Receiver<bool>> {
    let mut signals = Signals::listen()?;
    let (told, stop) = watch::channel(false);
    tokio::spawn(async move {
        signals.next().await;
        told.send_replace(true);
        signals.next().await;
        again();
    });
    Ok(stop)
}
