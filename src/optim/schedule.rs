//! Learning rates by step.

use super::check_not_negative;
use crate::{Error, Result};
use std::f64::consts::PI;

/// A learning rate that depends on the number of the step alone, so that training can go on anywhere:
/// `optimizer.set_learning_rate(schedule.lr_at(step))` before the step. Whether a step is a batch or
/// an epoch is yours to say.
pub trait Schedule: Send + Sync {
    /// The learning rate of step `step`, from 0.
    fn lr_at(&self, step: usize) -> f64;
}

/// `lr * gamma^(step / step_size)`, whole steps counted; PyTorch's `StepLR`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepLr {
    lr: f64,
    step_size: usize,
    gamma: f64,
}

impl StepLr {
    /// From `lr`, times `gamma` every `step_size` steps. An error where one of the rates is negative
    /// or not finite, or `step_size` is 0.
    pub fn new(lr: f64, step_size: usize, gamma: f64) -> Result<StepLr> {
        check_not_negative("the learning rate", lr)?;
        check_not_negative("gamma", gamma)?;
        check_steps("step_size", step_size)?;
        Ok(StepLr { lr, step_size, gamma })
    }
}

impl Schedule for StepLr {
    fn lr_at(&self, step: usize) -> f64 {
        self.lr * self.gamma.powf((step / self.step_size) as f64)
    }
}

/// Half a cosine from `lr` down to `min_lr` in `steps` steps, and back up in as many (Loshchilov and
/// Hutter 2016, arXiv:1608.03983); PyTorch's `CosineAnnealingLR`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CosineAnnealing {
    lr: f64,
    steps: usize,
    min_lr: f64,
}

impl CosineAnnealing {
    /// From `lr` to `min_lr` in `steps` steps. An error where a rate is negative or not finite, or
    /// `steps` is 0.
    pub fn new(lr: f64, steps: usize, min_lr: f64) -> Result<CosineAnnealing> {
        check_not_negative("the learning rate", lr)?;
        check_not_negative("the least learning rate", min_lr)?;
        check_steps("steps", steps)?;
        Ok(CosineAnnealing { lr, steps, min_lr })
    }
}

impl Schedule for CosineAnnealing {
    fn lr_at(&self, step: usize) -> f64 {
        cosine(self.lr, self.min_lr, step as f64 / self.steps as f64)
    }
}

/// How a [`OneCycle`] starts, peaks and ends; the defaults are PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OneCycleOptions {
    /// The share of the steps that the rate rises in; 0.3.
    pub pct_start: f64,
    /// It starts at the greatest rate divided by this; 25.
    pub div_factor: f64,
    /// It ends at the first rate divided by this; 1e4.
    pub final_div_factor: f64,
}

impl Default for OneCycleOptions {
    fn default() -> OneCycleOptions {
        OneCycleOptions { pct_start: 0.3, div_factor: 25.0, final_div_factor: 1e4 }
    }
}

/// One rise and one fall, each half a cosine (Smith and Topin 2017, arXiv:1708.07120); PyTorch's
/// `OneCycleLR`. Steps after the last have its rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OneCycle {
    max_lr: f64,
    total_steps: usize,
    options: OneCycleOptions,
}

impl OneCycle {
    /// Up to `max_lr` and down again in `total_steps` steps, with PyTorch's defaults for the rest. An
    /// error where the rate is negative or not finite, or there are no steps.
    pub fn new(max_lr: f64, total_steps: usize) -> Result<OneCycle> {
        OneCycle::with_options(max_lr, total_steps, OneCycleOptions::default())
    }

    /// As [`new`](OneCycle::new), with a start and an end of your own. An error also where `pct_start`
    /// is not in 0..=1, or a divisor is not above 0.
    pub fn with_options(max_lr: f64, total_steps: usize, options: OneCycleOptions) -> Result<OneCycle> {
        check_not_negative("the learning rate", max_lr)?;
        check_steps("total_steps", total_steps)?;
        super::check("pct_start", options.pct_start, (0.0..=1.0).contains(&options.pct_start), "in 0..=1")?;
        for (name, value) in
            [("div_factor", options.div_factor), ("final_div_factor", options.final_div_factor)]
        {
            super::check(name, value, value.is_finite() && value > 0.0, "a number above 0")?;
        }
        Ok(OneCycle { max_lr, total_steps, options })
    }
}

impl Schedule for OneCycle {
    fn lr_at(&self, step: usize) -> f64 {
        let initial = self.max_lr / self.options.div_factor;
        let last = self.total_steps as f64 - 1.0;
        let peak = self.options.pct_start * self.total_steps as f64 - 1.0;
        let step = (step as f64).min(last);
        if step < peak {
            cosine(initial, self.max_lr, step / peak)
        } else if last > peak {
            cosine(self.max_lr, initial / self.options.final_div_factor, (step - peak) / (last - peak))
        } else {
            self.max_lr
        }
    }
}

/// Half a cosine from `start` at 0 to `end` at 1.
fn cosine(start: f64, end: f64, at: f64) -> f64 {
    end + (start - end) / 2.0 * (1.0 + (PI * at).cos())
}

fn check_steps(name: &str, steps: usize) -> Result<()> {
    if steps == 0 { Err(Error::op("schedule", format!("{name} is 0"))) } else { Ok(()) }
}
