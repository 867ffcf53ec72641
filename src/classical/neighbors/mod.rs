//! Nearest neighbours: searches, and predictions made from them.

mod brute;
mod index;
mod k_neighbors;
mod local_outlier_factor;
mod metric;
mod nearest;
mod nearest_centroid;
mod radius_neighbors;
mod tree;

pub(crate) use index::Index;
pub use index::{Algorithm, Neighbors};
pub use k_neighbors::{
    KNeighborsClassifier, KNeighborsClassifierParams, KNeighborsRegressor, KNeighborsRegressorParams,
    NeighborWeights,
};
pub use local_outlier_factor::{LocalOutlierFactor, LocalOutlierFactorParams};
pub(crate) use metric::Distance;
pub use metric::Metric;
pub use nearest::{NearestNeighbors, NearestNeighborsParams, Neighbor};
pub use nearest_centroid::{NearestCentroid, NearestCentroidParams};
pub use radius_neighbors::{
    RadiusNeighborsClassifier, RadiusNeighborsClassifierParams, RadiusNeighborsRegressor,
    RadiusNeighborsRegressorParams,
};

use super::estimator::{Classifier, OutlierDetector, Regressor};
use super::registry::{
    DynClassifier, DynOutlierDetector, DynRegressor, Entry, classifier, outlier_detector, regressor,
};

pub(super) const CLASSIFIERS: &[Entry<dyn DynClassifier, dyn Classifier>] = &[
    classifier::<KNeighborsClassifierParams>(),
    classifier::<RadiusNeighborsClassifierParams>(),
    classifier::<NearestCentroidParams>(),
];
pub(super) const REGRESSORS: &[Entry<dyn DynRegressor, dyn Regressor>] =
    &[regressor::<KNeighborsRegressorParams>(), regressor::<RadiusNeighborsRegressorParams>()];
pub(super) const OUTLIER_DETECTORS: &[Entry<dyn DynOutlierDetector, dyn OutlierDetector>] =
    &[outlier_detector::<LocalOutlierFactorParams>()];
