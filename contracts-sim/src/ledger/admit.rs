//! The part of the rules that needs no state: limits and signatures. Many transactions pass it at once, on all cores.

use gridhour_protocol::{
    id::TxId,
    layout::Layout,
    merkle::{self, Hash},
    session::voucher::Voucher,
    signed::{Signable, Signature, Signed},
    wire::Wire,
};

use crate::{
    ledger::reject::Reject,
    tx::{Call, Open, Tx},
};

/// A transaction within its limits, with every signature in it checked: its own, and those of the order, advert,
/// vouchers, release, receipts and calibration that it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    signed: Signed<Tx>,
    id: TxId,
    /// None of a transaction that was checked before: who has its block has the root over all its transactions too.
    leaf: Option<Hash>,
}

impl Admitted {
    /// Checks limits and signatures.
    ///
    /// # Errors
    /// With the first rule that is broken.
    pub fn check(signed: Signed<Tx>) -> Result<Self, Reject> {
        signed.body.check_bounds().map_err(|_| Reject::Malformed)?;
        let layout = signed.body.layout();
        if !signed.body.sender.verifies(layout.as_bytes(), &signed.signature) {
            return Err(Reject::BadSignature);
        }
        check_enclosed(&signed.body.call)?;
        let id = TxId(layout.hash());
        Ok(Self { id, leaf: Some(tx_leaf(layout, &signed.signature)), signed })
    }

    /// Takes a transaction that this node has applied before, such as one from its own journal: neither its signatures nor
    /// the keys that it pays are looked at again.
    #[must_use]
    pub fn checked_before(signed: Signed<Tx>) -> Self {
        Self { id: TxId(signed.body.layout().hash()), leaf: None, signed }
    }

    /// The transaction.
    #[must_use]
    pub fn tx(&self) -> &Tx {
        &self.signed.body
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> TxId {
        self.id
    }

    /// Its leaf under the root of its block's transactions.
    #[must_use]
    pub fn leaf(&self) -> Hash {
        let Signed { body, signature } = &self.signed;
        self.leaf.unwrap_or_else(|| tx_leaf(body.layout(), signature))
    }

    /// Whether this node applied it before: [`Admitted::checked_before`].
    pub(crate) fn is_known(&self) -> bool {
        self.leaf.is_none()
    }

    /// The transaction with its signature.
    #[must_use]
    pub fn signed(&self) -> &Signed<Tx> {
        &self.signed
    }

    /// The transaction with its signature.
    #[must_use]
    pub fn into_signed(self) -> Signed<Tx> {
        self.signed
    }
}

/// The leaf of a transaction under the root of its block's: of what was signed, and the signature.
pub(crate) fn tx_leaf(mut layout: Layout, signature: &Signature) -> Hash {
    merkle::leaf_hash(layout.fixed(&signature.to_bytes()).as_bytes())
}

fn check_enclosed(call: &Call) -> Result<(), Reject> {
    match call {
        Call::Mint { .. } | Call::Burn { .. } | Call::Transfer { .. } => Ok(()),
        Call::TopUp { .. } | Call::Expire { .. } => Ok(()),
        Call::Register(_) | Call::Deregister { .. } => Ok(()),
        Call::Bond { .. } | Call::Unbond { .. } | Call::Withdraw { .. } => Ok(()),
        Call::Plan { .. } | Call::CloseBudget { .. } => Ok(()),
        Call::Demand { .. } | Call::GiveUp { .. } | Call::Settle { .. } => Ok(()),
        Call::Book(offer) => ensure(is_valid(offer), Reject::BadOfferSignature),
        Call::Answer { advert, .. } => ensure(is_valid(advert), Reject::BadAdvertSignature),
        Call::Open(open) | Call::Draw { open, .. } | Call::DrawSlot { open, .. } => {
            let Open { order, advert, .. } = open.as_ref();
            ensure(is_valid(order), Reject::BadOrderSignature)?;
            ensure(is_valid(advert), Reject::BadAdvertSignature)
        }
        Call::Collect { vouchers, .. } => check_vouchers(vouchers),
        Call::Close { vouchers, release, .. } => {
            check_vouchers(vouchers)?;
            ensure(release.as_deref().is_none_or(is_valid), Reject::BadReleaseSignature)
        }
        Call::Slash(accusation) => {
            ensure(is_valid(&accusation.advert), Reject::BadAdvertSignature)?;
            let receipts = is_valid(&accusation.one) && is_valid(&accusation.other);
            ensure(receipts, Reject::BadReceiptSignature)
        }
        Call::Calibrate(calibration) => ensure(is_valid(calibration), Reject::BadCalibrationSignature),
    }
}

fn check_vouchers(vouchers: &[Signed<Voucher>]) -> Result<(), Reject> {
    ensure(vouchers.iter().all(is_valid), Reject::BadVoucherSignature)
}

fn is_valid<T: Signable>(signed: &Signed<T>) -> bool {
    signed.body.signer().verifies(signed.body.layout().as_bytes(), &signed.signature)
}

/// `Ok` if the rule holds, and its refusal otherwise.
pub(crate) fn ensure(holds: bool, otherwise: Reject) -> Result<(), Reject> {
    if holds { Ok(()) } else { Err(otherwise) }
}
