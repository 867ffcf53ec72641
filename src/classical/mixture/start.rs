//! Which component each sample belongs to before the first step.

use crate::Result;
use crate::classical::cluster::{KMeans, plus_plus};
use crate::classical::estimator::{Clusterer, FitClusterer};
use fastrand::Rng;
use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

/// How a Gaussian mixture starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitParams {
    /// The clusters of k-means.
    #[default]
    #[serde(rename = "kmeans")]
    KMeans,
    /// Samples far from each other, chosen by k-means++.
    #[serde(rename = "k-means++")]
    KMeansPlusPlus,
    /// Random probabilities.
    Random,
    /// Samples chosen at random.
    RandomFromData,
}

/// The first probabilities of the components, `[samples, components]`.
///
/// # Errors
/// Values so large that distances overflow.
pub(super) fn start(
    init: InitParams,
    x: ArrayView2<'_, f64>,
    components: usize,
    rng: &mut Rng,
) -> Result<Array2<f64>> {
    let one_each = |chosen: Vec<usize>| {
        let mut probabilities = Array2::zeros((x.nrows(), components));
        chosen.into_iter().enumerate().for_each(|(k, row)| probabilities[[row, k]] = 1.0);
        probabilities
    };
    Ok(match init {
        InitParams::KMeans => {
            let mut probabilities = Array2::zeros((x.nrows(), components));
            let clusters = KMeans::params().n_clusters(components).seed(rng.u64(..)).fit(&x)?;
            let labels = clusters.labels().iter().enumerate();
            labels.for_each(|(row, &k)| probabilities[[row, k as usize]] = 1.0);
            probabilities
        }
        InitParams::KMeansPlusPlus => one_each(plus_plus(x, None, components, rng)),
        InitParams::RandomFromData => one_each(rng.choose_multiple(0..x.nrows(), components)),
        InitParams::Random => {
            let mut probabilities =
                Array2::from_shape_simple_fn((x.nrows(), components), || rng.f64() + f64::MIN_POSITIVE);
            for mut row in probabilities.rows_mut() {
                let sum = row.sum();
                row /= sum;
            }
            probabilities
        }
    })
}
