//! Which instructions the operators may use. The choice changes the speed and never a bit.

/// The instruction set a caller asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Isa {
    /// The fastest this machine has.
    #[default]
    Auto,
    /// Plain Rust, on any machine.
    Portable,
    /// AVX2, refused where the machine has none.
    Avx2,
}

/// Proof that this machine executes AVX2 instructions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Avx2(());

/// The instructions that the operators of one engine use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kernels {
    avx2: Option<Avx2>,
}

impl Isa {
    /// The operators to use on this machine, or nothing where it lacks what was asked for.
    pub fn resolve(self) -> Option<Kernels> {
        match self {
            Self::Portable => Some(Kernels::PORTABLE),
            Self::Avx2 => Avx2::detect().map(|proof| Kernels { avx2: Some(proof) }),
            Self::Auto => Some(Kernels { avx2: Avx2::detect() }),
        }
    }
}

impl Avx2 {
    #[cfg(target_arch = "x86_64")]
    fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn detect() -> Option<Self> {
        None
    }
}

impl Kernels {
    /// Plain Rust.
    pub const PORTABLE: Self = Self { avx2: None };

    /// The proof that AVX2 instructions may be executed, where they may and should be.
    #[inline(always)]
    pub fn avx2(self) -> Option<Avx2> {
        self.avx2
    }

    /// Name for reports.
    pub fn name(self) -> &'static str {
        if self.avx2.is_some() { "avx2" } else { "portable" }
    }
}
