//! Model files: what a `.gguf` file says, and the tokenizer, template and manifest made from it.

pub mod assets;
pub mod catalogue;
pub mod chat;
pub mod config;
pub mod gguf;
mod map;
pub mod pull;
pub mod template;
pub mod tokenizer;
