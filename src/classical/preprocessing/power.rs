//! Columns made more normal by a power.

use super::columns::{MISSING, map_columns, present, same_names};
use super::scalers::{StandardScaler, StandardScalerParams};
use crate::Result;
use crate::classical::data::{Accepts, Matrix, Training};
use crate::classical::estimator::{FitTransformer, Parameters, Target, Transformer};
use crate::classical::params::{model, params};
use crate::parallel;
use ndarray::Array2;
use serde::{Deserialize, Serialize};

/// The family of power transforms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PowerMethod {
    /// For any values (Yeo and Johnson, 2000).
    #[default]
    YeoJohnson,
    /// For positive values (Box and Cox, 1964).
    BoxCox,
}

/// A fitted power transformer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PowerTransformer {
    n_features: usize,
    method: PowerMethod,
    lambdas: Vec<f64>,
    scaler: Option<StandardScaler>,
}

params! {
    /// Parameters of [`PowerTransformer`]: each column as near to normal as a power makes it, by maximum
    /// likelihood.
    PowerTransformerParams for PowerTransformer = "PowerTransformer" {
        /// The family of powers.
        method: PowerMethod = PowerMethod::YeoJohnson,
        /// Whether to bring the result to mean 0 and variance 1.
        standardize: bool = true,
    }

    fn accepts(&self) -> Accepts {
        MISSING
    }
}

impl PowerMethod {
    fn forward(self, x: f64, lambda: f64) -> f64 {
        match self {
            PowerMethod::BoxCox => power(x.ln(), lambda),
            PowerMethod::YeoJohnson if x >= 0.0 => power(x.ln_1p(), lambda),
            PowerMethod::YeoJohnson => -power((-x).ln_1p(), 2.0 - lambda),
        }
    }

    fn backward(self, y: f64, lambda: f64) -> f64 {
        match self {
            PowerMethod::BoxCox => root(y, lambda).exp(),
            PowerMethod::YeoJohnson if y >= 0.0 => root(y, lambda).exp_m1(),
            PowerMethod::YeoJohnson => -root(-y, 2.0 - lambda).exp_m1(),
        }
    }

    /// The logarithm of how much the transform stretches at `x`, for a power one higher.
    fn stretch(self, x: f64) -> f64 {
        match self {
            PowerMethod::BoxCox => x.ln(),
            PowerMethod::YeoJohnson => x.abs().ln_1p().copysign(x),
        }
    }
}

/// `(e^(lambda log) - 1) / lambda`.
fn power(log: f64, lambda: f64) -> f64 {
    if lambda.abs() < f64::EPSILON { log } else { (lambda * log).exp_m1() / lambda }
}

/// The logarithm that [`power`] made `y` of.
fn root(y: f64, lambda: f64) -> f64 {
    if lambda.abs() < f64::EPSILON { y } else { (lambda * y).ln_1p() / lambda }
}

impl FitTransformer for PowerTransformerParams {
    type Model = PowerTransformer;

    fn fit_checked(&self, data: &Training<'_, Target>) -> Result<PowerTransformer> {
        let columns = present(Self::NAME, data)?;
        let low = |values: &Vec<f64>| values.iter().any(|&value| value <= 0.0);
        if self.method == PowerMethod::BoxCox
            && let Some(column) = columns.iter().position(low)
        {
            return Err(Self::error(format!("column {column} holds values of 0 or less; use yeo-johnson")));
        }
        let best = |values: &Vec<f64>| {
            if values.iter().all(|&value| value == values[0]) {
                return 1.0; // No power makes a constant normal.
            }
            minimize(|lambda| self.cost(values, lambda), -2.0, 2.0)
        };
        let lambdas = parallel::map(1, &columns, best);
        let mut model =
            PowerTransformer { n_features: lambdas.len(), method: self.method, lambdas, scaler: None };
        if self.standardize {
            let powered = model.transform_rows(&data.x)?;
            model.scaler = Some(StandardScalerParams::default().fit(&powered)?);
        }
        Ok(model)
    }
}

impl PowerTransformerParams {
    /// Minus the logarithm of the likelihood per sample, up to a constant.
    fn cost(&self, values: &[f64], lambda: f64) -> f64 {
        let n = values.len() as f64;
        let powered = || values.iter().map(|&value| self.method.forward(value, lambda));
        let mean = powered().sum::<f64>() / n;
        let variance = powered().map(|value| (value - mean).powi(2)).sum::<f64>() / n;
        let stretch = values.iter().map(|&value| self.method.stretch(value)).sum::<f64>() / n;
        let cost = variance.ln() / 2.0 - (lambda - 1.0) * stretch;
        if cost.is_finite() { cost } else { f64::INFINITY }
    }
}

/// The place of a minimum of a function, downhill from `a` and `b`: the range is widened until it holds
/// one, then Brent's method (1973) narrows it.
fn minimize(f: impl Fn(f64) -> f64, a: f64, b: f64) -> f64 {
    const GOLDEN: f64 = 0.381_966_011_250_105;
    let (mut low, mut high) = (a, b);
    let mut x = low + GOLDEN * (high - low);
    let mut fx = f(x);
    for _ in 0..60 {
        if f(low) < fx {
            (high, x) = (x, low);
            low -= 2.0 * (high - low);
        } else if f(high) < fx {
            (low, x) = (x, high);
            high += 2.0 * (high - low);
        } else {
            break;
        }
        fx = f(x);
    }
    let (mut w, mut v, mut fw, mut fv) = (x, x, fx, fx);
    let (mut step, mut before) = (0.0_f64, 0.0_f64);
    for _ in 0..200 {
        let middle = (low + high) / 2.0;
        let tolerance = 1e-10 * x.abs() + 1e-11;
        if (x - middle).abs() <= 2.0 * tolerance - (high - low) / 2.0 {
            break;
        }
        // A parabola through the three best points, if it promises more than a golden section.
        let r = (x - w) * (fx - fv);
        let q = (x - v) * (fx - fw);
        let (mut p, mut q2) = ((x - v) * q - (x - w) * r, 2.0 * (q - r));
        if q2 > 0.0 {
            p = -p;
        }
        q2 = q2.abs();
        let parabola = before.abs() > tolerance
            && p.abs() < (q2 * before / 2.0).abs()
            && p > q2 * (low - x)
            && p < q2 * (high - x);
        if parabola {
            (before, step) = (step, p / q2);
        } else {
            before = if x < middle { high - x } else { low - x };
            step = GOLDEN * before;
        }
        let u = x + if step.abs() >= tolerance { step } else { tolerance.copysign(step) };
        let fu = f(u);
        if fu <= fx {
            *(if u < x { &mut high } else { &mut low }) = x;
            (v, fv, w, fw, x, fx) = (w, fw, x, fx, u, fu);
        } else {
            *(if u < x { &mut low } else { &mut high }) = u;
            if fu <= fw || w == x {
                (v, fv, w, fw) = (w, fw, u, fu);
            } else if fu <= fv || v == x || v == w {
                (v, fv) = (u, fu);
            }
        }
    }
    x
}

impl PowerTransformer {
    /// The power of each column.
    pub fn lambdas(&self) -> &[f64] {
        &self.lambdas
    }
}

impl Transformer for PowerTransformer {
    fn transform_rows(&self, x: &Matrix<'_>) -> Result<Matrix<'static>> {
        let name = "PowerTransformer";
        if self.method == PowerMethod::BoxCox && x.dense().iter().any(|&value| value <= 0.0) {
            return Err(PowerTransformerParams::error("box-cox takes values above 0 only; use yeo-johnson"));
        }
        let powered = map_columns(name, x, self.n_features, |column, value| {
            self.method.forward(value, self.lambdas[column])
        })?;
        match &self.scaler {
            None => Ok(powered),
            Some(scaler) => scaler.transform_rows(&powered),
        }
    }

    fn inverse_rows(&self, x: &Matrix<'_>) -> Result<Option<Array2<f64>>> {
        let back = match &self.scaler {
            None => None,
            Some(scaler) => scaler.inverse_rows(x)?,
        };
        let powered = back.map_or_else(|| Matrix::Dense(x.dense()), |rows| Matrix::Dense(rows.into()));
        let undo = |column: usize, value: f64| self.method.backward(value, self.lambdas[column]);
        Ok(Some(map_columns("PowerTransformer", &powered, self.n_features, undo)?.dense().into_owned()))
    }

    fn feature_names_out(&self, input: &[String]) -> Vec<String> {
        same_names(input)
    }
}

model!(
    PowerTransformer = "PowerTransformer",
    fn accepts(&self) -> Accepts {
        MISSING
    },
    fn is_consistent(&self) -> bool {
        let scaler = self.scaler.as_ref();
        self.lambdas.len() == self.n_features
            && scaler.is_none_or(|scaler| scaler.n_features() == self.n_features && scaler.is_consistent())
    }
);
