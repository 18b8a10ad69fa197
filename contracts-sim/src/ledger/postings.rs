//! Money moves by postings alone: balances and what is issued follow from them.

use gridhour_protocol::{signed::PublicKey, units::Credits};
use smallvec::SmallVec;

use crate::{
    ledger::{
        admit::ensure,
        entry::{Book, Posting},
        reject::Reject,
    },
    state::changes::Overlay,
};

/// A balance that postings change.
pub(crate) struct Moved {
    pub(crate) account: PublicKey,
    pub(crate) before: Credits,
    pub(crate) after: Credits,
}

/// The balances that the postings change. A key that has no balance yet must be usable, since
/// nobody could ever spend from a weak one, or everybody could; `is_known` says that this was found out before, which
/// matters because it takes longer than everything else here.
pub(crate) fn balances_after(
    overlay: &Overlay<'_>,
    postings: &[Posting],
    is_known: bool,
) -> Result<SmallVec<[Moved; 2]>, Reject> {
    let mut touched = SmallVec::new();
    for posting in postings {
        if let Book::Account(key) = posting.debit {
            let balance = entry_of(overlay, &mut touched, key);
            *balance = balance.checked_sub(posting.amount).ok_or(Reject::InsufficientBalance)?;
        }
        if let Book::Account(key) = posting.credit {
            let balance = entry_of(overlay, &mut touched, key);
            ensure(*balance != Credits::ZERO || is_known || key.is_usable(), Reject::WeakKey)?;
            *balance = balance.checked_add(posting.amount).ok_or(Reject::SupplyOverflow)?;
        }
    }
    Ok(touched)
}

fn entry_of<'t>(
    overlay: &Overlay<'_>,
    touched: &'t mut SmallVec<[Moved; 2]>,
    account: PublicKey,
) -> &'t mut Credits {
    let at = touched.iter().position(|moved| moved.account == account).unwrap_or_else(|| {
        let before = overlay.balance(&account);
        touched.push(Moved { account, before, after: before });
        touched.len() - 1
    });
    &mut touched[at].after
}

/// What is issued after the postings.
pub(crate) fn issued_after(issued: Credits, postings: &[Posting]) -> Result<Credits, Reject> {
    postings.iter().try_fold(issued, |issued, posting| match (posting.debit, posting.credit) {
        (Book::Issuance, _) => issued.checked_add(posting.amount).ok_or(Reject::SupplyOverflow),
        // Nobody has more than was issued.
        (_, Book::Issuance) => issued.checked_sub(posting.amount).ok_or(Reject::InsufficientBalance),
        _ => Ok(issued),
    })
}
