//! Missing values replaced by a number of their column.

use super::columns::{MISSING, columns, quantile_sorted, sorted};
use crate::Result;
use crate::classical::data::{Accepts, Matrix, Training, column_name};
use crate::classical::estimator::{FitTransformer, Parameters, Target, Transformer};
use crate::classical::params::{model, params};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

/// What a missing value becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImputeStrategy {
    /// The mean of the column.
    #[default]
    Mean,
    /// The median of the column.
    Median,
    /// The most frequent value of the column; of several, the lowest.
    MostFrequent,
    /// The `fill_value`.
    Constant,
}

impl ImputeStrategy {
    /// The number for a column with these values, at least one.
    pub(super) fn of(self, values: &[f64], fill_value: f64) -> f64 {
        match self {
            ImputeStrategy::Mean => super::columns::mean(values),
            ImputeStrategy::Median => quantile_sorted(&sorted(values), 0.5),
            ImputeStrategy::MostFrequent => {
                let sorted = sorted(values);
                let runs = sorted.chunk_by(|a, b| a == b);
                runs.fold(
                    (0, fill_value),
                    |best, run| if run.len() > best.0 { (run.len(), run[0]) } else { best },
                )
                .1
            }
            ImputeStrategy::Constant => fill_value,
        }
    }
}

/// A fitted simple imputer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SimpleImputer {
    n_features: usize,
    /// What fills each column; NaN for a column that is left out.
    statistics: Vec<f64>,
    /// The columns that get an indicator.
    indicators: Vec<usize>,
}

params! {
    /// Parameters of [`SimpleImputer`]: a missing value becomes the mean, the median or the most frequent
    /// value of its column, or a constant. A column without any value is left out.
    ///
    /// ```
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let x = array![[1.0], [f64::NAN], [3.0]];
    /// assert_eq!(SimpleImputer::params().fit_transform(&x)?, array![[1.0], [2.0], [3.0]]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    SimpleImputerParams for SimpleImputer = "SimpleImputer" {
        /// What a missing value becomes.
        strategy: ImputeStrategy = ImputeStrategy::Mean,
        /// The value of [`ImputeStrategy::Constant`].
        fill_value: f64 = 0.0,
        /// Whether to append, for each column with missing values at the fit, a column that is 1 where
        /// they were.
        add_indicator: bool = false,
        /// Whether a column without any value is filled with `fill_value` rather than left out.
        keep_empty_features: bool = false,
    }

    fn accepts(&self) -> Accepts {
        MISSING
    }
}

impl FitTransformer for SimpleImputerParams {
    type Model = SimpleImputer;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<SimpleImputer> {
        let (columns, rows) = (columns(&data.x), data.x.rows());
        let keep = self.keep_empty_features || self.strategy == ImputeStrategy::Constant;
        let statistic = |values: &Vec<f64>| match values.as_slice() {
            [] => {
                if keep {
                    self.fill_value
                } else {
                    f64::NAN
                }
            }
            values => self.strategy.of(values, self.fill_value),
        };
        let statistics: Vec<f64> = columns.iter().map(statistic).collect();
        if let Some(column) = statistics.iter().position(|number| number.is_infinite()) {
            return Err(Self::error(format!("the values of column {column} are too large")));
        }
        if statistics.iter().all(|number| number.is_nan()) {
            return Err(Self::error("no column has a value that is not missing"));
        }
        let gaps = columns.iter().enumerate().filter(|(_, values)| values.len() < rows);
        let indicators =
            if self.add_indicator { gaps.map(|(column, _)| column).collect() } else { Vec::new() };
        Ok(SimpleImputer { n_features: columns.len(), statistics, indicators })
    }
}

impl SimpleImputer {
    /// What fills each column; NaN for a column that is left out.
    pub fn statistics(&self) -> &[f64] {
        &self.statistics
    }

    fn kept(&self) -> impl Iterator<Item = usize> {
        (0..self.n_features).filter(|&column| !self.statistics[column].is_nan())
    }
}

impl Transformer for SimpleImputer {
    fn transform_rows(&self, x: &Matrix<'_>) -> Result<Matrix<'static>> {
        let x = x.dense();
        let kept: Vec<usize> = self.kept().collect();
        let mut out = Array2::zeros((x.nrows(), kept.len() + self.indicators.len()));
        for (row, mut out) in x.rows().into_iter().zip(out.rows_mut()) {
            let filled = kept.iter().map(|&column| match row[column] {
                value if value.is_nan() => self.statistics[column],
                value => value,
            });
            let flags = self.indicators.iter().map(|&column| f64::from(u8::from(row[column].is_nan())));
            out.iter_mut().zip(filled.chain(flags)).for_each(|(out, value)| *out = value);
        }
        Ok(Matrix::Dense(out.into()))
    }

    fn feature_names_out(&self, input: &[String]) -> Vec<String> {
        let kept = self.kept().map(|column| column_name(input, column));
        let flags =
            self.indicators.iter().map(|&column| format!("missingindicator_{}", column_name(input, column)));
        kept.chain(flags).collect()
    }
}

model!(
    SimpleImputer = "SimpleImputer",
    fn accepts(&self) -> Accepts {
        MISSING
    },
    fn is_consistent(&self) -> bool {
        self.statistics.len() == self.n_features
            && self.indicators.iter().all(|&column| column < self.n_features)
    }
);
