//! The bytes that tokens stand for, by the tokenizer's description alone: what an output's text is, and so where a stop
//! string ends it.

use super::tokenizer::{TokenKind, TokenizerAsset, TokenizerFamily};

impl TokenizerAsset {
    /// Appends the bytes that `token` stands for; none for control tokens and ids outside the vocabulary.
    pub fn append_bytes(&self, token: u32, out: &mut Vec<u8>) {
        let (Some(text), Some(kind)) = (self.tokens.get(token as usize), self.kinds.get(token as usize))
        else {
            return;
        };
        match (kind, self.family) {
            (TokenKind::Control | TokenKind::Unknown | TokenKind::Unused, _) => {}
            (TokenKind::UserDefined, TokenizerFamily::ByteLevel) => out.extend_from_slice(text.as_bytes()),
            (TokenKind::Byte, _) => out.extend(hexadecimal_byte(text)),
            (TokenKind::Normal, TokenizerFamily::ByteLevel) => out.extend(text.chars().filter_map(byte_of)),
            (TokenKind::Normal | TokenKind::UserDefined, TokenizerFamily::SentencePiece) => {
                out.extend_from_slice(text.replace('\u{2581}', " ").as_bytes());
            }
        }
    }
}

/// The byte of a token spelled `<0x0A>`.
fn hexadecimal_byte(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(digits, 16).ok()
}

/// Bytes that spell themselves in byte-level vocabularies: the visible characters of Latin-1.
fn spells_itself(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
}

/// The byte that `letter` spells; the other bytes are spelled by the code points from U+0100, in their order.
fn byte_of(letter: char) -> Option<u8> {
    if let Ok(byte) = u8::try_from(letter) {
        return spells_itself(byte).then_some(byte);
    }
    let place = u32::from(letter) - 0x100;
    (0..=u8::MAX).filter(|byte| !spells_itself(*byte)).nth(place as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_spell_bytes() {
        assert_eq!(byte_of('\u{120}'), Some(b' '));
        assert_eq!(byte_of('\u{10a}'), Some(b'\n'));
        assert_eq!(byte_of('A'), Some(b'A'));
        assert_eq!(byte_of(' '), None);
        assert_eq!(byte_of('\u{144}'), None);
    }

    #[test]
    fn bytes_are_spelled_in_hexadecimal() {
        assert_eq!(hexadecimal_byte("<0x0A>"), Some(10));
        assert_eq!(hexadecimal_byte("<0x1ff>"), None);
        assert_eq!(hexadecimal_byte("0A"), None);
    }
}
