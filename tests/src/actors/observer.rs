//! Keeps a copy of the ledger, with the code of a real observer: what it takes is checked and durable before anyone sees
//! it. After a power cut it goes on from its journal; a journal that is damaged is refused, and the copy made anew from
//! the ledger node.

use gridhour_contracts_sim::genesis::Genesis;
use gridhour_node::{
    consensus::follower::{FollowError, Follower},
    store::log_error::LogError,
};
use gridhour_protocol::units::{Height, Timestamp};

use super::{Actor, Alarm, Input};
use crate::sim::{
    context::Context,
    durable::PowerCut,
    fact::Fact,
    ledger_node::{Answer, Request, Unopened, open},
};

/// How often it asks for news, in milliseconds.
const ASK_MS: u64 = 1_500;

/// An observer's node.
pub struct Observer {
    genesis: Genesis,
    copy: Option<Follower>,
    /// The number of the last question, while it is unanswered.
    asked: Option<u64>,
    questions: u64,
}

impl Observer {
    /// An observer that has not read its copy yet.
    #[must_use]
    pub fn new(genesis: Genesis) -> Self {
        Self { genesis, copy: None, asked: None, questions: 0 }
    }

    fn copy(&mut self) -> &mut Follower {
        self.copy.as_mut().expect("a node starts before it hears anything")
    }

    fn ask(&mut self, cx: &mut Context<'_>) {
        self.questions += 1;
        self.asked = Some(self.questions);
        let from = Height(self.copy().height().0 + 1);
        cx.ask(self.questions, Request::Blocks { from });
    }

    /// Takes blocks one by one: each is durable before it is shown.
    fn take(&mut self, blocks: &[Vec<u8>], cx: &mut Context<'_>) -> Result<(), PowerCut> {
        for block in blocks {
            match self.copy().take(std::slice::from_ref(block)) {
                Ok(()) => self.report(cx),
                Err(FollowError::Log(LogError::Disk { .. })) => return Err(PowerCut),
                Err(other) => panic!("an honest ledger node sends what can be kept: {other}"),
            }
        }
        Ok(())
    }

    fn report(&mut self, cx: &mut Context<'_>) {
        let by = cx.me();
        let (height, root) = self.copy().view().read(|state| (state.tip().height, state.root()));
        cx.report(Fact::Copied { by, height, root });
    }
}

impl Actor for Observer {
    fn start(&mut self, cx: &mut Context<'_>) -> Result<(), PowerCut> {
        let ledger = match open(cx, &self.genesis) {
            Err(Unopened::Damaged(_)) => {
                cx.report(Fact::Damaged { node: cx.me() });
                cx.replace_disk();
                open(cx, &self.genesis)
            }
            opened => opened,
        };
        let Ok(ledger) = ledger else { return Err(PowerCut) };
        // In the world blocks are never from the future but for wrong clocks, which are the real follower's own story.
        self.copy = Some(Follower::start(ledger, || Timestamp(u64::MAX)).expect("the system has a thread"));
        self.report(cx);
        cx.wake_in(ASK_MS, Alarm::Sweep);
        Ok(())
    }

    fn hear(&mut self, input: Input, cx: &mut Context<'_>) -> Result<(), PowerCut> {
        match input {
            Input::Wake(_) => {
                self.ask(cx);
                cx.wake_in(ASK_MS, Alarm::Sweep);
            }
            // An answer that comes late or twice is to a question that is over.
            Input::Answer { id, answer: Answer::Blocks(blocks) }
                if self.asked.take_if(|asked| *asked == id).is_some() =>
            {
                self.take(&blocks, cx)?;
                if !blocks.is_empty() {
                    self.ask(cx);
                }
            }
            _ => {}
        }
        Ok(())
    }
}
