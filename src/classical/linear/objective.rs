//! Losses of linear functions summed over the samples, with their gradients: what L-BFGS minimises for
//! logistic regression and generalised linear models.

use super::rows::Rows;
use crate::classical::data::Matrix;
use crate::classical::linalg;
use crate::classical::parallel;
use ndarray::{Array2, ArrayView2, ArrayViewMut2, s};

/// Rows whose values are computed at a time; they and their gradients stay in the cache.
const BLOCK: usize = 256;
/// The rows are cut into at most so many parts, summed apart; a fixed number, so that the sum does not
/// depend on the threads.
const PARTS: usize = 8;
/// From so many functions on, matrix products are faster than products of one row after the other.
const PRODUCTS_FROM: usize = 3;

/// The sum over the samples of a loss of `outputs` linear functions, and the L2 penalty of their
/// coefficients. A point is the coefficients, function after function, and then, if there are any, the
/// intercepts.
pub(super) struct Objective<'a, 'x> {
    pub x: &'a Matrix<'x>,
    pub rows: Rows<'a>,
    pub outputs: usize,
    pub fit_intercept: bool,
    /// Factor of half the sum of squared coefficients.
    pub l2: f64,
}

impl Objective<'_, '_> {
    /// How many numbers a point has.
    pub fn size(&self) -> usize {
        self.outputs * (self.x.columns() + usize::from(self.fit_intercept))
    }

    /// What an evaluation takes: products, and an exponential for each value.
    pub fn work(&self) -> usize {
        let (rows, columns) = (self.x.rows(), self.x.columns());
        rows * self.outputs * 8 + parallel::products([4 * rows, self.outputs, columns])
    }

    /// The value at a point, and its gradient. `loss` is given a row's index and the values of the
    /// functions there; it returns the row's loss and leaves the derivatives in the values' place.
    pub fn evaluate(
        &self,
        point: &[f64],
        gradient: &mut [f64],
        loss: impl Fn(usize, &mut [f64]) -> f64 + Sync,
    ) -> f64 {
        let rows = self.x.rows();
        let part = rows.div_ceil(PARTS).max(2 * BLOCK);
        let parts: Vec<(f64, Vec<f64>)> = parallel::map(self.work(), 0..rows.div_ceil(part), |index| {
            let mut gradient = vec![0.0; point.len()];
            let mut value = 0.0;
            let end = ((index + 1) * part).min(rows);
            for start in (index * part..end).step_by(BLOCK) {
                value += self.block(start, (start + BLOCK).min(end), point, &mut gradient, &loss);
            }
            (value, gradient)
        });
        let coefficients = self.outputs * self.x.columns();
        gradient.fill(0.0);
        let mut sum = 0.0;
        for (value, part) in parts {
            sum += value;
            gradient.iter_mut().zip(part).for_each(|(all, part)| *all += part);
        }
        for (gradient, &w) in gradient.iter_mut().zip(&point[..coefficients]) {
            sum += 0.5 * self.l2 * w * w;
            *gradient += self.l2 * w;
        }
        sum
    }

    fn block(
        &self,
        start: usize,
        end: usize,
        point: &[f64],
        gradient: &mut [f64],
        loss: &(impl Fn(usize, &mut [f64]) -> f64 + Sync),
    ) -> f64 {
        let (outputs, features) = (self.outputs, self.x.columns());
        let (coef, intercept) = point.split_at(outputs * features);
        let (coef_gradient, intercept_gradient) = gradient.split_at_mut(outputs * features);
        let mut values = vec![0.0; (end - start) * outputs];
        if self.fit_intercept {
            values.chunks_exact_mut(outputs).for_each(|row| row.copy_from_slice(intercept));
        }
        let products = match self.x {
            Matrix::Dense(x) if outputs >= PRODUCTS_FROM => {
                let shape = (outputs, features);
                ArrayView2::from_shape(shape, coef)
                    .and_then(|coef| Ok((coef, ArrayViewMut2::from_shape(shape, &mut *coef_gradient)?)))
                    .ok()
                    .map(|(coef, gradient)| (x.slice(s![start..end, ..]), coef, gradient))
            }
            _ => None,
        };
        let mut value = 0.0;
        let mut losses = |values: &mut [f64]| {
            for (row, values) in (start..end).zip(values.chunks_exact_mut(outputs)) {
                value += loss(row, values);
                if self.fit_intercept {
                    intercept_gradient
                        .iter_mut()
                        .zip(values)
                        .for_each(|(all, derivative)| *all += *derivative);
                }
            }
        };
        match products {
            Some((x, coef, gradient)) => {
                let mut raw = Array2::from_shape_vec((end - start, outputs), values).unwrap_or_default();
                linalg::add_matmul(raw.view_mut(), x, coef.t());
                losses(raw.as_slice_mut().unwrap_or_default());
                linalg::add_matmul(gradient, raw.t(), x);
            }
            None => {
                for (row, values) in (start..end).zip(values.chunks_exact_mut(outputs)) {
                    let row = self.rows.get(row);
                    values
                        .iter_mut()
                        .zip(coef.chunks_exact(features))
                        .for_each(|(value, coef)| *value += row.dot(coef));
                }
                losses(&mut values);
                for (row, values) in (start..end).zip(values.chunks_exact(outputs)) {
                    let row = self.rows.get(row);
                    for (gradient, &derivative) in coef_gradient.chunks_exact_mut(features).zip(values) {
                        if derivative != 0.0 {
                            row.add_to(gradient, derivative);
                        }
                    }
                }
            }
        }
        value
    }
}
