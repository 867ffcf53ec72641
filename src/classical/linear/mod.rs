//! Linear models.

mod coordinate_descent;
mod elastic_net;
pub(super) mod function;
mod glm;
mod gram;
mod huber;
mod least_squares;
mod logistic;
mod objective;
mod quantile;
mod ridge;
pub(super) mod rows;
mod sgd;
mod sparse_logistic;
mod svm;

pub use elastic_net::{
    ElasticNet, ElasticNetCV, ElasticNetCVParams, ElasticNetParams, Lasso, LassoCV, LassoCVParams,
    LassoParams,
};
pub use glm::{
    GammaRegressor, GammaRegressorParams, PoissonRegressor, PoissonRegressorParams, TweedieRegressor,
    TweedieRegressorParams,
};
pub use huber::{HuberRegressor, HuberRegressorParams};
pub use least_squares::{LinearRegression, LinearRegressionParams};
pub use logistic::{LogisticRegression, LogisticRegressionParams};
pub use quantile::{QuantileRegressor, QuantileRegressorParams};
pub use ridge::{Ridge, RidgeCV, RidgeCVParams, RidgeClassifier, RidgeClassifierParams, RidgeParams};
pub use sgd::{
    LearningRate, Perceptron, PerceptronParams, SGDClassifier, SGDClassifierParams, SGDLoss, SGDPenalty,
    SGDRegressor, SGDRegressorParams,
};
pub use svm::{LinearSVC, LinearSVCLoss, LinearSVCParams, LinearSVR, LinearSVRLoss, LinearSVRParams};

use super::estimator::{Classifier, Regressor};
use super::registry::{DynClassifier, DynRegressor, Entry, classifier, regressor};

pub(super) const CLASSIFIERS: &[Entry<dyn DynClassifier, dyn Classifier>] = &[
    classifier::<RidgeClassifierParams>(),
    classifier::<LogisticRegressionParams>(),
    classifier::<LinearSVCParams>(),
    classifier::<SGDClassifierParams>(),
    classifier::<PerceptronParams>(),
];

pub(super) const REGRESSORS: &[Entry<dyn DynRegressor, dyn Regressor>] = &[
    regressor::<LinearRegressionParams>(),
    regressor::<RidgeParams>(),
    regressor::<RidgeCVParams>(),
    regressor::<LassoParams>(),
    regressor::<ElasticNetParams>(),
    regressor::<LassoCVParams>(),
    regressor::<ElasticNetCVParams>(),
    regressor::<LinearSVRParams>(),
    regressor::<SGDRegressorParams>(),
    regressor::<PoissonRegressorParams>(),
    regressor::<GammaRegressorParams>(),
    regressor::<TweedieRegressorParams>(),
    regressor::<HuberRegressorParams>(),
    regressor::<QuantileRegressorParams>(),
];
