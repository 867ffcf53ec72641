//! Distances between rows.

use crate::vectors::vectorised;
use crate::{Error, Result};
use ndarray::{Array2, ArrayView2, CowArray, Ix2};
use serde::{Deserialize, Serialize};

/// How the distance between two rows is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The sum of the differences' `p`-th powers, to the power `1/p`; `p` is a parameter of its own.
    #[default]
    Minkowski,
    /// The root of the sum of squared differences.
    Euclidean,
    /// The sum of the differences' sizes.
    Manhattan,
    /// The largest of the differences' sizes.
    Chebyshev,
    /// 1 less the cosine of the angle between the rows. A row of zeros is at distance 1 from every row
    /// but another row of zeros.
    Cosine,
}

impl Metric {
    /// The metric with its parameter.
    ///
    /// # Errors
    /// A `p` below 1, for which the triangle inequality does not hold.
    pub(crate) fn distance(self, name: &'static str, p: f64) -> Result<Distance> {
        Ok(match self {
            Metric::Euclidean => Distance::Euclidean,
            Metric::Manhattan => Distance::Manhattan,
            Metric::Chebyshev => Distance::Chebyshev,
            Metric::Cosine => Distance::Cosine,
            Metric::Minkowski if p == 1.0 => Distance::Manhattan,
            Metric::Minkowski if p == 2.0 => Distance::Euclidean,
            Metric::Minkowski if p == f64::INFINITY => Distance::Chebyshev,
            Metric::Minkowski if p > 1.0 => Distance::Minkowski(p),
            Metric::Minkowski => return Err(Error::op(name, format!("p is {p}; it must be 1 or more"))),
        })
    }
}

/// A metric ready for use. Comparisons are made on *reduced* distances, which grow with the distance and
/// cost less: the square of a Euclidean distance, say.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum Distance {
    Euclidean,
    Manhattan,
    Chebyshev,
    Minkowski(f64),
    /// On rows that [`Distance::prepare`] made: half the squared Euclidean distance of unit vectors.
    Cosine,
}

/// Sums or maxima are taken in as many lanes as a vector register may hold.
const LANES: usize = 8;

/// The terms of two rows joined in lanes, which compiles to vector instructions.
#[inline(always)]
fn lanes(a: &[f64], b: &[f64], term: impl Fn(f64) -> f64, join: impl Fn(f64, f64) -> f64) -> f64 {
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a_chunks.remainder().iter().zip(b_chunks.remainder());
    let mut total = rest.fold(0.0, |total, (a, b)| join(total, term(a - b)));
    if a.len() >= LANES {
        let mut lanes = [0.0; LANES];
        for (a, b) in a_chunks.zip(b_chunks) {
            for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
                *lane = join(*lane, term(a - b));
            }
        }
        total = lanes.into_iter().fold(total, join);
    }
    total
}

fn greater(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}

impl Distance {
    /// The rows that distances are taken between: themselves, or for the cosine unit vectors with one
    /// more column, which is 1 for rows of zeros so that they stand at right angles to all others.
    pub(crate) fn prepare<'a>(self, rows: ArrayView2<'a, f64>) -> CowArray<'a, f64, Ix2> {
        if self != Distance::Cosine {
            return rows.into();
        }
        let columns = rows.ncols();
        let mut prepared = Array2::zeros((rows.nrows(), columns + 1));
        for (from, mut to) in rows.rows().into_iter().zip(prepared.rows_mut()) {
            // Divided by the largest value first, so that no square overflows or vanishes.
            let largest = from.fold(0.0, |largest, value: &f64| greater(largest, value.abs()));
            if largest == 0.0 {
                to[columns] = 1.0;
                continue;
            }
            let norm = from.fold(0.0, |sum, value| sum + (value / largest).powi(2)).sqrt();
            to.iter_mut().zip(from).for_each(|(to, from)| *to = from / largest / norm);
        }
        prepared.into()
    }

    /// Whether prepared values are so large that a distance may overflow.
    ///
    /// # Errors
    /// Names the largest value.
    pub(crate) fn check(self, name: &'static str, rows: ArrayView2<'_, f64>) -> Result<()> {
        let rows_in_order = rows.as_standard_layout();
        let (eights, rest) = rows_in_order.as_slice().unwrap_or_default().as_chunks::<8>();
        // Eight at a time: a single one would wait for each comparison.
        let mut lanes = [0.0; 8];
        for eight in eights {
            lanes.iter_mut().zip(eight).for_each(|(lane, value)| *lane = greater(*lane, value.abs()));
        }
        let largest = lanes.iter().chain(rest).fold(0.0, |largest, value| greater(largest, value.abs()));
        let power = match self {
            Distance::Euclidean | Distance::Cosine => 2.0,
            Distance::Manhattan | Distance::Chebyshev => 1.0,
            Distance::Minkowski(p) => p,
        };
        if ((2.0 * largest).powf(power) * 4.0 * rows.ncols() as f64).is_finite() {
            return Ok(());
        }
        Err(Error::op(
            name,
            format!("distances between values as large as {largest} overflow; scale x first"),
        ))
    }

    /// The reduced distance of two prepared rows.
    #[inline(always)]
    pub(crate) fn reduced(self, a: &[f64], b: &[f64]) -> f64 {
        match self {
            Distance::Euclidean | Distance::Cosine => {
                lanes(a, b, |difference| difference * difference, |a, b| a + b)
            }
            Distance::Manhattan => lanes(a, b, f64::abs, |a, b| a + b),
            Distance::Chebyshev => lanes(a, b, f64::abs, greater),
            Distance::Minkowski(p) => lanes(a, b, |difference| difference.abs().powf(p), |a, b| a + b),
        }
    }

    /// The reduced distances of a prepared row from many, which lie one after the other.
    pub(crate) fn reduced_to_rows(self, row: &[f64], rows: &[f64], out: &mut [f64]) {
        // One call of `reduced` for each metric, so that the choice is made outside the loop.
        #[inline(always)]
        fn fill(distance: Distance, row: &[f64], rows: &[f64], out: &mut [f64]) {
            for (out, other) in out.iter_mut().zip(rows.chunks_exact(row.len())) {
                *out = distance.reduced(row, other);
            }
        }
        vectorised(
            #[inline(always)]
            || match self {
                Distance::Euclidean | Distance::Cosine => fill(Distance::Euclidean, row, rows, out),
                Distance::Manhattan => fill(Distance::Manhattan, row, rows, out),
                Distance::Chebyshev => fill(Distance::Chebyshev, row, rows, out),
                Distance::Minkowski(_) => fill(self, row, rows, out),
            },
        );
    }

    /// The distance that a reduced one stands for.
    pub(crate) fn expand(self, reduced: f64) -> f64 {
        match self {
            Distance::Euclidean => reduced.sqrt(),
            Distance::Manhattan | Distance::Chebyshev => reduced,
            Distance::Minkowski(p) => reduced.powf(1.0 / p),
            Distance::Cosine => reduced / 2.0,
        }
    }

    /// The reduced distance that stands for a distance.
    pub(crate) fn reduce(self, distance: f64) -> f64 {
        match self {
            Distance::Euclidean => distance * distance,
            Distance::Manhattan | Distance::Chebyshev => distance,
            Distance::Minkowski(p) => distance.powf(p),
            Distance::Cosine => distance * 2.0,
        }
    }

    /// The reduced distance of a row from the nearest point of a box, up to rounding.
    pub(super) fn reduced_to_box(self, row: &[f64], low: &[f64], high: &[f64]) -> f64 {
        let outside = row
            .iter()
            .zip(low)
            .zip(high)
            .map(|((&value, &low), &high)| greater(greater(low - value, value - high), 0.0));
        match self {
            Distance::Euclidean | Distance::Cosine => outside.map(|outside| outside * outside).sum(),
            Distance::Manhattan => outside.sum(),
            Distance::Chebyshev => outside.fold(0.0, greater),
            Distance::Minkowski(p) => outside.map(|outside| outside.powf(p)).sum(),
        }
    }

    /// The reduced distance of a row from the nearest point of a ball, up to rounding: `reduced` is that
    /// from the centre.
    pub(super) fn reduced_to_ball(self, reduced: f64, radius: f64) -> f64 {
        // Half a square obeys no triangle inequality; the distance of the unit vectors does.
        let metric = if self == Distance::Cosine { Distance::Euclidean } else { self };
        metric.reduce((metric.expand(reduced) - radius).max(0.0))
    }

    /// The radius in the sense of [`Distance::reduced_to_ball`] of the ball that reaches to `reduced`.
    pub(super) fn radius(self, reduced: f64) -> f64 {
        if self == Distance::Cosine { reduced.sqrt() } else { self.expand(reduced) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    /// Against sums written out, on a length that leaves a remainder of the lanes.
    #[test]
    fn reduced_distances_follow_their_definitions() -> Result<()> {
        let rows = Array2::from_shape_fn((4, 19), |(i, j)| ((i * 7 + j * 5) % 11) as f64 - 4.0);
        for (metric, p) in [(Metric::Minkowski, 1.0), (Metric::Minkowski, 2.0), (Metric::Minkowski, 3.0)] {
            let distance = metric.distance("test", p)?;
            let mut out = vec![0.0; 4];
            let first = rows.row(0).to_vec();
            distance.reduced_to_rows(&first, &rows.iter().copied().collect::<Vec<_>>(), &mut out);
            for (row, reduced) in rows.rows().into_iter().zip(out) {
                let sum: f64 = row.iter().zip(&first).map(|(a, b)| (a - b).abs().powf(p)).sum();
                let found = distance.expand(reduced);
                assert!((found - sum.powf(1.0 / p)).abs() < 1e-12, "p {p}: {found}");
                assert!((distance.reduce(found) - reduced).abs() < 1e-9);
            }
        }
        let chebyshev = Metric::Minkowski.distance("test", f64::INFINITY)?;
        assert_eq!(chebyshev.reduced(&[1.0, -3.0], &[2.0, 4.0]), 7.0);
        assert!(Metric::Minkowski.distance("test", 0.5).is_err());
        assert!(Metric::Minkowski.distance("test", f64::NAN).is_err());
        Ok(())
    }

    #[test]
    fn cosine_is_one_less_the_cosine() {
        let rows = array![[3.0, 4.0], [-4.0, 3.0], [0.0, 0.0], [6.0, 8.0], [1e300, 0.0]];
        let rows = Distance::Cosine.prepare(rows.view());
        let rows: Vec<Vec<f64>> = rows.rows().into_iter().map(|row| row.to_vec()).collect();
        let between =
            |i: usize, j: usize| Distance::Cosine.expand(Distance::Cosine.reduced(&rows[i], &rows[j]));
        for (i, j, expected) in [(0, 1, 1.0), (0, 2, 1.0), (2, 2, 0.0), (0, 3, 0.0), (0, 4, 0.4)] {
            assert!((between(i, j) - expected).abs() < 1e-15, "{i} {j}: {}", between(i, j));
        }
    }

    #[test]
    fn overflow_is_refused() {
        let rows = array![[1e160, 0.0]];
        assert!(Distance::Euclidean.check("test", rows.view()).is_err());
        assert!(Distance::Manhattan.check("test", rows.view()).is_ok());
    }
}
