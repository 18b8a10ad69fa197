//! What several providers said that were asked for one answer at the same time: for people and for scripts.

use std::path::Path;

use gridhour_node::drivers::{
    mismatch::Mismatch,
    results::{Agreed, JobResult},
};
use gridhour_protocol::{
    job::agreement::{Tally, Verdict},
    signed::PublicKey,
};
use serde_json::{Value, json};

/// Who gave another answer than most, and where what was signed is kept.
pub fn dissent(tally: &Tally, evidence: &Path) -> String {
    let who: Vec<String> = tally.dissent.iter().map(PublicKey::short).collect();
    let (who, evidence) = (who.join(", "), evidence.display());
    format!("\nNOT the same answer from {who}; what they signed is in {evidence}")
}

/// The end of the line that says what a run was.
pub fn summary(agreed: &Agreed) -> String {
    let Tally { agreed: with, dissent, silent, .. } = &agreed.tally;
    let all = with.len() + dissent.len() + silent.len();
    format!(", {} of {all} agree", with.len())
}

/// The level of verification that ran, and what came of it.
pub fn document(result: &JobResult) -> Value {
    let Some(Agreed { tally, .. }) = &result.agreement else { return json!({ "level": "none", "odds": 0 }) };
    let Tally { verdict, agreed, dissent, silent } = tally;
    let keys = |keys: &[PublicKey]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
    let evidence = (!dissent.is_empty()).then(|| Mismatch::file_name(result.terms.order));
    json!({
        "level": format!("redundant({})", agreed.len() + dissent.len() + silent.len()),
        // Of being seen, if most of them are honest; nothing is known where most did not agree.
        "odds": u8::from(*verdict != Verdict::Undecided), "verdict": verdict.name(),
        "agreed": keys(agreed), "dissent": keys(dissent), "silent": keys(silent), "evidence": evidence,
    })
}
