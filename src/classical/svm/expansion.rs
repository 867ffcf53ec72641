//! A decision as a weighted sum of kernels, which regression and outlier detection come down to.

use super::kernel::KernelFunction;
use super::solver::Solution;
use crate::classical::data::Matrix;
use ndarray::{Array2, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

/// `kernel(x, vectors) @ coefficients - rho`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Expansion {
    kernel: KernelFunction,
    /// The numbers of the training rows that are support vectors.
    pub(super) support: Vec<usize>,
    pub(super) vectors: Array2<f64>,
    pub(super) coefficients: Vec<f64>,
    pub(super) rho: f64,
    pub(super) n_iter: usize,
}

impl Expansion {
    /// The rows of `x` with a coefficient; `rows` are the numbers of those that were solved for.
    pub(super) fn new(
        kernel: KernelFunction,
        x: ArrayView2<'_, f64>,
        rows: &[usize],
        solution: &Solution,
    ) -> Expansion {
        let weight =
            |place: &usize| -> f64 { solution.coefficients.iter().skip(*place).step_by(rows.len()).sum() };
        let used: Vec<usize> = (0..rows.len()).filter(|place| weight(place) != 0.0).collect();
        let support: Vec<usize> = used.iter().map(|&place| rows[place]).collect();
        Expansion {
            kernel,
            vectors: x.select(Axis(0), &support),
            support,
            coefficients: used.iter().map(weight).collect(),
            rho: solution.rho,
            n_iter: solution.iterations,
        }
    }

    pub(super) fn fits(&self, columns: usize) -> bool {
        self.kernel.fits(columns) && self.vectors.dim() == (self.coefficients.len(), columns)
    }

    pub(super) fn decisions(&self, x: &Matrix<'_>) -> Vec<f64> {
        let (x, vectors) = (self.kernel.prepare(x.dense().view()), self.kernel.prepare(self.vectors.view()));
        let shape = (self.coefficients.len(), 1);
        let weights = Array2::from_shape_fn(shape, |(place, _)| self.coefficients[place]);
        self.kernel.product(&x, vectors.view(), weights.view()).iter().map(|sum| sum - self.rho).collect()
    }
}

/// What a model with an `expansion` tells about it.
macro_rules! expansion {
    ($model:ident) => {
        impl $model {
            /// The numbers of the training rows that are support vectors.
            pub fn support(&self) -> &[usize] {
                &self.expansion.support
            }

            /// The support vectors, row by row.
            pub fn support_vectors(&self) -> &ndarray::Array2<f64> {
                &self.expansion.vectors
            }

            /// The coefficient of each support vector.
            pub fn dual_coef(&self) -> &[f64] {
                &self.expansion.coefficients
            }

            /// What is added to the weighted kernels.
            pub fn intercept(&self) -> f64 {
                -self.expansion.rho
            }

            /// Steps that the solver took.
            pub fn n_iter(&self) -> usize {
                self.expansion.n_iter
            }
        }
    };
}

pub(super) use expansion;
