//! Uniform manifold approximation and projection.

mod curve;
mod graph;
mod layout;

use super::start::{Start, start};
use crate::Result;
use crate::classical::data::{Accepts, Matrix, Training};
use crate::classical::decomposition::numbered;
use crate::classical::estimator::{FitTransformer, Parameters, Target, Transformer};
use crate::classical::neighbors::{Metric, NearestNeighbors, Neighbors};
use crate::classical::params::{model, params};
use crate::classical::random::{normal, stream};
use layout::{Forces, optimize, place};
use ndarray::{Array2, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

/// Where the embedding starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UmapInit {
    /// Eigenvectors of the neighbour graph's Laplacian; principal components if the graph is in parts.
    #[default]
    Spectral,
    /// Principal components.
    Pca,
    /// Random positions.
    Random,
}

/// A fitted embedding.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Umap {
    n_features: usize,
    params: UmapParams,
    neighbors: NearestNeighbors,
    forces: Forces,
    embedding: Array2<f64>,
}

params! {
    /// Parameters of [`Umap`]: the fuzzy graph of nearest neighbours, laid out in few dimensions (McInnes,
    /// Healy and Melville, 2018), with the names and defaults of the authors' package.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::Array2;
    ///
    /// let x = Array2::from_shape_fn((60, 5), |(i, j)| (i % 3 * 10) as f64 + ((i * (j + 2)) % 7) as f64 / 7.0);
    /// let map = Umap::params().n_neighbors(8).fit(&x)?;
    /// assert_eq!(map.embedding().dim(), (60, 2));
    /// assert_eq!(map.transform(&(&x + 0.01))?.dim(), (60, 2));
    /// # Ok::<(), kiln::Error>(())
    /// ```
    UmapParams for Umap = "UMAP" {
        /// How many neighbours of a row are looked at, itself included; fewer where there are fewer rows.
        n_neighbors: usize = 15,
        /// Dimensions of the embedding.
        n_components: usize = 2,
        /// How near points may be to each other in the embedding.
        min_dist: f64 = 0.1,
        /// The scale of the embedding, together with `min_dist`.
        spread: f64 = 1.0,
        /// Passes over the graph; none means 500 for up to 10,000 rows, else 200.
        n_epochs: Option<usize> = None,
        /// Length of the first steps.
        learning_rate: f64 = 1.0,
        /// Where to start.
        init: UmapInit = UmapInit::Spectral,
        /// Random points that push away for each neighbour that pulls.
        negative_sample_rate: usize = 5,
        /// How strongly they push.
        repulsion_strength: f64 = 1.0,
        /// 1 joins neighbours if either is one of the other's, 0 only if both are.
        set_op_mix_ratio: f64 = 1.0,
        /// How many neighbours count as wholly connected.
        local_connectivity: f64 = 1.0,
        /// How the distance between rows is measured.
        metric: Metric = Metric::Euclidean,
        /// Seed of the start and of the random points.
        seed: u64 = 0,
    }

    fn accepts(&self) -> Accepts {
        Accepts { rows: 4, ..Accepts::PLAIN }
    }

    fn check(&self) -> Result<()> {
        if self.n_neighbors < 2 || self.n_components == 0 || self.n_epochs == Some(0) {
            return Err(Self::error("n_neighbors must be 2 or more, n_components and n_epochs 1 or more"));
        }
        if !(self.spread > 0.0 && self.spread.is_finite() && (0.0..=self.spread).contains(&self.min_dist)) {
            let (min_dist, spread) = (self.min_dist, self.spread);
            return Err(Self::error(format!("min_dist is {min_dist} and spread {spread}; 0 <= min_dist <= spread")));
        }
        if !(0.0..=1.0).contains(&self.set_op_mix_ratio) {
            return Err(Self::error(format!("set_op_mix_ratio is {}; it must be between 0 and 1", self.set_op_mix_ratio)));
        }
        let numbers = [
            ("learning_rate", self.learning_rate),
            ("repulsion_strength", self.repulsion_strength),
            ("local_connectivity", self.local_connectivity),
        ];
        match numbers.iter().find(|(_, value)| !(*value >= 0.0 && value.is_finite())) {
            Some((name, value)) => Err(Self::error(format!("{name} is {value}; it must be 0 or more"))),
            None => Ok(()),
        }
    }
}

impl UmapParams {
    fn epochs(&self, rows: usize) -> usize {
        self.n_epochs.unwrap_or(if rows <= 10_000 { 500 } else { 200 })
    }

    /// The first positions, from 0 to 10 in each dimension.
    fn start(&self, x: ArrayView2<'_, f64>, graph: &graph::Graph) -> Result<Array2<f64>> {
        let components = self.n_components;
        let spectral = match self.init {
            UmapInit::Spectral => graph::spectral(graph, components),
            UmapInit::Pca | UmapInit::Random => None,
        };
        let mut rng = stream(self.seed, 1);
        let mut positions = match (spectral, self.init) {
            (Some(positions), _) => {
                let largest = positions.iter().fold(f64::MIN_POSITIVE, |most, value| most.max(value.abs()));
                // A little noise parts points that share a position.
                positions.mapv(|value| 10.0 * value / largest + 1e-4 * normal(&mut rng))
            }
            (None, UmapInit::Random) => start(Start::Random, x, components, 1.0, self.seed)?,
            (None, _) if components <= x.nrows().min(x.ncols()) => {
                start(Start::Pca, x, components, 1.0, self.seed)?
            }
            (None, _) => start(Start::Random, x, components, 1.0, self.seed)?,
        };
        for mut column in positions.columns_mut() {
            let (low, high) =
                column.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), &v| (a.min(v), b.max(v)));
            let scale = if high > low { 10.0 / (high - low) } else { 0.0 };
            column.mapv_inplace(|value| scale * (value - low));
        }
        Ok(positions)
    }
}

/// The positions, if they are all finite.
fn bounded(positions: Array2<f64>) -> Result<Array2<f64>> {
    if positions.iter().all(|value| value.is_finite()) {
        return Ok(positions);
    }
    Err(UmapParams::error("the positions grew without end; lower the learning_rate, or scale the features"))
}

impl FitTransformer for UmapParams {
    type Model = Umap;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<Umap> {
        let x = data.x.dense();
        let rows = x.nrows();
        // The row itself is the first of its neighbours.
        let others = (self.n_neighbors - 1).min(rows - 1);
        let neighbors = NearestNeighbors::params().n_neighbors(others).metric(self.metric).fit(&x)?;
        let near = neighbors.kneighbors_of_fitted()?;
        let memberships = graph::memberships(&near, others + 1, self.local_connectivity);
        let graph = graph::union(&near, &memberships, self.set_op_mix_ratio);
        let positions = self.start(x.view(), &graph)?;
        let (a, b) = curve::fit(self.spread, self.min_dist);
        let forces =
            Forces { a, b, repulsion: self.repulsion_strength, negatives: self.negative_sample_rate };
        let embedding = optimize(
            &forces,
            &graph,
            positions,
            self.epochs(rows),
            self.learning_rate,
            &mut stream(self.seed, 2),
        );
        Ok(Umap {
            n_features: x.ncols(),
            params: self.clone(),
            neighbors,
            forces,
            embedding: bounded(embedding)?,
        })
    }

    fn fit_transform_checked(&self, data: &Training<'_, Target>) -> Result<(Umap, Matrix<'static>)> {
        let model = self.fit_checked(data)?;
        let embedding = model.embedding.clone();
        Ok((model, Matrix::Dense(embedding.into())))
    }
}

impl Umap {
    /// The positions of the rows it was fitted on, `[rows, n_components]`.
    pub fn embedding(&self) -> ArrayView2<'_, f64> {
        self.embedding.view()
    }

    /// The parameters `a` and `b` of the curve `1 / (1 + a d^(2 b))` of attraction over distance.
    pub fn curve(&self) -> (f64, f64) {
        (self.forces.a, self.forces.b)
    }
}

impl Transformer for Umap {
    /// Places each new row among its neighbours, which stay where they are.
    fn transform_rows(&self, x: &Matrix<'_>) -> Result<Matrix<'static>> {
        let near: Neighbors = self.neighbors.kneighbors(&x.dense())?;
        // As in the authors' package, one neighbour less is taken as wholly connected.
        let connectivity = (self.params.local_connectivity - 1.0).max(0.0);
        let memberships = graph::memberships(&near, near.indices.ncols(), connectivity);
        let rows = self.embedding.len_of(Axis(0));
        let epochs =
            self.params.n_epochs.map_or(if rows <= 10_000 { 100 } else { 30 }, |epochs| epochs.div_ceil(3));
        let rate = self.params.learning_rate / 4.0;
        let positions =
            place(&self.forces, &near, &memberships, self.embedding.view(), epochs, rate, self.params.seed);
        Ok(Matrix::Dense(bounded(positions)?.into()))
    }

    fn feature_names_out(&self, _input: &[String]) -> Vec<String> {
        numbered("umap", self.embedding.ncols())
    }
}

model!(
    Umap = "UMAP",
    fn is_consistent(&self) -> bool {
        self.neighbors.n_features() == self.n_features
            && self.neighbors.is_consistent()
            && self.neighbors.rows() == self.embedding.nrows()
            && self.forces.negatives == self.params.negative_sample_rate
    }
);
