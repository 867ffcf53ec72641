//! Clustering.

mod agglomerative;
mod dbscan;
mod hdbscan;
mod k_means;
mod linkage;
mod mean_shift;
mod optics;
mod spectral;

pub use agglomerative::{AgglomerativeClustering, AgglomerativeClusteringParams, Linkage};
pub use dbscan::{Dbscan, DbscanParams};
pub use hdbscan::{ClusterSelection, Hdbscan, HdbscanParams};
pub(super) use k_means::plus_plus;
pub use k_means::{Init, KMeans, KMeansParams, MiniBatchKMeans, MiniBatchKMeansParams};
pub use mean_shift::{MeanShift, MeanShiftParams};
pub use optics::{Optics, OpticsMethod, OpticsParams};
pub use spectral::{Affinity, SpectralClustering, SpectralClusteringParams};

use super::estimator::Clusterer;
use super::registry::{DynClusterer, Entry, clusterer};

pub(super) const CLUSTERERS: &[Entry<dyn DynClusterer, dyn Clusterer>] = &[
    clusterer::<AgglomerativeClusteringParams>(),
    clusterer::<DbscanParams>(),
    clusterer::<HdbscanParams>(),
    clusterer::<KMeansParams>(),
    clusterer::<MeanShiftParams>(),
    clusterer::<MiniBatchKMeansParams>(),
    clusterer::<OpticsParams>(),
    clusterer::<SpectralClusteringParams>(),
];
