//! Kernel functions, evaluated on whole rows and blocks.

use crate::classical::linalg;
use crate::classical::parallel;
use crate::classical::params::{Setting, untagged};
use crate::vectors::vectorised;
use crate::{Error, Result};
use ndarray::{Array1, Array2, ArrayView2, Axis, s};
use serde::{Deserialize, Serialize};

/// Which function measures how alike two rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kernel {
    /// `x.y`
    Linear,
    /// `(gamma x.y + coef0)^degree`
    Poly,
    /// `exp(-gamma |x - y|^2)`
    #[default]
    Rbf,
    /// `tanh(gamma x.y + coef0)`
    Sigmoid,
}

/// The kernel's coefficient.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "snake_case")]
pub enum Gamma {
    /// `1 / (columns * variance of all values of x)`
    #[default]
    Scale,
    /// `1 / columns`
    Auto,
    /// A number, 0 or more.
    #[serde(untagged)]
    Value(f64),
}

untagged!(Gamma);

impl Setting<Gamma> for f64 {
    fn setting(self) -> Gamma {
        Gamma::Value(self)
    }
}

/// A kernel with its numbers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct KernelFunction {
    kernel: Kernel,
    gamma: f64,
    coef0: f64,
    degree: u32,
    /// Subtracted from every row first. Differences do not change by it, but the rounding errors of the
    /// products that they are computed from grow with the size of the values.
    centre: Option<Array1<f64>>,
}

/// Rows that a thread evaluates against a block of others at a time.
const ROWS: usize = 128;
const BLOCK: usize = 256;

impl KernelFunction {
    /// The kernel for the training rows `x`.
    ///
    /// # Errors
    /// A `gamma` that is negative, and kernel values that overflow; in the name of `name`.
    pub(super) fn new(
        name: &'static str,
        kernel: Kernel,
        gamma: Gamma,
        coef0: f64,
        degree: u32,
        x: ArrayView2<'_, f64>,
    ) -> Result<KernelFunction> {
        let columns = x.ncols() as f64;
        let gamma = match gamma {
            Gamma::Value(gamma) if gamma >= 0.0 && gamma.is_finite() => gamma,
            Gamma::Value(gamma) => {
                return Err(Error::op(name, format!("gamma is {gamma}; it must be 0 or more")));
            }
            Gamma::Auto => 1.0 / columns,
            // It does not count there.
            Gamma::Scale if kernel == Kernel::Linear => 1.0,
            Gamma::Scale => {
                let variance = x.var(0.0);
                if variance == 0.0 { 1.0 } else { 1.0 / (columns * variance) }
            }
        };
        let centre = if kernel == Kernel::Rbf { x.mean_axis(Axis(0)) } else { None };
        let function = KernelFunction { kernel, gamma, coef0, degree, centre };
        let rows = function.prepare(x);
        let norms = squared_norms(rows.view());
        let largest = function.diagonal(&norms).iter().fold(0.0, |largest, value| value.abs().max(largest));
        // Kernel values are kept in single precision.
        if norms.iter().all(|norm| norm.is_finite()) && largest < f64::from(f32::MAX) && gamma.is_finite() {
            return Ok(function);
        }
        Err(Error::op(name, "kernel values overflow; scale x first"))
    }

    /// Whether it is for rows of so many columns.
    pub(super) fn fits(&self, columns: usize) -> bool {
        self.centre.as_ref().is_none_or(|centre| centre.len() == columns)
    }

    /// Rows as the other methods take them.
    pub(super) fn prepare(&self, x: ArrayView2<'_, f64>) -> Array2<f64> {
        match &self.centre {
            Some(centre) => &x - centre,
            None => x.to_owned(),
        }
    }

    /// The kernel of rows of these squared norms with themselves.
    pub(super) fn diagonal(&self, norms: &[f64]) -> Vec<f64> {
        norms
            .iter()
            .map(|&norm| {
                let mut value = [norm];
                self.apply(&mut value, norm, &[norm]);
                value[0]
            })
            .collect()
    }

    /// Turns the products of one row, whose squared norm is `norm`, with rows of squared norms `norms`
    /// into kernel values.
    #[inline(always)]
    pub(super) fn apply(&self, products: &mut [f64], norm: f64, norms: &[f64]) {
        match self.kernel {
            Kernel::Linear => {}
            Kernel::Poly => {
                let power = i32::try_from(self.degree).unwrap_or(i32::MAX);
                products.iter_mut().for_each(|value| *value = (self.gamma * *value + self.coef0).powi(power));
            }
            Kernel::Rbf => {
                for (value, other) in products.iter_mut().zip(norms) {
                    let square = norm + other - 2.0 * *value;
                    *value = exp(-self.gamma * if square > 0.0 { square } else { 0.0 });
                }
            }
            Kernel::Sigmoid => {
                products.iter_mut().for_each(|value| *value = (self.gamma * *value + self.coef0).tanh());
            }
        }
    }

    /// `kernel(x, y) @ weights` for prepared rows `x` and `y`: `[rows of x, columns of weights]`, on all
    /// cores. A row's result does not depend on the rows beside it.
    pub(super) fn product(
        &self,
        x: &Array2<f64>,
        y: ArrayView2<'_, f64>,
        weights: ArrayView2<'_, f64>,
    ) -> Array2<f64> {
        if self.kernel == Kernel::Linear {
            // A linear function is one product, however many rows it was made of.
            return linalg::matmul(x.view(), linalg::matmul(y.t(), weights).view());
        }
        let mut out = Array2::zeros((x.nrows(), weights.ncols()));
        if out.is_empty() {
            return out;
        }
        let (x_norms, y_norms) = (squared_norms(x.view()), squared_norms(y));
        let width = weights.ncols();
        let pieces = out.as_slice_mut().unwrap_or_default().chunks_mut(ROWS * width).enumerate();
        let pairs = x.nrows() * y.nrows();
        let work = 2 * pairs + parallel::products([pairs, x.ncols() + width, 1]);
        parallel::for_each(work, pieces, |(piece, out)| {
            let first = piece * ROWS;
            let count = out.len() / width;
            let x = x.slice(s![first..first + count, ..]);
            let mut total = Array2::zeros((count, width));
            let mut part = Array2::zeros((count, width));
            let mut values = vec![0.0; count * BLOCK];
            for start in (0..y.nrows()).step_by(BLOCK) {
                let end = (start + BLOCK).min(y.nrows());
                let values = &mut values[..count * (end - start)];
                let shape = (count, end - start);
                if let Ok(block) = ndarray::ArrayViewMut2::from_shape(shape, values) {
                    linalg::matmul_into(1.0, x, y.slice(s![start..end, ..]).t(), block);
                }
                vectorised(
                    #[inline(always)]
                    || {
                        for (values, norm) in values.chunks_exact_mut(end - start).zip(&x_norms[first..]) {
                            self.apply(values, *norm, &y_norms[start..end]);
                        }
                    },
                );
                if let Ok(block) = ArrayView2::from_shape(shape, values) {
                    linalg::matmul_into(1.0, block, weights.slice(s![start..end, ..]), part.view_mut());
                }
                total += &part;
            }
            out.iter_mut().zip(&total).for_each(|(out, value)| *out = *value);
        });
        out
    }
}

/// The squared norm of each row, added up in the order in which kernel rows are.
pub(super) fn squared_norms(rows: ArrayView2<'_, f64>) -> Vec<f64> {
    /// Rows that are added up together: the sum of one alone would wait for each addition.
    const TOGETHER: usize = 8;
    let columns = rows.ncols().max(1);
    let rows = rows.as_standard_layout();
    let block = |block: &[f64]| {
        let mut sums = [0.0; TOGETHER];
        for column in 0..columns {
            for (sum, row) in sums.iter_mut().zip(block.chunks_exact(columns)) {
                *sum += row[column] * row[column];
            }
        }
        sums.into_iter().take(block.len() / columns)
    };
    rows.as_slice().unwrap_or_default().chunks(TOGETHER * columns).flat_map(block).collect()
}

/// The exponential of a number up to 0, without branches, so that loops of it become vector code; within
/// 2 units in the last place, and about 0 below -708.
#[inline(always)]
fn exp(x: f64) -> f64 {
    /// Added to a number, this leaves the nearest integer in the low bits of its mantissa.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    /// ln 2 in two parts, the first of which has zeros at its end, so that products with it are exact.
    const LN2: [f64; 2] = [6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10];
    /// 1 / n! from n = 13 down to 0.
    const TERMS: [f64; 14] = [
        1.0 / 6_227_020_800.0,
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ];
    let x = if x > -708.0 { x } else { -708.0 };
    let shifted = x * std::f64::consts::LOG2_E + ROUND;
    let power = shifted - ROUND;
    let rest = x - power * LN2[0] - power * LN2[1];
    let series = TERMS.iter().fold(0.0, |sum, term| sum * rest + term);
    series * f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_follows_the_library() {
        for step in 0..100_000 {
            let x = -f64::from(step) * 0.00707;
            let (found, expected) = (exp(x), x.exp());
            assert!((found - expected).abs() <= 4.5e-16 * expected, "exp({x}) is {expected}, not {found}");
        }
        assert!(exp(-1e300) < 1e-300);
        assert_eq!(exp(0.0), 1.0);
    }

    /// Against the definition, pair by pair, over several blocks.
    #[test]
    fn products_follow_the_definition() -> Result<()> {
        let x = Array2::from_shape_fn((300, 5), |(i, j)| ((i * 7 + j * 3) % 11) as f64 / 5.0 + 50.0);
        let y = Array2::from_shape_fn((270, 5), |(i, j)| ((i * 5 + j) % 13) as f64 / 6.0 + 50.0);
        let weights = Array2::from_shape_fn((270, 2), |(i, j)| ((i + j) % 3) as f64 - 1.0);
        for kernel in [Kernel::Linear, Kernel::Poly, Kernel::Rbf, Kernel::Sigmoid] {
            let gamma = if kernel == Kernel::Rbf { 0.5 } else { 1e-4 };
            let function = KernelFunction::new("test", kernel, Gamma::Value(gamma), 0.5, 3, x.view())?;
            let found = function.product(
                &function.prepare(x.view()),
                function.prepare(y.view()).view(),
                weights.view(),
            );
            for (i, row) in x.rows().into_iter().enumerate() {
                let mut expected = [0.0; 2];
                for (j, other) in y.rows().into_iter().enumerate() {
                    let product = row.dot(&other);
                    let value = match kernel {
                        Kernel::Linear => product,
                        Kernel::Poly => (gamma * product + 0.5).powi(3),
                        Kernel::Rbf => (-gamma * (&row - &other).mapv(|d| d * d).sum()).exp(),
                        Kernel::Sigmoid => (gamma * product + 0.5).tanh(),
                    };
                    (0..2).for_each(|k| expected[k] += value * weights[[j, k]]);
                }
                for k in 0..2 {
                    let error = (found[[i, k]] - expected[k]).abs();
                    assert!(error < 1e-9 * (1.0 + expected[k].abs()), "{kernel:?} {i}: {error}");
                }
            }
        }
        Ok(())
    }
}
