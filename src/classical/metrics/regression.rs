//! Scores of predicted numbers.

use super::{target_pairs, weighted_mean};
use crate::classical::data::Targets;
use crate::classical::order;
use crate::{Error, Result};

/// The weighted mean of a loss of each pair of truth and prediction.
fn mean_loss(
    name: &'static str,
    y_true: &dyn Targets,
    y_pred: &dyn Targets,
    loss: impl Fn(f64, f64) -> f64,
) -> Result<f64> {
    let (truth, predicted, weights) = target_pairs(name, y_true, y_pred)?;
    Ok(weighted_mean(
        truth.iter().zip(&predicted).map(|(&truth, &predicted)| loss(truth, predicted)),
        &weights,
    ))
}

/// 1 minus a loss over the loss of a constant: 1 is perfect, 0 no better than the constant. If the
/// constant has no loss: 1 for a perfect prediction, else 0.
fn explained(loss: f64, of_constant: f64) -> f64 {
    match (of_constant == 0.0, loss == 0.0) {
        (true, true) => 1.0,
        (true, false) => 0.0,
        (false, _) => 1.0 - loss / of_constant,
    }
}

/// The coefficient of determination: 1 is perfect, 0 no better than the mean, no lower bound. A
/// constant truth gives 1 if predicted exactly, else 0.
///
/// # Errors
/// Columns of different lengths, or empty; numbers that are not finite; wrong weights.
pub fn r2_score(y_true: &dyn Targets, y_pred: &dyn Targets) -> Result<f64> {
    let (truth, predicted, weights) = target_pairs("r2_score", y_true, y_pred)?;
    let mean = weighted_mean(truth.iter().copied(), &weights);
    let residual = truth.iter().zip(&predicted).map(|(truth, predicted)| (truth - predicted).powi(2));
    let total = truth.iter().map(|truth| (truth - mean).powi(2));
    Ok(explained(weighted_mean(residual, &weights), weighted_mean(total, &weights)))
}

/// As [`r2_score`], but a constant error costs nothing.
///
/// # Errors
/// As [`r2_score`].
pub fn explained_variance_score(y_true: &dyn Targets, y_pred: &dyn Targets) -> Result<f64> {
    let (truth, predicted, weights) = target_pairs("explained_variance_score", y_true, y_pred)?;
    let variance = |values: &[f64]| {
        let mean = weighted_mean(values.iter().copied(), &weights);
        weighted_mean(values.iter().map(|value| (value - mean).powi(2)), &weights)
    };
    let errors: Vec<f64> = truth.iter().zip(&predicted).map(|(truth, predicted)| truth - predicted).collect();
    Ok(explained(variance(&errors), variance(&truth)))
}

/// The mean squared error.
///
/// # Errors
/// As [`r2_score`].
pub fn mean_squared_error(y_true: &dyn Targets, y_pred: &dyn Targets) -> Result<f64> {
    mean_loss("mean_squared_error", y_true, y_pred, |truth, predicted| (truth - predicted).powi(2))
}

/// The root of the mean squared error, in the target's unit.
///
/// # Errors
/// As [`r2_score`].
pub fn root_mean_squared_error(y_true: &dyn Targets, y_pred: &dyn Targets) -> Result<f64> {
    mean_squared_error(y_true, y_pred).map(f64::sqrt)
}

/// The mean absolute error, in the target's unit.
///
/// # Errors
/// As [`r2_score`].
pub fn mean_absolute_error(y_true: &dyn Targets, y_pred: &dyn Targets) -> Result<f64> {
    mean_loss("mean_absolute_error", y_true, y_pred, |truth, predicted| (truth - predicted).abs())
}

/// The mean of absolute errors relative to the truth; 1 is an error as large as the truth.
///
/// # Errors
/// As [`r2_score`].
pub fn mean_absolute_percentage_error(y_true: &dyn Targets, y_pred: &dyn Targets) -> Result<f64> {
    mean_loss("mean_absolute_percentage_error", y_true, y_pred, |truth, predicted| {
        (truth - predicted).abs() / truth.abs().max(f64::EPSILON)
    })
}

/// The mean squared error of `ln(1 + value)`.
///
/// # Errors
/// As [`r2_score`], and values of -1 or less.
pub fn mean_squared_log_error(y_true: &dyn Targets, y_pred: &dyn Targets) -> Result<f64> {
    let name = "mean_squared_log_error";
    if y_true.targets().iter().chain(&y_pred.targets()).any(|&value| value <= -1.0) {
        return Err(Error::op(name, "values of -1 or less have no logarithm"));
    }
    mean_loss(name, y_true, y_pred, |truth, predicted| (truth.ln_1p() - predicted.ln_1p()).powi(2))
}

/// The largest absolute error, in the target's unit.
///
/// # Errors
/// As [`r2_score`], except that weights are not looked at.
pub fn max_error(y_true: &dyn Targets, y_pred: &dyn Targets) -> Result<f64> {
    let (truth, predicted, _) = target_pairs("max_error", y_true, y_pred)?;
    Ok(truth.iter().zip(&predicted).map(|(truth, predicted)| (truth - predicted).abs()).fold(0.0, f64::max))
}

/// The value below which the share `q` of the weight lies; halfway between two neighbours if the share
/// is reached exactly at the first.
fn weighted_quantile(values: &[f64], weights: &[f64], q: f64) -> f64 {
    let mut order: Vec<usize> = (0..values.len()).filter(|&row| weights[row] > 0.0).collect();
    order::ascending(&mut order, values);
    let goal = q * weights.iter().sum::<f64>();
    let mut sum = 0.0;
    for (at, &row) in order.iter().enumerate() {
        sum += weights[row];
        if sum > goal {
            return values[row];
        }
        if sum == goal {
            let next = order.get(at + 1).copied().unwrap_or(row);
            return (values[row] + values[next]) / 2.0;
        }
    }
    order.last().map_or(0.0, |&row| values[row])
}

/// The median absolute error, in the target's unit.
///
/// # Errors
/// As [`r2_score`].
pub fn median_absolute_error(y_true: &dyn Targets, y_pred: &dyn Targets) -> Result<f64> {
    let (truth, predicted, weights) = target_pairs("median_absolute_error", y_true, y_pred)?;
    let errors: Vec<f64> =
        truth.iter().zip(&predicted).map(|(truth, predicted)| (truth - predicted).abs()).collect();
    Ok(weighted_quantile(&errors, &weights, 0.5))
}

fn pinball(truth: f64, predicted: f64, alpha: f64) -> f64 {
    let error = truth - predicted;
    if error >= 0.0 { alpha * error } else { (alpha - 1.0) * error }
}

fn check_alpha(name: &'static str, alpha: f64) -> Result<()> {
    if (0.0..=1.0).contains(&alpha) {
        return Ok(());
    }
    Err(Error::op(name, format!("alpha is {alpha}; it must be between 0 and 1")))
}

/// The loss of predicting the quantile `alpha`: an error costs `alpha` a unit if too low, else
/// `1 - alpha`.
///
/// # Errors
/// As [`r2_score`], and an `alpha` outside 0 to 1.
pub fn mean_pinball_loss(y_true: &dyn Targets, y_pred: &dyn Targets, alpha: f64) -> Result<f64> {
    check_alpha("mean_pinball_loss", alpha)?;
    mean_loss("mean_pinball_loss", y_true, y_pred, |truth, predicted| pinball(truth, predicted, alpha))
}

/// The share of [`mean_pinball_loss`] of the best constant that the prediction saves; at most 1.
///
/// # Errors
/// As [`mean_pinball_loss`].
pub fn d2_pinball_score(y_true: &dyn Targets, y_pred: &dyn Targets, alpha: f64) -> Result<f64> {
    check_alpha("d2_pinball_score", alpha)?;
    let (truth, predicted, weights) = target_pairs("d2_pinball_score", y_true, y_pred)?;
    let constant = match y_true.weights() {
        // Without weights scikit-learn interpolates between neighbours.
        None => {
            let mut sorted = truth.clone();
            sorted.sort_unstable_by(f64::total_cmp);
            crate::classical::preprocessing::quantile_sorted(&sorted, alpha)
        }
        Some(_) => weighted_quantile(&truth, &weights, alpha),
    };
    let loss = truth.iter().zip(&predicted).map(|(&truth, &predicted)| pinball(truth, predicted, alpha));
    let of_constant = truth.iter().map(|&truth| pinball(truth, constant, alpha));
    Ok(explained(weighted_mean(loss, &weights), weighted_mean(of_constant, &weights)))
}

/// The share of the median's absolute error that the prediction saves; at most 1.
///
/// # Errors
/// As [`r2_score`].
pub fn d2_absolute_error_score(y_true: &dyn Targets, y_pred: &dyn Targets) -> Result<f64> {
    d2_pinball_score(y_true, y_pred, 0.5)
}

/// The deviance of one value of a Tweedie distribution of this power.
fn tweedie(truth: f64, predicted: f64, power: f64) -> f64 {
    let xlogy = |x: f64, y: f64| if x == 0.0 { 0.0 } else { x * y.ln() };
    if power == 0.0 {
        (truth - predicted).powi(2)
    } else if power == 1.0 {
        2.0 * (xlogy(truth, truth / predicted) - truth + predicted)
    } else if power == 2.0 {
        2.0 * ((predicted / truth).ln() + truth / predicted - 1.0)
    } else {
        let first = if power < 0.0 { truth.max(0.0) } else { truth };
        2.0 * (first.powf(2.0 - power) / ((1.0 - power) * (2.0 - power))
            - truth * predicted.powf(1.0 - power) / (1.0 - power)
            + predicted.powf(2.0 - power) / (2.0 - power))
    }
}

/// The mean deviance of a Tweedie distribution: `power` 0 is the squared error, 1 Poisson, 2 gamma, 3
/// the inverse Gaussian.
///
/// # Errors
/// As [`r2_score`], a power between 0 and 1, and values that the distribution cannot have.
pub fn mean_tweedie_deviance(y_true: &dyn Targets, y_pred: &dyn Targets, power: f64) -> Result<f64> {
    let name = "mean_tweedie_deviance";
    if !power.is_finite() || power > 0.0 && power < 1.0 {
        return Err(Error::op(name, format!("power is {power}; it must be 0 or less, or 1 or more")));
    }
    let above = |values: &[f64], least: f64| values.iter().all(|&value| value > 0.0 || value == least);
    let (truth, predicted) = (y_true.targets(), y_pred.targets());
    let truth_fits = power < 1.0 || above(&truth, if power < 2.0 { 0.0 } else { f64::INFINITY });
    if !truth_fits || power != 0.0 && !above(&predicted, f64::INFINITY) {
        let sign = if power < 2.0 { "not be negative" } else { "be above 0" };
        return Err(Error::op(name, format!("for power {power} y_true must {sign} and y_pred be above 0")));
    }
    mean_loss(name, y_true, y_pred, |truth, predicted| tweedie(truth, predicted, power))
}

/// The mean deviance of a Poisson distribution (counts).
///
/// # Errors
/// As [`mean_tweedie_deviance`].
pub fn mean_poisson_deviance(y_true: &dyn Targets, y_pred: &dyn Targets) -> Result<f64> {
    mean_tweedie_deviance(y_true, y_pred, 1.0)
}

/// The mean deviance of a gamma distribution (positive amounts; only ratios count).
///
/// # Errors
/// As [`mean_tweedie_deviance`].
pub fn mean_gamma_deviance(y_true: &dyn Targets, y_pred: &dyn Targets) -> Result<f64> {
    mean_tweedie_deviance(y_true, y_pred, 2.0)
}

/// The share of the mean's deviance that the prediction saves; at most 1.
///
/// # Errors
/// As [`mean_tweedie_deviance`].
pub fn d2_tweedie_score(y_true: &dyn Targets, y_pred: &dyn Targets, power: f64) -> Result<f64> {
    let loss = mean_tweedie_deviance(y_true, y_pred, power)?;
    let (truth, _, weights) = target_pairs("d2_tweedie_score", y_true, y_pred)?;
    let mean = weighted_mean(truth.iter().copied(), &weights);
    Ok(explained(loss, weighted_mean(truth.iter().map(|&truth| tweedie(truth, mean, power)), &weights)))
}
