//! Clusters as parts of a graph with little between them.

use super::k_means::{KMeans, KMeansParams};
use crate::Result;
use crate::classical::data::{Accepts, Training};
use crate::classical::estimator::{Clusterer, FitClusterer, Parameters};
use crate::classical::linalg;
use crate::classical::neighbors::{Algorithm, Distance, Index};
use crate::classical::params::{model, params};
use ndarray::{Array2, ArrayView2, Axis, s};
use serde::{Deserialize, Serialize};

/// How alike rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Affinity {
    /// `exp(-gamma |x - y|^2)`
    #[default]
    Rbf,
    /// 1 if each is among the nearest neighbours of the other, a half if only one is, else 0.
    NearestNeighbors,
}

/// A fitted spectral clustering.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SpectralClustering {
    n_features: usize,
    labels: Vec<i64>,
}

params! {
    /// Parameters of [`SpectralClustering`]: k-means on the eigenvectors of the graph's normalised
    /// Laplacian that belong to its smallest eigenvalues (Shi and Malik, 2000; von Luxburg, 2007). Takes
    /// memory by the square and time by the cube of the number of rows.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[0.0], [0.3], [0.5], [4.0], [4.2], [4.6]];
    /// let model = SpectralClustering::params().n_clusters(2).fit(&x)?;
    /// assert_eq!(model.labels()[..3], [model.labels()[0]; 3]);
    /// assert_ne!(model.labels()[0], model.labels()[3]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    SpectralClusteringParams for SpectralClustering = "SpectralClustering" {
        /// How many clusters.
        n_clusters: usize = 8,
        /// How many eigenvectors; `None` is `n_clusters`.
        n_components: Option<usize> = None,
        /// How alike rows are.
        affinity: Affinity = Affinity::Rbf,
        /// The coefficient of [`Affinity::Rbf`]; above 0.
        gamma: f64 = 1.0,
        /// The neighbours of [`Affinity::NearestNeighbors`], the row itself included.
        n_neighbors: usize = 10,
        /// Runs of k-means, of which the best counts.
        n_init: usize = 10,
        /// Draws the beginnings of k-means.
        seed: u64 = 0_u64,
    }

    fn accepts(&self) -> Accepts {
        Accepts { rows: 2, ..Accepts::PLAIN }
    }

    fn check(&self) -> Result<()> {
        if !(self.gamma > 0.0 && self.gamma.is_finite()) {
            return Err(Self::error(format!("gamma is {}; it must be above 0", self.gamma)));
        }
        if self.n_neighbors == 0 || self.n_components == Some(0) {
            return Err(Self::error("n_neighbors and n_components must be 1 or more"));
        }
        KMeansParams::default().n_clusters(self.n_clusters).n_init(self.n_init).check()
    }
}

impl SpectralClusteringParams {
    /// How alike different rows are, `[rows, rows]`.
    fn affinities(&self, x: ArrayView2<'_, f64>) -> Result<Array2<f64>> {
        let rows = x.nrows();
        let mut affinities = Array2::zeros((rows, rows));
        match self.affinity {
            Affinity::Rbf => {
                let values = x.as_slice().unwrap_or_default();
                for (row, mut to) in x.rows().into_iter().zip(affinities.rows_mut()) {
                    if let (Some(row), Some(to)) = (row.to_slice(), to.as_slice_mut()) {
                        Distance::Euclidean.reduced_to_rows(row, values, to);
                        to.iter_mut().for_each(|value| *value = (-self.gamma * *value).exp());
                    }
                }
            }
            Affinity::NearestNeighbors => {
                if self.n_neighbors > rows {
                    let asked = self.n_neighbors;
                    return Err(Self::error(format!(
                        "n_neighbors is {asked}, but there are only {rows} rows"
                    )));
                }
                let index = Index::new(Self::NAME, x, Distance::Euclidean, Algorithm::Auto, 30)?;
                let found = index.nearest(Self::NAME, x, self.n_neighbors)?;
                for (row, others) in found.indices.rows().into_iter().enumerate() {
                    for &other in others {
                        affinities[[row, other]] += 0.5;
                        affinities[[other, row]] += 0.5;
                    }
                }
            }
        }
        affinities.diag_mut().fill(0.0);
        Ok(affinities)
    }
}

impl FitClusterer for SpectralClusteringParams {
    type Model = SpectralClustering;

    fn fit_checked(&self, data: &Training<'_, ()>) -> Result<SpectralClustering> {
        data.refuse_weights(Self::NAME)?;
        let x = data.x.dense();
        Distance::Euclidean.check(Self::NAME, x.view())?;
        let components = self.n_components.unwrap_or(self.n_clusters);
        if self.n_clusters.max(components) > x.nrows() {
            let (clusters, rows) = (self.n_clusters, x.nrows());
            return Err(Self::error(format!(
                "{clusters} clusters of {components} components asked for, but there are only {rows} rows"
            )));
        }
        let mut laplacian = self.affinities(x.view())?;
        let degrees = laplacian.sum_axis(Axis(1));
        // A row that is like no other is a part of its own.
        let roots = degrees.mapv(|degree| if degree > 0.0 { degree.sqrt() } else { 1.0 });
        laplacian /= &roots;
        laplacian /= &roots.view().insert_axis(Axis(1));
        laplacian.mapv_inplace(|value| -value);
        laplacian.diag_mut().zip_mut_with(&degrees, |to, degree| *to = f64::from(u8::from(*degree > 0.0)));
        let (_, vectors) = linalg::eigh(laplacian.view())?;
        let embedding = &vectors.slice(s![.., ..components]) / &roots.view().insert_axis(Axis(1));
        let k_means = KMeans::params().n_clusters(self.n_clusters).n_init(self.n_init).seed(self.seed);
        let labels = k_means.fit(&embedding)?.labels().to_vec();
        Ok(SpectralClustering { n_features: x.ncols(), labels })
    }
}

impl Clusterer for SpectralClustering {
    fn labels(&self) -> &[i64] {
        &self.labels
    }
}

model!(SpectralClustering = "SpectralClustering");
