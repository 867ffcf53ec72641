//! Clusters as regions that stay together over a wide range of densities.

use super::linkage::{Dendrogram, spanning_tree};
use crate::Result;
use crate::classical::data::{Accepts, Training};
use crate::classical::estimator::{Clusterer, FitClusterer, Parameters};
use crate::classical::neighbors::{Algorithm, Index, Metric};
use crate::classical::params::{model, params};
use serde::{Deserialize, Serialize};

/// Which clusters of the tree are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterSelection {
    /// Those that together are most stable (excess of mass).
    #[default]
    Eom,
    /// Those that divide no further.
    Leaf,
}

/// A fitted HDBSCAN clustering.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hdbscan {
    n_features: usize,
    labels: Vec<i64>,
    probabilities: Vec<f64>,
}

params! {
    /// Parameters of [`Hdbscan`]: the single-linkage tree of distances that are at least the distances to
    /// a row's neighbours, without its splits into small parts; of what is left the most stable clusters
    /// (Campello, Moulavi and Sander, 2013). Rows of no cluster are noise, -1.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[0.0], [0.1], [0.2], [5.0], [5.1], [5.2], [20.0]];
    /// let model = Hdbscan::params().min_cluster_size(3).min_samples(2).fit(&x)?;
    /// assert_eq!(model.labels(), [0, 0, 0, 1, 1, 1, -1]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    HdbscanParams for Hdbscan = "HDBSCAN" {
        /// Rows that a cluster has at least; 2 or more.
        min_cluster_size: usize = 5,
        /// The neighbour, counting the row itself, whose distance measures the density around a row;
        /// `None` is `min_cluster_size`.
        min_samples: Option<usize> = None,
        /// Rows that a cluster has at most; `None` for any number.
        max_cluster_size: Option<usize> = None,
        /// How the distance between rows is measured.
        metric: Metric = Metric::Euclidean,
        /// The power of the Minkowski metric, at least 1.
        p: f64 = 2.0,
        /// Divides distances when they are compared with densities; above 0.
        alpha: f64 = 1.0,
        /// How to search for neighbours.
        algorithm: Algorithm = Algorithm::Auto,
        /// Rows below which a tree does not divide them further.
        leaf_size: usize = 40,
        /// Which clusters of the tree are taken.
        cluster_selection_method: ClusterSelection = ClusterSelection::Eom,
        /// Whether all rows may be one cluster.
        allow_single_cluster: bool = false,
    }

    fn accepts(&self) -> Accepts {
        Accepts { rows: 2, ..Accepts::PLAIN }
    }

    fn check(&self) -> Result<()> {
        if self.min_cluster_size < 2 || self.min_samples == Some(0) {
            return Err(Self::error("min_cluster_size must be 2 or more, and min_samples 1 or more"));
        }
        if !(self.alpha > 0.0 && self.alpha.is_finite()) {
            return Err(Self::error(format!("alpha is {}; it must be above 0", self.alpha)));
        }
        self.metric.distance(Self::NAME, self.p).map(drop)
    }
}

/// The largest density, which stands for that of rows at distance 0; sums of it stay finite.
const DENSEST: f64 = 1e290;

/// A row, or a cluster, that leaves a cluster at a density.
struct Leaving {
    from: usize,
    /// A row, or the number of rows plus that of a cluster.
    what: usize,
    density: f64,
    size: usize,
}

/// The tree without splits into parts of fewer than `least` rows. Cluster 0 holds all rows; a cluster
/// comes after that it is part of.
fn condense(tree: &Dendrogram, least: usize) -> Vec<Leaving> {
    let rows = tree.children.len() + 1;
    let mut sizes = vec![1; rows];
    for children in &tree.children {
        sizes.push(sizes[children[0]] + sizes[children[1]]);
    }
    let mut leaving = Vec::new();
    let mut clusters = 1;
    let mut open = std::collections::VecDeque::from([(2 * rows - 2, 0)]);
    while let Some((node, cluster)) = open.pop_front() {
        let children = tree.children[node - rows];
        let density = (1.0 / tree.distances[node - rows]).min(DENSEST);
        let splits = children.iter().all(|&child| sizes[child] >= least);
        for child in children {
            if splits {
                leaving.push(Leaving { from: cluster, what: rows + clusters, density, size: sizes[child] });
                open.push_back((child, clusters));
                clusters += 1;
            } else if sizes[child] >= least {
                open.push_back((child, cluster));
            } else {
                let mut below = vec![child];
                while let Some(node) = below.pop() {
                    match node.checked_sub(rows) {
                        Some(merge) => below.extend(tree.children[merge]),
                        None => leaving.push(Leaving { from: cluster, what: node, density, size: 1 }),
                    }
                }
            }
        }
    }
    leaving
}

impl HdbscanParams {
    /// Which clusters are taken, of those that rows leave.
    fn select(&self, rows: usize, leaving: &[Leaving]) -> Vec<bool> {
        let count = 1 + leaving.iter().filter(|leaving| leaving.what >= rows).count();
        let (mut birth, mut size, mut parent) = (vec![0.0; count], vec![rows; count], vec![0; count]);
        for leaving in leaving {
            if let Some(cluster) = leaving.what.checked_sub(rows) {
                (birth[cluster], size[cluster], parent[cluster]) =
                    (leaving.density, leaving.size, leaving.from);
            }
        }
        let mut stability = vec![0.0; count];
        for leaving in leaving {
            stability[leaving.from] += (leaving.density - birth[leaving.from]) * leaving.size as f64;
        }
        let mut children = vec![Vec::new(); count];
        (1..count).for_each(|cluster| children[parent[cluster]].push(cluster));
        let mut taken = vec![false; count];
        if self.cluster_selection_method == ClusterSelection::Leaf {
            (0..count).for_each(|cluster| taken[cluster] = children[cluster].is_empty());
            taken[0] &= self.allow_single_cluster;
            return taken;
        }
        let most = self.max_cluster_size.unwrap_or(usize::MAX);
        for cluster in (usize::from(!self.allow_single_cluster)..count).rev() {
            let parts: f64 = children[cluster].iter().map(|&child| stability[child]).sum();
            if parts > stability[cluster] || size[cluster] > most {
                stability[cluster] = parts;
            } else {
                taken[cluster] = true;
                let mut below = children[cluster].clone();
                while let Some(part) = below.pop() {
                    taken[part] = false;
                    below.extend(&children[part]);
                }
            }
        }
        taken
    }
}

impl FitClusterer for HdbscanParams {
    type Model = Hdbscan;

    fn fit_checked(&self, data: &Training<'_, ()>) -> Result<Hdbscan> {
        data.refuse_weights(Self::NAME)?;
        let x = data.x.dense();
        let (rows, samples) = (x.nrows(), self.min_samples.unwrap_or(self.min_cluster_size));
        if samples > rows {
            return Err(Self::error(format!("min_samples is {samples}, but there are only {rows} rows")));
        }
        let distance = self.metric.distance(Self::NAME, self.p)?;
        let index = Index::new(Self::NAME, x.view(), distance, self.algorithm, self.leaf_size)?;
        let core = index.nearest(Self::NAME, x.view(), samples)?.distances.column(samples - 1).to_vec();
        let prepared = distance.prepare(x.view());
        let (values, columns) = (prepared.as_slice().unwrap_or_default(), prepared.ncols());
        let edges = spanning_tree(rows, |row, out| {
            distance.reduced_to_rows(&values[row * columns..][..columns], values, out);
            for (value, &other) in out.iter_mut().zip(&core) {
                *value = (distance.expand(*value) / self.alpha).max(core[row]).max(other);
            }
        });
        let leaving = condense(&Dendrogram::new(rows, edges), self.min_cluster_size);
        let taken = self.select(rows, &leaving);

        let mut numbers = vec![-1; taken.len()];
        for (number, cluster) in (0..).zip((0..taken.len()).filter(|&cluster| taken[cluster])) {
            numbers[cluster] = number;
        }
        // The cluster that each belongs to: itself if it is taken, else that of what it is part of.
        let mut home: Vec<Option<usize>> = vec![None; taken.len()];
        home[0] = taken[0].then_some(0);
        let mut densest = vec![0.0_f64; taken.len()];
        for leaving in &leaving {
            densest[leaving.from] = densest[leaving.from].max(leaving.density);
            if let Some(cluster) = leaving.what.checked_sub(rows) {
                home[cluster] = if taken[cluster] { Some(cluster) } else { home[leaving.from] };
            }
        }
        let (mut labels, mut probabilities) = (vec![-1; rows], vec![0.0; rows]);
        for leaving in leaving.iter().filter(|leaving| leaving.what < rows) {
            // Of all rows as one cluster, those count that stay to the end.
            let stays = |cluster: &usize| *cluster != 0 || leaving.density >= densest[0];
            if let Some(cluster) = home[leaving.from].filter(stays) {
                labels[leaving.what] = numbers[cluster];
                probabilities[leaving.what] = (leaving.density / densest[cluster]).min(1.0);
            }
        }
        Ok(Hdbscan { n_features: x.ncols(), labels, probabilities })
    }
}

impl Hdbscan {
    /// How firmly each row belongs to its cluster: 1 for its densest rows, 0 for noise.
    pub fn probabilities(&self) -> &[f64] {
        &self.probabilities
    }
}

impl Clusterer for Hdbscan {
    fn labels(&self) -> &[i64] {
        &self.labels
    }
}

model!(Hdbscan = "HDBSCAN");
