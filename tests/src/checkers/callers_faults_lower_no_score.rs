//! What a caller did, or nobody, is never held against a provider: neither a refusal that is the caller's doing, nor a free
//! slot that another took first, nor a job that its own client stopped and that was answered for.

use std::collections::{BTreeMap, BTreeSet};

use gridhour_protocol::{
    job::message::{ClientMessage, ProviderMessage, RefusalCode},
    receipt::Cause,
};

use super::{Checker, View};
use crate::sim::{
    fact::{Fact, Frame},
    net::StreamId,
};

/// Streams on which the caller, or nobody, is at fault.
#[derive(Clone, Debug, Default)]
pub struct CallersFaultsLowerNoScore {
    cancelled: BTreeSet<StreamId>,
    blameless: BTreeMap<StreamId, &'static str>,
}

const fn is_callers(code: RefusalCode) -> bool {
    matches!(
        code,
        RefusalCode::Busy
            | RefusalCode::HoldExhausted
            | RefusalCode::SessionOver
            | RefusalCode::LaneUnsettled
            | RefusalCode::TokenOutOfRange
            | RefusalCode::OutputComplete
            | RefusalCode::PrepaidTooMuch
    )
}

impl CallersFaultsLowerNoScore {
    fn heard(&mut self, stream: StreamId, message: &ProviderMessage) {
        match message {
            ProviderMessage::Refused { code, .. } if is_callers(*code) => {
                self.blameless.insert(stream, code.name());
            }
            ProviderMessage::Done { receipt }
                if receipt.body.cause == Cause::ClientFault && self.cancelled.contains(&stream) =>
            {
                self.blameless.insert(stream, "cancelled");
            }
            _ => {}
        }
    }
}

impl Checker for CallersFaultsLowerNoScore {
    fn name(&self) -> &'static str {
        "callers_faults_lower_no_score"
    }

    fn check(&mut self, view: &View<'_>) -> Result<(), String> {
        for fact in view.facts {
            match fact {
                Fact::Said { stream, frame: Frame::Client(ClientMessage::Cancel), .. } => {
                    self.cancelled.insert(*stream);
                }
                Fact::Heard { stream, frame: Frame::Provider(message), .. } => self.heard(*stream, message),
                Fact::Learned { by, stream, provider, failed: true } => {
                    let is_honest = |key| view.owner(key).is_some_and(|role| role.honest);
                    if let Some(why) = self.blameless.get(stream).filter(|_| is_honest(provider)) {
                        let provider = provider.short();
                        return Err(format!("node {} holds {why} against honest {provider}", by.0));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::stage::{CLIENT, PROVIDER, Stage},
        *,
    };

    const STREAM: StreamId = StreamId(1);

    fn refused(code: RefusalCode) -> Fact {
        let frame = Frame::Provider(ProviderMessage::Refused { code, detail: String::new() });
        Fact::Heard { stream: STREAM, by: CLIENT, frame }
    }

    #[test]
    fn a_callers_fault_that_is_held_against_a_provider_is_found() {
        let stage = Stage::new();
        let provider = stage.cast[usize::from(PROVIDER.0)].key;
        let learned = |failed| Fact::Learned { by: CLIENT, stream: STREAM, provider, failed };
        let says = |facts: &[Fact]| stage.show(&mut CallersFaultsLowerNoScore::default(), facts);
        assert!(says(&[refused(RefusalCode::Busy), learned(true)]).is_err());
        assert_eq!(
            says(&[refused(RefusalCode::Stopping), learned(true)]),
            Ok(()),
            "that is the provider's doing"
        );
        assert_eq!(says(&[refused(RefusalCode::Busy), learned(false)]), Ok(()));
    }
}
