//! Identities: typed 32-byte hashes. Two kinds of id can never be mixed up.

use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 hexadecimal digits, got {0:?}")]
pub struct ParseIdError(String);

/// Lower-case hexadecimal digits of `bytes`.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('?');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The 32 bytes that 64 hexadecimal digits stand for.
///
/// # Errors
/// On any other text.
pub fn from_hex32(text: &str) -> Result<[u8; 32], ParseIdError> {
    let bytes = from_hex(text).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    bytes.ok_or_else(|| ParseIdError(text.chars().take(80).collect()))
}

/// The bytes that an even number of hexadecimal digits stand for; `None` for any other text.
#[must_use]
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(core::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(byte).collect()
}

macro_rules! hash_id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(#[serde(with = "crate::wire::words")] pub [u8; 32]);

        impl $name {
            /// The first eight hexadecimal digits, for people.
            #[must_use]
            pub fn short(&self) -> String {
                to_hex(&self.0[..4])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&to_hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                from_hex32(text).map(Self)
            }
        }
    )+};
}

hash_id! {
    /// A model: the root of its manifest.
    ModelId,
    /// A network: the hash of its genesis.
    NetworkId,
    /// A signed advert.
    AdvertId,
    /// A signed order.
    OrderId,
    /// A signed posting of an order.
    PostingId,
    /// A provider's device: its owner and its name.
    DeviceId,
    /// An organisation's budget: its owner and its number.
    BudgetId,
    /// A reservation: the hash of *all* its terms.
    ReservationId,
    /// A session: the hash of *all* its terms.
    SessionId,
    /// One job inside a session.
    JobId,
    /// A signed receipt.
    ReceiptId,
    /// A transaction of the ledger.
    TxId,
    /// A block's header.
    BlockHash,
    /// Salted prompt tokens, parameters and nonce of one request.
    RequestDigest,
    /// All output tokens of one job.
    OutputDigest,
    /// The score chain of one job (docs/NUMERICS.md, section 7).
    ScoreDigest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips() {
        let id = OrderId(core::array::from_fn(|i| i as u8 * 7));
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "0", &"g".repeat(64), &"é".repeat(32), &"0".repeat(65), &"+f".repeat(32)] {
            assert!(from_hex32(text).is_err(), "{text}");
        }
    }
}
