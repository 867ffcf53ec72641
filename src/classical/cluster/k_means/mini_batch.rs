//! k-means on batches of rows.

use super::{Init, centred, check_common, k_means, lloyd, mean_variance, nearest};
use crate::Result;
use crate::classical::data::{Features, Matrix, Training};
use crate::classical::estimator::{Clusterer, FitClusterer, Model, Parameters};
use crate::classical::neighbors::Distance;
use crate::classical::params::{model, params};
use crate::classical::random;
use ndarray::{Array2, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

/// A fitted mini-batch k-means clustering.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MiniBatchKMeans {
    n_features: usize,
    centers: Array2<f64>,
    labels: Vec<i64>,
    inertia: f64,
    n_iter: usize,
}

params! {
    /// Parameters of [`MiniBatchKMeans`]: each step moves the centres towards the rows of a batch, by less
    /// and less (Sculley, 2010).
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[0.0, 0.0], [0.1, 0.0], [5.0, 5.0], [5.1, 5.0]];
    /// let model = MiniBatchKMeans::params().n_clusters(2).fit(&x)?;
    /// assert_ne!(model.labels()[0], model.labels()[2]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    MiniBatchKMeansParams for MiniBatchKMeans = "MiniBatchKMeans" {
        /// How many clusters.
        n_clusters: usize = 8,
        /// Where the centres begin.
        init: Init = Init::PlusPlus,
        /// Passes over as many rows as there are, at most.
        max_iter: usize = 100,
        /// Rows of a batch.
        batch_size: usize = 1024,
        /// Ends when the centres move less than this share of the columns' mean variance; 0 for never.
        tol: f64 = 0.0,
        /// Ends after so many batches without a better smoothed inertia.
        max_no_improvement: Option<usize> = Some(10),
        /// Rows that the beginnings are drawn from and compared on; `None` is three batches.
        init_size: Option<usize> = None,
        /// Beginnings that are compared.
        n_init: usize = 3,
        /// Draws beginnings and batches.
        seed: u64 = 0_u64,
    }

    fn check(&self) -> Result<()> {
        check_common(Self::NAME, self.n_clusters, self.max_iter, self.tol)?;
        if self.batch_size == 0 || self.n_init == 0 {
            return Err(Self::error("batch_size and n_init must be 1 or more"));
        }
        Ok(())
    }
}

impl FitClusterer for MiniBatchKMeansParams {
    type Model = MiniBatchKMeans;

    fn fit_checked(&self, data: &Training<'_, ()>) -> Result<MiniBatchKMeans> {
        let (x, mean) = centred(Self::NAME, data.x.dense().view(), self.n_clusters)?;
        let rows = x.nrows();
        let weights = data.weights.as_deref();
        let tolerance = self.tol * mean_variance(&x);
        let size = self.init_size.unwrap_or(3 * self.batch_size).max(self.n_clusters).min(rows);
        let mut rng = random::stream(self.seed, 0);
        let mut draw = |count: usize| -> (Array2<f64>, Option<Vec<f64>>) {
            let chosen: Vec<usize> = if count == rows {
                (0..rows).collect()
            } else {
                (0..count).map(|_| rng.usize(..rows)).collect()
            };
            let weights = weights.map(|weights| chosen.iter().map(|&row| weights[row]).collect());
            (x.select(Axis(0), &chosen), weights)
        };

        let (validation, own) = draw(size);
        let mut best: Option<(f64, Array2<f64>)> = None;
        for run in 0..self.n_init {
            // A sample may by chance hold only rows without weight.
            let own = own.as_deref().filter(|weights| weights.iter().any(|&weight| weight > 0.0));
            let mut rng = random::stream(self.seed, run + 1);
            let centers =
                self.init.centers(Self::NAME, validation.view(), own, &mean, self.n_clusters, &mut rng)?;
            let (inertia, _) = evaluate(validation.view(), own, &centers);
            if best.as_ref().is_none_or(|(least, _)| inertia < *least) {
                best = Some((inertia, centers));
            }
        }
        let (_, mut centers) = best.ok_or_else(|| Self::error("n_init is 0; it must be 1 or more"))?;

        let batch_size = self.batch_size.min(rows);
        let batches = (self.max_iter * rows).div_ceil(batch_size);
        let mut totals = vec![0.0; self.n_clusters];
        let (mut smoothed, mut least, mut without) = (None, f64::INFINITY, 0);
        let share = (2.0 * batch_size as f64 / (rows as f64 + 1.0)).min(1.0);
        let mut n_iter = 0;
        while n_iter < batches {
            n_iter += 1;
            let (batch, own) = draw(batch_size);
            let (inertia, labels) = evaluate(batch.view(), own.as_deref(), &centers);
            let (sums, counts) = lloyd::sums(batch.view(), own.as_deref(), &labels, self.n_clusters);
            let before = centers.clone();
            for (cluster, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0.0) {
                let total = totals[cluster] + count;
                let mean = (&centers.row(cluster) * totals[cluster] + sums.row(cluster)) / total;
                centers.row_mut(cluster).assign(&mean);
                totals[cluster] = total;
            }
            // The first batch measures the beginning, not the progress.
            if n_iter == 1 {
                continue;
            }
            let shift: f64 = centers.iter().zip(&before).map(|(a, b)| (a - b).powi(2)).sum();
            if tolerance > 0.0 && shift <= tolerance {
                break;
            }
            let inertia = inertia / batch_size as f64;
            let value = smoothed.map_or(inertia, |before: f64| before * (1.0 - share) + inertia * share);
            smoothed = Some(value);
            if value < least {
                (least, without) = (value, 0);
            } else {
                without += 1;
            }
            if self.max_no_improvement.is_some_and(|most| without >= most) {
                break;
            }
        }
        let (inertia, labels) = evaluate(x.view(), weights, &centers);
        Ok(MiniBatchKMeans {
            n_features: x.ncols(),
            centers: centers + &mean,
            labels: labels.into_iter().map(|label| label as i64).collect(),
            inertia,
            n_iter,
        })
    }
}

/// The inertia, and the nearest centre of each row.
fn evaluate(x: ArrayView2<'_, f64>, weights: Option<&[f64]>, centers: &Array2<f64>) -> (f64, Vec<usize>) {
    let mut labels = vec![0; x.nrows()];
    lloyd::assign(x, centers, &mut labels);
    (lloyd::inertia(&lloyd::distances(x, centers, &labels), weights), labels)
}

k_means!(MiniBatchKMeans = "MiniBatchKMeans");
