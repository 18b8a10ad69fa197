//! Computing a result again. Inference is exact, so the answer is yes or no.

use std::{num::NonZeroUsize, sync::Arc, time::Instant};

use gridhour_node::{
    drivers::results::{JobResult, Results},
    engine::{
        Engine, EngineConfig,
        choice::Choice,
        sampler::Sampling,
        score_chain::ScoreChain,
        sequence::Sequence,
        verify::{Claim, Difference, verify},
    },
    model::tokenizer::tokenizer_asset,
};
use gridhour_protocol::{
    id::{ModelId, OutputDigest, ReceiptId},
    job::{ending::ends_as_stated, logprobs::Logprobs, request::OutputChain},
    model::TokenizerAsset,
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
    /// The first token whose log probabilities differ.
    pub false_logprobs: Option<usize>,
    /// Whether the output ends where the request and the receipt's cause say.
    pub ends: bool,
    /// The output digest of what the model gives.
    pub output: OutputDigest,
    /// Whether tokens, log probabilities, end, output digest and score chain are the receipt's.
    pub same: bool,
    /// Milliseconds to generate the output again, token by token.
    pub generate_ms: u64,
    /// Milliseconds to verify it in one prefill.
    pub verify_ms: u64,
}

/// What one prefill that follows the kept output says of a result.
pub struct Judged {
    /// The first token that differs.
    pub difference: Option<Difference>,
    /// The first token whose log probabilities differ.
    pub false_logprobs: Option<usize>,
    /// Whether the output ends where the request and the receipt's cause say.
    pub ends: bool,
    /// Whether tokens, log probabilities, end, request, output digest and score chain are the receipt's.
    pub same: bool,
}

pub fn run(args: &Args, context: &Context, results: &Results) -> Result {
    let (result, _) = results.load(args.id)?;
    let model = args.model.clone().unwrap_or_else(|| known_as(&result));
    let path = models::find(Some(&model), context)?.path;
    let config = EngineConfig {
        threads: args.threads.unwrap_or(EngineConfig::default().threads),
        ..EngineConfig::default()
    };
    let file = models::open(&path)?;
    let tokenizer = Arc::new(tokenizer_asset(&file).map_err(CommandError::refused)?);
    let engine = Arc::new(models::load(&file, &path, config, context)?);
    let rerun = rerun(&engine, &tokenizer, &result)?;
    context.out.document(&json!({
        "match": rerun.same, "generate_ms": rerun.generate_ms, "verify_ms": rerun.verify_ms,
        "receipt_id": args.id.to_string(), "output": rerun.output.to_string(),
        "first_difference": rerun.difference.map(|difference| difference.index),
        "first_false_logprobs": rerun.false_logprobs, "ends": rerun.ends,
    }))?;
    report(context, &result, &rerun)
}

/// The catalogue's name of the result's model, else its id.
fn known_as(result: &JobResult) -> String {
    name_of(result.terms.model)
}

/// The catalogue's name of a model, else its id.
pub fn name_of(model: ModelId) -> String {
    let known = gridhour_node::model::catalogue::CATALOGUE.iter();
    let entry = known.clone().find(|entry| entry.model_id() == model);
    entry.map_or_else(|| model.to_string(), |entry| entry.name.to_owned())
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
    if let Some(index) = rerun.false_logprobs {
        out.line(format!("DIFFERENT log probabilities at output token {index}"))?;
    }
    if !rerun.ends {
        out.line("the output does NOT end where the request says")?;
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
pub fn rerun(engine: &Arc<Engine>, tokenizer: &Arc<TokenizerAsset>, result: &JobResult) -> Result<Rerun> {
    let begin = Instant::now();
    let judged = judge(engine, tokenizer, result)?;
    let verify_ms = milliseconds(begin);
    let (receipt, sampling) = (&result.receipt.body, Sampling::of(&result.request));
    let begin = Instant::now();
    let (tokens, logprobs, scores) = generate(engine, result, &sampling)?;
    let output = OutputChain::of(&receipt.request, &tokens, &logprobs);
    let same = judged.same
        && logprobs == result.logprobs
        && tokens == result.output
        && output == receipt.output
        && scores == receipt.scores.0;
    let Judged { difference, false_logprobs, ends, .. } = judged;
    Ok(Rerun { difference, false_logprobs, ends, output, same, generate_ms: milliseconds(begin), verify_ms })
}

/// Computes a result again in one prefill that follows the kept output, and compares it with its receipt.
pub fn judge(engine: &Arc<Engine>, tokenizer: &Arc<TokenizerAsset>, result: &JobResult) -> Result<Judged> {
    let (receipt, request) = (&result.receipt.body, &result.request);
    if engine.model_id() != receipt.model {
        let (here, there) = (engine.model_id(), receipt.model);
        return Err(CommandError::refused(format!(
            "this file is model {here}, the receipt is about {there}"
        ))
        .hint("pass the right file with --model PATH"));
    }
    let claim = Claim {
        prompt: &request.prompt,
        written: &request.written,
        output: &result.output,
        sampling: Sampling::of(request),
        logprobs: &result.logprobs,
        request_digest: receipt.request.0,
    };
    let checked = verify(engine, &claim)?;
    let ends = ends(result, tokenizer);
    let (difference, false_logprobs) = (checked.difference, checked.false_logprobs);
    let same = difference.is_none()
        && false_logprobs.is_none()
        && ends
        && u32::try_from(result.output.len()) == Ok(receipt.output_tokens)
        && request.digest() == receipt.request
        && OutputChain::of(&receipt.request, &result.output, &result.logprobs) == receipt.output
        && checked.score_chain == receipt.scores.0;
    Ok(Judged { difference, false_logprobs, ends, same })
}

/// Whether the output ends where request and cause say.
pub fn ends(result: &JobResult, tokenizer: &Arc<TokenizerAsset>) -> bool {
    ends_as_stated(&result.request, &result.output, result.receipt.body.cause, tokenizer.clone())
}

/// Tokens, their log probabilities if they were asked for, and the score chain over them.
type Generated = (Vec<u32>, Vec<Logprobs>, [u8; 32]);

/// As many tokens as the receipt counts.
fn generate(engine: &Arc<Engine>, result: &JobResult, sampling: &Sampling) -> Result<Generated> {
    let (receipt, mut text) = (&result.receipt.body, result.request.text());
    let start = text.len();
    let end = start + receipt.output_tokens as usize;
    let mut sequence = Sequence::new(engine, end)?;
    let mut chain = ScoreChain::new(&receipt.request.0, receipt.prompt_tokens);
    let mut logprobs = Vec::new();
    while text.len() < end {
        let input = &text[sequence.position()..];
        let choice = sequence.prefill(input, |scores| Choice::of(scores, sampling, &text))?;
        chain.take(&choice);
        text.push(choice.token);
        logprobs.extend(choice.logprobs);
    }
    Ok((text.split_off(start), logprobs, chain.digest()))
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
