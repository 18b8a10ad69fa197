//! A device that does nothing before a test has seen it, and that fails when the test says so.

use std::{
    sync::{
        Mutex,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use gridhour_node::engine::device::{Device, DeviceFacts, DeviceFault, DeviceTime, PageId, Pass, Row, See};

/// A limit that only a failure reaches.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long nothing may be asked for before a test looks whether it should go on.
const LOOK: Duration = Duration::from_millis(10);

/// A pass that the engine asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// Its rows.
    pub rows: Vec<Row>,
    /// Pages of its texts.
    pub tables: Vec<Vec<PageId>>,
    /// Rows whose scores are wanted.
    pub wanted: Vec<usize>,
}

/// The rows of one text in a pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// The first page of the text: its name among those that share nothing.
    pub text: PageId,
    /// The first position that is computed.
    pub first: u32,
    /// Positions that are computed.
    pub rows: usize,
}

impl Asked {
    /// What is computed of each text, in order.
    #[must_use]
    pub fn pieces(&self) -> Vec<Piece> {
        let texts = self.rows.chunk_by(|a, b| a.table == b.table);
        let piece = |rows: &[Row]| Piece {
            text: self.tables[rows[0].table][0],
            first: rows[0].position,
            rows: rows.len(),
        };
        texts.map(piece).collect()
    }
}

/// What becomes of a pass.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It is computed.
    Go,
    /// The device fails.
    Fail(DeviceFault),
    /// The device panics.
    Panic,
}

/// The device in the engine.
#[derive(Debug)]
pub struct Watched {
    inner: Box<dyn Device>,
    steps: usize,
    asked: SyncSender<Asked>,
    answers: Mutex<Receiver<Answer>>,
}

/// The test's side. Once it is dropped, the device computes whatever it is asked.
#[derive(Debug)]
pub struct Watch {
    asked: Receiver<Asked>,
    answers: SyncSender<Answer>,
}

impl Watched {
    /// Watches `inner`, which shall take up to `steps` steps of a lane at once.
    #[must_use]
    pub fn new(inner: Box<dyn Device>, steps: usize) -> (Self, Watch) {
        let (asked, seen) = sync_channel(0);
        let (answers, received) = sync_channel(1);
        (Self { inner, steps, asked, answers: Mutex::new(received) }, Watch { asked: seen, answers })
    }
}

impl Watch {
    /// The next pass, which waits for its answer.
    ///
    /// # Panics
    /// If none comes.
    #[must_use]
    pub fn next(&self) -> Asked {
        self.asked.recv_timeout(PATIENCE).expect("the engine computes a pass")
    }

    /// Decides the pass that was seen last.
    ///
    /// # Panics
    /// If the device is gone.
    pub fn answer(&self, answer: Answer) {
        self.answers.send(answer).expect("the device is there");
    }

    /// Lets everything be computed from now on; gives what was asked for once the engine is gone.
    ///
    /// # Panics
    /// If the system gives no thread.
    #[must_use]
    pub fn record(self) -> JoinHandle<Vec<Asked>> {
        thread::spawn(move || {
            let go = |asked: Asked| self.answers.send(Answer::Go).map(|()| asked).ok();
            self.asked.iter().map_while(go).collect()
        })
    }

    /// Lets everything be computed until `over`, which is looked at between passes.
    ///
    /// # Panics
    /// If the device is gone.
    pub fn pass_until(&self, over: impl Fn() -> bool) {
        while !over() {
            if self.asked.recv_timeout(LOOK).is_ok() {
                self.answer(Answer::Go);
            }
        }
    }

    /// Sees the next pass and lets it be computed.
    pub fn pass(&self) -> Asked {
        let asked = self.next();
        self.answer(Answer::Go);
        asked
    }
}

impl Device for Watched {
    fn facts(&self) -> DeviceFacts {
        self.inner.facts()
    }

    fn page_bytes(&self) -> usize {
        self.inner.page_bytes()
    }

    fn rows_max(&self) -> usize {
        self.inner.rows_max()
    }

    fn steps_max(&self) -> usize {
        self.steps
    }

    fn close(&self) {
        self.inner.close();
    }

    fn run(&self, pass: &Pass<'_>, see: &mut See<'_>) -> Result<DeviceTime, DeviceFault> {
        let asked = Asked {
            rows: pass.rows.to_vec(),
            tables: pass.tables.iter().map(|table| table.to_vec()).collect(),
            wanted: pass.wanted.to_vec(),
        };
        // Nobody watches any more: then nobody answers either.
        let answer = match self.asked.send(asked) {
            Ok(()) => self.answers.lock().expect("no test fails holding it").recv(),
            Err(_) => Ok(Answer::Go),
        };
        match answer.unwrap_or(Answer::Go) {
            Answer::Go => self.inner.run(pass, see),
            Answer::Fail(fault) => Err(fault),
            Answer::Panic => panic!("the test asked the device to panic"),
        }
    }
}
