//! What is wrong with a block or an exported ledger: the height, the rule, what it asks for and what was found.

use core::fmt;

use gridhour_protocol::units::Height;

macro_rules! rules {
    ($($(#[$doc:meta])* $variant:ident $name:literal;)+) => {
        /// A rule that a ledger can break. Names never change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $($(#[$doc])* $variant,)+
        }

        impl Rule {
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

rules! {
    /// The file is not an exported ledger of a known version.
    Format "format";
    /// A frame is not as long as it says, or not the one that belongs there.
    Frame "frame";
    /// A frame's bytes do not have the hash that follows them.
    FrameHash "frame-hash";
    /// A frame's bytes are not what they should encode.
    Encoding "encoding";
    /// The genesis is unusable, or not the one that was pinned.
    Genesis "genesis";
    /// A block is for another network.
    Network "network";
    /// A header names someone else as operator.
    Operator "operator";
    /// The operator's signature does not verify.
    Signature "signature";
    /// Heights do not follow each other.
    Height "height";
    /// A header does not name the hash of the one before.
    Previous "previous";
    /// Time runs backwards, or ahead of the clock.
    Time "time";
    /// The transactions are not those of the header.
    TxRoot "tx-root";
    /// A transaction breaks a rule of the ledger.
    Transaction "transaction";
    /// The log is not the one that follows from the transactions.
    LogRoot "log-root";
    /// The state is not the one that follows from the transactions.
    StateRoot "state-root";
    /// The sums are not those that follow from the transactions.
    Totals "totals";
    /// Balances and holds are not what was issued.
    Conservation "conservation";
    /// The ledger is not the one that a pinned checkpoint names.
    Checkpoint "checkpoint";
    /// Fewer witnesses have cosigned a pinned checkpoint than the network requires.
    Witnesses "witnesses";
    /// Two blocks of one height are signed.
    Fork "fork";
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("height {}: rule {rule}: expected {expected}, found {found}", height.0)]
pub struct Finding {
    /// The block; 0 for the genesis and what stands before the first block.
    pub height: Height,
    /// The rule that it breaks.
    pub rule: Rule,
    /// What the rule asks for.
    pub expected: String,
    /// What was found.
    pub found: String,
}

impl Finding {
    /// A finding at `height`.
    pub fn new(height: Height, rule: Rule, expected: impl fmt::Display, found: impl fmt::Display) -> Self {
        Self { height, rule, expected: expected.to_string(), found: found.to_string() }
    }

    /// Nothing if `found` is what the rule asks for, and the finding otherwise.
    ///
    /// # Errors
    /// If the two differ.
    pub fn unless_equal<T: PartialEq + fmt::Display>(
        height: Height,
        rule: Rule,
        expected: T,
        found: T,
    ) -> Result<(), Self> {
        if expected == found { Ok(()) } else { Err(Self::new(height, rule, expected, found)) }
    }
}
