//! Bytes on the wire: the only caller of bincode, and the only door for bytes from outside.
//!
//! bincode's own defaults accept several encodings of one value, trailing bytes, and lengths that abort the process.
//! [`decode`] accepts exactly one encoding: fixed-width little-endian integers, a limit on what is allocated, the whole
//! input used, and the value encodes back to the same bytes. Signatures and hashes never cover these bytes; they cover
//! those that [`crate::layout`] lays out by hand.

use bincode::{
    config::{self, Configuration, Fixint, Limit, LittleEndian},
    enc::write::Writer,
    error::EncodeError,
};
use serde::{Serialize, de::DeserializeOwned};

pub(crate) mod words;

/// Why bytes were refused. Always the sender's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// More bytes than this kind of message may have.
    #[error("message of {len} bytes is over the limit of {max}")]
    TooLong {
        /// Bytes received.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Not the encoding of a value of this type.
    #[error("malformed message: {0}")]
    Malformed(String),
    /// Bytes after the value, or an encoding that is not the canonical one.
    #[error("message is not in canonical form")]
    NotCanonical,
}

/// A value with one encoding and a largest size.
///
/// Wire types hold no floats, maps, `usize` or zero-size elements, and bound every list they hold in
/// [`Wire::check_bounds`].
pub trait Wire: Serialize + DeserializeOwned {
    /// Bytes of the longest encoding accepted.
    const BYTES_MAX: usize;

    /// Checks the limits that the encoding alone does not.
    ///
    /// # Errors
    /// With a sentence that names the field.
    fn check_bounds(&self) -> Result<(), String> {
        Ok(())
    }
}

// The limit counts bytes claimed while decoding, so that a length field cannot make us allocate more. The length check
// below is the exact one.
const CLAIM_MAX: usize = 4 * 1024 * 1024;
/// Bytes of the longest message of any kind.
pub const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;

fn small_config() -> Configuration<LittleEndian, Fixint, Limit<CLAIM_MAX>> {
    config::standard().with_fixed_int_encoding().with_limit::<CLAIM_MAX>()
}

fn large_config() -> Configuration<LittleEndian, Fixint, Limit<MESSAGE_BYTES_MAX>> {
    config::standard().with_fixed_int_encoding().with_limit::<MESSAGE_BYTES_MAX>()
}

/// The one encoding of `value`.
///
/// # Panics
/// If the value cannot be encoded at all, which no wire type allows.
#[must_use]
pub fn encode<T: Wire>(value: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, large_config())
        .expect("wire types hold only what bincode can encode")
}

/// The value that `bytes` encode.
///
/// # Errors
/// If the bytes are too long, malformed, not canonical, or over a bound of the type.
pub fn decode<T: Wire>(bytes: &[u8]) -> Result<T, WireError> {
    if bytes.len() > T::BYTES_MAX {
        return Err(WireError::TooLong { len: bytes.len(), max: T::BYTES_MAX });
    }
    let decoded = if T::BYTES_MAX < CLAIM_MAX {
        bincode::serde::decode_from_slice(bytes, small_config())
    } else {
        bincode::serde::decode_from_slice(bytes, large_config())
    };
    let (value, used): (T, usize) = decoded.map_err(|error| WireError::Malformed(error.to_string()))?;
    if used != bytes.len() || !encodes_to(&value, bytes) {
        return Err(WireError::NotCanonical);
    }
    value.check_bounds().map_err(WireError::Malformed)?;
    Ok(value)
}

/// Whether `bytes` are the one encoding of `value`: compared as they are made, so that nothing is kept.
fn encodes_to<T: Wire>(value: &T, bytes: &[u8]) -> bool {
    let mut rest = Expected(bytes);
    let all_as_expected = bincode::serde::encode_into_writer(value, &mut rest, large_config()).is_ok();
    all_as_expected && rest.0.is_empty()
}

/// Takes the bytes that it expects and no others.
struct Expected<'b>(&'b [u8]);

impl Writer for Expected<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        let differs = || EncodeError::Other("not the bytes that were decoded");
        self.0 = self.0.strip_prefix(bytes).ok_or_else(differs)?;
        Ok(())
    }
}

/// Refuses a list or text that is longer than `max`; for [`Wire::check_bounds`].
///
/// # Errors
/// With a sentence that names `field`.
pub fn at_most(field: &str, len: usize, max: usize) -> Result<(), String> {
    if len <= max { Ok(()) } else { Err(format!("{field}: {len} is over the limit of {max}")) }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        number: u64,
        flag: bool,
        list: Vec<u64>,
        word: Option<String>,
    }

    impl Wire for Sample {
        const BYTES_MAX: usize = 1024;
        fn check_bounds(&self) -> Result<(), String> {
            at_most("list", self.list.len(), 4)
        }
    }

    fn sample() -> Sample {
        Sample { number: 5, flag: true, list: vec![1, 2], word: Some("a".into()) }
    }

    #[test]
    fn one_value_has_one_encoding() {
        let bytes = encode(&sample());
        assert_eq!(decode::<Sample>(&bytes), Ok(sample()));
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(decode::<Sample>(&longer), Err(WireError::NotCanonical));
        for cut in 0..bytes.len() {
            assert!(decode::<Sample>(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn a_bool_of_two_and_a_length_without_bytes_are_refused() {
        let mut bytes = encode(&sample());
        bytes[8] = 2;
        assert!(decode::<Sample>(&bytes).is_err());
        let mut bytes = encode(&sample());
        bytes[9..17].copy_from_slice(&(1u64 << 40).to_le_bytes());
        assert!(decode::<Sample>(&bytes).is_err());
    }

    #[test]
    fn bounds_of_the_type_hold() {
        let long = Sample { list: vec![0; 5], ..sample() };
        assert_eq!(
            decode::<Sample>(&encode(&long)),
            Err(WireError::Malformed("list: 5 is over the limit of 4".into()))
        );
        assert!(matches!(decode::<Sample>(&[0; 1025]), Err(WireError::TooLong { len: 1025, max: 1024 })));
    }
}
