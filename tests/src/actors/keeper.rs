//! Someone with no part in any session who has every hold released whose deadline has passed, as anyone may.

use gridhour_contracts_sim::tx::Call;
use gridhour_protocol::{id::NetworkId, signed::SecretKey};

use super::{Actor, Alarm, Input, sign_tx};
use crate::sim::{
    context::Context,
    durable::PowerCut,
    ledger_node::{Answer, Request},
};

/// How often it looks, in milliseconds.
const LOOK_MS: u64 = 5_000;

/// The bystander.
#[derive(Clone, Debug)]
pub struct Keeper {
    key: SecretKey,
    network: NetworkId,
}

impl Keeper {
    /// A keeper with this key.
    #[must_use]
    pub fn new(key: SecretKey, network: NetworkId) -> Self {
        Self { key, network }
    }
}

impl Actor for Keeper {
    fn start(&mut self, cx: &mut Context<'_>) -> Result<(), PowerCut> {
        cx.wake_in(LOOK_MS, Alarm::Sweep);
        Ok(())
    }

    fn hear(&mut self, input: Input, cx: &mut Context<'_>) -> Result<(), PowerCut> {
        match input {
            Input::Wake(_) => {
                cx.ask(0, Request::Overdue);
                cx.wake_in(LOOK_MS, Alarm::Sweep);
            }
            Input::Answer { answer: Answer::Overdue(sessions), .. } => {
                for session in sessions {
                    let tx = sign_tx(cx, &self.key, self.network, Call::Expire { session });
                    cx.ask(1, Request::Submit(tx));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
