//! What computes: the seam between texts and the machine that runs their arithmetic.
//!
//! A device computes *passes*: rows of one or many texts, each row one token at one position. What a row
//! gives depends on the rows of its own text alone, so a pass may mix texts and lengths as it likes and no
//! bit changes. Keys and values lie in *pages* of [`PAGE`] positions, which the device stores and the host
//! deals out ([`super::pages`]); a text's page table says where its positions are.

use std::{borrow::Cow, fmt::Debug, time::Duration};

use thiserror::Error;

use super::{choice::Choice, sampler::Sampling, score_chain::Scores};

/// Positions of a page of keys and values, the length of attention's partial sums
/// (`docs/NUMERICS.md`, section 3, attend).
pub const PAGE: usize = 64;

/// The name of a page on its device, counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PageId(pub u32);

/// One token to compute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// The token, of the vocabulary.
    pub token: u32,
    /// Its place in its text, from 0.
    pub position: u32,
    /// Which of [`Pass::tables`] is its text's.
    pub table: usize,
}

/// Rows that are computed together.
///
/// The rows of one text stand one after another, at rising positions without gaps; every earlier position of
/// the text was computed before. A text's table has a page for each of its positions up to its last row's.
/// No page is written by two texts.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    /// The rows, at most [`Device::rows_max`].
    pub rows: &'a [Row],
    /// Pages of the texts; page `i` of a table holds the positions from `i * PAGE` on.
    pub tables: &'a [&'a [PageId]],
    /// Indices, rising, of the rows whose scores are wanted.
    pub wanted: &'a [usize],
}

/// One text that is to be continued.
#[derive(Clone, Copy, Debug)]
pub struct Lane<'a> {
    /// Its pages, with room for every position that is computed: the last of `text`, and one behind it for
    /// each step but the last.
    pub table: &'a [PageId],
    /// All its tokens so far. All but the last were computed.
    pub text: &'a [u32],
    /// How its tokens are chosen.
    pub sampling: &'a Sampling,
    /// Tokens behind which it ends.
    pub stop: &'a [u32],
    /// Tokens to choose, at least one, where it does not end before.
    pub steps: usize,
}

/// What [`Device::decode`] gives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decoded {
    /// Each lane's tokens.
    pub chosen: Vec<Vec<Choice>>,
    /// The time that all passes took.
    pub time: DeviceTime,
}

/// Why a device gave no result. Whoever runs the machine is at fault, never the request.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum DeviceFault {
    /// The device is gone.
    #[error("the device was lost ({0}): restart the node, and look at the system's log if it happens again")]
    Lost(String),
    /// Memory was short.
    #[error("the device has no {bytes} bytes left: give the engine less memory, or fewer jobs")]
    OutOfMemory {
        /// Bytes that were asked for.
        bytes: u64,
    },
    /// No answer came.
    #[error("the device gave no answer for {seconds} s: its driver hangs; restart the node")]
    Hung {
        /// How long it was waited for.
        seconds: u64,
    },
}

/// What a device is, for reports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceFacts {
    /// What kind of device: `cpu` or `gpu`.
    pub kind: &'static str,
    /// Instructions or graphics interface in use.
    pub name: String,
    /// Name of the graphics adapter, if it is one.
    pub adapter: Option<String>,
    /// Threads of the host that compute.
    pub threads: usize,
    /// Bytes that the matrices take in its memory.
    pub weight_bytes: usize,
    /// Dispatches of one token that is decoded and sampled; none on a processor.
    pub dispatches: usize,
}

/// How long a computation took by the device's own clock; none where it has no clock that can be believed.
pub type DeviceTime = Option<Duration>;

/// Takes the scores of a row, by its index in the pass.
pub type See<'a> = dyn FnMut(usize, Scores<'_>) + Send + 'a;

/// A machine with a model on it.
///
/// Passes that come from several threads are computed one after another.
pub trait Device: Debug + Send + Sync {
    /// What it is.
    fn facts(&self) -> DeviceFacts;

    /// Bytes that one page takes in its memory.
    fn page_bytes(&self) -> usize;

    /// Rows that one pass may have, at least one.
    fn rows_max(&self) -> usize;

    /// Steps of a lane that [`Device::decode`] best takes in one call.
    fn steps_max(&self) -> usize {
        1
    }

    /// Gives the device up: what it computes fails, and its memory is free again. Nothing is to be computed on it
    /// any more.
    fn close(&self) {}

    /// Computes all rows of `pass`, stores their keys and values, and shows `see` the scores behind each
    /// wanted row, in order. Gives the time that it took.
    ///
    /// # Errors
    /// [`DeviceFault`]. What the rows' positions hold is then unknown; scores that were shown are right.
    ///
    /// # Panics
    /// If `pass` is not as [`Pass`] says.
    fn run(&self, pass: &Pass<'_>, see: &mut See<'_>) -> Result<DeviceTime, DeviceFault>;

    /// Chooses tokens for each lane, feeding each but the last back: at least one and at most its steps, none
    /// behind one of its stop tokens. There are at most [`Device::rows_max`] lanes.
    ///
    /// # Errors
    /// As [`Device::run`]; every token of the call is then lost.
    fn decode(&self, lanes: &[Lane<'_>]) -> Result<Decoded, DeviceFault> {
        decode_by_passes(self, lanes)
    }
}

/// [`Device::decode`] by one pass a step, each token chosen on the host.
///
/// # Errors
/// As [`Device::run`].
pub fn decode_by_passes<D: Device + ?Sized>(device: &D, lanes: &[Lane<'_>]) -> Result<Decoded, DeviceFault> {
    let mut texts: Vec<Cow<'_, [u32]>> = lanes.iter().map(|lane| Cow::from(lane.text)).collect();
    let mut chosen = vec![Vec::new(); lanes.len()];
    let mut open: Vec<usize> = (0..lanes.len()).collect();
    let mut times = Vec::new();
    while !open.is_empty() {
        let (choices, time) = step(device, lanes, &open, &texts)?;
        times.push(time);
        for (lane, choice) in open.iter().zip(choices) {
            chosen[*lane].push(choice);
        }
        open.retain(|lane| {
            let (Lane { stop, steps, .. }, chosen) = (lanes[*lane], &chosen[*lane]);
            let last = chosen.last().map(|choice: &Choice| choice.token);
            let goes_on = chosen.len() < steps && last.is_some_and(|token| !stop.contains(&token));
            if goes_on {
                texts[*lane].to_mut().extend(last);
            }
            goes_on
        });
    }
    Ok(Decoded { chosen, time: times.into_iter().sum() })
}

/// The next token of each lane of `open`, and the time that they took.
fn step<D: Device + ?Sized>(
    device: &D,
    lanes: &[Lane<'_>],
    open: &[usize],
    texts: &[Cow<'_, [u32]>],
) -> Result<(Vec<Choice>, DeviceTime), DeviceFault> {
    let row = |(table, lane): (usize, &usize)| {
        let (token, before) = texts[*lane].split_last().expect("a lane has a token to compute");
        // Positions are bounded by 2^17.
        Row { token: *token, position: before.len() as u32, table }
    };
    let rows: Vec<Row> = open.iter().enumerate().map(row).collect();
    let tables: Vec<&[PageId]> = open.iter().map(|lane| lanes[*lane].table).collect();
    let wanted: Vec<usize> = (0..rows.len()).collect();
    let mut choices = Vec::with_capacity(rows.len());
    let time = device.run(&Pass { rows: &rows, tables: &tables, wanted: &wanted }, &mut |row, scores| {
        let lane = open[row];
        choices.push(Choice::of(scores, lanes[lane].sampling, &texts[lane]));
    })?;
    Ok((choices, time))
}
