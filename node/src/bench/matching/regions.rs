//! How far regions are from each other: drawn from a seed, or read from a file.

use std::f64::consts::TAU;

use thiserror::Error;

use super::draw::Draw;

/// Regions of a matrix, at most.
pub const REGIONS_MAX: usize = 256;
/// Bytes of a matrix file, at most.
pub const MATRIX_BYTES_MAX: usize = 1 << 20;
/// The longest round trip that a matrix may hold, in milliseconds.
const RTT_MS_MAX: f64 = 60_000.0;
/// Regions that are drawn.
const DRAWN: usize = 19;
/// Round trip within a drawn region, in milliseconds.
const HOME_MS: f64 = 2.0;
/// Round trips against distance, the least squares over cloud regions: milliseconds, and milliseconds per kilometre.
const FIT: (f64, f64) = (19.1, 0.016_42);
/// The radius of the earth, in kilometres.
const EARTH_KM: f64 = 6_371.0;

/// Regions by name, and the round trips between them.
#[derive(Clone, Debug, PartialEq)]
pub struct Regions {
    names: Vec<String>,
    /// By row, in microseconds.
    rtt_us: Vec<u64>,
}

/// Why a text is no matrix of round trips.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "line {line}: {why}; a matrix is a header `id,NAME,...` and for each name a line `NAME,MILLISECONDS,...`"
)]
pub struct MatrixError {
    line: usize,
    why: String,
}

impl Regions {
    /// Regions at random places of the earth.
    pub(super) fn drawn(draw: &mut Draw) -> Self {
        let places: Vec<[f64; 3]> = (0..DRAWN).map(|_| place(draw)).collect();
        let rtt = |(i, a): (usize, &[f64; 3]), (j, b): (usize, &[f64; 3])| {
            let cosine: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
            let km = EARTH_KM * cosine.clamp(-1.0, 1.0).acos();
            microseconds(if i == j { HOME_MS } else { FIT.0 + FIT.1 * km })
        };
        let rows = places.iter().enumerate();
        let rtt_us = rows.flat_map(|a| places.iter().enumerate().map(move |b| rtt(a, b))).collect();
        Self { names: (0..DRAWN).map(|at| format!("region-{at:02}")).collect(), rtt_us }
    }

    /// Regions from lines of comma-separated milliseconds, with the names above and at the left.
    ///
    /// # Errors
    /// With the line that is wrong.
    pub fn parse(text: &str) -> Result<Self, MatrixError> {
        let mut lines = text.lines().map(|line| line.split(',').map(str::trim).collect::<Vec<_>>());
        let header = lines.next().unwrap_or_default();
        let names: Vec<String> = header.iter().skip(1).map(|name| (*name).to_owned()).collect();
        if names.is_empty() || names.len() > REGIONS_MAX {
            let why = format!("{} regions, need 1 to {REGIONS_MAX}", names.len());
            return Err(MatrixError { line: 1, why });
        }
        let mut rtt_us = Vec::with_capacity(names.len() * names.len());
        for (row, name) in names.iter().enumerate() {
            let cells = lines.next().unwrap_or_default();
            let row =
                parse_row(name, &cells, names.len()).map_err(|why| MatrixError { line: row + 2, why })?;
            rtt_us.extend(row);
        }
        Ok(Self { names, rtt_us })
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.names.len()
    }

    /// A region's name.
    pub(super) fn name(&self, region: usize) -> &str {
        &self.names[region]
    }

    /// The round trip between two regions, in microseconds.
    pub(super) fn rtt_us(&self, from: usize, to: usize) -> u64 {
        self.rtt_us[from * self.names.len() + to]
    }
}

/// A point of the unit sphere, each as likely.
fn place(draw: &mut Draw) -> [f64; 3] {
    let (height, turn) = (draw.between(-1.0, 1.0), draw.between(0.0, TAU));
    let radius = (1.0 - height * height).sqrt();
    [radius * turn.cos(), radius * turn.sin(), height]
}

fn parse_row(name: &str, cells: &[&str], regions: usize) -> Result<Vec<u64>, String> {
    if cells.first() != Some(&name) || cells.len() != regions + 1 {
        return Err(format!("expected {name:?} and {regions} numbers"));
    }
    let parse = |cell: &&str| {
        let ms = cell.parse().ok().filter(|ms| (0.0..=RTT_MS_MAX).contains(ms));
        ms.map(microseconds).ok_or_else(|| format!("{cell:?} is no number from 0 to {RTT_MS_MAX}"))
    };
    cells[1..].iter().map(parse).collect()
}

fn microseconds(ms: f64) -> u64 {
    (ms * 1e3) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_is_read_by_name() {
        let regions = Regions::parse("id,a,b\na,2.0,45.5\nb,44,2\n").expect("a matrix");
        assert_eq!((regions.len(), regions.name(1)), (2, "b"));
        assert_eq!([regions.rtt_us(0, 1), regions.rtt_us(1, 0)], [45_500, 44_000]);
    }

    #[test]
    fn what_is_no_matrix_is_refused_with_its_line() {
        let line = |text: &str| Regions::parse(text).map(|_| ()).map_err(|error| error.line);
        assert_eq!(line(""), Err(1));
        assert_eq!(line(&format!("id{}", ",x".repeat(REGIONS_MAX + 1))), Err(1));
        assert_eq!(line("id,a,b\na,1,2\n"), Err(3), "a row is missing");
        for cell in ["-1", "NaN", "inf", "1e9", "", "x", "2,3"] {
            assert_eq!(line(&format!("id,a\na,{cell}")), Err(2), "{cell}");
        }
        assert_eq!(line("id,a\nb,1"), Err(2), "another region's row");
    }

    #[test]
    fn drawn_regions_are_as_far_there_as_back_and_nearest_at_home() {
        let regions = Regions::drawn(&mut Draw::new(1));
        for (i, j) in (0..DRAWN).flat_map(|i| (0..DRAWN).map(move |j| (i, j))) {
            assert_eq!(regions.rtt_us(i, j), regions.rtt_us(j, i));
            assert!(i == j || regions.rtt_us(i, j) > regions.rtt_us(i, i));
        }
    }
}
