//! What must hold on the real model: `cargo test -p gridhour-testkit --test real_model -- --nocapture` shows
//! the figures. The model is pulled if it is not cached; see [`testkit::data`] for what is skipped and when.

#[path = "real_model/greedy.rs"]
mod greedy;
#[path = "real_model/prompts.rs"]
mod prompts;
#[path = "real_model/same_bits.rs"]
mod same_bits;
#[path = "real_model/subject.rs"]
mod subject;
#[path = "real_model/text.rs"]
mod text;
