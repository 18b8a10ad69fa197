//! Rounds of loops: how many an adapter lets an invocation do, and how many kernels take.
//!
//! Mesa's software driver leaves every loop, without a word, once an invocation has done 65,535 rounds of all its
//! loops together (`LP_MAX_TGSI_LOOP_ITERATIONS`). Nothing that WebGPU tells says so; it is found out by a loop that
//! counts itself. Attention over a long text and codes of a wide row then need more invocations that share them.
//!
//! What a kernel takes is counted in its text, and rounded up. A mistake here gives no wrong results: known answers
//! of the model's own sizes are asked for with the variants that are used.

use gridhour_protocol::exact::llama::LlamaConfig;
use wgpu::{BindGroupDescriptor, BindGroupEntry, ComputePassDescriptor};

use super::{
    context::{Gpu, GpuFault},
    program::{Arrangement, Arrangements},
    shader::Lanes,
};

const PROBE: &str = include_str!("../kernels/rounds.wgsl");
/// Rounds of the probe: a text of a million positions would take more, and no model has one.
const ASKED: u32 = 1 << 21;
/// More lanes than this bring attention little: each sums at least one pair of columns over all positions.
const MOST: Lanes = Lanes::Barrier(64);
/// Rounds that no size decides: roots, and lanes that meet.
const BESIDE: usize = 512;

/// Rounds that an invocation may do in all its loops together; `None` if the probe met no limit.
///
/// # Errors
/// [`GpuFault`]; [`GpuFault::Refused`], if the rounds that it counted are not those that it did.
pub(super) fn limit(gpu: &Gpu) -> Result<Option<u32>, GpuFault> {
    let pipeline = gpu.compile("rounds", PROBE.to_owned())?;
    let (asked, done) = (gpu.storage_of("rounds", &[ASKED])?, gpu.storage_of("rounds", &[0, 0])?);
    let entries = [&asked, &done];
    let entries: Vec<BindGroupEntry<'_>> = (0..)
        .zip(entries)
        .map(|(binding, buffer)| BindGroupEntry { binding, resource: buffer.as_entire_binding() })
        .collect();
    let group = gpu.device().create_bind_group(&BindGroupDescriptor {
        label: Some("rounds"),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &entries,
    });
    let read = gpu.submit_and_read(
        |encoder| {
            let mut pass = encoder.begin_compute_pass(&ComputePassDescriptor::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(1, 1, 1);
        },
        &[(&done, 2)],
    )?;
    let [rounds, mix] = read[0][..] else { unreachable!("two words were asked for") };
    if rounds > ASKED || mix != mixed(rounds) {
        return Err(GpuFault::Refused(format!(
            "a loop of {ASKED} rounds: it counted {rounds} and did others"
        )));
    }
    Ok((rounds < ASKED).then_some(rounds))
}

/// What the probe mixes in so many rounds.
fn mixed(rounds: u32) -> u32 {
    (0..rounds).fold(1u32, |mix, _| {
        let mix = mix ^ mix << 13;
        let mix = mix ^ mix >> 17;
        mix ^ mix << 5
    })
}

/// How far the loops of a model's kernels have to reach on an adapter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reach {
    /// Positions of a text.
    pub positions: usize,
    /// Values of a head.
    pub head_dim: usize,
    /// Columns of the widest row that is coded.
    pub widest: usize,
    /// Rounds of all loops of an invocation together, if there is a limit.
    pub limit: Option<u32>,
}

impl Reach {
    /// Of texts of `positions`, or of as many as there is a variant for.
    pub(super) fn of(config: &LlamaConfig, positions: usize, limit: Option<u32>) -> Self {
        let head_dim = config.head_dim as usize;
        let widest = config.width.max(config.ffn) as usize;
        let widest = widest.max(config.query_width());
        let reach = Self { positions, head_dim, widest, limit };
        Self { positions: positions.min(reach.attended(MOST)), ..reach }
    }

    /// The first of `lanes` that serve attention here, or the last resort.
    pub fn attending(&self, lanes: &[Lanes]) -> Lanes {
        lanes.iter().copied().find(|lanes| self.attended(*lanes) >= self.positions).unwrap_or(MOST)
    }

    /// The first of `lanes` that code rows here, or the last resort.
    pub fn coding(&self, lanes: &[Lanes]) -> Lanes {
        lanes.iter().copied().find(|lanes| self.coded(*lanes) >= self.widest).unwrap_or(MOST)
    }

    /// Whether all loops of an arrangement end as they should.
    pub fn fits(&self, arrangement: &Arrangement) -> bool {
        self.attended(arrangement.attend) >= self.positions && self.coded(arrangement.rows) >= self.widest
    }

    /// Whether those of both do.
    pub fn fits_both(&self, arrangements: &Arrangements) -> bool {
        self.fits(&arrangements.decode) && self.fits(&arrangements.prefill)
    }

    /// Positions over which arrangements attend rightly, as many as a text has at most.
    pub fn within(&self, arrangements: &Arrangements) -> usize {
        let [decode, prefill] = [arrangements.decode, arrangements.prefill].map(|a| self.attended(a.attend));
        self.positions.min(decode).min(prefill)
    }

    /// Positions over which so many lanes attend rightly: `attend.wgsl`, and what `heads_together.wgsl` does before.
    pub fn attended(&self, lanes: Lanes) -> usize {
        let Some(limit) = self.limit else { return usize::MAX };
        let (sharing, words) = (lanes.sharing(), self.head_dim / 2);
        // A position's three loops, its dot product (parts of four words, and a round to see that each is over), and
        // one round more, which only measuring has told.
        let shared = 3 + words.div_ceil(4) * 6 + 2;
        // Every lane's columns over all positions, eight a part.
        let summed = words.div_ceil(sharing) * 10;
        // Heads that are formed, turned, coded and stored.
        let before = 30 * self.head_dim.div_ceil(sharing) + BESIDE;
        let rounds = (limit as usize).saturating_sub(before);
        8 * sharing * rounds / (8 * shared + summed * sharing)
    }

    /// Columns of the widest row that so many lanes code rightly: `norm_quant.wgsl` goes over it three times, and
    /// `write_codes.wgsl` over its words, four columns and two rounds each, and its blocks.
    pub fn coded(&self, lanes: Lanes) -> usize {
        let Some(limit) = self.limit else { return usize::MAX };
        (limit as usize).saturating_sub(BESIDE) / 5 * lanes.sharing()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(positions: usize, head_dim: usize, widest: usize, limit: Option<u32>) -> Reach {
        Reach { positions, head_dim, widest, limit }
    }

    #[test]
    fn without_a_limit_every_variant_reaches_everything() {
        let endless = reach(1 << 20, 256, 1 << 17, None);
        assert_eq!(endless.attending(&[Lanes::One(8), MOST]), Lanes::One(8));
        assert_eq!(endless.coding(&[Lanes::One(8), MOST]), Lanes::One(8));
    }

    #[test]
    fn longer_texts_and_wider_rows_take_more_lanes() {
        let mesa = Some(65_535);
        let ladder = [Lanes::One(8), Lanes::Barrier(8), MOST];
        let attending = [600, 1_000, 8_000, 20_000].map(|positions| {
            let reach = reach(positions, 64, 576, mesa);
            let lanes = reach.attending(&ladder);
            assert!(reach.attended(lanes) >= positions, "{lanes:?} over {positions}");
            lanes
        });
        assert_eq!(attending, [ladder[0], ladder[1], MOST, MOST]);
        let coding = [1_536, 18_944, 1 << 17].map(|widest| reach(64, 64, widest, mesa).coding(&ladder));
        assert_eq!(coding, ladder);
    }

    #[test]
    fn what_no_variant_reaches_is_cut_off() {
        let config = LlamaConfig { context: 1 << 17, ..super::super::known_answers::generation::CONFIG };
        let cut = Reach::of(&config, 1 << 17, Some(65_535));
        assert!((20_000..1 << 17).contains(&cut.positions), "{}", cut.positions);
        assert_eq!(cut.attending(&[Lanes::One(8)]), MOST);
        assert_eq!(Reach::of(&config, 1 << 17, None).positions, 1 << 17);
    }

    #[test]
    fn the_probe_counts_what_it_did() {
        assert_eq!([0, 1, 2].map(mixed), [1, 270_369, 67_634_689]);
    }
}
