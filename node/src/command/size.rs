//! Sizes of memory as users write them.

/// Bytes, from a number and perhaps a unit: `5`, `512MiB`, `2 GiB`.
///
/// # Errors
/// With a sentence, if it is no whole number, of another unit, or more than 64 bits hold.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
    let unit = units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)));
    let (number, shift) = unit.unwrap_or((text, 0));
    let expected = |_| "expected bytes, or a whole number with KiB, MiB or GiB, such as 512MiB".to_owned();
    let number: u64 = number.trim().parse().map_err(expected)?;
    number.checked_mul(1 << shift).ok_or_else(|| "that is more than any machine has".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_with_or_without_a_unit() {
        assert_eq!(parse_size("5"), Ok(5));
        assert_eq!(parse_size("4MiB"), Ok(4 << 20));
        assert_eq!(parse_size("2 GiB"), Ok(2 << 30));
        for text in ["", "MiB", "4MB", "-1", "1.5GiB", "99999999999GiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
