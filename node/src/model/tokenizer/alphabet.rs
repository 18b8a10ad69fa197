//! The alphabet of byte-level vocabularies: each byte is spelled as one visible character.

/// Bytes that spell themselves: the visible characters of Latin-1.
fn spells_itself(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
}

/// The byte that `letter` spells; the other bytes are spelled by the code points from U+0100, in their order.
pub(super) fn byte_of(letter: char) -> Option<u8> {
    if let Ok(byte) = u8::try_from(letter) {
        return spells_itself(byte).then_some(byte);
    }
    let place = u32::from(letter) - 0x100;
    (0..=u8::MAX).filter(|byte| !spells_itself(*byte)).nth(place as usize)
}

#[cfg(test)]
mod tests {
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    use super::*;

    #[test]
    fn letters_and_bytes_are_one_to_one() {
        let mut bytes: Vec<u8> =
            ByteLevel::alphabet().iter().map(|letter| byte_of(*letter).expect("a letter")).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=u8::MAX).collect::<Vec<_>>());
        assert_eq!(byte_of('\u{120}'), Some(b' '));
        assert_eq!(byte_of('\u{10a}'), Some(b'\n'));
        assert_eq!(byte_of(' '), None);
        assert_eq!(byte_of('\u{144}'), None);
    }
}
