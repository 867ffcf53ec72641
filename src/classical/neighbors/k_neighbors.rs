//! Predictions by the nearest neighbours (Fix and Hodges, 1951; Cover and Hart, 1967).

use super::index::{Algorithm, Index, Neighbors};
use super::metric::Metric;
use super::nearest::check_count;
use crate::Result;
use crate::classical::data::{Accepts, Classes, Matrix, Training};
use crate::classical::estimator::{Classifier, FitClassifier, FitRegressor, Parameters, Regressor};
use crate::classical::params::{model, params};
use ndarray::{Array2, ArrayView1};
use serde::{Deserialize, Serialize};

/// How much each neighbour counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NeighborWeights {
    /// All the same.
    #[default]
    Uniform,
    /// The inverse of the distance; where a neighbour is at distance 0, only such count.
    Distance,
}

impl NeighborWeights {
    /// The weights of neighbours at these distances, up to a common factor.
    pub(super) fn of(self, distances: impl Iterator<Item = f64> + Clone) -> impl Iterator<Item = f64> {
        let nearest = distances.clone().fold(f64::INFINITY, f64::min);
        distances.map(move |distance| match self {
            NeighborWeights::Uniform => 1.0,
            NeighborWeights::Distance if nearest == 0.0 => f64::from(u8::from(distance == 0.0)),
            NeighborWeights::Distance => nearest / distance,
        })
    }
}

/// The class with the most votes, the first of equal ones.
pub(super) fn most_votes(votes: ArrayView1<'_, f64>) -> usize {
    votes.iter().enumerate().rev().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(code, _)| code)
}

/// A fitted k-nearest-neighbours classifier.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KNeighborsClassifier {
    n_features: usize,
    n_neighbors: usize,
    weights: NeighborWeights,
    classes: Vec<i64>,
    codes: Vec<usize>,
    index: Index,
}

/// A fitted k-nearest-neighbours regressor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KNeighborsRegressor {
    n_features: usize,
    n_neighbors: usize,
    weights: NeighborWeights,
    targets: Vec<f64>,
    index: Index,
}

macro_rules! k_neighbors {
    ($(#[$doc:meta])* $params:ident for $model:ident = $name:literal) => {
        params! {
            $(#[$doc])*
            $params for $model = $name {
                /// How many neighbours are asked.
                n_neighbors: usize = 5,
                /// How much each counts.
                weights: NeighborWeights = NeighborWeights::Uniform,
                /// How to search.
                algorithm: Algorithm = Algorithm::Auto,
                /// Rows below which a tree does not divide them further.
                leaf_size: usize = 30,
                /// How the distance between rows is measured.
                metric: Metric = Metric::Minkowski,
                /// The power of the Minkowski metric, at least 1: 1 is Manhattan, 2 Euclidean.
                p: f64 = 2.0,
            }

            fn accepts(&self) -> Accepts {
                Accepts { classes: 1, ..Accepts::PLAIN }
            }

            fn check(&self) -> Result<()> {
                if self.n_neighbors == 0 {
                    return Err(Self::error("n_neighbors is 0; it must be 1 or more"));
                }
                self.metric.distance(Self::NAME, self.p).map(drop)
            }
        }

        impl $params {
            fn index<Y>(&self, data: &Training<'_, Y>) -> Result<Index> {
                data.refuse_weights(Self::NAME)?;
                check_count(Self::NAME, self.n_neighbors, data.x.rows())?;
                let distance = self.metric.distance(Self::NAME, self.p)?;
                Index::new(Self::NAME, data.x.dense().view(), distance, self.algorithm, self.leaf_size)
            }
        }

        impl $model {
            fn neighbors(&self, x: &Matrix<'_>) -> Result<Neighbors> {
                self.index.nearest($name, x.dense().view(), self.n_neighbors)
            }
        }

        model!(
            $model = $name,
            fn is_consistent(&self) -> bool {
                self.index.fits(self.n_features, self.n_neighbors) && self.targets_fit()
            }
        );
    };
}

k_neighbors!(
    /// Parameters of [`KNeighborsClassifier`]: each row gets the label that most of the nearest training
    /// rows have, of equally frequent ones the smallest.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]];
    /// let model = KNeighborsClassifier::params().n_neighbors(3).fit(&x, &[0, 0, 0, 1, 1, 1])?;
    /// assert_eq!(model.predict(&array![[1.4], [9.0]])?, array![0, 1]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    KNeighborsClassifierParams for KNeighborsClassifier = "KNeighborsClassifier"
);

k_neighbors!(
    /// Parameters of [`KNeighborsRegressor`]: each row gets the mean target of the nearest training rows.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[0.0], [1.0], [2.0]];
    /// let model = KNeighborsRegressor::params().n_neighbors(2).fit(&x, &[0.0, 1.0, 4.0])?;
    /// assert_eq!(model.predict(&array![[1.9]])?, array![2.5]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    KNeighborsRegressorParams for KNeighborsRegressor = "KNeighborsRegressor"
);

impl KNeighborsClassifier {
    fn targets_fit(&self) -> bool {
        self.codes.len() == self.index.rows() && self.codes.iter().all(|&code| code < self.classes.len())
    }
}

impl KNeighborsRegressor {
    fn targets_fit(&self) -> bool {
        self.targets.len() == self.index.rows()
    }
}

impl FitClassifier for KNeighborsClassifierParams {
    type Model = KNeighborsClassifier;

    fn fit_checked(&self, data: &Training<'_, Classes>) -> Result<KNeighborsClassifier> {
        Ok(KNeighborsClassifier {
            n_features: data.x.columns(),
            n_neighbors: self.n_neighbors,
            weights: self.weights,
            classes: data.y.values.clone(),
            codes: data.y.codes.clone(),
            index: self.index(data)?,
        })
    }
}

impl FitRegressor for KNeighborsRegressorParams {
    type Model = KNeighborsRegressor;

    fn fit_checked(&self, data: &Training<'_, Vec<f64>>) -> Result<KNeighborsRegressor> {
        Ok(KNeighborsRegressor {
            n_features: data.x.columns(),
            n_neighbors: self.n_neighbors,
            weights: self.weights,
            targets: data.y.clone(),
            index: self.index(data)?,
        })
    }
}

impl KNeighborsClassifier {
    /// The share of the votes that each class gets, `[rows, classes]`.
    fn votes(&self, x: &Matrix<'_>) -> Result<Array2<f64>> {
        let found = self.neighbors(x)?;
        let mut votes = Array2::zeros((found.indices.nrows(), self.classes.len()));
        for ((mut votes, rows), distances) in
            votes.rows_mut().into_iter().zip(found.indices.rows()).zip(found.distances.rows())
        {
            for (&row, weight) in rows.iter().zip(self.weights.of(distances.iter().copied())) {
                votes[self.codes[row]] += weight;
            }
            let total = votes.sum();
            votes /= total;
        }
        Ok(votes)
    }
}

impl Classifier for KNeighborsClassifier {
    fn classes(&self) -> &[i64] {
        &self.classes
    }

    fn predict_codes(&self, x: &Matrix<'_>) -> Result<Vec<usize>> {
        Ok(self.votes(x)?.rows().into_iter().map(most_votes).collect())
    }

    fn probabilities(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        self.votes(x).map(Some)
    }
}

impl Regressor for KNeighborsRegressor {
    fn predict_rows(&self, x: &Matrix<'_>) -> Result<Vec<f64>> {
        let found = self.neighbors(x)?;
        let rows = found.indices.rows().into_iter().zip(found.distances.rows());
        Ok(rows
            .map(|(rows, distances)| {
                let (mut sum, mut total) = (0.0, 0.0);
                for (&row, weight) in rows.iter().zip(self.weights.of(distances.iter().copied())) {
                    sum += weight * self.targets[row];
                    total += weight;
                }
                sum / total
            })
            .collect())
    }
}
