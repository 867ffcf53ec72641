//! Classical machine learning on the CPU, with scikit-learn's names and meaning of parameters.
//!
//! Parameters are built by methods, fitted to data, and give a model; models predict, score, save and
//! load. Features are `ndarray` arrays or views of `f64` or `f32`, or sparse `sprs` matrices; labels are
//! integers, targets are numbers. The traits that carry `fit`, `predict`, `transform` are in the
//! [`prelude`].
//!
//! ```
//! use kiln::classical::prelude::*;
//! use ndarray::array;
//!
//! let x = array![[0.0, 1.0], [1.0, 0.5], [2.0, 2.0], [3.0, 1.0]];
//! let y = [1.0, 2.0, 4.0, 5.0];
//! let model = Ridge::params().alpha(0.1).fit(&x, &y)?;
//! assert!(model.score(&x, &y)? > 0.98);
//! # Ok::<(), kiln::Error>(())
//! ```
//!
//! Results depend on the data, the parameters and the seed, never on the number of threads.

pub mod bayes;
pub mod calibration;
mod class_weight;
pub mod cluster;
mod data;
pub mod decomposition;
pub mod discriminant;
pub mod dummy;
pub mod ensemble;
mod estimator;
pub mod explain;
pub mod feature_selection;
mod fields;
pub mod imbalance;
pub mod linalg;
pub mod linear;
pub mod manifold;
pub mod metrics;
pub mod mixture;
pub mod model_selection;
pub mod neighbors;
mod optimize;
mod order;
mod parallel;
mod params;
mod persist;
pub mod pipeline;
pub mod preprocessing;
pub(crate) mod random;
pub mod recommend;
pub mod registry;
pub mod reinforcement;
pub mod svm;
pub mod table;
pub mod text;
pub mod tree;

pub use class_weight::ClassWeight;
pub use data::{
    Accepts, Classes, Features, Label, Labels, Matrix, Real, Targets, Training, Weighted, checked_features,
    checked_targets, weighted,
};
pub use estimator::{
    Classifier, Clusterer, FitClassifier, FitClusterer, FitOutlierDetector, FitRegressor, FitTransformer,
    Model, OutlierDetector, Parameters, Regressor, Target, Transformer,
};
pub use params::Setting;
pub use persist::{Boxed, Kind, Saved, is_model_file};
pub use registry::{AnyClassifier, AnyClusterer, AnyOutlierDetector, AnyRegressor, AnyTransformer};

/// Everything a program that fits models needs: the traits, and the estimators by name.
pub mod prelude {
    pub use super::bayes::*;
    pub use super::calibration::*;
    pub use super::cluster::*;
    pub use super::decomposition::*;
    pub use super::discriminant::*;
    pub use super::dummy::*;
    pub use super::ensemble::*;
    pub use super::feature_selection::*;
    pub use super::linear::*;
    pub use super::manifold::*;
    pub use super::mixture::*;
    pub use super::neighbors::*;
    pub use super::pipeline::*;
    pub use super::preprocessing::*;
    pub use super::svm::*;
    pub use super::tree::*;
    pub use super::{
        Boxed, ClassWeight, Classifier, Clusterer, FitClassifier, FitClusterer, FitOutlierDetector,
        FitRegressor, FitTransformer, Model, OutlierDetector, Parameters, Regressor, Saved, Target,
        Transformer,
    };
}
