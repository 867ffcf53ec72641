//! Ensembles: forests, boosting, and combinations of any estimators.

mod adaboost;
mod bagging;
mod boosting;
mod forest;
mod isolation;
mod members;
mod stacking;
mod voting;

pub use adaboost::{
    AdaBoostClassifier, AdaBoostClassifierParams, AdaBoostLoss, AdaBoostRegressor, AdaBoostRegressorParams,
};
pub use bagging::{BaggingClassifier, BaggingClassifierParams, BaggingRegressor, BaggingRegressorParams};
pub use boosting::{
    BoostingLoss, EarlyStopping, HistGradientBoostingClassifier, HistGradientBoostingClassifierParams,
    HistGradientBoostingRegressor, HistGradientBoostingRegressorParams, Monotonic,
};
pub use forest::{
    ExtraTreesClassifier, ExtraTreesClassifierParams, ExtraTreesRegressor, ExtraTreesRegressorParams,
    RandomForest, RandomForestClassifier, RandomForestClassifierParams, RandomForestRegressor,
    RandomForestRegressorParams,
};
pub use isolation::{IsolationForest, IsolationForestParams};
pub use members::Named;
pub use stacking::{
    StackingClassifier, StackingClassifierParams, StackingRegressor, StackingRegressorParams,
};
pub use voting::{Voting, VotingClassifier, VotingClassifierParams, VotingRegressor, VotingRegressorParams};

use super::estimator::{Classifier, OutlierDetector, Regressor};
use super::registry::{
    DynClassifier, DynOutlierDetector, DynRegressor, Entry, classifier, outlier_detector, regressor,
};

pub(super) const CLASSIFIERS: &[Entry<dyn DynClassifier, dyn Classifier>] = &[
    classifier::<RandomForestClassifierParams>(),
    classifier::<ExtraTreesClassifierParams>(),
    classifier::<HistGradientBoostingClassifierParams>(),
    classifier::<AdaBoostClassifierParams>(),
    classifier::<BaggingClassifierParams>(),
    classifier::<VotingClassifierParams>(),
    classifier::<StackingClassifierParams>(),
];
pub(super) const REGRESSORS: &[Entry<dyn DynRegressor, dyn Regressor>] = &[
    regressor::<RandomForestRegressorParams>(),
    regressor::<ExtraTreesRegressorParams>(),
    regressor::<HistGradientBoostingRegressorParams>(),
    regressor::<AdaBoostRegressorParams>(),
    regressor::<BaggingRegressorParams>(),
    regressor::<VotingRegressorParams>(),
    regressor::<StackingRegressorParams>(),
];
pub(super) const OUTLIER_DETECTORS: &[Entry<dyn DynOutlierDetector, dyn OutlierDetector>] =
    &[outlier_detector::<IsolationForestParams>()];
