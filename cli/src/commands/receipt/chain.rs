//! An answer that several providers wrote: who wrote what, who answers for it, and whether the parts fit together.

use gridhour_node::drivers::results::{JobResult, Part};
use gridhour_protocol::{job::request::Request, units::Credits};
use serde_json::{Value, json};

use super::check::{Answered, Check};

/// A part of an answer, and the answer's tokens up to its end.
struct Link<'a> {
    part: &'a Part,
    /// The answer before it.
    before: &'a [u32],
    /// What it wrote of the answer; nothing if it claims more than there is.
    output: Option<&'a [u32]>,
}

/// The parts before the last, in order.
fn links(result: &JobResult) -> impl Iterator<Item = Link<'_>> {
    let written = &result.request.written;
    result.before.iter().scan(0usize, |at, part| {
        let (start, end) = (*at, at.saturating_add(part.tokens as usize));
        *at = end;
        let before = written.get(..start).unwrap_or(written);
        Some(Link { part, before, output: written.get(start..end) })
    })
}

/// What can be checked of the parts before the last; nothing if there are none.
pub fn checks(result: &JobResult) -> Vec<Check> {
    if result.before.is_empty() && result.request.written.is_empty() {
        return Vec::new();
    }
    let counted: usize = result.before.iter().map(|part| part.tokens as usize).sum();
    let joined = counted == result.request.written.len()
        && links(result).all(|link| link.part.request.written == link.before);
    let same = result.before.iter().all(|part| same_wish(&part.request, &result.request));
    let vouched = result.before.iter().all(|part| {
        let (voucher, terms) = (&part.voucher, &part.terms);
        voucher.clone().verify().is_ok()
            && (voucher.body.client, voucher.body.session) == (terms.client, terms.id())
            && terms.order == result.terms.order
    });
    let answered = links(result).all(|link| receipt_fits(&link));
    [
        ("every provider went on where the one before it stopped", joined),
        ("every provider was asked for the same answer", same),
        ("the client signed a voucher to each of them, under one order", vouched),
        ("every receipt of an earlier part fits what it wrote", answered),
    ]
    .map(|(what, holds)| Check { what, holds })
    .into()
}

/// Whether two requests ask for one answer, wherever they begin.
fn same_wish(one: &Request, other: &Request) -> bool {
    let whole = |request: &Request| request.written.len() + request.max_tokens as usize;
    let rules = |request: &Request| (request.prompt.clone(), request.sampling, request.logprobs);
    rules(one) == rules(other)
        && (&one.stop, &one.stop_texts) == (&other.stop, &other.stop_texts)
        && whole(one) == whole(other)
}

/// Whether the part's receipt, if there is one, is about what it wrote.
fn receipt_fits(link: &Link<'_>) -> bool {
    let Some(receipt) = &link.part.receipt else { return true };
    let Some(output) = link.output else { return false };
    let Part { terms, request, logprobs, voucher, .. } = link.part;
    Answered { terms, request, output, logprobs, receipt, voucher }.checks().iter().all(|check| check.holds)
}

fn part_json(part: &Part) -> Value {
    json!({
        "provider": part.terms.provider.to_string(), "session": part.terms.id().to_string(),
        "receipt_id": part.receipt.as_ref().map(|receipt| receipt.id().to_string()),
        "start": part.request.written.len(), "output_tokens": part.tokens,
        "read_tokens": part.request.start(), "prepaid_tokens": part.request.prepaid,
        "cost": part.cost.0, "cause": part.cause.name(),
    })
}

/// The provider that was asked at the same time and was slower, as scripts read it; null if there was none.
pub fn hedged(result: &JobResult) -> Value {
    result.beside.as_ref().map_or(Value::Null, part_json)
}

/// Every part as scripts read it, the last one too.
pub fn document(result: &JobResult) -> Value {
    let earlier = result.before.iter().map(part_json);
    let (receipt, request) = (&result.receipt.body, &result.request);
    let last = json!({
        "provider": result.terms.provider.to_string(), "session": result.terms.id().to_string(),
        "receipt_id": result.receipt.id().to_string(),
        "start": request.written.len(), "output_tokens": receipt.output_tokens,
        "read_tokens": receipt.prompt_tokens, "prepaid_tokens": receipt.prepaid,
        "cost": result.cost.0, "cause": receipt.cause.name(),
    });
    earlier.chain([last]).collect()
}

/// One line for each part, if there are several.
pub fn lines(result: &JobResult) -> Vec<String> {
    if result.before.is_empty() {
        return Vec::new();
    }
    let line = |who: String, read: u32, tokens: u32, cost: Credits, said: String| {
        format!("part      {who} read {read} and wrote {tokens} tokens, {cost} credits, {said}")
    };
    let earlier = result.before.iter().map(|part| {
        let said = match &part.receipt {
            Some(receipt) => format!("receipt {}", receipt.id()),
            None => format!("at most; nobody answers for it ({})", part.cause.name()),
        };
        line(part.terms.provider.short(), part.request.start(), part.tokens, part.cost, said)
    });
    let receipt = &result.receipt.body;
    let said = format!("receipt {}", result.receipt.id());
    let who = result.terms.provider.short();
    earlier.chain([line(who, receipt.prompt_tokens, receipt.output_tokens, result.cost, said)]).collect()
}
