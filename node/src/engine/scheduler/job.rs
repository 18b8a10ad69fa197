//! The inside of a job: one bounded piece of work a turn.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    time::Instant,
};

use gridhour_protocol::job::logprobs::Logprobs;

use super::{
    super::{
        sampler::{Sampler, logprobs},
        score_chain::ScoreChain,
        sequence::{CHUNK, Sequence, SequenceError},
    },
    Command, EVENTS_A_TURN, EVENTS_MAX, JobControl, JobEnd, JobEvent, JobHandle, JobRequest, Place, Reason,
    handle::Shared,
};

/// What became of a job's turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// Something was computed, and more is to do.
    Advanced,
    /// The job needs a grant, or its reader.
    Waits,
    /// The job has ended.
    Ended,
}

/// A job on the engine's thread.
pub(super) struct Job {
    request: JobRequest,
    sequence: Sequence,
    chain: ScoreChain,
    sampler: Sampler,
    /// Output tokens chosen.
    chosen: u32,
    /// The last output token, which is computed when the next is granted.
    last: Option<u32>,
    compute_ns: u64,
    shared: Arc<Shared>,
    events: SyncSender<JobEvent>,
    /// Held for as long as the job lives.
    _place: Place,
}

impl Job {
    pub(super) fn new(
        request: JobRequest,
        sequence: Sequence,
        place: Place,
        commands: SyncSender<Command>,
    ) -> (Self, JobHandle) {
        let (events, inbox) = sync_channel(EVENTS_MAX);
        let shared = Arc::new(Shared {
            granted: AtomicU32::new(request.granted),
            cancelled: AtomicBool::new(false),
            unread: AtomicUsize::new(0),
        });
        let control = JobControl { shared: shared.clone(), commands };
        // The engine bounds positions by 2^17.
        let chain = ScoreChain::new(&request.request_digest, request.prompt.len() as u32);
        let sampler = Sampler::new(&request.sampling, request.key, &request.prompt);
        let (chosen, last, compute_ns) = (0, None, 0);
        let job = Self {
            request,
            sequence,
            chain,
            sampler,
            chosen,
            last,
            compute_ns,
            shared,
            events,
            _place: place,
        };
        (job, JobHandle { control, events: inbox })
    }

    /// Computes the next piece: a chunk of the prompt, or one token.
    pub(super) fn turn(&mut self) -> Turn {
        if self.shared.cancelled.load(Ordering::Acquire) {
            return self.end(Reason::Cancelled);
        }
        let unread = self.shared.unread.load(Ordering::Acquire);
        let granted = self.shared.granted.load(Ordering::Acquire);
        if unread + EVENTS_A_TURN > EVENTS_MAX || (self.chooses_next() && self.chosen >= granted) {
            return Turn::Waits;
        }
        if self.sequence.position() == 0 {
            self.report(JobEvent::Started { prompt_tokens: self.request.prompt.len() as u32 });
        }
        let begin = Instant::now();
        let result = self.compute();
        self.compute_ns = self.compute_ns.saturating_add(begin.elapsed().as_nanos() as u64);
        match result {
            Ok(None) => Turn::Advanced,
            Ok(Some((token, logprobs))) => self.take(token, logprobs),
            Err(error) => {
                self.report(JobEvent::Fault(error));
                Turn::Ended
            }
        }
    }

    /// Ends the job, whatever it was doing.
    pub(super) fn cancel(mut self) {
        self.end(Reason::Cancelled);
    }

    /// Whether the next piece ends with the choice of a token.
    fn chooses_next(&self) -> bool {
        self.sequence.position() + CHUNK >= self.request.prompt.len()
    }

    /// Computes the next piece; gives the token, if it chose one.
    fn compute(&mut self) -> Result<Option<(u32, Option<Logprobs>)>, SequenceError> {
        let chooses = self.chooses_next();
        let position = self.sequence.position();
        let input = match self.last.as_slice() {
            [] => &self.request.prompt[position..self.request.prompt.len().min(position + CHUNK)],
            last => last,
        };
        if !chooses {
            return self.sequence.extend(input).map(|()| None);
        }
        let (chain, sampler, asked) = (&mut self.chain, &mut self.sampler, self.request.logprobs);
        let place = (position + input.len()) as u32;
        let choice = self.sequence.prefill(input, |scores| {
            let token = sampler.choose(scores.logits, place);
            chain.push(token, scores);
            (token, (asked > 0).then(|| logprobs(scores.logits, token, asked)))
        });
        choice.map(Some)
    }

    fn take(&mut self, id: u32, logprobs: Option<Logprobs>) -> Turn {
        let (score_chain, compute_ns) = (self.chain.digest(), self.compute_ns);
        self.report(JobEvent::Token { index: self.chosen, id, logprobs, score_chain, compute_ns });
        self.chosen += 1;
        self.last = Some(id);
        if self.request.stop_texts.push(id) || self.request.stop.contains(&id) {
            self.end(Reason::Stop)
        } else if self.chosen == self.request.max_tokens {
            self.end(Reason::Length)
        } else {
            Turn::Advanced
        }
    }

    fn end(&mut self, reason: Reason) -> Turn {
        self.report(JobEvent::Done(JobEnd {
            reason,
            output_tokens: self.chosen,
            score_chain: self.chain.digest(),
            compute_ns: self.compute_ns,
        }));
        Turn::Ended
    }

    /// Sends an event. There is room, since a turn begins only with enough; a reader that is gone has
    /// cancelled.
    fn report(&self, event: JobEvent) {
        self.shared.unread.fetch_add(1, Ordering::AcqRel);
        let _ = self.events.try_send(event);
    }
}
