//! `gridhour model tokenize`.

use gridhour_node::model::tokenizer::{Tokenizer, tokenizer_asset};
use serde_json::json;

use crate::{
    context::Context,
    error::{CommandError, Result},
    models,
    output::Table,
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour model tokenize \"Once upon a time\"
  gridhour model tokenize --model ~/models/tiny.gguf \"Once upon a time\" --json";

/// Print the tokens of a text
///
/// The text is plain: no chat template is put around it, and names of control tokens in it are mere text.
/// Tokens that the model's file wants before or after every text are added.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    model: models::ModelOption,

    /// Cut this text into tokens
    #[arg(allow_hyphen_values = true)]
    text: String,
}

pub fn run(args: &Args, context: &Context) -> Result {
    let model = models::find(args.model.as_deref(), context)?;
    let file = models::open(&model.path)?;
    let refuse = models::refuse(&model.path);
    let tokenizer = tokenizer_asset(&file).and_then(Tokenizer::new).map_err(refuse)?;
    let ids = tokenizer.encode(&args.text).map_err(CommandError::usage)?;
    context.out.document(&json!({ "token_ids": ids }))?;
    table(&tokenizer, &ids).lines().iter().try_for_each(|line| context.out.line(line))
}

fn table(tokenizer: &Tokenizer, ids: &[u32]) -> Table {
    let mut table = Table::new(["ID", "TOKEN"]);
    for id in ids {
        table.row([id.to_string(), tokenizer.token(*id).unwrap_or_default().to_owned()]);
    }
    table
}
