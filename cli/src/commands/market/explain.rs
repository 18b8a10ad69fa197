//! `gridhour market explain`: for an order, which offer it would meet, why the others lost, and why some were refused.

use std::sync::Arc;

use gridhour_node::{clock, drivers::client::Client};
use gridhour_protocol::{
    id::to_hex,
    limits::PROMPT_TOKENS_MAX,
    market::{
        matching::{Candidate, MatchRecord},
        order::{Order, Verification},
        quote,
        redundant::{Bid, TooFew, pick},
        standing::Late,
        tier::Tier,
    },
    signed::PublicKey,
    units::Credits,
};
use serde_json::{Map, Value, json};

use super::offers_for;
use crate::{commands::run::OrderOptions, context::Context, error, joined::with_client};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour market explain --region eu-de --max-ttft-ms 500
  gridhour market explain --prompt-tokens 4000 --prefer fastest --json
  gridhour market explain --home eu-de --egress-per-gib 0.09 --retry-cost 0.001

Nothing is ordered, opened or paid. With --post, providers keep a slot for their quotes until these end.";

/// An order that is not made.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Take the prompt to be this many tokens long
    #[arg(long, default_value_t = 64, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=PROMPT_TOKENS_MAX as i64))]
    prompt_tokens: u32,

    #[command(flatten)]
    order: OrderOptions,
}

pub fn run(args: &Args, context: &Context) -> error::Result {
    with_client(context, async |client, _| explain(args, context, &client).await)
}

async fn explain(args: &Args, context: &Context, client: &Arc<Client>) -> error::Result {
    let spec = args.order.spec(context, Vec::new())?;
    if spec.tier == Tier::Reserved {
        return Err(error::CommandError::usage(
            "an order of the reserved tier meets no offer but that of its slot",
        )
        .hint("`gridhour reserve list` shows whose slot runs"));
    }
    let adverts = offers_for(client, &spec).await?;
    let order = client.order(&spec, args.prompt_tokens as usize)?;
    let quotes = match spec.post {
        Some(post) => client.quotes(&order, post).await,
        None => Vec::new(),
    };
    let offers = quote::beside(adverts, &quotes, clock::now());
    let record = client.match_order(&order, &offers, &spec).await?;
    let together = together(&order, &record);
    let mut document = match_json(&record);
    document["together"] = match &together {
        Some(Ok(picked)) => picked.iter().map(ToString::to_string).collect(),
        Some(Err(_)) | None => Value::Null,
    };
    context.out.document(&document)?;
    explain_text(context, &record)?;
    match together {
        Some(Ok(picked)) => {
            let picked: Vec<String> = picked.iter().map(PublicKey::short).collect();
            context.out.line(format!("asked together: {}", picked.join(", ")))
        }
        Some(Err(too_few)) => context.out.line(too_few.to_string()),
        None => Ok(()),
    }
}

/// Who would be asked at the same time, if several are wanted.
fn together(order: &Order, record: &MatchRecord) -> Option<Result<Vec<PublicKey>, TooFew>> {
    let Verification::Redundant { providers } = order.verification else { return None };
    let bid = |candidate: &Candidate| Bid { account: candidate.provider, hold: candidate.cost };
    let bids: Vec<Bid> = record.candidates.iter().map(bid).collect();
    let picked = pick(&bids, providers, order.total_max);
    Some(picked.map(|places| places.into_iter().map(|place| bids[place].account).collect()))
}

/// The terms of a score by the names that scripts and people read; the discount counts against the others.
fn terms(candidate: &Candidate) -> [(&'static str, &'static str, i128); 5] {
    let amount = |credits: Credits| i128::from(credits.0);
    [
        ("cost", "cost", amount(candidate.cost)),
        ("penalty", "lateness", amount(candidate.penalty)),
        ("egress", "egress", amount(candidate.egress)),
        ("risk", "risk of a run in vain", amount(candidate.risk)),
        ("discount", "newcomer's discount", -amount(candidate.discount)),
    ]
}

/// The match record in words and numbers.
pub fn explain_text(context: &Context, record: &MatchRecord) -> error::Result {
    let mut candidates = record.candidates.iter();
    let chosen = candidates.next();
    if let Some(chosen) = chosen {
        context.out.line(format!("chosen  {}", offer_text(chosen)))?;
        for other in candidates {
            context.out.line(format!("lost    {}", offer_text(other)))?;
            context.out.line(format!("        {}", why_lost(other, chosen)))?;
        }
    }
    for refusal in &record.refused {
        let (provider, reason) = (named(refusal.provider, refusal.own), refusal.reason.name());
        context.out.line(format!("refused {provider}  {reason}: {}", refusal.detail))?;
    }
    match chosen {
        Some(_) => Ok(()),
        None => context.out.line("no offer meets this order"),
    }
}

/// A provider, and whether it is the user's own machine.
fn named(provider: PublicKey, own: bool) -> String {
    let own = if own { " (own)" } else { "" };
    format!("{}{own}", provider.short())
}

/// An offer's score, its terms that are not zero, and the times.
fn offer_text(candidate: &Candidate) -> String {
    let added = terms(candidate).into_iter().skip(1).filter(|(.., amount)| *amount != 0);
    let added: String = added.map(|(_, name, amount)| format!(" {} {name}", signed(amount))).collect();
    let times = match (candidate.expected_ttft_ms, candidate.expected_total_ms) {
        (Some(ttft), Some(total)) => format!("first token in {ttft} ms, all in {total} ms"),
        _ => "not measured".into(),
    };
    let sum = if added.is_empty() { String::new() } else { format!(", score {}", candidate.score) };
    let quoted = if candidate.quoted.is_some() { " quoted" } else { "" };
    let provider = named(candidate.provider, candidate.standing.is_own());
    format!("{provider} {quoted} at most {} credits{added}{sum}; {times}", candidate.cost)
}

/// By what an offer lost: to a machine of the user's own whatever it scores, or by how much and by which terms.
fn why_lost(other: &Candidate, chosen: &Candidate) -> String {
    if chosen.standing.comes_first() && !other.standing.comes_first() {
        return match other.standing.late() {
            Some(late) => format!("your own, but {late}; another machine of yours is in time"),
            None => "your own machine is in time, and comes first".into(),
        };
    }
    match other.standing.late() {
        Some(late) => format!("your own, but {late}: {}", by_score(other, chosen)),
        None => by_score(other, chosen),
    }
}

fn by_score(other: &Candidate, chosen: &Candidate) -> String {
    let difference = i128::from(other.score.0) - i128::from(chosen.score.0);
    if difference == 0 {
        return "the same score: the earlier advert won, or between two of one time the lower account".into();
    }
    let pairs = terms(other).into_iter().zip(terms(chosen));
    let parts = pairs.map(|((_, name, theirs), (.., best))| (name, theirs - best));
    let parts = parts.filter(|(_, difference)| *difference != 0);
    let parts: Vec<_> = parts.map(|(name, difference)| format!("{name} {}", signed(difference))).collect();
    format!("{} against the chosen one: {}", signed(difference), parts.join(", "))
}

/// Credits with their sign.
fn signed(amount: i128) -> String {
    let sign = if amount < 0 { '-' } else { '+' };
    let size = u64::try_from(amount.unsigned_abs()).unwrap_or(u64::MAX);
    format!("{sign}{}", Credits(size))
}

/// The match record as scripts read it. What a candidate lost by is its score less the chosen one's, and so for each term.
pub fn match_json(record: &MatchRecord) -> Value {
    let chosen = record.candidates.first();
    let candidates = record.candidates.iter().map(|candidate| candidate_json(candidate, chosen));
    let refused = record.refused.iter().map(|refusal| {
        json!({
            "provider": refusal.provider.to_string(), "own": refusal.own, "reason": refusal.reason.name(),
            "detail": refusal.detail,
        })
    });
    let costs = &record.costs;
    json!({
        "chosen": record.chosen.map(|provider| provider.to_string()),
        "candidates": candidates.collect::<Vec<_>>(), "refused": refused.collect::<Vec<_>>(),
        "order": record.order.to_string(), "at": record.at.0,
        "costs": {
            "home": costs.home, "egress_per_gib": costs.egress_per_gib.0, "retry": costs.retry.0,
        },
        "considered": to_hex(&record.considered),
    })
}

fn candidate_json(candidate: &Candidate, chosen: Option<&Candidate>) -> Value {
    let lost_by = chosen.filter(|chosen| chosen.provider != candidate.provider).map(|chosen| {
        let pairs = terms(candidate).into_iter().zip(terms(chosen));
        let parts = pairs.map(|((name, _, theirs), (.., best))| (name.to_owned(), number(theirs - best)));
        let score = i128::from(candidate.score.0) - i128::from(chosen.score.0);
        let whole = [("score".to_owned(), number(score))].into_iter();
        Value::Object(whole.chain(parts).collect::<Map<_, _>>())
    });
    json!({
        "provider": candidate.provider.to_string(), "own": candidate.standing.is_own(),
        "quoted": candidate.quoted.map(|posting| posting.to_string()),
        "late": candidate.standing.late().map(late_json), "score": candidate.score.0, "cost": candidate.cost.0,
        "penalty": candidate.penalty.0, "egress": candidate.egress.0, "risk": candidate.risk.0,
        "discount": candidate.discount.0, "expected_ttft_ms": candidate.expected_ttft_ms,
        "expected_total_ms": candidate.expected_total_ms, "lost_by": lost_by,
    })
}

fn late_json(late: Late) -> Value {
    let token = if late.is_first { "first" } else { "last" };
    json!({ "token": token, "by_ms": late.by_ms, "queue_ms": late.queue_ms })
}

/// A difference of amounts; one beyond 64 bits becomes the largest there is.
fn number(amount: i128) -> Value {
    json!(i64::try_from(amount).unwrap_or(if amount < 0 { i64::MIN } else { i64::MAX }))
}

#[cfg(test)]
mod tests {
    use gridhour_protocol::{id::PostingId, market::standing::Standing};

    use super::*;

    /// Somebody else's.
    fn candidate(at: u8, cost: u64, penalty: u64, risk: u64, discount: u64) -> Candidate {
        Candidate {
            provider: PublicKey([at; 32]),
            quoted: None,
            standing: Standing::Market,
            score: Credits(cost + penalty + risk - discount),
            cost: Credits(cost),
            penalty: Credits(penalty),
            egress: Credits(0),
            risk: Credits(risk),
            discount: Credits(discount),
            expected_ttft_ms: Some(12),
            expected_total_ms: Some(340),
        }
    }

    #[test]
    fn an_offer_shows_the_terms_that_count() {
        let text = offer_text(&candidate(1, 817, 0, 0, 0));
        assert_eq!(text, "01010101  at most 0.000817 credits; first token in 12 ms, all in 340 ms");
        let text = offer_text(&Candidate { expected_ttft_ms: None, ..candidate(1, 817, 30, 0, 7) });
        let quoted = Candidate { quoted: Some(PostingId([5; 32])), ..candidate(1, 817, 0, 0, 0) };
        assert!(offer_text(&quoted).starts_with("01010101  quoted at most"), "{}", offer_text(&quoted));
        let terms = "+0.00003 lateness -0.000007 newcomer's discount, score 0.00084";
        assert_eq!(text, format!("01010101  at most 0.000817 credits {terms}; not measured"));
    }

    #[test]
    fn a_loser_shows_each_term_beside_the_winners() {
        let (chosen, other) = (candidate(1, 800, 0, 0, 8), candidate(2, 700, 50, 90, 0));
        let expected = "+0.000048 against the chosen one: cost -0.0001, lateness +0.00005, \
                        risk of a run in vain +0.00009, newcomer's discount +0.000008";
        assert_eq!(why_lost(&other, &chosen), expected);
        assert!(why_lost(&chosen, &chosen).starts_with("the same score"));
    }

    #[test]
    fn an_own_machine_is_told_why_it_won_or_lost() {
        let late = Late { is_first: true, by_ms: 400, queue_ms: 350 };
        let standing = |standing, candidate| Candidate { standing, ..candidate };
        let (cheap, dear) = (candidate(1, 100, 0, 0, 0), candidate(2, 800, 0, 0, 0));
        let first = standing(Standing::Own, dear);
        assert_eq!(why_lost(&cheap, &first), "your own machine is in time, and comes first");
        assert!(offer_text(&first).starts_with("02020202 (own)  at most"));
        let slow = standing(Standing::OwnLate(late), candidate(3, 100, 900, 0, 0));
        let said = "your own, but its first token would be 400 ms late, its queue takes 350 ms";
        assert_eq!(
            why_lost(&slow, &cheap),
            format!("{said}: +0.0009 against the chosen one: lateness +0.0009")
        );
        assert_eq!(why_lost(&slow, &first), format!("{said}; another machine of yours is in time"));
        let told = candidate_json(&slow, Some(&cheap));
        assert_eq!((&told["own"], &told["late"]["by_ms"]), (&json!(true), &json!(400)));
    }

    #[test]
    fn scripts_get_differences_that_add_up() {
        let (chosen, other) = (candidate(1, 800, 0, 0, 8), candidate(2, 700, 50, 90, 0));
        let lost_by = &candidate_json(&other, Some(&chosen))["lost_by"];
        let parts =
            ["cost", "penalty", "egress", "risk", "discount"].map(|term| lost_by[term].as_i64().unwrap());
        assert_eq!(lost_by["score"].as_i64(), Some(parts.iter().sum()));
        assert!(candidate_json(&chosen, Some(&chosen))["lost_by"].is_null());
        assert_eq!(number(-(1 << 70)), json!(i64::MIN));
    }
}
