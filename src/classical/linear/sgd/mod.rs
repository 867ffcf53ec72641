//! Linear models by stochastic gradient descent, for data of many samples.

mod classifier;
mod core;
mod regressor;

pub use classifier::{Perceptron, PerceptronParams, SGDClassifier, SGDClassifierParams};
pub use core::{LearningRate, SGDLoss, SGDPenalty};
pub use regressor::{SGDRegressor, SGDRegressorParams};

use super::elastic_net::{check_descent, check_ratio};
use crate::Result;
use crate::classical::data::Accepts;
use crate::classical::estimator::Parameters;
use core::Settings;

/// Sparse matrices are used as they are.
const ACCEPTS: Accepts = Accepts { sparse: true, ..Accepts::PLAIN };

/// Refuses settings with which no step would be finite, and a share to hold back that leaves nothing.
fn check<P: Parameters>(settings: &Settings, validation_fraction: f64) -> Result<()> {
    check_descent::<P>(settings.max_iter, settings.tol)?;
    check_ratio::<P>(settings.l1_ratio)?;
    let Settings { alpha, eta0, epsilon, power_t, learning_rate, .. } = *settings;
    let optimal = learning_rate == LearningRate::Optimal;
    let faults = [
        (!(alpha >= 0.0 && alpha.is_finite()), "alpha", alpha, "0 or more"),
        (optimal && alpha == 0.0, "alpha", alpha, "above 0 with the optimal learning rate"),
        (!(optimal || eta0 > 0.0 && eta0.is_finite()), "eta0", eta0, "above 0"),
        (!(epsilon >= 0.0 && epsilon.is_finite()), "epsilon", epsilon, "0 or more"),
        (!power_t.is_finite(), "power_t", power_t, "finite"),
        (
            !(validation_fraction > 0.0 && validation_fraction < 1.0),
            "validation_fraction",
            validation_fraction,
            "above 0 and below 1",
        ),
    ];
    match faults.into_iter().find(|fault| fault.0) {
        Some((_, name, value, wanted)) => Err(P::error(format!("{name} is {value}; it must be {wanted}"))),
        None => Ok(()),
    }
}

/// The part of the samples to learn from, and the part held back to tell when to stop: the share
/// `fraction` of each group of samples, at least one of each.
fn split(groups: &[usize], fraction: f64, rng: &mut fastrand::Rng) -> (Vec<usize>, Vec<usize>) {
    let (mut training, mut held) = (Vec::new(), Vec::new());
    for group in 0..groups.iter().max().map_or(0, |greatest| greatest + 1) {
        let mut members: Vec<usize> = (0..groups.len()).filter(|&row| groups[row] == group).collect();
        rng.shuffle(&mut members);
        let count = ((members.len() as f64 * fraction).round() as usize).clamp(1, members.len().max(2) - 1);
        let rest = members.split_off(count.min(members.len()));
        held.extend(members);
        training.extend(rest);
    }
    training.sort_unstable();
    (training, held)
}
