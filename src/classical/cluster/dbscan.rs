//! Clusters as dense regions.

use crate::Result;
use crate::classical::data::Training;
use crate::classical::estimator::{Clusterer, FitClusterer, Parameters};
use crate::classical::neighbors::{Algorithm, Index, Metric};
use crate::classical::params::{model, params};
use serde::{Deserialize, Serialize};

/// A fitted DBSCAN clustering.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Dbscan {
    n_features: usize,
    labels: Vec<i64>,
    core_sample_indices: Vec<usize>,
}

params! {
    /// Parameters of [`Dbscan`]: rows with enough others near are the cores of clusters, and rows near a
    /// core belong to its cluster (Ester and others, 1996). A row near cores of several clusters belongs
    /// to the first of them; one near none is noise, -1.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[0.0], [0.1], [0.2], [5.0], [5.1], [5.2], [9.0]];
    /// let model = Dbscan::params().eps(0.3).min_samples(3).fit(&x)?;
    /// assert_eq!(model.labels(), [0, 0, 0, 1, 1, 1, -1]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    DbscanParams for Dbscan = "DBSCAN" {
        /// The distance up to which rows are near each other; above 0.
        eps: f64 = 0.5,
        /// The weight of rows, itself included, that a core has near it.
        min_samples: usize = 5,
        /// How the distance between rows is measured.
        metric: Metric = Metric::Euclidean,
        /// How to search.
        algorithm: Algorithm = Algorithm::Auto,
        /// Rows below which a tree does not divide them further.
        leaf_size: usize = 30,
        /// The power of the Minkowski metric, at least 1.
        p: f64 = 2.0,
    }

    fn check(&self) -> Result<()> {
        if !(self.eps > 0.0 && self.eps.is_finite()) {
            return Err(Self::error(format!("eps is {}; it must be above 0", self.eps)));
        }
        if self.min_samples == 0 {
            return Err(Self::error("min_samples is 0; it must be 1 or more"));
        }
        self.metric.distance(Self::NAME, self.p).map(drop)
    }
}

impl FitClusterer for DbscanParams {
    type Model = Dbscan;

    fn fit_checked(&self, data: &Training<'_, ()>) -> Result<Dbscan> {
        let rows = data.x.rows();
        let Ok(_) = u32::try_from(rows) else {
            return Err(Self::error(format!("{rows} rows are more than can be clustered")));
        };
        let distance = self.metric.distance(Self::NAME, self.p)?;
        let index = Index::new(Self::NAME, data.x.dense().view(), distance, self.algorithm, self.leaf_size)?;
        let near: Vec<Box<[u32]>> = index
            .within_others(self.eps, |found| found.iter().map(|candidate| candidate.row as u32).collect());
        let weight = |near: &[u32]| -> f64 { near.iter().map(|&row| data.weight(row as usize)).sum() };
        let core: Vec<bool> = near.iter().map(|near| weight(near) >= self.min_samples as f64).collect();
        let mut labels = vec![-1; rows];
        let (mut cluster, mut reached) = (0, Vec::new());
        for start in 0..rows {
            if labels[start] != -1 || !core[start] {
                continue;
            }
            labels[start] = cluster;
            reached.push(start);
            while let Some(row) = reached.pop() {
                for &other in &near[row] {
                    let other = other as usize;
                    if labels[other] == -1 {
                        labels[other] = cluster;
                        if core[other] {
                            reached.push(other);
                        }
                    }
                }
            }
            cluster += 1;
        }
        let core_sample_indices = (0..rows).filter(|&row| core[row]).collect();
        Ok(Dbscan { n_features: data.x.columns(), labels, core_sample_indices })
    }
}

impl Dbscan {
    /// The numbers of the rows that are cores.
    pub fn core_sample_indices(&self) -> &[usize] {
        &self.core_sample_indices
    }
}

impl Clusterer for Dbscan {
    fn labels(&self) -> &[i64] {
        &self.labels
    }
}

model!(Dbscan = "DBSCAN");
