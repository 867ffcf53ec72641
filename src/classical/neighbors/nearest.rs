//! The search itself, for what is built on it.

use super::index::{Algorithm, Candidate, Index, Neighbors};
use super::metric::Metric;
use crate::Result;
use crate::classical::data::{Features, Matrix, Training};
use crate::classical::estimator::{Model, Parameters};
use crate::classical::params::{model, params};
use serde::{Deserialize, Serialize};

/// Rows that can be searched for the neighbours of others.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NearestNeighbors {
    n_features: usize,
    n_neighbors: usize,
    radius: f64,
    index: Index,
}

params! {
    /// Parameters of [`NearestNeighbors`]: searches by k-d tree (Bentley, 1975), ball tree (Omohundro,
    /// 1989) or all distances. Whatever the algorithm, distances are exact to rounding and rows equally
    /// near are taken in their order.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[0.0, 0.0], [1.0, 0.0], [5.0, 5.0]];
    /// let index = NearestNeighbors::params().n_neighbors(2).fit(&x)?;
    /// let found = index.kneighbors(&array![[0.9, 0.0]])?;
    /// assert_eq!(found.indices, array![[1, 0]]);
    /// assert!((found.distances[[0, 1]] - 0.9).abs() < 1e-12);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    NearestNeighborsParams for NearestNeighbors = "NearestNeighbors" {
        /// How many neighbours [`NearestNeighbors::kneighbors`] gives.
        n_neighbors: usize = 5,
        /// The distance up to which [`NearestNeighbors::radius_neighbors`] gives rows.
        radius: f64 = 1.0,
        /// How to search.
        algorithm: Algorithm = Algorithm::Auto,
        /// Rows below which a tree does not divide them further.
        leaf_size: usize = 30,
        /// How the distance between rows is measured.
        metric: Metric = Metric::Minkowski,
        /// The power of the Minkowski metric, at least 1: 1 is Manhattan, 2 Euclidean.
        p: f64 = 2.0,
    }

    fn check(&self) -> Result<()> {
        if self.n_neighbors == 0 {
            return Err(Self::error("n_neighbors is 0; it must be 1 or more"));
        }
        check_radius(Self::NAME, self.radius)?;
        self.metric.distance(Self::NAME, self.p).map(drop)
    }
}

/// A radius must be a finite number from 0.
pub(super) fn check_radius(name: &'static str, radius: f64) -> Result<()> {
    if radius >= 0.0 && radius.is_finite() {
        return Ok(());
    }
    Err(crate::Error::op(name, format!("radius is {radius}; it must be 0 or more")))
}

/// `count` neighbours must be there among `rows`.
pub(super) fn check_count(name: &'static str, count: usize, rows: usize) -> Result<()> {
    if count <= rows {
        return Ok(());
    }
    Err(crate::Error::op(
        name,
        format!("n_neighbors is {count}, but there are only {rows} rows to choose from"),
    ))
}

impl NearestNeighborsParams {
    /// Makes rows searchable.
    ///
    /// # Errors
    /// Wrong parameters, data that [`Training::checked`] refuses, and values so large that distances
    /// overflow.
    pub fn fit(&self, x: &dyn Features) -> Result<NearestNeighbors> {
        self.check()?;
        let data = Training::checked(Self::NAME, self.accepts(), x, (), None, None)?;
        let distance = self.metric.distance(Self::NAME, self.p)?;
        let index = Index::new(Self::NAME, data.x.dense().view(), distance, self.algorithm, self.leaf_size)?;
        Ok(NearestNeighbors {
            n_features: data.x.columns(),
            n_neighbors: self.n_neighbors,
            radius: self.radius,
            index,
        })
    }
}

/// A row found by a search, and how far it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbor {
    /// The row's number.
    pub index: usize,
    /// Its distance.
    pub distance: f64,
}

impl NearestNeighbors {
    /// How many rows it searches.
    pub(crate) fn rows(&self) -> usize {
        self.index.rows()
    }

    /// The nearest rows of each row of `x`.
    ///
    /// # Errors
    /// As [`Model::input`], and if there are fewer rows than `n_neighbors`.
    pub fn kneighbors(&self, x: &dyn Features) -> Result<Neighbors> {
        let x: Matrix<'_> = self.input(x)?;
        check_count(self.name(), self.n_neighbors, self.index.rows())?;
        self.index.nearest(self.name(), x.dense().view(), self.n_neighbors)
    }

    /// The nearest rows of each of the rows themselves, each left out of its own.
    ///
    /// # Errors
    /// If there are not more rows than `n_neighbors`.
    pub fn kneighbors_of_fitted(&self) -> Result<Neighbors> {
        check_count(self.name(), self.n_neighbors, self.index.rows() - 1)?;
        Ok(self.index.nearest_others(self.n_neighbors))
    }

    /// All rows within the radius of each row of `x`, in the order of the rows.
    ///
    /// # Errors
    /// As [`Model::input`].
    pub fn radius_neighbors(&self, x: &dyn Features) -> Result<Vec<Vec<Neighbor>>> {
        let x = self.input(x)?;
        self.index.within(self.name(), x.dense().view(), self.radius, |mut found| {
            found.sort_unstable_by_key(|candidate| candidate.row);
            let neighbor = |&candidate: &Candidate| Neighbor {
                index: candidate.row,
                distance: self.index.distance(candidate),
            };
            found.iter().map(neighbor).collect()
        })
    }
}

model!(
    NearestNeighbors = "NearestNeighbors",
    fn is_consistent(&self) -> bool {
        self.index.fits(self.n_features, 1) && self.n_neighbors > 0
    }
);
