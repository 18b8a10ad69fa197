//! Calibration: a challenger times a provider on a standard job that fills the memory which the provider
//! claims.
//!
//! The job is inference on a model whose weights follow from a seed that the provider could not know before.
//! The challenger computes the same job layer by layer, compares by equality, and signs what its own clock
//! showed. So a rate is of a machine that held the model and computed every layer of it.
//! `docs/CALIBRATION.md` has the whole.
//!
//! ```text
//!  challenger                                 provider
//!  Ask {memory, seed} ────────────────────>   judges; withdraws its offer; frees its memory
//!                     <────────────────────  Preparing, or Refused and the end
//!                     <────────────────────  Ready: the model of this seed is loaded
//!  Prompt {nonce}     ────────────────────>   reads the prompt that follows from the nonce
//!                     <────────────────────  First {token}                prefill: Prompt to First
//!  Continue {nonce}   ────────────────────>   writes; the noise follows from this nonce
//!                     <────────────────────  Rest {tokens, scores}        decode: Continue to Rest
//!  computes it again  ────────────────────>   offers its own model again meanwhile
//!  Receipt            ────────────────────>   checks it; its next advert shows it
//! ```
//!
//! Each half of the job begins with a nonce drawn when the other half's answer is there, so no part of the
//! decoding can be done while the prefill is timed, nor the other way round.
//!
//! | module | idea |
//! |---|---|
//! | [`shape`] | how large the model is that fills a memory, and what its job costs |
//! | [`tensor`] | the bytes of its weights |
//! | [`job`] | the prompt and the noise of one challenge, from its nonces |
//! | [`message`] | what is said |
//! | [`provider`] | who is calibrated when, and what the provider believes of a receipt |
//! | [`challenger`] | which answers count, and what they took |
//! | [`receipt`] | what the challenger signs, and the rates that follow |
//! | [`timetable`] | how long each side waits |

pub mod challenger;
pub mod job;
pub mod message;
pub mod provider;
pub mod receipt;
pub mod shape;
pub mod tensor;
pub mod timetable;
