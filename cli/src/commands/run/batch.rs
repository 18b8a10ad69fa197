//! `gridhour run --batch`: many prompts, one after the other, under one order and in sessions that are kept open until the
//! last is answered.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use gridhour_node::{
    drivers::client::{Client, Keep, RunSpec},
    drivers::results::JobResult,
    model::template::{Message, Role},
};
use gridhour_protocol::{
    market::advert::Advert,
    signed::Verified,
    units::{Credits, Millis},
};
use serde_json::json;

use super::{Args, result_json, stream, summary, whole};
use crate::{
    commands::{budget::Drawing, market::offers_for},
    context::Context,
    error::{CommandError, Result},
    joined::{Stop, with_client},
};

/// Bytes of all prompts together.
const BATCH_BYTES_MAX: u64 = 16 << 20;
/// How long a session may lie idle while others answer.
const IDLE: Millis = Millis(60_000);

/// What all prompts of a batch share.
struct Batch<'a> {
    context: &'a Context,
    client: &'a Arc<Client>,
    spec: RunSpec,
    offers: Vec<Verified<Advert>>,
    drawing: Option<Drawing>,
    explain: bool,
}

/// The prompts in `file`, one a line; `-` is standard input. Empty lines are none.
///
/// # Errors
/// If it cannot be read, is no text, is too long, or has no prompt.
pub fn prompts(file: &Path) -> Result<Vec<String>> {
    let shown = file.display();
    let cannot =
        |error: io::Error| CommandError::usage(format!("cannot read the prompts in {shown}: {error}"));
    let mut input: Box<dyn Read> = match file.to_str() {
        Some("-") => Box::new(io::stdin().lock()),
        _ => Box::new(File::open(file).map_err(cannot)?),
    };
    let mut text = String::new();
    input.by_ref().take(BATCH_BYTES_MAX + 1).read_to_string(&mut text).map_err(cannot)?;
    if text.len() as u64 > BATCH_BYTES_MAX {
        return Err(CommandError::usage(format!("the prompts in {shown} are over {BATCH_BYTES_MAX} bytes"))
            .hint("split the file, and run the parts one after the other"));
    }
    let prompts: Vec<String> =
        text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
    if prompts.is_empty() {
        return Err(CommandError::usage(format!("{shown} has no prompt")).hint("write one on each line"));
    }
    Ok(prompts)
}

/// Answers all prompts in `file`, and settles.
pub fn run(args: &Args, file: &Path, context: &Context) -> Result {
    let conversations: Vec<Vec<Message>> =
        prompts(file)?.into_iter().map(|prompt| args.conversation(prompt)).collect();
    let spec = args.order.spec(context, Vec::new())?;
    with_client(context, async |client, stop| {
        let left = client.left_open()?;
        let drawing = args.draw.resolve(context, &client).await?;
        let offers = offers_for(&client, &spec).await?;
        let assets = client.assets(spec.model, &offers).await?;
        let mut longest = 0;
        for messages in &conversations {
            longest = longest.max(assets.prompt(messages).map_err(CommandError::usage)?.len());
        }
        let keep = Keep { prompt_tokens: u32::try_from(longest).unwrap_or(u32::MAX), idle: IDLE };
        let pays = drawing.as_ref().map(|drawing| drawing.cap);
        let spec = RunSpec { pays, keep: Some(keep), ..spec };
        let batch = Batch { context, client: &client, spec, offers, drawing, explain: args.explain };
        let work = async {
            let answered = batch.answer_all(conversations, &stop).await;
            let mut late = client.close_kept().await;
            late.extend(client.settle_left(left).await);
            let told = late.iter().try_for_each(|why| context.out.note(&format!("not settled yet: {why}")));
            // What stopped the batch is what there is to say, whether or not this could be told.
            answered.and(told)
        };
        tokio::select! {
            never = client.tend() => match never {},
            answered = work => answered,
        }
    })
}

impl Batch<'_> {
    /// Answers one prompt after the other, until one fails or the user stops; what was answered stays.
    async fn answer_all(&self, conversations: Vec<Vec<Message>>, stop: &Stop) -> Result {
        let (mut cost, count) = (Credits::ZERO, conversations.len());
        for (at, messages) in conversations.into_iter().enumerate() {
            let so_far = || format!("{at} of {count} prompts were answered; they are kept and paid for");
            let result = self.answer(messages, stop).await.map_err(|error| error.hint(so_far()))?;
            // What was stopped is no answer, though what there is of it was paid.
            if stop.is_wished() {
                return Err(CommandError::interrupted().hint(so_far()));
            }
            whole(&result, stop).map_err(|error| error.hint(so_far()))?;
            cost = cost.checked_add(result.cost_in_all()).unwrap_or(Credits(u64::MAX));
        }
        self.context.out.line(format!("{count} answers, {cost} credits in all"))
    }

    async fn answer(&self, messages: Vec<Message>, stop: &Stop) -> Result<JobResult> {
        let Self { context, client, offers, drawing, .. } = self;
        let spec = RunSpec { messages, ..self.spec.clone() };
        let result = stream(context, client, &spec, offers, stop, self.explain, drawing.as_ref()).await?;
        context.out.record(&json!(result_json(client, &result).await?))?;
        context.out.line(summary(&result))?;
        Ok(result)
    }
}

impl Args {
    /// The conversation that asks `prompt`.
    pub(super) fn conversation(&self, prompt: String) -> Vec<Message> {
        let system = self.system.iter().map(|text| Message { role: Role::System, content: text.clone() });
        system.chain([Message { role: Role::User, content: prompt }]).collect()
    }
}
