//! Model files: what is read from them, what is refused, and how text becomes tokens.

#[path = "model/bad_files.rs"]
mod bad_files;
#[path = "model/chat.rs"]
mod chat;
#[path = "model/f32_eval.rs"]
mod f32_eval;
#[path = "model/parts.rs"]
mod parts;
#[path = "model/sentence_piece.rs"]
mod sentence_piece;
#[path = "model/tokens.rs"]
mod tokens;
