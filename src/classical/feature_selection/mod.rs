//! Which columns are worth keeping.

mod elimination;
mod scores;
mod select;

pub use elimination::{Rfe, RfeParams, Rfecv, RfecvParams};
pub use scores::{chi2, f_classif, f_regression, mutual_info_classif, mutual_info_regression};
pub use select::{
    ScoreFunction, SelectKBest, SelectKBestParams, SelectPercentile, SelectPercentileParams,
    VarianceThreshold, VarianceThresholdParams,
};

use super::estimator::Transformer;
use super::registry::{DynTransformer, Entry, transformer};

pub(super) const TRANSFORMERS: &[Entry<dyn DynTransformer, dyn Transformer>] = &[
    transformer::<VarianceThresholdParams>(),
    transformer::<SelectKBestParams>(),
    transformer::<SelectPercentileParams>(),
    transformer::<RfeParams>(),
    transformer::<RfecvParams>(),
];
