//! Outliers as rows in sparser surroundings than their neighbours.

use super::index::{Algorithm, Index, Neighbors};
use super::metric::Metric;
use crate::Result;
use crate::classical::data::{Accepts, Matrix, Training};
use crate::classical::estimator::{FitOutlierDetector, OutlierDetector, Parameters};
use crate::classical::params::{model, params};
use crate::classical::preprocessing::{quantile_sorted, sorted};
use serde::{Deserialize, Serialize};

/// A fitted local outlier factor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LocalOutlierFactor {
    n_features: usize,
    n_neighbors: usize,
    /// The distance of each training row's last neighbour, and the density around it.
    reach: Vec<f64>,
    density: Vec<f64>,
    negative_outlier_factor: Vec<f64>,
    offset: f64,
    index: Index,
}

params! {
    /// Parameters of [`LocalOutlierFactor`]: how much denser it is around a row's neighbours than around
    /// itself (Breunig and others, 2000). Models score new rows, as scikit-learn's do with `novelty=True`.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[0.0], [0.1], [0.2], [0.3], [0.4]];
    /// let model = LocalOutlierFactor::params().n_neighbors(2).fit(&x)?;
    /// assert_eq!(model.predict(&array![[0.25], [3.0]])?, array![1, -1]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    LocalOutlierFactorParams for LocalOutlierFactor = "LocalOutlierFactor" {
        /// How many neighbours are compared with; all others, if there are fewer.
        n_neighbors: usize = 20,
        /// How to search.
        algorithm: Algorithm = Algorithm::Auto,
        /// Rows below which a tree does not divide them further.
        leaf_size: usize = 30,
        /// How the distance between rows is measured.
        metric: Metric = Metric::Minkowski,
        /// The power of the Minkowski metric, at least 1.
        p: f64 = 2.0,
        /// The share of training rows that are outliers, up to 0.5; `None` takes those whose factor is
        /// above 1.5.
        contamination: Option<f64> = None,
    }

    fn accepts(&self) -> Accepts {
        Accepts { rows: 2, ..Accepts::PLAIN }
    }

    fn check(&self) -> Result<()> {
        if self.n_neighbors == 0 {
            return Err(Self::error("n_neighbors is 0; it must be 1 or more"));
        }
        if let Some(share) = self.contamination.filter(|share| !(*share > 0.0 && *share <= 0.5)) {
            return Err(Self::error(format!("contamination is {share}; it must be above 0 and at most 0.5")));
        }
        self.metric.distance(Self::NAME, self.p).map(drop)
    }
}

/// The inverse of the mean distance of each row's neighbours, at least the neighbours' own reach.
fn densities(found: &Neighbors, reach: &[f64]) -> Vec<f64> {
    let rows = found.indices.rows().into_iter().zip(found.distances.rows());
    rows.map(|(others, distances)| {
        let sum: f64 =
            others.iter().zip(distances).map(|(&other, distance)| distance.max(reach[other])).sum();
        // Rows that occur many times are at distance 0 from their neighbours.
        1.0 / (sum / others.len() as f64 + 1e-10)
    })
    .collect()
}

/// The mean density around each row's neighbours as a multiple of its own, less than 0.
fn factors(found: &Neighbors, own: &[f64], densities: &[f64]) -> Vec<f64> {
    let rows = found.indices.rows().into_iter().zip(own);
    rows.map(|(others, own)| {
        -others.iter().map(|&other| densities[other] / own).sum::<f64>() / others.len() as f64
    })
    .collect()
}

impl FitOutlierDetector for LocalOutlierFactorParams {
    type Model = LocalOutlierFactor;

    fn fit_checked(&self, data: &Training<'_, ()>) -> Result<LocalOutlierFactor> {
        data.refuse_weights(Self::NAME)?;
        let distance = self.metric.distance(Self::NAME, self.p)?;
        let index = Index::new(Self::NAME, data.x.dense().view(), distance, self.algorithm, self.leaf_size)?;
        let n_neighbors = self.n_neighbors.min(data.x.rows() - 1);
        let found = index.nearest_others(n_neighbors);
        let reach = found.distances.column(n_neighbors - 1).to_vec();
        let density = densities(&found, &reach);
        let negative_outlier_factor = factors(&found, &density, &density);
        let offset = self
            .contamination
            .map_or(-1.5, |share| quantile_sorted(&sorted(&negative_outlier_factor), share));
        Ok(LocalOutlierFactor {
            n_features: data.x.columns(),
            n_neighbors,
            reach,
            density,
            negative_outlier_factor,
            offset,
            index,
        })
    }
}

impl LocalOutlierFactor {
    /// The factor of each training row, less than 0: about -1 for inliers.
    pub fn negative_outlier_factor(&self) -> &[f64] {
        &self.negative_outlier_factor
    }

    /// What scores are measured against.
    pub fn offset(&self) -> f64 {
        self.offset
    }
}

impl OutlierDetector for LocalOutlierFactor {
    fn outlier_scores(&self, x: &Matrix<'_>) -> Result<Vec<f64>> {
        let found = self.index.nearest("LocalOutlierFactor", x.dense().view(), self.n_neighbors)?;
        let own = densities(&found, &self.reach);
        Ok(factors(&found, &own, &self.density).into_iter().map(|factor| factor - self.offset).collect())
    }
}

model!(
    LocalOutlierFactor = "LocalOutlierFactor",
    fn is_consistent(&self) -> bool {
        self.index.fits(self.n_features, self.n_neighbors)
            && self.reach.len() == self.index.rows()
            && self.density.len() == self.index.rows()
    }
);
