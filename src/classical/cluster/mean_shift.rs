//! Clusters around the peaks of density.

use crate::Result;
use crate::classical::data::{Accepts, Matrix, Training};
use crate::classical::estimator::{Clusterer, FitClusterer, Parameters};
use crate::classical::neighbors::{Algorithm, Distance, Index};
use crate::classical::params::{model, params};
use ndarray::{Array2, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

/// A fitted mean-shift clustering.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MeanShift {
    n_features: usize,
    labels: Vec<i64>,
    centers: Array2<f64>,
    bandwidth: f64,
    cluster_all: bool,
    n_iter: usize,
    index: Index,
}

params! {
    /// Parameters of [`MeanShift`]: from every row, one moves to the mean of the rows around until one
    /// arrives; the places where many arrive are the clusters' centres (Comaniciu and Meer, 2002).
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[0.0], [0.2], [0.4], [5.0], [5.1]];
    /// let model = MeanShift::params().bandwidth(1.0).fit(&x)?;
    /// assert_eq!(model.labels(), [0, 0, 0, 1, 1]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    MeanShiftParams for MeanShift = "MeanShift" {
        /// The distance up to which rows are around a place; above 0. `None` takes the mean distance from
        /// a row of the farthest among the nearest 30 % of rows.
        bandwidth: Option<f64> = None,
        /// Whether rows farther than `bandwidth` from every centre belong to the nearest too; else -1.
        cluster_all: bool = true,
        /// Steps from a row at most.
        max_iter: usize = 300,
    }

    fn accepts(&self) -> Accepts {
        Accepts { rows: 2, ..Accepts::PLAIN }
    }

    fn check(&self) -> Result<()> {
        if let Some(bandwidth) = self.bandwidth.filter(|value| !(*value > 0.0 && value.is_finite())) {
            return Err(Self::error(format!("bandwidth is {bandwidth}; it must be above 0")));
        }
        if self.max_iter == 0 {
            return Err(Self::error("max_iter is 0; it must be 1 or more"));
        }
        Ok(())
    }
}

/// The share of rows that an estimated bandwidth reaches.
const SHARE: f64 = 0.3;
/// One has arrived when a step is at most this share of the bandwidth.
const ARRIVED: f64 = 1e-3;

impl MeanShiftParams {
    fn bandwidth_of(&self, x: ArrayView2<'_, f64>, index: &Index) -> Result<f64> {
        if let Some(bandwidth) = self.bandwidth {
            return Ok(bandwidth);
        }
        let count = ((x.nrows() as f64 * SHARE) as usize).max(1);
        let farthest = index.nearest(Self::NAME, x, count)?.distances.column(count - 1).mean().unwrap_or(0.0);
        if farthest > 0.0 {
            return Ok(farthest);
        }
        Err(Self::error("nearly all rows are the same, so that no bandwidth can be estimated; give one"))
    }
}

impl FitClusterer for MeanShiftParams {
    type Model = MeanShift;

    fn fit_checked(&self, data: &Training<'_, ()>) -> Result<MeanShift> {
        data.refuse_weights(Self::NAME)?;
        let x = data.x.dense();
        let index = Index::new(Self::NAME, x.view(), Distance::Euclidean, Algorithm::Auto, 30)?;
        let bandwidth = self.bandwidth_of(x.view(), &index)?;
        let mut places = x.to_owned();
        let mut around = vec![0; x.nrows()];
        let mut moving: Vec<usize> = (0..x.nrows()).collect();
        let mut n_iter = 0;
        while !moving.is_empty() && n_iter <= self.max_iter {
            let from = places.select(Axis(0), &moving);
            let means = index.within(Self::NAME, from.view(), bandwidth, |mut found| {
                // Sums depend on the order, which that of the search is not to decide.
                found.sort_unstable_by_key(|candidate| candidate.row);
                let mut mean = vec![0.0; x.ncols()];
                for candidate in &found {
                    mean.iter_mut().zip(x.row(candidate.row)).for_each(|(mean, value)| *mean += value);
                }
                mean.iter_mut().for_each(|mean| *mean /= found.len() as f64);
                (mean, found.len())
            })?;
            let mut still = Vec::new();
            for (&place, (mean, count)) in moving.iter().zip(means) {
                // A place with nothing around stays where it is.
                if count == 0 {
                    continue;
                }
                around[place] = count;
                let mut row = places.row_mut(place);
                let step: f64 = row.iter().zip(&mean).map(|(from, to)| (from - to).powi(2)).sum();
                row.iter_mut().zip(mean).for_each(|(from, to)| *from = to);
                if step.sqrt() > ARRIVED * bandwidth {
                    still.push(place);
                }
            }
            moving = still;
            n_iter += 1;
        }
        // The most crowded places first; then those that are not near one before them.
        let mut order: Vec<usize> = (0..x.nrows()).filter(|&place| around[place] > 0).collect();
        order.sort_by(|&a, &b| {
            let later = || {
                places
                    .row(b)
                    .iter()
                    .zip(places.row(a))
                    .map(|(b, a)| b.total_cmp(a))
                    .find(|order| order.is_ne())
            };
            around[b].cmp(&around[a]).then_with(|| later().unwrap_or(std::cmp::Ordering::Equal))
        });
        let mut chosen: Vec<usize> = Vec::new();
        for place in order {
            let near = |&other: &usize| {
                let pairs = places.row(place).into_iter().zip(places.row(other));
                pairs.map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt() <= bandwidth
            };
            if !chosen.iter().any(near) {
                chosen.push(place);
            }
        }
        let centers = places.select(Axis(0), &chosen);
        let index = Index::new(Self::NAME, centers.view(), Distance::Euclidean, Algorithm::Brute, 30)?;
        let (n_features, cluster_all) = (x.ncols(), self.cluster_all);
        let mut model =
            MeanShift { n_features, labels: Vec::new(), centers, bandwidth, cluster_all, n_iter, index };
        model.labels = model.nearest(x.view())?;
        Ok(model)
    }
}

impl MeanShift {
    fn nearest(&self, x: ArrayView2<'_, f64>) -> Result<Vec<i64>> {
        let found = self.index.nearest("MeanShift", x, 1)?;
        let rows = found.indices.into_iter().zip(found.distances);
        Ok(rows
            .map(
                |(center, distance)| {
                    if self.cluster_all || distance <= self.bandwidth { center as i64 } else { -1 }
                },
            )
            .collect())
    }

    /// The centres, the most crowded first: `[clusters, columns]`.
    pub fn cluster_centers(&self) -> &Array2<f64> {
        &self.centers
    }

    /// The distance up to which rows are around a place.
    pub fn bandwidth(&self) -> f64 {
        self.bandwidth
    }

    /// Steps from the row that took most.
    pub fn n_iter(&self) -> usize {
        self.n_iter
    }
}

impl Clusterer for MeanShift {
    fn labels(&self) -> &[i64] {
        &self.labels
    }

    fn assign(&self, x: &Matrix<'_>) -> Result<Option<Vec<i64>>> {
        self.nearest(x.dense().view()).map(Some)
    }
}

model!(
    MeanShift = "MeanShift",
    fn is_consistent(&self) -> bool {
        self.index.fits(self.n_features, 1)
    }
);
