//! Stochastic gradient descent on one linear function.

use crate::classical::linear::function::sigmoid;
use crate::classical::linear::logistic::softplus;
use crate::classical::linear::rows::{Row, Rows, dot};
use fastrand::Rng;
use serde::{Deserialize, Serialize};

/// A loss of a prediction `p` of a target `y` (-1 or 1 for classes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SGDLoss {
    /// `max(0, 1 - y p)`: a linear support vector machine.
    Hinge,
    /// `ln(1 + exp(-y p))`: logistic regression.
    LogLoss,
    /// `max(0, 1 - y p)^2`, and `-4 y p` below -1: robust, with probabilities.
    ModifiedHuber,
    /// `max(0, 1 - y p)^2`.
    SquaredHinge,
    /// `max(0, -y p)`.
    Perceptron,
    /// `(y - p)^2 / 2`.
    SquaredError,
    /// `(y - p)^2 / 2`, and a straight line where the error is greater than epsilon.
    Huber,
    /// `max(0, |y - p| - epsilon)`.
    EpsilonInsensitive,
    /// `max(0, |y - p| - epsilon)^2`.
    SquaredEpsilonInsensitive,
}

impl SGDLoss {
    /// The loss and its derivative by `p`.
    pub(super) fn evaluate(self, y: f64, p: f64, epsilon: f64) -> (f64, f64) {
        let hinge = |margin: f64| {
            let slack = margin - y * p;
            if slack >= 0.0 { (slack, -y) } else { (0.0, 0.0) }
        };
        match self {
            SGDLoss::Hinge => hinge(1.0),
            SGDLoss::Perceptron => hinge(0.0),
            SGDLoss::SquaredHinge => {
                let (slack, slope) = hinge(1.0);
                (slack * slack, 2.0 * slack * slope)
            }
            SGDLoss::ModifiedHuber if y * p < -1.0 => (-4.0 * y * p, -4.0 * y),
            SGDLoss::ModifiedHuber => SGDLoss::SquaredHinge.evaluate(y, p, epsilon),
            SGDLoss::LogLoss => (softplus(-y * p), -y * sigmoid(-y * p)),
            SGDLoss::SquaredError => (0.5 * (p - y) * (p - y), p - y),
            SGDLoss::Huber => {
                let error = p - y;
                if error.abs() <= epsilon {
                    (0.5 * error * error, error)
                } else {
                    (epsilon * error.abs() - 0.5 * epsilon * epsilon, epsilon * error.signum())
                }
            }
            SGDLoss::EpsilonInsensitive => {
                let over = (p - y).abs() - epsilon;
                if over > 0.0 { (over, (p - y).signum()) } else { (0.0, 0.0) }
            }
            SGDLoss::SquaredEpsilonInsensitive => {
                let over = (p - y).abs() - epsilon;
                if over > 0.0 { (over * over, 2.0 * over * (p - y).signum()) } else { (0.0, 0.0) }
            }
        }
    }
}

/// The penalty on the coefficients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SGDPenalty {
    /// None.
    None,
    /// Half the sum of squares.
    #[default]
    L2,
    /// The sum of absolute values.
    L1,
    /// Both.
    Elasticnet,
}

/// How long the steps are; `t` counts the samples seen, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LearningRate {
    /// `eta0`.
    Constant,
    /// `1 / (alpha (t0 + t))`, with `t0` from the data's likely size (Bottou).
    Optimal,
    /// `eta0 / t^power_t`.
    Invscaling,
    /// `eta0`, divided by 5 whenever nothing improves any more.
    Adaptive,
}

/// What a descent is told.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub loss: SGDLoss,
    pub penalty: SGDPenalty,
    pub alpha: f64,
    pub l1_ratio: f64,
    pub fit_intercept: bool,
    pub max_iter: usize,
    pub tol: f64,
    pub shuffle: bool,
    pub epsilon: f64,
    pub learning_rate: LearningRate,
    pub eta0: f64,
    pub power_t: f64,
    pub n_iter_no_change: usize,
    /// The number of the sample at which averaging begins; 0 for never.
    pub average: usize,
}

/// Samples, their targets and weights.
pub(super) struct Data<'a> {
    pub rows: Rows<'a>,
    pub features: usize,
    pub y: &'a [f64],
    pub weights: &'a [f64],
    /// The samples that are learned from.
    pub training: Vec<usize>,
}

/// A linear function and the passes over the data that it took.
pub(super) struct Fitted {
    pub coef: Vec<f64>,
    pub intercept: f64,
    pub epochs: usize,
}

/// Greater derivatives of the loss are cut to this.
const MAX_SLOPE: f64 = 1e12;
/// Steps of the intercept on sparse data are so much shorter, because every sample moves it.
const SPARSE_INTERCEPT: f64 = 0.01;
/// An adaptive rate below this ends the descent.
const LEAST_RATE: f64 = 1e-6;

/// Coefficients that are scaled, and averaged, without touching those of columns that a sample lacks
/// (Shalev-Shwartz, Singer and Srebro, 2007; Xu, 2011): `scale * stored`, and the mean of all vectors so
/// far `(mean + a * stored) / b`.
struct Coefficients {
    stored: Vec<f64>,
    scale: f64,
    square: f64,
    mean: Vec<f64>,
    a: f64,
    b: f64,
}

impl Coefficients {
    fn dot(&self, row: Row<'_>) -> f64 {
        self.scale * row.dot(&self.stored)
    }

    fn shrink(&mut self, factor: f64) {
        self.scale *= factor;
        self.square *= factor * factor;
        if self.scale < 1e-9 {
            self.fold();
        }
    }

    fn add(&mut self, row: Row<'_>, step: f64, product: f64) {
        row.add_to(&mut self.stored, step / self.scale);
        self.square += step * (2.0 * product + step * row.squared_norm());
    }

    /// Counts the present vector as the `count`-th, after a step along `row`.
    fn average(&mut self, row: Row<'_>, step: f64, count: f64) {
        row.add_to(&mut self.mean, -self.a * step / self.scale);
        if count > 1.0 {
            self.b /= 1.0 - 1.0 / count;
        }
        self.a += self.b * self.scale / count;
    }

    /// Makes both vectors plain ones again.
    fn fold(&mut self) {
        let (a, b, scale) = (self.a, self.b, self.scale);
        self.mean.iter_mut().zip(&self.stored).for_each(|(mean, stored)| *mean = (*mean + a * stored) / b);
        self.stored.iter_mut().for_each(|value| *value *= scale);
        (self.a, self.b, self.scale) = (0.0, 1.0, 1.0);
    }

    /// Takes what is owed of the L1 penalty from the coefficients of a sample's columns, never past 0
    /// (Tsuruoka, Tsujii and Ananiadou, 2009).
    fn clip(&mut self, row: Row<'_>, owed: f64, taken: &mut [f64]) {
        let scale = self.scale;
        row.for_each(|column, _| {
            let old = self.stored[column];
            let new = if old > 0.0 {
                (old - (owed + taken[column]) / scale).max(0.0)
            } else if old < 0.0 {
                (old + (owed - taken[column]) / scale).min(0.0)
            } else {
                old
            };
            self.stored[column] = new;
            taken[column] += scale * (new - old);
        });
    }
}

/// Scores coefficients and an intercept on samples held back; greater is better.
pub(super) type Validate<'a> = &'a dyn Fn(&[f64], f64) -> f64;

/// Goes over the data until nothing improves; `None` if numbers overflow. `validate`, if there is one,
/// scores a function on samples held back; without it the objective on the training samples decides.
pub(super) fn descend(
    settings: &Settings,
    data: &Data<'_>,
    rng: &mut Rng,
    validate: Option<Validate<'_>>,
) -> Option<Fitted> {
    let Settings { loss, alpha, learning_rate, .. } = *settings;
    let l1_ratio = match settings.penalty {
        SGDPenalty::L1 => 1.0,
        SGDPenalty::Elasticnet => settings.l1_ratio,
        SGDPenalty::None | SGDPenalty::L2 => 0.0,
    };
    let penalised = settings.penalty != SGDPenalty::None;
    let mut w = Coefficients {
        stored: vec![0.0; data.features],
        scale: 1.0,
        square: 0.0,
        mean: vec![0.0; data.features],
        a: 0.0,
        b: 1.0,
    };
    let (mut intercept, mut mean_intercept) = (0.0, 0.0);
    let (mut owed, mut taken) = (0.0, vec![0.0; data.features]);
    let decay = if matches!(data.rows, Rows::Sparse(_)) { SPARSE_INTERCEPT } else { 1.0 };
    let mut eta = settings.eta0;
    let typical = (1.0 / alpha.sqrt()).sqrt();
    let first = 1.0 / (alpha * typical / loss.evaluate(1.0, -typical, settings.epsilon).1.max(1.0));
    let mut order = data.training.clone();
    let mut t = 1.0;
    let (mut best, mut waited, mut epochs) = (f64::INFINITY, 0, 0);
    while epochs < settings.max_iter {
        epochs += 1;
        if settings.shuffle {
            rng.shuffle(&mut order);
        }
        let mut objective = 0.0;
        for &sample in &order {
            let (row, y) = (data.rows.get(sample), data.y[sample]);
            let product = w.dot(row);
            let p = product + intercept;
            match learning_rate {
                LearningRate::Optimal => eta = 1.0 / (alpha * (first + t - 1.0)),
                LearningRate::Invscaling => eta = settings.eta0 / f64::powf(t, settings.power_t),
                LearningRate::Constant | LearningRate::Adaptive => {}
            }
            let (value, slope) = loss.evaluate(y, p, settings.epsilon);
            if validate.is_none() {
                objective += value;
                if penalised {
                    objective += alpha * (1.0 - l1_ratio) * 0.5 * w.square;
                }
                if l1_ratio > 0.0 {
                    objective +=
                        alpha * l1_ratio * w.scale * w.stored.iter().map(|value| value.abs()).sum::<f64>();
                }
            }
            let step = -eta * slope.clamp(-MAX_SLOPE, MAX_SLOPE) * data.weights[sample];
            let mut shrunk = product;
            if penalised {
                let factor = (1.0 - (1.0 - l1_ratio) * eta * alpha).max(0.0);
                w.shrink(factor);
                shrunk *= factor;
            }
            if step != 0.0 {
                w.add(row, step, shrunk);
            }
            if settings.fit_intercept {
                intercept += step * decay;
            }
            if settings.average > 0 && t >= settings.average as f64 {
                let count = t - settings.average as f64 + 1.0;
                w.average(row, step, count);
                mean_intercept += (intercept - mean_intercept) / count;
            }
            if l1_ratio > 0.0 {
                owed += l1_ratio * eta * alpha;
                w.clip(row, owed, &mut taken);
                w.square = w.scale * w.scale * dot(&w.stored, &w.stored);
            }
            t += 1.0;
        }
        if !intercept.is_finite() || !w.stored.iter().all(|value| value.is_finite()) {
            return None;
        }
        let current = match validate {
            Some(score) => {
                let coef: Vec<f64> = w.stored.iter().map(|value| w.scale * value).collect();
                -score(&coef, intercept)
            }
            None => objective / order.len() as f64,
        };
        waited = if current > best - settings.tol { waited + 1 } else { 0 };
        best = best.min(current);
        if waited >= settings.n_iter_no_change {
            if learning_rate != LearningRate::Adaptive || eta <= LEAST_RATE {
                break;
            }
            eta /= 5.0;
            waited = 0;
        }
    }
    w.fold();
    let averaged = settings.average > 0 && settings.average as f64 <= t - 1.0;
    let (coef, intercept) = if averaged { (w.mean, mean_intercept) } else { (w.stored, intercept) };
    Some(Fitted { coef, intercept, epochs })
}
