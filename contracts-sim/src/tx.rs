//! Transactions: everything that anyone can ask of the ledger.

use gridhour_protocol::{
    calibration::receipt::Calibration,
    id::{BudgetId, DeviceId, NetworkId, ReservationId, SessionId, TxId},
    layout::Layout,
    limits::{LANES_MAX, TX_BYTES_MAX},
    market::{advert::Advert, order::Order, reservation::ReservationOffer},
    session::{terms::Terms, voucher::Voucher},
    signed::{PublicKey, Signable, Signed},
    units::{Credits, Height, Timestamp},
    wire::{Wire, at_most},
};
use serde::{Deserialize, Serialize};

pub use self::{
    budget::{CapPlan, Plan},
    device::Registration,
    stake::Accusation,
};

mod budget;
mod device;
mod stake;

/// A request to the ledger. Sender and nonce identify it until `valid_until`, so sending it twice is harmless.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tx {
    /// The network it is for.
    pub network: NetworkId,
    /// Who asks, and signs.
    pub sender: PublicKey,
    /// Chosen by the sender: two transactions of one sender that live at the same time have different ones.
    pub nonce: u64,
    /// The last block that may hold it; at most [`crate::limits::VALID_BLOCKS_MAX`] ahead.
    pub valid_until: Height,
    /// What is asked.
    pub call: Call,
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// Issuer: brings new credits into an account.
    Mint {
        /// Who receives them.
        to: PublicKey,
        /// How much.
        amount: Credits,
    },
    /// Issuer: takes credits of its own account out of existence.
    Burn {
        /// How much.
        amount: Credits,
    },
    /// Moves credits of the sender.
    Transfer {
        /// Who receives them.
        to: PublicKey,
        /// How much.
        amount: Credits,
    },
    /// Client: opens a session and holds credits for it.
    Open(Box<Open>),
    /// Client: adds to a session's hold, up to its order's limit.
    TopUp {
        /// The session.
        session: SessionId,
        /// How much more to hold.
        amount: Credits,
    },
    /// Provider: takes what the client's newest vouchers grant.
    Collect {
        /// The session.
        session: SessionId,
        /// At most one a lane, lanes rising.
        vouchers: Vec<Signed<Voucher>>,
    },
    /// Ends a session. The provider, or the client with the provider's release: pays the vouchers and refunds the rest
    /// at once. The client alone: starts the time in which the provider may still collect.
    Close {
        /// The session.
        session: SessionId,
        /// At most one a lane, lanes rising. None when the client closes alone.
        vouchers: Vec<Signed<Voucher>>,
        /// The provider's agreement, when the client closes at once.
        release: Option<Box<Signed<Release>>>,
    },
    /// Anyone, after the session's deadline: refunds what is still held.
    Expire {
        /// The session.
        session: SessionId,
    },
    /// Provider: enters a device, or replaces its entry by a newer one.
    Register(Box<Registration>),
    /// Provider: enters what a challenger measured about one of its devices.
    Calibrate(Box<Signed<Calibration>>),
    /// Provider: removes the entry of one of its devices.
    Deregister {
        /// The device.
        device: DeviceId,
    },
    /// Provider: puts credits at stake for one of its devices.
    Bond {
        /// The device; it is registered.
        device: DeviceId,
        /// How much more to put at stake; nothing, to move the end alone.
        amount: Credits,
        /// After this anyone may unbond all of it; never earlier than before.
        until: Timestamp,
    },
    /// Provider, or anyone once the bond's time is over: begins to give back what is at stake. It stays at stake until
    /// it is withdrawn.
    Unbond {
        /// The device.
        device: DeviceId,
        /// How much; by anyone but the provider, all that is bonded.
        amount: Credits,
    },
    /// Anyone, after the deadline of an unbonding: pays it to the provider.
    Withdraw {
        /// The device.
        device: DeviceId,
    },
    /// Anyone but the provider itself: takes what is at stake for a device, by two receipts that contradict each other.
    Slash(Box<Accusation>),
    /// Organisation: makes a budget, or changes its caps, and pays into its pot.
    Plan {
        /// The tree of caps.
        plan: Box<Plan>,
        /// How much to pay in.
        amount: Credits,
    },
    /// Client: opens a session that a budget pays for.
    Draw {
        /// The budget.
        budget: BudgetId,
        /// The place of the cap that names the sender as its spender.
        cap: u16,
        /// The session.
        open: Box<Open>,
    },
    /// Organisation, or anyone once the budget's time is over: pays the pot to the organisation, and whatever its
    /// sessions give back as they end.
    CloseBudget {
        /// The budget.
        budget: BudgetId,
    },
    /// Client: accepts a provider's offer of reserved capacity, pays for all slots, and has the provider's bond set
    /// aside.
    Book(Box<Signed<ReservationOffer>>),
    /// Client: calls for the slot that runs. If the provider does not answer in time, the slot is missed.
    Demand {
        /// The reservation.
        reservation: ReservationId,
    },
    /// Provider: answers that the slot can be used, with an advert under which a session can open.
    Answer {
        /// The reservation.
        reservation: ReservationId,
        /// An advert of what is reserved.
        advert: Box<Signed<Advert>>,
    },
    /// Client: opens a session that the slot which runs pays for.
    DrawSlot {
        /// The reservation.
        reservation: ReservationId,
        /// The session.
        open: Box<Open>,
    },
    /// Client: gives up every slot that begins later than the agreed notice from now.
    GiveUp {
        /// The reservation.
        reservation: ReservationId,
    },
    /// Anyone: settles every slot that has ended or was missed.
    Settle {
        /// The reservation.
        reservation: ReservationId,
    },
}

/// What opens a session. Order and advert carry the signatures of both sides; the terms bind them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// What the client insists on.
    pub order: Signed<Order>,
    /// What the provider offers.
    pub advert: Signed<Advert>,
    /// What both agree on.
    pub terms: Terms,
    /// What is held at first.
    pub hold: Credits,
}

/// A provider's agreement that a session ends at once, for no more than `collected` in all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The session.
    pub session: SessionId,
    /// Who agrees: the session's provider.
    pub provider: PublicKey,
    /// What it will have been paid over the whole session.
    pub collected: Credits,
}

impl Open {
    fn lay_out(&self, out: &mut Layout) {
        lay_out_signed(out, &self.order);
        lay_out_signed(out, &self.advert);
        // The id is the hash of all terms, so it stands for them.
        out.fixed(&self.terms.id().0).u64(self.hold.0);
    }

    fn check_bounds(&self) -> Result<(), String> {
        self.order.check_bounds()?;
        self.advert.check_bounds()?;
        self.terms.check_bounds()
    }
}

impl Tx {
    /// The transaction's id: BLAKE3 of what was signed. A second signature of the same body changes nothing.
    #[must_use]
    pub fn id(&self) -> TxId {
        TxId(self.layout().hash())
    }
}

impl Call {
    /// Its stable name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Mint { .. } => "mint",
            Self::Burn { .. } => "burn",
            Self::Transfer { .. } => "transfer",
            Self::Open(_) => "open",
            Self::TopUp { .. } => "top-up",
            Self::Collect { .. } => "collect",
            Self::Close { .. } => "close",
            Self::Expire { .. } => "expire",
            Self::Register(_) => "register",
            Self::Calibrate(_) => "calibrate",
            Self::Deregister { .. } => "deregister",
            Self::Bond { .. } => "bond",
            Self::Unbond { .. } => "unbond",
            Self::Withdraw { .. } => "withdraw",
            Self::Slash(_) => "slash",
            Self::Plan { .. } => "plan",
            Self::Draw { .. } => "draw",
            Self::CloseBudget { .. } => "close-budget",
            Self::Book(_) => "book",
            Self::Demand { .. } => "demand",
            Self::Answer { .. } => "answer",
            Self::DrawSlot { .. } => "draw-slot",
            Self::GiveUp { .. } => "give-up",
            Self::Settle { .. } => "settle",
        }
    }

    fn lay_out(&self, out: &mut Layout) {
        match self {
            Self::Mint { to, amount } => out.u8(0).fixed(&to.0).u64(amount.0),
            Self::Burn { amount } => out.u8(1).u64(amount.0),
            Self::Transfer { to, amount } => out.u8(2).fixed(&to.0).u64(amount.0),
            Self::Open(open) => {
                open.lay_out(out.u8(3));
                out
            }
            Self::TopUp { session, amount } => out.u8(4).fixed(&session.0).u64(amount.0),
            Self::Collect { session, vouchers } => {
                lay_out_vouchers(out.u8(5).fixed(&session.0), vouchers);
                out
            }
            Self::Close { session, vouchers, release } => {
                lay_out_vouchers(out.u8(6).fixed(&session.0), vouchers);
                match release {
                    None => out.u8(0),
                    Some(release) => lay_out_signed(out.u8(1), release),
                }
            }
            Self::Expire { session } => out.u8(7).fixed(&session.0),
            Self::Register(registration) => {
                registration.lay_out(out.u8(8));
                out
            }
            Self::Calibrate(calibration) => lay_out_signed(out.u8(9), calibration),
            Self::Deregister { device } => out.u8(10).fixed(&device.0),
            Self::Bond { device, amount, until } => out.u8(11).fixed(&device.0).u64(amount.0).u64(until.0),
            Self::Unbond { device, amount } => out.u8(12).fixed(&device.0).u64(amount.0),
            Self::Withdraw { device } => out.u8(13).fixed(&device.0),
            Self::Slash(accusation) => {
                accusation.lay_out(out.u8(14));
                out
            }
            Self::Plan { plan, amount } => {
                plan.lay_out(out.u8(15));
                out.u64(amount.0)
            }
            Self::Draw { budget, cap, open } => {
                open.lay_out(out.u8(16).fixed(&budget.0).u16(*cap));
                out
            }
            Self::CloseBudget { budget } => out.u8(17).fixed(&budget.0),
            Self::Book(offer) => lay_out_signed(out.u8(18), offer),
            Self::Demand { reservation } => out.u8(19).fixed(&reservation.0),
            Self::Answer { reservation, advert } => lay_out_signed(out.u8(20).fixed(&reservation.0), advert),
            Self::DrawSlot { reservation, open } => {
                open.lay_out(out.u8(21).fixed(&reservation.0));
                out
            }
            Self::GiveUp { reservation } => out.u8(22).fixed(&reservation.0),
            Self::Settle { reservation } => out.u8(23).fixed(&reservation.0),
        };
    }

    fn vouchers(&self) -> &[Signed<Voucher>] {
        match self {
            Self::Collect { vouchers, .. } | Self::Close { vouchers, .. } => vouchers,
            _ => &[],
        }
    }
}

/// Appends a signed object inside another: its signed bytes behind their length, then the signature.
pub(crate) fn lay_out_signed<'a, T: Signable>(out: &'a mut Layout, signed: &Signed<T>) -> &'a mut Layout {
    out.bytes(signed.body.layout().as_bytes()).fixed(&signed.signature.to_bytes())
}

fn lay_out_vouchers(out: &mut Layout, vouchers: &[Signed<Voucher>]) {
    out.count(vouchers.len());
    for voucher in vouchers {
        lay_out_signed(out, voucher);
    }
}

impl Signable for Tx {
    fn layout(&self) -> Layout {
        let mut out = Layout::new("gridhour/tx/v1");
        out.fixed(&self.network.0).fixed(&self.sender.0).u64(self.nonce).u64(self.valid_until.0);
        self.call.lay_out(&mut out);
        out
    }

    fn signer(&self) -> PublicKey {
        self.sender
    }
}

impl Wire for Tx {
    const BYTES_MAX: usize = TX_BYTES_MAX - 64;

    fn check_bounds(&self) -> Result<(), String> {
        let vouchers = self.call.vouchers();
        at_most("vouchers", vouchers.len(), LANES_MAX)?;
        vouchers.iter().try_for_each(Wire::check_bounds)?;
        match &self.call {
            Call::Open(open) | Call::Draw { open, .. } | Call::DrawSlot { open, .. } => open.check_bounds(),
            Call::Book(offer) => offer.check_bounds(),
            Call::Answer { advert, .. } => advert.check_bounds(),
            Call::Plan { plan, .. } => plan.check_bounds(),
            Call::Register(registration) => registration.check_bounds(),
            Call::Calibrate(calibration) => calibration.check_bounds(),
            Call::Slash(accusation) => accusation.check_bounds(),
            _ => Ok(()),
        }
    }
}

impl Signable for Release {
    fn layout(&self) -> Layout {
        let mut out = Layout::new("gridhour/release/v1");
        out.fixed(&self.session.0).fixed(&self.provider.0).u64(self.collected.0);
        out
    }

    fn signer(&self) -> PublicKey {
        self.provider
    }
}

impl Wire for Release {
    const BYTES_MAX: usize = 128;
}
