//! Keys of full pages: what stands on a page is a function of the tokens up to its end, and only texts of
//! one scope may share it.
//!
//! Sharing shows, by the time to the first token, that somebody used a prefix before; so a scope is all that
//! one client asks for, and nothing is shared between scopes.

use super::super::device::PAGE;

const CONTEXT: &str = "gridhour prefix pages v1";

/// The key of a full page: its scope, and all tokens up to its end.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PrefixKey([u8; 32]);

/// The keys of one text's full pages.
#[derive(Clone, Debug)]
pub struct PrefixKeys {
    scope: PrefixKey,
    pages: Vec<PrefixKey>,
}

impl PrefixKeys {
    /// Of a text without tokens, in the scope that `scope` names.
    pub fn new(scope: &[u8]) -> Self {
        let scope = PrefixKey(blake3::derive_key(CONTEXT, scope));
        Self { scope, pages: Vec::new() }
    }

    /// The keys of all full pages of `text`, which continues the text of earlier calls.
    pub fn of(&mut self, text: &[u32]) -> &[PrefixKey] {
        let (pages, _) = text.as_chunks::<PAGE>();
        for page in pages.iter().skip(self.pages.len()) {
            let last = self.pages.last().unwrap_or(&self.scope);
            let mut hasher = blake3::Hasher::new();
            hasher.update(&last.0);
            page.iter().for_each(|token| _ = hasher.update(&token.to_le_bytes()));
            self.pages.push(PrefixKey(*hasher.finalize().as_bytes()));
        }
        &self.pages[..pages.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(scope: &[u8], text: &[u32]) -> Vec<PrefixKey> {
        PrefixKeys::new(scope).of(text).to_vec()
    }

    #[test]
    fn a_key_tells_the_scope_and_every_token_before_its_end() {
        let text: Vec<u32> = (0..3 * PAGE as u32 + 5).collect();
        let all = keys(b"a", &text);
        assert_eq!(all.len(), 3);
        assert_eq!(keys(b"a", &text[..2 * PAGE]), all[..2]);
        let mut changed = text.clone();
        changed[PAGE + 1] += 1;
        let other = keys(b"a", &changed);
        assert_eq!(other[0], all[0]);
        assert!(other[1] != all[1] && other[2] != all[2]);
        assert!(keys(b"b", &text).iter().all(|key| !all.contains(key)));
    }

    #[test]
    fn keys_of_a_growing_text_are_those_of_the_whole() {
        let text: Vec<u32> = (0..4 * PAGE as u32).map(|t| t * 7).collect();
        let mut growing = PrefixKeys::new(b"a");
        for end in [0, 10, PAGE, 3 * PAGE - 1, 3 * PAGE, 4 * PAGE] {
            assert_eq!(growing.of(&text[..end]), &keys(b"a", &text)[..end / PAGE]);
        }
        assert_eq!(growing.of(&text[..PAGE]).len(), 1, "a shorter look shows fewer");
    }
}
