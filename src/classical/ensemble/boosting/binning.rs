//! Features as at most 256 bins each, which histograms are made of.

use crate::classical::parallel;
use crate::classical::random;
use crate::{Error, Result};
use ndarray::{ArrayView1, ArrayView2};

/// Columns with more rows than this are binned by a sample of them.
const SAMPLE: usize = 200_000;
/// The most features in a group.
const WIDTH: usize = 4;

/// How the values of a feature are binned; the bin after the last holds missing values.
#[derive(Debug)]
pub(super) enum Bins {
    /// Bin `i` ends with the `i`-th threshold; the last bin has none.
    Numbers(Vec<f64>),
    /// Bin `i` is the `i`-th category.
    Categories(Vec<u8>),
}

impl Bins {
    /// How many bins there are for values that are not missing.
    pub fn count(&self) -> usize {
        match self {
            Bins::Numbers(thresholds) => thresholds.len() + 1,
            Bins::Categories(codes) => codes.len(),
        }
    }

    fn bin(&self, value: f64) -> u8 {
        let bin = match self {
            _ if value.is_nan() => self.count(),
            Bins::Numbers(thresholds) => thresholds.partition_point(|&threshold| value > threshold),
            Bins::Categories(codes) => codes.partition_point(|&code| f64::from(code) < value),
        };
        // There are at most 255 bins and the one of missing values.
        bin as u8
    }

    /// Bins of about equal weight; of single values where they are few.
    fn numbers(
        name: &'static str,
        column: ArrayView1<'_, f64>,
        weights: Option<&[f64]>,
        max_bins: usize,
        seed: u64,
    ) -> Result<Bins> {
        let weighted = |row: usize| (column[row], weights.map_or(1.0, |weights| weights[row]));
        let mut values: Vec<(f64, f64)> = if column.len() > SAMPLE {
            let mut rng = random::stream(seed, column.len());
            (0..SAMPLE).map(|_| weighted(rng.usize(..column.len()))).collect()
        } else {
            (0..column.len()).map(weighted).collect()
        };
        values.retain(|(value, weight)| !value.is_nan() && *weight > 0.0);
        values.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let mut distinct: Vec<f64> = values.iter().map(|(value, _)| *value).collect();
        distinct.dedup();
        let mut thresholds = if distinct.len() <= max_bins {
            distinct.windows(2).map(|pair| halfway(pair[0], pair[1])).collect()
        } else {
            quantiles(&values, max_bins)
        };
        thresholds.dedup();
        if thresholds.iter().any(|threshold| !threshold.is_finite()) {
            return Err(Error::op(name, "x holds values too large to be put into bins"));
        }
        Ok(Bins::Numbers(thresholds))
    }

    fn categories(
        name: &'static str,
        column: usize,
        values: ArrayView1<'_, f64>,
        max_bins: usize,
    ) -> Result<Bins> {
        let mut seen = [false; 256];
        for (row, &value) in values.iter().enumerate().filter(|(_, value)| !value.is_nan()) {
            let code = value as usize;
            if code as f64 != value || code >= max_bins {
                let message = format!(
                    "x holds {value} at row {row} of the categorical column {column}; categories are \
                     whole numbers from 0 to {}",
                    max_bins - 1
                );
                return Err(Error::op(name, message));
            }
            seen[code] = true;
        }
        Ok(Bins::Categories((0..=255).filter(|&code| seen[usize::from(code)]).collect()))
    }
}

/// The middle of two values, but below the higher one.
fn halfway(low: f64, high: f64) -> f64 {
    let middle = low / 2.0 + high / 2.0;
    if middle < high { middle } else { low }
}

/// The values that part these sorted values and weights into parts of equal weight; where a part ends
/// exactly with a value, halfway to the next.
fn quantiles(sorted: &[(f64, f64)], parts: usize) -> Vec<f64> {
    let total: f64 = sorted.iter().map(|(_, weight)| weight).sum();
    let (mut at, mut below) = (0, 0.0);
    let quantile = |part: usize| {
        // By way of per cent, so that scikit-learn's rounding decides what ends exactly.
        let wanted = part as f64 * (100.0 / parts as f64) / 100.0 * total;
        while at + 1 < sorted.len() && below + sorted[at].1 < wanted {
            below += sorted[at].1;
            at += 1;
        }
        let (value, weight) = sorted[at];
        match sorted.get(at + 1) {
            Some(&(next, _)) if below + weight == wanted && next > value => halfway(value, next),
            _ => value,
        }
    };
    (1..parts).map(quantile).collect()
}

/// The bins of a few neighbouring features, row after row.
#[derive(Debug)]
pub(super) struct Group {
    /// The first feature.
    pub first: usize,
    /// How many features.
    pub width: usize,
    pub bins: Vec<u8>,
}

/// A binned matrix.
#[derive(Debug)]
pub(super) struct Binned {
    pub features: Vec<Bins>,
    pub has_missing: Vec<bool>,
    pub groups: Vec<Group>,
    pub rows: usize,
}

impl Binned {
    /// Bins all columns; those of `categorical` by category.
    ///
    /// # Errors
    /// Values of categorical columns that are no codes, and values near the largest `f64`.
    pub fn new(
        name: &'static str,
        x: ArrayView2<'_, f64>,
        weights: Option<&[f64]>,
        categorical: &[usize],
        max_bins: usize,
        seed: u64,
    ) -> Result<Binned> {
        let bins = |column: usize| {
            if categorical.contains(&column) {
                Bins::categories(name, column, x.column(column), max_bins)
            } else {
                Bins::numbers(name, x.column(column), weights, max_bins, seed)
            }
        };
        // Sorting, and then a search for each value, of some nanoseconds a step.
        let work = 32 * x.len();
        let features = parallel::map(work, 0..x.ncols(), bins).into_iter().collect::<Result<Vec<Bins>>>()?;
        // An even number of groups of near equal width parts well between threads.
        let groups = x.ncols().div_ceil(WIDTH).next_multiple_of(2).min(x.ncols());
        let group = |index: usize| {
            let first = index * x.ncols() / groups;
            let width = (index + 1) * x.ncols() / groups - first;
            let mut bins = Vec::with_capacity(x.nrows() * width);
            for row in x.rows() {
                bins.extend((first..first + width).map(|feature| features[feature].bin(row[feature])));
            }
            Group { first, width, bins }
        };
        let groups = parallel::map(work, 0..groups, group);
        let has_missing = (0..x.ncols()).map(|column| x.column(column).iter().any(|value| value.is_nan()));
        Ok(Binned { has_missing: has_missing.collect(), features, groups, rows: x.nrows() })
    }

    /// The bins of a feature: those of its group, the place in a row, and the length of a row.
    pub fn feature(&self, feature: usize) -> (&[u8], usize, usize) {
        let index = self.groups.partition_point(|group| group.first + group.width <= feature);
        let group = &self.groups[index];
        (&group.bins, feature - group.first, group.width)
    }
}
