//! Predictions by all neighbours within a radius (Fix and Hodges, 1951; Bentley, 1975).

use super::index::{Algorithm, Index};
use super::k_neighbors::{NeighborWeights, most_votes};
use super::metric::Metric;
use super::nearest::check_radius;
use crate::classical::data::{Accepts, Classes, Matrix, Training};
use crate::classical::estimator::{Classifier, FitClassifier, FitRegressor, Parameters, Regressor};
use crate::classical::params::{model, params};
use crate::{Error, Result};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

/// A fitted radius-neighbours classifier.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RadiusNeighborsClassifier {
    n_features: usize,
    radius: f64,
    weights: NeighborWeights,
    classes: Vec<i64>,
    codes: Vec<usize>,
    /// The class of rows without neighbours.
    outlier: Option<usize>,
    index: Index,
}

/// A fitted radius-neighbours regressor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RadiusNeighborsRegressor {
    n_features: usize,
    radius: f64,
    weights: NeighborWeights,
    targets: Vec<f64>,
    index: Index,
}

macro_rules! radius_neighbors {
    ($(#[$doc:meta])* $params:ident for $model:ident = $name:literal { $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr,)* }) => {
        params! {
            $(#[$doc])*
            $params for $model = $name {
                /// The distance up to which training rows are asked.
                radius: f64 = 1.0,
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
                $($(#[$field_doc])* $field: $type = $default,)*
            }

            fn accepts(&self) -> Accepts {
                Accepts { classes: 1, ..Accepts::PLAIN }
            }

            fn check(&self) -> Result<()> {
                check_radius(Self::NAME, self.radius)?;
                self.metric.distance(Self::NAME, self.p).map(drop)
            }
        }

        impl $params {
            fn index<Y>(&self, data: &Training<'_, Y>) -> Result<Index> {
                data.refuse_weights(Self::NAME)?;
                let distance = self.metric.distance(Self::NAME, self.p)?;
                Index::new(Self::NAME, data.x.dense().view(), distance, self.algorithm, self.leaf_size)
            }
        }

        impl $model {
            /// For each row of `x`, the training rows within the radius and how much each counts.
            fn neighbors(&self, x: &Matrix<'_>) -> Result<Vec<Vec<(usize, f64)>>> {
                self.index.within($name, x.dense().view(), self.radius, |found| {
                    let weights = self.weights.of(found.iter().map(|&candidate| self.index.distance(candidate)));
                    found.iter().map(|candidate| candidate.row).zip(weights).collect()
                })
            }
        }

        model!(
            $model = $name,
            fn is_consistent(&self) -> bool {
                self.index.fits(self.n_features, 1) && self.targets_fit()
            }
        );
    };
}

radius_neighbors!(
    /// Parameters of [`RadiusNeighborsClassifier`]: each row gets the label that most of the training rows
    /// within a radius have, of equally frequent ones the smallest.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]];
    /// let params = RadiusNeighborsClassifier::params().radius(2.0);
    /// let model = params.clone().fit(&x, &[0, 0, 0, 1, 1, 1])?;
    /// assert_eq!(model.predict(&array![[1.4], [9.0]])?, array![0, 1]);
    /// assert!(model.predict(&array![[6.0]]).is_err());
    /// let model = params.outlier_label(1).fit(&x, &[0, 0, 0, 1, 1, 1])?;
    /// assert_eq!(model.predict(&array![[6.0]])?, array![1]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    RadiusNeighborsClassifierParams for RadiusNeighborsClassifier = "RadiusNeighborsClassifier" {
        /// The label, one of the training rows', of rows without neighbours; without one they are an error.
        outlier_label: Option<i64> = None,
    }
);

radius_neighbors!(
    /// Parameters of [`RadiusNeighborsRegressor`]: each row gets the mean target of the training rows within
    /// a radius; a row without any is an error.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[0.0], [1.0], [2.0]];
    /// let model = RadiusNeighborsRegressor::params().radius(1.5).fit(&x, &[0.0, 1.0, 4.0])?;
    /// assert_eq!(model.predict(&array![[1.9]])?, array![2.5]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    RadiusNeighborsRegressorParams for RadiusNeighborsRegressor = "RadiusNeighborsRegressor" {}
);

impl RadiusNeighborsClassifier {
    fn targets_fit(&self) -> bool {
        self.codes.len() == self.index.rows()
            && self.codes.iter().chain(&self.outlier).all(|&code| code < self.classes.len())
    }
}

impl RadiusNeighborsRegressor {
    fn targets_fit(&self) -> bool {
        self.targets.len() == self.index.rows()
    }
}

impl FitClassifier for RadiusNeighborsClassifierParams {
    type Model = RadiusNeighborsClassifier;

    fn fit_checked(&self, data: &Training<'_, Classes>) -> Result<RadiusNeighborsClassifier> {
        let code = |label: i64| {
            let unknown = || Self::error(format!("outlier_label is {label}, which no training row has"));
            data.y.values.binary_search(&label).map_err(|_| unknown())
        };
        Ok(RadiusNeighborsClassifier {
            n_features: data.x.columns(),
            radius: self.radius,
            weights: self.weights,
            classes: data.y.values.clone(),
            codes: data.y.codes.clone(),
            outlier: self.outlier_label.map(code).transpose()?,
            index: self.index(data)?,
        })
    }
}

impl FitRegressor for RadiusNeighborsRegressorParams {
    type Model = RadiusNeighborsRegressor;

    fn fit_checked(&self, data: &Training<'_, Vec<f64>>) -> Result<RadiusNeighborsRegressor> {
        Ok(RadiusNeighborsRegressor {
            n_features: data.x.columns(),
            radius: self.radius,
            weights: self.weights,
            targets: data.y.clone(),
            index: self.index(data)?,
        })
    }
}

fn alone(name: &'static str, row: usize, radius: f64, remedy: &str) -> Error {
    Error::op(name, format!("row {row} of x has no neighbour within {radius}; use a larger radius{remedy}"))
}

impl RadiusNeighborsClassifier {
    /// The share of the votes that each class gets, `[rows, classes]`.
    fn votes(&self, x: &Matrix<'_>) -> Result<Array2<f64>> {
        let found = self.neighbors(x)?;
        let mut all = Array2::zeros((found.len(), self.classes.len()));
        for (row, (found, mut votes)) in found.into_iter().zip(all.rows_mut()).enumerate() {
            match (found.is_empty(), self.outlier) {
                (false, _) => found.into_iter().for_each(|(row, weight)| votes[self.codes[row]] += weight),
                (true, Some(code)) => votes[code] = 1.0,
                (true, None) => {
                    let name = RadiusNeighborsClassifierParams::NAME;
                    return Err(alone(name, row, self.radius, ", or give an outlier_label"));
                }
            }
            let total = votes.sum();
            votes /= total;
        }
        Ok(all)
    }
}

impl Classifier for RadiusNeighborsClassifier {
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

impl Regressor for RadiusNeighborsRegressor {
    fn predict_rows(&self, x: &Matrix<'_>) -> Result<Vec<f64>> {
        let mean = |(row, found): (usize, Vec<(usize, f64)>)| {
            if found.is_empty() {
                return Err(alone(RadiusNeighborsRegressorParams::NAME, row, self.radius, ""));
            }
            let total: f64 = found.iter().map(|(_, weight)| weight).sum();
            Ok(found.iter().map(|&(row, weight)| weight * self.targets[row]).sum::<f64>() / total)
        };
        self.neighbors(x)?.into_iter().enumerate().map(mean).collect()
    }
}
