//! Single decision trees (Breiman, Friedman, Olshen and Stone: Classification and Regression Trees, 1984).

use super::columns::columns;
use super::problem::Problem;
use super::settings::{ClassificationCriterion, RegressionCriterion, tree_model, tree_params};
use super::structure::{Tree, shares};
use crate::classical::data::{Classes, Features, Matrix, Training};
use crate::classical::estimator::{Classifier, FitClassifier, FitRegressor, Model, Parameters, Regressor};
use crate::classical::{ClassWeight, random};
use crate::{Error, Result};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

/// A fitted decision tree that tells classes apart.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DecisionTreeClassifier {
    n_features: usize,
    classes: Vec<i64>,
    tree: Tree,
}

tree_params! {
    /// Parameters of [`DecisionTreeClassifier`]. Splits are exact: every threshold halfway between two
    /// values is tried; of equally good ones the first found counts, in an order of features that the
    /// seed decides. NaN is a missing value, which each split sends to the better side.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let (x, y) = (array![[1.0, 5.0], [2.0, 3.0], [3.0, 4.0], [4.0, 6.0]], [0, 0, 1, 1]);
    /// let model = DecisionTreeClassifier::params().max_depth(2).fit(&x, &y)?;
    /// assert_eq!(model.predict(&array![[2.4, 0.0], [2.6, 0.0]])?.to_vec(), [0, 1]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    DecisionTreeClassifierParams for DecisionTreeClassifier = "DecisionTreeClassifier",
    max_features All, random_thresholds false {
        /// How splits are judged.
        criterion: ClassificationCriterion = ClassificationCriterion::Gini,
        /// Weights of the classes.
        class_weight: ClassWeight = ClassWeight::None,
    }
    check(self) { Ok(()) }
}

impl FitClassifier for DecisionTreeClassifierParams {
    type Model = DecisionTreeClassifier;

    fn fit_checked(&self, data: &Training<'_, Classes>) -> Result<DecisionTreeClassifier> {
        let x = data.x.dense();
        let weights = self.class_weight.apply(Self::NAME, data)?;
        let weights = weights.map_or_else(|| vec![1.0; x.nrows()], |weights| weights.into_owned());
        let problem = Problem::classes(&data.y, self.criterion);
        let growth = self.growth(x.ncols());
        let tree = problem.grow(&columns(x.view()), &weights, growth, &mut random::stream(self.seed, 0));
        Ok(DecisionTreeClassifier { n_features: x.ncols(), classes: data.y.values.clone(), tree })
    }
}

impl Classifier for DecisionTreeClassifier {
    fn classes(&self) -> &[i64] {
        &self.classes
    }

    fn predict_codes(&self, x: &Matrix<'_>) -> Result<Vec<usize>> {
        let mut codes = vec![0; x.rows()];
        self.tree.each_value(x.dense().view(), |row, shares| codes[row] = largest(shares));
        Ok(codes)
    }

    fn probabilities(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        let mut probabilities = Array2::zeros((x.rows(), self.classes.len()));
        self.tree.each_value(x.dense().view(), |row, shares| {
            probabilities.row_mut(row).iter_mut().zip(shares).for_each(|(to, share)| *to = *share);
        });
        Ok(Some(probabilities))
    }
}

/// The position of the largest number, of equal ones the first.
pub(crate) fn largest(values: &[f64]) -> usize {
    let mut best = 0;
    for (index, &value) in values.iter().enumerate() {
        if value > values[best] {
            best = index;
        }
    }
    best
}

tree_model!(
    DecisionTreeClassifier = "DecisionTreeClassifier",
    fn importances(&self) -> Option<Vec<f64>> {
        Some(self.feature_importances())
    },
    fn is_consistent(&self) -> bool {
        self.tree.fits(self.n_features, self.classes.len())
    }
);

/// A fitted decision tree that predicts numbers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DecisionTreeRegressor {
    n_features: usize,
    tree: Tree,
}

tree_params! {
    /// Parameters of [`DecisionTreeRegressor`]; splits as [`DecisionTreeClassifierParams`] describes.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let (x, y) = (array![[1.0], [2.0], [3.0], [4.0]], [1.0, 1.0, 5.0, 7.0]);
    /// let model = DecisionTreeRegressor::params().max_depth(1).fit(&x, &y)?;
    /// assert_eq!(model.predict(&array![[0.0], [9.0]])?.to_vec(), [1.0, 6.0]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    DecisionTreeRegressorParams for DecisionTreeRegressor = "DecisionTreeRegressor",
    max_features All, random_thresholds false {
        /// How splits are judged.
        criterion: RegressionCriterion = RegressionCriterion::SquaredError,
    }
    check(self) { Ok(()) }
}

impl FitRegressor for DecisionTreeRegressorParams {
    type Model = DecisionTreeRegressor;

    fn fit_checked(&self, data: &Training<'_, Vec<f64>>) -> Result<DecisionTreeRegressor> {
        let x = data.x.dense();
        let weights: Vec<f64> = (0..x.nrows()).map(|row| data.weight(row)).collect();
        let problem = Problem::targets(Self::NAME, &data.y, self.criterion)?;
        let growth = self.growth(x.ncols());
        let tree = problem.grow(&columns(x.view()), &weights, growth, &mut random::stream(self.seed, 0));
        Ok(DecisionTreeRegressor { n_features: x.ncols(), tree })
    }
}

impl Regressor for DecisionTreeRegressor {
    fn predict_rows(&self, x: &Matrix<'_>) -> Result<Vec<f64>> {
        let mut predicted = vec![0.0; x.rows()];
        self.tree.each_value(x.dense().view(), |row, value| predicted[row] = value[0]);
        Ok(predicted)
    }
}

tree_model!(
    DecisionTreeRegressor = "DecisionTreeRegressor",
    fn importances(&self) -> Option<Vec<f64>> {
        Some(self.feature_importances())
    },
    fn is_consistent(&self) -> bool {
        self.tree.fits(self.n_features, 1)
    }
);

macro_rules! tree_accessors {
    ($model:ident, $leaf:expr) => {
        impl $model {
            /// The fitted tree.
            pub fn tree(&self) -> &Tree {
                &self.tree
            }

            /// The length of the longest way to a leaf, in splits.
            pub fn depth(&self) -> usize {
                self.tree.depth()
            }

            /// How many leaves the tree has.
            pub fn n_leaves(&self) -> usize {
                self.tree.n_leaves()
            }

            /// Each feature's share of the decrease in impurity; they sum to 1, or are all 0 if the tree
            /// has no split.
            pub fn feature_importances(&self) -> Vec<f64> {
                let mut gains = vec![0.0; self.n_features];
                self.tree.add_gains(&mut gains);
                shares(gains)
            }

            /// The node number of the leaf that each row ends in.
            ///
            /// # Errors
            /// As [`Model::input`].
            pub fn apply(&self, x: &dyn Features) -> Result<Vec<usize>> {
                let x = self.input(x)?;
                Ok(x.dense().rows().into_iter().map(|row| self.tree.leaf(&row.to_vec())).collect())
            }

            /// The tree as indented text, as scikit-learn's `export_text` writes it.
            ///
            /// # Errors
            /// If there is not a name for each feature.
            pub fn to_text(&self, feature_names: &[String]) -> Result<String> {
                let (given, wanted) = (feature_names.len(), self.n_features);
                if given != wanted {
                    let message = format!("{given} feature names for {wanted} features");
                    return Err(Error::op(self.name(), message));
                }
                let leaf: fn(&Self, &[f64]) -> String = $leaf;
                Ok(self.tree.text(feature_names, &|value| leaf(self, value)))
            }
        }
    };
}

tree_accessors!(DecisionTreeClassifier, |model, value| format!("class: {}", model.classes[largest(value)]));
tree_accessors!(DecisionTreeRegressor, |_, value| format!("value: [{:.2}]", value[0]));
