//! Accounts with keys, and what they sign.

use std::time::Instant;

use gridhour_contracts_sim::{
    genesis::{Allocation, Genesis},
    limits::{ALLOCATIONS_MAX, LEDGER_VERSION, VALID_BLOCKS_MAX},
    network_file::NetworkFile,
    tx::{Call, Tx},
    witnesses::Witnesses,
};
use gridhour_protocol::{
    limits::GRACE_MS_MIN,
    signed::{SecretKey, Signable, Signed},
    units::{Credits, Height, Millis},
};
use rayon::prelude::*;

use crate::clock;

/// What each account has at first, more than it can spend.
const EACH: Credits = Credits(1 << 40);
/// What the system clock may drift while a measurement runs.
const SKEW: Millis = Millis(60_000);

/// A network of its own, and whoever has money in it.
pub(super) struct People {
    keys: Vec<SecretKey>,
    operator: SecretKey,
    genesis: Genesis,
    nonce: u64,
    drawn: u64,
}

/// A key that everybody could make: nothing that is measured has a value.
fn key(kind: u8, at: usize) -> SecretKey {
    let mut seed = [kind; 32];
    seed[..8].copy_from_slice(&(at as u64).to_le_bytes());
    SecretKey::from_seed(seed)
}

impl People {
    /// So many accounts. A genesis has room for some; [`People::funding`] gives the others their money.
    pub(super) fn new(accounts: usize) -> Self {
        let keys: Vec<SecretKey> = (0..accounts.max(2)).into_par_iter().map(|at| key(1, at)).collect();
        let operator = key(2, 0);
        let allocated = keys.iter().take(ALLOCATIONS_MAX);
        // The first of them pays all who come later.
        let amount = |at| Credits(if at == 0 { EACH.0 * (accounts as u64 + 1) } else { EACH.0 });
        let allocations = allocated.enumerate();
        let genesis = Genesis {
            version: LEDGER_VERSION,
            name: "measured".to_owned(),
            created_at: clock::now(),
            operator: operator.public(),
            issuer: key(3, 0).public(),
            allocations: allocations
                .map(|(at, key)| Allocation { account: key.public(), amount: amount(at) })
                .collect(),
            grace_min: Millis(GRACE_MS_MIN),
            clock_skew: SKEW,
        };
        Self { keys, operator, genesis, nonce: 0, drawn: 0 }
    }

    pub(super) fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    pub(super) fn operator(&self) -> SecretKey {
        self.operator.clone()
    }

    pub(super) fn network_file(&self) -> Signed<NetworkFile> {
        self.operator.sign(NetworkFile {
            genesis: self.genesis.clone(),
            bootstrap: Vec::new(),
            witnesses: Witnesses::default(),
        })
    }

    /// The transfers that give money to accounts for which the genesis had no room.
    pub(super) fn funding(&mut self) -> Vec<Signed<Tx>> {
        let late: Vec<[usize; 2]> = (ALLOCATIONS_MAX..self.keys.len()).map(|to| [0, to]).collect();
        self.sign(&late, EACH, Height(0))
    }

    /// So many transfers of the least amount between any two accounts, valid behind block `height`.
    pub(super) fn transfers(&mut self, count: usize, height: Height) -> Vec<Signed<Tx>> {
        let pairs: Vec<[usize; 2]> = (0..count).map(|_| self.pair()).collect();
        self.sign(&pairs, Credits(1), height)
    }

    fn sign(&mut self, pairs: &[[usize; 2]], amount: Credits, height: Height) -> Vec<Signed<Tx>> {
        let first = self.nonce;
        self.nonce += pairs.len() as u64;
        let (network, valid_until) = (self.genesis.id(), Height(height.0 + VALID_BLOCKS_MAX));
        let sign = |(nonce, [from, to]): (u64, &[usize; 2])| {
            let (sender, to) = (&self.keys[*from], self.keys[*to].public());
            let call = Call::Transfer { to, amount };
            sender.sign(Tx { network, sender: sender.public(), nonce, valid_until, call })
        };
        pairs.par_iter().enumerate().map(|(at, pair)| sign((first + at as u64, pair))).collect()
    }

    /// Two accounts that differ, by a linear congruential generator (Knuth's for MMIX) of which the high bits are taken.
    fn pair(&mut self) -> [usize; 2] {
        let count = self.keys.len() as u64;
        self.drawn =
            self.drawn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let from = (self.drawn >> 33) % count;
        let step = 1 + (self.drawn >> 40) % (count - 1);
        [from as usize, ((from + step) % count) as usize]
    }
}

/// Signatures that all processors together check in a second, strictly: the limit of any ledger that checks them.
pub(super) fn verified_per_s(txs: &[Signed<Tx>]) -> f64 {
    let signed: Vec<_> = txs.iter().map(|tx| (tx.body.sender, tx.body.layout(), tx.signature)).collect();
    let start = Instant::now();
    let good = signed.par_iter().filter(|(key, bytes, signature)| key.verifies(bytes.as_bytes(), signature));
    assert_eq!(good.count(), txs.len(), "signatures just made are good");
    txs.len() as f64 / start.elapsed().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_never_pay_themselves_and_all_have_money() {
        let mut people = People::new(1_030);
        let funded = people.funding();
        assert_eq!(funded.len() + people.genesis().allocations.len(), 1_030);
        assert!((0..5_000).map(|_| people.pair()).all(|[from, to]| from != to));
        let mut nonces: Vec<u64> = people.transfers(9, Height(5)).iter().map(|tx| tx.body.nonce).collect();
        nonces.dedup();
        assert_eq!((nonces.len(), nonces[0]), (9, 6));
    }
}
