//! The inside of a job: its text, and how far it is computed.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    mpsc::{SyncSender, sync_channel},
};

use super::{
    super::{
        choice::Choice,
        device::{DeviceFault, Lane, PAGE, PageId},
        pages::{prefix::PrefixKeys, table::PageTable, table::Pages},
        score_chain::{ScoreChain, Scores},
    },
    Command, EVENTS_BESIDE_TOKENS, EVENTS_MAX, JobControl, JobEnd, JobEvent, JobHandle, JobRequest, Place,
    Reason,
    handle::Shared,
};

/// A job in line for its memory.
pub(super) struct Job {
    request: JobRequest,
    chain: ScoreChain,
    prefix: Option<PrefixKeys>,
    compute_ns: u64,
    shared: Arc<Shared>,
    events: SyncSender<JobEvent>,
    /// Held for as long as the job lives.
    _place: Place,
}

/// A job that has its memory.
pub(super) struct Running {
    job: Job,
    table: PageTable,
    /// Prompt and output so far.
    text: Vec<u32>,
    /// Positions of `text` that are computed.
    computed: usize,
    started: bool,
    /// The turn that computed it last.
    pub(super) turn: u64,
}

impl Job {
    pub(super) fn new(
        mut request: JobRequest,
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
        request.sampling = request.sampling.behind(&request.prompt);
        let prefix = request.scope.map(|scope| PrefixKeys::new(&scope));
        let job = Self { request, chain, prefix, compute_ns: 0, shared, events, _place: place };
        (job, JobHandle { control, events: inbox })
    }

    /// Whether its reader wants no more of it.
    pub(super) fn is_cancelled(&self) -> bool {
        self.shared.cancelled.load(Ordering::Acquire)
    }

    /// Gives it its memory, or gives it back while there is too little.
    pub(super) fn admit(mut self, pages: &Pages, turn: u64) -> Result<Running, Self> {
        // The last token of the prompt is always computed: its scores choose the first token of the output.
        let reusable = &self.request.prompt[..self.request.prompt.len() - 1];
        let prefix = self.prefix.as_mut().map_or(&[][..], |prefix| prefix.of(reusable));
        let Some(table) = pages.admit(prefix, self.request.positions()) else { return Err(self) };
        let (computed, text) = (table.reused(), self.request.prompt.clone());
        Ok(Running { job: self, table, text, computed, started: false, turn })
    }

    /// Ends it before it ran, or whatever it was doing: nobody wants more.
    pub(super) fn cancel(self) {
        self.end(Reason::Cancelled, 0, 0);
    }

    /// Ends it by the device's fault.
    pub(super) fn fail(self, fault: DeviceFault) {
        self.report(JobEvent::Fault(fault));
    }

    fn end(&self, reason: Reason, output_tokens: u32, reused_tokens: u32) {
        let (score_chain, compute_ns) = (self.chain.digest(), self.compute_ns);
        self.report(JobEvent::Done(JobEnd { reason, output_tokens, reused_tokens, score_chain, compute_ns }));
    }

    /// Sends an event. There is room, since a turn begins only with enough; a reader that is gone has
    /// cancelled.
    fn report(&self, event: JobEvent) {
        self.shared.unread.fetch_add(1, Ordering::AcqRel);
        let _ = self.events.try_send(event);
    }
}

impl Running {
    pub(super) fn is_cancelled(&self) -> bool {
        self.job.is_cancelled()
    }

    /// Ends it, whatever it was doing.
    pub(super) fn cancel(self) {
        self.job.end(Reason::Cancelled, self.chosen(), self.reused());
    }

    /// See [`Job::fail`].
    pub(super) fn fail(self, fault: DeviceFault) {
        self.job.fail(fault);
    }

    /// Rows that it may compute now: what is left of its prompt, or its last output token.
    pub(super) fn wants(&self) -> usize {
        if self.tokens_allowed() > 0 { self.text.len() - self.computed } else { 0 }
    }

    /// Whether it has chosen tokens, and waits for the next.
    pub(super) fn is_writing(&self) -> bool {
        self.chosen() > 0
    }

    /// Tokens that grants, its limit and its reader allow it to choose now.
    fn tokens_allowed(&self) -> usize {
        let granted = self.job.shared.granted.load(Ordering::Acquire).min(self.job.request.max_tokens);
        let unread = self.job.shared.unread.load(Ordering::Acquire);
        let room = EVENTS_MAX.saturating_sub(unread + EVENTS_BESIDE_TOKENS);
        (granted.saturating_sub(self.chosen()) as usize).min(room)
    }

    /// The next `rows` tokens, with the position of the first, and whether the last chooses a token. Takes
    /// the pages that they need.
    pub(super) fn piece(&mut self, rows: usize) -> (usize, &[u32], bool) {
        let end = self.computed + rows;
        self.table.grow(end);
        (self.computed, &self.text[self.computed..end], end == self.text.len())
    }

    /// Takes the pages of up to `steps` steps, and gives the steps that it may take.
    pub(super) fn prepare(&mut self, steps: usize) -> usize {
        let steps = steps.min(self.tokens_allowed());
        self.table.grow(self.computed + steps);
        steps
    }

    /// It as a lane, all of whose tokens but the last are computed.
    pub(super) fn lane(&self, steps: usize) -> Lane<'_> {
        let JobRequest { sampling, stop, .. } = &self.job.request;
        Lane { table: self.table.ids(), text: &self.text, sampling, stop, steps }
    }

    /// What its sampling chooses behind its text.
    pub(super) fn choose(&self, scores: Scores<'_>) -> Choice {
        Choice::of(scores, &self.job.request.sampling, &self.text)
    }

    /// Its pages.
    pub(super) fn pages(&self) -> &[PageId] {
        self.table.ids()
    }

    /// Tells its reader that it begins, the first time.
    pub(super) fn start(&mut self) {
        if !std::mem::replace(&mut self.started, true) {
            let (prompt_tokens, reused_tokens) = (self.job.request.prompt.len() as u32, self.reused());
            self.job.report(JobEvent::Started { prompt_tokens, reused_tokens });
        }
    }

    /// Takes in what a pass of `ns` nanoseconds brought: `rows` positions, and the tokens chosen behind them.
    /// Gives it back if it goes on.
    pub(super) fn advance(mut self, rows: usize, choices: &[Choice], ns: u64) -> Option<Self> {
        self.job.compute_ns = self.job.compute_ns.saturating_add(ns);
        self.computed += rows;
        let stopped = choices.iter().any(|choice| self.take(choice));
        // A device knows stop tokens alone: what it chose behind a stop text is nobody's.
        self.computed = self.computed.min(self.text.len());
        self.publish();
        let reason = match stopped {
            true => Reason::Stop,
            false if self.chosen() == self.job.request.max_tokens => Reason::Length,
            false => return Some(self),
        };
        self.job.end(reason, self.chosen(), self.reused());
        None
    }

    /// Takes in the next output token, and says whether it is the last by a stop token or text.
    fn take(&mut self, choice: &Choice) -> bool {
        let index = self.chosen();
        self.job.chain.take(choice);
        self.text.push(choice.token);
        let (score_chain, compute_ns) = (self.job.chain.digest(), self.job.compute_ns);
        let (id, logprobs) = (choice.token, choice.logprobs.clone());
        self.job.report(JobEvent::Token { index, id, logprobs, score_chain, compute_ns });
        self.job.request.stop_texts.push(id) || self.job.request.stop.contains(&id)
    }

    /// Lets later jobs of its scope use the pages that are full.
    fn publish(&mut self) {
        if let Some(prefix) = &mut self.job.prefix {
            let full = self.computed / PAGE * PAGE;
            self.table.publish(prefix.of(&self.text[..full]));
        }
    }

    /// Output tokens chosen.
    fn chosen(&self) -> u32 {
        (self.text.len() - self.job.request.prompt.len()) as u32
    }

    /// Prompt tokens that were computed for an earlier job.
    fn reused(&self) -> u32 {
        self.table.reused() as u32
    }
}
