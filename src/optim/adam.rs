//! Adam and AdamW.

use super::sgd::decayed;
use super::state::{State, Update, delegate_to_state};
use super::{Optimizer, check_fraction, check_not_negative};
use crate::nn::Params;
use crate::ops::formula::Formula;
use crate::{Gradients, Result};

/// The arguments of torch.optim.Adam and AdamW.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamOptions {
    /// The learning rate; 1e-3 unless set.
    pub lr: f64,
    /// The shares of the last step's mean and mean square that are kept; 0.9 and 0.999 unless set.
    pub betas: [f64; 2],
    /// Added to the denominator; 1e-8 unless set.
    pub eps: f64,
    /// The pull of every parameter towards 0; 0 unless set, 0.01 for [`AdamOptions::adamw`].
    pub weight_decay: f64,
    /// Whether AdamW's decay spares parameters of fewer than two dimensions (biases, scales and shifts of
    /// norms), as is usual in training recipes; false unless set, as in PyTorch.
    pub spare_vectors: bool,
}

impl Default for AdamOptions {
    fn default() -> AdamOptions {
        AdamOptions { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0, spare_vectors: false }
    }
}

impl AdamOptions {
    /// The defaults of torch.optim.AdamW.
    pub fn adamw() -> AdamOptions {
        AdamOptions { weight_decay: 0.01, ..AdamOptions::default() }
    }
}

const MOMENTS: &[&str] = &["exp_avg", "exp_avg_sq"];

/// Adam (Kingma and Ba 2014, arXiv:1412.6980), as torch.optim.Adam: weight decay is added to the
/// gradient.
#[derive(Debug)]
pub struct Adam {
    pub(super) state: State,
    options: AdamOptions,
}

/// Adam with weight decay apart from the gradient (Loshchilov and Hutter 2017, arXiv:1711.05101), as
/// torch.optim.AdamW.
#[derive(Debug)]
pub struct AdamW {
    pub(super) state: State,
    options: AdamOptions,
}

impl Adam {
    /// An optimiser of everything trained below `params`. An error where an option is out of range.
    pub fn new(params: &Params, options: AdamOptions) -> Result<Adam> {
        check_options(&options)?;
        Ok(Adam { state: State::new(params, "Adam", MOMENTS, options.lr)?, options })
    }
}

impl AdamW {
    /// An optimiser of everything trained below `params`. An error where an option is out of range.
    pub fn new(params: &Params, options: AdamOptions) -> Result<AdamW> {
        check_options(&options)?;
        Ok(AdamW { state: State::new(params, "AdamW", MOMENTS, options.lr)?, options })
    }
}

fn check_options(options: &AdamOptions) -> Result<()> {
    check_fraction("beta 1", options.betas[0])?;
    check_fraction("beta 2", options.betas[1])?;
    check_not_negative("eps", options.eps)?;
    check_not_negative("weight decay", options.weight_decay)
}

impl Optimizer for Adam {
    fn step(&mut self, gradients: Gradients) -> Result<()> {
        step(&mut self.state, &self.options, gradients, self.options.weight_decay, 1.0)
    }

    delegate_to_state!();
}

impl Optimizer for AdamW {
    fn step(&mut self, gradients: Gradients) -> Result<()> {
        let kept = 1.0 - self.state.learning_rate * self.options.weight_decay;
        step(&mut self.state, &self.options, gradients, 0.0, kept)
    }

    delegate_to_state!();
}

/// One step, with `decay` of the parameter added to its gradient and the share `kept` of it.
fn step(state: &mut State, options: &AdamOptions, gradients: Gradients, decay: f64, kept: f64) -> Result<()> {
    let ([beta1, beta2], lr) = (options.betas, state.learning_rate);
    state.step(gradients, |Update { value, gradient, step, state }| {
        // What is replaced is read first, so that it is what the new value is written over.
        let mean = Formula::record(|f| {
            let kept = state.first().map(|mean| f.tensor(mean) * beta1);
            let share = decayed(f, value, gradient, decay) * (1.0 - beta1);
            kept.map_or(share, |kept| kept + share)
        })?;
        let square = Formula::record(|f| {
            let kept = state.get(1).map(|square| f.tensor(square) * beta2);
            let slope = decayed(f, value, gradient, decay);
            let share = slope * slope * (1.0 - beta2);
            kept.map_or(share, |kept| kept + share)
        })?;
        // The means start at 0; these make up for it.
        let (correction1, correction2) = (1.0 - beta1.powi(step), 1.0 - beta2.powi(step));
        let kept = if options.spare_vectors && value.rank() < 2 { 1.0 } else { kept };
        let value = Formula::record(|f| {
            let value = f.tensor(value);
            let deviation = f.tensor(&square).sqrt() * (1.0 / correction2.sqrt()) + options.eps;
            let change = f.tensor(&mean) * (lr / correction1) / deviation;
            if kept == 1.0 { value - change } else { value * kept - change }
        })?;
        Ok((value, vec![mean, square]))
    })
}
