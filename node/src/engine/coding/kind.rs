//! What the codes of each tensor type are like.

use super::super::fixed::A15_MAX;
pub use crate::model::gguf::TensorType as Kind;

/// How codes are kept for the product.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Four bits, from 0 to 15: the code plus [`Coding::offset`].
    Nibbles,
    /// Eight bits, signed.
    Bytes,
    /// Two limbs, up to 16256 in magnitude.
    Words,
}

/// What the codes of a kind are like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Coding {
    /// How codes are kept.
    pub form: Form,
    /// What a nibble is more than its code; 0 for the other forms.
    pub offset: i16,
    /// Columns that share one scale: 32 or 16.
    pub block: usize,
    /// Whether each block has a minimum.
    pub has_minima: bool,
    /// Largest magnitude of a code.
    pub code_max: u64,
}

impl Coding {
    const fn new(form: Form, code_max: u64) -> Self {
        Self { form, offset: 0, block: super::BLOCK, has_minima: false, code_max }
    }

    const fn with_minima(self) -> Self {
        Self { has_minima: true, ..self }
    }

    /// Least right shift of a block's scaled dot product, so that each limb of it can be rounded alone.
    pub const fn shift_min(self) -> u32 {
        match self.form {
            Form::Nibbles | Form::Bytes => 8,
            Form::Words => 15,
        }
    }
}

impl Kind {
    /// What this kind's codes are like.
    pub const fn coding(self) -> Coding {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => Coding::new(Form::Words, A15_MAX as u64),
            Self::Q4_0 => Coding { offset: 8, ..Coding::new(Form::Nibbles, 8) },
            Self::Q4_1 | Self::Q4K => Coding::new(Form::Nibbles, 15).with_minima(),
            Self::Q5_0 => Coding::new(Form::Bytes, 16),
            Self::Q5_1 => Coding::new(Form::Bytes, 31).with_minima(),
            Self::Q8_0 => Coding::new(Form::Bytes, 128),
            Self::Q6K => Coding { block: super::BLOCK / 2, ..Coding::new(Form::Bytes, 32) },
        }
    }
}
