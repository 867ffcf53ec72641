//! Gaussian mixtures by expectation maximisation.

use super::density::{CovarianceType, Density, Moments};
use super::start::{InitParams, start};
use crate::classical::data::{Accepts, Features, Matrix, Training};
use crate::classical::estimator::{Clusterer, FitClusterer, Model, Parameters};
use crate::classical::linalg::{cholesky, scatter};
use crate::classical::params::{model, params};
use crate::classical::random::{normal, stream, weighted};
use crate::{Error, Result};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

/// A fitted Gaussian mixture.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GaussianMixture {
    n_features: usize,
    density: Density,
    labels: Vec<i64>,
    converged: bool,
    n_iter: usize,
    lower_bound: f64,
}

params! {
    /// Parameters of [`GaussianMixture`]: a sum of normal densities, fitted by expectation maximisation
    /// (Dempster, Laird and Rubin, 1977).
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::Array2;
    ///
    /// let x = Array2::from_shape_fn((60, 2), |(i, j)| (i % 2 * 10) as f64 + ((i * (j + 3)) % 7) as f64 / 7.0);
    /// let mixture = GaussianMixture::params().n_components(2).fit(&x)?;
    /// assert_ne!(mixture.labels()[0], mixture.labels()[1]);
    /// assert!(mixture.predict_proba(&x)?.rows().into_iter().all(|row| row.iter().any(|p| *p > 0.999)));
    /// # Ok::<(), kiln::Error>(())
    /// ```
    GaussianMixtureParams for GaussianMixture = "GaussianMixture" {
        /// How many normal densities.
        n_components: usize = 1,
        /// What their covariances have in common.
        covariance_type: CovarianceType = CovarianceType::Full,
        /// The gain in mean log-likelihood at which to stop.
        tol: f64 = 1e-3,
        /// Added to all variances, so that they stay above 0.
        reg_covar: f64 = 1e-6,
        /// Most steps.
        max_iter: usize = 100,
        /// How many starts, of which the best is kept.
        n_init: usize = 1,
        /// How to start.
        init_params: InitParams = InitParams::KMeans,
        /// Seed of the starts.
        seed: u64 = 0,
    }

    fn accepts(&self) -> Accepts {
        Accepts { rows: 2, ..Accepts::PLAIN }
    }

    fn check(&self) -> Result<()> {
        let counts = [("n_components", self.n_components), ("max_iter", self.max_iter), ("n_init", self.n_init)];
        if let Some((name, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(Self::error(format!("{name} is 0; it must be 1 or more")));
        }
        let numbers = [("tol", self.tol), ("reg_covar", self.reg_covar)];
        match numbers.iter().find(|(_, value)| !(*value >= 0.0 && value.is_finite())) {
            Some((name, value)) => Err(Self::error(format!("{name} is {value}; it must be 0 or more"))),
            None => Ok(()),
        }
    }
}

impl GaussianMixtureParams {
    /// The density that has these moments; `spread` is the mean and the scatter matrix of the samples.
    fn maximization(
        &self,
        old: ArrayView2<'_, f64>,
        moments: &Moments,
        spread: &(Array1<f64>, Array2<f64>),
    ) -> Result<Density> {
        // As in scikit-learn, so that a component without samples divides by more than 0.
        let counts = moments.counts.mapv(|count| count + 10.0 * f64::EPSILON);
        let shifts = &moments.firsts / &counts.view().insert_axis(Axis(1));
        let means = &old + &shifts;
        let outer = |row: ArrayView1<'_, f64>| row.insert_axis(Axis(1)).dot(&row.insert_axis(Axis(0)));
        let covariance = |k: usize| {
            let (shift, second) = (shifts.row(k), &moments.seconds[k] / counts[k]);
            match self.covariance_type {
                CovarianceType::Full | CovarianceType::Tied => {
                    let mut covariance = second - outer(shift);
                    covariance.diag_mut().map_inplace(|variance| *variance += self.reg_covar);
                    covariance
                }
                CovarianceType::Diag => second - &shift * &shift + self.reg_covar,
                CovarianceType::Spherical => {
                    let variances = second - &shift * &shift + self.reg_covar;
                    Array2::from_elem((1, 1), variances.mean().unwrap_or(self.reg_covar))
                }
            }
        };
        let covariances = if self.covariance_type == CovarianceType::Tied {
            let (mean, mut total) = (&spread.0, spread.1.clone());
            for (row, &count) in means.rows().into_iter().zip(&counts) {
                total.scaled_add(-count, &outer((&row - mean).view()));
            }
            total /= counts.sum();
            total.diag_mut().map_inplace(|variance| *variance += self.reg_covar);
            vec![total]
        } else {
            (0..self.n_components).map(covariance).collect()
        };
        Density::new(self.covariance_type, &counts / counts.sum(), means, covariances)
    }

    /// One start and its steps: the density, its lower bound, the number of steps, whether it converged.
    fn run(
        &self,
        x: ArrayView2<'_, f64>,
        spread: &(Array1<f64>, Array2<f64>),
        index: usize,
    ) -> Result<(Density, f64, usize, bool)> {
        let first = start(self.init_params, x, self.n_components, &mut stream(self.seed, index))?;
        // Any density will do to take the moments of given probabilities around its means.
        let features = x.ncols();
        let (count, size) = match self.covariance_type {
            CovarianceType::Full => (self.n_components, (features, features)),
            CovarianceType::Tied => (1, (features, features)),
            CovarianceType::Diag => (self.n_components, (1, features)),
            CovarianceType::Spherical => (self.n_components, (1, 1)),
        };
        let unit = if size.0 == features { Array2::eye(features) } else { Array2::ones(size) };
        let means = Array2::zeros((self.n_components, features)) + &spread.0;
        let weights = Array1::from_elem(self.n_components, 1.0 / self.n_components as f64);
        let around = Density::new(self.covariance_type, weights, means, vec![unit; count])?;
        let moments = around.moments(x, Some(first.view()));
        let mut density = self.maximization(around.means.view(), &moments, spread)?;
        let mut bound = f64::NEG_INFINITY;
        for iteration in 1..=self.max_iter {
            let moments = density.moments(x, None);
            density = self.maximization(density.means.view(), &moments, spread)?;
            let next = moments.log_likelihood / x.nrows() as f64;
            if !next.is_finite() {
                return Err(Self::error("the likelihood is not finite; scale the features"));
            }
            let change = (next - bound).abs();
            bound = next;
            if change < self.tol {
                return Ok((density, bound, iteration, true));
            }
        }
        Ok((density, bound, self.max_iter, false))
    }
}

impl FitClusterer for GaussianMixtureParams {
    type Model = GaussianMixture;

    fn fit_checked(&self, data: &Training<'_, ()>) -> Result<GaussianMixture> {
        data.refuse_weights(Self::NAME)?;
        let x = data.x.dense();
        let (rows, n_features) = x.dim();
        if rows < self.n_components {
            let count = self.n_components;
            return Err(Self::error(format!("n_components is {count}, but there are only {rows} samples")));
        }
        let spread = scatter(x.view());
        if !spread.1.iter().all(|value| value.is_finite()) {
            return Err(Self::error(
                "the features hold values so large that their squares overflow; scale them",
            ));
        }
        let mut best = self.run(x.view(), &spread, 0)?;
        for index in 1..self.n_init {
            let run = self.run(x.view(), &spread, index)?;
            if run.1 > best.1 {
                best = run;
            }
        }
        let (density, lower_bound, n_iter, converged) = best;
        let labels = most_probable(&density, x.view());
        Ok(GaussianMixture { n_features, density, labels, converged, n_iter, lower_bound })
    }
}

fn most_probable(density: &Density, x: ArrayView2<'_, f64>) -> Vec<i64> {
    let label = |row: ArrayView1<'_, f64>| {
        let mut best = 0;
        for (k, &probability) in row.iter().enumerate() {
            if probability > row[best] {
                best = k;
            }
        }
        best as i64
    };
    density.expectation(x).1.rows().into_iter().map(label).collect()
}

impl GaussianMixture {
    /// The weight of each component; they sum to 1.
    pub fn weights(&self) -> ArrayView1<'_, f64> {
        self.density.weights.view()
    }

    /// The mean of each component, `[components, features]`.
    pub fn means(&self) -> ArrayView2<'_, f64> {
        self.density.means.view()
    }

    /// The covariance of each component, `[features, features]`, whatever the covariance type.
    pub fn covariances(&self) -> Vec<Array2<f64>> {
        (0..self.density.weights.len()).map(|k| self.density.covariance(k)).collect()
    }

    /// Whether the gain fell below `tol` within `max_iter` steps.
    pub fn converged(&self) -> bool {
        self.converged
    }

    /// How many steps the best start took.
    pub fn n_iter(&self) -> usize {
        self.n_iter
    }

    /// The mean log-likelihood of the samples before the last step of the best start.
    pub fn lower_bound(&self) -> f64 {
        self.lower_bound
    }

    fn expectation(&self, x: &dyn Features) -> Result<(Vec<f64>, Array2<f64>)> {
        let (log_likelihoods, probabilities) = self.density.expectation(self.input(x)?.dense().view());
        if probabilities.iter().chain(&log_likelihoods).all(|value| value.is_finite()) {
            return Ok((log_likelihoods, probabilities));
        }
        Err(Error::op(
            self.name(),
            "x holds values so far from all means that their density cannot be computed",
        ))
    }

    /// The probability of each component for each row, `[rows, components]`; rows sum to 1.
    ///
    /// # Errors
    /// As [`Model::input`], and rows so far away that their density cannot be computed.
    pub fn predict_proba(&self, x: &dyn Features) -> Result<Array2<f64>> {
        Ok(self.expectation(x)?.1)
    }

    /// The log-likelihood of each row.
    ///
    /// # Errors
    /// As [`GaussianMixture::predict_proba`].
    pub fn score_samples(&self, x: &dyn Features) -> Result<Array1<f64>> {
        Ok(self.expectation(x)?.0.into())
    }

    /// The mean log-likelihood of the rows.
    ///
    /// # Errors
    /// As [`GaussianMixture::predict_proba`].
    pub fn score(&self, x: &dyn Features) -> Result<f64> {
        let scores = self.score_samples(x)?;
        Ok(scores.sum() / scores.len() as f64)
    }

    /// How many numbers the model was free to choose.
    fn n_parameters(&self) -> f64 {
        let (k, d) = (self.density.weights.len() as f64, self.n_features as f64);
        let covariances = match self.density.kind {
            CovarianceType::Full => k * d * (d + 1.0) / 2.0,
            CovarianceType::Tied => d * (d + 1.0) / 2.0,
            CovarianceType::Diag => k * d,
            CovarianceType::Spherical => k,
        };
        covariances + k * d + k - 1.0
    }

    /// The Bayesian information criterion (Schwarz, 1978): the lower the better.
    ///
    /// # Errors
    /// As [`GaussianMixture::predict_proba`].
    pub fn bic(&self, x: &dyn Features) -> Result<f64> {
        let scores = self.score_samples(x)?;
        Ok(-2.0 * scores.sum() + self.n_parameters() * (scores.len() as f64).ln())
    }

    /// The Akaike information criterion (Akaike, 1974): the lower the better.
    ///
    /// # Errors
    /// As [`GaussianMixture::predict_proba`].
    pub fn aic(&self, x: &dyn Features) -> Result<f64> {
        Ok(-2.0 * self.score_samples(x)?.sum() + 2.0 * self.n_parameters())
    }

    /// New rows drawn from the density, and the component each was drawn from.
    ///
    /// # Errors
    /// If `n_samples` is 0, or a covariance was damaged.
    pub fn sample(&self, n_samples: usize, seed: u64) -> Result<(Array2<f64>, Vec<i64>)> {
        if n_samples == 0 {
            return Err(Error::op(self.name(), "n_samples is 0; it must be 1 or more"));
        }
        let roots = self
            .covariances()
            .iter()
            .map(|covariance| cholesky(covariance.view()))
            .collect::<Option<Vec<_>>>();
        let roots = roots.ok_or_else(|| Error::op(self.name(), "a covariance is not positive definite"))?;
        let mut rng = stream(seed, 0);
        let weights = self.weights().to_vec();
        let mut rows = Array2::zeros((n_samples, self.n_features));
        let mut labels = Vec::with_capacity(n_samples);
        for mut row in rows.rows_mut() {
            let k = weighted(&mut rng, &weights);
            let noise = Array1::from_shape_simple_fn(self.n_features, || normal(&mut rng));
            row.assign(&(roots[k].dot(&noise) + self.means().row(k)));
            labels.push(k as i64);
        }
        Ok((rows, labels))
    }
}

impl Clusterer for GaussianMixture {
    fn labels(&self) -> &[i64] {
        &self.labels
    }

    fn assign(&self, x: &Matrix<'_>) -> Result<Option<Vec<i64>>> {
        Ok(Some(most_probable(&self.density, x.dense().view())))
    }
}

model!(
    GaussianMixture = "GaussianMixture",
    fn is_consistent(&self) -> bool {
        self.density.fits(self.n_features)
    }
);
