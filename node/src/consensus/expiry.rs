//! After the deadline nothing is held. Anyone may release a hold; a ledger node that wants none forgotten does it itself,
//! with what is here.

use gridhour_contracts_sim::{
    state::State,
    tx::{Call, Tx},
};
use gridhour_protocol::{
    id::SessionId,
    signed::{SecretKey, Signed},
    units::{Height, Timestamp},
};

/// Sessions released in one go, so that a crowd of them leaves room in the blocks.
pub const EXPIRE_MAX: usize = 256;
/// Blocks for which a release is valid.
const VALID_BLOCKS: u64 = 1_024;

/// Sessions whose deadline has passed at `now`; at most [`EXPIRE_MAX`].
#[must_use]
pub fn expired(state: &State, now: Timestamp) -> Vec<SessionId> {
    let over = state.sessions().filter(|(_, session)| now > session.collect_until);
    over.map(|(id, _)| *id).take(EXPIRE_MAX).collect()
}

/// The transaction by which `sender` releases what `session` holds. Its nonce follows from the session, so two of them
/// do no more than one.
#[must_use]
pub fn expire_tx(state: &State, sender: &SecretKey, session: SessionId) -> Signed<Tx> {
    sender.sign(Tx {
        network: state.network(),
        sender: sender.public(),
        nonce: u64::from_le_bytes(core::array::from_fn(|i| session.0[i])),
        valid_until: Height(state.tip().height.0.saturating_add(VALID_BLOCKS)),
        call: Call::Expire { session },
    })
}
