//! Lasso and elastic net, with a given penalty or one chosen by cross-validation.

use super::coordinate_descent::{Penalty, Problem, Stop, descend};
use super::function::{linear_regressor, overflow};
use super::ridge::check_alpha;
use crate::Result;
use crate::classical::data::{Accepts, Matrix, Training};
use crate::classical::estimator::{FitRegressor, Parameters};
use crate::classical::params::params;

/// Sparse matrices are used as they are.
const ACCEPTS: Accepts = Accepts { sparse: true, ..Accepts::PLAIN };

linear_regressor!(
    /// A fitted lasso: `y = x @ coef + intercept`, most coefficients 0.
    Lasso = "Lasso", accepts ACCEPTS,
    /// How far the objective is above its minimum at most, as [`LassoParams`] scales it.
    dual_gap: f64
);

linear_regressor!(
    /// A fitted elastic net: `y = x @ coef + intercept`.
    ElasticNet = "ElasticNet", accepts ACCEPTS,
    /// How far the objective is above its minimum at most, as [`ElasticNetParams`] scales it.
    dual_gap: f64
);

params! {
    /// Parameters of [`Lasso`]: `|y - x @ w|^2 / (2 samples) + alpha |w|_1` (Tibshirani, 1996), by
    /// coordinate descent (Friedman, Hastie and Tibshirani, 2010) until the duality gap is small.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[0.0, 1.0], [1.0, -1.0], [2.0, -1.0], [3.0, 1.0]];
    /// let model = Lasso::params().alpha(0.1).fit(&x, &[0.0, 2.0, 4.0, 6.0])?;
    /// assert!(model.coef()[0] > 1.8 && model.coef()[1] == 0.0);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    LassoParams for Lasso = "Lasso" {
        /// Strength of the penalty, 0 or more.
        alpha: f64 = 1.0,
        /// Whether to learn an intercept; without one the data is taken as centred.
        fit_intercept: bool = true,
        /// The most sweeps over the coefficients; a model with that many in `n_iter` has not converged.
        max_iter: usize = 1000,
        /// The duality gap that ends the descent, as a share of the target's sum of squares.
        tol: f64 = 1e-4,
        /// Whether coefficients below 0 are forbidden.
        positive: bool = false,
    }

    fn accepts(&self) -> Accepts {
        ACCEPTS
    }

    fn check(&self) -> Result<()> {
        check_alpha::<Self>(self.alpha)?;
        check_descent::<Self>(self.max_iter, self.tol)
    }
}

params! {
    /// Parameters of [`ElasticNet`]:
    /// `|y - x @ w|^2 / (2 samples) + alpha l1_ratio |w|_1 + alpha (1 - l1_ratio) |w|^2 / 2`
    /// (Zou and Hastie, 2005), solved as [`LassoParams`].
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[0.0, 1.0], [1.0, -1.0], [2.0, -1.0], [3.0, 1.0]];
    /// let model = ElasticNet::params().alpha(0.1).l1_ratio(0.9).fit(&x, &[0.0, 2.0, 4.0, 6.0])?;
    /// assert!(model.coef()[0] > 1.8 && model.coef()[1] == 0.0);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    ElasticNetParams for ElasticNet = "ElasticNet" {
        /// Strength of the penalty, 0 or more.
        alpha: f64 = 1.0,
        /// The share of the L1 penalty, between 0 and 1.
        l1_ratio: f64 = 0.5,
        /// Whether to learn an intercept; without one the data is taken as centred.
        fit_intercept: bool = true,
        /// The most sweeps over the coefficients; a model with that many in `n_iter` has not converged.
        max_iter: usize = 1000,
        /// The duality gap that ends the descent, as a share of the target's sum of squares.
        tol: f64 = 1e-4,
        /// Whether coefficients below 0 are forbidden.
        positive: bool = false,
    }

    fn accepts(&self) -> Accepts {
        ACCEPTS
    }

    fn check(&self) -> Result<()> {
        check_alpha::<Self>(self.alpha)?;
        check_ratio::<Self>(self.l1_ratio)?;
        check_descent::<Self>(self.max_iter, self.tol)
    }
}

/// Refuses limits that would never let a fit start or stop.
pub(super) fn check_descent<P: Parameters>(max_iter: usize, tol: f64) -> Result<()> {
    if max_iter == 0 {
        return Err(P::error("max_iter is 0; at least 1 iteration is needed"));
    }
    if tol >= 0.0 {
        return Ok(());
    }
    Err(P::error(format!("tol is {tol}; it must be 0 or more")))
}

pub(super) fn check_ratio<P: Parameters>(l1_ratio: f64) -> Result<()> {
    if (0.0..=1.0).contains(&l1_ratio) {
        return Ok(());
    }
    Err(P::error(format!("l1_ratio is {l1_ratio}; it must be between 0 and 1")))
}

/// What a path of fits with ever weaker penalties shares.
struct Path {
    l1_ratio: f64,
    fit_intercept: bool,
    max_iter: usize,
    tol: f64,
    positive: bool,
}

/// A point of the path.
struct Point {
    coef: Vec<f64>,
    intercept: f64,
    n_iter: usize,
    dual_gap: f64,
}

impl Path {
    /// The fits with these penalties, each begun where the one before ended.
    fn fit(&self, x: &Matrix<'_>, y: &[f64], weights: Option<&[f64]>, alphas: &[f64]) -> Result<Vec<Point>> {
        let mut problem = Problem::new(x, y, weights, self.fit_intercept)?;
        let total = total_weight(y.len(), weights);
        let mut coef = vec![0.0; x.columns()];
        let stop = Stop { max_iter: self.max_iter, change: self.tol, gap: self.tol * problem.target_square };
        let points = alphas.iter().map(|alpha| {
            let l1 = alpha * self.l1_ratio * total;
            let penalty = Penalty { l1, l2: alpha * (1.0 - self.l1_ratio) * total, positive: self.positive };
            let (n_iter, gap) = descend(&mut *problem.quadratic, &mut coef, penalty, stop);
            Point { intercept: problem.intercept(&coef), coef: coef.clone(), n_iter, dual_gap: gap / total }
        });
        Ok(points.collect())
    }

    /// The fit with one penalty.
    fn one(&self, name: &'static str, data: &Training<'_, Vec<f64>>, alpha: f64) -> Result<Point> {
        let points = self.fit(&data.x, &data.y, data.weights.as_deref(), &[alpha])?;
        let point = points.into_iter().next().ok_or_else(|| overflow(name))?;
        if point.dual_gap.is_finite() { Ok(point) } else { Err(overflow(name)) }
    }

    /// `count` penalties from the smallest that keeps all coefficients at 0 down to `eps` times that.
    fn alphas(&self, data: &Training<'_, Vec<f64>>, count: usize, eps: f64) -> Result<Vec<f64>> {
        let weights = data.weights.as_deref();
        let problem = Problem::new(&data.x, &data.y, weights, self.fit_intercept)?;
        let total = total_weight(data.y.len(), weights);
        let greatest = problem.greatest_l1(self.positive) / (total * self.l1_ratio);
        // With nothing to explain every penalty is the same.
        let greatest = if greatest > f64::EPSILON { greatest } else { f64::EPSILON };
        let step = if count > 1 { eps.ln() / (count - 1) as f64 } else { 0.0 };
        Ok((0..count).map(|index| greatest * (step * index as f64).exp()).collect())
    }

    /// The squared error on the rows of each fold of the fits on the other rows, for each penalty: the
    /// mean over the folds, which weigh as much as their samples if those are weighted.
    fn cross_validate(
        &self,
        data: &Training<'_, Vec<f64>>,
        folds: usize,
        alphas: &[f64],
    ) -> Result<Vec<f64>> {
        let rows = data.y.len();
        let matrix = super::rows::Rows::of(&data.x)?;
        let (mut errors, mut all) = (vec![0.0; alphas.len()], 0.0);
        for fold in 0..folds {
            // The first folds are one row longer where the rows do not divide evenly, as in KFold.
            let start = fold * (rows / folds) + fold.min(rows % folds);
            let test = start..start + rows / folds + usize::from(fold < rows % folds);
            let weights: Vec<f64> =
                (0..rows).map(|row| if test.contains(&row) { 0.0 } else { data.weight(row) }).collect();
            let held: f64 = test.clone().map(|row| data.weight(row)).sum();
            if held == 0.0 || weights.iter().all(|&weight| weight == 0.0) {
                continue;
            }
            let share = if data.weights.is_some() { held } else { 1.0 };
            all += share;
            for (error, point) in errors.iter_mut().zip(self.fit(&data.x, &data.y, Some(&weights), alphas)?) {
                let sum: f64 = test
                    .clone()
                    .map(|row| {
                        let residual = data.y[row] - point.intercept - matrix.get(row).dot(&point.coef);
                        data.weight(row) * residual * residual
                    })
                    .sum();
                *error += share * sum / held;
            }
        }
        errors.iter_mut().for_each(|error| *error /= all);
        Ok(errors)
    }
}

fn total_weight(rows: usize, weights: Option<&[f64]>) -> f64 {
    weights.map_or(rows as f64, |weights| weights.iter().sum())
}

impl FitRegressor for LassoParams {
    type Model = Lasso;

    fn fit_checked(&self, data: &Training<'_, Vec<f64>>) -> Result<Lasso> {
        let &LassoParams { alpha, fit_intercept, max_iter, tol, positive } = self;
        let path = Path { l1_ratio: 1.0, fit_intercept, max_iter, tol, positive };
        let point = path.one(Self::NAME, data, alpha)?;
        Lasso::new(point.coef, point.intercept, point.n_iter, point.dual_gap)
    }
}

impl FitRegressor for ElasticNetParams {
    type Model = ElasticNet;

    fn fit_checked(&self, data: &Training<'_, Vec<f64>>) -> Result<ElasticNet> {
        let &ElasticNetParams { alpha, l1_ratio, fit_intercept, max_iter, tol, positive } = self;
        let path = Path { l1_ratio, fit_intercept, max_iter, tol, positive };
        let point = path.one(Self::NAME, data, alpha)?;
        ElasticNet::new(point.coef, point.intercept, point.n_iter, point.dual_gap)
    }
}

linear_regressor!(
    /// A fitted lasso whose penalty was chosen by cross-validation.
    LassoCV = "LassoCV", accepts ACCEPTS,
    /// The penalty with the least error.
    alpha: f64,
    /// The penalties tried, descending.
    alphas: Vec<f64>,
    /// The mean squared error of each penalty on the rows left out.
    cv_errors: Vec<f64>
);

linear_regressor!(
    /// A fitted elastic net whose penalty was chosen by cross-validation.
    ElasticNetCV = "ElasticNetCV", accepts ACCEPTS,
    /// The penalty with the least error.
    alpha: f64,
    /// The share of the L1 penalty with the least error.
    l1_ratio: f64,
    /// The penalties tried with that share, descending.
    alphas: Vec<f64>,
    /// The mean squared error of each of these penalties on the rows left out.
    cv_errors: Vec<f64>
);

params! {
    /// Parameters of [`LassoCV`]: a lasso whose penalty is the one of a descending series that predicts
    /// left-out rows best (k-fold cross-validation without shuffling).
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::Array2;
    ///
    /// let x = Array2::from_shape_fn((40, 2), |(i, j)| ((i * (3 + j)) % 7) as f64);
    /// let y: Vec<f64> = x.rows().into_iter().map(|row| 2.0 * row[0] + 1.0).collect();
    /// let model = LassoCV::params().cv(4_usize).fit(&x, &y)?;
    /// assert!((model.coef()[0] - 2.0).abs() < 0.1);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    LassoCVParams for LassoCV = "LassoCV" {
        /// How many penalties to try.
        n_alphas: usize = 100,
        /// The least penalty as a share of the greatest, which is the least that makes all coefficients 0.
        eps: f64 = 1e-3,
        /// How many folds.
        cv: usize = 5,
        /// Whether to learn an intercept; without one the data is taken as centred.
        fit_intercept: bool = true,
        /// The most sweeps over the coefficients.
        max_iter: usize = 1000,
        /// The duality gap that ends the descent, as a share of the target's sum of squares.
        tol: f64 = 1e-4,
        /// Whether coefficients below 0 are forbidden.
        positive: bool = false,
    }

    fn accepts(&self) -> Accepts {
        Accepts { rows: self.cv, ..ACCEPTS }
    }

    fn check(&self) -> Result<()> {
        check_grid::<Self>(self.n_alphas, self.eps, self.cv)?;
        check_descent::<Self>(self.max_iter, self.tol)
    }
}

params! {
    /// Parameters of [`ElasticNetCV`]: an elastic net whose penalty, and share of the L1 penalty, are
    /// those that predict left-out rows best.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::Array2;
    ///
    /// let x = Array2::from_shape_fn((40, 2), |(i, j)| ((i * (3 + j)) % 7) as f64);
    /// let y: Vec<f64> = x.rows().into_iter().map(|row| 2.0 * row[0] + 1.0).collect();
    /// let model = ElasticNetCV::params().l1_ratio(vec![0.5, 0.9]).fit(&x, &y)?;
    /// assert_eq!(*model.l1_ratio(), 0.9);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    ElasticNetCVParams for ElasticNetCV = "ElasticNetCV" {
        /// The shares of the L1 penalty to try, each above 0 and at most 1.
        l1_ratio: Vec<f64> = vec![0.5],
        /// How many penalties to try with each share.
        n_alphas: usize = 100,
        /// The least penalty as a share of the greatest, which is the least that makes all coefficients 0.
        eps: f64 = 1e-3,
        /// How many folds.
        cv: usize = 5,
        /// Whether to learn an intercept; without one the data is taken as centred.
        fit_intercept: bool = true,
        /// The most sweeps over the coefficients.
        max_iter: usize = 1000,
        /// The duality gap that ends the descent, as a share of the target's sum of squares.
        tol: f64 = 1e-4,
        /// Whether coefficients below 0 are forbidden.
        positive: bool = false,
    }

    fn accepts(&self) -> Accepts {
        Accepts { rows: self.cv, ..ACCEPTS }
    }

    fn check(&self) -> Result<()> {
        check_grid::<Self>(self.n_alphas, self.eps, self.cv)?;
        check_descent::<Self>(self.max_iter, self.tol)?;
        match self.l1_ratio.iter().find(|ratio| !(**ratio > 0.0 && **ratio <= 1.0)) {
            _ if self.l1_ratio.is_empty() => Err(Self::error("l1_ratio is empty; it needs at least one share")),
            Some(ratio) => Err(Self::error(format!("l1_ratio holds {ratio}; each must be above 0 and at most 1"))),
            None => Ok(()),
        }
    }
}

fn check_grid<P: Parameters>(n_alphas: usize, eps: f64, cv: usize) -> Result<()> {
    if n_alphas == 0 {
        return Err(P::error("n_alphas is 0; at least 1 penalty is needed"));
    }
    if !(eps > 0.0 && eps <= 1.0) {
        return Err(P::error(format!("eps is {eps}; it must be above 0 and at most 1")));
    }
    if cv < 2 {
        return Err(P::error(format!("cv is {cv}; at least 2 folds are needed")));
    }
    Ok(())
}

impl FitRegressor for LassoCVParams {
    type Model = LassoCV;

    fn fit_checked(&self, data: &Training<'_, Vec<f64>>) -> Result<LassoCV> {
        let &LassoCVParams { n_alphas, eps, cv, fit_intercept, max_iter, tol, positive } = self;
        let path = Path { l1_ratio: 1.0, fit_intercept, max_iter, tol, positive };
        let grid = Grid::search(&path, data, n_alphas, eps, cv)?;
        let alpha = grid.alphas[grid.best];
        let point = path.one(Self::NAME, data, alpha)?;
        LassoCV::new(point.coef, point.intercept, point.n_iter, alpha, grid.alphas, grid.errors)
    }
}

impl FitRegressor for ElasticNetCVParams {
    type Model = ElasticNetCV;

    fn fit_checked(&self, data: &Training<'_, Vec<f64>>) -> Result<ElasticNetCV> {
        let &ElasticNetCVParams { n_alphas, eps, cv, fit_intercept, max_iter, tol, positive, .. } = self;
        let mut best: Option<(Path, Grid)> = None;
        for &l1_ratio in &self.l1_ratio {
            let path = Path { l1_ratio, fit_intercept, max_iter, tol, positive };
            let grid = Grid::search(&path, data, n_alphas, eps, cv)?;
            if best.as_ref().is_none_or(|(_, best)| grid.least() < best.least()) {
                best = Some((path, grid));
            }
        }
        let (path, grid) = best.ok_or_else(|| overflow(Self::NAME))?;
        let alpha = grid.alphas[grid.best];
        let point = path.one(Self::NAME, data, alpha)?;
        ElasticNetCV::new(
            point.coef,
            point.intercept,
            point.n_iter,
            alpha,
            path.l1_ratio,
            grid.alphas,
            grid.errors,
        )
    }
}

/// Penalties and their cross-validated errors.
struct Grid {
    alphas: Vec<f64>,
    errors: Vec<f64>,
    best: usize,
}

impl Grid {
    fn search(path: &Path, data: &Training<'_, Vec<f64>>, count: usize, eps: f64, cv: usize) -> Result<Grid> {
        let alphas = path.alphas(data, count, eps)?;
        let errors = path.cross_validate(data, cv, &alphas)?;
        let best = (0..errors.len()).fold(0, |best, at| if errors[at] < errors[best] { at } else { best });
        Ok(Grid { alphas, errors, best })
    }

    fn least(&self) -> f64 {
        self.errors[self.best]
    }
}
