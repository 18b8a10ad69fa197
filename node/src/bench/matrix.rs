//! Round trips between regions.

use super::random::Random;

/// Regions that a matrix may have.
const REGIONS_MAX: usize = 256;
/// The longest round trip that a matrix may state, in milliseconds.
const RTT_MS_MAX: f64 = 10_000.0;
/// What a matrix is written like.
const FORM: &str = "a matrix is a header `id,NAME,...` and for each name a line `NAME,MILLISECONDS,...`";

/// Round trips between regions, each way the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Matrix {
    names: Vec<String>,
    rtt_us: Vec<Vec<u64>>,
}

impl Matrix {
    /// Reads comma-separated lines: `id` and the regions' names, then for each region its name and the round trips to
    /// all of them in milliseconds.
    ///
    /// # Errors
    /// With the line that is not so.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let names: Vec<String> =
            lines.next().unwrap_or_default().split(',').skip(1).map(|name| name.trim().to_owned()).collect();
        if names.is_empty() || names.len() > REGIONS_MAX {
            return Err(format!("line 1: {} regions, not 1 to {REGIONS_MAX}; {FORM}", names.len()));
        }
        let rows = names.iter().enumerate().map(|(i, name)| {
            let line = lines.next().unwrap_or_default();
            row(line, name, names.len()).map_err(|why| format!("line {}: {why}; {FORM}", i + 2))
        });
        let rtt_us = rows.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { names, rtt_us })
    }

    /// Twelve regions scattered over a globe, with round trips of light on detours between them: for whoever has no
    /// measured ones.
    #[must_use]
    pub fn synthetic() -> Self {
        const REGIONS: usize = 12;
        let mut random = Random::new(&[12]);
        let places: Vec<[f64; 3]> = (0..REGIONS).map(|_| on_globe(&mut random)).collect();
        let names = (0..REGIONS).map(|i| format!("region-{i:02}")).collect();
        let mut rtt_us = vec![vec![2_000; REGIONS]; REGIONS];
        for i in 0..REGIONS {
            for j in 0..i {
                let detour = random.between(1.2, 2.0);
                let round_trip = (5_000.0 + 10.0 * detour * apart_km(places[i], places[j])) as u64;
                (rtt_us[i][j], rtt_us[j][i]) = (round_trip, round_trip);
            }
        }
        Self { names, rtt_us }
    }

    /// How many regions there are.
    pub(super) const fn len(&self) -> usize {
        self.names.len()
    }

    /// A region's name.
    pub(super) fn name(&self, region: usize) -> &str {
        &self.names[region]
    }

    /// The regions, in the order of their numbers.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Round trip between two regions by their numbers, in microseconds.
    ///
    /// # Panics
    /// If there are not so many regions.
    #[must_use]
    pub fn rtt_us(&self, one: usize, other: usize) -> u64 {
        self.rtt_us[one][other]
    }
}

fn row(line: &str, name: &str, len: usize) -> Result<Vec<u64>, String> {
    let mut fields = line.split(',').map(str::trim);
    if fields.next() != Some(name) {
        return Err(format!("expected the row of {name:?}"));
    }
    let micros = |field: &str| match field.parse::<f64>() {
        Ok(ms) if ms > 0.0 && ms <= RTT_MS_MAX => Ok((ms * 1_000.0) as u64),
        _ => Err(format!("{field:?} is no round trip of at most {RTT_MS_MAX} ms")),
    };
    let row = fields.map(micros).collect::<Result<Vec<u64>, String>>()?;
    if row.len() == len { Ok(row) } else { Err(format!("{} round trips, not {len}", row.len())) }
}

fn on_globe(random: &mut Random) -> [f64; 3] {
    let (up, around) = (random.between(-0.7, 0.9), random.between(0.0, std::f64::consts::TAU));
    let across = (1.0 - up * up).sqrt();
    [across * around.cos(), across * around.sin(), up]
}

fn apart_km(a: [f64; 3], b: [f64; 3]) -> f64 {
    let dot: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
    6_371.0 * dot.clamp(-1.0, 1.0).acos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_is_read_as_it_is_written() {
        let read = Matrix::parse("id,a,b\na,2.0,45.5\nb,45.5,2.0\n").unwrap();
        assert_eq!(read.names(), ["a", "b"]);
        assert_eq!([read.rtt_us(0, 1), read.rtt_us(1, 1)], [45_500, 2_000]);
    }

    #[test]
    fn what_is_no_matrix_is_refused_with_its_line() {
        let cases = ["", "id,a,b\na,2,4\n", "id,a\nb,2\n", "id,a\na,fast\n", "id,a\na,0\n", "id,a\na,2,3\n"];
        for case in cases {
            assert!(Matrix::parse(case).is_err(), "{case:?}");
        }
        let refused = Matrix::parse("id,a,b\na,2,4\nb,4,inf\n").unwrap_err();
        assert!(refused.starts_with("line 3: \"inf\" is no round trip"), "{refused}");
    }

    #[test]
    fn the_synthetic_matrix_is_that_of_a_globe() {
        let matrix = Matrix::synthetic();
        let regions = 0..matrix.names().len();
        for i in regions.clone() {
            for j in regions.clone() {
                assert_eq!(matrix.rtt_us(i, j), matrix.rtt_us(j, i));
                assert!((2_000..420_000).contains(&matrix.rtt_us(i, j)));
            }
        }
    }
}
