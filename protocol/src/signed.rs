//! Keys and signatures: `Signed<T>` is what arrives, `Verified<T>` is what rules accept.
//!
//! Validity is ed25519 `verify_strict` everywhere, never a batch: a batch accepts signatures that strict verification
//! rejects, depending on what else is in it. Weak keys are refused.

use core::{cmp::Ordering, fmt, ops::Deref, str::FromStr};

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::{
    id::{ParseIdError, from_hex32, to_hex},
    layout::Layout,
    wire::Wire,
};

/// An ed25519 public key: an account, and a peer of the network. Held as bytes; [`PublicKey::is_usable`] and every
/// verification check that it is a point, and not a weak one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PublicKey(#[serde(with = "crate::wire::words")] pub [u8; 32]);

impl Ord for PublicKey {
    /// By the bytes, of which the first eight almost always decide: half the time of a look into a large map.
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        let [ours, theirs] =
            [self, other].map(|key| key.0.first_chunk().map(|first| u64::from_be_bytes(*first)));
        ours.cmp(&theirs).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for PublicKey {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PublicKey {
    /// The first eight hexadecimal digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        to_hex(&self.0[..4])
    }

    /// Whether these bytes are a curve point that is not of small order.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.point().is_some()
    }

    fn point(&self) -> Option<VerifyingKey> {
        VerifyingKey::from_bytes(&self.0).ok().filter(|key| !key.is_weak())
    }

    /// Whether `signature` is this key's signature of `message`, strictly.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.to_bytes());
        self.point().is_some_and(|key| key.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.short())
    }
}

impl FromStr for PublicKey {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        from_hex32(text).map(Self)
    }
}

/// A secret key. Signing is deterministic, so it needs no randomness.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key with this seed. The caller draws the seed from a secure source.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }

    /// The seed, to be kept in a key file of mode 0600.
    #[must_use]
    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs what `body` lays out. The signer named in the body must be this key; otherwise nothing will verify.
    #[must_use]
    pub fn sign<T: Signable>(&self, body: T) -> Signed<T> {
        let signature = Signature::from_bytes(self.0.sign(body.layout().as_bytes()).to_bytes());
        Signed { body, signature }
    }

    /// Signs the text of a note, which no laid-out object can equal: a text holds no zero byte.
    pub(crate) fn sign_text(&self, text: &[u8]) -> Signature {
        Signature::from_bytes(self.0.sign(text).to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public().short())
    }
}

/// An ed25519 signature, as two halves because serde derives arrays only up to 32 elements.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Signature {
    #[serde(with = "crate::wire::words")]
    r: [u8; 32],
    #[serde(with = "crate::wire::words")]
    s: [u8; 32],
}

impl Signature {
    /// From R followed by s.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 64]) -> Self {
        Self { r: core::array::from_fn(|i| bytes[i]), s: core::array::from_fn(|i| bytes[32 + i]) }
    }

    /// R followed by s.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 64] {
        core::array::from_fn(|i| if i < 32 { self.r[i] } else { self.s[i - 32] })
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", to_hex(&self.r[..4]))
    }
}

/// Something that its signer answers for.
pub trait Signable {
    /// The bytes that the signature covers: domain string and every field.
    fn layout(&self) -> Layout;
    /// The key that must have signed.
    fn signer(&self) -> PublicKey;
}

/// A signature does not fit what it is on. Always the sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signature does not verify for key {0}")]
pub struct BadSignature(pub PublicKey);

/// A body and a signature that nobody has checked yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed<T> {
    /// What was signed.
    pub body: T,
    /// The signature of the body's signer.
    pub signature: Signature,
}

impl<T: Signable> Signed<T> {
    /// Checks the signature.
    ///
    /// # Errors
    /// If it is not the signer's.
    pub fn verify(self) -> Result<Verified<T>, BadSignature> {
        let signer = self.body.signer();
        if signer.verifies(self.body.layout().as_bytes(), &self.signature) {
            Ok(Verified(self))
        } else {
            Err(BadSignature(signer))
        }
    }

    /// BLAKE3 of the signed bytes and the signature: the identity of this signed object.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.body.layout().as_bytes()).update(&self.signature.to_bytes());
        *hasher.finalize().as_bytes()
    }

    /// Bytes that the signed object takes: those signed and the signature.
    #[must_use]
    pub fn signed_len(&self) -> usize {
        self.body.layout().as_bytes().len() + 64
    }
}

impl<T: Wire> Wire for Signed<T> {
    const BYTES_MAX: usize = T::BYTES_MAX + 64;
    fn check_bounds(&self) -> Result<(), String> {
        self.body.check_bounds()
    }
}

/// A signed body whose signature was checked. There is no other way to make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T>(Signed<T>);

impl<T> Verified<T> {
    /// The signed object, to pass on or to store.
    #[must_use]
    pub fn signed(&self) -> &Signed<T> {
        &self.0
    }

    /// The signed object.
    #[must_use]
    pub fn into_signed(self) -> Signed<T> {
        self.0
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0.body
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_are_in_the_order_of_their_bytes(one: [u8; 32], mut other: [u8; 32], same in 0..=32usize) {
            // Often alike in the bytes that decide first.
            other[..same].copy_from_slice(&one[..same]);
            prop_assert_eq!(PublicKey(one).cmp(&PublicKey(other)), one.cmp(&other));
        }
    }
}
