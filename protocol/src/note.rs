//! Signed notes (c2sp.org/signed-note): a text that people can read, and the signatures of any number of keys under it.
//!
//! ```text
//! text, one or more lines
//!                                        <- the last empty line of the note
//! — key name base64(key id u32 big-endian | signature)
//! ```
//! A note is parsed before anyone is believed, so [`Note`] says only that the form is right: [`Note::verify`] asks
//! whether a known key signed. Every note has one spelling: what [`Note::parse`] takes, it prints again byte by byte.
//!
//! A note holds no control characters but newlines, and every other text that Gridhour signs begins with a domain and a
//! zero byte ([`crate::layout`]): so no signature of a note can pass for one of anything else.

use core::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};

pub use self::key::{KeyKind, VerifierKey};
use crate::{
    merkle::Hash,
    signed::{SecretKey, Signature},
};

mod key;
#[cfg(test)]
mod tests;

/// Bytes of the longest note: sixteen signatures of 5 kB, the least that a verifier must take, and a text.
pub const NOTE_BYTES_MAX: usize = 128 * 1024;
/// Signature lines of one note.
pub const NOTE_SIGNATURES_MAX: usize = 32;
/// Bytes of a key's name.
pub const KEY_NAME_BYTES_MAX: usize = 255;

/// What stands before each signature: an em dash and a space.
const DASH: &str = "\u{2014} ";
/// Bytes of a key id.
const ID_BYTES: usize = 4;
/// Bytes of a cosignature's time.
const TIME_BYTES: usize = 8;

/// Why a note, a key or a signature is refused. Always the fault of whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// More bytes than any note may have.
    #[error("a note of {0} bytes is over the limit of {NOTE_BYTES_MAX}")]
    TooLong(usize),
    /// Not the form of a note or of a key.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// No line is by this key.
    #[error("not signed by {0}")]
    Unsigned(String),
    /// A line names this key, but its signature is not the key's.
    #[error("the signature that names {0} does not verify")]
    BadSignature(String),
}

/// One line under a note: who claims to have signed, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    name: String,
    key_id: u32,
    bytes: Vec<u8>,
}

/// A text and the lines under it. Nobody has checked them yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl NoteSignature {
    /// Parses one line without its newline.
    ///
    /// # Errors
    /// If it is not a signature line in its one spelling.
    pub fn parse(line: &str) -> Result<Self, NoteError> {
        let rest =
            line.strip_prefix(DASH).ok_or(NoteError::Malformed("a signature line begins with an em dash"))?;
        let (name, coded) =
            rest.split_once(' ').ok_or(NoteError::Malformed("a signature line names a key"))?;
        key::check_name(name)?;
        let bytes = from_base64(coded).ok_or(NoteError::Malformed("a signature is not base64"))?;
        let (id, bytes) = bytes
            .split_first_chunk::<ID_BYTES>()
            .ok_or(NoteError::Malformed("a signature is shorter than a key id"))?;
        Ok(Self { name: name.to_owned(), key_id: u32::from_be_bytes(*id), bytes: bytes.to_vec() })
    }

    /// Whether the line names this key.
    #[must_use]
    pub fn is_of(&self, key: &VerifierKey) -> bool {
        self.name == key.name() && self.key_id == key.id()
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let coded = to_base64(&[&self.key_id.to_be_bytes(), self.bytes.as_slice()].concat());
        write!(f, "{DASH}{} {coded}", self.name)
    }
}

impl Note {
    /// Parses a note.
    ///
    /// # Errors
    /// If it is over a limit or not the form of a note. Nothing is verified.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLong(bytes.len()));
        }
        let whole = str::from_utf8(bytes).map_err(|_| NoteError::Malformed("not UTF-8"))?;
        check_characters(whole)?;
        let at = whole.rfind("\n\n").ok_or(NoteError::Malformed("no empty line before the signatures"))?;
        let lines = whole[at + 2..]
            .strip_suffix('\n')
            .ok_or(NoteError::Malformed("the last line does not end in a newline"))?;
        if lines.split('\n').count() > NOTE_SIGNATURES_MAX {
            return Err(NoteError::Malformed("too many signatures"));
        }
        let signatures = lines.split('\n').map(NoteSignature::parse).collect::<Result<_, _>>()?;
        Ok(Self { text: whole[..=at].to_owned(), signatures })
    }

    /// Signs `text` with `secret` under this name, as an ordinary note.
    ///
    /// # Errors
    /// If the name or the text is not one that a note may have.
    pub fn signed(text: String, name: &str, secret: &SecretKey) -> Result<Self, NoteError> {
        check_text(&text)?;
        let key = VerifierKey::new(name, KeyKind::Log, secret.public())?;
        let signature = secret.sign_text(text.as_bytes());
        let line =
            NoteSignature { name: name.to_owned(), key_id: key.id(), bytes: signature.to_bytes().to_vec() };
        Ok(Self { text, signatures: vec![line] })
    }

    /// The signed text, its last newline included.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The lines under it.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// A cosignature (c2sp.org/tlog-cosignature, Ed25519) of this note's text, made `seconds` after 1970.
    ///
    /// # Errors
    /// If the name is not one that a key may have.
    pub fn cosignature(
        &self,
        name: &str,
        secret: &SecretKey,
        seconds: u64,
    ) -> Result<NoteSignature, NoteError> {
        let key = VerifierKey::new(name, KeyKind::Witness, secret.public())?;
        let signature = secret.sign_text(cosigned(&self.text, seconds).as_bytes());
        let bytes = [seconds.to_be_bytes().as_slice(), &signature.to_bytes()].concat();
        Ok(NoteSignature { name: name.to_owned(), key_id: key.id(), bytes })
    }

    /// Adds a line; a line that names the same key makes way for it.
    ///
    /// # Errors
    /// If there are as many lines as a note may have.
    pub fn add(&mut self, line: NoteSignature) -> Result<(), NoteError> {
        self.signatures.retain(|old| (&old.name, old.key_id) != (&line.name, line.key_id));
        if self.signatures.len() == NOTE_SIGNATURES_MAX {
            return Err(NoteError::Malformed("too many signatures"));
        }
        self.signatures.push(line);
        Ok(())
    }

    /// The same text with the first line of `key` alone; without any if there is none.
    #[must_use]
    pub fn only(&self, key: &VerifierKey) -> Self {
        let ours = self.signatures.iter().find(|line| line.is_of(key));
        self.with_lines(ours.cloned().into_iter().collect())
    }

    /// The same text with these lines under it.
    #[must_use]
    pub fn with_lines(&self, signatures: Vec<NoteSignature>) -> Self {
        Self { text: self.text.clone(), signatures }
    }

    /// The first line of `key` that verifies, and the time of a cosignature in seconds after 1970. Bad lines, which
    /// anyone can add, do not hide a good one.
    #[must_use]
    pub fn good_line(&self, key: &VerifierKey) -> Option<(&NoteSignature, Option<u64>)> {
        let ours = self.signatures.iter().filter(|line| line.is_of(key));
        ours.filter_map(|line| Some((line, check_line(&self.text, line, key)?))).next()
    }

    /// Checks that `key` signed, and returns the time of a cosignature, in seconds after 1970. Lines of other keys count
    /// for nothing; one bad line of this key spoils the note.
    ///
    /// # Errors
    /// [`NoteError::Unsigned`] or [`NoteError::BadSignature`].
    pub fn verify(&self, key: &VerifierKey) -> Result<Option<u64>, NoteError> {
        let mut time = Err(NoteError::Unsigned(key.name().to_owned()));
        for line in self.signatures.iter().filter(|line| line.is_of(key)) {
            time = Ok(check_line(&self.text, line, key)
                .ok_or_else(|| NoteError::BadSignature(key.name().to_owned()))?);
        }
        time
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// The time that the line states, where its kind has one; `None` if `key` did not sign.
fn check_line(text: &str, line: &NoteSignature, key: &VerifierKey) -> Option<Option<u64>> {
    let (time, signature) = match key.kind() {
        KeyKind::Log => (None, line.bytes.as_slice()),
        KeyKind::Witness => {
            let (time, signature) = line.bytes.split_first_chunk::<TIME_BYTES>()?;
            (Some(u64::from_be_bytes(*time)), signature)
        }
    };
    if time.is_some_and(|time| i64::try_from(time).is_err()) {
        return None;
    }
    let signature = Signature::from_bytes(signature.try_into().ok()?);
    let message = time.map_or_else(|| text.to_owned(), |time| cosigned(text, time));
    key.key().verifies(message.as_bytes(), &signature).then_some(time)
}

/// What a witness signs.
fn cosigned(text: &str, seconds: u64) -> String {
    format!("cosignature/v1\ntime {seconds}\n{text}")
}

fn check_characters(text: &str) -> Result<(), NoteError> {
    if text.chars().any(|c| c < ' ' && c != '\n') {
        return Err(NoteError::Malformed("a control character"));
    }
    Ok(())
}

fn check_text(text: &str) -> Result<(), NoteError> {
    check_characters(text)?;
    if text.len() > NOTE_BYTES_MAX / 2 {
        return Err(NoteError::TooLong(text.len()));
    }
    if text.len() < 2 || !text.ends_with('\n') {
        return Err(NoteError::Malformed("the text does not end in a newline"));
    }
    Ok(())
}

/// Standard base64, padded.
#[must_use]
pub fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes that a text of standard base64 stands for; `None` for any other spelling of them.
#[must_use]
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// [`from_base64`] of a hash.
#[must_use]
pub fn hash_from_base64(text: &str) -> Option<Hash> {
    from_base64(text)?.try_into().ok()
}

/// The number that a text of decimal digits without leading zeros stands for.
#[must_use]
pub fn decimal(text: &str) -> Option<u64> {
    let canonical = text == "0" || (!text.starts_with(['0', '+']) && !text.is_empty());
    canonical.then(|| text.parse().ok())?
}
