//! A weighted sum of normal densities, and what one step of expectation maximisation needs of it.

use crate::classical::linalg::{add_matmul, cholesky, matmul_into, solve_lower};
use crate::classical::parallel;
use crate::{Error, Result};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, s};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// What the covariances of the components have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CovarianceType {
    /// A matrix for each component.
    #[default]
    Full,
    /// One matrix for all.
    Tied,
    /// A variance for each component and feature.
    Diag,
    /// A variance for each component.
    Spherical,
}

/// The components: `covariances` holds a matrix for each (`Full`), a single one (`Tied`), a row of
/// variances for each (`[1, features]`, `Diag`) or a single variance for each (`[1, 1]`, `Spherical`).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Density {
    pub kind: CovarianceType,
    pub weights: Array1<f64>,
    /// `[components, features]`.
    pub means: Array2<f64>,
    pub covariances: Vec<Array2<f64>>,
    /// In the same form, `f` with `f f^T` the inverse of the covariance.
    factors: Vec<Array2<f64>>,
    /// The logarithm of weight and normalisation of each component.
    constants: Array1<f64>,
}

/// Weighted sums over samples, around the means of the density that weighted them.
pub(super) struct Moments {
    /// The weight of each component.
    pub counts: Array1<f64>,
    /// The sums of differences from the mean, `[components, features]`.
    pub firsts: Array2<f64>,
    /// The sums of their products, in the form of the covariances.
    pub seconds: Vec<Array2<f64>>,
    /// The sum of the samples' log-likelihoods.
    pub log_likelihood: f64,
}

/// Parts that the samples are divided into, whatever the number of threads.
const PARTS: usize = 16;

/// Numbers that the differences of a block of rows from all means may take.
const BLOCK: usize = 1 << 16;

impl Density {
    /// Whether it is one of rows of so many columns.
    pub fn fits(&self, columns: usize) -> bool {
        let components = self.means.nrows();
        let (count, shape) = match self.kind {
            CovarianceType::Full => (components, (columns, columns)),
            CovarianceType::Tied => (1, (columns, columns)),
            CovarianceType::Diag => (components, (1, columns)),
            CovarianceType::Spherical => (components, (1, 1)),
        };
        let fit = |matrices: &[Array2<f64>]| {
            matrices.len() == count && matrices.iter().all(|matrix| matrix.dim() == shape)
        };
        components > 0
            && self.means.ncols() == columns
            && (self.weights.len(), self.constants.len()) == (components, components)
            && fit(&self.covariances)
            && fit(&self.factors)
    }

    /// The density with these covariances; refuses those that are not positive definite.
    pub fn new(
        kind: CovarianceType,
        weights: Array1<f64>,
        means: Array2<f64>,
        covariances: Vec<Array2<f64>>,
    ) -> Result<Density> {
        let factors = covariances.iter().map(|matrix| factor(kind, matrix)).collect::<Option<Vec<_>>>();
        let factors = factors.ok_or_else(|| {
            Error::op(
                "GaussianMixture",
                "a covariance is not positive definite: use fewer components, a larger reg_covar, or scale the features",
            )
        })?;
        let features = means.ncols() as f64;
        let constants = weights.iter().enumerate().map(|(k, weight)| {
            let f = &factors[k.min(factors.len() - 1)];
            let half_log_determinant = match kind {
                CovarianceType::Full | CovarianceType::Tied => f.diag().mapv(f64::ln).sum(),
                CovarianceType::Diag => f.mapv(f64::ln).sum(),
                CovarianceType::Spherical => features * f[[0, 0]].ln(),
            };
            weight.ln() + half_log_determinant - 0.5 * features * (2.0 * PI).ln()
        });
        let constants = constants.collect();
        Ok(Density { kind, weights, means, covariances, factors, constants })
    }

    /// The covariance of a component as a full matrix.
    pub fn covariance(&self, k: usize) -> Array2<f64> {
        let stored = &self.covariances[k.min(self.covariances.len() - 1)];
        match self.kind {
            CovarianceType::Full | CovarianceType::Tied => stored.clone(),
            CovarianceType::Diag => Array2::from_diag(&stored.row(0)),
            CovarianceType::Spherical => Array2::from_diag_elem(self.means.ncols(), stored[[0, 0]]),
        }
    }

    fn block(&self) -> usize {
        (BLOCK / self.means.len()).clamp(16, 256)
    }

    /// `ln(weight * density)` of rows, `[rows, components]`; `differences` are those from each mean.
    fn log_joint(&self, differences: &[Array2<f64>], scratch: &mut Array2<f64>) -> Array2<f64> {
        let rows = differences[0].nrows();
        let mut out = Array2::zeros((rows, self.weights.len()));
        for (k, mut column) in out.columns_mut().into_iter().enumerate() {
            let (difference, f) = (differences[k].view(), &self.factors[k.min(self.factors.len() - 1)]);
            let distance = |row: ArrayView1<'_, f64>| -> f64 {
                match self.kind {
                    CovarianceType::Full | CovarianceType::Tied => row.dot(&row),
                    CovarianceType::Diag => row.iter().zip(f).map(|(value, f)| (value * f).powi(2)).sum(),
                    CovarianceType::Spherical => row.dot(&row) * f[[0, 0]].powi(2),
                }
            };
            let full = matches!(self.kind, CovarianceType::Full | CovarianceType::Tied);
            if full {
                matmul_into(1.0, difference, f.view(), scratch.slice_mut(s![..rows, ..]));
            }
            let whitened = if full { scratch.slice(s![..rows, ..]) } else { difference };
            for (out, row) in column.iter_mut().zip(whitened.rows()) {
                *out = self.constants[k] - 0.5 * distance(row);
            }
        }
        out
    }

    fn differences(&self, block: ArrayView2<'_, f64>) -> Vec<Array2<f64>> {
        self.means.rows().into_iter().map(|mean| &block - &mean).collect()
    }

    /// What a step on so many rows takes.
    pub fn work(&self, x: ArrayView2<'_, f64>) -> usize {
        x.nrows() * self.weights.len() * (8 + x.ncols())
    }

    /// The log-likelihood of each row and its probabilities of the components, `[rows, components]`.
    pub fn expectation(&self, x: ArrayView2<'_, f64>) -> (Vec<f64>, Array2<f64>) {
        let blocks = x.axis_chunks_iter(Axis(0), self.block());
        let parts: Vec<_> = parallel::map(self.work(x), blocks, |block| {
            let mut scratch = Array2::zeros(block.dim());
            let mut joint = self.log_joint(&self.differences(block), &mut scratch);
            (normalize(&mut joint), joint)
        });
        let mut log_likelihoods = Vec::with_capacity(x.nrows());
        let mut probabilities = Array2::zeros((x.nrows(), self.weights.len()));
        for (part, joint) in parts {
            let start = log_likelihoods.len();
            log_likelihoods.extend(part);
            probabilities.slice_mut(s![start..log_likelihoods.len(), ..]).assign(&joint);
        }
        (log_likelihoods, probabilities)
    }

    /// The moments of samples, weighted by their probabilities of the components, or by given ones.
    pub fn moments(&self, x: ArrayView2<'_, f64>, given: Option<ArrayView2<'_, f64>>) -> Moments {
        let part = x.nrows().div_ceil(PARTS).max(1);
        let starts = (0..x.nrows()).step_by(part);
        let parts: Vec<Moments> = parallel::map(self.work(x), starts, |start| {
            let end = x.nrows().min(start + part);
            let mut moments = self.no_moments();
            let mut scratch = Array2::zeros((self.block(), x.ncols()));
            for from in (start..end).step_by(self.block()) {
                let to = end.min(from + self.block());
                let mut differences = self.differences(x.slice(s![from..to, ..]));
                let probabilities = match given {
                    Some(given) => given.slice(s![from..to, ..]).to_owned(),
                    None => {
                        let mut joint = self.log_joint(&differences, &mut scratch);
                        moments.log_likelihood += normalize(&mut joint).iter().sum::<f64>();
                        joint
                    }
                };
                moments.add(self.kind, &mut differences, &probabilities);
            }
            moments
        });
        let mut total = self.no_moments();
        for part in parts {
            total.counts += &part.counts;
            total.firsts += &part.firsts;
            total.seconds.iter_mut().zip(&part.seconds).for_each(|(total, part)| *total += part);
            total.log_likelihood += part.log_likelihood;
        }
        total
    }

    fn no_moments(&self) -> Moments {
        let (components, features) = self.means.dim();
        let shape = match self.kind {
            CovarianceType::Full => (features, features),
            // One covariance for all follows from the samples' own, which no step changes.
            CovarianceType::Tied => (0, 0),
            CovarianceType::Diag | CovarianceType::Spherical => (1, features),
        };
        Moments {
            counts: Array1::zeros(components),
            firsts: Array2::zeros((components, features)),
            seconds: vec![Array2::zeros(shape); components],
            log_likelihood: 0.0,
        }
    }
}

impl Moments {
    fn add(&mut self, kind: CovarianceType, differences: &mut [Array2<f64>], probabilities: &Array2<f64>) {
        for (k, difference) in differences.iter_mut().enumerate() {
            let weights = probabilities.column(k);
            self.counts[k] += weights.sum();
            let mut first = self.firsts.row_mut(k);
            for (row, &weight) in difference.rows().into_iter().zip(&weights) {
                first.scaled_add(weight, &row);
            }
            let second = &mut self.seconds[k];
            match kind {
                CovarianceType::Full => {
                    // The root of the weight on both sides of the product.
                    for (mut row, weight) in difference.rows_mut().into_iter().zip(&weights) {
                        row *= weight.sqrt();
                    }
                    add_matmul(second.view_mut(), difference.t(), difference.view());
                }
                CovarianceType::Tied => {}
                CovarianceType::Diag | CovarianceType::Spherical => {
                    for (row, &weight) in difference.rows().into_iter().zip(&weights) {
                        second.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value * value);
                    }
                }
            }
        }
    }
}

/// Turns joint logarithms into probabilities, row by row; returns the logarithm of each row's sum.
fn normalize(joint: &mut Array2<f64>) -> Vec<f64> {
    let normalize_row = |mut row: ndarray::ArrayViewMut1<'_, f64>| {
        let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        row.mapv_inplace(|value| (value - most).exp());
        let sum = row.sum();
        row /= sum;
        most + sum.ln()
    };
    joint.rows_mut().into_iter().map(normalize_row).collect()
}

/// `f` with `f f^T` the inverse of a covariance in its stored form, if it is positive definite.
fn factor(kind: CovarianceType, covariance: &Array2<f64>) -> Option<Array2<f64>> {
    let f = match kind {
        CovarianceType::Full | CovarianceType::Tied => {
            let l = cholesky(covariance.view())?;
            solve_lower(l.view(), Array2::eye(l.nrows()).view())?.reversed_axes()
        }
        CovarianceType::Diag | CovarianceType::Spherical => {
            covariance.mapv(|variance| variance.sqrt().recip())
        }
    };
    (f.iter().all(|value| value.is_finite()) && f.diag().iter().all(|value| *value > 0.0)).then_some(f)
}
