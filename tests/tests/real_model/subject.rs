//! The model under test, loaded once for all tests.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
};

use gridhour_node::{
    engine::{Engine, EngineConfig, isa::Isa, sampler::Sampling, sequence::Sequence},
    model::{
        chat::chat_tokens,
        gguf::{Gguf, TensorType},
        template::{ChatTemplate, Message, Role, chat_template_source},
        tokenizer::{Tokenizer, tokenizer_asset},
    },
};
use testkit::{data, f32_eval::F32Model, gguf::requantise};

/// A file, and what is made of it.
pub(crate) struct Subject {
    pub(crate) file: Gguf,
    pub(crate) tokenizer: Tokenizer,
    template: ChatTemplate,
    /// With the fastest instructions of this machine.
    pub(crate) engine: Arc<Engine>,
    floats: OnceLock<F32Model>,
}

/// The catalogue's first model; `None` if it cannot be had, the test is then skipped.
pub(crate) fn subject() -> Option<&'static Subject> {
    static SUBJECT: OnceLock<Subject> = OnceLock::new();
    data::smollm2().map(|path| SUBJECT.get_or_init(|| Subject::load(path)))
}

/// The same model with its 4-bit codes requantised to 8 bits.
pub(crate) fn eight_bit_subject() -> Option<Subject> {
    let file = requantise(&subject()?.file, TensorType::Q8_0).finish();
    Some(Subject::of(Gguf::from_bytes(file).expect("what was written is sound")))
}

impl Subject {
    fn load(path: &Path) -> Self {
        Self::of(Gguf::open(path).expect("the file is sound"))
    }

    fn of(file: Gguf) -> Self {
        let asset = tokenizer_asset(&file).expect("the file describes a tokenizer");
        let source = chat_template_source(&file).expect("the file has a template");
        Self {
            template: ChatTemplate::new(source, &asset).expect("the template is sound"),
            tokenizer: Tokenizer::new(asset).expect("the description is sound"),
            engine: engine(&file, Isa::Auto),
            floats: OnceLock::new(),
            file,
        }
    }

    /// The same model with portable instructions.
    pub(crate) fn portable(&self) -> Arc<Engine> {
        engine(&self.file, Isa::Portable)
    }

    /// The same weights as floats.
    pub(crate) fn floats(&self) -> &F32Model {
        self.floats.get_or_init(|| F32Model::load(&self.file).expect("the file is whole"))
    }

    /// All of WikiText-2's test split; `None` if it cannot be had, the test is then skipped.
    pub(crate) fn wikitext(&self) -> Option<&'static [u32]> {
        static TOKENS: OnceLock<Vec<u32>> = OnceLock::new();
        let encode = |text| self.tokenizer.encode_bare(text).expect("the text is short enough");
        data::wikitext().map(|text| TOKENS.get_or_init(|| encode(text)).as_slice())
    }

    /// What a user says, as the model reads it.
    pub(crate) fn ask(&self, says: &str) -> Vec<u32> {
        let message = Message { role: Role::User, content: says.to_owned() };
        chat_tokens(&self.tokenizer, &self.template, &[message]).expect("the template takes a user's turn")
    }

    /// The `count` likeliest tokens after `prompt`, one after another, beyond the end of the answer.
    pub(crate) fn greedy(&self, prompt: &[u32], count: usize) -> Vec<u32> {
        let mut sequence = Sequence::new(&self.engine, prompt.len() + count).expect("the context is longer");
        let mut text = prompt.to_vec();
        while text.len() < prompt.len() + count {
            let input = &text[sequence.position()..];
            let next = sequence.prefill(input, |scores| Sampling::GREEDY.choose(scores.logits, &text));
            text.push(next.expect("there is room"));
        }
        text.split_off(prompt.len())
    }
}

fn engine(file: &Gguf, isa: Isa) -> Arc<Engine> {
    let config = EngineConfig { isa, ..EngineConfig::default() };
    Arc::new(Engine::from_gguf(file, config).expect("the model can be computed"))
}
