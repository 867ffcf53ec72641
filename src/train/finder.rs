//! The learning-rate range test.

use crate::data::DataLoader;
use crate::models::Classifier;
use crate::nn::Params;
use crate::nn::loss::{CrossEntropyOptions, cross_entropy_with};
use crate::optim::{AdamOptions, AdamW, Optimizer};
use crate::{Error, Result};
use std::path::Path;

/// What a range test measured.
#[derive(Clone, Debug, PartialEq)]
pub struct LearningRateCurve {
    /// Learning rates, and the smoothed losses after an update with them.
    pub points: Vec<(f64, f64)>,
    /// A tenth of the rate with the smallest loss, a good greatest rate of a cycle.
    pub suggestion: f64,
}

/// Updates of a test; the rate rises from the first to the last by the same factor each time.
const UPDATES: usize = 100;
const RANGE: [f64; 2] = [1e-6, 1.0];
/// The share of the old in the running mean of the losses.
const SMOOTHING: f64 = 0.9;

/// Trains for a hundred updates while the learning rate rises from 1e-6 to 1 or the loss gets out of hand
/// (Smith 2015, arXiv:1506.01186). The parameters are what they were afterwards.
///
/// An error where the loss never fell, an image cannot be read, or the device fails.
pub fn find_learning_rate(
    model: &dyn Classifier,
    params: &Params,
    loader: &DataLoader,
    loss: &CrossEntropyOptions,
) -> Result<LearningRateCurve> {
    if loader.is_empty() {
        return Err(Error::op("find_learning_rate", "the loader has no batches"));
    }
    let points = without_trace(params, || rise(model, params, loader, loss))?;
    let smallest = points.iter().copied().reduce(|best, point| if point.1 < best.1 { point } else { best });
    match (points.first(), smallest) {
        (Some(first), Some(smallest)) if smallest.1 < first.1 => {
            Ok(LearningRateCurve { points, suggestion: smallest.0 / 10.0 })
        }
        _ => Err(Error::op("find_learning_rate", "the loss fell at no learning rate from 1e-6 to 1")),
    }
}

/// Does something that changes parameters, and makes them what they were.
pub(super) fn without_trace<T>(params: &Params, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let (before, draws) = (params.state_dict()?, params.draws());
    let done = work();
    params.restore_buffers();
    params.load_state_dict(&before, Path::new("the parameters before"))?;
    params.set_draws(draws);
    done
}

fn rise(
    model: &dyn Classifier,
    params: &Params,
    loader: &DataLoader,
    options: &CrossEntropyOptions,
) -> Result<Vec<(f64, f64)>> {
    params.train();
    let mut optimizer = AdamW::new(params, AdamOptions::adamw())?;
    let (mut points, mut mean, mut smallest) = (Vec::new(), 0.0, f64::INFINITY);
    // Past the epochs of the training, so that it does not begin with images it knows.
    let batches = (u64::MAX / 2..).flat_map(|epoch| loader.epoch(epoch));
    for (update, batch) in (1..).zip(batches.take(UPDATES)) {
        let (images, labels) = batch?.tensors(params.engine())?;
        let rate = RANGE[0] * (RANGE[1] / RANGE[0]).powf((update - 1) as f64 / (UPDATES - 1) as f64);
        optimizer.set_learning_rate(rate);
        let loss = cross_entropy_with(&model.forward(&images)?, &labels, options)?;
        optimizer.step(loss.backward()?)?;
        mean = SMOOTHING * mean + (1.0 - SMOOTHING) * loss.item()?;
        let smoothed = mean / (1.0 - SMOOTHING.powi(update));
        if !smoothed.is_finite() || smoothed > 4.0 * smallest {
            break;
        }
        smallest = smallest.min(smoothed);
        points.push((rate, smoothed));
    }
    Ok(points)
}
