//! Truncated singular value decomposition: principal components without centring, for sparse matrices.

use super::projection::{flipped, shares};
use super::{check_columns, check_count, finite, numbered};
use crate::Result;
use crate::classical::data::{Accepts, Matrix, Training};
use crate::classical::estimator::{FitTransformer, Parameters, Target, Transformer};
use crate::classical::linalg::{self, Operand};
use crate::classical::params::{model, params};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

/// A fitted truncated singular value decomposition.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TruncatedSvd {
    n_features: usize,
    components: Array2<f64>,
    explained_variance: Array1<f64>,
    explained_variance_ratio: Array1<f64>,
    singular_values: Array1<f64>,
}

params! {
    /// Parameters of [`TruncatedSvd`]: the directions of the largest singular values, by random
    /// projection (Halko, Martinsson and Tropp, 2011). The data is not centred, so a sparse matrix stays
    /// sparse; on tf-idf of texts this is latent semantic analysis.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use sprs::TriMat;
    ///
    /// let mut counts = TriMat::new((3, 4));
    /// for (row, column, value) in [(0, 0, 2.0), (0, 1, 1.0), (1, 1, 3.0), (2, 3, 1.0)] {
    ///     counts.add_triplet(row, column, value);
    /// }
    /// let x = counts.to_csr::<usize>();
    /// assert_eq!(TruncatedSvd::params().fit_transform(&x)?.dim(), (3, 2));
    /// # Ok::<(), kiln::Error>(())
    /// ```
    TruncatedSvdParams for TruncatedSvd = "TruncatedSVD" {
        /// How many components to keep, at most the number of features.
        n_components: usize = 2,
        /// Power iterations: more are slower and nearer to the exact decomposition.
        n_iter: usize = 5,
        /// Random directions beyond the components.
        n_oversamples: usize = 10,
        /// Seed of the random directions.
        seed: u64 = 0,
    }

    fn accepts(&self) -> Accepts {
        SPARSE
    }
}

const SPARSE: Accepts = Accepts { sparse: true, ..Accepts::PLAIN };

impl FitTransformer for TruncatedSvdParams {
    type Model = TruncatedSvd;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<TruncatedSvd> {
        let n_features = data.x.columns();
        let most = n_features.min(data.x.rows());
        let count = check_count(Self::NAME, self.n_components, most, "the smaller of samples and features")?;
        let operand = Operand::new(&data.x);
        let (_, singular_values, components) =
            linalg::randomized_svd(operand, count, self.n_oversamples, Some(self.n_iter), self.seed)?;
        let components = finite(Self::NAME, flipped(components.view()))?;
        let transformed = Operand::new(&data.x).times(components.t());
        let explained_variance = transformed.var_axis(Axis(0), 0.0);
        let explained_variance_ratio = shares(&explained_variance, total_variance(&data.x));
        Ok(TruncatedSvd {
            n_features,
            components,
            explained_variance,
            explained_variance_ratio,
            singular_values,
        })
    }
}

/// The sum of the features' variances.
fn total_variance(x: &Matrix<'_>) -> f64 {
    match x {
        Matrix::Dense(array) => array.var_axis(Axis(0), 0.0).sum(),
        Matrix::Sparse(matrix) => {
            let rows = matrix.rows() as f64;
            let mut sums = vec![0.0; matrix.cols()];
            matrix.iter().for_each(|(value, (_, column))| sums[column] += value);
            let mut squares: f64 = sums.iter().map(|sum| (sum / rows).powi(2) * rows).sum();
            // Each stored value counts by its distance from the mean, each 0 by the mean's own square.
            for (value, (_, column)) in matrix.iter() {
                let mean = sums[column] / rows;
                squares += (value - mean).powi(2) - mean * mean;
            }
            squares / rows
        }
    }
}

impl TruncatedSvd {
    /// Right singular vectors, `[components, features]`.
    pub fn components(&self) -> ArrayView2<'_, f64> {
        self.components.view()
    }

    /// The variance of the transformed training rows along each component.
    pub fn explained_variance(&self) -> ArrayView1<'_, f64> {
        self.explained_variance.view()
    }

    /// The share of the features' whole variance that each component holds.
    pub fn explained_variance_ratio(&self) -> ArrayView1<'_, f64> {
        self.explained_variance_ratio.view()
    }

    /// The largest singular values, descending.
    pub fn singular_values(&self) -> ArrayView1<'_, f64> {
        self.singular_values.view()
    }
}

impl Transformer for TruncatedSvd {
    fn transform_rows(&self, x: &Matrix<'_>) -> Result<Matrix<'static>> {
        let rows = match x {
            Matrix::Dense(array) => linalg::matmul(array.view(), self.components.t()),
            Matrix::Sparse(matrix) => linalg::sparse_times(*matrix, self.components.t()),
        };
        Ok(Matrix::Dense(finite("TruncatedSVD", rows)?.into()))
    }

    fn inverse_rows(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        check_columns("TruncatedSVD", x.columns(), self.components.nrows())?;
        finite("TruncatedSVD", linalg::matmul(x.dense().view(), self.components.view())).map(Some)
    }

    fn feature_names_out(&self, _input: &[String]) -> Vec<String> {
        numbered("truncatedsvd", self.components.nrows())
    }
}

model!(
    TruncatedSvd = "TruncatedSVD",
    fn accepts(&self) -> Accepts {
        SPARSE
    },
    fn is_consistent(&self) -> bool {
        self.components.ncols() == self.n_features
    }
);
