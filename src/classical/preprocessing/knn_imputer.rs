//! Missing values from the nearest rows that have them.

use super::columns::{MISSING, each_column, each_row, finite, mean, same_names};
use crate::Result;
use crate::classical::data::{Accepts, Matrix, Training};
use crate::classical::estimator::{FitTransformer, Parameters, Target, Transformer};
use crate::classical::params::{model, params};
use ndarray::{Array2, ArrayView1, ArrayViewMut1};
use serde::{Deserialize, Serialize};

/// How much each neighbour counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImputeWeights {
    /// All the same.
    #[default]
    Uniform,
    /// By the inverse of the distance; those at distance 0, if any, alone.
    Distance,
}

/// A fitted nearest-neighbour imputer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KNNImputer {
    n_features: usize,
    rows: Array2<f64>,
    means: Vec<f64>,
    n_neighbors: usize,
    weights: ImputeWeights,
}

params! {
    /// Parameters of [`KNNImputer`]: a missing value becomes the mean of the nearest rows that have it
    /// (Troyanskaya et al., 2001). Distances are Euclidean over the columns that both rows have, scaled up
    /// for those that one lacks.
    KNNImputerParams for KNNImputer = "KNNImputer" {
        /// How many neighbours.
        n_neighbors: usize = 5,
        /// How much each counts.
        weights: ImputeWeights = ImputeWeights::Uniform,
    }

    fn accepts(&self) -> Accepts {
        MISSING
    }

    fn check(&self) -> Result<()> {
        if self.n_neighbors == 0 {
            return Err(Self::error("n_neighbors is 0; it must be 1 or more"));
        }
        Ok(())
    }
}

impl FitTransformer for KNNImputerParams {
    type Model = KNNImputer;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<KNNImputer> {
        let means = each_column(Self::NAME, data, mean)?;
        let rows = data.x.dense().into_owned();
        let (n_neighbors, weights) = (self.n_neighbors, self.weights);
        Ok(KNNImputer { n_features: means.len(), rows, means, n_neighbors, weights })
    }
}

/// The squared distance over the columns that both rows have, `None` if there is none.
fn squared_distance(a: ArrayView1<'_, f64>, b: ArrayView1<'_, f64>) -> Option<f64> {
    let differences = a.iter().zip(b).map(|(a, b)| a - b).filter(|difference| !difference.is_nan());
    let (sum, shared) = differences.fold((0.0, 0), |(sum, shared), d| (sum + d * d, shared + 1));
    (shared > 0).then(|| sum * a.len() as f64 / f64::from(shared))
}

impl KNNImputer {
    fn fill(&self, mut row: ArrayViewMut1<'_, f64>) {
        if !row.iter().any(|value| value.is_nan()) {
            return;
        }
        let mut near: Vec<(f64, usize)> = (0..self.rows.nrows())
            .filter_map(|other| Some((squared_distance(row.view(), self.rows.row(other))?, other)))
            .collect();
        near.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        for (column, value) in row.iter_mut().enumerate().filter(|(_, value)| value.is_nan()) {
            let donors = near.iter().filter(|(_, other)| !self.rows[[*other, column]].is_nan());
            let donors: Vec<&(f64, usize)> = donors.take(self.n_neighbors).collect();
            let exact = donors.iter().any(|(squared, _)| *squared == 0.0);
            let weight = |squared: f64| match self.weights {
                ImputeWeights::Uniform => 1.0,
                ImputeWeights::Distance if exact => f64::from(u8::from(squared == 0.0)),
                ImputeWeights::Distance => 1.0 / squared.sqrt(),
            };
            let (sum, total) = donors.iter().fold((0.0, 0.0), |(sum, total), (squared, other)| {
                let weight = weight(*squared);
                (sum + weight * self.rows[[*other, column]], total + weight)
            });
            *value = if total > 0.0 { sum / total } else { self.means[column] };
        }
    }
}

impl Transformer for KNNImputer {
    fn transform_rows(&self, x: &Matrix<'_>) -> Result<Matrix<'static>> {
        let mut out = x.dense().into_owned();
        each_row(&mut out, |_, row| self.fill(row));
        finite("KNNImputer", out)
    }

    fn feature_names_out(&self, input: &[String]) -> Vec<String> {
        same_names(input)
    }
}

model!(
    KNNImputer = "KNNImputer",
    fn accepts(&self) -> Accepts {
        MISSING
    },
    fn is_consistent(&self) -> bool {
        self.rows.ncols() == self.n_features && self.means.len() == self.n_features
    }
);
