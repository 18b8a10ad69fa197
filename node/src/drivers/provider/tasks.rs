//! What a provider does at once, each kind within a number of its own: neither questions nor postings take a job's place.

use std::sync::Arc;

use tokio::{
    sync::Semaphore,
    task::{JoinError, JoinSet},
};

/// Streams of jobs and challengers that are served or being refused at once.
pub const STREAMS_MAX: usize = 64;
/// Postings that are being answered, or whose quotes are firm.
const POSTINGS_MAX: usize = 32;

/// Everything that runs beside the driver's own loop.
pub(super) struct Tasks {
    running: JoinSet<()>,
    streams: Arc<Semaphore>,
    postings: Arc<Semaphore>,
}

/// As many of a kind run as may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Tasks {
    pub(super) fn new() -> Self {
        let [streams, postings] = [STREAMS_MAX, POSTINGS_MAX].map(|places| Arc::new(Semaphore::new(places)));
        Self { running: JoinSet::new(), streams, postings }
    }

    /// Starts what is bounded elsewhere: questions by what a peer may ask at once, and the driver's own work.
    pub(super) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.running.spawn(task);
    }

    /// Starts to serve a stream.
    ///
    /// # Errors
    /// If there are [`STREAMS_MAX`]; the stream is dropped, which ends it.
    pub(super) fn spawn_stream(
        &mut self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Full> {
        let places = self.streams.clone();
        self.spawn_within(places, task)
    }

    /// Starts to answer a posting.
    ///
    /// # Errors
    /// If there are [`POSTINGS_MAX`].
    pub(super) fn spawn_posting(
        &mut self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Full> {
        let places = self.postings.clone();
        self.spawn_within(places, task)
    }

    fn spawn_within(
        &mut self,
        places: Arc<Semaphore>,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Full> {
        let place = places.try_acquire_owned().map_err(|_| Full)?;
        self.running.spawn(async move {
            task.await;
            drop(place);
        });
        Ok(())
    }

    /// Waits for one to end; nothing if none runs.
    pub(super) async fn join_next(&mut self) -> Option<Result<(), JoinError>> {
        self.running.join_next().await
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn neither_questions_nor_postings_take_a_job_its_place() {
        let mut tasks = Tasks::new();
        (0..2 * STREAMS_MAX).for_each(|_| tasks.spawn(pending()));
        let postings = (0..STREAMS_MAX).take_while(|_| tasks.spawn_posting(pending()).is_ok()).count();
        assert_eq!(postings, POSTINGS_MAX);
        let (end, ended) = oneshot::channel::<()>();
        let first = tasks.spawn_stream(async { ended.await.expect("it is told") });
        let others = (1..STREAMS_MAX).all(|_| tasks.spawn_stream(pending()).is_ok());
        assert!(first.is_ok() && others, "every place is there");
        assert_eq!(tasks.spawn_stream(pending()), Err(Full));
        end.send(()).expect("it waits");
        assert!(tasks.join_next().await.expect("one ends").is_ok());
        assert_eq!(tasks.spawn_stream(pending()), Ok(()), "its place is free again");
    }
}
