//! Where declared regions are, and what that says of round trips: a rough guess, and a bound that nothing beats.
//!
//! A region is its middle, in hundredths of a degree, and reaches [`REACH_KM`] around it. Codes are those of
//! `us-va` or `de`; `eu-de` is the same as `de`. Distances are along the great circle of a sphere of
//! [`EARTH_RADIUS_KM`], in integers: sine and cosine by their series, the arc by halving chords as Archimedes did.

/// Radius of the sphere, in kilometres.
pub const EARTH_RADIUS_KM: u64 = 6_371;
/// How far from its middle a region reaches, in kilometres.
pub const REACH_KM: u64 = 500;
/// Round trip between neighbours, in microseconds: the part of the guess that does not depend on distance.
const GUESS_US: u64 = 19_100;
/// Round trip for each kilometre in the guess, in hundredths of a microsecond; a fit to round trips between 19 cloud
/// regions.
const GUESS_CENTI_US_PER_KM: u64 = 1_642;
/// Round trip of light in fibre, two thirds as fast as in vacuum, for each kilometre, in hundredths of a microsecond.
const LIGHT_CENTI_US_PER_KM: u64 = 1_000;
/// One, in fixed point.
const ONE: i64 = 1 << 30;
/// Pi in that fixed point.
const PI: i64 = 3_373_259_426;

/// A region by its code: latitude and longitude of its middle, in hundredths of a degree, north and east positive.
const REGIONS: [(&str, i64, i64); 26] = [
    ("us-va", 3_800, -7_800),
    ("us-tx", 3_000, -9_800),
    ("us-ca", 3_700, -12_000),
    ("us-or", 4_400, -12_100),
    ("us-oh", 4_000, -8_300),
    ("ca-on", 4_400, -7_950),
    ("ca-qc", 4_600, -7_350),
    ("br-sp", -2_350, -4_660),
    ("ie", 5_330, -630),
    ("gb", 5_150, -10),
    ("nl", 5_230, 490),
    ("de", 5_010, 870),
    ("fr", 4_880, 230),
    ("es", 4_040, -370),
    ("it", 4_550, 920),
    ("pl", 5_220, 2_100),
    ("fi", 6_020, 2_490),
    ("no", 5_990, 1_070),
    ("se", 5_930, 1_800),
    ("ch", 4_740, 850),
    ("za", -2_620, 2_800),
    ("in-mh", 1_850, 7_390),
    ("sg", 130, 10_380),
    ("jp-tk", 3_570, 13_970),
    ("kr", 3_760, 12_700),
    ("au-nsw", -3_390, 15_120),
];

/// Kilometres between the middles of two regions, rounded down; `None` if one of the codes is not known.
#[must_use]
pub fn distance_km(one: &str, other: &str) -> Option<u64> {
    let (a, b) = (direction(one)?, direction(other)?);
    let squares = (0..3).map(|i| u128::from((a[i] - b[i]).unsigned_abs()).pow(2));
    let chord = squares.sum::<u128>().isqrt();
    let km = u128::from(EARTH_RADIUS_KM) * arc(chord) / ONE as u128;
    u64::try_from(km).ok()
}

/// The round trip that is to be expected between two regions, in microseconds.
#[must_use]
pub fn guess_us(one: &str, other: &str) -> Option<u64> {
    Some(GUESS_US + distance_km(one, other)? * GUESS_CENTI_US_PER_KM / 100)
}

/// The shortest round trip that can be between two regions, in microseconds: of light in fibre between their nearest
/// ends. 0 if one of them is not declared or not known.
#[must_use]
pub fn light_us(one: Option<&str>, other: Option<&str>) -> u64 {
    let apart = one.zip(other).and_then(|(one, other)| distance_km(one, other)).unwrap_or(0);
    apart.saturating_sub(2 * REACH_KM) * LIGHT_CENTI_US_PER_KM / 100
}

/// The region's direction from the middle of the earth, of length [`ONE`].
fn direction(code: &str) -> Option<[i64; 3]> {
    let code = code.strip_prefix("eu-").unwrap_or(code);
    let (_, latitude, longitude) = REGIONS.iter().find(|(known, ..)| *known == code)?;
    let [latitude, longitude] = [*latitude, *longitude].map(|centi_degrees| centi_degrees * PI / 18_000);
    let across = cos(latitude);
    Some([times(across, cos(longitude)), times(across, sin(longitude)), sin(latitude)])
}

/// The arc over a chord of the unit circle: halved eight times, arc and chord are the same.
fn arc(chord: u128) -> u128 {
    let one = ONE as u128;
    let mut chord = chord.min(2 * one);
    for _ in 0..8 {
        let rest = (4 * one * one - chord * chord).isqrt();
        chord = chord * one / ((2 * one + rest) * one).isqrt();
    }
    chord << 8
}

/// Of an angle between minus pi and pi, by folding it into a quarter and then the series to the ninth power.
fn sin(angle: i64) -> i64 {
    let angle = match angle {
        steep if steep > PI / 2 => PI - steep,
        steep if steep < -PI / 2 => -PI - steep,
        flat => flat,
    };
    let square = times(angle, angle);
    // x (1 - x^2/6 (1 - x^2/20 (1 - x^2/42 (1 - x^2/72))))
    let series = [72, 42, 20, 6].into_iter().fold(ONE, |inner, part| ONE - times(square, inner) / part);
    times(angle, series)
}

fn cos(angle: i64) -> i64 {
    sin(PI / 2 - angle.abs())
}

/// A product in fixed point.
fn times(a: i64, b: i64) -> i64 {
    // Both are at most ten, so the product fits.
    i64::try_from(i128::from(a) * i128::from(b) / i128::from(ONE)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_globe() {
        // By the haversine formula in floating point, of middles rounded to a tenth of a degree.
        let known = [
            ("gb", "fr", 345),
            ("us-va", "de", 6_661),
            ("sg", "br-sp", 15_982),
            ("au-nsw", "jp-tk", 7_831),
            ("us-ca", "za", 16_774),
        ];
        for (one, other, km) in known {
            let found = distance_km(one, other).unwrap();
            assert!(found.abs_diff(km) <= 10, "{one} {other}: {found}");
            assert_eq!(distance_km(other, one), Some(found));
        }
        assert_eq!(distance_km("de", "eu-de"), Some(0));
        assert_eq!(distance_km("de", "atlantis"), None);
    }

    #[test]
    fn sines_are_right_to_the_fifth_place() {
        for degrees in -180..=180i64 {
            let found = sin(degrees * PI / 180) as f64 / ONE as f64;
            let exact = (degrees as f64).to_radians().sin();
            assert!((found - exact).abs() < 1e-5, "{degrees}: {found} {exact}");
        }
    }

    #[test]
    fn light_takes_its_time_between_declared_regions_alone() {
        assert_eq!(light_us(Some("de"), Some("fr")), 0, "their reaches touch");
        let ocean = light_us(Some("us-va"), Some("eu-de"));
        assert!((55_000..58_000).contains(&ocean), "{ocean}");
        assert_eq!(light_us(None, Some("de")), 0);
        assert_eq!(light_us(Some("de"), Some("atlantis")), 0);
        assert!(guess_us("us-va", "de").unwrap() > ocean);
    }

    #[test]
    fn no_two_regions_share_a_code() {
        let mut codes: Vec<&str> = REGIONS.iter().map(|(code, ..)| *code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), REGIONS.len());
    }
}
