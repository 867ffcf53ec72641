//! Transforms that learn nothing: of each row, or of each value, by itself.

use super::columns::{MISSING, map_columns, same_names};
use crate::Result;
use crate::classical::data::{Accepts, Matrix, Training};
use crate::classical::estimator::{FitTransformer, Parameters, Target, Transformer};
use crate::classical::params::{model, params};
use serde::{Deserialize, Serialize};

/// The length that [`Normalizer`] sets to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// The sum of absolute values.
    L1,
    /// The root of the sum of squares.
    #[default]
    L2,
    /// The largest absolute value.
    Max,
}

impl Norm {
    /// The length of some values.
    pub fn of(self, values: impl Iterator<Item = f64>) -> f64 {
        match self {
            Norm::L1 => values.map(f64::abs).sum(),
            Norm::L2 => values.map(|value| value * value).sum::<f64>().sqrt(),
            Norm::Max => values.map(f64::abs).fold(0.0, f64::max),
        }
    }
}

/// A normalizer of rows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Normalizer {
    n_features: usize,
    norm: Norm,
}

params! {
    /// Parameters of [`Normalizer`]: each row divided by its length; a row of zeros stays.
    NormalizerParams for Normalizer = "Normalizer" {
        /// Which length.
        norm: Norm = Norm::L2,
    }
}

impl FitTransformer for NormalizerParams {
    type Model = Normalizer;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<Normalizer> {
        Ok(Normalizer { n_features: data.x.columns(), norm: self.norm })
    }
}

impl Transformer for Normalizer {
    fn transform_rows(&self, x: &Matrix<'_>) -> Result<Matrix<'static>> {
        let mut out = x.dense().into_owned();
        for (number, mut row) in out.rows_mut().into_iter().enumerate() {
            let length = self.norm.of(row.iter().copied());
            if !length.is_finite() {
                return Err(NormalizerParams::error(format!("the values of row {number} are too large")));
            }
            if length > 0.0 {
                row /= length;
            }
        }
        Ok(Matrix::Dense(out.into()))
    }

    fn feature_names_out(&self, input: &[String]) -> Vec<String> {
        same_names(input)
    }
}

model!(Normalizer = "Normalizer");

/// A binarizer of values.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Binarizer {
    n_features: usize,
    threshold: f64,
}

params! {
    /// Parameters of [`Binarizer`]: 1 above a threshold, else 0; NaN stays.
    BinarizerParams for Binarizer = "Binarizer" {
        /// The largest value that becomes 0.
        threshold: f64 = 0.0,
    }

    fn accepts(&self) -> Accepts {
        MISSING
    }
}

impl FitTransformer for BinarizerParams {
    type Model = Binarizer;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<Binarizer> {
        Ok(Binarizer { n_features: data.x.columns(), threshold: self.threshold })
    }
}

impl Transformer for Binarizer {
    fn transform_rows(&self, x: &Matrix<'_>) -> Result<Matrix<'static>> {
        map_columns("Binarizer", x, self.n_features, |_, value| {
            if value.is_nan() { value } else { f64::from(u8::from(value > self.threshold)) }
        })
    }

    fn feature_names_out(&self, input: &[String]) -> Vec<String> {
        same_names(input)
    }
}

model!(
    Binarizer = "Binarizer",
    fn accepts(&self) -> Accepts {
        MISSING
    }
);
