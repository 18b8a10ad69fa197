//! The inside of a job: its text, and how far it is computed.

use std::sync::mpsc::SyncSender;

use gridhour_protocol::receipt::MeasuredTime;

use super::{
    super::{
        choice::Choice,
        device::{DeviceFault, Lane, PAGE, PageId},
        pages::{prefix::PrefixKeys, table::PageTable, table::Pages},
        score_chain::{ScoreChain, Scores},
    },
    Command, JobEnd, JobEvent, JobHandle, JobRequest, Place, Reason,
    handle::{Reporter, link},
};

/// A job in line for its memory.
pub(super) struct Job {
    request: JobRequest,
    chain: ScoreChain,
    prefix: Option<PrefixKeys>,
    measured: MeasuredTime,
    reporter: Reporter,
    place: Place,
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
        let (reporter, handle) = link(request.granted, commands);
        // The engine bounds positions by 2^17.
        let chain = ScoreChain::new(&request.request_digest, request.prompt.len() as u32);
        let asked = request.prompt.len().saturating_sub(request.written);
        request.sampling = request.sampling.behind(&request.prompt[..asked]);
        let prefix = request.scope.map(|scope| PrefixKeys::new(&scope));
        (Self { request, chain, prefix, measured: MeasuredTime::NONE, reporter, place }, handle)
    }

    /// Whether its reader wants no more of it.
    pub(super) fn is_cancelled(&self) -> bool {
        self.reporter.is_cancelled()
    }

    /// Gives it its memory, or gives it back while there is too little.
    pub(super) fn admit(mut self: Box<Self>, pages: &Pages, turn: u64) -> Result<Running, Box<Self>> {
        // The last token of the prompt is always computed: its scores choose the first token of the output.
        let reusable = &self.request.prompt[..self.request.prompt.len() - 1];
        let prefix = self.prefix.as_mut().map_or(&[][..], |prefix| prefix.of(reusable));
        let Some(table) = pages.admit(prefix, self.request.positions()) else { return Err(self) };
        let (computed, text) = (table.reused(), self.request.prompt.clone());
        Ok(Running { job: *self, table, text, computed, started: false, turn })
    }

    /// Ends it before it ran, or whatever it was doing: nobody wants more.
    pub(super) fn cancel(self) {
        self.end(Reason::Cancelled, 0, 0);
    }

    /// Ends it by the device's fault.
    pub(super) fn fail(self, fault: DeviceFault) {
        self.leave(JobEvent::Fault(fault));
    }

    fn end(self, reason: Reason, output_tokens: u32, reused_tokens: u32) {
        let (score_chain, measured) = (self.chain.digest(), self.measured);
        let end = JobEnd { reason, output_tokens, reused_tokens, score_chain, measured };
        self.leave(JobEvent::Done(end));
    }

    /// Its place is free before anyone hears of its end.
    fn leave(self, last: JobEvent) {
        let Self { reporter, place, .. } = self;
        drop(place);
        reporter.report(last);
    }
}

impl Running {
    pub(super) fn is_cancelled(&self) -> bool {
        self.job.is_cancelled()
    }

    /// Ends it, whatever it was doing.
    pub(super) fn cancel(self) {
        self.end(Reason::Cancelled);
    }

    /// See [`Job::fail`].
    pub(super) fn fail(self, fault: DeviceFault) {
        drop(self.table);
        self.job.fail(fault);
    }

    /// Its memory is free before anyone hears of its end.
    fn end(self, reason: Reason) {
        let (chosen, reused) = (self.chosen(), self.reused());
        drop(self.table);
        self.job.end(reason, chosen, reused);
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
        let granted = self.job.reporter.granted().min(self.job.request.max_tokens);
        (granted.saturating_sub(self.chosen()) as usize).min(self.job.reporter.room())
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
            self.job.reporter.report(JobEvent::Started { prompt_tokens, reused_tokens });
        }
    }

    /// Takes in what a pass brought in `measured` time: `rows` positions, and the tokens chosen behind them.
    /// Gives it back if it goes on.
    pub(super) fn advance(mut self, rows: usize, choices: &[Choice], measured: MeasuredTime) -> Option<Self> {
        self.job.measured = self.job.measured.and(measured);
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
        self.end(reason);
        None
    }

    /// Takes in the next output token, and says whether it is the last by a stop token or text.
    fn take(&mut self, choice: &Choice) -> bool {
        let index = self.chosen();
        self.job.chain.take(choice);
        self.text.push(choice.token);
        let (score_chain, measured) = (self.job.chain.digest(), self.job.measured);
        let (id, logprobs) = (choice.token, choice.logprobs.clone());
        self.job.reporter.report(JobEvent::Token { index, id, logprobs, score_chain, measured });
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
