//! Densities that are sums of simple ones.

mod density;
mod gaussian;
mod start;

pub use density::CovarianceType;
pub use gaussian::{GaussianMixture, GaussianMixtureParams};
pub use start::InitParams;

use super::estimator::Clusterer;
use super::registry::{DynClusterer, Entry, clusterer};

pub(super) const CLUSTERERS: &[Entry<dyn DynClusterer, dyn Clusterer>] =
    &[clusterer::<GaussianMixtureParams>()];
