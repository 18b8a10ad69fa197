//! Numerics, version 1: the definition of exact inference.
//!
//! This is `docs/NUMERICS.md` as code, one plain function per operator, written to be compared with the page
//! line by line. Everything is integer; no float type occurs. Engines never call this: they are other
//! implementations of the same page that must give the same bits, and `tests/vectors/numerics_v1.txt` is what
//! they check themselves against. Only [`tables`] is shared, because tables are data.
//!
//! Start at [`llama`], which composes the operators into a forward pass:
//!
//! | module | page | operators |
//! |---|---|---|
//! | [`round`], [`scale`], [`a15`] | 1 | `round_shift`, `sat32`, `narrow`, scale arithmetic, A15 |
//! | [`rational`], [`weights`] | 2 | reading float bits as rationals, coding rows and matrices |
//! | [`matvec`], [`embed`], [`norm`], [`bias`], [`rope`], [`attend`], [`exp2`], [`silu`] | 3 | one file a group |
//! | [`llama`] | 4, 8 | the forward pass, and the sizes for which every bound is proven |
//! | [`tables`] | 5 | cos/sin, `2^-x`, logarithms, by integer series |
//! | [`sample`] | 6 | penalties, filters, Threefry, Gumbel noise, log probabilities |
//! | [`score_chain`] | 7 | the digest that ties a receipt to every layer |
//!
//! Functions here take values that are already inside the bounds of the page's section 8 and panic on vectors
//! whose lengths do not fit together; everything that comes from outside (a model file, its sizes, a token)
//! is checked in [`weights`] and [`llama`], which return errors.
#![cfg_attr(not(test), deny(clippy::float_arithmetic))]

pub mod a15;
pub mod attend;
pub mod bias;
pub mod embed;
pub mod exp2;
pub mod llama;
pub mod matvec;
pub mod norm;
pub mod rational;
pub mod rope;
pub mod round;
pub mod sample;
pub mod scale;
pub mod score_chain;
pub mod silu;
pub mod tables;
pub mod weights;

/// Version of the arithmetic. Any change of a rounding, a table or an order of operations raises it.
pub const NUMERICS_VERSION: u16 = 1;

/// The page that this module implements.
pub const NUMERICS_PAGE: &str = include_str!("../../docs/NUMERICS.md");

/// The blake3 digest of the page's bytes, which goes into every receipt.
pub fn numerics_digest() -> [u8; 32] {
    *blake3::hash(NUMERICS_PAGE.as_bytes()).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_that_of_this_version() {
        assert!(NUMERICS_PAGE.starts_with(&format!("# Numerics, version {NUMERICS_VERSION}\n")));
    }
}
