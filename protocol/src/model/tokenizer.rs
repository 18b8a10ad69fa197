//! All that a model file says about its tokenizer, as bytes with a digest: a client without the weights
//! fetches them from any provider, checks them against the [`ModelId`](super::ModelId), and tokenizes the
//! same.

use super::{
    TOKEN_TEXT_MAX, TOKENIZER_BYTES_MAX, VOCABULARY_MAX,
    bytes::{MalformedBytes, Reader, put_count, put_text},
    tree::Digest,
};

const CONTEXT: &str = "gridhour tokenizer v1";

/// How text is cut into tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenizerFamily {
    /// Byte-level byte-pair encoding with ranked merges; GGUF's `gpt2`.
    ByteLevel,
    /// SentencePiece-style: pieces with scores, bytes where no piece fits; GGUF's `llama`.
    SentencePiece,
}

/// What a token is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenKind {
    /// A piece of text.
    Normal,
    /// Stands for text that has no token.
    Unknown,
    /// Structure of a conversation; never comes from a user's text.
    Control,
    /// Text that is one token wherever it stands.
    UserDefined,
    /// A place of the vocabulary without use.
    Unused,
    /// One byte.
    Byte,
}

impl TokenKind {
    const ALL: [Self; 6] =
        [Self::Normal, Self::Unknown, Self::Control, Self::UserDefined, Self::Unused, Self::Byte];

    /// The number that GGUF files and encodings use.
    pub fn code(self) -> u8 {
        match self {
            Self::Normal => 1,
            Self::Unknown => 2,
            Self::Control => 3,
            Self::UserDefined => 4,
            Self::Unused => 5,
            Self::Byte => 6,
        }
    }

    /// The kind with this number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// A tokenizer as a model file describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenizerAsset {
    /// How text is cut.
    pub family: TokenizerFamily,
    /// Name of the rule that cuts text into words before merging; empty where the family has only one.
    pub pre: String,
    /// Texts of the tokens, by id, in the file's own spelling.
    pub tokens: Vec<String>,
    /// What each token is for, by id.
    pub kinds: Vec<TokenKind>,
    /// Scores by id, the bits of 32-bit floats; empty where merges are ranked.
    pub score_bits: Vec<u32>,
    /// Merges, the first the strongest: two texts with one space between; empty where pieces are scored.
    pub merges: Vec<String>,
    /// Begins a text.
    pub bos: Option<u32>,
    /// Ends a text.
    pub eos: Option<u32>,
    /// Ends a turn of a conversation, where that is another token.
    pub eot: Option<u32>,
    /// Stands for text that has no token.
    pub unknown: Option<u32>,
    /// Whether a text is begun with `bos`.
    pub add_bos: bool,
    /// Whether a text is ended with `eos`.
    pub add_eos: bool,
    /// Whether a space is put before a text (SentencePiece style).
    pub add_space_prefix: bool,
}

impl TokenizerAsset {
    /// Checks that lists have the vocabulary's length and ids lie in it.
    ///
    /// # Errors
    /// [`MalformedBytes`] with the rule that is broken.
    pub fn check(&self) -> Result<(), MalformedBytes> {
        let size = self.tokens.len();
        let outside = |id: &Option<u32>| id.is_some_and(|id| id as usize >= size);
        if size == 0 || size > VOCABULARY_MAX || self.merges.len() > VOCABULARY_MAX {
            return Err(MalformedBytes("the vocabulary is empty or above its bound"));
        }
        if self.kinds.len() != size || !(self.score_bits.is_empty() || self.score_bits.len() == size) {
            return Err(MalformedBytes("tokens, their kinds and their scores differ in number"));
        }
        if [self.bos, self.eos, self.eot, self.unknown].iter().any(outside) {
            return Err(MalformedBytes("a special token's id lies outside the vocabulary"));
        }
        let long = |text: &String| text.len() > TOKEN_TEXT_MAX;
        if self.tokens.iter().any(long) || self.merges.iter().any(long) || long(&self.pre) {
            return Err(MalformedBytes("a token's text is above its bound"));
        }
        if self.encode().len() > TOKENIZER_BYTES_MAX {
            return Err(MalformedBytes("the texts together are above their bound"));
        }
        Ok(())
    }

    /// Digest of the encoding, as it stands in a model's facts.
    pub fn digest(&self) -> Digest {
        blake3::derive_key(CONTEXT, &self.encode())
    }

    /// The asset as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![match self.family {
            TokenizerFamily::ByteLevel => 0,
            TokenizerFamily::SentencePiece => 1,
        }];
        put_text(&mut out, &self.pre);
        put_count(&mut out, self.tokens.len());
        for (text, kind) in self.tokens.iter().zip(&self.kinds) {
            out.push(kind.code());
            put_text(&mut out, text);
        }
        put_count(&mut out, self.score_bits.len());
        self.score_bits.iter().for_each(|bits| out.extend_from_slice(&bits.to_le_bytes()));
        put_count(&mut out, self.merges.len());
        self.merges.iter().for_each(|merge| put_text(&mut out, merge));
        for id in [self.bos, self.eos, self.eot, self.unknown] {
            put_id(&mut out, id);
        }
        out.extend([self.add_bos, self.add_eos, self.add_space_prefix].map(u8::from));
        out
    }

    /// Reads what [`TokenizerAsset::encode`] wrote.
    ///
    /// # Errors
    /// [`MalformedBytes`] for anything that no asset encodes to.
    pub fn decode(bytes: &[u8]) -> Result<Self, MalformedBytes> {
        let mut reader = Reader::new(bytes, TOKENIZER_BYTES_MAX)?;
        let family = read_family(&mut reader)?;
        let pre = reader.text(TOKEN_TEXT_MAX)?.to_owned();
        let (kinds, tokens) = read_list(&mut reader, 5, read_token)?.into_iter().unzip();
        let score_bits = read_list(&mut reader, 4, Reader::u32)?;
        let merges = read_list(&mut reader, 4, |reader| Ok(reader.text(TOKEN_TEXT_MAX)?.to_owned()))?;
        let asset = Self {
            family,
            pre,
            tokens,
            kinds,
            score_bits,
            merges,
            bos: read_id(&mut reader)?,
            eos: read_id(&mut reader)?,
            eot: read_id(&mut reader)?,
            unknown: read_id(&mut reader)?,
            add_bos: reader.flag()?,
            add_eos: reader.flag()?,
            add_space_prefix: reader.flag()?,
        };
        reader.finish()?;
        asset.check()?;
        Ok(asset)
    }
}

fn put_id(out: &mut Vec<u8>, id: Option<u32>) {
    out.push(id.is_some().into());
    if let Some(id) = id {
        out.extend_from_slice(&id.to_le_bytes());
    }
}

fn read_id(reader: &mut Reader<'_>) -> Result<Option<u32>, MalformedBytes> {
    if reader.flag()? { reader.u32().map(Some) } else { Ok(None) }
}

fn read_family(reader: &mut Reader<'_>) -> Result<TokenizerFamily, MalformedBytes> {
    match reader.u8()? {
        0 => Ok(TokenizerFamily::ByteLevel),
        1 => Ok(TokenizerFamily::SentencePiece),
        _ => Err(MalformedBytes("the tokenizer's family is unknown")),
    }
}

fn read_token(reader: &mut Reader<'_>) -> Result<(TokenKind, String), MalformedBytes> {
    let kind = TokenKind::from_code(reader.u8()?).ok_or(MalformedBytes("a token's kind is unknown"))?;
    Ok((kind, reader.text(TOKEN_TEXT_MAX)?.to_owned()))
}

/// A counted list whose elements take at least `each` bytes.
fn read_list<'a, T>(
    reader: &mut Reader<'a>,
    each: usize,
    mut read: impl FnMut(&mut Reader<'a>) -> Result<T, MalformedBytes>,
) -> Result<Vec<T>, MalformedBytes> {
    let count = reader.count(VOCABULARY_MAX, each)?;
    let mut list = Vec::with_capacity(count);
    for _ in 0..count {
        list.push(read(reader)?);
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*};

    use super::*;

    fn asset() -> impl Strategy<Value = TokenizerAsset> {
        let kind = prop::sample::select(TokenKind::ALL.to_vec());
        let ids = || option::of(0u32..4);
        let lists = (vec((".{0,6}", kind, any::<u32>()), 4..20), vec("[a-z]{1,3} [a-z]{1,3}", 0..8));
        (lists, [ids(), ids(), ids(), ids()], any::<[bool; 4]>()).prop_map(
            |((tokens, merges), [bos, eos, eot, unknown], [scored, add_bos, add_eos, add_space_prefix])| {
                let score_bits =
                    if scored { tokens.iter().map(|token| token.2).collect() } else { Vec::new() };
                TokenizerAsset {
                    family: if scored { TokenizerFamily::SentencePiece } else { TokenizerFamily::ByteLevel },
                    pre: "smollm".to_owned(),
                    kinds: tokens.iter().map(|token| token.1).collect(),
                    tokens: tokens.into_iter().map(|token| token.0).collect(),
                    score_bits,
                    merges,
                    bos,
                    eos,
                    eot,
                    unknown,
                    add_bos,
                    add_eos,
                    add_space_prefix,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn encoding_is_one_to_one(asset in asset()) {
            prop_assert_eq!(TokenizerAsset::decode(&asset.encode()), Ok(asset));
        }

        #[test]
        fn a_changed_byte_changes_the_digest_or_is_refused(asset in asset(),
                                                           at in any::<prop::sample::Index>(),
                                                           flip in 1u8..) {
            let mut bytes = asset.encode();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            if let Ok(other) = TokenizerAsset::decode(&bytes) {
                prop_assert_ne!(other.digest(), asset.digest());
                prop_assert_eq!(other.encode(), bytes);
            }
        }

        #[test]
        fn a_cut_encoding_is_refused(asset in asset(), at in any::<prop::sample::Index>()) {
            let bytes = asset.encode();
            prop_assert!(TokenizerAsset::decode(&bytes[..at.index(bytes.len())]).is_err());
        }

        #[test]
        fn ids_outside_the_vocabulary_are_refused(mut asset in asset(), beyond in 0u32..) {
            asset.eos = Some((asset.tokens.len() as u32).saturating_add(beyond));
            prop_assert!(TokenizerAsset::decode(&asset.encode()).is_err());
        }
    }
}
