//! Missing values predicted from the other columns.

use super::columns::{MISSING, finite, present, same_names};
use super::impute::ImputeStrategy;
use crate::Result;
use crate::classical::data::{Accepts, Matrix, Training};
use crate::classical::estimator::{FitTransformer, Parameters, Regressor, Target, Transformer};
use crate::classical::linear::RidgeParams;
use crate::classical::order;
use crate::classical::params::{model, params};
use crate::classical::persist::Boxed;
use crate::classical::registry::AnyRegressor;
use ndarray::{Array2, Axis};
use serde::{Deserialize, Serialize};

/// A fitted iterative imputer.
#[derive(Debug, Serialize, Deserialize)]
pub struct IterativeImputer {
    n_features: usize,
    initial: Vec<f64>,
    /// The regressors in the order they were fitted, each with its column.
    sequence: Vec<(usize, Boxed<dyn Regressor>)>,
    n_iter: usize,
}

params! {
    /// Parameters of [`IterativeImputer`]: each column with missing values is predicted from all others
    /// by a regression, round after round until little changes (van Buuren and Groothuis-Oudshoorn, 2011).
    IterativeImputerParams for IterativeImputer = "IterativeImputer" {
        /// What predicts a column.
        estimator: AnyRegressor = RidgeParams::default().alpha(1e-3).into(),
        /// The most rounds.
        max_iter: usize = 10,
        /// The rounds end when no row changes by more, in sum, than this times the largest value.
        tol: f64 = 1e-3,
        /// What a missing value is before the first round.
        initial_strategy: ImputeStrategy = ImputeStrategy::Mean,
    }

    fn accepts(&self) -> Accepts {
        MISSING
    }
}

/// The matrix without a column.
fn without(x: &Array2<f64>, column: usize) -> Array2<f64> {
    let others: Vec<usize> = (0..x.ncols()).filter(|&other| other != column).collect();
    x.select(Axis(1), &others)
}

fn fill(x: &mut Array2<f64>, initial: &[f64]) {
    for mut row in x.rows_mut() {
        row.iter_mut()
            .zip(initial)
            .filter(|(value, _)| value.is_nan())
            .for_each(|(value, &fill)| *value = fill);
    }
}

/// Puts predictions where `gaps` says that values are missing.
fn predict(x: &mut Array2<f64>, column: usize, gaps: &[usize], model: &dyn Regressor) -> Result<()> {
    if gaps.is_empty() {
        return Ok(());
    }
    let predicted = model.predict(&without(x, column).select(Axis(0), gaps))?;
    gaps.iter().zip(predicted).for_each(|(&row, value)| x[[row, column]] = value);
    Ok(())
}

fn gaps(x: &Array2<f64>) -> Vec<Vec<usize>> {
    let of_column = |column: ndarray::ArrayView1<'_, f64>| {
        column.iter().enumerate().filter(|(_, value)| value.is_nan()).map(|(row, _)| row).collect()
    };
    x.columns().into_iter().map(of_column).collect()
}

impl FitTransformer for IterativeImputerParams {
    type Model = IterativeImputer;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<IterativeImputer> {
        self.fit_transform_checked(data).map(|(model, _)| model)
    }

    fn fit_transform_checked(
        &self,
        data: &Training<'_, Target>,
    ) -> Result<(IterativeImputer, Matrix<'static>)> {
        let columns = present(Self::NAME, data)?;
        let initial: Vec<f64> = columns.iter().map(|values| self.initial_strategy.of(values, 0.0)).collect();
        let largest = columns.iter().flatten().fold(0.0, |largest: f64, value| largest.max(value.abs()));
        let mut x = data.x.dense().into_owned();
        let gaps = gaps(&x);
        fill(&mut x, &initial);
        let mut model = IterativeImputer { n_features: x.ncols(), initial, sequence: Vec::new(), n_iter: 0 };
        if x.ncols() > 1 && gaps.iter().any(|gaps| !gaps.is_empty()) {
            let mut order: Vec<usize> = (0..x.ncols()).collect();
            order::grouped(&mut order, &gaps.iter().map(Vec::len).collect::<Vec<_>>());
            for _ in 0..self.max_iter {
                let before = x.clone();
                for &column in &order {
                    let known: Vec<usize> =
                        (0..x.nrows()).filter(|row| gaps[column].binary_search(row).is_err()).collect();
                    let y: Vec<f64> = known.iter().map(|&row| x[[row, column]]).collect();
                    let others = without(&x, column).select(Axis(0), &known);
                    let fitted = self.estimator.0.fit_boxed(&others, &y, None)?;
                    predict(&mut x, column, &gaps[column], &*fitted)?;
                    model.sequence.push((column, Boxed(fitted)));
                }
                model.n_iter += 1;
                let change = (&x - &before).mapv(f64::abs).sum_axis(Axis(1));
                if change.iter().all(|&change| change < self.tol * largest) {
                    break;
                }
            }
        }
        Ok((model, finite(Self::NAME, x)?))
    }
}

impl IterativeImputer {
    /// How many rounds the fit took.
    pub fn n_iter(&self) -> usize {
        self.n_iter
    }
}

impl Transformer for IterativeImputer {
    fn transform_rows(&self, x: &Matrix<'_>) -> Result<Matrix<'static>> {
        let mut x = x.dense().into_owned();
        let gaps = gaps(&x);
        fill(&mut x, &self.initial);
        for (column, model) in &self.sequence {
            predict(&mut x, *column, &gaps[*column], &**model)?;
        }
        finite("IterativeImputer", x)
    }

    fn feature_names_out(&self, input: &[String]) -> Vec<String> {
        same_names(input)
    }
}

model!(
    IterativeImputer = "IterativeImputer",
    fn accepts(&self) -> Accepts {
        MISSING
    },
    fn is_consistent(&self) -> bool {
        let fits = |(column, model): &(usize, Boxed<dyn Regressor>)| {
            *column < self.n_features && model.n_features() == self.n_features - 1
        };
        self.initial.len() == self.n_features && self.sequence.iter().all(fits)
    }
);
