//! Categories numbered in ascending order.

use super::columns::{MISSING, category, columns, distinct, same_names, unknown};
use crate::Result;
use crate::classical::data::{Accepts, Matrix, Training};
use crate::classical::estimator::{FitTransformer, Parameters, Target, Transformer};
use crate::classical::params::{model, params};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

/// A fitted ordinal encoder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OrdinalEncoder {
    n_features: usize,
    categories: Vec<Vec<f64>>,
    unknown_value: Option<f64>,
    encoded_missing_value: Option<f64>,
}

params! {
    /// Parameters of [`OrdinalEncoder`]: the categories of each column numbered from 0.
    OrdinalEncoderParams for OrdinalEncoder = "OrdinalEncoder" {
        /// The number of categories that the fit did not see; without it they are refused.
        unknown_value: Option<f64> = None,
        /// The number of missing values; without it they stay missing.
        encoded_missing_value: Option<f64> = None,
    }

    fn accepts(&self) -> Accepts {
        MISSING
    }
}

impl FitTransformer for OrdinalEncoderParams {
    type Model = OrdinalEncoder;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<OrdinalEncoder> {
        let categories: Vec<Vec<f64>> = columns(&data.x).iter().map(|values| distinct(values)).collect();
        Ok(OrdinalEncoder {
            n_features: categories.len(),
            categories,
            unknown_value: self.unknown_value,
            encoded_missing_value: self.encoded_missing_value,
        })
    }
}

impl OrdinalEncoder {
    /// The categories of each column, ascending.
    pub fn categories(&self) -> &[Vec<f64>] {
        &self.categories
    }
}

impl Transformer for OrdinalEncoder {
    fn transform_rows(&self, x: &Matrix<'_>) -> Result<Matrix<'static>> {
        let mut out = x.dense().into_owned();
        for ((row, column), value) in out.indexed_iter_mut() {
            *value = match category(&self.categories[column], *value) {
                _ if value.is_nan() => self.encoded_missing_value.unwrap_or(f64::NAN),
                Some(code) => code as f64,
                None => self.unknown_value.ok_or_else(|| unknown("OrdinalEncoder", row, column, *value))?,
            };
        }
        Ok(Matrix::Dense(out.into()))
    }

    fn inverse_rows(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        let mut out = x.dense().into_owned();
        if out.ncols() != self.n_features {
            let message = format!("x has {} columns; the encoder makes {}", out.ncols(), self.n_features);
            return Err(OrdinalEncoderParams::error(message));
        }
        for ((_, column), value) in out.indexed_iter_mut() {
            let whole = value.fract() == 0.0 && *value >= 0.0;
            let found = if whole { self.categories[column].get(*value as usize) } else { None };
            *value = found.copied().unwrap_or(f64::NAN);
        }
        Ok(Some(out))
    }

    fn feature_names_out(&self, input: &[String]) -> Vec<String> {
        same_names(input)
    }
}

model!(
    OrdinalEncoder = "OrdinalEncoder",
    fn accepts(&self) -> Accepts {
        MISSING
    },
    fn is_consistent(&self) -> bool {
        self.categories.len() == self.n_features
    }
);
