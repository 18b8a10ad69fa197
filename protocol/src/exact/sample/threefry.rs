//! Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2,
//! 3", 2011): a counter-based generator of additions, rotations and exclusive ors only.

/// Rotation distances, repeated every eight rounds.
const ROTATIONS: [u32; 8] = [13, 15, 26, 6, 17, 29, 16, 24];

/// The constant of the key schedule.
const PARITY: u32 = 0x1bd1_1bda;

/// Rounds between two additions of the key.
const ROUNDS_PER_KEY: usize = 4;

/// The two words of block `counter` under `key`.
pub fn threefry2x32(key: [u32; 2], counter: [u32; 2]) -> [u32; 2] {
    let schedule = [key[0], key[1], PARITY ^ key[0] ^ key[1]];
    let mut x = [counter[0].wrapping_add(schedule[0]), counter[1].wrapping_add(schedule[1])];
    for injection in 1..=5 {
        for round in 0..ROUNDS_PER_KEY {
            let rotation = ROTATIONS[((injection - 1) * ROUNDS_PER_KEY + round) % 8];
            x[0] = x[0].wrapping_add(x[1]);
            x[1] = x[1].rotate_left(rotation) ^ x[0];
        }
        x[0] = x[0].wrapping_add(schedule[injection % 3]);
        x[1] = x[1].wrapping_add(schedule[(injection + 1) % 3]).wrapping_add(injection as u32);
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers published with Random123 (file `kat_vectors`).
    #[test]
    fn published_known_answers() {
        let answers = [
            ([0, 0], [0, 0], [0x6b20_0159, 0x99ba_4efe]),
            ([u32::MAX; 2], [u32::MAX; 2], [0x1cb9_96fc, 0xbb00_2be7]),
            ([0x1319_8a2e, 0x0370_7344], [0x243f_6a88, 0x85a3_08d3], [0xc492_3a9c, 0x483d_f7a0]),
        ];
        for (key, counter, expected) in answers {
            assert_eq!(threefry2x32(key, counter), expected);
        }
    }
}
