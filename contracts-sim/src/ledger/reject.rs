//! Why a transaction is refused: one code, the first that applies, so that every replica gives the same answer.

macro_rules! rejects {
    ($($(#[$doc:meta])* $code:literal $variant:ident $name:literal $text:literal;)+) => {
        /// A refusal. Rules are tried in the order of the codes and the first that says no gives the answer; a list of
        /// vouchers is gone through voucher by voucher. Codes and names never change their meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
        pub enum Reject {
            $(
                $(#[$doc])*
                #[error($text)]
                $variant = $code,
            )+
        }

        impl Reject {
            /// Every refusal, in the order of the rules.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The stable number.
            #[must_use]
            pub const fn code(self) -> u16 {
                match self {
                    $(Self::$variant => $code,)+
                }
            }

            /// The stable name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

rejects! {
    // What the transaction says on its own.
    /// A field is over its limit.
    1 Malformed "malformed" "a field of the transaction is over its limit: correct it and sign again";
    /// The sender's signature does not verify.
    2 BadSignature "bad-signature" "the sender's signature does not verify: sign again with the sender's key";
    /// The order's signature does not verify.
    3 BadOrderSignature "bad-order-signature" "the client's signature of the order does not verify";
    /// The advert's signature does not verify.
    4 BadAdvertSignature "bad-advert-signature" "the provider's signature of the advert does not verify";
    /// A voucher's signature does not verify.
    5 BadVoucherSignature "bad-voucher-signature" "a voucher's signature does not verify";
    /// The release's signature does not verify.
    6 BadReleaseSignature "bad-release-signature" "the provider's signature of the release does not verify";
    /// A receipt's signature does not verify.
    7 BadReceiptSignature "bad-receipt-signature" "a provider's signature of a receipt does not verify";
    /// The calibration's signature does not verify.
    8 BadCalibrationSignature "bad-calibration-signature" "the challenger's signature of the calibration does not verify";
    /// The offer's signature does not verify.
    9 BadOfferSignature "bad-offer-signature" "the provider's signature of the offer does not verify";

    // Whether it is for this ledger, now, once.
    /// It names another network.
    10 WrongNetwork "wrong-network" "the transaction is for another network";
    /// It was applied before.
    11 Duplicate "duplicate" "the transaction was applied before: nothing is left to do";
    /// Another one with its sender and nonce was applied before.
    12 NonceReused "nonce-reused" "another transaction of this sender used the nonce: choose another";
    /// Its last block has passed.
    13 ValidityOver "validity-over" "the transaction was valid for earlier blocks only: sign a new one";
    /// Its last block is too far ahead.
    14 ValidityTooLong "validity-too-long" "the transaction is valid for too long: choose a nearer last block";

    // Reservations.
    /// There is no such reservation, or it is over.
    15 UnknownReservation "unknown-reservation" "there is no such reservation, or it is over";
    /// The sender has no part in this call.
    16 NotReserver "not-reserver" "this call is not the sender's to make in this reservation";
    /// No slot can take this call now.
    17 SlotClosed "slot-closed" "no slot is open to this: none runs, too little of it is left, nothing waits for an answer, or none can be given up";
    /// The slot was called for.
    18 SlotCalled "slot-called" "the slot was called for already";
    /// The session or the advert is not of what is reserved, or an order for what is reserved opens elsewhere.
    19 NotAsReserved "not-as-reserved" "tier, provider, device, model, work formula, rates, numerics or price are not those reserved, the use outlasts the slot, or an order for what is reserved opens outside a slot";

    // Its plain arguments.
    /// It moves nothing.
    20 ZeroAmount "zero-amount" "an amount of nothing cannot be moved or held";
    /// Only the issuer mints and burns.
    21 NotIssuer "not-issuer" "only the network's issuer mints and burns";
    /// Both sides are one account.
    22 SameAccount "same-account" "both sides of this call are one account";
    /// Less is bonded, or begins a budget, than the least.
    23 TooLittle "too-little" "less than one credit is not bonded at once, and begins no budget: put in more";
    /// What begins would end at once, in the past, or too late.
    24 Lifetime "lifetime" "the end has passed or is too far ahead: choose another";

    // Budgets.
    /// There is no such budget, or no such cap in it.
    25 UnknownBudget "unknown-budget" "there is no such budget, or no such cap in it";
    /// The sender may not spend under the cap, or not close the budget yet.
    26 NotSpender "not-spender" "the cap names another spender, or the budget is another's and its time is not over";
    /// Nothing more is held under the cap.
    27 Halted "halted" "the cap, or one above it, is halted, or the budget is closed";
    /// A cap of the period does not cover it.
    28 OverCap "over-cap" "what is left of a cap in this period does not cover this";
    /// A plan moves or removes caps, or changes the period.
    29 PlanMismatch "plan-mismatch" "a plan keeps the budget's period and its caps in their places: add or change caps only";

    // Opening a session: who.
    /// The sender is not the order's client.
    30 NotTheClient "not-the-client" "only the order's client opens a session under it";
    /// Order, advert or terms name another network.
    31 TermsNetwork "terms-network" "order, advert or terms are for another network";
    /// The terms do not name the order, its client and its tier.
    32 TermsOrder "terms-order" "the terms do not name this order, its client and its tier";
    /// The terms do not name the advert and its provider, or it is a quote to another client.
    33 TermsAdvert "terms-advert" "the terms do not name this advert and its provider, or the advert is a quote to another client";
    /// Nobody whom the order trusts calibrated the provider.
    34 NotCalibrated "not-calibrated" "nobody whom the order trusts has calibrated the provider";
    // Opening a session: when.
    /// The order is expired, or from the future.
    35 OrderNotLive "order-not-live" "the order has expired or is from the future: sign a new one";
    /// The advert is expired, or from the future.
    36 AdvertNotLive "advert-not-live" "the advert has expired or is from the future: take the provider's newest";
    // Opening a session: what.
    /// The models of order, advert and terms are not one.
    37 ModelMismatch "model-mismatch" "order, advert and terms are not about one model";
    /// The work formula is not the advert's.
    38 WorkMismatch "work-mismatch" "the terms' work formula is not the one advertised";
    /// The rates are not the advert's.
    39 RatesMismatch "rates-mismatch" "the terms' rates are not the ones advertised";
    /// The arithmetic is not the advert's.
    40 NumericsMismatch "numerics-mismatch" "the terms' numerics version is not the one advertised";
    /// The price, or a spot session's notice, is not the one advertised for the tier, or the tier is not advertised.
    41 PriceNotAsk "price-not-ask" "the terms' price or notice is not the one advertised for the order's tier";
    /// The price is over the order's limit.
    42 PriceOverLimit "price-over-limit" "the terms' price is over the order's limit";
    /// The advert's region is not among the order's.
    43 RegionNotAllowed "region-not-allowed" "the order does not allow the advert's region";
    /// The advert's jurisdiction is not among the order's.
    44 JurisdictionNotAllowed "jurisdiction-not-allowed" "the order does not allow the advert's jurisdiction";
    // Opening a session: how long and how much.
    /// The end of use has passed or is too far ahead.
    45 UseWindow "use-window" "the end of use has passed or is too far ahead";
    /// The time to collect is shorter than the network allows.
    46 CollectWindow "collect-window" "the provider's time to collect is shorter than the network allows";
    /// A session with these terms was opened before.
    47 SessionExists "session-exists" "a session with these very terms was opened before: choose another nonce";
    /// The order has opened as many sessions as an order may.
    48 OrderSessionsFull "order-sessions-full" "the order has opened as many sessions as an order may: sign another";

    // Devices and what is at stake for them.
    /// The provider has no such device registered.
    49 UnknownDevice "unknown-device" "the provider has no such device registered, or its entry has expired";
    /// Nothing is at stake for the device.
    50 UnknownStake "unknown-stake" "nothing is at stake for the device";
    /// The stake is another's, and its time is not over.
    51 NotOwner "not-owner" "only the stake's owner unbonds a part, or anything before the bond's time is over";
    /// What is known is as new.
    52 NotNewer "not-newer" "what is registered is as new, or newer";
    /// The account has registered as many devices as it may.
    53 DevicesFull "devices-full" "the account has registered as many devices as it may: remove one";
    /// The calibration says nothing about the sender's device in this network.
    54 CalibrationMismatch "calibration-mismatch" "the calibration is not about the sender, this network or a time that has passed, or gives no rates";
    /// The device was slashed not long ago.
    55 DeviceBarred "device-barred" "the device was slashed: nothing can be bonded for it until that cannot be repeated";
    /// The parts of an accusation do not belong together.
    56 EvidenceMismatch "evidence-mismatch" "receipts, terms and advert are not of one session of this network";
    /// The accusation comes too late, or before such a session can be open.
    57 AccusationOver "accusation-over" "the time to accuse over this session has passed, or has not come";
    /// The receipts may both be true.
    58 NoConflict "no-conflict" "the receipts do not contradict each other";

    /// Nobody has measured that the device gives so much.
    59 OverCapacity "over-capacity" "nobody has measured that the device computes at the rates promised";
    /// Less is bonded for the advert's device than the order wants, or it ends before the session's use.
    60 StakeTooLow "stake-too-low" "less is bonded for the device than the order wants, or it ends before the session's use";

    // A session's life.
    /// There is no such session, or it ended.
    61 UnknownSession "unknown-session" "there is no such session, or it has ended";
    /// The sender has no part in this call.
    62 NotParty "not-party" "this call is not the sender's to make in this session";
    /// The deadline has passed.
    63 SessionOver "session-over" "the session's deadline has passed: all that is left is to expire it";
    /// Its use is over.
    64 UseOver "use-over" "the session's use is over: open another";
    /// The client already asked to close.
    65 SessionClosing "session-closing" "the session is already closing";
    /// A collect without a voucher.
    66 NoVouchers "no-vouchers" "there is no voucher to collect";
    /// A voucher is for another session or by another client.
    67 VoucherSession "voucher-session" "a voucher is for another session or by another client";
    /// Lanes are not rising.
    68 VoucherLanes "voucher-lanes" "vouchers must name rising lanes, one each";
    /// The lane has collected a voucher at least as new.
    69 VoucherStale "voucher-stale" "a voucher at least as new was collected on this lane";
    /// The voucher grants less than the lane has collected.
    70 VoucherLower "voucher-lower" "the voucher grants less than was collected on this lane";
    /// The voucher counts fewer receipts than the lane has.
    71 ReceiptsShrink "receipts-shrink" "the voucher counts fewer receipts than were accepted on this lane";
    /// The vouchers grant more than is held.
    72 OverHold "over-hold" "the vouchers grant more than the session holds: ask the client for a top-up";
    /// The release is missing where vouchers need it, not needed, or for something else.
    73 BadRelease "bad-release" "the provider's release is missing, not needed, or not for this outcome";
    /// The deadline has not passed.
    74 NotYetExpired "not-yet-expired" "the session's deadline has not passed";
    /// The device's time is promised already.
    75 TimeReserved "time-reserved" "the device is reserved for a part of that time, or as often as it may be";
    /// The order's limits do not cover it.
    76 OverOrder "over-order" "the order's limits do not cover this";
    /// Less is bonded than that.
    77 OverStake "over-stake" "less than that is bonded";
    /// Too many unbondings of the device wait.
    78 UnbondingsFull "unbondings-full" "as many unbondings of this device wait as may: withdraw first";
    /// No unbonding has reached its deadline, or no slot its end.
    79 NothingDue "nothing-due" "no unbonding of this device, or no slot of this reservation, has reached its end";

    // Money.
    /// More credits would exist than can be counted.
    80 SupplyOverflow "supply-overflow" "more credits would exist than can be counted";
    /// The account has less than that.
    81 InsufficientBalance "insufficient-balance" "the account has less than that: fund it first";
    /// The receiving key is weak.
    82 WeakKey "weak-key" "the receiving key is not a usable ed25519 key";

    /// What is left of the slot's price does not cover it.
    83 OverSlot "over-slot" "what is left of the slot's price does not cover this";

    // The block.
    /// The block has no room left.
    90 BlockFull "block-full" "the block has no room left: it goes into a later one";
}

impl Reject {
    /// Whether the very same transaction may be applied later, when the ledger has moved on.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(
            self,
            Self::ValidityTooLong
                | Self::UnknownReservation
                | Self::SlotClosed
                | Self::SlotCalled
                | Self::NotAsReserved
                | Self::UnknownBudget
                | Self::NotSpender
                | Self::Halted
                | Self::OverCap
                | Self::UnknownDevice
                | Self::UnknownStake
                | Self::NotOwner
                | Self::DevicesFull
                | Self::DeviceBarred
                | Self::OverCapacity
                | Self::StakeTooLow
                | Self::UnknownSession
                | Self::OverHold
                | Self::NotYetExpired
                | Self::TimeReserved
                | Self::OverOrder
                | Self::OverStake
                | Self::UnbondingsFull
                | Self::NothingDue
                | Self::SupplyOverflow
                | Self::InsufficientBalance
                | Self::OverSlot
                | Self::BlockFull
        )
    }
}
