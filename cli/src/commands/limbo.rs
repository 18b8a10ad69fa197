//! Money in limbo, as `account show` and `status` tell of it: what is stuck, where, until when, and what to do.

use gridhour_node::{
    clock,
    limbo::{Cause, Limbo},
    rpc::Purpose,
};
use gridhour_protocol::signed::PublicKey;
use serde_json::{Value, json};

use crate::{context::Context, error::Result, human_time::when};

/// For programs.
pub fn document(limbo: &[Limbo]) -> Value {
    let piece = |piece: &Limbo| {
        let (cause, id) = named(&piece.cause);
        json!({
            "cause": cause, "id": id, "amount": piece.amount.0, "deadline": piece.deadline.0,
            "advice": piece.advice(),
        })
    };
    limbo.iter().map(piece).collect()
}

/// A line for each piece, and a warning in the log.
pub fn report(context: &Context, account: PublicKey, limbo: &[Limbo]) -> Result {
    for piece in limbo {
        context.out.line(format!("limbo    {}", text(piece)))?;
        let (cause, id) = named(&piece.cause);
        let (amount, deadline) = (piece.amount.0, piece.deadline.0);
        tracing::warn!(%account, cause, id, amount, deadline, "money is in limbo");
    }
    Ok(())
}

fn text(piece: &Limbo) -> String {
    let Limbo { cause, amount, deadline } = piece;
    let (_, id) = named(cause);
    let id: String = id.chars().take(8).collect();
    let what = match cause {
        Cause::Uncollected(_) => {
            format!("up to {amount} credits of session {id} to collect by {}", when(*deadline, clock::now()))
        }
        Cause::Called(_) => format!(
            "{amount} credits are lost if nobody answers for reservation {id} by {}",
            when(*deadline, clock::now())
        ),
        Cause::Overdue(_) => {
            format!("{amount} credits are held for {id} beyond {}", when(*deadline, clock::now()))
        }
    };
    format!("{what}: {}", piece.advice())
}

/// The stable name of a cause, and the id of what the money is held for.
fn named(cause: &Cause) -> (&'static str, String) {
    match cause {
        Cause::Uncollected(session) => ("uncollected", session.to_string()),
        Cause::Overdue(purpose) => ("overdue", held_for(purpose)),
        Cause::Called(reservation) => ("called", reservation.to_string()),
    }
}

fn held_for(purpose: &Purpose) -> String {
    match purpose {
        Purpose::Session { session, .. } => session.to_string(),
        Purpose::Budget { budget } => budget.to_string(),
        Purpose::Prepaid { reservation, .. } | Purpose::Promised { reservation, .. } => {
            reservation.to_string()
        }
        Purpose::Bond { device } | Purpose::Unbonding { device } => device.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use gridhour_protocol::{
        id::SessionId,
        units::{Credits, Timestamp},
    };

    use super::*;

    #[test]
    fn a_piece_names_amount_place_deadline_and_what_to_do() {
        let session = SessionId([0xab; 32]);
        let piece =
            Limbo { cause: Cause::Uncollected(session), amount: Credits(400_000), deadline: Timestamp(77) };
        let line = text(&piece);
        for part in ["0.4 credits", "abababab", "1970-01-01", "start it with this data directory"] {
            assert!(line.contains(part), "{line:?} lacks {part:?}");
        }
        let document = document(&[piece]);
        assert_eq!(document[0]["amount"], 400_000);
        assert_eq!(document[0]["id"], session.to_string());
        assert_eq!(document[0]["cause"], "uncollected");
        let provider = PublicKey([1; 32]);
        let overdue = Limbo { cause: Cause::Overdue(Purpose::Session { session, provider }), ..piece };
        assert!(text(&overdue).contains("ask the operator"));
    }
}
