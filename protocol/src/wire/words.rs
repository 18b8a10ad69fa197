//! 32 bytes as four words, for `#[serde(with)]`: the same bytes on the wire, an eighth of the steps. serde takes an array
//! element by element, and keys, ids and signatures are most of what is read.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) fn serialize<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    let (words, _) = bytes.as_chunks::<8>();
    let word = |at: usize| u64::from_le_bytes(words[at]);
    [word(0), word(1), word(2), word(3)].serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
    let words = <[u64; 4]>::deserialize(deserializer)?;
    let mut bytes = [0; 32];
    for (into, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *into = word.to_le_bytes();
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use crate::{id::OrderId, wire::Wire, wire::decode, wire::encode};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Plain([u8; 32]);

    impl Wire for Plain {
        const BYTES_MAX: usize = 32;
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct InWords(OrderId);

    impl Wire for InWords {
        const BYTES_MAX: usize = 32;
    }

    proptest! {
        #[test]
        fn words_are_the_same_bytes(bytes: [u8; 32]) {
            prop_assert_eq!(encode(&Plain(bytes)), bytes);
            prop_assert_eq!(encode(&InWords(OrderId(bytes))), bytes);
            prop_assert_eq!(decode(&bytes), Ok(InWords(OrderId(bytes))));
        }
    }
}
