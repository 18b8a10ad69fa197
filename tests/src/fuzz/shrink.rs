//! A failing input made small: parts are left out, then set to zero, as long as it still fails.

/// How many smaller inputs are tried.
const ATTEMPTS_MAX: usize = 4_000;

/// A smaller input for which `fails` still holds; `input` itself if none is found.
pub(super) fn shrink(input: &[u8], fails: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut smallest = input.to_vec();
    let mut attempts = 0;
    let mut still_fails = |bytes: &[u8]| {
        attempts += 1;
        attempts <= ATTEMPTS_MAX && fails(bytes)
    };
    for change in [truncated, without, zeroed] {
        let mut size = smallest.len().div_ceil(2);
        while size > 0 {
            let mut at = 0;
            while at < smallest.len() {
                let candidate = change(&smallest, at, size);
                if candidate != smallest && still_fails(&candidate) {
                    smallest = candidate;
                } else {
                    at += size;
                }
            }
            size /= 2;
        }
    }
    smallest
}

/// Cut off `size` bytes before the end; the same for every place.
fn truncated(bytes: &[u8], _: usize, size: usize) -> Vec<u8> {
    bytes[..bytes.len().saturating_sub(size)].to_vec()
}

fn without(bytes: &[u8], at: usize, size: usize) -> Vec<u8> {
    let end = bytes.len().min(at + size);
    [&bytes[..at], &bytes[end..]].concat()
}

fn zeroed(bytes: &[u8], at: usize, size: usize) -> Vec<u8> {
    let end = bytes.len().min(at + size);
    let mut bytes = bytes.to_vec();
    bytes[at..end].fill(0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_is_left() {
        let input: Vec<u8> = (0..200).collect();
        assert_eq!(shrink(&input, |bytes| bytes.contains(&77)), [77]);
        assert_eq!(shrink(&input, |bytes| bytes.len() >= 5 && bytes[4] == 4), [0, 0, 0, 0, 4]);
        assert_eq!(shrink(&input, |_| false), input);
    }
}
