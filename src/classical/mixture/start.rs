//! Which component each sample belongs to before the first step.

use crate::classical::linalg::matmul;
use crate::classical::random::weighted;
use fastrand::Rng;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
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

/// Most steps of k-means, and the movement of the centres, relative to the features' variance, at which
/// it stops.
const MAX_STEPS: usize = 300;
const TOLERANCE: f64 = 1e-4;

/// The first probabilities of the components, `[samples, components]`.
pub(super) fn start(
    init: InitParams,
    x: ArrayView2<'_, f64>,
    components: usize,
    rng: &mut Rng,
) -> Array2<f64> {
    let one_each = |chosen: Vec<usize>| {
        let mut probabilities = Array2::zeros((x.nrows(), components));
        chosen.into_iter().enumerate().for_each(|(k, row)| probabilities[[row, k]] = 1.0);
        probabilities
    };
    match init {
        InitParams::KMeans => {
            let mut probabilities = Array2::zeros((x.nrows(), components));
            let labels = k_means(x, components, rng);
            labels.into_iter().enumerate().for_each(|(row, k)| probabilities[[row, k]] = 1.0);
            probabilities
        }
        InitParams::KMeansPlusPlus => one_each(plus_plus(x, components, rng)),
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
    }
}

fn squared_distances(x: ArrayView2<'_, f64>, point: ArrayView1<'_, f64>) -> Vec<f64> {
    let distance = |row: ArrayView1<'_, f64>| row.iter().zip(&point).map(|(a, b)| (a - b) * (a - b)).sum();
    x.rows().into_iter().map(distance).collect()
}

/// Rows drawn by their squared distance from those drawn before, each the best of a few draws (Arthur
/// and Vassilvitskii, 2007).
fn plus_plus(x: ArrayView2<'_, f64>, count: usize, rng: &mut Rng) -> Vec<usize> {
    let trials = 2 + (count as f64).ln() as usize;
    let mut chosen = vec![rng.usize(..x.nrows())];
    let mut nearest = squared_distances(x, x.row(chosen[0]));
    while chosen.len() < count {
        let attempts = (0..trials).map(|_| {
            let row = weighted(rng, &nearest);
            let mut distances = squared_distances(x, x.row(row));
            distances.iter_mut().zip(&nearest).for_each(|(new, old)| *new = new.min(*old));
            (distances.iter().sum::<f64>(), row, distances)
        });
        let Some((_, row, distances)) = attempts.min_by(|a, b| a.0.total_cmp(&b.0)) else { break };
        chosen.push(row);
        nearest = distances;
    }
    chosen
}

/// The cluster of each row (Lloyd, 1982).
fn k_means(x: ArrayView2<'_, f64>, count: usize, rng: &mut Rng) -> Vec<usize> {
    let mut centers = x.select(Axis(0), &plus_plus(x, count, rng));
    let enough = TOLERANCE * x.var_axis(Axis(0), 0.0).mean().unwrap_or(0.0);
    let mut labels = nearest(x, &centers);
    for _ in 0..MAX_STEPS {
        let mut sums = Array2::<f64>::zeros(centers.dim());
        let mut counts = Array1::<f64>::zeros(count);
        for (row, &label) in x.rows().into_iter().zip(&labels) {
            sums.row_mut(label).scaled_add(1.0, &row);
            counts[label] += 1.0;
        }
        let mut moved = 0.0;
        for ((mut center, sum), &count) in centers.rows_mut().into_iter().zip(sums.rows()).zip(&counts) {
            // A centre that nothing is nearest to stays where it is.
            if count > 0.0 {
                let mean = &sum / count;
                moved += (&mean - &center).mapv(|change| change * change).sum();
                center.assign(&mean);
            }
        }
        let next = nearest(x, &centers);
        let same = next == labels;
        labels = next;
        if same || moved <= enough {
            break;
        }
    }
    labels
}

/// The nearest centre of each row.
fn nearest(x: ArrayView2<'_, f64>, centers: &Array2<f64>) -> Vec<usize> {
    let squares = centers.map_axis(Axis(1), |center| center.dot(&center));
    let products = matmul(x, centers.t());
    let label = |row: ArrayView1<'_, f64>| {
        let distances = row.iter().zip(&squares).map(|(product, square)| square - 2.0 * product).enumerate();
        distances.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(label, _)| label)
    };
    products.rows().into_iter().map(label).collect()
}
