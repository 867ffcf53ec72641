//! Ordinary least squares.

use super::function::linear_regressor;
use super::gram::{Normal, centred, target_column};
use crate::Result;
use crate::classical::data::{Accepts, Training};
use crate::classical::estimator::FitRegressor;
use crate::classical::linalg;
use crate::classical::params::params;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, concatenate, s};

linear_regressor!(
    /// A fitted least-squares regression: `y = x @ coef + intercept`.
    LinearRegression = "LinearRegression", accepts Accepts::PLAIN
);

params! {
    /// Parameters of [`LinearRegression`]: the coefficients of least squared error, and of those the
    /// shortest where columns depend on each other.
    ///
    /// Tall data is solved by the normal equations with one step of refinement, as long as the columns
    /// are far from dependent; otherwise by an orthogonal and then a singular value decomposition.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let (x, y) = (array![[0.0, 1.0], [1.0, 0.0], [2.0, 3.0], [4.0, 1.0]], [2.0, 3.0, 8.0, 10.0]);
    /// let model = LinearRegression::params().fit(&x, &y)?;
    /// assert!((model.coef()[0] - 2.0).abs() < 1e-9 && (model.intercept() - 1.0).abs() < 1e-9);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    LinearRegressionParams for LinearRegression = "LinearRegression" {
        /// Whether to learn an intercept; without one the data is taken as centred.
        fit_intercept: bool = true,
        /// Directions whose singular value is below this share of the greatest count as dependent.
        tol: f64 = 1e-6,
    }

    fn check(&self) -> Result<()> {
        if (0.0..1.0).contains(&self.tol) {
            return Ok(());
        }
        Err(Self::error(format!("tol is {}; it must be at least 0 and below 1", self.tol)))
    }
}

impl FitRegressor for LinearRegressionParams {
    type Model = LinearRegression;

    fn fit_checked(&self, data: &Training<'_, Vec<f64>>) -> Result<LinearRegression> {
        let (x, y) = (data.x.dense(), target_column(data));
        let (coef, intercept) =
            least_squares(x.view(), y, data.weights.as_deref(), self.fit_intercept, self.tol)?;
        LinearRegression::new(coef.into_iter().collect(), intercept[0], 0)
    }
}

/// Beyond this condition number the normal equations, which square it, lose too many digits.
const MAX_CONDITION: f64 = 1e6;

/// The shortest coefficients `[features, targets]` of least squared error, and the intercepts.
pub(super) fn least_squares(
    x: ArrayView2<'_, f64>,
    y: ArrayView2<'_, f64>,
    weights: Option<&[f64]>,
    fit_intercept: bool,
    tol: f64,
) -> Result<(Array2<f64>, Vec<f64>)> {
    if x.nrows() > x.ncols() {
        let sums = Normal::new(x, y, weights, fit_intercept);
        if let Some(factor) = linalg::cholesky(sums.gram.view())
            && let Some(inverse) = linalg::solve_lower(factor.view(), Array2::eye(x.ncols()).view())
            && norm(&factor) * norm(&inverse) < MAX_CONDITION.min(1.0 / tol)
        {
            let solve = |right: ArrayView2<'_, f64>| {
                linalg::matmul(inverse.t(), linalg::matmul(inverse.view(), right).view())
            };
            let mut coef = solve(sums.xy.view());
            // The residual is formed from the data itself, so that the step removes what squaring lost.
            let intercepts = Array1::from(sums.intercepts(coef.view()));
            let mut residual = &y - &intercepts;
            residual -= &linalg::matmul(x, coef.view());
            if let Some(weights) = weights {
                residual *= &ArrayView1::from(weights).insert_axis(Axis(1));
            }
            let mut right = linalg::matmul(x.t(), residual.view());
            right -= &linalg::matmul(
                sums.x_means.view().insert_axis(Axis(1)),
                residual.sum_axis(Axis(0)).view().insert_axis(Axis(0)),
            );
            coef += &solve(right.view());
            let intercepts = sums.intercepts(coef.view());
            return Ok((coef, intercepts));
        }
    }
    let (x_means, y_means) = super::gram::means(x, y, weights, fit_intercept);
    let (cx, cy) = centred(x, y, weights, &x_means, &y_means);
    let coef = pseudo_solve(cx.view(), cy.view(), tol)?;
    let intercepts = (&y_means - &x_means.dot(&coef)).to_vec();
    Ok((coef, intercepts))
}

fn norm(a: &Array2<f64>) -> f64 {
    a.iter().map(|value| value * value).sum::<f64>().sqrt()
}

/// The shortest least-squares solution of `x @ coef = y` by a QR decomposition, block of rows after block,
/// and the singular values of what it leaves; those below `tol` times the greatest count as 0.
fn pseudo_solve(x: ArrayView2<'_, f64>, y: ArrayView2<'_, f64>, tol: f64) -> Result<Array2<f64>> {
    let split = x.ncols();
    let columns = split + y.ncols();
    let mut triangle = Array2::<f64>::zeros((0, columns));
    for start in (0..x.nrows()).step_by(4 * columns) {
        let rows = s![start..(start + 4 * columns).min(x.nrows()), ..];
        let block = concatenate![Axis(1), x.slice(rows), y.slice(rows)];
        let stacked = concatenate![Axis(0), triangle, block];
        triangle = if stacked.nrows() > columns { linalg::qr(stacked.view()).1 } else { stacked };
    }
    let (u, values, vt) = linalg::svd(triangle.slice(s![.., ..split]))?;
    let cutoff = values.first().map_or(0.0, |greatest| greatest * tol.max(f64::EPSILON * columns as f64));
    let inverse = values.mapv(|value| if value > cutoff { 1.0 / value } else { 0.0 });
    let right = linalg::matmul(u.t(), triangle.slice(s![.., split..])) * inverse.insert_axis(Axis(1));
    Ok(linalg::matmul(vt.t(), right.view()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependent_columns_share_their_coefficient() -> Result<()> {
        // The third column repeats the first: the shortest answer halves its coefficient.
        let x = Array2::from_shape_fn((40, 3), |(i, j)| ((i * (7 + j % 2) + j % 2) % 13) as f64);
        let y = Array2::from_shape_fn((40, 1), |(i, _)| 3.0 * x[[i, 0]] - x[[i, 1]] + 5.0);
        for rows in [40, 3] {
            let (x, y) = (x.slice(s![..rows, ..]), y.slice(s![..rows, ..]));
            let (coef, intercept) = least_squares(x, y, None, true, 1e-6)?;
            assert!((&x.dot(&coef) + intercept[0] - y).iter().all(|error| error.abs() < 1e-9));
            assert!((coef[[0, 0]] - coef[[2, 0]]).abs() < 1e-9);
        }
        Ok(())
    }
}
