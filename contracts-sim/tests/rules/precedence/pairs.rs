//! Two faults at a time.

use gridhour_contracts_sim::{
    harness::{Chain, Deal},
    ledger::reject::Reject,
    tx::Call,
};
use gridhour_protocol::signed::SecretKey;

/// A call that the ledger would apply, until something is made wrong.
pub(crate) struct Setting {
    pub(crate) chain: Chain,
    pub(crate) deal: Deal,
    pub(crate) sender: SecretKey,
    pub(crate) call: Call,
}

/// Makes one thing wrong.
pub(crate) type Fault = fn(&mut Setting);

/// Tries no fault, each alone, and all pairs: the fault that must win is made last, so that the other cannot undo it.
pub(crate) fn check(sound: fn() -> Setting, faults: &[(Reject, Fault)]) {
    assert!(faults.is_sorted_by(|(low, _), (high, _)| low < high), "in the order of the codes");
    let answer = |made: &[Fault]| {
        let mut setting = sound();
        made.iter().for_each(|fault| fault(&mut setting));
        let Setting { mut chain, sender, call, .. } = setting;
        let before = chain.state().clone();
        let answer = chain.acting(&sender).call(call).map(|_| ());
        assert!(answer.is_ok() || *chain.state() == before, "a refusal changes nothing");
        answer
    };
    assert_eq!(answer(&[]), Ok(()));
    for (later, (high, second)) in faults.iter().enumerate() {
        assert_eq!(answer(&[*second]), Err(*high), "{}", high.name());
        for (low, first) in &faults[..later] {
            assert_eq!(answer(&[*second, *first]), Err(*low), "{} and {}", low.name(), high.name());
        }
    }
}
