//! How much each column says about the target.

use crate::classical::data::Classes;
use crate::parallel;
use crate::{Error, Result};
use ndarray::{ArrayView1, ArrayView2};

fn columns<'a>(x: ArrayView2<'a, f64>) -> Vec<ArrayView1<'a, f64>> {
    (0..x.ncols()).map(|column| x.slice_move(ndarray::s![.., column])).collect()
}

/// The F statistic of an analysis of variance: how far apart the means of the classes are, against the
/// spread within them. NaN for a constant column.
pub fn f_classif(x: ArrayView2<'_, f64>, y: &Classes) -> Vec<f64> {
    let counts = y.counts(None);
    let (rows, groups) = (x.nrows() as f64, counts.len() as f64);
    let score = |column: ArrayView1<'_, f64>| {
        let mean = column.sum() / rows;
        let mut sums = vec![0.0; counts.len()];
        column.iter().zip(&y.codes).for_each(|(value, &code)| sums[code] += value - mean);
        let total: f64 = column.iter().map(|value| (value - mean).powi(2)).sum();
        let between: f64 = sums.iter().zip(&counts).map(|(sum, count)| sum * sum / count).sum();
        (between / (groups - 1.0)) / ((total - between) / (rows - groups))
    };
    columns(x).into_iter().map(score).collect()
}

/// The F statistic of each column's correlation with the target. NaN for a constant column.
pub fn f_regression(x: ArrayView2<'_, f64>, y: &[f64]) -> Vec<f64> {
    let rows = y.len() as f64;
    let mean_y = y.iter().sum::<f64>() / rows;
    let square_y: f64 = y.iter().map(|y| (y - mean_y).powi(2)).sum();
    let score = |column: ArrayView1<'_, f64>| {
        let mean = column.sum() / rows;
        let square: f64 = column.iter().map(|x| (x - mean).powi(2)).sum();
        let product: f64 = column.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean_y)).sum();
        let r2 = product * product / (square * square_y);
        r2 / (1.0 - r2) * (rows - 2.0)
    };
    columns(x).into_iter().map(score).collect()
}

/// The chi-squared statistic of counts by class against the same shares in every class. NaN for a column
/// of zeros.
///
/// # Errors
/// Values below 0.
pub fn chi2(x: ArrayView2<'_, f64>, y: &Classes) -> Result<Vec<f64>> {
    if let Some(((row, column), value)) = x.indexed_iter().find(|(_, value)| **value < 0.0) {
        return Err(Error::op(
            "chi2",
            format!("x holds {value} at row {row}, column {column}; it takes counts"),
        ));
    }
    let (counts, rows) = (y.counts(None), x.nrows() as f64);
    let score = |column: ArrayView1<'_, f64>| {
        let mut observed = vec![0.0; counts.len()];
        column.iter().zip(&y.codes).for_each(|(value, &code)| observed[code] += value);
        let total: f64 = observed.iter().sum();
        let term = |(observed, count): (&f64, &f64)| {
            let expected = total * count / rows;
            (observed - expected).powi(2) / expected
        };
        observed.iter().zip(&counts).map(term).sum()
    };
    Ok(columns(x).into_iter().map(score).collect())
}

/// The digamma function of the whole numbers up to `n`, from the harmonic numbers.
fn digamma(n: usize) -> Vec<f64> {
    const EULER: f64 = 0.577_215_664_901_532_9;
    let mut values = vec![f64::NEG_INFINITY, -EULER];
    for k in 1..n {
        values.push(values[k] + 1.0 / k as f64);
    }
    values
}

/// Values divided by their standard deviation.
fn scaled(values: impl Iterator<Item = f64> + Clone, rows: usize) -> Vec<f64> {
    let mean = values.clone().sum::<f64>() / rows as f64;
    let deviation = (values.clone().map(|value| (value - mean).powi(2)).sum::<f64>() / rows as f64).sqrt();
    let scale = if deviation > 0.0 { deviation } else { 1.0 };
    values.map(|value| value / scale).collect()
}

fn ascending(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// How many of ascending values lie within a distance of one, ends included. Differences are compared, as
/// those that the distance was made of: sums would round to the ends.
fn within(sorted: &[f64], value: f64, radius: f64) -> usize {
    sorted.partition_point(|&other| other - value <= radius)
        - sorted.partition_point(|&other| value - other > radius)
}

/// The distance from a value to its `k`th nearest other among ascending values.
fn kth_distance(sorted: &[f64], value: f64, k: usize) -> f64 {
    let start = sorted.partition_point(|&other| other < value);
    let (mut below, mut above, mut distance) = (start, start + 1, 0.0);
    for _ in 0..k {
        let left = if below > 0 { value - sorted[below - 1] } else { f64::INFINITY };
        let right = if above < sorted.len() { sorted[above] - value } else { f64::INFINITY };
        if left <= right {
            below -= 1
        } else {
            above += 1
        }
        distance = left.min(right);
    }
    distance
}

/// The mutual information of each continuous column with the class, in nats, estimated from the distances
/// to the `n_neighbors` nearest rows of the same class (Ross, 2014).
pub fn mutual_info_classif(x: ArrayView2<'_, f64>, y: &Classes, n_neighbors: usize) -> Vec<f64> {
    let (rows, counts) = (x.nrows(), y.counts(None));
    let psi = digamma(rows + 1);
    let score = |column: ArrayView1<'_, f64>| {
        let values = scaled(column.iter().copied(), rows);
        let of_class = |class: usize| {
            ascending((0..rows).filter(|&row| y.codes[row] == class).map(|row| values[row]).collect())
        };
        let classes: Vec<Vec<f64>> = (0..counts.len()).map(of_class).collect();
        // A class of one row has no neighbour to measure by.
        let kept: Vec<usize> = (0..rows).filter(|&row| counts[y.codes[row]] > 1.0).collect();
        let all = ascending(kept.iter().map(|&row| values[row]).collect());
        let term = |row: usize| {
            let own = &classes[y.codes[row]];
            let k = n_neighbors.min(own.len() - 1);
            let radius = kth_distance(own, values[row], k).next_down().max(0.0);
            psi[k] - psi[own.len()] - psi[within(&all, values[row], radius).max(1)]
        };
        let sum: f64 = kept.iter().map(|&row| term(row)).sum();
        (psi[kept.len()] + sum / kept.len() as f64).max(0.0)
    };
    parallel::map(1, x.columns(), score)
}

/// The mutual information of each continuous column with a continuous target, in nats, estimated from the
/// distances to the `n_neighbors` nearest rows (Kraskov, Stögbauer and Grassberger, 2004). The time grows
/// with the square of the rows.
pub fn mutual_info_regression(x: ArrayView2<'_, f64>, y: &[f64], n_neighbors: usize) -> Vec<f64> {
    let rows = y.len();
    let psi = digamma(rows + 1);
    let targets = scaled(y.iter().copied(), rows);
    let sorted_targets = ascending(targets.clone());
    let k = n_neighbors.min(rows.saturating_sub(1)).max(1);
    let score = |column: ArrayView1<'_, f64>| {
        let values = scaled(column.iter().copied(), rows);
        let sorted = ascending(values.clone());
        let mut distances = vec![0.0; rows];
        let mut sum = 0.0;
        for row in 0..rows {
            for other in 0..rows {
                distances[other] =
                    (values[row] - values[other]).abs().max((targets[row] - targets[other]).abs());
            }
            // The row itself is at distance 0.
            let (_, kth, _) = distances.select_nth_unstable_by(k.min(rows - 1), f64::total_cmp);
            let radius = kth.next_down().max(0.0);
            sum += psi[within(&sorted, values[row], radius)]
                + psi[within(&sorted_targets, targets[row], radius)];
        }
        (psi[rows] + psi[k] - sum / rows as f64).max(0.0)
    };
    parallel::map(1, x.columns(), score)
}
