//! Stochastic gradient descent.

use super::state::{State, Update, delegate_to_state};
use super::{Optimizer, check_not_negative};
use crate::nn::Params;
use crate::ops::formula::{Formula, Term};
use crate::{Error, Gradients, Result, Tensor};

/// The arguments of torch.optim.SGD.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdOptions {
    /// The learning rate; 1e-3 unless set.
    pub lr: f64,
    /// The share of the last step's direction that is kept; 0 unless set.
    pub momentum: f64,
    /// The share of the gradient that momentum leaves out; 0 unless set.
    pub dampening: f64,
    /// The pull of every parameter towards 0, added to its gradient; 0 unless set.
    pub weight_decay: f64,
    /// Whether to look ahead along the momentum (Sutskever et al. 2013); not unless set.
    pub nesterov: bool,
}

impl Default for SgdOptions {
    fn default() -> SgdOptions {
        SgdOptions { lr: 1e-3, momentum: 0.0, dampening: 0.0, weight_decay: 0.0, nesterov: false }
    }
}

/// Stochastic gradient descent with momentum, as torch.optim.SGD:
/// `d = g + weight_decay p`, `v = momentum v + (1 - dampening) d` (at first `v = d`),
/// `p = p - lr v`, or with Nesterov's momentum `p = p - lr (d + momentum v)`.
#[derive(Debug)]
pub struct Sgd {
    pub(super) state: State,
    options: SgdOptions,
}

impl Sgd {
    /// An optimiser of everything trained below `params`. An error where an option is negative or
    /// not finite, or Nesterov's momentum is asked for without momentum or with dampening.
    pub fn new(params: &Params, options: SgdOptions) -> Result<Sgd> {
        check_not_negative("momentum", options.momentum)?;
        check_not_negative("weight decay", options.weight_decay)?;
        check_not_negative("dampening", options.dampening)?;
        if options.nesterov && (options.momentum == 0.0 || options.dampening != 0.0) {
            let message = "Nesterov's momentum needs momentum above 0 and no dampening";
            return Err(Error::op("optimizer", message));
        }
        let names: &[&str] = if options.momentum > 0.0 { &["momentum_buffer"] } else { &[] };
        Ok(Sgd { state: State::new(params, "SGD", names, options.lr)?, options })
    }
}

impl Optimizer for Sgd {
    fn step(&mut self, gradients: Gradients) -> Result<()> {
        let (o, lr) = (self.options, self.state.learning_rate);
        self.state.step(gradients, |Update { value, gradient, state, .. }| {
            if o.momentum == 0.0 {
                let value =
                    Formula::record(|f| f.tensor(value) - decayed(f, value, gradient, o.weight_decay) * lr)?;
                return Ok((value, Vec::new()));
            }
            // What is replaced is read first, so that it is what the new value is written over.
            let velocity = Formula::record(|f| {
                let kept = state.first().map(|velocity| f.tensor(velocity) * o.momentum);
                let direction = decayed(f, value, gradient, o.weight_decay);
                kept.map_or(direction, |kept| kept + direction * (1.0 - o.dampening))
            })?;
            let value = Formula::record(|f| {
                let (old, velocity) = (f.tensor(value), f.tensor(&velocity));
                let step = match o.nesterov {
                    true => decayed(f, value, gradient, o.weight_decay) + velocity * o.momentum,
                    false => velocity,
                };
                old - step * lr
            })?;
            Ok((value, vec![velocity]))
        })
    }

    delegate_to_state!();
}

/// The gradient of the loss with `decay / 2` times the parameter's squares added to it.
pub(super) fn decayed<'f, 'a>(
    f: &'f Formula<'a>,
    value: &'a Tensor,
    gradient: &'a Tensor,
    decay: f64,
) -> Term<'f, 'a> {
    if decay == 0.0 { f.tensor(gradient) } else { f.tensor(value) * decay + f.tensor(gradient) }
}
