//! Log probabilities as people and scripts read them.

use gridhour_node::{drivers::results::JobResult, model::tokenizer::Tokenizer};
use serde_json::{Value, json};

use crate::output::Table;

/// Alternatives that a line for people has room for.
const SHOWN: usize = 4;

/// Nats of a log probability.
fn nats(q16: i32) -> f64 {
    f64::from(q16) / 65_536.0
}

/// One entry a token, or null where none were asked for.
pub fn document(result: &JobResult) -> Value {
    if result.request.logprobs == 0 {
        return Value::Null;
    }
    let entry = |(token, one): (&u32, &gridhour_protocol::job::logprobs::Logprobs)| {
        let top = one.top.iter();
        let top = top.map(|other| json!({ "token_id": other.token, "logprob": nats(other.logprob_q16) }));
        json!({ "token_id": token, "logprob": nats(one.logprob_q16), "top": top.collect::<Vec<_>>() })
    };
    result.answer().iter().zip(&result.all_logprobs()).map(entry).collect()
}

/// One line a token: its text, its log probability, and the likeliest alternatives.
pub fn lines(result: &JobResult, tokenizer: &Tokenizer) -> Vec<String> {
    let text = |token: u32| format!("{:?}", tokenizer.token(token).unwrap_or("?"));
    let mut table = Table::new(["token", "logprob", "likeliest"]);
    for (token, one) in result.answer().iter().zip(&result.all_logprobs()) {
        let top = one.top.iter().take(SHOWN);
        let top: Vec<String> =
            top.map(|other| format!("{} {:.4}", text(other.token), nats(other.logprob_q16))).collect();
        table.row([text(*token), format!("{:.4}", nats(one.logprob_q16)), top.join("  ")]);
    }
    table.lines()
}
