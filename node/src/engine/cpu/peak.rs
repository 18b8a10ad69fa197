//! The most that a processor's integer instructions can do: products of a weight's code with a limb of an activation, from
//! registers alone. Nothing is computed with it; `bench engine` says what share of it a prefill reaches.

use super::super::isa::Kernels;

/// Sums that do not wait for each other, more than cover the latency of a multiplication.
pub(crate) const CHAINS: usize = 12;

/// Multiplies and adds `rounds` times in each of twelve sums, with the instruction that products of quantised weights
/// take. Gives the number of products.
pub fn multiply(kernels: Kernels, rounds: u32) -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(proof) = kernels.avx512() {
            return super::avx512::peak::multiply(proof, rounds);
        }
        if let Some(proof) = kernels.avx2() {
            return super::avx2::peak::multiply(proof, rounds);
        }
    }
    let _ = kernels;
    multiply_plain(rounds)
}

fn multiply_plain(rounds: u32) -> u64 {
    let mut sums = [0i32; CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = std::hint::black_box(*sum).wrapping_mul(3).wrapping_add(1);
        }
    }
    std::hint::black_box(sums);
    u64::from(rounds) * CHAINS as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_counts_the_products_of_its_lanes() {
        use crate::engine::isa::Isa;
        let products = |isa: Isa| isa.resolve().map(|kernels| multiply(kernels, 5) / (5 * CHAINS as u64));
        assert_eq!(products(Isa::Portable), Some(1));
        assert!(products(Isa::Avx2).is_none_or(|products| products == 16));
        assert!(products(Isa::Avx512).is_none_or(|products| products == 64));
    }
}
