//! Decision trees, and what forests and boosting share with them.

mod absolute;
pub(super) mod columns;
mod criterion;
mod decision;
pub(super) mod grow;
pub(super) mod problem;
mod prune;
mod search;
pub(super) mod settings;
pub(super) mod structure;
mod sum;

pub(super) use absolute::{weighted_median, weighted_quantile};
pub(super) use decision::largest;
pub use decision::{
    DecisionTreeClassifier, DecisionTreeClassifierParams, DecisionTreeRegressor, DecisionTreeRegressorParams,
};
pub use settings::{ClassificationCriterion, MaxFeatures, RegressionCriterion};
pub use structure::Tree;
pub(super) use sum::add_values;

use super::estimator::{Classifier, Regressor};
use super::registry::{DynClassifier, DynRegressor, Entry, classifier, regressor};

pub(super) const CLASSIFIERS: &[Entry<dyn DynClassifier, dyn Classifier>] =
    &[classifier::<DecisionTreeClassifierParams>()];
pub(super) const REGRESSORS: &[Entry<dyn DynRegressor, dyn Regressor>] =
    &[regressor::<DecisionTreeRegressorParams>()];
