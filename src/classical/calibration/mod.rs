//! Scores made probabilities that mean what they say.

mod calibrated;
mod isotonic;

pub use calibrated::{
    CalibratedClassifier, CalibratedClassifierParams, CalibrationMethod, SigmoidCalibration,
};
pub use isotonic::{IsotonicRegression, IsotonicRegressionParams};

use super::estimator::Classifier;
use super::registry::{DynClassifier, Entry, classifier};

pub(super) const CLASSIFIERS: &[Entry<dyn DynClassifier, dyn Classifier>] =
    &[classifier::<CalibratedClassifierParams>()];
