//! The order of rows by density, and clusters as its valleys.

use crate::Result;
use crate::classical::data::{Accepts, Training};
use crate::classical::estimator::{Clusterer, FitClusterer, Parameters};
use crate::classical::neighbors::{Algorithm, Index, Metric};
use crate::classical::params::{model, params};
use serde::{Deserialize, Serialize};

/// How clusters are taken from the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpticsMethod {
    /// Stretches between a steep fall and a steep rise of the reachability.
    #[default]
    Xi,
    /// Those that DBSCAN would find for one distance.
    Dbscan,
}

/// A fitted OPTICS clustering.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Optics {
    n_features: usize,
    labels: Vec<i64>,
    ordering: Vec<usize>,
    reachability: Vec<f64>,
    core_distances: Vec<f64>,
    predecessor: Vec<Option<usize>>,
}

params! {
    /// Parameters of [`Optics`]: rows in the order in which they are reached, each time the one nearest to
    /// those before it, distances below a row's core distance counting as that; a cluster is a valley of
    /// these distances (Ankerst and others, 1999). Rows of no cluster are noise, -1.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[1.0, 2.0], [2.0, 5.0], [3.0, 6.0], [8.0, 7.0], [8.0, 8.0], [7.0, 3.0]];
    /// let model = Optics::params().min_samples(2).fit(&x)?;
    /// assert_eq!(model.labels(), [0, 0, 0, 1, 1, 1]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    OpticsParams for Optics = "OPTICS" {
        /// The neighbour, counting the row itself, whose distance is a row's core distance; 2 or more.
        min_samples: usize = 5,
        /// The distance beyond which rows are not reached; `None` for any.
        max_eps: Option<f64> = None,
        /// How the distance between rows is measured.
        metric: Metric = Metric::Minkowski,
        /// The power of the Minkowski metric, at least 1.
        p: f64 = 2.0,
        /// How clusters are taken from the order.
        cluster_method: OpticsMethod = OpticsMethod::Xi,
        /// The distance for [`OpticsMethod::Dbscan`]; `None` is `max_eps`.
        eps: Option<f64> = None,
        /// For [`OpticsMethod::Xi`], the share by which a steep step changes the reachability; above 0 and
        /// below 1.
        xi: f64 = 0.05,
        /// Whether ends of a cluster that were not reached from within it are cut off.
        predecessor_correction: bool = true,
        /// Rows that a cluster of [`OpticsMethod::Xi`] has at least; `None` is `min_samples`.
        min_cluster_size: Option<usize> = None,
        /// How to search for neighbours.
        algorithm: Algorithm = Algorithm::Auto,
        /// Rows below which a tree does not divide them further.
        leaf_size: usize = 30,
    }

    fn accepts(&self) -> Accepts {
        Accepts { rows: 2, ..Accepts::PLAIN }
    }

    fn check(&self) -> Result<()> {
        if self.min_samples < 2 || self.min_cluster_size.is_some_and(|size| size < 2) {
            return Err(Self::error("min_samples and min_cluster_size must be 2 or more"));
        }
        if let Some(value) = [self.max_eps, self.eps].into_iter().flatten().find(|value| value.is_nan() || *value <= 0.0) {
            return Err(Self::error(format!("max_eps or eps is {value}; they must be above 0")));
        }
        if !(self.xi > 0.0 && self.xi < 1.0) {
            return Err(Self::error(format!("xi is {}; it must be above 0 and below 1", self.xi)));
        }
        self.metric.distance(Self::NAME, self.p).map(drop)
    }
}

/// A stretch of steep falls, and the highest reachability since its end.
struct Fall {
    start: usize,
    end: usize,
    since: f64,
}

/// The reachabilities in their order, and one of infinity at the end.
struct Plot<'a> {
    heights: Vec<f64>,
    /// For each place that of the row it was reached from.
    reached_from: Vec<Option<usize>>,
    params: &'a OpticsParams,
}

impl Plot<'_> {
    /// How many times as high a place is as the next; NaN where both are infinite.
    fn ratio(&self, place: usize) -> f64 {
        self.heights[place] / self.heights[place + 1]
    }

    /// Where the longest stretch from `start` ends whose steps are `steep` or, for no more than
    /// `min_samples` in a row, at least not `against` it.
    fn stretch(&self, start: usize, steep: impl Fn(f64) -> bool, against: impl Fn(f64) -> bool) -> usize {
        let (mut end, mut flat) = (start, 0);
        for place in start..self.heights.len() - 1 {
            let ratio = self.ratio(place);
            if steep(ratio) {
                (end, flat) = (place, 0);
            } else {
                flat += 1;
                if against(ratio) || flat > self.params.min_samples {
                    break;
                }
            }
        }
        end
    }

    /// The valleys, smaller ones before those that they are part of.
    fn valleys(&self) -> Vec<(usize, usize)> {
        let keep = 1.0 - self.params.xi;
        let (rises, falls) = (|ratio: f64| ratio <= keep, |ratio: f64| ratio >= 1.0 / keep);
        let mut valleys = Vec::new();
        let mut open: Vec<Fall> = Vec::new();
        let (mut next, mut since) = (0, 0.0);
        for place in 0..self.heights.len() - 1 {
            let ratio = self.ratio(place);
            if place < next || !(rises(ratio) || falls(ratio)) {
                continue;
            }
            since = self.heights[next..=place].iter().copied().fold(since, f64::max);
            // A fall from below what came since is over.
            open.retain(|fall| since.is_finite() && since <= self.heights[fall.start] * keep);
            open.iter_mut().for_each(|fall| fall.since = fall.since.max(since));
            let end = if falls(ratio) {
                let end = self.stretch(place, falls, |ratio| ratio < 1.0);
                open.push(Fall { start: place, end, since: 0.0 });
                end
            } else {
                let end = self.stretch(place, rises, |ratio| ratio > 1.0);
                valleys.extend(open.iter().rev().filter_map(|fall| self.valley(fall, place, end)));
                end
            };
            next = end + 1;
            since = self.heights[next];
        }
        valleys
    }

    /// The valley between a fall and the rise from `rise` to `end`, if there is one.
    fn valley(&self, fall: &Fall, rise: usize, end: usize) -> Option<(usize, usize)> {
        let keep = 1.0 - self.params.xi;
        let (before, after) = (self.heights[fall.start], self.heights[end + 1]);
        if after * keep < fall.since {
            return None;
        }
        let (mut first, mut last) = (fall.start, end);
        // Both sides are to be about as high.
        if before * keep >= after {
            while first < fall.end && self.heights[first + 1] > after {
                first += 1;
            }
        } else if after * keep >= before {
            while last > rise && self.heights[last - 1] > before {
                last -= 1;
            }
        }
        if self.params.predecessor_correction {
            let from_within = |last: usize| {
                self.heights[first] > self.heights[last]
                    || self.reached_from[last].is_some_and(|from| (first..last).contains(&from))
            };
            last = (first + 1..=last).rev().find(|&last| from_within(last))?;
        }
        let least = self.params.min_cluster_size.unwrap_or(self.params.min_samples);
        let fits = last + 1 - first >= least && first <= fall.end && last >= rise;
        fits.then_some((first, last))
    }
}

impl FitClusterer for OpticsParams {
    type Model = Optics;

    fn fit_checked(&self, data: &Training<'_, ()>) -> Result<Optics> {
        data.refuse_weights(Self::NAME)?;
        let x = data.x.dense();
        let rows = x.nrows();
        if self.min_samples.max(self.min_cluster_size.unwrap_or(0)) > rows {
            return Err(Self::error(format!(
                "min_samples or min_cluster_size is above the number of rows, {rows}"
            )));
        }
        let distance = self.metric.distance(Self::NAME, self.p)?;
        let index = Index::new(Self::NAME, x.view(), distance, self.algorithm, self.leaf_size)?;
        let nearest = index.nearest(Self::NAME, x.view(), self.min_samples)?;
        let limit = self.max_eps.unwrap_or(f64::INFINITY);
        let bounded = |distance: &f64| if *distance > limit { f64::INFINITY } else { *distance };
        let core_distances: Vec<f64> =
            nearest.distances.column(self.min_samples - 1).iter().map(bounded).collect();

        let prepared = distance.prepare(x.view());
        let (values, columns) = (prepared.as_slice().unwrap_or_default(), prepared.ncols());
        let (mut reachability, mut predecessor) = (vec![f64::INFINITY; rows], vec![None; rows]);
        let mut left: Vec<usize> = (0..rows).collect();
        let (mut ordering, mut distances) = (Vec::with_capacity(rows), vec![0.0; rows]);
        while !left.is_empty() {
            let nearest =
                (0..left.len()).min_by(|&a, &b| reachability[left[a]].total_cmp(&reachability[left[b]]));
            let row = left.remove(nearest.unwrap_or_default());
            ordering.push(row);
            if core_distances[row].is_infinite() {
                continue;
            }
            distance.reduced_to_rows(&values[row * columns..][..columns], values, &mut distances);
            for &other in &left {
                let apart = distance.expand(distances[other]);
                let reached = apart.max(core_distances[row]);
                if apart <= limit && reached < reachability[other] {
                    (reachability[other], predecessor[other]) = (reached, Some(row));
                }
            }
        }
        let mut model = Optics {
            n_features: x.ncols(),
            labels: Vec::new(),
            ordering,
            reachability,
            core_distances,
            predecessor,
        };
        model.labels = match self.cluster_method {
            OpticsMethod::Xi => model.valleys(self),
            OpticsMethod::Dbscan => model.within(self.eps.unwrap_or(limit)),
        };
        Ok(model)
    }
}

impl Optics {
    fn valleys(&self, params: &OpticsParams) -> Vec<i64> {
        let mut places = vec![0; self.ordering.len()];
        self.ordering.iter().enumerate().for_each(|(place, &row)| places[row] = place);
        let heights = self.ordering.iter().map(|&row| self.reachability[row]);
        let reached_from = self.ordering.iter().map(|&row| self.predecessor[row].map(|from| places[from]));
        let plot = Plot {
            heights: heights.chain([f64::INFINITY]).collect(),
            reached_from: reached_from.collect(),
            params,
        };
        let mut labels = vec![-1; places.len()];
        let mut next = 0;
        for (first, last) in plot.valleys() {
            let rows = &self.ordering[first..=last];
            // Of valleys within each other the smallest count.
            if rows.iter().all(|&row| labels[row] == -1) {
                rows.iter().for_each(|&row| labels[row] = next);
                next += 1;
            }
        }
        labels
    }

    /// The clusters of rows that are reached within `eps`, a core beginning each.
    fn within(&self, eps: f64) -> Vec<i64> {
        let mut labels = vec![-1; self.ordering.len()];
        let mut current = -1;
        for &row in &self.ordering {
            let reached = self.reachability[row] <= eps;
            if !reached && self.core_distances[row] <= eps {
                current += 1;
            }
            if reached || self.core_distances[row] <= eps {
                labels[row] = current;
            }
        }
        labels
    }

    /// The rows' numbers in their order.
    pub fn ordering(&self) -> &[usize] {
        &self.ordering
    }

    /// The distance that each row was reached over; infinite for the first of a part.
    pub fn reachability(&self) -> &[f64] {
        &self.reachability
    }

    /// Each row's core distance; infinite beyond `max_eps`.
    pub fn core_distances(&self) -> &[f64] {
        &self.core_distances
    }

    /// The row that each row was reached from.
    pub fn predecessor(&self) -> &[Option<usize>] {
        &self.predecessor
    }
}

impl Clusterer for Optics {
    fn labels(&self) -> &[i64] {
        &self.labels
    }
}

model!(Optics = "OPTICS");
