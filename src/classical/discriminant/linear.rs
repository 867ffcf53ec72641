//! Linear discriminant analysis.

use super::{centred, class_rows};
use crate::Result;
use crate::classical::bayes::class_priors;
use crate::classical::data::{Accepts, Classes, Matrix, Training};
use crate::classical::estimator::{FitClassifier, FitTransformer, Model, Parameters, Target, Transformer};
use crate::classical::linalg;
use crate::classical::linear::function::{
    Linear, binary_probabilities, linear_classifier, overflow, softmax,
};
use crate::classical::params::params;
use ndarray::{Array1, Array2, Axis, concatenate, s};
use serde::{Deserialize, Serialize};

linear_classifier!(
    /// A fitted linear discriminant analysis; it also projects rows onto the directions that separate the
    /// classes best ([`Transformer`]), but for the `Lsqr` solver.
    LinearDiscriminantAnalysis = "LinearDiscriminantAnalysis", accepts Accepts::PLAIN,
    probabilities |_, scores| Some(if scores.ncols() == 1 { binary_probabilities(scores.view()) } else { softmax(scores) }),
    consistent |model| {
        let fits = |map: &Linear| map.fits(model.n_features, map.intercept().len());
        model.projection.as_ref().is_none_or(fits)
    },
    field projection: Option<Linear>,
    field explained_variance_ratio: Vec<f64>
);

/// How the discriminant directions are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiscriminantSolver {
    /// Singular values of the data: no covariance matrix is formed; no shrinkage.
    #[default]
    Svd,
    /// A system of equations with the covariance matrix; no projection.
    Lsqr,
    /// Eigenvalues of the covariance between against that within classes.
    Eigen,
}

/// How far the covariance is moved towards a multiple of the identity.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shrinkage {
    /// Not at all.
    #[default]
    None,
    /// As far as Ledoit and Wolf (2004) compute from the data.
    Auto,
    /// By this share, between 0 and 1.
    Fixed(f64),
}

params! {
    /// Parameters of [`LinearDiscriminantAnalysis`]: normal distributions with a mean for each class and
    /// one covariance for all (Fisher, 1936; Hastie, Tibshirani and Friedman, 2009, section 4.3).
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[0.0, 1.0], [1.0, 0.0], [1.0, 2.0], [5.0, 1.0], [6.0, 0.0], [6.0, 2.0]];
    /// let model = LinearDiscriminantAnalysis::params().fit(&x, &[0, 0, 0, 1, 1, 1])?;
    /// assert_eq!(model.predict(&array![[2.0, 1.0], [4.0, 1.0]])?.to_vec(), [0, 1]);
    /// assert_eq!(model.transform(&x)?.dim(), (6, 1));
    /// # Ok::<(), kiln::Error>(())
    /// ```
    LinearDiscriminantAnalysisParams for LinearDiscriminantAnalysis = "LinearDiscriminantAnalysis" {
        /// How the directions are found.
        solver: DiscriminantSolver = DiscriminantSolver::Svd,
        /// How far the covariance is moved towards a multiple of the identity; not with `Svd`.
        shrinkage: Shrinkage = Shrinkage::None,
        /// The probability of each class, ascending by label; none for their shares of the samples.
        priors: Option<Vec<f64>> = None,
        /// How many directions the projection has; none for as many as there are (classes - 1).
        n_components: Option<usize> = None,
        /// Directions with smaller singular values do not count; for `Svd`.
        tol: f64 = 1e-4,
    }

    fn check(&self) -> Result<()> {
        if !(self.tol >= 0.0 && self.tol.is_finite()) {
            return Err(Self::error(format!("tol is {}; it must be 0 or more", self.tol)));
        }
        match self.shrinkage {
            Shrinkage::None => Ok(()),
            _ if self.solver == DiscriminantSolver::Svd => {
                Err(Self::error("the svd solver has no shrinkage; use lsqr or eigen"))
            }
            Shrinkage::Fixed(share) if !(0.0..=1.0).contains(&share) => {
                Err(Self::error(format!("shrinkage is {share}; it must be between 0 and 1")))
            }
            _ => Ok(()),
        }
    }
}

/// Means, probabilities, and the rows less their class's mean.
struct Groups {
    means: Array2<f64>,
    priors: Array1<f64>,
    within: Vec<Array2<f64>>,
    /// The mean of the classes' means, by their probability.
    centre: Array1<f64>,
}

/// What a solver finds: coefficients and intercepts of each class's discriminant function, the projection's
/// directions (columns) and the variance each explains.
struct Solution {
    coef: Array2<f64>,
    intercept: Array1<f64>,
    directions: Option<(Array2<f64>, Array1<f64>)>,
}

impl FitClassifier for LinearDiscriminantAnalysisParams {
    type Model = LinearDiscriminantAnalysis;

    fn fit_checked(&self, data: &Training<'_, Classes>) -> Result<LinearDiscriminantAnalysis> {
        if data.weights.is_some() {
            return Err(Self::error("takes no sample_weight"));
        }
        let x = data.x.dense();
        let classes = data.y.values.len();
        if x.nrows() <= classes {
            return Err(Self::error(format!(
                "{} samples of {classes} classes; more samples than classes are needed",
                x.nrows()
            )));
        }
        let most = (classes - 1).min(x.ncols());
        let components = self.n_components.unwrap_or(most);
        if components == 0 || components > most {
            return Err(Self::error(format!(
                "n_components is {components}; it must be between 1 and {most}"
            )));
        }
        let priors = class_priors::<Self>(self.priors.as_ref(), &data.y.counts(None))?;
        let (within, means): (Vec<_>, Vec<_>) =
            (0..classes).map(|class| class_rows(x.view(), &data.y, class)).unzip();
        let means = Array2::from_shape_fn((classes, x.ncols()), |(class, column)| means[class][column]);
        let priors = Array1::from(priors);
        let groups = Groups { centre: priors.dot(&means), means, priors, within };
        let Solution { mut coef, mut intercept, directions } = match self.solver {
            DiscriminantSolver::Svd => self.svd(&groups)?,
            DiscriminantSolver::Lsqr => self.lsqr(&groups)?,
            DiscriminantSolver::Eigen => self.eigen(&groups, x.to_owned())?,
        };
        let (mut projection, mut explained_variance_ratio) = (None, Vec::new());
        if let Some((directions, variances)) = directions {
            let kept = components.min(directions.ncols());
            let directions = directions.slice(s![.., ..kept]);
            // Only the svd solver projects rows less their centre, as in scikit-learn.
            let shift = if self.solver == DiscriminantSolver::Svd {
                -groups.centre.dot(&directions)
            } else {
                Array1::zeros(kept)
            };
            projection = Some(Linear::new(Self::NAME, directions.t().to_owned(), shift.to_vec())?);
            explained_variance_ratio = (&variances / variances.sum()).slice(s![..kept]).to_vec();
        }
        if classes == 2 {
            coef = (&coef.row(1) - &coef.row(0)).insert_axis(Axis(0));
            intercept = Array1::from_elem(1, intercept[1] - intercept[0]);
        }
        Ok(LinearDiscriminantAnalysis {
            n_features: x.ncols(),
            classes: data.y.values.clone(),
            linear: Linear::new(Self::NAME, coef, intercept.to_vec())?,
            n_iter: 0,
            projection,
            explained_variance_ratio,
        })
    }
}

impl LinearDiscriminantAnalysisParams {
    fn svd(&self, groups: &Groups) -> Result<Solution> {
        let views: Vec<_> = groups.within.iter().map(|rows| rows.view()).collect();
        let mut rows = concatenate(Axis(0), &views).map_err(|error| Self::error(error.to_string()))?;
        let count = rows.nrows() as f64;
        let deviation = rows.mapv(|value| value * value).sum_axis(Axis(0)).mapv(|sum| (sum / count).sqrt());
        let deviation = deviation.mapv(|value| if value == 0.0 { 1.0 } else { value });
        rows /= &deviation;
        rows /= count.sqrt();
        if !rows.iter().all(|value| value.is_finite()) {
            return Err(overflow(Self::NAME));
        }
        // The triangle of a QR decomposition has the same right singular vectors and is much smaller.
        let triangle = if rows.nrows() > rows.ncols() { linalg::qr(rows.view()).1 } else { rows };
        let (_, values, vt) = linalg::svd(triangle.view())?;
        let rank = values.iter().filter(|&&value| value > self.tol).count();
        if rank == 0 {
            return Err(Self::error("no column varies within the classes"));
        }
        let scalings = (&vt.slice(s![..rank, ..]) / &deviation).t().to_owned() / values.slice(s![..rank]);
        let classes = groups.priors.len();
        let roots = groups.priors.mapv(|prior| (count * prior / (classes - 1) as f64).sqrt());
        let between = (&groups.means - &groups.centre) * roots.insert_axis(Axis(1));
        let (_, values, vt) = linalg::svd(between.dot(&scalings).view())?;
        let rank = values.iter().filter(|&&value| value > self.tol * values[0]).count();
        if rank == 0 {
            return Err(Self::error("the classes have the same means"));
        }
        let scalings = scalings.dot(&vt.slice(s![..rank, ..]).t());
        let projected = (&groups.means - &groups.centre).dot(&scalings);
        let coef = projected.dot(&scalings.t());
        let constants =
            projected.mapv(|value| value * value).sum_axis(Axis(1)) * -0.5 + groups.priors.mapv(f64::ln);
        let intercept = constants - coef.dot(&groups.centre);
        Ok(Solution { coef, intercept, directions: Some((scalings, values.mapv(|value| value * value))) })
    }

    /// The mean of the classes' covariances, by their probability.
    fn within(&self, groups: &Groups) -> Result<Array2<f64>> {
        let mut covariance = Array2::zeros((groups.means.ncols(), groups.means.ncols()));
        for (rows, &prior) in groups.within.iter().zip(&groups.priors) {
            covariance.scaled_add(prior, &shrunk_covariance(rows, self.shrinkage));
        }
        if covariance.iter().all(|value| value.is_finite()) {
            Ok(covariance)
        } else {
            Err(overflow(Self::NAME))
        }
    }

    fn lsqr(&self, groups: &Groups) -> Result<Solution> {
        let covariance = self.within(groups)?;
        let (u, values, vt) = linalg::svd(covariance.view())?;
        let cutoff = values.first().map_or(0.0, |greatest| greatest * f64::EPSILON * values.len() as f64);
        let inverse = values.mapv(|value| if value > cutoff { 1.0 / value } else { 0.0 });
        let coef = ((groups.means.dot(&u)) * &inverse).dot(&vt);
        Ok(Solution { intercept: constants(groups, &coef), coef, directions: None })
    }

    fn eigen(&self, groups: &Groups, x: Array2<f64>) -> Result<Solution> {
        let within = self.within(groups)?;
        let between = shrunk_covariance(&centred(x).0, self.shrinkage) - &within;
        let singular =
            || Self::error("the covariance within the classes is singular; use shrinkage or the svd solver");
        let factor = linalg::cholesky(within.view()).ok_or_else(singular)?;
        let half = linalg::solve_lower(factor.view(), between.view()).ok_or_else(singular)?;
        let reduced = linalg::solve_lower(factor.view(), half.t()).ok_or_else(singular)?;
        let (values, vectors) = linalg::eigh(reduced.view())?;
        // The eigenvectors of the pair are those of the reduced matrix, taken back by the factor.
        let inverse =
            linalg::solve_lower(factor.view(), Array2::eye(factor.nrows()).view()).ok_or_else(singular)?;
        let directions = inverse.t().dot(&vectors).slice(s![.., ..;-1]).to_owned();
        let variances = values.slice(s![..;-1]).mapv(|value| value.max(0.0));
        let coef = groups.means.dot(&directions).dot(&directions.t());
        Ok(Solution { intercept: constants(groups, &coef), coef, directions: Some((directions, variances)) })
    }
}

/// The intercepts that go with coefficients `means @ inverse covariance`.
fn constants(groups: &Groups, coef: &Array2<f64>) -> Array1<f64> {
    (&groups.means * coef).sum_axis(Axis(1)) * -0.5 + groups.priors.mapv(f64::ln)
}

/// The covariance of centred rows, moved towards a multiple of the identity.
fn shrunk_covariance(rows: &Array2<f64>, shrinkage: Shrinkage) -> Array2<f64> {
    let count = rows.nrows() as f64;
    let shrink = |mut covariance: Array2<f64>, share: f64| {
        let level = covariance.diag().sum() / covariance.nrows() as f64;
        covariance *= 1.0 - share;
        covariance.diag_mut().map_inplace(|value| *value += share * level);
        covariance
    };
    let share = match shrinkage {
        Shrinkage::None => 0.0,
        Shrinkage::Fixed(share) => share,
        Shrinkage::Auto => {
            // On columns of deviation 1, as in scikit-learn.
            let deviation =
                rows.mapv(|value| value * value).sum_axis(Axis(0)).mapv(|sum| (sum / count).sqrt());
            let deviation = deviation.mapv(|value| if value == 0.0 { 1.0 } else { value });
            let scaled = rows / &deviation;
            let shrunk = shrink(linalg::gram(scaled.view()) / count, ledoit_wolf(&scaled));
            return shrunk * &deviation * deviation.clone().insert_axis(Axis(1));
        }
    };
    shrink(linalg::gram(rows.view()) / count, share)
}

/// The share of shrinkage with the least expected error (Ledoit and Wolf, 2004), of centred rows.
fn ledoit_wolf(rows: &Array2<f64>) -> f64 {
    let (count, features) = (rows.nrows() as f64, rows.ncols() as f64);
    let covariance = linalg::gram(rows.view()) / count;
    let size = covariance.iter().map(|value| value * value).sum::<f64>();
    let level = covariance.diag().sum() / features;
    let squares: Array1<f64> = rows.mapv(|value| value * value).sum_axis(Axis(1));
    let fourth = squares.dot(&squares) / count;
    let beta = (fourth - size) / (features * count);
    let delta = (size - features * level * level) / features;
    if delta > 0.0 { (beta.min(delta) / delta).max(0.0) } else { 0.0 }
}

impl LinearDiscriminantAnalysis {
    /// The share of the variance between the classes that each direction of the projection explains.
    pub fn explained_variance_ratio(&self) -> &[f64] {
        &self.explained_variance_ratio
    }
}

/// [`LinearDiscriminantAnalysis`] as a step of pipelines that projects rows; made by
/// [`LinearDiscriminantAnalysisParams::projection`], it learns from classes as target.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiscriminantProjectionParams(LinearDiscriminantAnalysisParams);

impl LinearDiscriminantAnalysisParams {
    /// The same analysis as a transformer.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[0.0, 1.0], [1.0, 0.0], [1.0, 2.0], [5.0, 1.0], [6.0, 0.0], [6.0, 2.0]];
    /// let projection = LinearDiscriminantAnalysis::params().projection();
    /// let model = projection.fit_with(&x, Target::classes(&[0, 0, 0, 1, 1, 1]))?;
    /// assert_eq!(model.transform(&x)?.dim(), (6, 1));
    /// # Ok::<(), kiln::Error>(())
    /// ```
    pub fn projection(self) -> DiscriminantProjectionParams {
        DiscriminantProjectionParams(self)
    }
}

impl Parameters for DiscriminantProjectionParams {
    const NAME: &'static str = LinearDiscriminantAnalysisParams::NAME;

    fn check(&self) -> Result<()> {
        self.0.check()
    }
}

impl FitTransformer for DiscriminantProjectionParams {
    type Model = LinearDiscriminantAnalysis;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<LinearDiscriminantAnalysis> {
        let Target::Classes(classes) = &data.y else {
            return Err(Self::error("it needs classes as a target; use fit_with"));
        };
        if classes.values.len() < 2 {
            return Err(Self::error("the target has one class only; at least 2 are needed"));
        }
        let data = Training { x: data.x.clone(), y: classes.clone(), weights: None };
        self.0.fit_checked(&data)
    }
}

impl Transformer for LinearDiscriminantAnalysis {
    fn transform_rows(&self, x: &Matrix<'_>) -> Result<Matrix<'static>> {
        let projection = self.projection.as_ref();
        let projection = projection.ok_or_else(|| {
            LinearDiscriminantAnalysisParams::error("the lsqr solver gives no projection; use svd or eigen")
        })?;
        Ok(Matrix::Dense(projection.apply(self.name(), x)?.into()))
    }

    fn feature_names_out(&self, _: &[String]) -> Vec<String> {
        let directions = self.projection.as_ref().map_or(0, |projection| projection.intercept().len());
        (0..directions).map(|index| format!("lineardiscriminantanalysis{index}")).collect()
    }
}
