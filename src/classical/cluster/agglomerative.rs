//! Clusters merged step by step.

use super::linkage::{Dendrogram, Pairs, spanning_tree};
use crate::Result;
use crate::classical::data::{Accepts, Training};
use crate::classical::estimator::{Clusterer, FitClusterer, Parameters};
use crate::classical::neighbors::{Distance, Metric};
use crate::classical::params::{model, params};
use serde::{Deserialize, Serialize};

/// How far clusters are from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Linkage {
    /// By how much their merging raises the sum of squared distances from the means (Ward, 1963).
    #[default]
    Ward,
    /// The largest distance of their rows.
    Complete,
    /// The mean distance of their rows.
    Average,
    /// The smallest distance of their rows.
    Single,
}

/// A fitted agglomerative clustering.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AgglomerativeClustering {
    n_features: usize,
    labels: Vec<i64>,
    children: Vec<[usize; 2]>,
    distances: Vec<f64>,
}

params! {
    /// Parameters of [`AgglomerativeClustering`]: the two nearest clusters are merged until the wanted
    /// number, or none nearer than a threshold, is left. By chains of nearest neighbours (Murtagh, 1983),
    /// which take the distances between all pairs of rows, 4 `rows`² bytes; single linkage by a minimum
    /// spanning tree, which takes a few numbers a row.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[0.0], [0.1], [4.0], [4.3]];
    /// let model = AgglomerativeClustering::params().n_clusters(2).fit(&x)?;
    /// assert_eq!(model.labels(), [0, 0, 1, 1]);
    /// assert_eq!(model.children()[0], [0, 1]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    AgglomerativeClusteringParams for AgglomerativeClustering = "AgglomerativeClustering" {
        /// How many clusters are left; unused if there is a `distance_threshold`.
        n_clusters: usize = 2,
        /// The distance from which clusters are not merged.
        distance_threshold: Option<f64> = None,
        /// How far clusters are from each other.
        linkage: Linkage = Linkage::Ward,
        /// How the distance between rows is measured; Euclidean for Ward's linkage.
        metric: Metric = Metric::Euclidean,
        /// The power of the Minkowski metric, at least 1.
        p: f64 = 2.0,
    }

    fn accepts(&self) -> Accepts {
        Accepts { rows: 2, ..Accepts::PLAIN }
    }

    fn check(&self) -> Result<()> {
        let distance = self.metric.distance(Self::NAME, self.p)?;
        if self.linkage == Linkage::Ward && distance != Distance::Euclidean {
            return Err(Self::error("Ward's linkage is defined for the Euclidean metric only"));
        }
        if self.n_clusters == 0 {
            return Err(Self::error("n_clusters is 0; it must be 1 or more"));
        }
        match self.distance_threshold {
            Some(threshold) if !(threshold >= 0.0 && threshold.is_finite()) => {
                Err(Self::error(format!("distance_threshold is {threshold}; it must be 0 or more")))
            }
            _ => Ok(()),
        }
    }
}

impl Linkage {
    /// The distance of a cluster of `size` rows from the merger of two, from those it had from each:
    /// `first` and `second`, of so many rows, `between` from each other (Lance and Williams, 1967).
    fn merged(self, first: (f64, f64), second: (f64, f64), between: f64, size: f64) -> f64 {
        let ((a, a_size), (b, b_size)) = (first, second);
        match self {
            Linkage::Single => a.min(b),
            Linkage::Complete => a.max(b),
            Linkage::Average => (a_size * a + b_size * b) / (a_size + b_size),
            Linkage::Ward => {
                let sum = (size + a_size) * a * a + (size + b_size) * b * b - size * between * between;
                // Rounding may have made it negative; what is NaN by overflow stays so, to be found.
                if sum < 0.0 { 0.0 } else { (sum / (a_size + b_size + size)).sqrt() }
            }
        }
    }
}

/// Merges pairs of clusters that are each other's nearest, each named by one of its rows.
fn nearest_chains(rows: usize, linkage: Linkage, pairs: &mut Pairs) -> Vec<(usize, usize, f64)> {
    let mut sizes = vec![1.0; rows];
    let mut chain: Vec<usize> = Vec::new();
    let mut merges = Vec::with_capacity(rows - 1);
    let mut left: Vec<usize> = (0..rows).collect();
    while left.len() > 1 {
        let current = *chain.last().unwrap_or(&left[0]);
        if chain.is_empty() {
            chain.push(current);
        }
        // Of equally near ones the one before in the chain, so that it ends.
        let before = chain.len().checked_sub(2).map(|place| chain[place]);
        let mut nearest = before.map(|before| (*pairs.at(current, before), before));
        for &other in left.iter().filter(|other| **other != current) {
            let distance = *pairs.at(current, other);
            if nearest.is_none_or(|(least, _)| distance < least) {
                nearest = Some((distance, other));
            }
        }
        let Some((distance, other)) = nearest else { break };
        if before != Some(other) {
            chain.push(other);
            continue;
        }
        chain.truncate(chain.len() - 2);
        let (gone, kept) = (current.min(other), current.max(other));
        merges.push((gone, kept, distance));
        left.retain(|&cluster| cluster != gone);
        let (gone_size, kept_size) = (sizes[gone], sizes[kept]);
        for &cluster in left.iter().filter(|cluster| **cluster != kept) {
            let first = (*pairs.at(cluster, gone), gone_size);
            let to_kept = pairs.at(cluster, kept);
            *to_kept = linkage.merged(first, (*to_kept, kept_size), distance, sizes[cluster]);
        }
        sizes[kept] = gone_size + kept_size;
    }
    merges
}

impl FitClusterer for AgglomerativeClusteringParams {
    type Model = AgglomerativeClustering;

    fn fit_checked(&self, data: &Training<'_, ()>) -> Result<AgglomerativeClustering> {
        data.refuse_weights(Self::NAME)?;
        let rows = data.x.rows();
        if self.distance_threshold.is_none() && self.n_clusters > rows {
            let clusters = self.n_clusters;
            return Err(Self::error(format!("n_clusters is {clusters}, but there are only {rows} rows")));
        }
        let distance = self.metric.distance(Self::NAME, self.p)?;
        let x = data.x.dense();
        distance.check(Self::NAME, x.view())?;
        let prepared = distance.prepare(x.view());
        let (values, columns) = (prepared.as_slice().unwrap_or_default(), prepared.ncols());
        let merges = if self.linkage == Linkage::Single {
            spanning_tree(rows, |row, out| {
                distance.reduced_to_rows(&values[row * columns..][..columns], values, out);
                out.iter_mut().for_each(|value| *value = distance.expand(*value));
            })
        } else {
            nearest_chains(rows, self.linkage, &mut Pairs::new(Self::NAME, distance, values, columns)?)
        };
        if merges.iter().any(|(_, _, distance)| !distance.is_finite()) {
            return Err(Self::error("distances between clusters overflow; scale x first"));
        }
        let tree = Dendrogram::new(rows, merges);
        let clusters = match self.distance_threshold {
            Some(threshold) => tree.distances.iter().filter(|distance| **distance >= threshold).count() + 1,
            None => self.n_clusters,
        };
        Ok(AgglomerativeClustering {
            n_features: x.ncols(),
            labels: tree.cut(clusters),
            children: tree.children,
            distances: tree.distances,
        })
    }
}

impl AgglomerativeClustering {
    /// The two clusters of each merge: numbers below that of the rows are rows, the others are the number
    /// of rows plus that of the merge that made them.
    pub fn children(&self) -> &[[usize; 2]] {
        &self.children
    }

    /// The distance of the two clusters of each merge.
    pub fn distances(&self) -> &[f64] {
        &self.distances
    }

    /// How many clusters are left.
    pub fn n_clusters(&self) -> usize {
        self.labels.iter().max().map_or(0, |last| *last as usize + 1)
    }
}

impl Clusterer for AgglomerativeClustering {
    fn labels(&self) -> &[i64] {
        &self.labels
    }
}

model!(AgglomerativeClustering = "AgglomerativeClustering");
