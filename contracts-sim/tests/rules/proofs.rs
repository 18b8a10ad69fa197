//! What can be shown to whoever holds the network file alone, and that nothing else can.

mod pending;
mod receipts;
mod records;
mod sizes;

use gridhour_contracts_sim::{
    harness::{Chain, Deal, key},
    proof::{Anchor, ProofError},
    tx::Call,
};
use gridhour_protocol::{
    units::Credits,
    wire::{Wire, decode, encode},
};

fn anchor(chain: &Chain) -> Anchor {
    Anchor::from(chain.state().genesis())
}

/// A client with money, a provider, and a session between them.
fn with_session() -> (Chain, Deal) {
    let mut chain = Chain::new();
    let (client, provider) = (key(1), key(2));
    chain.fund(&client.public(), Credits(10_000));
    let deal = Deal::new(&chain, &client, &provider);
    chain.acting(&client).ok(deal.open());
    chain.acting(&client).ok(Call::Transfer { to: provider.public(), amount: Credits(5) });
    (chain, deal)
}

/// Changes each byte of `proof` in turn: what is decoded at all must not verify.
fn every_byte_counts<T: Wire, P>(proof: &T, verify: impl Fn(&T) -> Result<P, ProofError>) {
    let bytes = encode(proof);
    assert!(verify(&decode(&bytes).expect("what is encoded decodes")).is_ok());
    let mut reached = 0;
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] ^= flip;
            let Ok(decoded) = decode(&changed) else { continue };
            reached += 1;
            assert!(verify(&decoded).is_err(), "byte {at} changed by {flip:#x}");
        }
    }
    assert!(reached > bytes.len(), "most changes are seen by the proof alone, not by the decoder");
}
