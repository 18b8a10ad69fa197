//! Who signs notes: a name, a kind of signature and a key, and the text that people hand on.

use core::{fmt, str::FromStr};

use sha2::{Digest, Sha256};

use super::{KEY_NAME_BYTES_MAX, NoteError, from_base64, to_base64};
use crate::signed::PublicKey;

/// What a signature says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// 0x01: the signer wrote the text (Ed25519 over the text).
    Log,
    /// 0x04: the signer saw that the log it describes only grew (Ed25519 over time and text).
    Witness,
}

impl KeyKind {
    const fn tag(self) -> u8 {
        match self {
            Self::Log => 0x01,
            Self::Witness => 0x04,
        }
    }

    const fn of_tag(tag: u8) -> Option<Self> {
        match tag {
            0x01 => Some(Self::Log),
            0x04 => Some(Self::Witness),
            _ => None,
        }
    }
}

/// A key that is known, under the name that signature lines give it. Its text is a *vkey*:
/// `name+key id in hexadecimal+base64(kind | key)`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerifierKey {
    name: String,
    kind: KeyKind,
    key: PublicKey,
}

impl VerifierKey {
    /// The key under this name.
    ///
    /// # Errors
    /// If no key may have this name, or the key is a weak one.
    pub fn new(name: &str, kind: KeyKind, key: PublicKey) -> Result<Self, NoteError> {
        check_name(name)?;
        if !key.is_usable() {
            return Err(NoteError::Malformed("not a usable ed25519 key"));
        }
        Ok(Self { name: name.to_owned(), kind, key })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its signatures say.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> PublicKey {
        self.key
    }

    /// The first four bytes of SHA-256 over name, newline, kind and key.
    #[must_use]
    pub fn id(&self) -> u32 {
        let hash = Sha256::new().chain_update(&self.name).chain_update([b'\n', self.kind.tag()]);
        let hash: [u8; 32] = hash.chain_update(self.key.0).finalize().into();
        u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let coded = to_base64(&[&[self.kind.tag()], self.key.0.as_slice()].concat());
        write!(f, "{}+{:08x}+{coded}", self.name, self.id())
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let malformed = NoteError::Malformed("a vkey is name+id+base64 of kind and key");
        // Base64 may hold a plus, a name may not.
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(_), Some(coded)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(malformed);
        };
        let bytes = from_base64(coded).ok_or(malformed.clone())?;
        let (tag, key) = bytes.split_first().ok_or(malformed.clone())?;
        let kind = KeyKind::of_tag(*tag).ok_or(NoteError::Malformed("a vkey of an unknown kind"))?;
        let key = key.try_into().map_err(|_| malformed)?;
        let vkey = Self::new(name, kind, PublicKey(key))?;
        if vkey.to_string() == text {
            return Ok(vkey);
        }
        Err(NoteError::Malformed("the vkey's id is not that of its name and key"))
    }
}

/// Names are one word without a plus, so that they stand apart in signature lines and in vkeys.
pub(super) fn check_name(name: &str) -> Result<(), NoteError> {
    let bad = |c: char| c.is_whitespace() || c == '+' || c < ' ';
    if name.is_empty() || name.len() > KEY_NAME_BYTES_MAX || name.contains(bad) {
        return Err(NoteError::Malformed("a key's name is a word without spaces and plus signs"));
    }
    Ok(())
}
