//! k-means.

mod lloyd;
mod mini_batch;

pub(in crate::classical) use lloyd::plus_plus;
pub use mini_batch::{MiniBatchKMeans, MiniBatchKMeansParams};

use crate::classical::data::{Features, Matrix, Training};
use crate::classical::estimator::{Clusterer, FitClusterer, Model, Parameters};
use crate::classical::neighbors::Distance;
use crate::classical::parallel;
use crate::classical::params::{model, params};
use crate::classical::random;
use crate::{Error, Result};
use fastrand::Rng;
use ndarray::{Array1, Array2, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

/// Where the centres begin.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// Rows far from each other (Arthur and Vassilvitskii, 2007), the best of a few each time.
    #[default]
    #[serde(rename = "k-means++")]
    PlusPlus,
    /// Rows at random.
    Random,
    /// These centres, `[clusters, columns]`.
    Centers(Vec<Vec<f64>>),
}

/// A fitted k-means clustering.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KMeans {
    n_features: usize,
    centers: Array2<f64>,
    labels: Vec<i64>,
    inertia: f64,
    n_iter: usize,
}

params! {
    /// Parameters of [`KMeans`]: clusters around means such that the sum of squared distances from them
    /// is small (Lloyd, 1982).
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[0.0, 0.0], [0.1, 0.0], [5.0, 5.0], [5.1, 5.0]];
    /// let model = KMeans::params().n_clusters(2).seed(1).fit(&x)?;
    /// assert_eq!(model.labels()[0], model.labels()[1]);
    /// assert!(model.inertia() < 0.011);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    KMeansParams for KMeans = "KMeans" {
        /// How many clusters.
        n_clusters: usize = 8,
        /// Where the centres begin.
        init: Init = Init::PlusPlus,
        /// Runs from different beginnings, of which the best counts; `None` is 10 for random rows, else 1.
        n_init: Option<usize> = None,
        /// Steps of a run at most.
        max_iter: usize = 300,
        /// A run ends when the centres move less than this share of the columns' mean variance.
        tol: f64 = 1e-4,
        /// Draws the beginnings.
        seed: u64 = 0_u64,
    }

    fn check(&self) -> Result<()> {
        check_common(Self::NAME, self.n_clusters, self.max_iter, self.tol)?;
        if self.n_init == Some(0) {
            return Err(Self::error("n_init is 0; it must be 1 or more"));
        }
        Ok(())
    }
}

fn check_common(name: &'static str, n_clusters: usize, max_iter: usize, tol: f64) -> Result<()> {
    if n_clusters == 0 || max_iter == 0 {
        let message = format!("n_clusters is {n_clusters} and max_iter {max_iter}; both must be 1 or more");
        return Err(Error::op(name, message));
    }
    if !(tol >= 0.0 && tol.is_finite()) {
        return Err(Error::op(name, format!("tol is {tol}; it must be 0 or more")));
    }
    Ok(())
}

/// Rows less their mean, for which products lose the fewest digits, and the mean.
fn centred(
    name: &'static str,
    x: ArrayView2<'_, f64>,
    clusters: usize,
) -> Result<(Array2<f64>, Array1<f64>)> {
    Distance::Euclidean.check(name, x)?;
    let rows = x.nrows();
    if clusters > rows {
        return Err(Error::op(name, format!("n_clusters is {clusters}, but there are only {rows} rows")));
    }
    let mean = x.mean_axis(Axis(0)).unwrap_or_default();
    Ok((&x - &mean, mean))
}

/// The mean variance of columns whose means are 0.
fn mean_variance(x: &Array2<f64>) -> f64 {
    let values = x.flatten();
    values.dot(&values) / values.len() as f64
}

impl Init {
    /// The centres to begin with, for rows from which `mean` was subtracted.
    fn centers(
        &self,
        name: &'static str,
        x: ArrayView2<'_, f64>,
        weights: Option<&[f64]>,
        mean: &Array1<f64>,
        clusters: usize,
        rng: &mut Rng,
    ) -> Result<Array2<f64>> {
        match self {
            Init::PlusPlus => Ok(x.select(Axis(0), &plus_plus(x, weights, clusters, rng))),
            Init::Random => {
                let mut rows: Vec<usize> = (0..x.nrows()).collect();
                rng.shuffle(&mut rows);
                Ok(x.select(Axis(0), &rows[..clusters]))
            }
            Init::Centers(centers) => {
                let values: Vec<f64> = centers.concat();
                let shape = (clusters, x.ncols());
                let right =
                    centers.len() == clusters && centers.iter().all(|center| center.len() == x.ncols());
                let finite = values.iter().all(|value| value.is_finite());
                Array2::from_shape_vec(shape, values)
                    .ok()
                    .filter(|_| right && finite)
                    .map(|centers| centers - mean)
                    .ok_or_else(|| {
                        Error::op(
                            name,
                            format!("init must hold {clusters} centres of {} finite numbers", x.ncols()),
                        )
                    })
            }
        }
    }
}

impl FitClusterer for KMeansParams {
    type Model = KMeans;

    fn fit_checked(&self, data: &Training<'_, ()>) -> Result<KMeans> {
        let (x, mean) = centred(Self::NAME, data.x.dense().view(), self.n_clusters)?;
        let weights = data.weights.as_deref();
        let runs = self.n_init.unwrap_or(if self.init == Init::Random { 10 } else { 1 });
        let tolerance = self.tol * mean_variance(&x);
        let mut best: Option<lloyd::Run> = None;
        for run in 0..runs {
            let mut rng = random::stream(self.seed, run);
            let run = parallel::within(lloyd::work(x.view(), self.n_clusters), || {
                let centers =
                    self.init.centers(Self::NAME, x.view(), weights, &mean, self.n_clusters, &mut rng)?;
                Ok(lloyd::run(x.view(), weights, centers, self.max_iter, tolerance))
            })?;
            if best.as_ref().is_none_or(|best| run.inertia < best.inertia) {
                best = Some(run);
            }
        }
        let run = best.ok_or_else(|| Self::error("n_init is 0; it must be 1 or more"))?;
        Ok(KMeans {
            n_features: x.ncols(),
            centers: run.centers + &mean,
            labels: run.labels.iter().map(|&label| label as i64).collect(),
            inertia: run.inertia,
            n_iter: run.iterations,
        })
    }
}

/// The nearest centre of each row.
fn nearest(x: &Matrix<'_>, centers: &Array2<f64>) -> Vec<i64> {
    let mean = centers.mean_axis(Axis(0)).unwrap_or_default();
    let mut labels = vec![0; x.rows()];
    lloyd::assign((&x.dense() - &mean).view(), &(centers - &mean), &mut labels);
    labels.into_iter().map(|label| label as i64).collect()
}

/// What both variants tell.
macro_rules! k_means {
    ($model:ident = $name:literal) => {
        impl $model {
            /// The centres, `[clusters, columns]`.
            pub fn cluster_centers(&self) -> &Array2<f64> {
                &self.centers
            }

            /// The sum of squared distances of the training rows from their centres, by weight.
            pub fn inertia(&self) -> f64 {
                self.inertia
            }

            /// Steps taken.
            pub fn n_iter(&self) -> usize {
                self.n_iter
            }

            /// The distance of each row from each centre, `[rows, clusters]`.
            ///
            /// # Errors
            /// As [`Model::input`], and values so large that distances overflow.
            pub fn transform(&self, x: &dyn Features) -> Result<Array2<f64>> {
                let x = self.input(x)?;
                Distance::Euclidean.check($name, x.dense().view())?;
                let x = x.dense();
                Ok(Array2::from_shape_fn((x.nrows(), self.centers.nrows()), |(row, center)| {
                    let pairs = x.row(row).into_iter().zip(self.centers.row(center));
                    pairs.map(|(value, center)| (value - center).powi(2)).sum::<f64>().sqrt()
                }))
            }
        }

        impl Clusterer for $model {
            fn labels(&self) -> &[i64] {
                &self.labels
            }

            fn assign(&self, x: &Matrix<'_>) -> Result<Option<Vec<i64>>> {
                Distance::Euclidean.check($name, x.dense().view())?;
                Ok(Some(nearest(x, &self.centers)))
            }
        }

        model!(
            $model = $name,
            fn is_consistent(&self) -> bool {
                self.centers.ncols() == self.n_features && !self.centers.is_empty()
            }
        );
    };
}

use k_means;

k_means!(KMeans = "KMeans");
