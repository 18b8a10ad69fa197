//! The bytes of changes in the log.
//!
//! ```text
//! 0 put, 1 delete | kind | key length u16 | value length u32 | key | value
//! ```

use super::{COMMIT_BYTES_MAX, LogError, RECORD_KEY_BYTES_MAX};

/// Bytes before the key.
pub(super) const CHANGE_HEAD_BYTES: usize = 8;

/// A table of records. Drivers give their kinds names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind(pub u8);

/// One change to the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// Stores a value, replacing the one before.
    Put {
        /// In which table.
        kind: Kind,
        /// Under which key; at most [`RECORD_KEY_BYTES_MAX`] bytes.
        key: &'a [u8],
        /// What.
        value: &'a [u8],
    },
    /// Forgets a value.
    Delete {
        /// In which table.
        kind: Kind,
        /// Under which key.
        key: &'a [u8],
    },
}

impl<'a> Change<'a> {
    /// Whether it may need room.
    pub(super) fn grows(&self) -> bool {
        matches!(self, Self::Put { .. })
    }

    fn parts(&self) -> (u8, Kind, &'a [u8], &'a [u8]) {
        match *self {
            Self::Put { kind, key, value } => (0, kind, key, value),
            Self::Delete { kind, key } => (1, kind, key, &[]),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), LogError> {
        let (tag, kind, key, value) = self.parts();
        let (Ok(key_len), true) = (u16::try_from(key.len()), key.len() <= RECORD_KEY_BYTES_MAX) else {
            return Err(LogError::TooLong { len: key.len(), max: RECORD_KEY_BYTES_MAX });
        };
        let value_len = match u32::try_from(value.len()) {
            Ok(len) if value.len() <= COMMIT_BYTES_MAX => len,
            _ => return Err(LogError::TooLong { len: value.len(), max: COMMIT_BYTES_MAX }),
        };
        out.extend([tag, kind.0]);
        out.extend(key_len.to_le_bytes());
        out.extend(value_len.to_le_bytes());
        out.extend(key);
        out.extend(value);
        Ok(())
    }
}

/// The body of a commit.
pub(super) fn encode(changes: &[Change<'_>]) -> Result<Vec<u8>, LogError> {
    let mut body = Vec::new();
    changes.iter().try_for_each(|change| change.encode(&mut body))?;
    if body.len() > COMMIT_BYTES_MAX {
        return Err(LogError::TooLong { len: body.len(), max: COMMIT_BYTES_MAX });
    }
    Ok(body)
}

/// The changes of a commit, `None` if these are not the bytes of one.
pub(super) fn decode(mut body: &[u8]) -> Option<Vec<Change<'_>>> {
    let mut changes = Vec::new();
    while !body.is_empty() {
        let (head, rest) = body.split_first_chunk::<CHANGE_HEAD_BYTES>()?;
        let key_len = u16::from_le_bytes([head[2], head[3]]);
        let value_len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        let (key, rest) = rest.split_at_checked(usize::from(key_len))?;
        let (value, rest) = rest.split_at_checked(usize::try_from(value_len).ok()?)?;
        let kind = Kind(head[1]);
        changes.push(match head[0] {
            0 => Change::Put { kind, key, value },
            1 if value.is_empty() => Change::Delete { kind, key },
            _ => return None,
        });
        body = rest;
    }
    Some(changes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn commits_round_trip(
            puts in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..40), any::<Option<Vec<u8>>>()), 0..8)
        ) {
            let changes: Vec<_> = puts.iter().map(|(kind, key, value)| match value {
                Some(value) => Change::Put { kind: Kind(*kind), key, value },
                None => Change::Delete { kind: Kind(*kind), key },
            }).collect();
            let body = encode(&changes).expect("small");
            prop_assert_eq!(decode(&body), Some(changes));
        }

        #[test]
        fn any_bytes_decode_to_themselves_or_to_nothing(body in prop::collection::vec(0u8..4, 0..64)) {
            if let Some(changes) = decode(&body) {
                prop_assert_eq!(encode(&changes).expect("small"), body);
            }
        }
    }

    #[test]
    fn long_keys_and_values_are_refused() {
        let long = vec![0; COMMIT_BYTES_MAX + 1];
        let kind = Kind(0);
        for change in [
            Change::Put { kind, key: &long[..RECORD_KEY_BYTES_MAX + 1], value: &[] },
            Change::Put { kind, key: &[], value: &long },
        ] {
            assert!(matches!(encode(&[change]), Err(LogError::TooLong { .. })));
        }
        let half = Change::Put { kind, key: &[], value: &long[..COMMIT_BYTES_MAX / 2] };
        assert!(matches!(encode(&[half, half]), Err(LogError::TooLong { .. })));
    }
}
