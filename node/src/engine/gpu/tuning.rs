//! Which variant of each kernel is fast on an adapter: a short measurement with the model itself.
//!
//! One choice is varied at a time, the costliest first. Every variant gives the same bits, so that a wrong guess
//! of a noisy moment costs time and nothing else.

use std::time::{Duration, Instant};

use wgpu::DeviceType;

use super::{
    context::{Gpu, GpuFault},
    program::{Arrangement, Arrangements},
    rounds::Reach,
    shader::{Dot, Lanes, Tile},
};

/// Rows of a pass that stands for decoding, and of one that stands for prefill.
const DECODE_ROWS: usize = 1;
const PREFILL_ROWS: usize = 16;
/// How long a search may take; what was found until then is kept.
const PATIENCE: Duration = Duration::from_secs(4);

/// Finds the fastest arrangements; `time` measures a pass of so many rows.
///
/// # Errors
/// The first fault of a measurement.
pub(super) fn tune(
    gpu: &Gpu,
    reach: &Reach,
    time: &mut dyn FnMut(Arrangement, usize) -> Result<Duration, GpuFault>,
) -> Result<Arrangements, GpuFault> {
    let guess = Arrangements::guess(gpu, reach);
    let space = Space::of(gpu, *reach, &guess.decode);
    Ok(Arrangements {
        decode: space.descend(guess.decode, &space.decode, &mut |tried| time(tried, DECODE_ROWS))?,
        prefill: space.descend(guess.prefill, &space.prefill, &mut |tried| time(tried, PREFILL_ROWS))?,
    })
}

/// What there is to choose from.
struct Space {
    lanes: Vec<Lanes>,
    splits: Vec<u32>,
    reach: Reach,
    decode: Kinds,
    prefill: Kinds,
}

/// What passes of one kind may choose from.
struct Kinds {
    /// Tokens an invocation.
    tokens: Vec<u32>,
    /// Whether dispatches are fused.
    fused: Vec<bool>,
}

impl Space {
    fn of(gpu: &Gpu, reach: Reach, guess: &Arrangement) -> Self {
        let decode = Kinds::decode(gpu.has_room_to_fuse());
        let is_software = gpu.info().device_type == DeviceType::Cpu;
        let sizes: &[u32] = match (is_software, guess.attend.workgroup()) {
            (true, 8) => &[8],
            (true, _) => &[8, 64],
            (false, _) => &[64, 256],
        };
        let mut lanes: Vec<Lanes> = sizes.iter().map(|size| Lanes::Barrier(*size)).collect();
        if gpu.has_subgroups() {
            lanes.extend(sizes.iter().map(|size| Lanes::Subgroup(*size)));
        }
        if is_software {
            lanes.push(Lanes::One(8));
            Self { lanes, splits: vec![1], reach, decode, prefill: Kinds::prefill(&[1, 4]) }
        } else {
            let prefill = Kinds::prefill(&[4, 8, 16]);
            Self { lanes, splits: vec![1, 2, 4, 8], reach, decode, prefill }
        }
    }

    /// Varies one part after another, and keeps what is faster.
    fn descend(
        &self,
        mut best: Arrangement,
        kinds: &Kinds,
        time: &mut dyn FnMut(Arrangement) -> Result<Duration, GpuFault>,
    ) -> Result<Arrangement, GpuFault> {
        let tiles = self.splits.iter().flat_map(|splits| {
            kinds.tokens.iter().flat_map(|tokens| {
                [Dot::Packed, Dot::Unpacked].map(|dot| Tile { splits: *splits, tokens: *tokens, dot })
            })
        });
        let start = Instant::now();
        let mut least = time(best)?;
        let with_tile = tiles.map(|product| -> Change { Box::new(move |a| Arrangement { product, ..a }) });
        let lanes = |set: fn(Arrangement, Lanes) -> Arrangement| {
            self.lanes.iter().map(move |lanes| -> Change { Box::new(move |a| set(a, *lanes)) })
        };
        let changes = kinds
            .fused
            .iter()
            .map(|fused| -> Change<'_> { Box::new(move |a| Arrangement { fused: *fused, ..a }) })
            .chain(with_tile)
            .chain(lanes(|a, rows| Arrangement { rows, ..a }))
            .chain(lanes(|a, attend| Arrangement { attend, ..a }))
            .chain(lanes(|a, heads| Arrangement { heads, ..a }));
        for change in changes {
            let tried = change(best);
            if tried == best || !self.reach.fits(&tried) {
                continue;
            }
            if start.elapsed() > PATIENCE {
                break;
            }
            let took = time(tried)?;
            if took < least {
                (best, least) = (tried, took);
            }
        }
        Ok(best)
    }
}

impl Kinds {
    fn decode(may_fuse: bool) -> Self {
        Self { tokens: vec![1], fused: if may_fuse { vec![false, true] } else { vec![false] } }
    }

    /// Many rows share what fused products would make anew.
    fn prefill(tokens: &[u32]) -> Self {
        Self { tokens: tokens.to_vec(), fused: vec![false] }
    }
}

/// A step of the search.
type Change<'a> = Box<dyn Fn(Arrangement) -> Arrangement + 'a>;

#[cfg(test)]
mod tests {
    use super::{super::known_answers::generation::CONFIG, *};

    fn arrangement(lanes: Lanes, splits: u32) -> Arrangement {
        let product = Tile { splits, tokens: 1, dot: Dot::Unpacked };
        Arrangement { rows: lanes, heads: lanes, attend: lanes, product, fused: false }
    }

    /// A made-up adapter on which every part has one best choice.
    fn cost(a: Arrangement) -> Duration {
        let lanes = |l: Lanes, best: Lanes| if l == best { 1 } else { 5 };
        let wrong = u64::from(a.product.splits.abs_diff(4)) + u64::from(a.product.dot != Dot::Packed);
        let rest = lanes(a.rows, Lanes::Subgroup(64)) + lanes(a.attend, Lanes::Barrier(64));
        let dispatches = if a.fused { 5 } else { 10 };
        Duration::from_micros(10 * wrong + rest + lanes(a.heads, Lanes::Subgroup(64)) + dispatches)
    }

    #[test]
    fn the_search_ends_at_the_best_choice_of_every_part() {
        let lanes = vec![Lanes::Barrier(64), Lanes::Subgroup(64)];
        let (decode, prefill) = (Kinds::decode(true), Kinds::prefill(&[4]));
        let reach = Reach::of(&CONFIG, 64, None);
        let space = Space { lanes, splits: vec![1, 2, 4], reach, decode, prefill };
        let start = arrangement(Lanes::Barrier(64), 1);
        let found = space.descend(start, &space.decode, &mut |tried| Ok(cost(tried))).expect("no fault");
        assert!(found.fused);
        assert_eq!(found.product, Tile { splits: 4, tokens: 1, dot: Dot::Packed });
        assert_eq!((found.rows, found.attend), (Lanes::Subgroup(64), Lanes::Barrier(64)));
        assert_eq!(found.heads, Lanes::Subgroup(64));
        let many = space.descend(start, &space.prefill, &mut |tried| Ok(cost(tried))).expect("no fault");
        assert_eq!((many.fused, many.product.tokens), (false, 4));
    }

    #[test]
    fn what_does_not_reach_far_enough_is_not_tried() {
        let lanes = vec![Lanes::One(8), Lanes::Barrier(64)];
        let reach = Reach::of(&CONFIG, 4_096, Some(65_535));
        let (decode, prefill) = (Kinds::decode(false), Kinds::prefill(&[1]));
        let space = Space { lanes, splits: vec![1], reach, decode, prefill };
        let mut tried = Vec::new();
        let start = arrangement(Lanes::Barrier(64), 1);
        let time = |arrangement: Arrangement| {
            tried.push(arrangement);
            Ok(Duration::from_micros(if arrangement.rows == Lanes::One(8) { 1 } else { 2 }))
        };
        let found = space.descend(start, &space.decode, &mut { time }).expect("no fault");
        assert_eq!((found.rows, found.attend), (Lanes::One(8), Lanes::Barrier(64)));
        assert!(tried.iter().all(|arrangement| arrangement.attend == Lanes::Barrier(64)));
    }

    #[test]
    fn a_fault_ends_the_search() {
        let (decode, prefill) = (Kinds::decode(true), Kinds::prefill(&[1]));
        let reach = Reach::of(&CONFIG, 64, None);
        let space = Space { lanes: vec![], splits: vec![1], reach, decode, prefill };
        let fault = GpuFault::Lost("gone".to_owned());
        let start = arrangement(Lanes::One(8), 1);
        let result = space.descend(start, &space.decode, &mut |_| Err(fault.clone()));
        assert_eq!(result, Err(fault));
    }
}
