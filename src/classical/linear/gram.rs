//! Sums over the samples of products of columns: all that least squares, ridge, lasso and the Newton
//! steps of other losses need of tall data.

use crate::classical::data::Training;
use crate::classical::linalg;
use crate::classical::parallel;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, s};

/// Rows that are centred and scaled into a buffer at a time: with a hundred columns it stays in the cache.
const BLOCK: usize = 256;
/// The rows are cut into at most so many parts, summed apart; a fixed number, so that the sum does not
/// depend on the threads.
const PARTS: usize = 8;
/// A product of more columns is parallel in itself, and copies of it are too large.
const SINGLE_PART: usize = 1024;

/// The weighted mean of each column.
pub(super) fn column_means(x: ArrayView2<'_, f64>, weights: Option<&[f64]>) -> Array1<f64> {
    let part = x.nrows().div_ceil(PARTS).max(BLOCK);
    let sums: Vec<(Array1<f64>, f64)> = parallel::map(x.len() / 2, 0..x.nrows().div_ceil(part), |index| {
        let (mut sum, mut total) = (vec![0.0; x.ncols()], 0.0);
        for row in index * part..((index + 1) * part).min(x.nrows()) {
            let weight = weights.map_or(1.0, |weights| weights[row]);
            total += weight;
            match x.row(row).to_slice() {
                Some(values) => super::rows::add_scaled(&mut sum, weight, values),
                None => sum.iter_mut().zip(x.row(row)).for_each(|(sum, value)| *sum += weight * value),
            }
        }
        (Array1::from(sum), total)
    });
    let total: f64 = sums.iter().map(|(_, total)| total).sum();
    sums.iter().fold(Array1::zeros(x.ncols()), |all, (sum, _)| all + sum) / total
}

/// `z.t() @ diag(weights) @ z` of the columns of `x` and then `y`, less their means: symmetric,
/// `[columns, columns]`.
pub(super) fn gram(
    x: ArrayView2<'_, f64>,
    y: ArrayView2<'_, f64>,
    weights: Option<&[f64]>,
    means: Option<&[f64]>,
) -> Array2<f64> {
    let (rows, split) = x.dim();
    let columns = split + y.ncols();
    let parts = if columns > SINGLE_PART { 1 } else { PARTS };
    let part = rows.div_ceil(parts).max(BLOCK);
    // The lower triangle is summed in panels of columns, which saves a third of the products.
    let panel = columns.div_ceil(4).max(48);
    let work = rows * columns + parallel::products([rows, columns, columns]);
    let sums: Vec<Array2<f64>> = parallel::map(work, 0..rows.div_ceil(part), |index| {
        let mut sum = Array2::zeros((columns, columns));
        let mut buffer = Array2::zeros((BLOCK, columns));
        let mut used = 0;
        let end = ((index + 1) * part).min(rows);
        for row in index * part..end {
            let weight = weights.map_or(1.0, |weights| weights[row]);
            if weight > 0.0 {
                let mut to = buffer.row_mut(used);
                to.slice_mut(s![..split]).assign(&x.row(row));
                to.slice_mut(s![split..]).assign(&y.row(row));
                if let Some(means) = means {
                    to -= &ArrayView1::from(means);
                }
                if weight != 1.0 {
                    to *= weight.sqrt();
                }
                used += 1;
            }
            if used == BLOCK || row + 1 == end {
                let block = buffer.slice(s![..used, ..]);
                for start in (0..columns).step_by(panel) {
                    let stop = (start + panel).min(columns);
                    let left = block.slice(s![.., start..]);
                    let to = sum.slice_mut(s![start.., start..stop]);
                    linalg::add_matmul(to, left.t(), block.slice(s![.., start..stop]));
                }
                used = 0;
            }
        }
        sum
    });
    let mut all = sums.into_iter().reduce(|all, sum| all + sum).unwrap_or_default();
    for row in 0..columns {
        for column in row + 1..columns {
            all[[row, column]] = all[[column, row]];
        }
    }
    all
}

/// What a least-squares fit on tall data needs: the products of the columns less their means.
pub(super) struct Normal {
    /// `x.t() @ x`, `[features, features]`.
    pub gram: Array2<f64>,
    /// `x.t() @ y`, `[features, targets]`.
    pub xy: Array2<f64>,
    /// The sum of squares of each target.
    pub yy: Array1<f64>,
    /// The means of the features; 0 without intercept.
    pub x_means: Array1<f64>,
    /// The means of the targets; 0 without intercept.
    pub y_means: Array1<f64>,
}

impl Normal {
    /// The sums of `x` and `y [rows, targets]`, centred if there is an intercept.
    pub fn new(
        x: ArrayView2<'_, f64>,
        y: ArrayView2<'_, f64>,
        weights: Option<&[f64]>,
        fit_intercept: bool,
    ) -> Normal {
        let split = x.ncols();
        let (x_means, y_means) = means(x, y, weights, fit_intercept);
        let all: Vec<f64> = x_means.iter().chain(&y_means).copied().collect();
        let sums = gram(x, y, weights, fit_intercept.then_some(&all));
        Normal {
            gram: sums.slice(s![..split, ..split]).to_owned(),
            xy: sums.slice(s![..split, split..]).to_owned(),
            yy: sums.diag().slice(s![split..]).to_owned(),
            x_means,
            y_means,
        }
    }

    /// The intercepts that go with coefficients `[features, targets]`.
    pub fn intercepts(&self, coef: ArrayView2<'_, f64>) -> Vec<f64> {
        (&self.y_means - &self.x_means.dot(&coef)).to_vec()
    }
}

/// The means of features and targets, 0 without intercept.
pub(super) fn means(
    x: ArrayView2<'_, f64>,
    y: ArrayView2<'_, f64>,
    weights: Option<&[f64]>,
    fit_intercept: bool,
) -> (Array1<f64>, Array1<f64>) {
    if fit_intercept {
        (column_means(x, weights), column_means(y, weights))
    } else {
        (Array1::zeros(x.ncols()), Array1::zeros(y.ncols()))
    }
}

/// Features and targets less their means, each row times the root of its weight, as copies.
pub(super) fn centred(
    x: ArrayView2<'_, f64>,
    y: ArrayView2<'_, f64>,
    weights: Option<&[f64]>,
    x_means: &Array1<f64>,
    y_means: &Array1<f64>,
) -> (Array2<f64>, Array2<f64>) {
    let (mut x, mut y) = (&x - x_means, &y - y_means);
    if let Some(weights) = weights {
        let roots = Array1::from_iter(weights.iter().map(|weight| weight.sqrt())).insert_axis(Axis(1));
        x *= &roots;
        y *= &roots;
    }
    (x, y)
}

/// The targets of a regression as one column.
pub(super) fn target_column<'a>(data: &'a Training<'_, Vec<f64>>) -> ArrayView2<'a, f64> {
    ArrayView1::from(&data.y).insert_axis(Axis(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_in_parts_are_the_sums_of_the_definition() {
        let x = Array2::from_shape_fn((1500, 70), |(i, j)| ((i * 31 + j * 17 + i * j) % 23) as f64 - 7.0);
        let y = Array2::from_shape_fn((1500, 2), |(i, j)| ((i * 5 + j) % 11) as f64);
        let weights: Vec<f64> = (0..1500).map(|i| f64::from(i % 4)).collect();
        for (weights, fit_intercept) in [(None, false), (None, true), (Some(&weights[..]), true)] {
            let sums = Normal::new(x.view(), y.view(), weights, fit_intercept);
            let (cx, cy) = centred(x.view(), y.view(), weights, &sums.x_means, &sums.y_means);
            if fit_intercept {
                let total: f64 = weights.map_or(1500.0, |weights| weights.iter().sum());
                let root = weights.map_or(Array1::ones(1500), |w| w.iter().map(|w| w.sqrt()).collect());
                assert!(root.dot(&cx).iter().all(|sum| (sum / total).abs() < 1e-10));
            }
            let close =
                |a: Array2<f64>, b: &Array2<f64>| (a - b).iter().all(|difference| difference.abs() < 1e-6);
            assert!(close(cx.t().dot(&cx), &sums.gram));
            assert!(close(cx.t().dot(&cy), &sums.xy));
            assert!((cy.t().dot(&cy).diag().to_owned() - &sums.yy).iter().all(|value| value.abs() < 1e-6));
        }
    }
}
