//! Coordinate descent for least squares with L1 and L2 penalties (Friedman, Hastie and Tibshirani, 2010):
//! `1/2 |y - x @ w|^2 + l1 |w|_1 + l2/2 |w|^2`, with the weights and means of the samples taken into `x`
//! and `y`.

use super::gram::{Normal, centred, means};
use super::rows::{Row, Rows, add_scaled, dot};
use crate::Result;
use crate::classical::data::Matrix;
use ndarray::{Array2, ArrayView2};
use sprs::CsMat;

/// The quadratic part of the objective, at the current coefficients.
pub(super) trait Quadratic {
    /// The product of a column with the residual.
    fn correlation(&self, column: usize) -> f64;
    /// The sum of squares of a column.
    fn squared_norm(&self, column: usize) -> f64;
    /// Adds `delta` to a coefficient.
    fn step(&mut self, column: usize, delta: f64);
    /// The residual's sum of squares and its product with the target.
    fn residual(&self, coef: &[f64]) -> (f64, f64);
}

/// The penalties.
#[derive(Debug, Clone, Copy)]
pub(super) struct Penalty {
    /// Factor of the sum of absolute coefficients.
    pub l1: f64,
    /// Factor of half the sum of squared coefficients.
    pub l2: f64,
    /// Whether coefficients below 0 are forbidden.
    pub positive: bool,
}

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stop {
    /// The most sweeps over the coefficients.
    pub max_iter: usize,
    /// The largest change of a coefficient, as a share of the largest coefficient, at which the duality
    /// gap is looked at.
    pub change: f64,
    /// The duality gap that ends the descent.
    pub gap: f64,
}

/// Moves `coef` to the minimum; the sweeps it took and the duality gap at the end.
pub(super) fn descend(
    problem: &mut dyn Quadratic,
    coef: &mut [f64],
    penalty: Penalty,
    stop: Stop,
) -> (usize, f64) {
    let all: Vec<usize> = (0..coef.len()).filter(|&column| problem.squared_norm(column) > 0.0).collect();
    let mut iterations = 0;
    loop {
        iterations += 1;
        let change = sweep(problem, coef, &all, penalty);
        if change <= stop.change || iterations >= stop.max_iter {
            let gap = duality_gap(problem, coef, penalty);
            if gap <= stop.gap || iterations >= stop.max_iter || change == 0.0 {
                return (iterations, gap);
            }
        }
        // Few coefficients are not 0; most of the way is among them.
        let active: Vec<usize> = all.iter().copied().filter(|&column| coef[column] != 0.0).collect();
        while iterations < stop.max_iter && active.len() < all.len() {
            iterations += 1;
            if sweep(problem, coef, &active, penalty) <= stop.change {
                break;
            }
        }
    }
}

/// Minimises over one coefficient after the other; the largest change as a share of the largest
/// coefficient.
fn sweep(problem: &mut dyn Quadratic, coef: &mut [f64], columns: &[usize], penalty: Penalty) -> f64 {
    let (mut change, mut largest) = (0.0_f64, 0.0_f64);
    for &column in columns {
        let old = coef[column];
        let norm = problem.squared_norm(column);
        let pull = problem.correlation(column) + norm * old;
        let new = if penalty.positive && pull < 0.0 {
            0.0
        } else {
            pull.signum() * (pull.abs() - penalty.l1).max(0.0) / (norm + penalty.l2)
        };
        if new != old {
            problem.step(column, new - old);
            coef[column] = new;
            change = change.max((new - old).abs());
        }
        largest = largest.max(new.abs());
    }
    if largest == 0.0 { if change == 0.0 { 0.0 } else { 1.0 } } else { change / largest }
}

/// An upper bound of how far the objective is above its minimum; without an L1 penalty one that follows
/// from the gradient, or, without any, the gradient's sum of squares.
fn duality_gap(problem: &dyn Quadratic, coef: &[f64], penalty: Penalty) -> f64 {
    let gradient = coef.iter().enumerate().map(|(column, w)| problem.correlation(column) - penalty.l2 * w);
    if penalty.l1 == 0.0 {
        let square: f64 = gradient.map(|value| value * value).sum();
        return if penalty.l2 > 0.0 { square / (2.0 * penalty.l2) } else { square };
    }
    let greatest = gradient
        .fold(0.0_f64, |greatest, value| greatest.max(if penalty.positive { value } else { value.abs() }));
    let (residual, product) = problem.residual(coef);
    let size = residual + penalty.l2 * dot(coef, coef);
    let scale = if greatest > penalty.l1 { penalty.l1 / greatest } else { 1.0 };
    let norm: f64 = coef.iter().map(|w| w.abs()).sum();
    0.5 * size + penalty.l1 * norm + 0.5 * scale * scale * size - scale * product
}

/// Tall data, by the products of its columns: a step costs as many operations as there are columns.
struct Products {
    gram: Array2<f64>,
    target: Vec<f64>,
    target_square: f64,
    /// The product of each column with the residual.
    correlations: Vec<f64>,
}

impl Quadratic for Products {
    fn correlation(&self, column: usize) -> f64 {
        self.correlations[column]
    }

    fn squared_norm(&self, column: usize) -> f64 {
        self.gram[[column, column]]
    }

    fn step(&mut self, column: usize, delta: f64) {
        let row = self.gram.row(column);
        // The array was made in row-major order.
        add_scaled(&mut self.correlations, -delta, row.to_slice().unwrap_or_default());
    }

    fn residual(&self, coef: &[f64]) -> (f64, f64) {
        let product = self.target_square - dot(coef, &self.target);
        ((product - dot(coef, &self.correlations)).max(0.0), product)
    }
}

/// Wide dense data: its columns and the residual.
struct Columns {
    /// `[features, rows]`.
    columns: Array2<f64>,
    norms: Vec<f64>,
    target: Vec<f64>,
    residual: Vec<f64>,
}

impl Columns {
    fn column(&self, column: usize) -> &[f64] {
        let rows = self.residual.len();
        // The array was made in row-major order.
        &self.columns.as_slice().unwrap_or_default()[column * rows..][..rows]
    }
}

impl Quadratic for Columns {
    fn correlation(&self, column: usize) -> f64 {
        dot(self.column(column), &self.residual)
    }

    fn squared_norm(&self, column: usize) -> f64 {
        self.norms[column]
    }

    fn step(&mut self, column: usize, delta: f64) {
        let row = self.columns.row(column);
        add_scaled(&mut self.residual, -delta, row.to_slice().unwrap_or_default());
    }

    fn residual(&self, _: &[f64]) -> (f64, f64) {
        (dot(&self.residual, &self.residual), dot(&self.residual, &self.target))
    }
}

/// Sparse data: its columns as they are, so that zeros stay zeros, and the means beside them.
struct SparseColumns {
    /// `[features, rows]`, compressed by features.
    columns: CsMat<f64>,
    norms: Vec<f64>,
    means: Vec<f64>,
    weights: Vec<f64>,
    total: f64,
    target: Vec<f64>,
    /// The residual without what the means contribute to it, each times its sample's weight.
    weighted: Vec<f64>,
    /// The product of means and coefficients: what the residual lacks.
    shift: f64,
}

impl SparseColumns {
    fn column(&self, column: usize) -> Row<'_> {
        let range = self.columns.indptr().outer_inds_sz(column);
        Row::Sparse(&self.columns.indices()[range.clone()], &self.columns.data()[range])
    }
}

impl Quadratic for SparseColumns {
    fn correlation(&self, column: usize) -> f64 {
        self.column(column).dot(&self.weighted) + self.shift * self.total * self.means[column]
    }

    fn squared_norm(&self, column: usize) -> f64 {
        self.norms[column]
    }

    fn step(&mut self, column: usize, delta: f64) {
        let range = self.columns.indptr().outer_inds_sz(column);
        for (&row, value) in self.columns.indices()[range.clone()].iter().zip(&self.columns.data()[range]) {
            self.weighted[row] -= delta * value * self.weights[row];
        }
        self.shift += delta * self.means[column];
    }

    fn residual(&self, _: &[f64]) -> (f64, f64) {
        let (mut square, mut product) = (0.0, 0.0);
        for ((weighted, &weight), target) in self.weighted.iter().zip(&self.weights).zip(&self.target) {
            if weight > 0.0 {
                let residual = weighted / weight + self.shift;
                square += weight * residual * residual;
                product += weight * residual * target;
            }
        }
        (square, product)
    }
}

/// A least-squares problem ready for descent from coefficients of 0.
pub(super) struct Problem {
    /// The quadratic part.
    pub quadratic: Box<dyn Quadratic + Send>,
    /// The target's sum of squares.
    pub target_square: f64,
    x_means: Vec<f64>,
    y_mean: f64,
}

impl Problem {
    /// The problem of predicting `y`, in the form that suits the data.
    ///
    /// # Errors
    /// A dense matrix that is not row-major.
    pub fn new(x: &Matrix<'_>, y: &[f64], weights: Option<&[f64]>, fit_intercept: bool) -> Result<Problem> {
        let column = ArrayView2::from_shape((y.len(), 1), y)
            .map_err(|error| crate::Error::op("Matrix", error.to_string()))?;
        match x {
            Matrix::Dense(x) if x.nrows() > x.ncols() => {
                let sums = Normal::new(x.view(), column, weights, fit_intercept);
                let target = sums.xy.into_raw_vec_and_offset().0;
                Ok(Problem {
                    target_square: sums.yy[0],
                    quadratic: Box::new(Products {
                        gram: sums.gram,
                        correlations: target.clone(),
                        target,
                        target_square: sums.yy[0],
                    }),
                    x_means: sums.x_means.to_vec(),
                    y_mean: sums.y_means[0],
                })
            }
            Matrix::Dense(x) => {
                let (x_means, y_means) = means(x.view(), column, weights, fit_intercept);
                let (x, y) = centred(x.view(), column, weights, &x_means, &y_means);
                let target = y.into_raw_vec_and_offset().0;
                let columns = x.t().as_standard_layout().into_owned();
                Ok(Problem {
                    target_square: dot(&target, &target),
                    quadratic: Box::new(Columns {
                        norms: columns.rows().into_iter().map(|column| column.dot(&column)).collect(),
                        columns,
                        residual: target.clone(),
                        target,
                    }),
                    x_means: x_means.to_vec(),
                    y_mean: y_means[0],
                })
            }
            Matrix::Sparse(_) => Problem::sparse(x, y, weights, fit_intercept),
        }
    }

    fn sparse(x: &Matrix<'_>, y: &[f64], weights: Option<&[f64]>, fit_intercept: bool) -> Result<Problem> {
        let weights = weights.map_or_else(|| vec![1.0; y.len()], <[f64]>::to_vec);
        let total: f64 = weights.iter().sum();
        let (mut means, mut norms) = (vec![0.0; x.columns()], vec![0.0; x.columns()]);
        let rows = Rows::of(x)?;
        for (row, weight) in weights.iter().enumerate() {
            rows.get(row).for_each(|column, value| {
                means[column] += weight * value;
                norms[column] += weight * value * value;
            });
        }
        let mut y_mean = 0.0;
        if fit_intercept {
            means.iter_mut().for_each(|mean| *mean /= total);
            y_mean = dot(&weights, y) / total;
        } else {
            means.fill(0.0);
        }
        // Rounding must not make a column that is constant look as if it varied.
        norms.iter_mut().zip(&means).for_each(|(norm, mean)| {
            let centred = *norm - total * mean * mean;
            *norm = if centred > *norm * 1e-12 { centred } else { 0.0 };
        });
        let target: Vec<f64> = y.iter().map(|value| value - y_mean).collect();
        let weighted: Vec<f64> = target.iter().zip(&weights).map(|(value, weight)| value * weight).collect();
        let columns = match x {
            Matrix::Sparse(matrix) => matrix.to_csc().transpose_into(),
            Matrix::Dense(array) => CsMat::csc_from_dense(array.view(), 0.0).transpose_into(),
        };
        Ok(Problem {
            target_square: dot(&weighted, &target),
            x_means: means.clone(),
            quadratic: Box::new(SparseColumns {
                columns,
                norms,
                means,
                weights,
                total,
                target,
                weighted,
                shift: 0.0,
            }),
            y_mean,
        })
    }

    /// Starts from these coefficients instead of 0.
    pub fn start(&mut self, coef: &[f64]) {
        for (column, &value) in coef.iter().enumerate().filter(|(_, value)| **value != 0.0) {
            self.quadratic.step(column, value);
        }
    }

    /// The intercept that goes with coefficients.
    pub fn intercept(&self, coef: &[f64]) -> f64 {
        self.y_mean - dot(&self.x_means, coef)
    }

    /// The smallest L1 penalty that keeps all coefficients at 0, from where none has been moved.
    pub fn greatest_l1(&self, positive: bool) -> f64 {
        let columns = 0..self.x_means.len();
        columns.fold(0.0, |greatest: f64, column| {
            let value = self.quadratic.correlation(column);
            greatest.max(if positive { value } else { value.abs() })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array1, s};

    /// The optimality conditions hold, for each form of the problem.
    #[test]
    fn all_forms_reach_the_optimum() -> Result<()> {
        let x = Array2::from_shape_fn((30, 8), |(i, j)| {
            let value = ((i * (j + 3) * 7 + j * 5) % 11) as f64 - 4.0;
            if value.abs() > 2.5 { value } else { 0.0 }
        });
        let y: Vec<f64> = x
            .rows()
            .into_iter()
            .map(|row| 3.0 * row[1] - 2.0 * row[4] + row[6] * row[0] * 0.2 + 5.0)
            .collect();
        let weights: Vec<f64> = (0..30).map(|i| 0.5 + f64::from(i % 3)).collect();
        let sparse = CsMat::csr_from_dense(x.view(), 0.0);
        let mut answers = Vec::new();
        for fit_intercept in [true, false] {
            let column = ArrayView2::from_shape((30, 1), &y).expect("30 values");
            let (x_means, y_means) = means(x.view(), column, Some(&weights), fit_intercept);
            let (cx, cy) = centred(x.view(), column, Some(&weights), &x_means, &y_means);
            for (l1, l2, positive) in
                [(20.0, 0.0, false), (20.0, 7.0, false), (3.0, 0.0, true), (0.0, 5.0, false)]
            {
                for (form, matrix) in
                    [Matrix::Dense(x.view().into()), Matrix::Sparse(sparse.view())].iter().enumerate()
                {
                    let mut problem = Problem::new(matrix, &y, Some(&weights), fit_intercept)?;
                    let mut coef = vec![0.0; 8];
                    let stop = Stop { max_iter: 10_000, change: 1e-12, gap: 1e-12 };
                    let (_, gap) =
                        descend(&mut *problem.quadratic, &mut coef, Penalty { l1, l2, positive }, stop);
                    assert!(gap < 1e-7, "form {form}: gap {gap}");
                    let residual = &cy.column(0) - &cx.dot(&Array1::from(coef.clone()));
                    for (column, w) in coef.iter().enumerate() {
                        let gradient = cx.slice(s![.., column]).dot(&residual) - l2 * w;
                        let fault = match (w.partial_cmp(&0.0), positive) {
                            (Some(std::cmp::Ordering::Equal), true) => (gradient - l1).max(0.0),
                            (Some(std::cmp::Ordering::Equal), false) => (gradient.abs() - l1).max(0.0),
                            _ => gradient - l1 * w.signum(),
                        };
                        assert!(fault.abs() < 1e-5, "form {form}, column {column}: {fault}");
                    }
                    answers.push(problem.intercept(&coef));
                }
            }
        }
        assert!(answers.chunks(2).all(|pair| (pair[0] - pair[1]).abs() < 1e-6), "{answers:?}");
        Ok(())
    }
}
