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
    /// AVX-512 with byte permutations and VNNI (Ice Lake, Zen 4 and later), refused where the machine lacks any
    /// of them.
    Avx512,
}

/// Proof that this machine executes AVX2 instructions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Avx2(());

/// Proof that this machine executes AVX-512 instructions: F, BW, DQ, VL, VBMI and VNNI, and with them AVX2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Avx512(());

/// The instructions that the operators of one engine use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kernels {
    avx2: Option<Avx2>,
    avx512: Option<Avx512>,
}

impl Isa {
    /// The operators to use on this machine, or nothing where it lacks what was asked for.
    pub fn resolve(self) -> Option<Kernels> {
        let (avx2, avx512) = (Avx2::detect(), Avx512::detect());
        match self {
            Self::Portable => Some(Kernels::PORTABLE),
            Self::Avx2 => avx2.map(|_| Kernels { avx2, avx512: None }),
            Self::Avx512 => avx512.map(|_| Kernels { avx2, avx512 }),
            Self::Auto => Some(Kernels { avx2, avx512 }),
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

impl Avx512 {
    #[cfg(target_arch = "x86_64")]
    fn detect() -> Option<Self> {
        let all = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("avx512vnni");
        all.then_some(Self(()))
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn detect() -> Option<Self> {
        None
    }
}

impl Kernels {
    /// Plain Rust.
    pub const PORTABLE: Self = Self { avx2: None, avx512: None };

    /// The proof that AVX2 instructions may be executed, where they may and should be.
    #[inline(always)]
    pub fn avx2(self) -> Option<Avx2> {
        self.avx2
    }

    /// The proof that AVX-512 instructions may be executed, where they may and should be.
    #[inline(always)]
    pub fn avx512(self) -> Option<Avx512> {
        self.avx512
    }

    /// Name for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self { avx512: Some(_), .. } => "avx512",
            Self { avx2: Some(_), .. } => "avx2",
            _ => "portable",
        }
    }

    /// Runs `work` compiled for the registers of these instructions.
    #[inline(always)]
    pub(crate) fn widened<W: Work>(self, work: W) -> W::Result {
        #[cfg(target_arch = "x86_64")]
        {
            if let Some(proof) = self.avx512 {
                return super::cpu::avx512::widened::run(proof, work);
            }
            if let Some(proof) = self.avx2 {
                return super::cpu::avx2::widened::run(proof, work);
            }
        }
        work.run()
    }
}

/// Plain loops over numbers, to be compiled for registers of any width.
///
/// `run` and what it calls is `#[inline(always)]`, and takes no closures: those, and functions passed as values, may
/// stay functions of their own, compiled for any machine.
pub(crate) trait Work {
    /// What the loops give.
    type Result;

    /// Runs the loops.
    fn run(self) -> Self::Result;
}
