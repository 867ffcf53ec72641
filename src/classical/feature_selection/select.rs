//! Transformers that keep some columns.

use super::scores::{chi2, f_classif, f_regression, mutual_info_classif, mutual_info_regression};
use crate::Result;
use crate::classical::data::{Accepts, Matrix, Training};
use crate::classical::estimator::{FitTransformer, Parameters, Target, Transformer};
use crate::classical::order;
use crate::classical::params::{model, params};
use ndarray::{Array2, Axis};
use serde::{Deserialize, Serialize};

/// What a column is judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoreFunction {
    /// [`f_classif`] for classes, [`f_regression`] for numbers.
    #[default]
    F,
    /// [`chi2`], for counts and classes.
    Chi2,
    /// [`mutual_info_classif`] for classes, [`mutual_info_regression`] for numbers.
    MutualInfo,
}

/// Neighbours of the estimates of mutual information.
const NEIGHBORS: usize = 3;

impl ScoreFunction {
    fn scores(self, name: &'static str, data: &Training<'_, Target>) -> Result<Vec<f64>> {
        let x = data.x.dense();
        let refuse = |message: &str| crate::Error::op(name, message);
        let mut scores = match (self, &data.y) {
            (_, Target::None) => return Err(refuse("it needs a target; use fit_with")),
            (_, Target::Classes(classes)) if classes.values.len() < 2 => {
                return Err(refuse("the target has one class only; at least 2 are needed"));
            }
            (ScoreFunction::Chi2, Target::Values(_)) => {
                return Err(refuse("chi2 needs classes, not numbers"));
            }
            (ScoreFunction::F, Target::Classes(classes)) => f_classif(x.view(), classes),
            (ScoreFunction::F, Target::Values(values)) => f_regression(x.view(), values),
            (ScoreFunction::Chi2, Target::Classes(classes)) => chi2(x.view(), classes)?,
            (ScoreFunction::MutualInfo, Target::Classes(classes)) => {
                mutual_info_classif(x.view(), classes, NEIGHBORS)
            }
            (ScoreFunction::MutualInfo, Target::Values(values)) => {
                mutual_info_regression(x.view(), values, NEIGHBORS)
            }
        };
        // A constant column says nothing.
        scores.iter_mut().filter(|score| score.is_nan()).for_each(|score| *score = f64::MIN);
        Ok(scores)
    }
}

/// The columns of the highest scores, ascending; of equal ones the later.
fn best(scores: &[f64], kept: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order::ascending(&mut order, scores);
    let mut kept = order.split_off(scores.len() - kept.min(scores.len()));
    kept.sort_unstable();
    kept
}

/// A model that keeps the columns of its field `support`.
macro_rules! selector {
    ($model:ident = $name:literal, $accepts:expr) => {
        impl $model {
            /// The columns that are kept, ascending.
            pub fn support(&self) -> &[usize] {
                &self.support
            }
        }

        impl Transformer for $model {
            fn transform_rows(&self, x: &Matrix<'_>) -> Result<Matrix<'static>> {
                let kept = x.dense().select(Axis(1), &self.support);
                Ok(Matrix::Dense(kept.as_standard_layout().into_owned().into()))
            }

            fn inverse_rows(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
                if x.columns() != self.support.len() {
                    let message = format!("x has {} columns; {} were kept", x.columns(), self.support.len());
                    return Err(crate::Error::op($name, message));
                }
                let mut back = Array2::zeros((x.rows(), self.n_features));
                for (&column, values) in self.support.iter().zip(x.dense().columns()) {
                    back.column_mut(column).assign(&values);
                }
                Ok(Some(back))
            }

            fn feature_names_out(&self, input: &[String]) -> Vec<String> {
                self.support
                    .iter()
                    .map(|&column| $crate::classical::data::column_name(input, column))
                    .collect()
            }
        }

        model!(
            $model = $name,
            fn accepts(&self) -> Accepts {
                $accepts
            },
            fn is_consistent(&self) -> bool {
                self.support.iter().all(|&column| column < self.n_features)
            }
        );
    };
}

pub(super) use selector;

const MISSING: Accepts = Accepts { missing: true, ..Accepts::PLAIN };

/// A fitted selection by variance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VarianceThreshold {
    n_features: usize,
    variances: Vec<f64>,
    support: Vec<usize>,
}

params! {
    /// Parameters of [`VarianceThreshold`]: columns that vary too little are left out.
    VarianceThresholdParams for VarianceThreshold = "VarianceThreshold" {
        /// The largest variance that is left out.
        threshold: f64 = 0.0,
    }

    fn accepts(&self) -> Accepts {
        MISSING
    }
}

impl FitTransformer for VarianceThresholdParams {
    type Model = VarianceThreshold;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<VarianceThreshold> {
        let x = data.x.dense();
        let variance = |column: ndarray::ArrayView1<'_, f64>| {
            let values: Vec<f64> = column.iter().copied().filter(|value| !value.is_nan()).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            // A constant has no variance, whatever rounding says.
            let constant = values.iter().all(|&value| value == values[0]);
            if constant {
                0.0
            } else {
                values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64
            }
        };
        let variances: Vec<f64> = x.columns().into_iter().map(variance).collect();
        if let Some(column) = variances.iter().position(|variance| !variance.is_finite()) {
            return Err(Self::error(format!("the values of column {column} are too large")));
        }
        let support: Vec<usize> =
            (0..variances.len()).filter(|&column| variances[column] > self.threshold).collect();
        if support.is_empty() {
            return Err(Self::error(format!("no column has a variance above {}", self.threshold)));
        }
        Ok(VarianceThreshold { n_features: variances.len(), variances, support })
    }
}

impl VarianceThreshold {
    /// The variance of each column.
    pub fn variances(&self) -> &[f64] {
        &self.variances
    }
}

selector!(VarianceThreshold = "VarianceThreshold", MISSING);

/// A fitted selection of so many columns.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SelectKBest {
    n_features: usize,
    scores: Vec<f64>,
    support: Vec<usize>,
}

params! {
    /// Parameters of [`SelectKBest`]: the columns that say most about the target.
    ///
    /// ```
    /// use kiln::classical::feature_selection::SelectKBest;
    /// use kiln::classical::prelude::*;
    /// use ndarray::array;
    ///
    /// let (x, y) = (array![[1.0, 5.0], [2.0, 4.0], [1.5, 9.0], [1.2, 8.0]], [0, 0, 1, 1]);
    /// let kept = SelectKBest::params().k(1).fit_with(&x, Target::classes(&y))?;
    /// assert_eq!(kept.support(), [1]);
    /// # Ok::<(), kiln::Error>(())
    /// ```
    SelectKBestParams for SelectKBest = "SelectKBest" {
        /// What a column is judged by.
        score_func: ScoreFunction = ScoreFunction::F,
        /// How many columns are kept, at most all.
        k: usize = 10,
    }

    fn check(&self) -> Result<()> {
        if self.k == 0 { Err(Self::error("k is 0; it must be 1 or more")) } else { Ok(()) }
    }
}

impl FitTransformer for SelectKBestParams {
    type Model = SelectKBest;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<SelectKBest> {
        let scores = self.score_func.scores(Self::NAME, data)?;
        Ok(SelectKBest { n_features: scores.len(), support: best(&scores, self.k), scores })
    }
}

impl SelectKBest {
    /// The score of each column; the lowest number there is for a constant one.
    pub fn scores(&self) -> &[f64] {
        &self.scores
    }
}

selector!(SelectKBest = "SelectKBest", Accepts::PLAIN);

/// A fitted selection of a share of the columns.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SelectPercentile {
    n_features: usize,
    scores: Vec<f64>,
    support: Vec<usize>,
}

params! {
    /// Parameters of [`SelectPercentile`]: the share of columns that say most about the target, at least
    /// one.
    SelectPercentileParams for SelectPercentile = "SelectPercentile" {
        /// What a column is judged by.
        score_func: ScoreFunction = ScoreFunction::F,
        /// The share that is kept, in percent.
        percentile: f64 = 10.0,
    }

    fn check(&self) -> Result<()> {
        if self.percentile > 0.0 && self.percentile <= 100.0 {
            return Ok(());
        }
        Err(Self::error(format!("percentile is {}; it must be above 0, at most 100", self.percentile)))
    }
}

impl FitTransformer for SelectPercentileParams {
    type Model = SelectPercentile;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<SelectPercentile> {
        let scores = self.score_func.scores(Self::NAME, data)?;
        let kept = (scores.len() as f64 * self.percentile / 100.0) as usize;
        Ok(SelectPercentile { n_features: scores.len(), support: best(&scores, kept.max(1)), scores })
    }
}

impl SelectPercentile {
    /// The score of each column; the lowest number there is for a constant one.
    pub fn scores(&self) -> &[f64] {
        &self.scores
    }
}

selector!(SelectPercentile = "SelectPercentile", Accepts::PLAIN);
