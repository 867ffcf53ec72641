//! Linear support vector classification.

use super::dual::{self, Descent};
use super::{ACCEPTS, Samples, check_scaling, newton};
use crate::Result;
use crate::classical::ClassWeight;
use crate::classical::data::{Accepts, Classes, Matrix, Training};
use crate::classical::estimator::{FitClassifier, Parameters};
use crate::classical::linear::elastic_net::check_descent;
use crate::classical::linear::function::{Linear, linear_classifier, overflow};
use crate::classical::linear::logistic::check_c;
use crate::classical::linear::rows::Rows;
use crate::classical::parallel;
use crate::classical::params::params;
use crate::classical::random;
use ndarray::Array2;
use serde::{Deserialize, Serialize};

linear_classifier!(
    /// A fitted linear support vector classifier.
    LinearSVC = "LinearSVC", accepts ACCEPTS
);

/// The loss of a score `f` for a class `y` of -1 or 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinearSVCLoss {
    /// `max(0, 1 - y f)`.
    Hinge,
    /// `max(0, 1 - y f)^2`.
    #[default]
    SquaredHinge,
}

params! {
    /// Parameters of [`LinearSVC`]: `|w|^2 / 2` and `c` times the sum of the losses, one function against
    /// the rest for each of more than two classes. The intercept is the coefficient of a constant column
    /// and shares the penalty, as in liblinear (Fan, Chang, Hsieh, Wang and Lin, 2008).
    ///
    /// Tall dense data is solved by Newton's method where the loss is squared; everything else by
    /// coordinate descent on the dual.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let (x, y) = (array![[0.0], [1.0], [3.0], [4.0]], [0, 0, 1, 1]);
    /// let model = LinearSVC::params().c(10.0).fit(&x, &y)?;
    /// assert_eq!(model.predict(&x)?.to_vec(), [0, 0, 1, 1]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    LinearSVCParams for LinearSVC = "LinearSVC" {
        /// Weight of the losses against the penalty, above 0; the larger, the weaker the penalty.
        c: f64 = 1.0,
        /// The loss.
        loss: LinearSVCLoss = LinearSVCLoss::SquaredHinge,
        /// Whether to learn an intercept.
        fit_intercept: bool = true,
        /// The value of the constant column; the larger, the less of the penalty the intercept feels.
        intercept_scaling: f64 = 1.0,
        /// How much the samples of each class count.
        class_weight: ClassWeight = ClassWeight::None,
        /// The violation of the optimality conditions that ends the fit.
        tol: f64 = 1e-4,
        /// The most iterations; a model with that many in `n_iter` has not converged.
        max_iter: usize = 1000,
        /// Where the random order of coordinate descent begins.
        seed: u64 = 0_u64,
    }

    fn accepts(&self) -> Accepts {
        ACCEPTS
    }

    fn check(&self) -> Result<()> {
        check_c::<Self>(self.c)?;
        check_scaling::<Self>(self.intercept_scaling)?;
        check_descent::<Self>(self.max_iter, self.tol)
    }
}

/// More columns make the Hessian of Newton's method dearer than passes over the data.
const NEWTON_COLUMNS: usize = 1000;

impl FitClassifier for LinearSVCParams {
    type Model = LinearSVC;

    fn fit_checked(&self, data: &Training<'_, Classes>) -> Result<LinearSVC> {
        let weights = self.class_weight.apply(Self::NAME, data)?;
        let (count, features, classes) = (data.x.rows(), data.x.columns(), data.y.values.len());
        let costs: Vec<f64> =
            (0..count).map(|row| self.c * weights.as_ref().map_or(1.0, |weights| weights[row])).collect();
        let constant = if self.fit_intercept { self.intercept_scaling } else { 0.0 };
        let samples = Samples { rows: Rows::of(&data.x)?, count, features, constant };
        let (outputs, first) = if classes == 2 { (1, 1) } else { (classes, 0) };
        // Tens of passes over the samples.
        let work = outputs * count * features * 16;
        let fits: Vec<Option<(Vec<f64>, usize)>> = parallel::map(work, 0..outputs, |output| {
            let code = output + first;
            let y: Vec<f64> = data.y.codes.iter().map(|&own| if own == code { 1.0 } else { -1.0 }).collect();
            match &data.x {
                Matrix::Dense(x)
                    if self.loss == LinearSVCLoss::SquaredHinge && features <= NEWTON_COLUMNS.min(count) =>
                {
                    // As in liblinear: the rarer class decides how far the gradient must fall.
                    let rarer = y
                        .iter()
                        .filter(|&&own| own > 0.0)
                        .count()
                        .min(y.iter().filter(|&&own| own < 0.0).count());
                    let tol = self.tol * rarer.max(1) as f64 / count as f64;
                    newton::squared_hinge(x.view(), samples, &y, &costs, tol, self.max_iter)
                }
                _ => {
                    let descent = Descent {
                        tol: self.tol,
                        max_iter: self.max_iter,
                        rng: random::stream(self.seed, output),
                    };
                    Some(dual::classify(
                        samples,
                        &y,
                        &costs,
                        self.loss == LinearSVCLoss::SquaredHinge,
                        descent,
                    ))
                }
            }
        });
        let fits: Option<Vec<_>> = fits.into_iter().collect();
        let fits = fits.ok_or_else(|| overflow(Self::NAME))?;
        let coef = Array2::from_shape_fn((outputs, features), |(output, column)| fits[output].0[column]);
        let intercept = fits.iter().map(|(w, _)| constant * w[features]).collect();
        let linear = Linear::new(Self::NAME, coef, intercept)?;
        let n_iter = fits.iter().map(|(_, iterations)| *iterations).max().unwrap_or(0);
        Ok(LinearSVC { n_features: features, classes: data.y.values.clone(), linear, n_iter })
    }
}
