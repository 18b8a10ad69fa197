//! A stream of numbers from a seed and a name.

/// Numbers that depend on the seed and the name alone.
pub(super) struct Random(blake3::OutputReader);

impl Random {
    pub(super) fn new(seed: u64, name: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("gridhour test weights v1");
        hasher.update(&seed.to_le_bytes()).update(name.as_bytes());
        Self(hasher.finalize_xof())
    }

    /// Close to the standard normal distribution: the sum of twelve 16-bit uniforms, recentred.
    pub(super) fn normal(&mut self) -> f32 {
        let mut bytes = [[0; 2]; 12];
        self.0.fill(bytes.as_flattened_mut());
        let sum: u32 = bytes.iter().map(|pair| u32::from(u16::from_le_bytes(*pair))).sum();
        sum as f32 / 65_536.0 - 6.0
    }
}
