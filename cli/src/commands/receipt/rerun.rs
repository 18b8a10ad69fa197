//! Computing a result again. Inference is exact, so the answer is yes or no.

use std::{num::NonZeroUsize, sync::Arc, time::Instant};

use gridhour_node::{
    drivers::results::{JobResult, Results},
    engine::{
        Engine, EngineConfig,
        sampler::{Sampling, SamplingKey},
        score_chain::ScoreChain,
        sequence::Sequence,
        verify::{Claim, Difference, verify},
    },
};
use gridhour_protocol::{
    id::{OutputDigest, ReceiptId},
    job::request::OutputChain,
};
use serde_json::json;

use crate::{
    context::Context,
    error::{CommandError, Kind, Result},
    models,
};

/// What to run again.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The receipt's id
    id: ReceiptId,

    /// The model's file, if its id is not known here: a catalogue name or a path
    #[arg(long)]
    model: Option<String>,

    /// Compute with this many threads [default: all processors]
    #[arg(long)]
    threads: Option<NonZeroUsize>,
}

/// What came out.
pub struct Rerun {
    /// The first token that differs.
    pub difference: Option<Difference>,
    /// The output digest of what the model gives.
    pub output: OutputDigest,
    /// Whether tokens, output digest and score chain are the receipt's.
    pub same: bool,
    /// Milliseconds to generate the output again, token by token.
    pub generate_ms: u64,
    /// Milliseconds to verify it in one prefill.
    pub verify_ms: u64,
}

pub fn run(args: &Args, context: &Context, results: &Results) -> Result {
    let (result, _) = results.load(args.id)?;
    let model = args.model.clone().unwrap_or_else(|| known_as(&result));
    let path = models::find(Some(&model), context)?.path;
    let config = EngineConfig {
        threads: args.threads.unwrap_or(EngineConfig::default().threads),
        ..EngineConfig::default()
    };
    let engine = Arc::new(models::load(&models::open(&path)?, &path, config, context)?);
    let rerun = rerun(&engine, &result)?;
    context.out.document(&json!({
        "match": rerun.same, "generate_ms": rerun.generate_ms, "verify_ms": rerun.verify_ms,
        "receipt_id": args.id.to_string(), "output": rerun.output.to_string(),
        "first_difference": rerun.difference.map(|difference| difference.index),
    }))?;
    report(context, &result, &rerun)
}

/// The catalogue's name of the result's model, else its id.
fn known_as(result: &JobResult) -> String {
    let known = gridhour_node::model::catalogue::CATALOGUE.iter();
    let entry = known.clone().find(|entry| entry.model_id() == result.terms.model);
    entry.map_or_else(|| result.terms.model.to_string(), |entry| entry.name.to_owned())
}

fn report(context: &Context, result: &JobResult, rerun: &Rerun) -> Result {
    let (out, receipt) = (context.out, &result.receipt.body);
    out.line(format!("receipt says  {}", receipt.output))?;
    out.line(format!("computed here {}", rerun.output))?;
    if let Some(Difference { index, claimed, chosen }) = rerun.difference {
        out.line(format!(
            "DIFFERENT at output token {index}: the result has {claimed}, the model gives {chosen}"
        ))?;
    }
    let (generate, verify) = (rerun.generate_ms, rerun.verify_ms);
    out.line(format!("generated again in {generate} ms; verified in one pass in {verify} ms"))?;
    if rerun.same {
        out.line("the same, bit for bit")
    } else {
        out.line("NOT what the receipt says")?;
        Err(CommandError::silent(Kind::Refused, "the result is not what the model gives"))
    }
}

/// Computes a result again on `engine`: once in one prefill that follows the kept output, once token by token.
pub fn rerun(engine: &Arc<Engine>, result: &JobResult) -> Result<Rerun> {
    let (receipt, request) = (&result.receipt.body, &result.request);
    if engine.model_id() != receipt.model {
        let (here, there) = (engine.model_id(), receipt.model);
        return Err(CommandError::refused(format!(
            "this file is model {here}, the receipt is about {there}"
        ))
        .hint("pass the right file with --model PATH"));
    }
    let key = SamplingKey::derive(request.sampling.seed, &request.core());
    let sampling = Sampling { temperature_q16: request.sampling.temperature_q16, key };
    let begin = Instant::now();
    let claim = Claim {
        prompt: &request.prompt,
        output: &result.output,
        sampling,
        request_digest: receipt.request.0,
    };
    let checked = verify(engine, &claim)?;
    let verify_ms = milliseconds(begin);
    let begin = Instant::now();
    let (tokens, scores) = generate(engine, result, sampling)?;
    let output = OutputChain::of(&receipt.request, &tokens);
    let same = checked.difference.is_none()
        && tokens == result.output
        && request.digest() == receipt.request
        && output == receipt.output
        && scores == receipt.scores.0
        && checked.score_chain == receipt.scores.0;
    Ok(Rerun { difference: checked.difference, output, same, generate_ms: milliseconds(begin), verify_ms })
}

/// As many tokens as the receipt counts, and the score chain over them.
fn generate(engine: &Arc<Engine>, result: &JobResult, sampling: Sampling) -> Result<(Vec<u32>, [u8; 32])> {
    let (receipt, prompt) = (&result.receipt.body, &result.request.prompt);
    let count = receipt.output_tokens as usize;
    let mut sequence = Sequence::new(engine, prompt.len() + count)?;
    let mut chain = ScoreChain::new(&receipt.request.0, receipt.prompt_tokens);
    let mut tokens: Vec<u32> = Vec::with_capacity(count);
    while tokens.len() < count {
        let last: Vec<u32> = tokens.last().copied().into_iter().collect();
        let input = if tokens.is_empty() { prompt.as_slice() } else { last.as_slice() };
        let place = u32::try_from(prompt.len() + tokens.len()).map_err(CommandError::internal)?;
        let token = sequence.prefill(input, |scores| {
            let token = sampling.choose(scores.logits, place);
            chain.push(token, scores);
            token
        })?;
        tokens.push(token);
    }
    Ok((tokens, chain.digest()))
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
