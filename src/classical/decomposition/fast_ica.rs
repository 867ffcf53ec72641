//! Independent component analysis.

use super::{check_columns, check_count, finite, numbered};
use crate::Result;
use crate::classical::data::{Accepts, Matrix, Training};
use crate::classical::estimator::{FitTransformer, Model, Parameters, Target, Transformer};
use crate::classical::linalg::{eigh, matmul, svd};
use crate::classical::parallel;
use crate::classical::params::{model, params};
use crate::classical::random::{normal, stream};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, ArrayViewMut1, Axis, Zip, s};
use serde::{Deserialize, Serialize};

/// Whether the sources are found at once or one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IcaAlgorithm {
    /// All at once.
    #[default]
    Parallel,
    /// One after the other, each orthogonal to those before.
    Deflation,
}

/// The function whose mean measures how far from normal a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IcaFunction {
    /// `log(cosh(u))`, for most purposes.
    #[default]
    Logcosh,
    /// `-exp(-u^2 / 2)`, for very peaked sources and outliers.
    Exp,
    /// `u^4 / 4`, kurtosis.
    Cube,
}

/// A fitted independent component analysis.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FastIca {
    n_features: usize,
    mean: Array1<f64>,
    components: Array2<f64>,
    mixing: Array2<f64>,
    n_iter: usize,
}

params! {
    /// Parameters of [`FastIca`]: linear mixtures taken apart into independent sources of variance 1
    /// (Hyvarinen and Oja, 2000).
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::{Array2, array};
    ///
    /// let sources = Array2::from_shape_fn((500, 2), |(i, j)| {
    ///     let t = i as f64 / 40.0;
    ///     if j == 0 { (3.0 * t).sin() } else { t.fract() - 0.5 }
    /// });
    /// let mixed = sources.dot(&array![[1.0, 0.5], [0.3, 2.0]]);
    /// let ica = FastIca::params().fit(&mixed)?;
    /// let back = ica.inverse_transform(&ica.transform(&mixed)?)?;
    /// assert!((back - mixed).iter().all(|error| error.abs() < 1e-9));
    /// # Ok::<(), kiln::Error>(())
    /// ```
    FastIcaParams for FastIca = "FastICA" {
        /// How many sources; none means the smaller of samples and features.
        n_components: Option<usize> = None,
        /// All sources at once, or one after the other.
        algorithm: IcaAlgorithm = IcaAlgorithm::Parallel,
        /// The measure of non-normality.
        fun: IcaFunction = IcaFunction::Logcosh,
        /// The scale in `log(cosh(alpha * u))`, between 1 and 2.
        alpha: f64 = 1.0,
        /// Most iterations (for each source, one after the other).
        max_iter: usize = 200,
        /// The change of the directions at which to stop.
        tol: f64 = 1e-4,
        /// Seed of the first directions.
        seed: u64 = 0,
    }

    fn accepts(&self) -> Accepts {
        Accepts { rows: 2, ..Accepts::PLAIN }
    }

    fn check(&self) -> Result<()> {
        if !(1.0..=2.0).contains(&self.alpha) {
            return Err(Self::error(format!("alpha is {}; it must be between 1 and 2", self.alpha)));
        }
        if !(self.tol > 0.0 && self.max_iter > 0) {
            let (tol, max_iter) = (self.tol, self.max_iter);
            return Err(Self::error(format!("tol is {tol} and max_iter {max_iter}; both must be above 0")));
        }
        Ok(())
    }
}

impl FastIcaParams {
    /// Replaces each value by the function's derivative there; returns the mean of the second derivative.
    fn slopes(&self, mut values: ArrayViewMut1<'_, f64>) -> f64 {
        let count = values.len() as f64;
        let mut second = 0.0;
        values.mapv_inplace(|u| match self.fun {
            IcaFunction::Logcosh => {
                let slope = (self.alpha * u).tanh();
                second += self.alpha * (1.0 - slope * slope);
                slope
            }
            IcaFunction::Exp => {
                let bell = (-u * u / 2.0).exp();
                second += (1.0 - u * u) * bell;
                u * bell
            }
            IcaFunction::Cube => {
                second += 3.0 * u * u;
                u * u * u
            }
        });
        second / count
    }

    /// The fixed-point step of directions (rows of `w`): `mean(x * g(w x)) - mean(g'(w x)) * w`, for white
    /// data `x [components, samples]`.
    fn step(&self, x: ArrayView2<'_, f64>, w: ArrayView2<'_, f64>) -> Array2<f64> {
        let mut projected = matmul(w, x);
        let (size, rows) = (projected.len(), projected.rows_mut());
        let seconds: Vec<f64> = parallel::map(8 * size, rows, |row| self.slopes(row));
        let mut next = matmul(projected.view(), x.t()) / x.ncols() as f64;
        for ((mut next, w), second) in next.rows_mut().into_iter().zip(w.rows()).zip(seconds) {
            next.scaled_add(-second, &w);
        }
        next
    }

    fn parallel(&self, x: ArrayView2<'_, f64>, start: &Array2<f64>) -> Result<(Array2<f64>, usize)> {
        let mut w = decorrelated(start)?;
        for iteration in 1..=self.max_iter {
            let next = decorrelated(&self.step(x, w.view()))?;
            let change =
                Zip::from(next.rows()).and(w.rows()).fold(0.0_f64, |most, a, b| most.max(turned(a, b)));
            w = next;
            if change < self.tol {
                return Ok((w, iteration));
            }
        }
        Ok((w, self.max_iter))
    }

    fn deflation(&self, x: ArrayView2<'_, f64>, start: &Array2<f64>) -> (Array2<f64>, usize) {
        let mut found = Array2::<f64>::zeros(start.dim());
        let mut most = 0;
        for (index, first) in start.rows().into_iter().enumerate() {
            let mut w = unit(first.to_owned());
            for iteration in 1..=self.max_iter {
                most = most.max(iteration);
                let mut next = self.step(x, w.view().insert_axis(Axis(0))).row(0).to_owned();
                let before = found.slice(s![..index, ..]);
                next -= &before.dot(&next).dot(&before);
                let next = unit(next);
                let change = turned(next.view(), w.view());
                w = next;
                if change < self.tol {
                    break;
                }
            }
            found.row_mut(index).assign(&w);
        }
        (found, most)
    }
}

fn unit(vector: Array1<f64>) -> Array1<f64> {
    let norm = vector.dot(&vector).sqrt();
    vector / norm
}

/// How far two unit vectors are from lying on one line.
fn turned(a: ArrayView1<'_, f64>, b: ArrayView1<'_, f64>) -> f64 {
    (a.dot(&b).abs() - 1.0).abs()
}

/// `(w w^T)^(-1/2) w`: the nearest rows that are orthonormal.
fn decorrelated(w: &Array2<f64>) -> Result<Array2<f64>> {
    let square = finite(FastIcaParams::NAME, matmul(w.view(), w.t()))?;
    let (values, vectors) = eigh(square.view())?;
    let scaled = &vectors / &values.mapv(|value| value.max(f64::MIN_POSITIVE).sqrt());
    Ok(matmul(matmul(scaled.view(), vectors.t()).view(), w.view()))
}

impl FitTransformer for FastIcaParams {
    type Model = FastIca;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<FastIca> {
        let x = data.x.dense();
        let (samples, n_features) = x.dim();
        let most = samples.min(n_features);
        let asked = self.n_components.unwrap_or(most);
        let count = check_count(Self::NAME, asked, most, "the smaller of samples and features")?;
        let mean = x.mean_axis(Axis(0)).unwrap_or_default();
        let centred = finite(Self::NAME, &x - &mean)?;
        let (_, values, vt) = svd(centred.view())?;
        let rank = values.iter().filter(|value| **value > 1e-12 * values[0].max(f64::MIN_POSITIVE)).count();
        if count > rank {
            return Err(Self::error(format!(
                "x has only {rank} independent columns; it cannot hold n_components = {count} sources"
            )));
        }
        // Each row gives a principal component of variance 1.
        let deviations = values.slice(s![..count]).mapv(|value| value / (samples as f64).sqrt());
        let whitening = &vt.slice(s![..count, ..]) / &deviations.insert_axis(Axis(1));
        let white = finite(Self::NAME, matmul(whitening.view(), centred.t()))?;
        let mut rng = stream(self.seed, 0);
        let start = Array2::from_shape_simple_fn((count, count), || normal(&mut rng));
        let (mut unmixing, n_iter) = match self.algorithm {
            IcaAlgorithm::Parallel => self.parallel(white.view(), &start)?,
            IcaAlgorithm::Deflation => self.deflation(white.view(), &start),
        };
        let deviations = matmul(unmixing.view(), white.view()).std_axis(Axis(1), 0.0);
        unmixing /= &deviations.insert_axis(Axis(1));
        let components = finite(Self::NAME, matmul(unmixing.view(), whitening.view()))?;
        let mixing = pseudo_inverse(components.view())?;
        Ok(FastIca { n_features, mean, components, mixing, n_iter })
    }
}

/// The Moore-Penrose inverse of a matrix of full rank.
fn pseudo_inverse(a: ArrayView2<'_, f64>) -> Result<Array2<f64>> {
    let (u, values, vt) = svd(a)?;
    finite(FastIcaParams::NAME, matmul((&vt.t() / &values).view(), u.t()))
}

impl FastIca {
    /// The mean of each feature.
    pub fn mean(&self) -> ArrayView1<'_, f64> {
        self.mean.view()
    }

    /// What the centred features are multiplied with to give the sources, `[components, features]`.
    pub fn components(&self) -> ArrayView2<'_, f64> {
        self.components.view()
    }

    /// How the sources make the features: the pseudo-inverse of the components, `[features, components]`.
    pub fn mixing(&self) -> ArrayView2<'_, f64> {
        self.mixing.view()
    }

    /// How many iterations it took; as many as `max_iter` means that it did not converge.
    pub fn n_iter(&self) -> usize {
        self.n_iter
    }
}

impl Transformer for FastIca {
    fn transform_rows(&self, x: &Matrix<'_>) -> Result<Matrix<'static>> {
        let centred = &x.dense() - &self.mean;
        let sources = matmul(centred.view(), self.components.t());
        Ok(Matrix::Dense(finite(self.name(), sources)?.into()))
    }

    fn inverse_rows(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        check_columns(self.name(), x.columns(), self.components.nrows())?;
        let rows = matmul(x.dense().view(), self.mixing.t()) + &self.mean;
        finite(self.name(), rows).map(Some)
    }

    fn feature_names_out(&self, _input: &[String]) -> Vec<String> {
        numbered("fastica", self.components.nrows())
    }
}

model!(
    FastIca = "FastICA",
    fn is_consistent(&self) -> bool {
        let shape = (self.components.nrows(), self.n_features);
        self.mean.len() == shape.1 && self.components.dim() == shape && self.mixing.t().dim() == shape
    }
);
