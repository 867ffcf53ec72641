//! Isometric mapping.

use crate::Result;
use crate::classical::data::{Accepts, Matrix, Training};
use crate::classical::decomposition::KernelSpace;
use crate::classical::estimator::{FitTransformer, Model, Parameters, Target, Transformer};
use crate::classical::neighbors::{Metric, NearestNeighbors};
use crate::classical::params::{model, params};
use crate::parallel;
use ndarray::{Array2, ArrayView1, ArrayView2, Axis, Zip};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A fitted isometric mapping.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Isomap {
    n_features: usize,
    neighbors: NearestNeighbors,
    distances: Array2<f64>,
    space: KernelSpace,
}

params! {
    /// Parameters of [`Isomap`]: distances are those along the data, from neighbour to neighbour, and are
    /// kept in few dimensions as well as they can be (Tenenbaum, de Silva and Langford, 2000). Takes memory
    /// for the distances of all pairs.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::Array2;
    ///
    /// // A spiral is a line rolled up.
    /// let x = Array2::from_shape_fn((100, 2), |(i, j)| {
    ///     let angle = 4.0 + i as f64 / 10.0;
    ///     angle * if j == 0 { angle.cos() } else { angle.sin() }
    /// });
    /// let line = Isomap::params().n_components(1).n_neighbors(3).fit_transform(&x)?;
    /// let rises = line[[99, 0]] > line[[0, 0]];
    /// assert!((1..100).all(|i| (line[[i, 0]] > line[[i - 1, 0]]) == rises));
    /// # Ok::<(), kiln::Error>(())
    /// ```
    IsomapParams for Isomap = "Isomap" {
        /// How many neighbours each row is joined to; at most one fewer than there are rows.
        n_neighbors: usize = 5,
        /// Dimensions of the embedding.
        n_components: usize = 2,
        /// How the distance between neighbours is measured.
        metric: Metric = Metric::Minkowski,
        /// The power of the Minkowski metric.
        p: f64 = 2.0,
    }

    fn accepts(&self) -> Accepts {
        Accepts { rows: 3, ..Accepts::PLAIN }
    }

    fn check(&self) -> Result<()> {
        if self.n_neighbors == 0 || self.n_components == 0 {
            return Err(Self::error("n_neighbors and n_components must be 1 or more"));
        }
        Ok(())
    }
}

/// Who is joined to whom, and how far apart they are.
type Graph = Vec<Vec<(usize, f64)>>;

impl IsomapParams {
    fn graph(&self, x: ArrayView2<'_, f64>) -> Result<(NearestNeighbors, Graph)> {
        let params = NearestNeighbors::params().n_neighbors(self.n_neighbors).metric(self.metric).p(self.p);
        let neighbors = params.fit(&x)?;
        let near = neighbors.kneighbors_of_fitted()?;
        let mut graph: Graph = vec![Vec::new(); x.nrows()];
        for (row, (indices, distances)) in
            near.indices.rows().into_iter().zip(near.distances.rows()).enumerate()
        {
            indices
                .iter()
                .zip(&distances)
                .for_each(|(&other, &distance)| join(&mut graph, row, other, distance));
        }
        // Parts that no neighbour joins are joined where they are nearest to each other.
        let parts = parts(&graph);
        for first in 0..parts.len() {
            for second in 0..first {
                let index = NearestNeighbors::params().n_neighbors(1).metric(self.metric).p(self.p);
                let near = index
                    .fit(&x.select(Axis(0), &parts[second]))?
                    .kneighbors(&x.select(Axis(0), &parts[first]))?;
                let distances = near.distances.column(0);
                let closest = distances.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1));
                if let Some((row, &distance)) = closest {
                    join(&mut graph, parts[first][row], parts[second][near.indices[[row, 0]]], distance);
                }
            }
        }
        Ok((neighbors, graph))
    }
}

fn join(graph: &mut Graph, a: usize, b: usize, distance: f64) {
    graph[a].push((b, distance));
    graph[b].push((a, distance));
}

/// The connected parts of a graph.
fn parts(graph: &Graph) -> Vec<Vec<usize>> {
    let mut seen = vec![false; graph.len()];
    let mut parts = Vec::new();
    for start in 0..graph.len() {
        if seen[start] {
            continue;
        }
        seen[start] = true;
        let mut part = vec![start];
        let mut next = 0;
        while next < part.len() {
            for &(other, _) in &graph[part[next]] {
                if !seen[other] {
                    seen[other] = true;
                    part.push(other);
                }
            }
            next += 1;
        }
        parts.push(part);
    }
    parts
}

/// A distance in the order of a heap.
#[derive(PartialEq)]
struct Distance(f64);

impl Eq for Distance {}

impl PartialOrd for Distance {
    fn partial_cmp(&self, other: &Distance) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Distance {
    fn cmp(&self, other: &Distance) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// The length of the shortest path from one vertex to each (Dijkstra, 1959).
fn shortest_paths(graph: &Graph, start: usize) -> Vec<f64> {
    let mut lengths = vec![f64::INFINITY; graph.len()];
    lengths[start] = 0.0;
    let mut heap = BinaryHeap::from([Reverse((Distance(0.0), start))]);
    while let Some(Reverse((Distance(length), vertex))) = heap.pop() {
        if length > lengths[vertex] {
            continue;
        }
        for &(other, step) in &graph[vertex] {
            let through = length + step;
            if through < lengths[other] {
                lengths[other] = through;
                heap.push(Reverse((Distance(through), other)));
            }
        }
    }
    lengths
}

/// What classical scaling takes for products: distances become similarities.
fn similarity(distance: f64) -> f64 {
    -0.5 * distance * distance
}

impl FitTransformer for IsomapParams {
    type Model = Isomap;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<Isomap> {
        let x = data.x.dense();
        let rows = x.nrows();
        if self.n_components > rows {
            return Err(Self::error(format!(
                "n_components is {}, but there are {rows} rows",
                self.n_components
            )));
        }
        let (neighbors, graph) = self.graph(x.view())?;
        let paths: Vec<Vec<f64>> = parallel::map(1, 0..rows, |row| shortest_paths(&graph, row));
        let mut distances = Array2::zeros((rows, rows));
        for (mut row, path) in distances.rows_mut().into_iter().zip(paths) {
            row.assign(&ArrayView1::from(&path));
        }
        let space = KernelSpace::new(Self::NAME, distances.mapv(similarity), self.n_components, false)?;
        Ok(Isomap { n_features: x.ncols(), neighbors, distances, space })
    }

    fn fit_transform_checked(&self, data: &Training<'_, Target>) -> Result<(Isomap, Matrix<'static>)> {
        let model = self.fit_checked(data)?;
        let embedding = model.embedding();
        Ok((model, Matrix::Dense(embedding.into())))
    }
}

impl Isomap {
    /// The positions of the rows it was fitted on, `[rows, n_components]`.
    pub fn embedding(&self) -> Array2<f64> {
        self.space.embedding()
    }

    /// The distances along the data, `[rows, rows]`.
    pub fn dist_matrix(&self) -> ArrayView2<'_, f64> {
        self.distances.view()
    }
}

impl Transformer for Isomap {
    fn transform_rows(&self, x: &Matrix<'_>) -> Result<Matrix<'static>> {
        let x = x.dense();
        let near = self.neighbors.kneighbors(&x)?;
        let mut distances = Array2::from_elem((x.nrows(), self.distances.nrows()), f64::INFINITY);
        for (row, mut to_all) in distances.rows_mut().into_iter().enumerate() {
            for (&neighbor, &step) in near.indices.row(row).iter().zip(near.distances.row(row)) {
                Zip::from(&mut to_all).and(self.distances.row(neighbor)).for_each(|best, length| {
                    *best = best.min(step + length);
                });
            }
        }
        Ok(Matrix::Dense(self.space.project(self.name(), distances.mapv(similarity))?.into()))
    }

    fn feature_names_out(&self, _input: &[String]) -> Vec<String> {
        crate::classical::decomposition::numbered("isomap", self.space.eigenvalues.len())
    }
}

model!(
    Isomap = "Isomap",
    fn is_consistent(&self) -> bool {
        let rows = self.distances.nrows();
        self.neighbors.n_features() == self.n_features
            && self.neighbors.is_consistent()
            && self.neighbors.rows() == rows
            && self.distances.dim() == (rows, rows)
            && self.space.fits(rows)
    }
);
