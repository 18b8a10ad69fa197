//! The standard job computed again in one pass, layer by layer: every layer is made when it is needed and
//! dropped behind it, so memory for one layer checks a model of any size.

use gridhour_protocol::{
    calibration::{
        challenger::Recomputed,
        job::StandardJob,
        shape::{OUTPUT_TOKENS, PROMPT_TOKENS},
    },
    id::ScoreDigest,
};

use super::{
    super::{
        EngineConfig, EngineError,
        choice::Choice,
        cpu::{
            attend::HeadLaw,
            kv_store::{KvShape, KvStore},
        },
        device::{DeviceFault, PAGE, PageId, Pass, Row},
        forward::{Plan, Workspace},
        pool,
        rope_table::RopeTable,
        score_chain::{ScoreChain, Scores},
        weights::{Layer, Weights},
    },
    StandardModel,
    run::sampling,
};

/// Computes what the standard model makes of a job whose output is claimed to be `tokens`, all of them, up to
/// the first that differs. Runs on the processor, with the threads and instructions of `config`; `on_layer`
/// is told of each layer that is done.
///
/// # Errors
/// [`EngineError`], above all if there is no memory for one layer, or the model was given up.
///
/// # Panics
/// If there are not as many tokens as a standard job has.
pub fn recompute(
    model: &StandardModel,
    job: &StandardJob,
    (tokens, output_nonce): (&[u32], &[u8; 32]),
    config: &EngineConfig,
    mut on_layer: impl FnMut(u32) + Send,
) -> Result<Recomputed, EngineError> {
    assert_eq!(tokens.len(), OUTPUT_TOKENS as usize, "a whole output");
    let vocab = model.shape().config().vocab;
    // What is no token at all was not chosen: nothing behind it can be computed.
    let sound = tokens.iter().position(|token| *token >= vocab).unwrap_or(tokens.len());
    let pool = pool(config.threads)?;
    pool.install(|| {
        let mut check = Check::new(model, job, (&tokens[..sound], output_nonce));
        let text = [&check.prompt[..], &tokens[..sound.min(tokens.len() - 1)]].concat();
        forward(model, config, &text, &mut on_layer, &mut |row, scores| check.see(row, scores))?;
        let difference = check.difference.or((sound < tokens.len()).then_some(sound));
        Ok(Recomputed { difference, scores: ScoreDigest(check.chain.digest()) })
    })
}

/// Shows `see` the scores behind the prompt and behind every token after it.
fn forward(
    model: &StandardModel,
    config: &EngineConfig,
    text: &[u32],
    on_layer: &mut (dyn FnMut(u32) + Send),
    see: &mut (dyn FnMut(usize, Scores<'_>) + Send),
) -> Result<(), EngineError> {
    let shape = *model.shape().config();
    let kernels = config.isa.resolve().ok_or(EngineError::Isa)?;
    let frequencies = shape.rope_frequencies(None)?;
    let head_dim = shape.head_dim as usize;
    let plan = Plan {
        config: shape,
        weights: Weights::ends(model, &shape)?,
        rope: RopeTable::new(&frequencies, head_dim, shape.context),
        law: HeadLaw::new(head_dim),
        kernels,
    };
    let rows: Vec<Row> =
        (0..).zip(text).map(|(position, token)| Row { token: *token, position, table: 0 }).collect();
    let table: Vec<PageId> = (0..rows.len().div_ceil(PAGE) as u32).map(PageId).collect();
    let wanted: Vec<usize> = (PROMPT_TOKENS as usize - 1..rows.len()).collect();
    let pass = Pass { rows: &rows, tables: &[&table], wanted: &wanted };
    // Every layer writes its keys and values over those of the layer before.
    let mut store = KvStore::new(KvShape { layers: 1, heads: shape.kv_heads as usize, head_dim });
    let short = |_| EngineError::Device(DeviceFault::OutOfMemory { bytes: model.shape().kv_bytes() });
    table.iter().try_for_each(|page| store.back(*page)).map_err(short)?;
    let mut work = Workspace::new(&shape);
    work.begin(&plan, &pass, &Layer::load_first_norm(model, &shape, 0)?);
    for index in 0..shape.layers {
        let layer = Layer::load(model, &shape, index)?;
        let next = (index + 1 < shape.layers).then(|| Layer::load_first_norm(model, &shape, index + 1));
        let next = next.transpose()?;
        work.layer(&plan, (index as usize, &layer, next.as_ref()), (&mut store, 0), &pass);
        on_layer(index);
    }
    work.show(&plan, &pass, see);
    Ok(())
}

/// The model's own choices, as long as the claim follows them.
struct Check<'a> {
    job: &'a StandardJob,
    prompt: Vec<u32>,
    tokens: &'a [u32],
    output_nonce: &'a [u8; 32],
    chain: ScoreChain,
    difference: Option<usize>,
}

impl<'a> Check<'a> {
    fn new(
        model: &StandardModel,
        job: &'a StandardJob,
        (tokens, output_nonce): (&'a [u32], &'a [u8; 32]),
    ) -> Self {
        let chain = ScoreChain::new(&job.digest().0, PROMPT_TOKENS);
        Self { job, prompt: job.prompt(model.shape()), tokens, output_nonce, chain, difference: None }
    }

    fn see(&mut self, row: usize, scores: Scores<'_>) {
        let index = row + 1 - self.prompt.len();
        let (None, Some(claimed)) = (self.difference, self.tokens.get(index)) else { return };
        let noise = match index {
            0 => self.job.first_noise(),
            _ => self.job.rest_noise(self.tokens[0], self.output_nonce),
        };
        // Choices without penalties look at the length of the text alone.
        let text = [&self.prompt[..], &self.tokens[..index]].concat();
        let choice = Choice::of(scores, &sampling(noise), &text);
        self.chain.take(&choice);
        self.difference = (choice.token != *claimed).then_some(index);
    }
}
