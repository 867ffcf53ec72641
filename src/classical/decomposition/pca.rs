//! Principal component analysis.

use super::projection::{Projection, accessors, flipped, shares};
use super::{check_count, finite, overflow};
use crate::Result;
use crate::classical::data::{Accepts, Training};
use crate::classical::estimator::{FitTransformer, Parameters, Target};
use crate::classical::linalg::{self, Operand};
use crate::classical::params::{Setting, model, params, untagged};
use ndarray::{Array1, Array2, ArrayView2, Axis, s};
use serde::{Deserialize, Serialize};

/// How many components to keep.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(remote = "Self", untagged)]
pub enum Components {
    /// So many.
    Count(usize),
    /// As many as explain more than this share of the variance, between 0 and 1.
    Variance(f64),
    /// All there are: the smaller of samples and features.
    #[default]
    All,
}

untagged!(Components);

impl Setting<Components> for usize {
    fn setting(self) -> Components {
        Components::Count(self)
    }
}

impl Setting<Components> for f64 {
    fn setting(self) -> Components {
        Components::Variance(self)
    }
}

/// How the components are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SvdSolver {
    /// `CovarianceEigh` for up to 1000 features and ten times as many samples; else `Full` for small
    /// data, `Randomized` for few components, `Full`.
    #[default]
    Auto,
    /// Singular values of the centred data.
    Full,
    /// Eigenvalues of the covariance matrix.
    CovarianceEigh,
    /// The largest singular values, by random projection (Halko, Martinsson and Tropp, 2011).
    Randomized,
}

/// A fitted principal component analysis.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pca {
    n_features: usize,
    n_samples: usize,
    projection: Projection,
}

params! {
    /// Parameters of [`Pca`]: directions of most variance (Pearson, 1901; Hotelling, 1933).
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[0.0, 0.1], [1.0, 0.9], [2.0, 2.1], [3.0, 2.9]];
    /// let pca = Pca::params().n_components(1).fit(&x)?;
    /// assert_eq!(pca.transform(&x)?.dim(), (4, 1));
    /// assert!(pca.explained_variance_ratio()[0] > 0.99);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    PcaParams for Pca = "PCA" {
        /// How many components to keep: a number, a share of the variance, or all.
        n_components: Components = Components::All,
        /// Whether to scale each component to variance 1.
        whiten: bool = false,
        /// How to compute them.
        svd_solver: SvdSolver = SvdSolver::Auto,
        /// Power iterations of `Randomized`; none means 7, or 4 for many components.
        iterated_power: Option<usize> = None,
        /// Random directions of `Randomized` beyond the components.
        n_oversamples: usize = 10,
        /// Seed of `Randomized`.
        seed: u64 = 0,
    }

    fn accepts(&self) -> Accepts {
        Accepts { rows: 2, ..Accepts::PLAIN }
    }

    fn check(&self) -> Result<()> {
        match self.n_components {
            Components::Variance(share) if !(share > 0.0 && share < 1.0) => {
                Err(Self::error(format!("n_components is {share}; a share of the variance lies between 0 and 1")))
            }
            Components::Variance(_) if self.svd_solver == SvdSolver::Randomized => {
                Err(Self::error("n_components as a share of the variance needs all components; use another svd_solver"))
            }
            _ => Ok(()),
        }
    }
}

/// All components of centred data, or the first ones.
struct Decomposition {
    mean: Array1<f64>,
    /// Of the singular values.
    squares: Array1<f64>,
    /// `[components, features]`.
    components: Array2<f64>,
    /// The sum of all squared singular values, those left out included.
    total: f64,
}

impl PcaParams {
    fn solver(&self, rows: usize, columns: usize) -> SvdSolver {
        match (self.svd_solver, self.n_components) {
            (SvdSolver::Auto, _) if columns <= 1000 && rows >= 10 * columns => SvdSolver::CovarianceEigh,
            (SvdSolver::Auto, _) if rows.max(columns) <= 500 => SvdSolver::Full,
            (SvdSolver::Auto, Components::Count(count))
                if (count as f64) < 0.8 * rows.min(columns) as f64 =>
            {
                SvdSolver::Randomized
            }
            (SvdSolver::Auto, _) => SvdSolver::Full,
            (solver, _) => solver,
        }
    }

    fn decompose(&self, x: ArrayView2<'_, f64>, count: usize) -> Result<Decomposition> {
        let solver = self.solver(x.nrows(), x.ncols());
        if solver == SvdSolver::CovarianceEigh {
            let (mean, scatter) = linalg::scatter(x);
            let (values, vectors) = linalg::eigh(finite(Self::NAME, scatter)?.view())?;
            let squares = values.slice(s![..;-1]).mapv(|value| value.max(0.0));
            let total = squares.sum();
            let components = vectors.t().slice(s![..;-1, ..]).to_owned();
            return Ok(Decomposition { mean, squares, components, total });
        }
        let mean = x.mean_axis(Axis(0)).unwrap_or_default();
        let centred = &x - &mean;
        let total = centred.iter().map(|value| value * value).sum::<f64>();
        if !total.is_finite() {
            return Err(overflow(Self::NAME));
        }
        let (_, values, components) = if solver == SvdSolver::Randomized {
            let operand = Operand::Dense(centred.view());
            linalg::randomized_svd(operand, count, self.n_oversamples, self.iterated_power, self.seed)?
        } else {
            linalg::svd(centred.view())?
        };
        Ok(Decomposition { mean, squares: values.mapv(|value| value * value), components, total })
    }
}

impl FitTransformer for PcaParams {
    type Model = Pca;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<Pca> {
        let x = data.x.dense();
        let (n_samples, n_features) = x.dim();
        let most = n_samples.min(n_features);
        let asked = match self.n_components {
            Components::Count(count) => {
                check_count(Self::NAME, count, most, "the smaller of samples and features")?
            }
            Components::Variance(_) | Components::All => most,
        };
        let Decomposition { mean, squares, components, total } = self.decompose(x.view(), asked)?;
        let freedom = n_samples as f64 - 1.0;
        let ratio = shares(&squares, total);
        let count = match self.n_components {
            Components::Variance(share) => {
                let mut sum = 0.0;
                let below = ratio.iter().take_while(|part| {
                    sum += **part;
                    sum <= share
                });
                (below.count() + 1).min(most)
            }
            Components::Count(_) | Components::All => asked,
        };
        let kept = |values: &Array1<f64>| values.slice(s![..count]).to_owned();
        let explained = kept(&squares);
        let left = (total - explained.sum()).max(0.0) / freedom;
        let noise_variance = if count < most { left / (most - count) as f64 } else { 0.0 };
        let projection = Projection {
            mean,
            components: finite(Self::NAME, flipped(components.slice(s![..count, ..])))?,
            explained_variance: &explained / freedom,
            explained_variance_ratio: kept(&ratio),
            singular_values: explained.mapv(f64::sqrt),
            noise_variance,
            whiten: self.whiten,
        };
        Ok(Pca { n_features, n_samples, projection })
    }
}

impl Pca {
    /// How many samples it was fitted on.
    pub fn n_samples(&self) -> usize {
        self.n_samples
    }
}

accessors!(Pca);
model!(
    Pca = "PCA",
    fn is_consistent(&self) -> bool {
        self.projection.fits(self.n_features)
    }
);
