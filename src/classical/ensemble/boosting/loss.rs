//! The losses that boosting lowers, in terms of raw predictions.

use crate::classical::tree::{weighted_median, weighted_quantile};
use serde::{Deserialize, Serialize};

/// What a boosted regression learns to predict.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoostingLoss {
    /// The mean.
    #[default]
    SquaredError,
    /// The median.
    AbsoluteError,
    /// The quantile of this share, between 0 and 1.
    Quantile(f64),
    /// The mean of counts: half the Poisson deviance, log link; targets are 0 or more, not all 0.
    Poisson,
    /// The mean of amounts: half the Gamma deviance, log link; targets are above 0.
    Gamma,
}

/// A loss with its number of raw predictions for each row.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) enum Loss {
    /// Of targets.
    Regression(BoostingLoss),
    /// The log loss of two classes; targets are 0 or 1.
    Binary,
    /// The log loss of this many classes; targets are their codes.
    Classes(usize),
}

/// Targets and the weights of their rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample<'a> {
    pub y: &'a [f64],
    pub weights: Option<&'a [f64]>,
}

impl Sample<'_> {
    fn weight(&self, row: usize) -> f64 {
        self.weights.map_or(1.0, |weights| weights[row])
    }

    /// The weighted mean of `value` over all rows.
    fn mean(&self, value: impl Fn(usize) -> f64) -> f64 {
        let (mut sum, mut total) = (0.0, 0.0);
        for row in 0..self.y.len() {
            sum += self.weight(row) * value(row);
            total += self.weight(row);
        }
        sum / total
    }
}

/// 1 / (1 + exp(-x)).
pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Turns raw predictions into probabilities, in place.
pub(super) fn softmax(raw: &mut [f64]) {
    let top = raw.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for value in raw.iter_mut() {
        *value = (*value - top).exp();
        sum += *value;
    }
    raw.iter_mut().for_each(|value| *value /= sum);
}

/// The `share` quantile of (value, weight) pairs: interpolated linearly where all weights are equal.
fn quantile(pairs: &mut [(f64, f64)], share: f64, weighted: bool) -> f64 {
    pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    if share == 0.5 {
        return weighted_median(pairs);
    }
    if !weighted {
        let place = share * (pairs.len() - 1) as f64;
        let (below, above) = (pairs[place as usize].0, pairs[place.ceil() as usize].0);
        return below + (above - below) * place.fract();
    }
    weighted_quantile(pairs, share)
}

impl Loss {
    /// How many raw predictions a row has.
    pub fn outputs(self) -> usize {
        if let Loss::Classes(count) = self { count } else { 1 }
    }

    /// Whether the hessian of every row is its weight.
    pub fn constant_hessian(self) -> bool {
        matches!(
            self,
            Loss::Regression(
                BoostingLoss::SquaredError | BoostingLoss::AbsoluteError | BoostingLoss::Quantile(_)
            )
        )
    }

    /// The quantile that leaves predict, where they are not valued by gradients.
    pub fn leaf_quantile(self) -> Option<f64> {
        match self {
            Loss::Regression(BoostingLoss::AbsoluteError) => Some(0.5),
            Loss::Regression(BoostingLoss::Quantile(share)) => Some(share),
            _ => None,
        }
    }

    /// The quantile of `y - raw` over these rows.
    pub fn residual_quantile(sample: Sample<'_>, raw: &[f64], rows: &[u32], share: f64) -> f64 {
        let residual = |&row: &u32| {
            let row = row as usize;
            (sample.y[row] - raw[row], sample.weight(row))
        };
        let mut residuals: Vec<(f64, f64)> = rows.iter().map(residual).collect();
        quantile(&mut residuals, share, sample.weights.is_some())
    }

    /// The raw predictions that are best for all rows alike.
    pub fn baseline(self, sample: Sample<'_>) -> Vec<f64> {
        let mean = || sample.mean(|row| sample.y[row]);
        match self {
            Loss::Regression(BoostingLoss::SquaredError) => vec![mean()],
            Loss::Regression(BoostingLoss::Poisson | BoostingLoss::Gamma) => vec![mean().ln()],
            Loss::Regression(BoostingLoss::AbsoluteError | BoostingLoss::Quantile(_)) => {
                let rows: Vec<u32> = (0..sample.y.len() as u32).collect();
                let share = self.leaf_quantile().unwrap_or(0.5);
                vec![Self::residual_quantile(sample, &vec![0.0; rows.len()], &rows, share)]
            }
            Loss::Binary => {
                let share = mean().clamp(f64::EPSILON, 1.0 - f64::EPSILON);
                vec![(share / (1.0 - share)).ln()]
            }
            Loss::Classes(count) => {
                let log_share = |class: usize| {
                    let share = sample.mean(|row| f64::from(u8::from(sample.y[row] == class as f64)));
                    share.clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln()
                };
                let logs: Vec<f64> = (0..count).map(log_share).collect();
                let mean = logs.iter().sum::<f64>() / count as f64;
                logs.iter().map(|log| log - mean).collect()
            }
        }
    }

    /// Gradient and hessian of rows `first..` of one output. `raw` holds their raw predictions, of
    /// [`Loss::Classes`] their probabilities.
    pub fn gradients(
        self,
        sample: Sample<'_>,
        output: usize,
        first: usize,
        raw: &[f64],
        gradients: &mut [[f32; 2]],
    ) {
        for (at, (gradient, &raw)) in gradients.iter_mut().zip(raw).enumerate() {
            let row = first + at;
            let y = sample.y[row];
            let (slope, curve) = match self {
                Loss::Regression(BoostingLoss::SquaredError) => (raw - y, 1.0),
                Loss::Regression(BoostingLoss::AbsoluteError) => (if raw > y { 1.0 } else { -1.0 }, 1.0),
                Loss::Regression(BoostingLoss::Quantile(share)) => {
                    (if y < raw { 1.0 - share } else { -share }, 1.0)
                }
                Loss::Regression(BoostingLoss::Poisson) => (raw.exp() - y, raw.exp()),
                Loss::Regression(BoostingLoss::Gamma) => {
                    let ratio = y * (-raw).exp();
                    (1.0 - ratio, ratio)
                }
                Loss::Binary => {
                    let share = sigmoid(raw);
                    (share - y, share * (1.0 - share))
                }
                Loss::Classes(_) => (raw - f64::from(u8::from(y == output as f64)), raw * (1.0 - raw)),
            };
            let weight = sample.weight(row);
            *gradient = [(weight * slope) as f32, (weight * curve) as f32];
        }
    }

    /// The mean loss of raw predictions, an output after the other.
    pub fn mean(self, sample: Sample<'_>, raw: &[f64]) -> f64 {
        let rows = sample.y.len();
        sample.mean(|row| {
            let (y, value) = (sample.y[row], raw[row]);
            match self {
                Loss::Regression(BoostingLoss::SquaredError) => 0.5 * (value - y).powi(2),
                Loss::Regression(BoostingLoss::AbsoluteError) => (value - y).abs(),
                Loss::Regression(BoostingLoss::Quantile(share)) => {
                    (y - value) * if y < value { share - 1.0 } else { share }
                }
                Loss::Regression(BoostingLoss::Poisson) => value.exp() - y * value,
                Loss::Regression(BoostingLoss::Gamma) => value + y * (-value).exp(),
                // log(1 + exp(x)) without overflow.
                Loss::Binary => value.max(0.0) + (-value.abs()).exp().ln_1p() - y * value,
                Loss::Classes(count) => {
                    let mut shares: Vec<f64> = (0..count).map(|output| raw[output * rows + row]).collect();
                    let own = shares[y as usize];
                    let top = shares.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    shares.iter_mut().for_each(|value| *value = (*value - top).exp());
                    shares.iter().sum::<f64>().ln() + top - own
                }
            }
        })
    }
}
