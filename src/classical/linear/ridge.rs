//! Least squares with an L2 penalty, for regression and for classes.

use super::function::{Linear, linear_classifier, linear_regressor};
use super::gram::{Normal, centred, target_column};
use super::least_squares::least_squares;
use crate::Result;
use crate::classical::ClassWeight;
use crate::classical::data::{Accepts, Classes, Training};
use crate::classical::estimator::{FitClassifier, FitRegressor, Parameters};
use crate::classical::linalg;
use crate::classical::params::params;
use ndarray::{Array1, Array2, ArrayView2};

linear_regressor!(
    /// A fitted ridge regression: `y = x @ coef + intercept`.
    Ridge = "Ridge", accepts Accepts::PLAIN
);

params! {
    /// Parameters of [`Ridge`]: least squares with the penalty `alpha * |coef|^2`, which the intercept
    /// does not share (Hoerl and Kennard, 1970). The answer is exact, so there is no solver to choose.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let (x, y) = (array![[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0]);
    /// let model = Ridge::params().alpha(1e-9).fit(&x, &y)?;
    /// assert!((model.coef()[0] - 2.0).abs() < 1e-6);
    /// assert!((model.intercept() - 1.0).abs() < 1e-6);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    RidgeParams for Ridge = "Ridge" {
        /// Strength of the penalty, 0 or more.
        alpha: f64 = 1.0,
        /// Whether to learn an intercept; without one the data is taken as centred.
        fit_intercept: bool = true,
    }

    fn check(&self) -> Result<()> {
        check_alpha::<Self>(self.alpha)
    }
}

/// Refuses a penalty that is negative or not finite.
pub(super) fn check_alpha<P: Parameters>(alpha: f64) -> Result<()> {
    if alpha >= 0.0 && alpha.is_finite() {
        return Ok(());
    }
    Err(P::error(format!("alpha is {alpha}; it must be 0 or more")))
}

impl FitRegressor for RidgeParams {
    type Model = Ridge;

    fn fit_checked(&self, data: &Training<'_, Vec<f64>>) -> Result<Ridge> {
        let (x, y) = (data.x.dense(), target_column(data));
        let (coef, intercept) = ridge(x.view(), y, data.weights.as_deref(), self.fit_intercept, self.alpha)?;
        Ridge::new(coef.into_iter().collect(), intercept[0], 0)
    }
}

/// Coefficients `[features, targets]` and intercepts of a ridge regression on each target.
fn ridge(
    x: ArrayView2<'_, f64>,
    y: ArrayView2<'_, f64>,
    weights: Option<&[f64]>,
    fit_intercept: bool,
    alpha: f64,
) -> Result<(Array2<f64>, Vec<f64>)> {
    let shifted = |mut gram: Array2<f64>| {
        gram.diag_mut().map_inplace(|value| *value += alpha);
        gram
    };
    if x.nrows() > x.ncols() {
        let mut sums = Normal::new(x, y, weights, fit_intercept);
        let gram = shifted(std::mem::take(&mut sums.gram));
        if let Some(coef) = solve_columns(&gram, sums.xy.view()) {
            let intercepts = sums.intercepts(coef.view());
            return Ok((coef, intercepts));
        }
    } else if alpha > 0.0 {
        // Wide data: the same coefficients are a combination of the rows, of which there are fewer.
        let (x_means, y_means) = super::gram::means(x, y, weights, fit_intercept);
        let (cx, cy) = centred(x, y, weights, &x_means, &y_means);
        if let Some(dual) = solve_columns(&shifted(linalg::matmul(cx.view(), cx.t())), cy.view()) {
            let coef = linalg::matmul(cx.t(), dual.view());
            let intercepts = (&y_means - &x_means.dot(&coef)).to_vec();
            return Ok((coef, intercepts));
        }
    }
    // Dependent columns and a penalty lost against their size: its limit is the shortest solution.
    least_squares(x, y, weights, fit_intercept, f64::EPSILON * x.nrows().max(x.ncols()) as f64)
}

/// Solves `a @ x = b` for a positive definite `a` and each column of `b`.
fn solve_columns(a: &Array2<f64>, b: ArrayView2<'_, f64>) -> Option<Array2<f64>> {
    let factor = linalg::cholesky(a.view())?;
    let half = linalg::solve_lower(factor.view(), b)?;
    // The transposed factor is upper triangular: read backwards it is a lower one.
    let backwards = factor.slice(ndarray::s![..;-1, ..;-1]);
    let solution = linalg::solve_lower(backwards.t(), half.slice(ndarray::s![..;-1, ..]))?;
    Some(solution.slice(ndarray::s![..;-1, ..]).to_owned())
}

linear_classifier!(
    /// A fitted ridge classifier.
    RidgeClassifier = "RidgeClassifier", accepts Accepts::PLAIN
);

params! {
    /// Parameters of [`RidgeClassifier`]: ridge regression on targets of -1 and 1, one for two classes,
    /// else one a class; the greatest wins.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let (x, y) = (array![[0.0], [1.0], [5.0], [6.0]], [3, 3, 7, 7]);
    /// let model = RidgeClassifier::params().fit(&x, &y)?;
    /// assert_eq!(model.predict(&x)?.to_vec(), y);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    RidgeClassifierParams for RidgeClassifier = "RidgeClassifier" {
        /// Strength of the penalty, 0 or more.
        alpha: f64 = 1.0,
        /// Whether to learn an intercept; without one the data is taken as centred.
        fit_intercept: bool = true,
        /// How much the samples of each class count.
        class_weight: ClassWeight = ClassWeight::None,
    }

    fn check(&self) -> Result<()> {
        check_alpha::<Self>(self.alpha)
    }
}

impl FitClassifier for RidgeClassifierParams {
    type Model = RidgeClassifier;

    fn fit_checked(&self, data: &Training<'_, Classes>) -> Result<RidgeClassifier> {
        let weights = self.class_weight.apply(Self::NAME, data)?;
        let x = data.x.dense();
        let classes = data.y.values.len();
        let (columns, first) = if classes == 2 { (1, 1) } else { (classes, 0) };
        let y = Array2::from_shape_fn((x.nrows(), columns), |(row, column)| {
            if data.y.codes[row] == column + first { 1.0 } else { -1.0 }
        });
        let (coef, intercept) =
            ridge(x.view(), y.view(), weights.as_deref(), self.fit_intercept, self.alpha)?;
        let linear = Linear::new(Self::NAME, coef.t().to_owned(), intercept)?;
        Ok(RidgeClassifier {
            n_features: linear.features(),
            classes: data.y.values.clone(),
            linear,
            n_iter: 0,
        })
    }
}

linear_regressor!(
    /// A fitted ridge regression whose penalty was chosen by cross-validation.
    RidgeCV = "RidgeCV", accepts Accepts::PLAIN,
    /// The penalty with the least error.
    alpha: f64,
    /// The mean squared error of leaving one sample out, for each of the penalties.
    cv_errors: Vec<f64>
);

params! {
    /// Parameters of [`RidgeCV`]: ridge regression with the one of several penalties that predicts each
    /// sample best from all others; the errors come from one decomposition (Golub, Heath and Wahba, 1979).
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let (x, y) = (array![[0.0], [1.0], [2.0], [3.0]], [1.0, 3.0, 5.0, 7.1]);
    /// let model = RidgeCV::params().alphas(vec![0.01, 1.0, 100.0]).fit(&x, &y)?;
    /// assert_eq!(*model.alpha(), 0.01);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    RidgeCVParams for RidgeCV = "RidgeCV" {
        /// The penalties to choose from, each above 0.
        alphas: Vec<f64> = vec![0.1, 1.0, 10.0],
        /// Whether to learn an intercept; without one the data is taken as centred.
        fit_intercept: bool = true,
    }

    fn check(&self) -> Result<()> {
        if self.alphas.is_empty() {
            return Err(Self::error("alphas is empty; it needs at least one penalty"));
        }
        match self.alphas.iter().find(|alpha| !(**alpha > 0.0 && alpha.is_finite())) {
            Some(alpha) => Err(Self::error(format!("alphas holds {alpha}; each must be above 0"))),
            None => Ok(()),
        }
    }

    fn accepts(&self) -> Accepts {
        Accepts { rows: 2, ..Accepts::PLAIN }
    }
}

impl FitRegressor for RidgeCVParams {
    type Model = RidgeCV;

    fn fit_checked(&self, data: &Training<'_, Vec<f64>>) -> Result<RidgeCV> {
        let (x, y) = (data.x.dense(), target_column(data));
        let weights = data.weights.as_deref();
        let (x_means, y_means) = super::gram::means(x.view(), y, weights, self.fit_intercept);
        let (cx, cy) = centred(x.view(), y, weights, &x_means, &y_means);
        if !cx.iter().all(|value| (value * value).is_finite()) {
            return Err(super::function::overflow(Self::NAME));
        }
        let (u, s, vt) = thin_svd(&cx)?;
        let projected = u.t().dot(&cy.column(0));
        let total: f64 = (0..x.nrows()).map(|row| data.weight(row)).sum();
        let errors: Vec<f64> = self
            .alphas
            .iter()
            .map(|alpha| {
                let shrink = s.mapv(|value| value * value / (value * value + alpha));
                let fitted = u.dot(&(&projected * &shrink));
                let sum: f64 = u
                    .rows()
                    .into_iter()
                    .enumerate()
                    .map(|(row, u)| {
                        let intercept = if self.fit_intercept { data.weight(row) / total } else { 0.0 };
                        let leverage =
                            intercept + u.iter().zip(&shrink).map(|(u, shrink)| u * u * shrink).sum::<f64>();
                        let error = (cy[[row, 0]] - fitted[row]) / (1.0 - leverage);
                        // A sample that alone decides its own prediction says nothing.
                        if leverage < 1.0 { error * error } else { 0.0 }
                    })
                    .sum();
                sum / x.nrows() as f64
            })
            .collect();
        let best = (0..errors.len()).fold(0, |best, at| if errors[at] < errors[best] { at } else { best });
        let alpha = self.alphas[best];
        let coef = vt.t().dot(&(&projected * &s.mapv(|value| value / (value * value + alpha))));
        let intercept = y_means[0] - x_means.dot(&coef);
        RidgeCV::new(coef.to_vec(), intercept, 0, alpha, errors)
    }
}

/// The thin singular value decomposition of a matrix of any shape, by way of a QR decomposition of the
/// tall side, which is faster.
fn thin_svd(x: &Array2<f64>) -> Result<(Array2<f64>, Array1<f64>, Array2<f64>)> {
    if x.nrows() > x.ncols() {
        let (q, r) = linalg::qr(x.view());
        let (u, s, vt) = linalg::svd(r.view())?;
        return Ok((linalg::matmul(q.view(), u.view()), s, vt));
    }
    linalg::svd(x.view())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_and_tall_solutions_agree() -> Result<()> {
        let x = Array2::from_shape_fn((6, 6), |(i, j)| ((i * 7 + j * j * 5) % 11) as f64 - 4.0);
        let y = Array2::from_shape_fn((6, 1), |(i, _)| (i * i % 5) as f64);
        let weights = [1.0, 2.0, 0.5, 1.0, 3.0, 1.0];
        // One more row of weight 0 makes the data tall and changes nothing else.
        let tall = ndarray::concatenate![ndarray::Axis(0), x, Array2::ones((1, 6))];
        let tall_y = ndarray::concatenate![ndarray::Axis(0), y, Array2::ones((1, 1))];
        let tall_weights = [&weights[..], &[0.0]].concat();
        let (a, b) = ridge(x.view(), y.view(), Some(&weights), true, 0.3)?;
        let (c, d) = ridge(tall.view(), tall_y.view(), Some(&tall_weights), true, 0.3)?;
        assert!((a - c).iter().all(|difference| difference.abs() < 1e-9));
        assert!((b[0] - d[0]).abs() < 1e-9);
        Ok(())
    }
}
