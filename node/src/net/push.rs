//! A list of adverts in one message: each as `u32` LE length and bytes. What it holds is judged one by one.

use gridhour_protocol::limits::GOSSIP_BYTES_MAX;

use crate::net::limits::{PUSH_ADVERTS_MAX, PUSH_BYTES_MAX};

/// A push is not a list of messages within its bounds. The sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a list of adverts")]
pub struct BadPush;

/// Packs as many of the messages as fit, in order.
pub(crate) fn pack(messages: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut packed = Vec::new();
    for message in messages.into_iter().take(PUSH_ADVERTS_MAX) {
        let Ok(len) = u32::try_from(message.len()) else { continue };
        if packed.len() + 4 + message.len() > PUSH_BYTES_MAX {
            break;
        }
        packed.extend_from_slice(&len.to_le_bytes());
        packed.extend_from_slice(&message);
    }
    packed
}

/// The messages in a push.
///
/// # Errors
/// If lengths do not add up, a message is longer than gossip allows, or there are too many.
pub fn unpack(mut bytes: &[u8]) -> Result<Vec<&[u8]>, BadPush> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let (len, rest) = bytes.split_first_chunk::<4>().ok_or(BadPush)?;
        let len = usize::try_from(u32::from_le_bytes(*len)).map_err(|_| BadPush)?;
        if len > GOSSIP_BYTES_MAX || messages.len() == PUSH_ADVERTS_MAX {
            return Err(BadPush);
        }
        let (message, rest) = rest.split_at_checked(len).ok_or(BadPush)?;
        messages.push(message);
        bytes = rest;
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn lists_round_trip(list in vec(vec(any::<u8>(), 0..64), 0..20)) {
            let packed = pack(list.clone());
            prop_assert_eq!(unpack(&packed), Ok(list.iter().map(Vec::as_slice).collect()));
        }

        #[test]
        fn no_bytes_panic(bytes in vec(any::<u8>(), 0..512)) {
            let _ = unpack(&bytes);
        }
    }

    #[test]
    fn bounds_hold() {
        assert_eq!(
            unpack(&pack(vec![Vec::new(); PUSH_ADVERTS_MAX + 1])).map(|list| list.len()),
            Ok(PUSH_ADVERTS_MAX)
        );
        assert_eq!(unpack(&vec![0; 4 * (PUSH_ADVERTS_MAX + 1)]), Err(BadPush));
        assert_eq!(unpack(&u32::MAX.to_le_bytes()), Err(BadPush));
        assert!(pack(vec![vec![0; GOSSIP_BYTES_MAX]; 100]).len() <= PUSH_BYTES_MAX);
    }
}
