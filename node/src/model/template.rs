//! Chat templates: Jinja that comes with the model file and turns a conversation into one text.
//!
//! The template is as trusted as the file: what it may execute and write is bounded, and it sees nothing but
//! the conversation. Not bounded is the memory that it takes meanwhile: instructions are counted, bytes are not, and
//! a text doubles with each of them.

use std::io::{self, Write};

use gridhour_protocol::model::{TEMPLATE_BYTES_MAX, TokenizerAsset};
use minijinja::{Environment, Error as JinjaError, ErrorKind, context, syntax::SyntaxConfig, value::Value};
use minijinja_contrib::pycompat::unknown_method_callback;
use thiserror::Error;

use super::gguf::{self, Gguf, GgufError};

/// Metadata key of a file's template.
const TEMPLATE_KEY: &str = "tokenizer.chat_template";
/// Instructions that one rendering may execute.
pub const INSTRUCTIONS_MAX: u64 = 1_000_000;
/// Nested calls of one rendering.
const RECURSION_MAX: usize = 50;
/// Bytes that one rendering may write.
pub const RENDERED_BYTES_MAX: usize = super::tokenizer::TEXT_BYTES_MAX;
const NAME: &str = "chat template";

/// Who speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Sets the frame of the conversation.
    System,
    /// The client.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The name that templates know it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One message of a conversation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

/// Why a template does not serve.
#[derive(Debug, Error)]
pub enum TemplateError {
    /// The file's key has another type.
    #[error(transparent)]
    File(#[from] GgufError),
    /// The file has no template.
    #[error("the model file has no chat template; send plain text instead of a conversation")]
    Missing,
    /// The template is longer than is read.
    #[error("the model's chat template has {0} bytes; at most {max} are read", max = TEMPLATE_BYTES_MAX)]
    TooLong(usize),
    /// The template is no Jinja.
    #[error("the model's chat template is broken: {0}")]
    Syntax(String),
    /// The template fails on this conversation; templates also refuse conversations this way.
    #[error("the model's chat template does not accept this conversation: {0}")]
    Refused(String),
    /// The template writes or executes more than is allowed.
    #[error("the model's chat template asks for too much: {0}")]
    Excess(String),
}

/// The text of the template in `file`; empty if it has none.
///
/// # Errors
/// [`TemplateError`] if the key holds no text, or one that is too long.
pub fn chat_template_source(file: &Gguf) -> Result<&str, TemplateError> {
    let source = file.optional(TEMPLATE_KEY, "a string", gguf::Value::as_text)?.unwrap_or("");
    if source.len() > TEMPLATE_BYTES_MAX { Err(TemplateError::TooLong(source.len())) } else { Ok(source) }
}

/// A template that has been read.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    begin: String,
    end: String,
}

impl ChatTemplate {
    /// Reads a template; `asset` gives the texts of the tokens that begin and end a text.
    ///
    /// # Errors
    /// [`TemplateError`] if there is none, it is too long, or it is no Jinja.
    pub fn new(source: &str, asset: &TokenizerAsset) -> Result<Self, TemplateError> {
        if source.is_empty() {
            return Err(TemplateError::Missing);
        }
        if source.len() > TEMPLATE_BYTES_MAX {
            return Err(TemplateError::TooLong(source.len()));
        }
        let mut environment = Environment::new();
        let syntax = |error: JinjaError| TemplateError::Syntax(error.to_string());
        // The settings that templates are written for.
        let blocks = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(blocks.map_err(syntax)?);
        environment.set_fuel(Some(INSTRUCTIONS_MAX));
        environment.set_recursion_limit(RECURSION_MAX);
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_template_owned(NAME, source.to_owned()).map_err(syntax)?;
        let text =
            |id: Option<u32>| id.and_then(|id| asset.tokens.get(id as usize)).cloned().unwrap_or_default();
        Ok(Self { environment, begin: text(asset.bos), end: text(asset.eos) })
    }

    /// Writes `messages` as the model was trained to read them, and, if `generate`, the opening of its
    /// answer.
    ///
    /// # Errors
    /// [`TemplateError::Refused`] if the template does not accept these messages, [`TemplateError::Excess`]
    /// if it exceeds the bounds.
    pub fn render(&self, messages: &[Message], generate: bool) -> Result<String, TemplateError> {
        let template = self.environment.get_template(NAME).map_err(failure)?;
        let turn = |message: &Message| context! { role => message.role.name(), content => &message.content };
        let values = context! {
            messages => messages.iter().map(turn).collect::<Vec<_>>(),
            add_generation_prompt => generate,
            bos_token => &self.begin,
            eos_token => &self.end,
        };
        let mut out = Bounded::default();
        template.render_captured_to(values, &mut out).map_err(failure)?;
        String::from_utf8(out.0).map_err(|_| TemplateError::Syntax("it writes no text".to_owned()))
    }

    /// Whether the template's own text contains `letter`.
    pub(crate) fn contains(&self, letter: char) -> bool {
        self.environment.get_template(NAME).is_ok_and(|template| template.source().contains(letter))
    }
}

/// What templates call to refuse a conversation.
fn raise_exception(reason: String) -> Result<Value, JinjaError> {
    Err(JinjaError::new(ErrorKind::InvalidOperation, reason))
}

fn failure(error: JinjaError) -> TemplateError {
    match error.kind() {
        ErrorKind::OutOfFuel => TemplateError::Excess(format!("more than {INSTRUCTIONS_MAX} instructions")),
        ErrorKind::WriteFailure => {
            TemplateError::Excess(format!("more than {RENDERED_BYTES_MAX} bytes of text"))
        }
        _ => TemplateError::Refused(error.detail().map_or_else(|| error.to_string(), str::to_owned)),
    }
}

/// Text that does not grow beyond its bound.
#[derive(Default)]
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > RENDERED_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use gridhour_protocol::model::{TokenKind, TokenizerFamily};

    use super::*;

    fn asset() -> TokenizerAsset {
        TokenizerAsset {
            family: TokenizerFamily::ByteLevel,
            pre: "gpt-2".into(),
            tokens: vec!["<s>".into(), "</s>".into()],
            kinds: vec![TokenKind::Control; 2],
            score_bits: vec![],
            merges: vec![],
            bos: Some(0),
            eos: Some(1),
            eot: None,
            unknown: None,
            add_bos: false,
            add_eos: false,
            add_space_prefix: false,
        }
    }

    fn say(role: Role, content: &str) -> Message {
        Message { role, content: content.to_owned() }
    }

    fn render(source: &str, messages: &[Message]) -> Result<String, TemplateError> {
        ChatTemplate::new(source, &asset())?.render(messages, true)
    }

    /// ChatML that sets a system message of its own where the conversation has none.
    const CHATML: &str = "{% for message in messages %}\
        {% if loop.first and messages[0]['role'] != 'system' %}\
        {{ '<|im_start|>system\nBe brief.<|im_end|>\n' }}{% endif %}\
        {{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}\
        {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

    /// In the manner of Mistral: begin and end tokens, methods of strings, turns that must alternate.
    const BRACKETS: &str = "{{ bos_token }}
    {%- for message in messages %}
        {%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}
            {{- raise_exception('roles must alternate user and assistant') }}
        {%- endif %}
        {%- if message.role == 'user' %}
            {{- '[INST] ' + message.content.strip() + ' [/INST]' }}
        {%- else %}
            {{- message.content | trim + eos_token }}
        {%- endif %}
    {%- endfor %}";

    #[test]
    fn chatml_with_its_own_system_message() {
        let text = render(CHATML, &[say(Role::User, "Hi")]).expect("the template is sound");
        assert_eq!(
            text,
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
        );
        let given = render(CHATML, &[say(Role::System, "Rhyme."), say(Role::User, "Hi")]).expect("as above");
        assert!(given.starts_with("<|im_start|>system\nRhyme.<|im_end|>\n<|im_start|>user"), "{given}");
    }

    #[test]
    fn brackets_with_methods_and_alternation() {
        let turns = [say(Role::User, " Hi "), say(Role::Assistant, "Yes? "), say(Role::User, "Bye")];
        let text = render(BRACKETS, &turns).expect("the turns alternate");
        assert_eq!(text, "<s>[INST] Hi [/INST]Yes?</s>[INST] Bye [/INST]");
        let refusal = render(BRACKETS, &turns[1..]).expect_err("the first turn is not the user's");
        let TemplateError::Refused(why) = refusal else { panic!("not the template's refusal: {refusal}") };
        assert_eq!(why, "roles must alternate user and assistant");
    }

    #[test]
    fn broken_templates_are_refused_with_the_place() {
        let error =
            ChatTemplate::new("{% for m in messages %}\n{{ m.content ", &asset()).expect_err("unclosed");
        assert!(matches!(&error, TemplateError::Syntax(why) if why.contains("chat template:2")), "{error}");
        assert!(matches!(ChatTemplate::new("", &asset()), Err(TemplateError::Missing)));
        let long = " ".repeat(TEMPLATE_BYTES_MAX + 1);
        assert!(matches!(ChatTemplate::new(&long, &asset()), Err(TemplateError::TooLong(_))));
    }

    #[test]
    fn endless_and_endlessly_writing_templates_end() {
        let spin = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
        assert!(matches!(render(spin, &[]), Err(TemplateError::Excess(_))));
        let write = "{% for a in range(9999) %}{{ messages[0].content }}{% endfor %}";
        let message = say(Role::User, &"x".repeat(9_999));
        assert!(matches!(render(write, &[message]), Err(TemplateError::Excess(_))));
        let recurse = "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}";
        assert!(render(recurse, &[]).is_err());
    }

    #[test]
    fn a_template_sees_no_other_files() {
        assert!(matches!(render("{% include '/etc/hostname' %}", &[]), Err(TemplateError::Refused(_))));
    }
}
