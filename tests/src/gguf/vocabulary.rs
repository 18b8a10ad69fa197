//! A small byte-level vocabulary: every byte, some merges, the control tokens of a conversation.

use gridhour_node::model::gguf::Value;

use super::writer::GgufWriter;

/// Control tokens, the first ids: end of text, begin and end of a turn.
pub const SPECIALS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
/// Merges, strongest first; `Ġ` is the space before a word.
pub const MERGES: [&str; 24] = [
    "t h", "Ġ th", "Ġth e", "i n", "e r", "a n", "an d", "Ġ and", "Ġ a", "Ġ w", "o r", "l l", "h e", "he ll",
    "hell o", "Ġw or", "Ġwor l", "Ġworl d", "u s", "us er", "i s", "Ġ is", "in g", "Ġ in",
];
/// Tokens that every vocabulary has: control tokens, bytes, merges.
pub const VOCABULARY_LEAST: u32 = (SPECIALS.len() + 256 + MERGES.len()) as u32;

/// The template of ChatML, with a system message where the conversation has none.
pub const CHATML: &str = "{% for message in messages %}\
    {% if loop.first and messages[0]['role'] != 'system' %}\
    {{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}\
    {{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// In the manner of Zephyr: a heading a turn, closed by the end token, on lines of their own.
pub const ZEPHYR: &str = "{% for message in messages %}
{% if message['role'] == 'system' and not loop.first %}
{{ raise_exception('a system message comes first') }}
{% endif %}
{{ '[' + message['role'].upper() + ']\n' + message['content'].strip() + eos_token }}
{% if loop.last and add_generation_prompt %}
{{ '[ASSISTANT]' }}
{% endif %}
{% endfor %}";

const NORMAL: i64 = 1;
const CONTROL: i64 = 3;
const UNUSED: i64 = 5;

/// The letter that spells `byte`: itself if visible, else the next free code point from U+0100.
fn letter(byte: u8) -> char {
    let visible = |byte: u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    if visible(byte) {
        return byte.into();
    }
    let place = (0..byte).filter(|other| !visible(*other)).count();
    char::from_u32(0x100 + place as u32).expect("there are fewer than 256 such bytes")
}

pub(super) fn put_tokenizer(file: &mut GgufWriter, size: usize, template: &str) {
    assert!(size >= VOCABULARY_LEAST as usize, "a vocabulary holds every byte and merge");
    let mut tokens: Vec<String> = SPECIALS.map(str::to_owned).to_vec();
    tokens.extend((0..=u8::MAX).map(|byte| letter(byte).to_string()));
    tokens.extend(MERGES.map(|merge| merge.replace(' ', "")));
    tokens.extend((tokens.len()..size).map(|id| format!("<unused {id}>")));
    let kind = |id: usize| match id {
        _ if id < SPECIALS.len() => CONTROL,
        _ if id < VOCABULARY_LEAST as usize => NORMAL,
        _ => UNUSED,
    };
    file.meta("tokenizer.ggml.model", Value::Text("gpt2".to_owned()));
    file.meta("tokenizer.ggml.pre", Value::Text("smollm".to_owned()));
    file.meta("tokenizer.ggml.token_type", Value::Ints((0..size).map(kind).collect()));
    file.meta("tokenizer.ggml.tokens", Value::Texts(tokens));
    file.meta("tokenizer.ggml.merges", Value::Texts(MERGES.map(str::to_owned).to_vec()));
    for (key, id) in [("bos", 1), ("eos", 2), ("unknown", 0)] {
        file.meta(&format!("tokenizer.ggml.{key}_token_id"), Value::Uint(id));
    }
    file.meta("tokenizer.ggml.add_bos_token", Value::Bool(false));
    file.meta("tokenizer.chat_template", Value::Text(template.to_owned()));
}
