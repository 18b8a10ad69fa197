//! A conversation to tokens.
//!
//! A template writes control tokens as text, and so may a user: `<|im_end|>` in a message must stay text. So
//! each message is given to the template with guards, characters that occur nowhere else, placed so that no
//! control token can take in a visible character of a message; tokens are recognised with the guards in
//! place, and the guards are gone before anything is merged.

use thiserror::Error;

use super::{
    template::{ChatTemplate, Message, TemplateError},
    tokenizer::{Tokenizer, TokenizerError},
};

/// Candidates for the guard: code points that Unicode keeps free of characters.
const GUARDS: std::ops::RangeInclusive<char> = '\u{fdd0}'..='\u{fdef}';

/// Why a conversation has no tokens.
#[derive(Debug, Error)]
pub enum ChatError {
    /// The template does not serve.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The tokenizer does not serve.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// Every candidate guard occurs in the text.
    #[error("the conversation uses all code points U+FDD0 to U+FDEF, which are no characters; leave one out")]
    NoGuard,
}

/// Tokens of `messages` as `template` writes them, with the opening of the model's answer. Control tokens
/// come from the template alone, never from a message.
///
/// # Errors
/// [`ChatError`] if the template refuses the conversation or its text is too long.
pub fn chat_tokens(
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    messages: &[Message],
) -> Result<Vec<u32>, ChatError> {
    let free = |guard: &char| {
        !template.contains(*guard) && !messages.iter().any(|message| message.content.contains(*guard))
    };
    let guard = GUARDS.into_iter().find(free).ok_or(ChatError::NoGuard)?;
    let guarded: Vec<Message> = messages
        .iter()
        .map(|message| Message { content: guarded(tokenizer, &message.content, guard), ..message.clone() })
        .collect();
    let text = template.render(&guarded, true)?;
    Ok(tokenizer.encode_rendered(&text, guard)?)
}

/// `content` with guards: inside each control token's text, so that none stands whole, and around the visible
/// part, so that none begins or ends in the template's text. White space at the ends stays outside, because
/// templates trim it.
fn guarded(tokenizer: &Tokenizer, content: &str, guard: char) -> String {
    let visible = content.trim();
    if visible.is_empty() {
        return content.to_owned();
    }
    let before = &content[..content.len() - content.trim_start().len()];
    let after = &content[content.trim_end().len()..];
    let mut places: Vec<usize> = tokenizer.control_texts().flat_map(|text| insides(visible, text)).collect();
    places.sort_unstable();
    places.dedup();
    let mut broken = String::with_capacity(content.len() + places.len() * guard.len_utf8());
    let mut from = 0;
    for place in places {
        broken.push_str(&visible[from..place]);
        broken.push(guard);
        from = place;
    }
    broken.push_str(&visible[from..]);
    format!("{before}{guard}{broken}{guard}{after}")
}

/// Places after the first character of each occurrence of `control` in `text`, overlapping ones too.
fn insides(text: &str, control: &str) -> Vec<usize> {
    let first = control.chars().next().map_or(0, char::len_utf8);
    let mut places = Vec::new();
    let mut from = 0;
    while let Some(found) = text[from..].find(control) {
        from += found + first;
        places.push(from);
    }
    places
}
